"""What `check` says of routes and registries: how old, how complete, and whether we are in them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import polars as pl

from flowpeer import catalog
from flowpeer.checks.findings import Finding
from flowpeer.lake.record import Record
from flowpeer.lake.store import Lake
from flowpeer.network import Configuration
from flowpeer.rollup.route_retention import used_snapshots

OLD_DAYS = {"peeringdb": 30, "ixf": 30, "as_relationships": 180, "as_cones": 180, "as_names": 365}
"""Ports and facilities change by the hour, relationships by the month."""
_TABLES = {
    "peeringdb": "peeringdb_net", "ixf": "ixf_ports", "as_relationships": "as_relationships",
    "as_cones": "as_cones", "as_names": "asns",
}  # fmt: skip
KNOWN_SHARE = 0.9


def ages(lake: Lake, now: datetime | None = None) -> Iterator[Finding]:
    """How old each registry is."""
    now = now or datetime.now(UTC)
    for key, table in _TABLES.items():
        entry = lake.entry(f"reference/{table}.parquet")
        if entry is None or "source_time" not in entry:
            continue
        days = (now - datetime.fromisoformat(entry["source_time"])).days
        text = f"{entry['source']}, {days} days old"
        if days > OLD_DAYS[key]:
            synced = key == "peeringdb" and "://" in entry["source"]
            step = "run `flowpeer peeringdb sync`" if synced else "load a newer file"
            yield Finding("note", key, text, step)
        else:
            yield Finding("ok", key, text)


def provider_paths(record: Record) -> Iterator[Finding]:
    """The share of transit bytes whose route is in the view of the very provider they crossed."""
    lake = record.lake
    carried = catalog.scan_sums(
        record, "route_days", ["role", "scaled", "direction", "prefix", "provider_asn", "bytes"]
    ).filter(
        (pl.col("role") == "transit")
        & pl.col("scaled")
        & pl.col("direction").is_in(["in", "out"])
        & pl.col("prefix").is_not_null()
    )
    by_provider = carried.group_by("provider_asn").agg(pl.col("bytes").sum()).collect()
    total = int(by_provider["bytes"].sum())
    used = used_snapshots(record)
    files = [lake.path(f"routes/{name}.parquet") for name in sorted(used)]
    files = [path for path in files if path.is_file()]
    if not total or not files:
        return
    provider = pl.col("vantage").str.extract(r"^AS(\d+)@").cast(pl.Int64).alias("provider_asn")
    views = [
        table.select(provider, "prefix").join(by_provider.lazy(), on="provider_asn", how="semi")
        for table in (pl.scan_parquet(path, glob=False) for path in files)
        if not table.select(provider.unique())
        .join(by_provider.lazy(), on="provider_asn", how="semi")
        .collect()
        .is_empty()
    ]
    known = 0
    if views:
        sums = carried.group_by("provider_asn", "prefix").agg(pl.col("bytes").sum()).collect()
        prefixes = sums.select("prefix").unique().lazy()
        seen = pl.concat(view.join(prefixes, on="prefix", how="semi") for view in views)
        seen = seen.drop_nulls().unique()
        known = int(
            sums.lazy()
            .join(seen, on=["provider_asn", "prefix"], how="semi")
            .select(pl.col("bytes").sum())
            .collect()
            .item()
        )
    share = known / total
    text = f"{share:.1%} of the transit bytes have a path through the provider they crossed"
    if share >= KNOWN_SHARE:
        yield Finding("ok", "routes", text)
    else:
        step = "load the providers' own views: BMP, or a dump of their sessions"
        yield Finding("note", "routes", f"{text}; for the others the best view stands in", step)


def own_places(network: Configuration, lake: Lake) -> Iterator[Finding]:
    """Ports and facilities of ours that PeeringDB does not know, and those that only it knows."""

    def read(name: str) -> pl.DataFrame:
        return catalog.scan(lake.root, f"peeringdb_{name}").collect()

    asn = network.network.asn
    net, port, place = read("net"), read("netixlan"), read("netfac")
    if not net.height:
        return
    ids = net.filter(pl.col("asn") == asn)["id"].to_list()
    at = {
        "exchange": _of(port, "asn", asn, ids, "ix_id"),
        "facility": _of(place, "local_asn", asn, ids, "fac_id"),
    }
    exists = {"exchange": set(read("ix")["id"]), "facility": set(read("fac")["id"])}
    if not any(at.values()):
        yield Finding("note", "peeringdb", f"lists no port and no facility of AS{asn}: others "
                      "cannot see where to meet us", "enter them there")  # fmt: skip
    for metro in network.metros:
        ours = {
            "exchange": [e.id for e in metro.exchanges],
            "facility": [f.id for f in metro.facilities],
        }
        for kind, numbers in ours.items():
            for number in numbers:
                if exists[kind] and number not in exists[kind]:
                    yield Finding("warning", f"metro {metro.id}", f"PeeringDB has no {kind} "
                                  f"{number}", "fix the number in the configuration",
                                  "no-such-place")  # fmt: skip
                elif any(at.values()) and number not in at[kind]:
                    yield Finding("note", f"metro {metro.id}", f"PeeringDB does not list us at "
                                  f"{kind} {number}", "enter it there")  # fmt: skip
    configured = {
        "exchange": {e.id for m in network.metros for e in m.exchanges},
        "facility": {f.id for m in network.metros for f in m.facilities},
    }
    for kind, numbers_there in at.items():
        beyond = sorted(numbers_there - configured[kind])
        if beyond and network.metros:
            shown = ", ".join(map(str, beyond[:10])) + (" …" if len(beyond) > 10 else "")
            yield Finding("note", "configuration", f"PeeringDB lists us at {len(beyond)} more of "
                          f"kind {kind}: {shown}", "add them under [[metros]]")  # fmt: skip


def _of(frame: pl.DataFrame, column: str, asn: int, ids: list[int], place: str) -> set[int]:
    own = frame.filter((pl.col(column) == asn) | pl.col("net_id").is_in(ids))
    return set(own[place].drop_nulls().to_list())
