"""What `check` says of the collector, if one has run here."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from flowpeer.checks.findings import Finding
from flowpeer.network import Configuration
from flowpeer_ingest.health import troubles
from flowpeer_ingest.stats import read_status


def collector(network: Configuration, now: datetime | None = None) -> Iterator[Finding]:
    """What `status` finds wrong, as findings."""
    snapshot = read_status(network.spool_path)
    if snapshot is None:
        return
    now_us = int((now or datetime.now(UTC)).timestamp() * 1e6)
    names = {a: e.id for a, e in network.exporter_by_address.items()}
    found = list(troubles(snapshot, now_us, names=names))
    for trouble in found:
        yield Finding("warning", trouble.subject, trouble.text, trouble.next_step,
                      "collector")  # fmt: skip
    if not found:
        yield Finding("ok", "collector", "runs, and nothing was lost in the last hour")
