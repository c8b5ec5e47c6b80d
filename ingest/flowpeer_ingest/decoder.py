"""The memory of a run of the decoder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from flowpeer_core.native import library
from flowpeer_ingest.compiled import CompiledColumns
from flowpeer_ingest.flow_columns import Columns, PlainColumns
from flowpeer_ingest.sampling import NO_RATES, Rates, rates_now
from flowpeer_ingest.walk import CompiledWalk
from flowpeer_ingest.wire.dispatch import Wire
from flowpeer_ingest.wire.state import ExportSession, Key

KEYS_A_STEP = 8
"""Rates that are laid out in the time of one step of `state.MAX_WORK`."""


class Decoder:
    """What is remembered of all exporters: templates, sampling rates and sequence numbers.

    Give the same decoder to one capture after the other (see `continuity`). Not for several
    threads. `plain`: decode in plain Python although the compiled core is there. `configured`:
    exporters whose memory no stranger can take.
    """

    def __init__(
        self,
        *,
        active_timeout_s: Callable[[str], int] = lambda exporter_ip: 60,
        plain: bool = False,
        configured: frozenset[str] = frozenset(),
    ) -> None:
        self.wire = Wire(configured)
        self._rates: dict[Key, tuple[tuple[int, ...], Rates]] = {}
        found = None if plain else library()
        self.columns: Columns
        self.walk: CompiledWalk | None = None
        if found is None:
            self.columns = PlainColumns(active_timeout_s)
        else:
            self.columns = compiled = CompiledColumns(found, active_timeout_s)
            self.walk = CompiledWalk(found, compiled, self.wire, self.rates)
        self.last_seen_us: dict[str, int] = {}
        """By exporter, when captures last had a datagram of it; the least recent capture first."""
        self.lost: Counter[tuple[str, int, int, int]] = Counter()
        """Data sets given up between captures: (exporter, version, domain, template) → sets."""

    def rates(self, session: ExportSession) -> Rates:
        """The rates of a session's records now. Beyond an exporter's budget of CPU those of before:
        the roll-up asks `sampling`, which has all of them."""
        if session.version not in (9, 10):
            return NO_RATES
        state = self.wire.state
        tables = state.rate_tables(session)
        if not tables:
            return NO_RATES
        state_of = tuple(n for t in tables for n in (id(t), t.changes))
        found = self._rates.get(session.key)
        if found is not None and found[0] == state_of:
            return found[1]
        steps = 1 + sum(t.keys for t in tables) // KEYS_A_STEP
        if found is not None and not state.may_change(session, steps, session.last_us):
            return found[1]
        made = rates_now(tables)
        self._rates[session.key] = state_of, made
        return made

    def begin(self) -> None:
        """Another unit of work begins."""
        self._rates.clear()
