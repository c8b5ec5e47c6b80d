"""Small units of work for tests of the record, and processes that are killed while they work."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from flowpeer.lake.commit import sweep
from flowpeer.lake.compact import merge
from flowpeer.lake.manifest import HOUR
from flowpeer.lake.publish import publish
from flowpeer.lake.store import Lake
from flowpeer.lake.units import UnitRecord
from flowpeer_core.columns import arrow_schema
from flowpeer_ingest import faults
from flowpeer_ingest.facts import facts_of
from flowpeer_ingest.parts import Part
from flowpeer_ingest.schema import COVERAGE, FLOWS

BEGIN = datetime(2026, 9, 16, tzinfo=UTC)
HOURS = (BEGIN, BEGIN + HOUR)


def forked(work: Callable[[], object], **environment: str) -> int:
    """Do something in a process of its own; its wait status."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it only uses what survives a fork
        child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setsid()  # a kill is meant for the group
            os.environ.update(environment)
            faults.install()
            work()
            status = 0
        finally:
            os._exit(status)
    return os.waitpid(child, 0)[1]


def parts(unit: int, rows: int = 2) -> list[Part]:
    """Flows and coverage of two hours."""
    found = []
    for hour in HOURS:
        of = {"exporter_ip": "192.0.2.1"}
        flow = of | {
            "received_at": hour, "start_time": hour, "end_time": hour, "format": "ipfix",
            "observation_domain": 0, "input_if": 1, "bytes": 1000 + unit, "time_corrected": False,
        }  # fmt: skip
        slot = of | {"slot": hour, "datagrams": 1, "received": 1, "lost": 0, "seen": True}
        for name, columns, row in (("flows", FLOWS, flow), ("coverage", COVERAGE, slot)):
            schema = arrow_schema(columns)
            cells = {name: row.get(name) for name in schema.names}
            table = pa.Table.from_pylist([cells] * rows, schema)
            facts = facts_of(table) if name == "flows" else None
            found.append(Part(name, hour, table, rows, {}, facts))
    return found


def add(lake: Lake, number: int) -> None:
    """Publish a unit of work of two hours."""
    name = f"segment-{number}-run"
    publish(lake, name, parts(number), UnitRecord(name, rows=4))


def state(lake: Lake) -> dict[str, Any]:
    """What readers see: rows of each hour and table, and the units behind them."""
    record = lake.record()
    return {
        f"{table} {hour:%H}": (
            sum(f.rows for f in record.manifest(table, hour).live),
            sorted(Path(u.path).stem for f in record.manifest(table, hour).live for u in f.units),
        )
        for table in ("flows", "coverage")
        for hour in HOURS
    }  # fmt: skip


def merge_one(lake: Lake, grace_s: float) -> None:
    if lake.record().manifest("flows", BEGIN).header.files > 1:
        merge(lake, "flows", BEGIN, grace_s=grace_s)
    header = lake.record().header("flows", BEGIN)
    assert header is not None
    sweep(lake, "flows", BEGIN, header)
