"""Interface names and descriptions from options data, and when each was last announced.

Joining what two captures say gives the same whichever comes first, and twice is as good as once:
of each text the one that was received last stands.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowpeer_ingest.wire.events import InterfaceLearned

MAX_INTERFACES = 8_192
"""Per exporter; the largest edge routers have some thousands with all their subinterfaces."""
MAX_NAMES = 1 << 17
"""In a capture or segment over all exporters that are not configured: some hundreds of routers.
Those that are configured are not bounded by forged ones."""

Texts = dict[str, tuple[int, str]]
"""`name` and `description`, as far as stated: (received, in µs since the epoch; the text)."""
InterfaceTexts = dict[str, dict[int, Texts]]
"""Texts by exporter address and ifIndex."""


class InterfaceNames:
    """What the exporters of one capture or segment call their interfaces."""

    def __init__(self, configured: frozenset[str] = frozenset()) -> None:
        self.texts: InterfaceTexts = {}
        self._configured = configured
        self._others = 0

    def learn(self, event: InterfaceLearned) -> bool:
        """Take in one options record; False if there is no room for another interface."""
        exporter, interface = event.message.exporter, event.interface
        known = self.texts.get(exporter, {})
        if interface not in known:
            other = exporter not in self._configured
            if len(known) >= MAX_INTERFACES or (other and self._others >= MAX_NAMES):
                return False
            self._others += other
            known = self.texts.setdefault(exporter, known)
        texts: Texts = {}
        for key, text in (("name", event.name), ("description", event.description)):
            if text is not None:
                texts[key] = (event.message.received_us, text)
        join(known.setdefault(interface, {}), texts)
        return True


def join(known: Texts, more: Mapping[str, tuple[int, str]]) -> None:
    """Take `more` into `known`: the later text stands, of two at one moment the greater."""
    for key, text in more.items():
        known[key] = max(known.get(key, text), text)
