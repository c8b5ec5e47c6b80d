"""What is wrong with the data that figures are made from (METHODS M1, M2)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import polars as pl

from flowpeer.checks.findings import Finding
from flowpeer.network import Configuration, Interface
from flowpeer.rollup.attribute import Attributor
from flowpeer.rollup.planner import RollupPlanner
from flowpeer.routing.rib import snapshot
from flowpeer_core.p95 import rank
from flowpeer_core.roles import EXTERNAL_ROLES
from flowpeer_core.slots import SLOT_SECONDS

RIB_AGE_DAYS = 7
"""Routes older than this against the traffic move enough prefixes to be worth a word."""
UNKNOWN_PARTS = 1000
"""An unknown interface with more than one part in so many of all bytes is worth a warning."""
SHOWN = 10
_TIME = pl.Datetime("us", "UTC")


def by_interface(traffic: pl.LazyFrame) -> pl.DataFrame:
    """exporter, interface, role, direction, scaled, bytes."""
    return (
        traffic.group_by("exporter", "interface", "role", "direction", "scaled")
        .agg(pl.col("bytes").sum())
        .sort("exporter", "interface", "role", "direction", nulls_last=True)
        .collect()
    )


def unknown_interfaces(sums: pl.DataFrame) -> Iterator[Finding]:
    """Interfaces with traffic that the configuration does not name."""
    total = int(sums.filter(pl.col("role") != "set_aside")["bytes"].sum())
    ways = (
        sums.filter(pl.col("role") == "unknown")
        .group_by("exporter", "interface")
        .agg(
            pl.col("bytes").sum(),
            *(pl.col("bytes").filter(pl.col("direction") == d).sum().alias(d)
              for d in ("in", "out")),
        )
        .sort("bytes", "exporter", "interface", descending=[True, False, False])
    )  # fmt: skip
    for exporter, interface, octets, bytes_in, bytes_out in ways.head(SHOWN).iter_rows():
        large = octets * UNKNOWN_PARTS > total
        yield Finding(
            "warning" if large else "note", f"interface {interface} of {exporter}",
            f"not in the configuration; {bytes_in:,} bytes in, {bytes_out:,} bytes out",
            "add it under [[interfaces]] with its role",
            "unknown-interface" if large else "",
        )  # fmt: skip
    if ways.height > SHOWN:
        yield Finding("warning", "interfaces", f"{ways.height - SHOWN} more are unknown",
                      "see `flowpeer sql unknown_traffic`", "unknown-interface")  # fmt: skip


def one_way(network: Configuration, sums: pl.DataFrame) -> Iterator[Finding]:
    """External interfaces with traffic in one direction only."""
    rows = sums.filter(pl.col("bytes") > 0).select("exporter", "interface", "direction").iter_rows()
    seen: dict[tuple[str, int], set[str]] = {}
    for exporter, interface, direction in rows:
        if direction in ("in", "out"):
            seen.setdefault((exporter, interface), set()).add(direction)
    for key, interface in network.interface_by_key.items():
        if interface.role in EXTERNAL_ROLES and len(seen.get(key, ())) == 1:
            (direction,) = seen[key]
            yield Finding(
                "warning", f"interface {interface.index} of {interface.exporter}",
                f"traffic {direction} only: the other direction is not metered here",
                "meter both directions on the router", "one-way",
            )  # fmt: skip


def metering_conflicts(
    network: Configuration, rollup: RollupPlanner, start: datetime, end: datetime
) -> Iterator[Finding]:
    """Interfaces that are metered both ways, of which neither is the whole (METHODS M1)."""
    found: dict[tuple[str, int, str], list[tuple[str, int, int, str]]] = {}
    days = sorted({f"{hour:%Y-%m-%d}" for hour in rollup.record.hours("flows", start=start,
                                                                      end=end)})  # fmt: skip
    for day in days:
        attributor: Attributor = rollup.metering(day)
        for (exporter, index), interface in network.interface_by_key.items():
            if interface.role not in EXTERNAL_ROLES:
                continue
            for direction in ("in", "out"):
                c = attributor.conflict(exporter, index, inbound=direction == "in")
                if c is not None:
                    found.setdefault((exporter, index, direction), []).append(
                        (day, c.natural, c.other, c.chosen)
                    )
    for (exporter, index, direction), of_link in sorted(found.items()):
        day, natural, other, chosen = of_link[0]
        more = f" and {len(of_link) - 1} more days" if len(of_link) > 1 else ""
        ways = ("ingress", "egress") if direction == "in" else ("egress", "ingress")
        yield Finding(
            "warning", f"interface {index} of {exporter}",
            f"{day}{more}: {direction} is metered both ways and they differ: {natural:,} bytes by "
            f"{ways[0]} records, {other:,} by {ways[1]} ones; {chosen} counts",
            f'under [[exporters]] {exporter}, set metering = "ingress" or "egress", whichever it '
            "is meant to do (METHODS M1)", "metering",
        )  # fmt: skip


def overloaded(network: Configuration, traffic: pl.LazyFrame) -> Iterator[Finding]:
    """Interfaces whose 95th percentile (M5) is more than they can carry."""
    slots = (
        traffic.filter(pl.col("role").is_in(EXTERNAL_ROLES), "scaled")
        .group_by("exporter", "interface", "direction", "slot")
        .agg(pl.col("bytes").sum())
        .sort("bytes")
        .collect()
    )
    moments = slots["slot"].unique()
    for interface in network.interfaces:
        if interface.capacity is None:
            continue
        n = moments.filter(_within(interface, moments)).len()
        for direction in ("in", "out"):
            mine = slots.filter(
                _within(interface, slots["slot"]), exporter=interface.exporter,
                interface=interface.index, direction=direction,
            )["bytes"]  # fmt: skip
            at = mine.len() - (n - rank(n)) - 1  # of n slots; those without traffic are the lowest
            bps = int(mine[at]) * 8 // SLOT_SECONDS if at >= 0 else 0
            if bps > interface.capacity:
                yield Finding(
                    "warning", f"interface {interface.index} of {interface.exporter}",
                    f"{direction}: the p95 of {n:,} slots is {bps / interface.capacity:.1%} of its "
                    f"capacity ({bps:,} of {interface.capacity:,} bit/s), which cannot be",
                    "look at its `capacity`, at the sampling rate, and for records that come twice",
                    "over-capacity",
                )  # fmt: skip


def _within(interface: Interface, slots: pl.Series) -> pl.Series:
    """Which slots begin while the interface is what its section says."""
    inside = pl.repeat(True, slots.len(), eager=True)
    if interface.from_ is not None:
        inside &= slots >= interface.from_
    if interface.until is not None:
        inside &= slots < interface.until
    return inside


def unscaled(sums: pl.DataFrame) -> Iterator[Finding]:
    """Bytes on external interfaces without a known sampling rate."""
    bare = sums.filter(pl.col("role").is_in(EXTERNAL_ROLES), ~pl.col("scaled"))
    for exporter, octets in (
        bare.group_by("exporter").agg(pl.col("bytes").sum()).sort("exporter").iter_rows()
    ):
        yield Finding("warning", f"exporter {exporter}",
                      f"no sampling rate known: {octets:,} bytes on external interfaces stay as "
                      "exported, and are in no total",
                      "set `sampling` under [[exporters]]", "unscaled")  # fmt: skip


def undue(network: Configuration, traffic: pl.LazyFrame) -> Iterator[Finding]:
    """Bytes of routers from before their `from` or after their `until` (M5)."""
    times = {e.id: (e.from_, e.until) for e in network.exporters if e.from_ or e.until}
    dated = pl.LazyFrame(
        [(exporter, *ends) for exporter, ends in times.items()],
        schema={"exporter": pl.String, "since": _TIME, "until": _TIME}, orient="row",
    )  # fmt: skip
    sums = (
        traffic.filter(pl.col("role").is_in(EXTERNAL_ROLES))
        .join(dated, on="exporter")
        .group_by("exporter")
        .agg(
            pl.col("bytes").filter(pl.col("slot") < pl.col("since")).sum().alias("before"),
            pl.col("bytes").filter(pl.col("slot") >= pl.col("until")).sum().alias("after"),
        )
        .sort("exporter")
    )
    for exporter, *octets in sums.collect().iter_rows() if times else ():
        for count, key, time in zip(
            octets, ("before its `from`", "after its `until`"), times[exporter], strict=True
        ):
            if count:
                yield Finding(
                    "warning", f"exporter {exporter}",
                    f"{count:,} bytes on external interfaces are from {key}, "
                    f"{time:%Y-%m-%d %H:%M}, and count all the same",
                    "correct it under [[exporters]], or find out who sends in its name", "not-due",
                )  # fmt: skip


def rib_age(infos: list[snapshot.SnapshotInfo], end: datetime) -> Iterator[Finding]:
    """Routes that are much older than the traffic."""
    taken = [info.taken_at for info in infos if info.taken_at < end]
    if taken and (age := (end - max(taken)).days) > RIB_AGE_DAYS:
        yield Finding("warning", "routes", f"{age} days older than the latest traffic",
                      "load a newer table dump", "rib-age")  # fmt: skip
