"""The ledger: read once, bounded, and of one format."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from flowpeer.checks import quality
from flowpeer.configuration import load
from flowpeer.errors import InputError
from flowpeer.lake import store
from flowpeer.lake.flows import MAX_INTERFACES, FlowSink
from flowpeer.lake.ledger import Ledger
from flowpeer.lake.store import FORMAT, Lake
from flowpeer.pipeline.rollup import roll_up
from flowpeer.reporter import Collected
from flowpeer.rollup.hours import Rollup
from flowpeer.workspace import Workspace
from flowpeer_core.columns import arrow_schema
from flowpeer_ingest.schema import FLOWS

Run = Callable[..., CompletedProcess[str]]


def whole(lake: Lake, table: str) -> list[str]:
    ledger = lake.root / "ledger"
    return sorted(
        p.relative_to(ledger).with_suffix(".parquet").as_posix()
        for p in (ledger / table).rglob("*.json")
    )


def test_run_reads_each_document_once(demo_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: Counter[Path] = Counter()
    read = store._read_document

    def counted(path: Path) -> Any:
        reads[path] += 1
        return read(path)

    monkeypatch.chdir(demo_copy)
    monkeypatch.setattr(store, "_read_document", counted)
    workspace = Workspace(Path("flowpeer.toml"))
    network, ledger = workspace.network(), Ledger(workspace.lake())
    assert roll_up(network, ledger.lake, Collected(), ledger=ledger).rolled_up == 0
    assert quality.findings(network, ledger)
    several = {str(path): n for path, n in reads.items() if n > 1}
    # Loading sources comes first, and looks at what is loaded.
    assert {p for p in several if "/reference/" not in p and "/routes/" not in p} == set()
    for table in ("flows", "captures", "traffic"):
        assert len(whole(ledger.lake, table)) == sum(f"/ledger/{table}/" in str(p) for p in reads)


def test_a_period_reads_only_its_days(demo_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = load(demo_copy / "flowpeer.toml")
    lake = Lake(network.lake_path)
    ledger = lake.root / "ledger" / "flows"
    for day in ("2026-09-13", "2026-09-20"):
        shutil.copytree(ledger / "date=2026-09-16", ledger / f"date={day}")
    start, end = datetime(2026, 9, 16, 2, tzinfo=UTC), datetime(2026, 9, 16, 4, tzinfo=UTC)
    part = Rollup(lake, network, period=(start, end))
    assert {name.split("/")[1] for name in part.files} == {"date=2026-09-16"}
    for day in ("2026-09-13", "2026-09-20"):
        shutil.rmtree(ledger / f"date={day}")
    alone, everything = part.plan(start, end), Rollup(lake, network).plan(start, end)
    assert alone == everything
    assert [h.start for h in alone] == [start, start.replace(hour=3)]
    assert not any(h.changed for h in alone)


def test_names_of_some_days(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    days = ["2025-12-31", "2026-01-01", "2026-01-02", "2026-01-10"]
    names = [f"late/date={d}/hour=0{h}/x.parquet" for d in days for h in (0, 7)]
    for name in names:
        lake.write_entry(name, {"of": name})
    ledger = Ledger(lake)
    assert ledger.names("late") == names
    first, last = datetime(2026, 1, 1, 5, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)
    assert list(ledger.entries("late", first=first, last=last)) == names[2:6]
    assert ledger.names("late", first=first) == names[2:]
    assert ledger.names("late", last=last) == names[:6]
    added = "late/date=2026-01-01/hour=05/y.parquet"
    lake.write_entry(added, {"of": added})
    assert added not in ledger.names("late"), "listed once"
    ledger.put(added, {"of": added})
    assert ledger.entries("late", first=first, last=first)[added] == {"of": added}


def test_a_damaged_document_is_told_each_time(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    lake.write_entry("late/a.parquet", {"n": 1})
    lake.write_entry("late/b.parquet", {"n": 2})
    path = lake.entry_path("late/b.parquet")
    path.write_bytes(path.read_bytes().replace(b'"n": 2', b'"n": 3'))
    ledger = Ledger(lake)
    for _ in range(2):
        with pytest.raises(InputError, match="not what was written"):
            ledger.entries("late")
        damaged: list[str] = []
        assert ledger.entries("late", damaged=damaged) == {"late/a.parquet": {"n": 1}}
        assert damaged == ["late/b.parquet"]


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "format 1,"), ('{"format": 99}', "format 99,"), ("x", "format unknown,"),
     ("[]", "format unknown,")],
)  # fmt: skip
def test_a_lake_of_another_format_is_refused(
    content: str | None, said: str, demo_copy: Path, run: Run
) -> None:
    mark = demo_copy / "lake" / "format.json"
    assert json.loads(mark.read_text()) == {"format": FORMAT}
    before = sorted((demo_copy / "lake").rglob("*.parquet"))
    mark.unlink() if content is None else mark.write_text(content)
    for command in (["rollup"], ["check"], ["sql", "SELECT 1"], ["candidates"], ["verify"]):
        done = run(*command, cwd=demo_copy)
        assert done.returncode == 2, done.stderr
        assert done.stdout == ""
        (error, advice) = done.stderr.strip().splitlines()
        assert said in error
        assert f"format {FORMAT}" in error
        assert advice.startswith("try: ")
    assert sorted((demo_copy / "lake").rglob("*.parquet")) == before


def invented(count: int, first: int, *, ip: str = "192.0.2.1", times: int = 1) -> pa.Table:
    """Records with a different output interface each, all that came in on interface 7."""
    schema = arrow_schema(FLOWS)
    cells: dict[str, Any] = {
        "received_at": 0, "start_time": 0, "end_time": 0, "exporter_ip": ip, "format": "ipfix",
        "observation_domain": 0, "input_if": 7, "time_corrected": False,
    }  # fmt: skip
    n = count * times
    columns = [
        pa.array(np.repeat(np.arange(first, first + count) * 1021, times), pa.int64())
        if f.name == "output_if"
        else pa.array([cells.get(f.name)] * n, pa.int64()).cast(f.type)
        if pa.types.is_timestamp(f.type)
        else pa.array([cells.get(f.name)] * n, f.type)
        for f in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def test_invented_interfaces_are_bounded_and_told(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    sink = FlowSink(lake, "unit")
    hour = datetime(1970, 1, 1, tzinfo=UTC)
    real = invented(3, 4_000_000, times=5)  # three that are named more often than once
    total = 0
    for n in range(6):
        sink.write(hour, "flows", invented(3_000, 1 + n * 3_000))
        sink.write(hour, "flows", real)
        total += 3_000 + real.num_rows
    sink.write(hour, "flows", invented(10, 1, ip="192.0.2.2"))
    sink.publish({})
    (entry,) = lake.entries("flows").values()
    seen = entry["seen"]["192.0.2.1"]
    assert len(seen) == MAX_INTERFACES
    assert {"7", *(str(n * 1021) for n in range(4_000_000, 4_000_003))} <= set(seen)
    kept = MAX_INTERFACES - 4  # with a single record each
    assert entry["unlisted"] == {"192.0.2.1": 6 * 3_000 - kept}
    assert len(entry["seen"]["192.0.2.2"]) == 11
    assert entry["rows"] == total + 10


def test_check_tells_of_an_exporter_that_names_too_many_interfaces(demo_copy: Path) -> None:
    network = load(demo_copy / "flowpeer.toml")
    known = network.exporters[0]
    flows = {
        "a": {"unlisted": {str(known.addresses[0]): 7, "203.0.113.1": 1}},
        "b": {"unlisted": {str(known.addresses[0]): 1_000}}, "c": {"unlisted": {}},
    }  # fmt: skip
    ours, stranger = quality._invented(network, flows)  # by address
    assert (stranger.subject, ours.subject) == ("exporter 203.0.113.1", f"exporter {known.id}")
    assert "1,007 times" in ours.text
    assert {stranger.level, ours.level} == {"warning"}
