"""`check`: is the data what it seems to be, and does it add up?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

from flowpeer import catalog
from flowpeer.analysis.periods import data_span
from flowpeer.checks.affinity import affinity
from flowpeer.checks.assumed import assumed
from flowpeer.checks.clocks import clocks
from flowpeer.checks.collector import collector
from flowpeer.checks.configured import configured
from flowpeer.checks.exporters import doubts, implausible, name_of
from flowpeer.checks.findings import Finding, judged
from flowpeer.checks.interfaces import counters, duplicates, late, rules
from flowpeer.checks.metered import (
    by_interface,
    metering_conflicts,
    one_way,
    overloaded,
    rib_age,
    undue,
    unknown_interfaces,
    unscaled,
)
from flowpeer.checks.rollups import conserved, covered, routed, unconfigured
from flowpeer.checks.sources import ages, own_places, provider_paths
from flowpeer.lake.record import Record
from flowpeer.lake.store import Lake
from flowpeer.lake.units import UnitRecord
from flowpeer.network import Configuration
from flowpeer.rollup.planner import RollupPlanner
from flowpeer.routing.rib.snapshot import SnapshotInfo
from flowpeer_core.roles import EXTERNAL_ROLES
from flowpeer_ingest.parts import MAX_INTERFACES, FlowFacts

SAME_MOMENT_S = 301
"""Tables taken this close together are of several routers rather than of several times."""
CLOCK_ERROR_S = 60


def findings(network: Configuration, record: Record) -> list[Finding]:
    """Everything there is to say of configuration, sources and data."""
    lake = record.lake
    found: list[Finding] = [
        Finding("ok", "configuration", f"{network.source}: {len(network.metros)} metros, "
                f"{len(network.exporters)} exporters, {len(network.interfaces)} interfaces")
    ]  # fmt: skip
    rollup = RollupPlanner(lake, network, record=record)
    captures = list(record.units())
    found += collector(network)
    found += rules(network)
    found += _sources(network, rollup)
    found += ages(lake)
    found += own_places(network, lake)
    found += configured(network, lake, rollup.snapshots)
    found += assumed(network, rollup.snapshots)
    found += _interrupted(record)
    found += _shadowed(rollup.snapshots)
    flows = [u.facts for f in rollup.files.values() for u in f.units if u.facts is not None]
    found += _exporters(network, captures, flows)
    found += clocks(captures)
    found += _invented(network, flows)
    if rollup.any_flows and rollup.snapshots:
        stale = [hour for hour in rollup.plan() if hour.changed]
        if stale:
            found.append(
                Finding("warning", "rollup", f"{len(stale)} hours are not up to date",
                        "run `flowpeer rollup`", "stale")
            )  # fmt: skip
        if record.hours("traffic"):
            found += _interfaces(network, lake, rollup)
            found += counters(network, record)
            found += late(record)
            found += duplicates(record)
            found += affinity(network, record)
            found += metering_conflicts(network, rollup, *data_span(network, record))
            found += routed(lake)
            found += provider_paths(record)
            span = data_span(network, record)
            found += covered(network, record, span)
            if not stale:
                found += conserved(rollup)
                found += unconfigured(network, record)
    elif not rollup.files:
        found.append(Finding("note", "flows", "none in the lake yet", "run `flowpeer ingest`"))
    return judged(found, network.accepted)


def _sources(network: Configuration, rollup: RollupPlanner) -> Iterator[Finding]:
    for key in ("ribs", "peeringdb", "ixf", "as_relationships", "as_cones", "as_names"):
        path = network.source_path(key)
        if path is None:
            continue
        if not path.exists():
            yield Finding("warning", f"sources.{key}", f"{path} does not exist",
                          "fix the configuration or put the file there",
                          "source-missing")  # fmt: skip
    infos = rollup.snapshots
    if not infos:
        yield Finding("warning", "routes", "no RIB is loaded", "run `flowpeer rib load FILE`",
                      "no-rib")  # fmt: skip
        return
    latest = infos[-1]
    hours = rollup.record.hours("flows")
    yield Finding("ok", "routes", f"{len(infos)} snapshots, the latest of "
                  f"{latest.taken_at:%Y-%m-%d %H:%M} UTC with {latest.prefixes4:,} IPv4 and "
                  f"{latest.prefixes6:,} IPv6 prefixes")  # fmt: skip
    if hours:
        yield from rib_age(infos, hours[-1])


def _exporters(
    network: Configuration, captures: list[UnitRecord], flows: list[FlowFacts]
) -> Iterator[Finding]:
    sums: dict[str, Counter[str]] = {}
    clock: dict[str, float] = {}
    for capture in captures:
        for ip, counts in capture.exporters.items():
            of = sums.setdefault(ip, Counter())
            for key in ("datagrams", "records", "lost", "template_misses", "time_corrected",
                        "long_flows"):  # fmt: skip
                of[key] += getattr(counts, key)
            if counts.clock_error_s is not None:
                clock[ip] = counts.clock_error_s
    for ip, of in sorted(sums.items()):
        configured = network.exporter_by_address.get(ip)
        name = configured.id if configured else ip
        text = f"{of['datagrams']:,} datagrams, {of['records']:,} records"
        if configured is None:
            yield Finding("warning", f"exporter {name}", f"not in the configuration; {text}",
                          "add it under [[exporters]]", "unknown-exporter")  # fmt: skip
        else:
            yield Finding("ok", f"exporter {name}", text)
        for key, what, step, code in (
            ("lost", "lost on the way by its sequence numbers",
             "look for drops between the router and here", "lost"),
            ("template_misses", "data sets came without their template",
             "make the exporter send templates more often", "no-template"),
            ("time_corrected", "records had unusable times", "check the router's clock (NTP)",
             "times"),
            ("long_flows", "records last longer than 300 s, so percentiles are smoothed",
             "set the active timeout to 60 s", "long-flows"),
        ):  # fmt: skip
            if of[key]:
                yield Finding("warning", f"exporter {name}", f"{of[key]:,} {what}", step, code)
        if abs(clock.get(ip, 0)) > CLOCK_ERROR_S:
            yield Finding("warning", f"exporter {name}",
                          f"its clock is {clock[ip]:+,.0f} s off; corrected",
                          "set the router's clock by NTP", "clock")  # fmt: skip
    yield from implausible(network, captures)
    yield from doubts(network, captures)
    known = {str(a) for e in network.exporters for a in e.addresses}
    present = {network.exporter_by_address[ip].id for ip in sums if ip in known}
    for exporter in network.exporters if sums else ():
        if exporter.id not in present:
            yield Finding("warning", f"exporter {exporter.id}", "nothing was received from it",
                          "check its export destination and addresses", "silent")  # fmt: skip
    for ip in sorted({ip for facts in flows for ip in facts.unrated}):
        configured = network.exporter_by_address.get(ip)
        if configured and (configured.sampling or configured.sampling_override):
            yield Finding("ok", f"exporter {configured.id}", "does not say its sampling rate in "
                          "some records; options data or the configuration does")  # fmt: skip


def _invented(network: Configuration, flows: list[FlowFacts]) -> Iterator[Finding]:
    """Exporters whose records name more interfaces than are kept."""
    beyond: Counter[str] = Counter()
    for facts in flows:
        beyond.update(facts.unlisted)
    for ip, times in sorted(beyond.items()):
        yield Finding(
            "warning", f"exporter {name_of(network, ip)}",
            f"names more than {MAX_INTERFACES:,} interfaces at a time: {times:,} times one beyond "
            "the most used, which were not looked at for METHODS M1",
            "find out who sends in its name",
            "invented-interfaces",
        )  # fmt: skip


def _interfaces(network: Configuration, lake: Lake, rollup: RollupPlanner) -> Iterator[Finding]:
    record = rollup.record
    sums = record.read("traffic", lambda: by_interface(catalog.scan_slots(record)))
    yield from unknown_interfaces(sums)
    yield from one_way(network, sums)
    yield from unscaled(sums)
    yield from record.read("traffic", lambda: list(undue(network, catalog.scan_slots(record))))
    yield from record.read("traffic", lambda: list(overloaded(network, catalog.scan_slots(record))))
    seen = {(e, i, d) for e, i, _, d, _, octets in sums.iter_rows() if octets}
    attributor = rollup.metering(f"{max(rollup.record.hours('flows')):%Y-%m-%d}")
    for interface in network.interfaces:
        if interface.role not in EXTERNAL_ROLES:
            continue
        name = f"interface {interface.index} of {interface.exporter}"
        directions = [d for d in ("in", "out") if (interface.exporter, interface.index, d) in seen]
        if not directions:
            yield Finding("note", name, f"{interface.role}: no traffic seen")
        elif len(directions) == 2:
            chosen = {
                d: attributor.counts(interface.exporter, interface.index, inbound=d == "in")
                for d in directions
            }
            yield Finding("ok", name, f"{interface.role}: in counted from {chosen['in']} records, "
                          f"out from {chosen['out']} records")  # fmt: skip


def _interrupted(record: Record) -> Iterator[Finding]:
    """Captures that were published in part: their ingest did not come to its end."""
    pending = {
        path.rpartition("/")[2].removesuffix(".parquet")
        for hour in record.hours("flows")
        for path in record.stands("flows", hour).header.pending
    }
    partial = sorted(u for u in pending if u.startswith("capture-") and record.unit(u) is None)
    if partial:
        text = f"{len(partial)} captures are in the lake in part, and count nowhere yet: "
        yield Finding("warning", "ingest", text + ", ".join(partial[:3]),
                      "run the same `flowpeer ingest` again", "interrupted")  # fmt: skip


def _shadowed(infos: list[SnapshotInfo]) -> Iterator[Finding]:
    """Tables of one moment of which only one can be in force."""
    parts = {digest for info in infos for digest in info.parts}
    for family, count in ((4, "prefixes4"), (6, "prefixes6")):
        mine = [
            i for i in infos
            if getattr(i, count) and not i.vantage and i.source_digest not in parts
        ]  # fmt: skip
        for before, after in pairwise(mine):
            near = (after.taken_at - before.taken_at).total_seconds() < SAME_MOMENT_S
            shrunk = getattr(after, count) * 2 < getattr(before, count)
            if near or shrunk:
                yield Finding(
                    "warning", "routes",
                    f"IPv{family}: {after.source} ({getattr(after, count):,} prefixes, "
                    f"{after.taken_at:%Y-%m-%d %H:%M}) is in force instead of {before.source} "
                    f"({getattr(before, count):,} prefixes, {before.taken_at:%Y-%m-%d %H:%M})",
                    "load the dumps of several routers as one with `flowpeer rib load --together`,"
                    " or tie each to its router with --vantage",
                    "shadowed-rib",
                )  # fmt: skip
