"""Which peers' views of a RIB are wanted."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address

from flowpeer.errors import UsageError

_ASN = re.compile(r"(?:AS)?(\d{1,10})", re.IGNORECASE)


@dataclass(frozen=True)
class Peers:
    """A choice of peers: by AS number, by address, or by both."""

    asns: frozenset[int] = frozenset()
    addresses: frozenset[str] = frozenset()
    views: frozenset[tuple[int, str]] = frozenset()

    @classmethod
    def of(cls, choices: Iterable[str]) -> Peers | None:
        """From words like `AS3356`, `192.0.2.1` or `AS3356@192.0.2.1`; None where there are none.

        Raises:
            UsageError: a word that is none of these.
        """
        asns: set[int] = set()
        addresses: set[str] = set()
        views: set[tuple[int, str]] = set()
        for choice in choices:
            name, at, rest = choice.strip().partition("@")
            match = _ASN.fullmatch(name)
            asn = int(match[1]) if match else None
            address = _address(rest if at else name)
            if asn is not None and not at:
                asns.add(asn)
            elif asn is not None and address is not None:
                views.add((asn, address))
            elif address is not None and not at:
                addresses.add(address)
            else:
                raise UsageError(
                    f"{choice!r} is no peer",
                    advice="name peers like AS3356, 192.0.2.1 or AS3356@192.0.2.1",
                )
        if not asns and not addresses and not views:
            return None
        return cls(frozenset(asns), frozenset(addresses), frozenset(views))

    def wanted(self, asn: int, address: str) -> bool:
        """Whether this peer was chosen; `address` is canonical."""
        return asn in self.asns or address in self.addresses or (asn, address) in self.views

    @property
    def words(self) -> list[str]:
        """The choice as words, sorted."""
        return sorted(
            {
                *(f"AS{asn}" for asn in self.asns),
                *self.addresses,
                *(f"AS{asn}@{address}" for asn, address in self.views),
            }
        )


def _address(text: str) -> str | None:
    try:
        return str(ip_address(text))
    except ValueError:
        return None
