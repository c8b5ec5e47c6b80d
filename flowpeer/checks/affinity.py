"""`check`: do exporters send to the collectors that they are meant to send to?"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from flowpeer.checks.findings import Finding
from flowpeer.lake.record import Record
from flowpeer.network import Configuration


def affinity(network: Configuration, record: Record) -> Iterator[Finding]:
    """Of exporters that name their `collectors`: others that received from them, and hours in which
    the first of these did not and another one did."""
    meant = {ip: e for ip, e in network.exporter_by_address.items() if e.collectors}
    if not meant:
        return
    received = _received(record, set(meant))
    for exporter in {e.id: e for e in meant.values()}.values():
        hours = [received.get(str(ip), {}) for ip in exporter.addresses]
        by_collector = {
            name: {hour for of in hours for hour in of.get(name, ())}
            for name in sorted({name for of in hours for name in of})
        }
        for name in sorted(by_collector.keys() - set(exporter.collectors)):
            yield Finding(
                "warning", f"exporter {exporter.id}",
                f"collector {name} received from it in {_hours(by_collector[name])}, and is none "
                f"of its collectors ({', '.join(exporter.collectors)})",
                "fix where it exports to, or add the collector to its `collectors`",
                "other-collector",
            )  # fmt: skip
        first, *others = exporter.collectors
        for name in others:
            alone = by_collector.get(name, set()) - by_collector.get(first, set())
            if alone:
                yield Finding(
                    "note", f"exporter {exporter.id}",
                    f"collector {name} received from it in {_hours(alone)} in which {first} "
                    "did not: failover, and nothing of it is duplicate",
                    f"nothing, if {first} was meant to be down; else see `flowpeer status` there",
                )  # fmt: skip


def _received(record: Record, exporters: set[str]) -> dict[str, dict[str, set[datetime]]]:
    """By exporter address and collector: hours in which datagrams with numbers were received."""
    found: dict[str, dict[str, set[datetime]]] = {}
    for hour, header in record.headers("flows", damaged=[]).items():
        for holder in header.holders.values():
            unit = record.unit(holder.path.rpartition("/")[2].removesuffix(".parquet"))
            if unit is None or not unit.collector:
                continue  # a capture
            for ip in exporters & holder.spans.keys():
                found.setdefault(ip, {}).setdefault(unit.collector, set()).add(hour)
    return found


def _hours(hours: set[datetime]) -> str:
    """`3 hours (2026-09-16 07:00 to 10:00 …)`."""
    first, last = min(hours), max(hours)
    if first == last:
        return f"the hour {first:%Y-%m-%d %H}:00"
    return f"{len(hours):,} hours from {first:%Y-%m-%d %H}:00 to {last:%Y-%m-%d %H}:00"
