"""AS numbers: which are networks of the public Internet, and the codes that stand for none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

UNROUTED, PRIVATE, AS_SET, OWN, NO_ADDRESS, FOLDED = -1, -2, -3, -4, -5, -6
SPECIAL_ASNS: Mapping[int, str] = {
    UNROUTED: "unrouted",
    PRIVATE: "private or reserved ASN",
    AS_SET: "AS set",
    OWN: "own",
    NO_ADDRESS: "no address",
    FOLDED: "folded to hours",
}
"""Codes of `remote_asn` and `origin_asn` that stand for no public network, and their names."""

AS_TRANS = 23456
"""Stands in 16-bit AS paths for a number that does not fit (RFC 6793)."""


def is_public(asn: Any) -> Any:
    """Whether a network of the public Internet can have this ASN, by IANA's registry.

    `asn` is an integer, or a numpy array or Polars expression of integers; the answer is a bool or
    an array or expression of them. Not public: 0 and below, AS_TRANS, 64496 to 131071
    (documentation, private, last 16-bit and reserved: RFC 5398, 6996, 7300), 4,200,000,000 and
    above (private and last: RFC 6996, 7300).
    """
    low = (asn > 0) & (asn < 64_496) & (asn != AS_TRANS)
    return low | (asn > 131_071) & (asn < 4_200_000_000)
