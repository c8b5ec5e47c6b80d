"""Which route, origin and path an address has, and what is known of a prefix or a network: the
rows of `flowpeer lookup`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from ipaddress import IPv6Address, ip_address
from types import MappingProxyType
from typing import Any, Literal

import pyarrow.compute as pc
import pyarrow.parquet as pq

from flowpeer.errors import NoDataError, UsageError
from flowpeer.lake.store import Lake
from flowpeer.routing.rib.details import Interfaces, Rib, parse_prefix
from flowpeer.routing.rib.match import RouteTable, open_table
from flowpeer.routing.rib.snapshot import SnapshotInfo, in_force, snapshots
from flowpeer_core.asns import AS_SET


def lookup(
    lake: Lake, addresses: Sequence[str], *, as_of: datetime | None = None
) -> list[dict[str, Any]]:
    """One row an address, in their order: address (as given), prefix, origin_asn, origins,
    origin_name, as_path, snapshot, vantage.

    origin_asn is None without a route and −3 for an AS_SET; origins lists all of them where the
    views of the snapshot have more than one. The snapshot is the network-wide one in force at
    `as_of` (now if None) that has the address's family; without any network-wide one, the latest
    of the others.

    Raises:
        UsageError: an address that is none.
        NoDataError: no snapshot has been loaded.
    """
    families = [_family(text) for text in addresses]
    infos = _snapshots(lake)
    when = as_of if as_of is not None else datetime.now(UTC)
    rows: list[dict[str, Any]] = [{} for _ in addresses]
    for family in sorted(set(families)):
        info = _chosen(infos, when, family)
        places = [i for i, found in enumerate(families) if found == family]
        table = open_table(lake, info)
        for place, row in zip(
            places, _rows(table, info, [addresses[i] for i in places]), strict=True
        ):
            rows[place] = row
    _name(lake, rows)
    return rows


Kind = Literal["address", "prefix", "asn"]


def kind_of(text: str) -> Kind:
    """What was asked for: `192.0.2.1`, `192.0.2.0/24`, or `AS64500` (or just the number).

    Raises:
        UsageError: none of these.
    """
    if re.fullmatch(r"(?i:as)?[0-9]{1,10}", text) and _asn(text) <= 0xFFFFFFFF:
        return "asn"
    if "/" not in text:
        _family(text)
        return "address"
    try:
        parse_prefix(text)
    except ValueError:
        raise UsageError(
            f"not an address, a prefix or an AS number: {text!r}",
            advice="give them like 192.0.2.1, 192.0.2.0/24, 2001:db8::/32 or AS64500",
        ) from None
    return "prefix"


def detailed(
    lake: Lake,
    queries: Sequence[str],
    *,
    as_of: datetime | None = None,
    interfaces: Interfaces = MappingProxyType({}),
) -> list[dict[str, Any]]:
    """All that is known of addresses, prefixes and networks, one dictionary each.

    Args:
        interfaces: our interfaces to each neighbour, in words: a view of a neighbour is what its
            interface offers.

    Returns:
        For an address the row of `lookup`, for a prefix `asked`, for a network asn, name,
        organisation and country; then what `details.Rib` says of it.

    Raises:
        UsageError: a word that is none of these.
        NoDataError: no snapshot has been loaded.
    """
    kinds = [kind_of(query) for query in queries]
    rib = Rib(lake, _snapshots(lake), as_of or datetime.now(UTC), interfaces)
    plain = iter(
        lookup(lake, [w for w, kind in zip(queries, kinds, strict=True) if kind == "address"],
               as_of=as_of)
    )  # fmt: skip
    rows: list[dict[str, Any]] = []
    for query, kind in zip(queries, kinds, strict=True):
        if kind == "asn":
            number = _asn(query)
            rows.append({"asn": number, **_registered(lake, number), **rib.asn(number)})
        elif kind == "prefix":
            network = parse_prefix(query)
            rows.append({"asked": query, **rib.prefix(network)})
        else:
            found = rib.prefix(parse_prefix(query))
            for key in ("exact", "more_specific", "more_specific_count"):
                del found[key]
            rows.append({**next(plain), **found})
    for row in rows:
        for key in ("covering", "more_specific", "routes", "views"):
            if row.get(key) and "origin_asn" in row[key][0]:
                _name(lake, row[key])
        _name(lake, row.get("neighbours", []), asn="asn", name="name")
    return rows


def _snapshots(lake: Lake) -> list[SnapshotInfo]:
    infos = snapshots(lake)
    if not infos:
        raise NoDataError(f"{lake}: no RIB snapshot", advice="load one: flowpeer rib load FILE")
    return infos


def _asn(text: str) -> int:
    return int(text.upper().removeprefix("AS"))


def _registered(lake: Lake, asn: int) -> dict[str, Any]:
    row: dict[str, Any] = {"name": None, "organisation": None, "country": None}
    if lake.entry("reference/asns.parquet") is not None:
        table = pq.read_table(lake.path("reference/asns.parquet"), filters=[("asn", "=", asn)])
        for found in table.to_pylist():
            row |= {key: found[key] for key in row}
    return row


def _family(text: str) -> int:
    try:
        parsed = ip_address(text)
    except ValueError:
        raise UsageError(
            f"not an IP address: {text!r}", advice="give addresses like 192.0.2.1 or 2001:db8::1"
        ) from None
    if isinstance(parsed, IPv6Address):
        if parsed.scope_id is not None:
            raise UsageError(
                f"an address with a zone is not routed: {text!r}",
                advice="leave the zone out (after %)",
            )
        return 4 if parsed.ipv4_mapped is not None else 6
    return 4


def _chosen(infos: Sequence[SnapshotInfo], when: datetime, family: int) -> SnapshotInfo:
    for wanted in (family, None):
        found = in_force(infos, when, exporter="", metro="", family=wanted)
        if found is not None:
            return found
    with_family = [i for i in infos if (i.prefixes4 if family == 4 else i.prefixes6)] or infos
    before = [i for i in with_family if i.taken_at <= when]
    return before[-1] if before else with_family[0]


def _rows(table: RouteTable, info: SnapshotInfo, addresses: list[str]) -> list[dict[str, Any]]:
    index = table.match_text(addresses)
    rows: list[dict[str, Any]] = []
    for address, place in zip(addresses, index.tolist(), strict=True):
        row: dict[str, Any] = dict.fromkeys(
            ("address", "prefix", "origin_asn", "origins", "origin_name", "as_path")
        )
        row |= {"address": address, "snapshot": info.name, "vantage": info.vantage}
        if place >= 0:
            route = table.routes.slice(place, 1).to_pylist()[0]
            for key in ("prefix", "origin_asn", "origins", "as_path"):
                row[key] = route[key]
            row["vantage"] = route["vantage"] or info.vantage
        rows.append(row)
    return rows


def _name(
    lake: Lake, rows: list[dict[str, Any]], *, asn: str = "origin_asn", name: str = "origin_name"
) -> None:
    """Fill names from reference/asns, where loaded."""
    asns = {row[asn] for row in rows} - {None}
    names: dict[int, str] = {}
    if asns and lake.entry("reference/asns.parquet") is not None:
        table = pq.read_table(lake.path("reference/asns.parquet"), columns=["asn", "name"])
        chosen = table.filter(pc.is_in(table["asn"], pc.cast(list(asns), table["asn"].type)))
        names = dict(zip(chosen["asn"].to_pylist(), chosen["name"].to_pylist(), strict=True))
    if AS_SET in asns:
        names.setdefault(AS_SET, "AS set")
    for row in rows:
        row[name] = names.get(row[asn])
