"""BGP path attributes (RFC 4271 section 4.3) as the columns of a route: octets in, text out.

Real tables repeat a few thousand attribute blocks a million times, so each distinct block is
parsed once, and so is each distinct AS_PATH and community list inside it.
"""

from __future__ import annotations

import struct
from socket import AF_INET6, inet_ntoa, inet_ntop
from typing import Any, NamedTuple

OWN_ORIGIN = -1
"""`Route.origin` of a path without any AS: the route originates in the peer's own network."""

ORIGIN, AS_PATH, NEXT_HOP, MED, LOCAL_PREF, COMMUNITIES = 1, 2, 3, 4, 5, 8
MP_REACH, AS4_PATH, LARGE_COMMUNITIES = 14, 17, 32

_WANTED = sum(
    1 << code
    for code in (
        ORIGIN, AS_PATH, NEXT_HOP, MED, LOCAL_PREF, COMMUNITIES, MP_REACH, AS4_PATH,
        LARGE_COMMUNITIES,
    )
)  # fmt: skip

_SET, _SEQUENCE, _CONFED_SEQUENCE, _CONFED_SET = 1, 2, 3, 4
ORIGIN_CODES = ("IGP", "EGP", "INCOMPLETE")
"""Values of ORIGIN (RFC 4271 section 4.3); any other is unknown, and no reason to lose a route."""
_MEMO_BOUND = 1 << 18
"""Distinct paths or community lists kept; beyond it the memo starts again."""

_ORIGIN_TEXTS = {bytes([number]): text for number, text in enumerate(ORIGIN_CODES)}


class AttributesError(ValueError):
    """A block of path attributes that contradicts its own lengths; `reason` is countable."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class Route(NamedTuple):
    """What a block of attributes says of its prefixes."""

    origin: int | None
    """Last AS of the path; None for an AS_SET, `OWN_ORIGIN` for an empty path."""
    as_path: str
    next_hop: str | None
    med: int | None
    local_pref: int | None
    communities: str | None
    origin_code: str | None = None


Segments = list[tuple[int, tuple[int, ...]]]


def segments_of(value: bytes, width: int) -> Segments:
    """AS_PATH segments of `value`, whose ASNs are `width` (2 or 4) octets wide.

    Raises:
        AttributesError: a segment of unknown type, or longer than the attribute.
    """
    found: Segments = []
    at, end = 0, len(value)
    while at < end:
        if at + 2 > end:
            raise AttributesError("AS_PATH")
        kind, count = value[at], value[at + 1]
        at += 2
        after = at + count * width
        if after > end or not _SET <= kind <= _CONFED_SET:
            raise AttributesError("AS_PATH")
        if count:
            code = f">{count}{'I' if width == 4 else 'H'}"
            found.append((kind, struct.unpack_from(code, value, at)))
        at = after
    return found


def _length(segments: Segments) -> int:
    """Path length of RFC 4271 section 9.1.2.2 and RFC 5065: a set is 1, confederations are 0."""
    return sum(
        len(asns) if kind == _SEQUENCE else 1 if kind == _SET else 0 for kind, asns in segments
    )


def merged(narrow: Segments, wide: Segments) -> Segments:
    """The path of a 2-octet speaker with its AS4_PATH put in place (RFC 6793 section 4.2.3)."""
    wide = [segment for segment in wide if segment[0] in (_SET, _SEQUENCE)]
    keep = _length(narrow) - _length(wide)
    if not wide or keep < 0:
        return narrow
    lead: Segments = []
    for kind, asns in narrow:
        if kind not in (_SET, _SEQUENCE):
            lead.append((kind, asns))
            continue
        if keep <= 0:
            break
        taken = asns[:keep] if kind == _SEQUENCE else asns
        lead.append((kind, taken))
        keep -= len(taken) if kind == _SEQUENCE else 1
    if lead and lead[-1][0] == wide[0][0] == _SEQUENCE:
        joined = (_SEQUENCE, lead[-1][1] + wide[0][1])
        return [*lead[:-1], joined, *wide[1:]]
    return lead + wide


def path_text(segments: Segments) -> tuple[str, int | None]:
    """The path as text and its origin.

    Sequences are ASNs with blanks between, sets `{a,b}`, confederation sequences `(a,b)` and
    confederation sets `[a,b]`: one word without blanks for each step that is not one AS.
    """
    parts: list[str] = []
    origin: int | None = OWN_ORIGIN
    for kind, asns in segments:
        if kind == _SEQUENCE:
            parts.append(" ".join(map(str, asns)))
            origin = asns[-1]
        elif kind == _SET:
            parts.append("{" + ",".join(map(str, asns)) + "}")
            origin = None
        else:
            left, right = "()" if kind == _CONFED_SEQUENCE else "[]"
            parts.append(left + ",".join(map(str, asns)) + right)
    return " ".join(parts), origin


def _communities(value: bytes) -> str:
    if len(value) % 4:
        raise AttributesError("COMMUNITIES")
    parts = struct.unpack(f">{len(value) // 2}H", value)
    return " ".join(f"{a}:{b}" for a, b in zip(parts[::2], parts[1::2], strict=True))


def _large_communities(value: bytes) -> str:
    if len(value) % 12:
        raise AttributesError("LARGE_COMMUNITIES")
    parts = struct.unpack(f">{len(value) // 4}I", value)
    return " ".join(
        f"{a}:{b}:{c}" for a, b, c in zip(parts[::3], parts[1::3], parts[2::3], strict=True)
    )


def _address(value: bytes) -> str:
    """A next hop of 4, 16 or 32 octets (global, then link-local: RFC 2545 section 3)."""
    if len(value) == 4:
        return inet_ntoa(value)
    if len(value) in (16, 32):
        return inet_ntop(AF_INET6, value[:16])
    raise AttributesError("NEXT_HOP")


def _reach_next_hop(value: bytes) -> str | None:
    """Next hop of an MP_REACH_NLRI, whole or abbreviated.

    RFC 6396 section 4.3.4 keeps only the length and the address in a table dump; some writers
    keep the whole attribute, whose first octet is then the 0 of its address family.
    """
    if not value:
        raise AttributesError("MP_REACH_NLRI")
    at = 3 if value[0] == 0 else 0
    if len(value) < at + 1:
        raise AttributesError("MP_REACH_NLRI")
    length = value[at]
    address = value[at + 1 : at + 1 + length]
    if len(address) != length:
        raise AttributesError("MP_REACH_NLRI")
    return _address(address) if length in (4, 16, 32) else None


class AttributeParser:
    """Parses blocks of attributes; one for each source, since it remembers what it has seen.

    Where every block of a table is distinct, its paths, next hops and community lists still
    repeat: each is looked up by its octets, and only a new one is taken apart.
    """

    def __init__(self) -> None:
        self._paths: dict[tuple[bytes, bytes, int], tuple[str, int | None]] = {}
        self._hops: dict[tuple[int, bytes], str | None] = {}
        self._communities: dict[tuple[bytes, bytes], str] = {}
        self.last = (0, 0)
        """Code of the last attribute of the block just parsed, and where its value starts."""

    def parse(self, block: bytes, width: int) -> Route:
        """The route of a block whose AS_PATH has ASNs of `width` octets (2 or 4).

        AS4_PATH counts only where the path is 2 octets wide. No AS_PATH is an empty one: routers
        dump their own static and connected routes so. Of a repeated attribute the first counts
        (RFC 7606 section 3 g).

        Raises:
            AttributesError: lengths that contradict each other.
        """
        path = as4 = plain = large = code_of_origin = b""
        hop: tuple[int, bytes] | None = None
        med: int | None = None
        local_pref: int | None = None
        seen = 0
        at, end = 0, len(block)
        code = start = 0
        while at < end:
            start = at + 3
            if start > end:
                raise AttributesError("attribute header")
            code, size = block[at + 1], block[at + 2]
            if block[at] & 0x10:
                start = at + 4
                if start > end:
                    raise AttributesError("attribute header")
                size = size << 8 | block[at + 3]
            at = start + size
            if at > end:
                raise AttributesError("attribute length")
            bit = 1 << code
            if not _WANTED & bit & ~seen:
                continue
            seen |= bit
            value = block[start:at]
            if code == AS_PATH:
                path = value
            elif code == ORIGIN:
                code_of_origin = value
            elif code == MP_REACH:
                # A whole one ends in the prefix itself, which would make every block distinct.
                hop = (code, value[: 4 + value[3]] if size > 3 and not value[0] else value)
            elif code == NEXT_HOP and hop is None:
                hop = (code, value)
            elif code == COMMUNITIES:
                plain = value
            elif code == MED:
                med = _number(value, "MED")
            elif code == LOCAL_PREF:
                local_pref = _number(value, "LOCAL_PREF")
            elif code == LARGE_COMMUNITIES:
                large = value
            elif code == AS4_PATH and width == 2:
                as4 = value
        self.last = code, start
        path_key = (path, as4, width)
        steps = self._paths.get(path_key)
        if steps is None:
            steps = self._learn_path(path_key)
        next_hop = None if hop is None else self.next_hop(hop)
        communities = None
        if plain or large:
            key = (plain, large)
            communities = self._communities.get(key)
            if communities is None:
                communities = self._learn_communities(key)
        origin_code = _ORIGIN_TEXTS.get(code_of_origin)
        return Route(steps[1], steps[0], next_hop, med, local_pref, communities, origin_code)

    def _learn_path(self, key: tuple[bytes, bytes, int]) -> tuple[str, int | None]:
        value, as4, width = key
        segments = segments_of(value, width)
        if as4:
            segments = merged(segments, segments_of(as4, 4))
        _bound(self._paths)
        found = self._paths[key] = path_text(segments)
        return found

    def next_hop(self, key: tuple[int, bytes]) -> str | None:
        """The address in an attribute of this code and value.

        Raises:
            AttributesError: lengths that contradict each other.
        """
        if key in self._hops:
            return self._hops[key]
        code, value = key
        _bound(self._hops)
        found = self._hops[key] = _reach_next_hop(value) if code == MP_REACH else _address(value)
        return found

    def _learn_communities(self, key: tuple[bytes, bytes]) -> str:
        texts = (_communities(key[0]), _large_communities(key[1]))
        _bound(self._communities)
        found = self._communities[key] = " ".join(word for word in texts if word)
        return found


def _bound(memo: dict[Any, Any]) -> None:
    if len(memo) >= _MEMO_BOUND:
        memo.clear()


def _number(value: bytes, name: str) -> int:
    if len(value) != 4:
        raise AttributesError(name)
    return int.from_bytes(value, "big")
