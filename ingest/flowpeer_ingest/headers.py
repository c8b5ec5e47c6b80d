"""The starts of many packets at once → where the elements of their flow records lie.

Kept in step by hand with `wire/frames.py`, which describes one packet after the other and knows
more: what is marked `odd` here (labels, more than three VLAN tags, IPv6 extension headers) is its
business. A test holds both equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flowpeer_ingest.reading import Ints, Octets

Bools = NDArray[np.bool_]

TAIL = 256
"""Zeros wanted behind the last octet: a header cut short is read beyond its end before it is known
to be cut."""
MAX_TAGS = 3
ETHERNET, MPLS = 1, 13
BARE = (11, 12)
_VLANS = (0x8100, 0x88A8, 0x9100, 0x9200)
_LABELLED = (0x8847, 0x8848)
_PACKETS = (0x0800, 0x86DD)
_EXTENSIONS = (0, 43, 44, 60, 135)
_TCP, _PORTED, _ICMPS = 6, (6, 17, 132), (1, 58)


@dataclass(slots=True)
class Element:
    """An element of some of the records: which ones, and the place of its octets or its value."""

    present: Bools
    places: Ints | None = None
    values: Ints | None = None


class View:
    """Big-endian numbers at any place of some octets."""

    def __init__(self, octets: bytes) -> None:
        self.octets = octets
        self.bytes: Octets = np.frombuffer(octets, np.uint8)

    def at(self, size: int) -> NDArray[np.void]:
        """Every stretch of `size` octets, by where it begins."""
        return np.ndarray((len(self.octets) - size + 1,), f"V{size}", self.octets, 0, (1,))

    def u8(self, place: Ints) -> Ints:
        return self.bytes[place].astype(np.int64)

    def u16(self, place: Ints) -> Ints:
        return self._unsigned(place, 2)

    def u32(self, place: Ints) -> Ints:
        return self._unsigned(place, 4)

    def _unsigned(self, place: Ints, size: int) -> Ints:
        every: NDArray[np.unsignedinteger] = np.ndarray(
            (len(self.octets) - size + 1,), f">u{size}", self.octets, 0, (1,)
        )
        return every[place].astype(np.int64)


def one_of(values: Ints, wanted: Sequence[int]) -> Bools:
    """Which values are one of a few."""
    found: Bools = values == wanted[0]
    for one in wanted[1:]:
        found = found | (values == one)
    return found


@dataclass(slots=True)
class Headers:
    """What `read` found: by packet whether it is one of IP and which, and its elements."""

    found: Bools
    four: Bools
    odd: Bools
    elements: dict[int, Element]


def read(view: View, start: Ints, size: Ints, protocol: Ints) -> Headers:
    """Headers of `size` octets at `start`; `protocol` as in sFlow's sampled header, 0 for none.

    Elements of what is not found, or is odd, mean nothing.
    """
    end = start + size
    framed = (protocol == ETHERNET) & (size >= 14)
    odd = protocol == MPLS
    kind = np.where(framed, view.u16(start + 12), 0)
    at = start + 14 * framed
    for _ in range(MAX_TAGS):
        tagged = one_of(kind, _VLANS)
        if not tagged.any():
            break
        odd |= tagged & (end - at < 4)
        kind = np.where(tagged, view.u16(at + 2), kind)
        at = at + 4 * tagged
    odd |= one_of(kind, (*_VLANS, *_LABELLED))
    packet = one_of(protocol, BARE) | (framed & one_of(kind, _PACKETS))
    room = end - at
    first = view.u8(at)
    version = first >> 4
    four = packet & (version == 4) & (room >= 20)
    six = packet & (version == 6) & (room >= 40)
    found = four | six
    following = at + np.where(four, 9, 6)
    transport = view.u8(following)
    odd |= six & one_of(transport, _EXTENSIONS)
    second = view.u8(at + 1)
    length = np.where(four, view.u16(at + 2), view.u16(at + 4) + 40)
    later = four & (view.u16(at + 6) & 0x1FFF != 0)  # a fragment without the transport header
    behind = at + np.where(four, (first & 15) * 4, 40)
    rest = np.where(found & ~later, end - behind, 0)
    ported = one_of(transport, _PORTED) & (rest >= 4)
    icmp = one_of(transport, _ICMPS) & (rest >= 2)
    elements = {
        1: Element(found, values=length),
        4: Element(found, places=following),
        5: Element(found, values=np.where(four, second, (first << 4 | second >> 4) & 255)),
        6: Element((transport == _TCP) & (rest >= 14), places=behind + 13),
        7: Element(ported, places=behind),
        8: Element(four, places=at + 12),
        11: Element(ported | icmp, places=behind + 2 * ported),
        12: Element(four, places=at + 16),
        27: Element(six, places=at + 8),
        28: Element(six, places=at + 24),
        56: Element(found & framed, places=start + 6),
        80: Element(found & framed, places=start),
    }
    return Headers(found, four, odd, elements)
