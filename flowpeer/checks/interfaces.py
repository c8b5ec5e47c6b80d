"""`check`: what the rules made of the interfaces, counters against flows, flows that came late."""

from __future__ import annotations

from collections.abc import Iterator

from flowpeer import catalog
from flowpeer.analysis.periods import data_span
from flowpeer.checks.findings import Finding
from flowpeer.lake.record import Record
from flowpeer.network import Configuration
from flowpeer.rollup.counters import HIGH, LOW, compare, read_counters

SHOWN = 10


def rules(network: Configuration) -> Iterator[Finding]:
    """What each of the `[[rules]]` caught, and what none did."""
    classified = network.classified
    named = {
        (i.exporter, i.index): (i.name or i.description or str(i.index))
        + (" (exported)" if (i.exporter, i.index) in classified.exported else "")
        for i in network.interfaces
    }
    for number, rule in enumerate(network.rules):
        mine = [key for key, caught in classified.caught.items() if caught == number]
        shown = ", ".join(f"{exporter} {named[exporter, index]}" for exporter, index in
                          sorted(mine)[:SHOWN])  # fmt: skip
        more = f" and {len(mine) - SHOWN} more" if len(mine) > SHOWN else ""
        yield Finding(
            "ok" if mine else "note", f"rule {number + 1}",
            f"{rule.role}: {len(mine)} interfaces: {shown}{more}" if mine else
            f"{rule.role}: no interface matches that no rule before it does",
        )  # fmt: skip
    for row in classified.unmatched[:SHOWN]:
        exported = (row.get("exporter"), row.get("index")) in classified.exported
        yield Finding(
            "note", f"interface {row.get('index')} of {row.get('exporter')}",
            f"no rule matches its {'exported ' if exported else ''}name {row.get('name', '')!r} "
            f"and description {row.get('description', '')!r}", "add a rule, or give it a role",
        )  # fmt: skip
    left = len(classified.unmatched) - SHOWN
    if left > 0:
        yield Finding("note", "rules", f"{left} more interfaces match no rule")
    for row, why in classified.refused[:SHOWN]:
        yield Finding(
            "warning", f"interface {row['index']} of {row['exporter']}",
            f"has no role: exported name {row.get('name', '')!r} and description "
            f"{row.get('description', '')!r}; {why}",
            "fix the rule or the description, or add it under [[interfaces]]",
            "rules",
        )  # fmt: skip
    left = len(classified.refused) - SHOWN
    if left > 0:
        yield Finding("warning", "rules", f"{left} more interfaces have no role for such reasons",
                      "", "rules")  # fmt: skip
    for relative in classified.damaged:
        yield Finding("warning", "rules", f"{relative}: interface names that cannot be read",
                      "see `flowpeer verify`", "damaged")  # fmt: skip


def counters(network: Configuration, record: Record) -> Iterator[Finding]:
    """Flows over interface counters, where those are loaded."""
    path = network.source_path("counters")
    if path is None:
        return
    ratios = compare(
        read_counters(path, network),
        catalog.scan(record.lake.root, "traffic"),
        network,
        data_span(network, record),
    )
    if not ratios:
        yield Finding("warning", "counters", f"{path} covers no slot of a configured interface",
                      "look at its exporters, interfaces and times", "counters")  # fmt: skip
    for r in ratios:
        shown = "no octets by the counters" if r.ratio is None else f"{r.ratio:.3f} of the counters"
        yield Finding(
            "ok" if r.good else "warning", f"interface {r.interface} of {r.exporter}",
            f"{r.direction}: flows are {shown} ({r.flow_bytes:,} of {r.counter_bytes:,} octets "
            f"in {r.slots} slots, {r.slots_outside} of them outside {LOW} to {HIGH})",
            "" if r.good else "look at sampling rate, metering and losses of this interface",
            "" if r.good else "counters",
        )  # fmt: skip


def duplicates(record: Record) -> Iterator[Finding]:
    """Records of datagrams that several units hold (METHODS M13)."""
    rollups = (header.rollup for header in record.headers("traffic").values())
    hours = [r.figures for r in rollups if r is not None and r.figures.get("duplicate_records")]
    if hours:
        scaled = sum(t["duplicate_bytes"] for t in hours)
        bare = sum(t["duplicate_bytes_unscaled"] for t in hours)
        more = f" and {bare:,} without a rate" if bare else ""
        yield Finding(
            "note", "flows",
            f"{sum(t['duplicate_records'] for t in hours):,} records in {len(hours)} hours came by "
            f"more than one path and count once: {scaled:,} bytes{more} are duplicate",
            "nothing, if two collectors, a replicator or captures of the same are meant",
        )  # fmt: skip


def late(record: Record) -> Iterator[Finding]:
    """Flows that came after the flow records of their hour were pruned."""
    rollups = (header.rollup for header in record.headers("traffic").values())
    hours = [figures for r in rollups if r is not None for figures in r.late.values()]
    if hours:
        octets = sum(t["flow_bytes"] + t["flow_bytes_unscaled"] for t in hours)
        records = sum(t["records"] for t in hours)
        yield Finding("note", "flows", f"{records:,} records with {octets:,} bytes came after "
                      "their hours were pruned, and are in no roll-up")  # fmt: skip
