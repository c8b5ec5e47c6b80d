"""What `check` says of a configuration that reads well and is wrong, with the likely cause.

Everything in it is held against what is loaded: views of providers, PeeringDB, coordinates.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from fractions import Fraction

import polars as pl

from flowpeer import catalog
from flowpeer.analysis.bills import exchange_rates, peering_prices
from flowpeer.checks.findings import Finding
from flowpeer.lake.store import Lake
from flowpeer.network import Configuration
from flowpeer.routing.rib.snapshot import SnapshotInfo
from flowpeer_core.asns import is_public
from flowpeer_reports.places import Position, distance_km

FAR_KM = 150
"""Facilities further from their metro belong to another one: wide metros span some 80 km."""
_NAMED = re.compile(r"\bAS[N ]?\s?(\d{1,10})\b", re.IGNORECASE | re.ASCII)


def configured(
    network: Configuration, lake: Lake, infos: Sequence[SnapshotInfo]
) -> Iterator[Finding]:
    """Everything that is wrong by name."""
    net = catalog.scan(lake.root, "peeringdb_net").collect()
    yield from _dump(lake, net)
    yield from transits(network, lake, infos)
    yield from _sessions(network, lake, net, infos)
    yield from places(network, lake)
    yield from currencies(network)


def currencies(network: Configuration) -> Iterator[Finding]:
    """Prices that no rate brings into the network's currency (M8)."""
    convert, ours, prices = (
        exchange_rates(network),
        network.network.currency,
        peering_prices(network),
    )
    stated = [(f"contract {c.id}", c.currency) for c in network.contracts]
    stated += [("peering costs", prices.general.currency)]
    for kind, costs in (("exchange", prices.exchanges), ("facility", prices.facilities)):
        stated += [(f"{kind} {n} of {m}", cost.currency) for (m, n), cost in costs.items()]
    stated += [(f"metro {metro}", cost.currency) for metro, cost in prices.metros.items()]
    for subject, currency in stated:
        if currency is not None and convert(Fraction(1), currency) is None:
            yield Finding(
                "warning", subject,
                f"its prices are in {currency}, and no rate says what that is in {ours}: money "
                "that hangs on them is not given",
                f'add [[fx]] with from = "{currency}", to = "{ours}" and rate', "no-rate",
            )  # fmt: skip


def transits(
    network: Configuration, lake: Lake, infos: Sequence[SnapshotInfo]
) -> Iterator[Finding]:
    """Providers that no view has a path through."""
    by_asn: dict[int, list[str]] = {}
    texts: dict[int, list[str]] = {}
    for i in network.interfaces:
        if i.role == "transit" and i.asn is not None:
            by_asn.setdefault(i.asn, []).append(f"{i.index} of {i.exporter}")
            texts.setdefault(i.asn, []).extend(t for t in (i.description, i.name) if t)
    known = _in_views(lake, infos, by_asn)
    if known is None:
        return
    for asn in sorted(by_asn.keys() - known):
        named_asns = [int(n) for text in texts[asn] for n in _NAMED.findall(text) if int(n) != asn]
        seen = _in_views(lake, infos, named_asns) or set()
        named = next((n for n in named_asns if n in seen), next(iter(named_asns), None))
        cause = f"; the description says AS{named}" if named is not None else ""
        yield Finding(
            "warning", f"interface {by_asn[asn][0]}",
            f"AS{asn} is in no view{cause}",
            f"set asn = {named} under [[interfaces]]" if named is not None
            else "fix its asn under [[interfaces]], or load a view of this provider",
            "unknown-asn",
        )  # fmt: skip


def _in_views(
    lake: Lake, infos: Sequence[SnapshotInfo], asns: Sequence[int] | dict[int, list[str]]
) -> set[int] | None:
    """Which of some ASNs are on a path of the latest tables; None where no table has paths."""
    wanted = sorted(set(asns))
    files = [lake.path(f"routes/{info.name}.parquet") for info in infos[-8:]]
    frames = [pl.scan_parquet(f, glob=False).select("as_path") for f in files if f.is_file()]
    if not frames:
        return None
    paths = pl.concat(frames).drop_nulls().unique()
    found = paths.select(
        pl.len().alias("paths"),
        *(
            pl.col("as_path").str.contains(rf"(^|[ {{,]){asn}($|[ }},])").any().alias(str(asn))
            for asn in wanted
        ),
    ).collect()
    if not found["paths"][0]:
        return None
    return {asn for asn in wanted if found[str(asn)][0]}


def _sessions(
    network: Configuration, lake: Lake, net: pl.DataFrame, infos: Sequence[SnapshotInfo]
) -> Iterator[Finding]:
    """Sessions with networks that nobody knows."""
    asked = sorted({s.asn for s in network.sessions})
    if not asked or net.is_empty():
        return
    names = catalog.scan(lake.root, "asns").select("asn").collect()["asn"].to_list()
    known = {*net["asn"].drop_nulls().to_list(), *names}
    unknown = [asn for asn in asked if asn not in known]
    seen = _in_views(lake, infos, unknown) or set()
    for session in network.sessions:
        asn = session.asn
        if asn in unknown and asn not in seen:
            why = "" if is_public(asn) else ", which is no public number"
            yield Finding(
                "warning", f"session AS{asn} in {session.metro}",
                f"AS{asn} is in no view, no table of names and not in PeeringDB{why}",
                "fix its asn under [[sessions]], or take it out", "unknown-asn",
            )  # fmt: skip


def _dump(lake: Lake, net: pl.DataFrame) -> Iterator[Finding]:
    """A dump of PeeringDB that lacks what lists are made from."""
    loaded = [n for n in ("net", "netixlan", "ix", "fac", "netfac")
              if lake.entry(f"reference/peeringdb_{n}.parquet") is not None]  # fmt: skip
    if not loaded:
        return
    for name, what in (("net", "networks: no names, policies or organisations"),
                       ("netixlan", "ports: nobody can be met at an exchange")):  # fmt: skip
        if catalog.scan(lake.root, f"peeringdb_{name}").select(pl.len()).collect().item() == 0:
            yield Finding("warning", "peeringdb", f"the dump has no `{name}`: it knows no {what}",
                          "load a whole dump (`flowpeer peeringdb sync` fetches one)",
                          "peeringdb-incomplete")  # fmt: skip
    if net.height and net["policy_general"].drop_nulls().is_empty():
        yield Finding("warning", "peeringdb", "no network in the dump has a policy: acceptance is "
                      "a guess", "load a dump with `policy_general`",
                      "peeringdb-incomplete")  # fmt: skip


def places(network: Configuration, lake: Lake) -> Iterator[Finding]:
    """Facilities and exchanges that are in another city than their metro; metros without any."""
    fac = catalog.scan(lake.root, "peeringdb_fac").collect()
    ix = catalog.scan(lake.root, "peeringdb_ix").collect()
    ixfac = catalog.scan(lake.root, "peeringdb_ixfac").collect()
    where = {
        row["id"]: (row["latitude"], row["longitude"])
        for row in fac.drop_nulls(["latitude", "longitude"]).to_dicts()
    }
    called = {
        "facility": {r["id"]: (r["name"], r["city"]) for r in fac.to_dicts()},
        "exchange": {r["id"]: (r["name"], r["city"]) for r in ix.to_dicts()},
    }
    houses: dict[int, list[int]] = {}
    for number, house in ixfac.select("ix_id", "fac_id").drop_nulls().iter_rows():
        houses.setdefault(number, []).append(house)
    for metro in network.metros:
        if not metro.facilities:
            yield Finding("note", f"metro {metro.id}", "has no facilities: private "
                          "interconnection is never proposed there",
                          f"`flowpeer peeringdb find {metro.name}` lists them")  # fmt: skip
        if metro.latitude is None or metro.longitude is None:
            continue
        home = (metro.latitude, metro.longitude)
        for kind, numbers in (
            ("facility", [f.id for f in metro.facilities]),
            ("exchange", [e.id for e in metro.exchanges]),
        ):
            for number in numbers:
                at = [number] if kind == "facility" else houses.get(number, [])
                far = _nearest(home, [where[n] for n in at if n in where])
                if far is None or far <= FAR_KM:
                    continue
                name, city = called[kind].get(number, (None, None))
                yield Finding(
                    "warning", f"metro {metro.id}",
                    f"{kind} {number} ({name}) is in {city or '?'}, {far:,.0f} km away",
                    f"`flowpeer peeringdb find {metro.name}` lists those that are there",
                    "far-place",
                )  # fmt: skip


def _nearest(home: Position, others: Sequence[Position]) -> float | None:
    return min((distance_km(home, other) for other in others), default=None)
