"""The start of a packet, as routers copy it → the elements of a flow record.

Ethernet with any VLAN tags (IEEE 802.1Q), MPLS (RFC 3032) with or without a pseudowire (RFC
4448), IPv4, IPv6 with extension headers, then TCP, UDP, SCTP or ICMP. The outermost IP packet
is described, except under segment routing. A header that ends early gives what there is.
"""

from __future__ import annotations

from typing import TypeAlias

Values: TypeAlias = dict[int, bytes]
"""Information element number → octets at the length of `LENGTHS`."""

LENGTHS = {
    1: 8, 2: 8, 4: 1, 5: 1, 6: 1, 7: 2, 8: 4, 9: 1, 10: 4, 11: 2, 12: 4, 13: 1, 14: 4, 15: 4,
    16: 4, 17: 4, 18: 4, 27: 16, 28: 16, 29: 1, 30: 1, 34: 4, 56: 6, 62: 16, 63: 16, 80: 6,
}  # fmt: skip

_VLANS = frozenset({0x8100, 0x88A8, 0x9100, 0x9200})
_MPLS = frozenset({0x8847, 0x8848})
_EXTENSIONS = frozenset({0, 43, 60, 135})
_ROUTING = 43
_PACKETS = frozenset({4, 41})
_FRAGMENT, _TCP, _UDP, _ICMP, _ICMP6, _SCTP = 44, 6, 17, 1, 58, 132
MAX_NESTED = 16
"""VLAN tags, labels, extension headers and pseudowires passed over; real packets have under ten."""


def ethernet(data: bytes, depth: int = 0) -> Values | None:
    """Elements of an Ethernet frame, None if it holds no IP packet. `depth`: pseudowires around."""
    out: Values = {}
    if len(data) < 14 or depth >= MAX_NESTED:
        return None
    out[80], out[56] = data[0:6], data[6:12]
    kind = int.from_bytes(data[12:14], "big")
    at = 14
    for _ in range(MAX_NESTED):
        if kind not in _VLANS:
            break
        kind = int.from_bytes(data[at + 2 : at + 4], "big")
        at += 4
    if kind in _MPLS:
        found = mpls(data[at:], depth)
    elif kind in (0x0800, 0x86DD):
        found = ip(data[at:])
    else:
        found = None
    return None if found is None else found | out  # the link's MACs, not a pseudowire's


def mpls(data: bytes, depth: int = 0) -> Values | None:
    """Elements of what lies under a label stack: IP, or Ethernet behind a control word."""
    at = 0
    for _ in range(MAX_NESTED):
        if len(data) < at + 4:
            return None
        bottom = data[at + 2] & 1
        at += 4
        if bottom:
            break
    inner = data[at:]
    if inner and inner[0] >> 4 in (4, 6):
        return ip(inner)
    if inner and inner[0] >> 4 == 0:
        return ethernet(inner[4:], depth + 1)
    return None


def ip(data: bytes, *, carried: bool = False) -> Values | None:
    """Elements of an IPv4 or IPv6 packet, None if it is neither.

    An IPv6 packet with a segment routing header (RFC 8754) shows the packet that it carries,
    one level deep: the segments are our own routers.
    """
    if not data:
        return None
    version = data[0] >> 4
    if version == 4 and len(data) >= 20:
        return _ip4(data)
    if version == 6 and len(data) >= 40:
        return _ip6(data, carried=carried)
    return None


def _ip4(data: bytes) -> Values:
    protocol = data[9]
    out: Values = {
        1: data[2:4].rjust(8, b"\0"),
        4: data[9:10],
        5: data[1:2],
        8: data[12:16],
        12: data[16:20],
    }
    if not int.from_bytes(data[6:8], "big") & 0x1FFF:
        _transport(protocol, data[(data[0] & 15) * 4 :], out)
    return out


def _ip6(data: bytes, *, carried: bool) -> Values:
    following = data[6]
    total = int.from_bytes(data[4:6], "big") + 40
    out: Values = {
        1: total.to_bytes(8, "big"),
        5: bytes([(data[0] << 4 | data[1] >> 4) & 255]),
        27: data[8:24],
        28: data[24:40],
    }
    at = 40
    first_part = True
    routed = False
    for _ in range(MAX_NESTED):
        if following == _FRAGMENT and len(data) >= at + 8:
            first_part = not int.from_bytes(data[at + 2 : at + 4], "big") & 0xFFF8
            following = data[at]
            at += 8
        elif following in _EXTENSIONS and len(data) >= at + 2:
            routed |= following == _ROUTING
            following, size = data[at], data[at + 1]
            at += 8 + size * 8
        else:
            break
    if routed and not carried and following in _PACKETS:
        inner = ip(data[at:], carried=True)
        if inner is not None:
            return inner
    out[4] = bytes([following])
    if first_part:
        _transport(following, data[at:], out)
    return out


def _transport(protocol: int, data: bytes, out: Values) -> None:
    if protocol in (_TCP, _UDP, _SCTP) and len(data) >= 4:
        out[7], out[11] = data[0:2], data[2:4]
        if protocol == _TCP and len(data) >= 14:
            out[6] = data[13:14]
    elif protocol in (_ICMP, _ICMP6) and len(data) >= 2:
        out[11] = data[0:2]
