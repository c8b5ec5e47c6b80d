"""Octets of one record at its fixed size → the values that fill columns, by their keys."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import TypeAlias

from flowpeer_ingest.wire.elements import BY_NUMBER, PREFERENCE, key_of
from flowpeer_ingest.wire.layout import Layout

MAX_INT = (1 << 63) - 1
NTP_EPOCH_S = 2_208_988_800
"""Seconds from 1900 to 1970 (RFC 5905; RFC 7011 sections 6.1.9 and 6.1.10)."""

Values: TypeAlias = dict[str, int]
"""Key → number; an address is the number of its octets."""


@dataclass(frozen=True, slots=True)
class Read:
    """One value to read: its key, where it lies, and how."""

    key: str
    offset: int
    length: int
    kind: str  # unsigned, ntp, address4, address6


_plans: weakref.WeakKeyDictionary[Layout, tuple[Read, ...]] = weakref.WeakKeyDictionary()


def plan(layout: Layout) -> tuple[Read, ...]:
    """The reads of a layout; of several elements with one key, the most preferred one.

    Where one element occurs more than once (RFC 7011 section 8: tunnels give outer and inner
    values in the order of the headers), the last one is read: the innermost packet.
    """
    known = _plans.get(layout)
    if known is not None:
        return known
    best: dict[str, tuple[int, Read]] = {}
    for f, offset in layout.flat:
        key = key_of(f.number, f.enterprise)
        if not key or f.length == 0:
            continue
        kind = "ntp" if "_ntp" in key else BY_NUMBER[f.number].kind
        wanted = {"address4": 4, "address6": 16, "ntp": 8}.get(kind)
        start, length = offset, f.length
        if wanted is not None and length != wanted:
            if length < wanted or (kind != "address4" and length != 16):
                continue
            start, length = offset + length - wanted, wanted  # a slot of variable length
        rank = PREFERENCE[f.number]
        if key not in best or rank <= best[key][0]:
            best[key] = rank, Read(key, start, length, kind)
    made = tuple(read for _, read in best.values())
    _plans[layout] = made
    return made


def read(layout: Layout, record: bytes) -> Values:
    """What a record of `layout.flat_size` octets says.

    Unsigned values beyond int64 are its maximum. NTP times are microseconds since 1970, 0 for
    an unset field.
    """
    out: Values = {}
    for r in plan(layout):
        octets = record[r.offset : r.offset + r.length]
        value = int.from_bytes(octets, "big")
        if r.kind == "ntp":
            seconds, fraction = value >> 32, value & 0xFFFFFFFF
            value = (seconds - NTP_EPOCH_S) * 1_000_000 + ((fraction * 1_000_000) >> 32)
            value = value if seconds else 0
        elif r.kind == "unsigned":
            value = min(value, MAX_INT)
        out[r.key] = value
    return out


def read_all(layout: Layout, flat: bytes, count: int) -> list[Values]:
    """What each of `count` records says, one behind the other in `flat`."""
    size = layout.flat_size
    return [read(layout, flat[i * size : (i + 1) * size]) for i in range(count)]
