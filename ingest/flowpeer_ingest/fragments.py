"""IP fragments put together (RFC 791, RFC 8200 section 4.5), within bounds.

Overlapping fragments are refused (RFC 5722): no exporter makes them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

MAX_WAITING = 1_024
"""Datagrams in parts at one time; the oldest is given up."""
MAX_PARTS = 128
"""A 64 KiB datagram at the smallest IPv4 MTU in use (576) has 117."""
MAX_AGE_US = 60_000_000
"""RFC 8200 section 4.5: 60 s, then an identification may be used again."""
MAX_OCTETS = 65_535


@dataclass(slots=True)
class _Parts:
    first_us: int
    total: int = -1
    have: int = 0
    parts: dict[int, bytes] = field(default_factory=dict)


@dataclass(slots=True)
class Fragments:
    """Fragments that wait for their rest; `dropped` counts those given up."""

    dropped: int = 0
    _waiting: dict[bytes, _Parts] = field(default_factory=dict)

    def add(
        self, now_us: int, key: bytes, offset: int, more: bool, octets: bytes
    ) -> tuple[bytes, int] | None:
        """Take one fragment: (whole payload, number of fragments) once it is complete."""
        held = self._waiting.get(key)
        if held is not None and now_us - held.first_us > MAX_AGE_US:
            self._give_up(key)
            held = None
        if held is None:
            while len(self._waiting) >= MAX_WAITING:
                self._give_up(next(iter(self._waiting)))
            held = self._waiting[key] = _Parts(now_us)
        if offset in held.parts:
            self.dropped += 1  # a repeated fragment
            return None
        held.parts[offset] = octets
        held.have += len(octets)
        if not more:
            held.total = offset + len(octets)
        bad = len(held.parts) > MAX_PARTS or held.have > MAX_OCTETS
        if bad or (held.total >= 0 and held.have > held.total):
            self._give_up(key)
            return None
        if held.have != held.total:
            return None
        at = 0
        pieces = sorted(held.parts.items())
        for start, piece in pieces:
            if start != at:
                self._give_up(key)
                return None
            at += len(piece)
        del self._waiting[key]
        return b"".join(piece for _, piece in pieces), len(pieces)

    def _give_up(self, key: bytes) -> None:
        self.dropped += len(self._waiting.pop(key).parts)

    def finish(self) -> int:
        """Fragments still waiting at the end."""
        return sum(len(p.parts) for p in self._waiting.values())
