"""BGP messages (RFC 4271, multiprotocol RFC 4760, ADD-PATH RFC 7911): octets in, routes out.

Only unicast routes of IPv4 and IPv6 are taken; what else an UPDATE carries is named.
"""

from __future__ import annotations

from typing import NamedTuple

from flowpeer.routing.bgp.attributes import MP_REACH, NEXT_HOP

MARKER = b"\xff" * 16
HEADER_OCTETS = 19
MAX_MESSAGE = 65_535
"""With the Extended Message capability (RFC 8654); 4,096 without it."""
OPEN, UPDATE, NOTIFICATION, KEEPALIVE, ROUTE_REFRESH = 1, 2, 3, 4, 5
MP_UNREACH = 15
FAMILY_OF_AFI = {1: 4, 2: 6}
_UNICAST = 1
_MULTIPROTOCOL, _FOUR_OCTETS, _ADD_PATH = 1, 65, 69
_BITS = {4: 32, 6: 128}


class MessageError(ValueError):
    """A message that contradicts its own lengths; `reason` is countable."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class Nlri(NamedTuple):
    """A prefix as BGP writes it."""

    key: bytes
    """Family (4 or 6), length in bits, and the octets the length needs; bits beyond it are 0."""
    path_id: int
    """−1 where the session has none."""


class Update(NamedTuple):
    """What an UPDATE says of unicast routes."""

    withdrawn: list[Nlri]
    announced: list[tuple[bytes, list[Nlri]]]
    """Attribute blocks, each with the routes it describes. In a block of MP_REACH_NLRI that
    attribute stands abbreviated, as in table dumps (RFC 6396 section 4.3.4)."""
    skipped: list[str]
    """Other address families in it."""


def messages(data: bytes) -> list[tuple[int, bytes]]:
    """Type and body of each message in `data`, which must hold whole ones.

    Raises:
        MessageError: a length that does not fit.
    """
    found: list[tuple[int, bytes]] = []
    at = 0
    while at < len(data):
        length = int.from_bytes(data[at + 16 : at + 18], "big")
        if length < HEADER_OCTETS or at + length > len(data):
            raise MessageError("BGP message length")
        found.append((data[at + 18], data[at + HEADER_OCTETS : at + length]))
        at += length
    return found


def nlri(data: bytes, family: int, *, add_path: bool = False) -> list[Nlri]:
    """The prefixes of a field of them.

    Raises:
        MessageError: a length beyond the family's, or beyond the field.
    """
    found: list[Nlri] = []
    bits, at, end = _BITS[family], 0, len(data)
    lead = bytes([family])
    path_id = -1
    while at < end:
        if add_path:
            path_id = int.from_bytes(data[at : at + 4], "big")
            at += 4
        if at >= end:
            raise MessageError("NLRI")
        length = data[at]
        after = at + 1 + (length + 7 >> 3)
        if length > bits or after > end:
            raise MessageError("NLRI")
        key = data[at:after]
        beyond = 0xFF >> (length & 7) if length & 7 else 0
        if key[-1] & beyond:
            key = key[:-1] + bytes([key[-1] & ~beyond & 0xFF])
        found.append(Nlri(lead + key, path_id))
        at = after
    return found


def update(body: bytes, add_path: frozenset[int] = frozenset()) -> Update:
    """The body of an UPDATE (RFC 4271 section 4.3).

    Args:
        add_path: families whose routes carry a path identifier in this session.

    Raises:
        MessageError: lengths that contradict each other.
    """
    if len(body) < 4:
        raise MessageError("UPDATE length")
    first = 2 + int.from_bytes(body[:2], "big")
    start = first + 2
    if start > len(body):
        raise MessageError("UPDATE withdrawn routes length")
    end = start + int.from_bytes(body[first:start], "big")
    if end > len(body):
        raise MessageError("UPDATE attributes length")
    withdrawn = nlri(body[2:first], 4, add_path=4 in add_path) if first > 2 else []
    plain, others = bytearray(), bytearray()  # attributes of IPv4 NLRI, and of MP_REACH_NLRI
    reached: list[tuple[bytes, list[Nlri]]] = []
    skipped: list[str] = []
    at = start
    while at < end:
        extended = body[at] & 0x10
        value = at + (4 if extended else 3)
        if value > end:
            raise MessageError("attribute header")
        code, size = body[at + 1], body[at + 2]
        if extended:
            size = size << 8 | body[at + 3]
        after = value + size
        if after > end:
            raise MessageError("attribute length")
        if code == MP_REACH:
            found = _reach(body[value:after], add_path, skipped)
            if found is not None:
                reached.append(found)
        elif code == MP_UNREACH:
            withdrawn += _unreach(body[value:after], add_path, skipped)
        else:
            plain += body[at:after]
            if code != NEXT_HOP:
                others += body[at:after]
        at = after
    announced: list[tuple[bytes, list[Nlri]]] = []
    if end < len(body):
        announced.append((bytes(plain), nlri(body[end:], 4, add_path=4 in add_path)))
    for hop, routes in reached:
        head = bytes([0x80, MP_REACH, len(hop) + 1, len(hop)])
        announced.append((bytes(others) + head + hop, routes))
    return Update(withdrawn, announced, skipped)


def _reach(
    value: bytes, add_path: frozenset[int], skipped: list[str]
) -> tuple[bytes, list[Nlri]] | None:
    """Next hop and routes of an MP_REACH_NLRI (RFC 4760 section 3)."""
    if len(value) < 5:
        raise MessageError("MP_REACH_NLRI")
    family = _unicast(value, skipped)
    if family is None:
        return None
    end = 4 + value[3]
    if end + 1 > len(value):
        raise MessageError("MP_REACH_NLRI")
    return value[4:end], nlri(value[end + 1 :], family, add_path=family in add_path)


def _unreach(value: bytes, add_path: frozenset[int], skipped: list[str]) -> list[Nlri]:
    """Routes of an MP_UNREACH_NLRI (RFC 4760 section 4)."""
    if len(value) < 3:
        raise MessageError("MP_UNREACH_NLRI")
    family = _unicast(value, skipped)
    if family is None:
        return []
    return nlri(value[3:], family, add_path=family in add_path)


def _unicast(value: bytes, skipped: list[str]) -> int | None:
    afi, safi = int.from_bytes(value[:2], "big"), value[2]
    family = FAMILY_OF_AFI.get(afi)
    if family is not None and safi == _UNICAST:
        return family
    skipped.append(f"routes of AFI {afi}, SAFI {safi}")
    return None


class Open(NamedTuple):
    """What an OPEN says (RFC 4271 section 4.2, RFC 5492)."""

    asn: int
    four_octets: bool
    add_path_receive: frozenset[int]
    add_path_send: frozenset[int]
    """Families whose unicast routes the speaker can receive or send with path identifiers."""


def open_message(body: bytes) -> Open:
    """The body of an OPEN.

    Raises:
        MessageError: lengths that contradict each other.
    """
    if len(body) < 10:
        raise MessageError("OPEN length")
    asn = int.from_bytes(body[1:3], "big")
    size, at, wide = body[9], 10, 1
    if size == 255 and len(body) >= 13 and body[10] == 255:  # RFC 9072: long parameters
        size, at, wide = int.from_bytes(body[11:13], "big"), 13, 2
    end = at + size
    if end > len(body):
        raise MessageError("OPEN parameters length")
    four = False
    receive: set[int] = set()
    send: set[int] = set()
    while at < end:
        start = at + 1 + wide
        after = start + int.from_bytes(body[at + 1 : start], "big")
        if start > end or after > end:
            raise MessageError("OPEN parameter length")
        if body[at] == 2:
            for code, value in _capabilities(body[start:after]):
                if code == _FOUR_OCTETS and len(value) == 4:
                    four, asn = True, int.from_bytes(value, "big")
                elif code == _ADD_PATH:
                    for i in range(0, len(value) - 3, 4):
                        family = FAMILY_OF_AFI.get(int.from_bytes(value[i : i + 2], "big"))
                        if family is not None and value[i + 2] == _UNICAST:
                            receive |= {family} if value[i + 3] & 1 else set()
                            send |= {family} if value[i + 3] & 2 else set()
        at = after
    return Open(asn, four, frozenset(receive), frozenset(send))


def _capabilities(data: bytes) -> list[tuple[int, bytes]]:
    found: list[tuple[int, bytes]] = []
    at = 0
    while at < len(data):
        after = at + 2 + (data[at + 1] if at + 1 < len(data) else 0)
        if at + 2 > len(data) or after > len(data):
            raise MessageError("OPEN capability length")
        found.append((data[at], data[at + 2 : after]))
        at = after
    return found
