"""Single addresses: text, and 16 octets with IPv4 mapped (RFC 4291 section 2.5.5.2).

An IPv4-mapped IPv6 address is the IPv4 address that it holds, everywhere.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from socket import AF_INET, AF_INET6, inet_pton

Address = IPv4Address | IPv6Address
MAPPED = b"\0" * 10 + b"\xff\xff"
"""The first 12 octets of a mapped IPv4 address."""


def plain(address: Address) -> Address:
    """The address itself; the IPv4 address of a mapped one."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def parse(text: str) -> Address:
    """The address that `text` is, mapped ones as IPv4. Raises ValueError."""
    return plain(ip_address(text))


def text_of(octets: bytes) -> str:
    """Canonical text of 4 or 16 octets, mapped ones as IPv4. Raises ValueError for other sizes."""
    if len(octets) == 4:
        return str(IPv4Address(octets))
    return str(plain(IPv6Address(octets)))


def octets_of(text: str) -> bytes:
    """The 16 octets of an address in text. Raises ValueError."""
    try:
        if ":" in text:
            return inet_pton(AF_INET6, text)
        return MAPPED + inet_pton(AF_INET, text)
    except (OSError, UnicodeEncodeError, ValueError):
        raise ValueError(text) from None
