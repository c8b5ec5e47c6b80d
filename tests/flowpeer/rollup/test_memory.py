"""What does not fit into memory waits on disk, and the rows are the same."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import worlds

from flowpeer.rollup import aggregate, compiled, hour_sums, reading, sum_files, traffic_rows
from flowpeer.rollup.planner import RollupPlanner
from flowpeer.rollup.sums import ENTRIES
from flowpeer_core.native import library, parquet


def rows_of(rollup: Any) -> list[Any]:
    return [
        pq.ParquetFile(rollup.lake.path(name)).read()
        for table in ("traffic", "traffic_routes")
        for name in rollup.lake.entries(table)
    ]


@pytest.mark.skipif(library() is None, reason="built without the compiled core")
@pytest.mark.parametrize("lake", ["", 'fold_share = 0.4\nfold_below = "900G"'])
def test_little_memory_gives_the_same_rows(
    lake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    for name in ("much", "little"):
        folder = tmp_path / name
        folder.mkdir()
        world = worlds.make_world(8)
        for seed in range(60, 70):
            world.flows += worlds.make_world(seed).flows
        rollup = worlds.prepare(folder, world, 6, lake)
        if name == "little":
            monkeypatch.setattr(aggregate, "SUMMED_OCTETS", 0)
            monkeypatch.setattr(compiled, "FIRST_BITS", 8)
            monkeypatch.setattr(reading, "BATCH_ROWS", 40)
            monkeypatch.setattr(hour_sums, "GROUP_ROWS", 5)
            for module in (traffic_rows, parquet):  # many pages, whose dictionaries grow
                monkeypatch.setattr(module, "MOST_ROWS", 8)
                monkeypatch.setattr(module, "ROW_GROUP_ROWS", 24)
            monkeypatch.setattr(parquet, "PAGE_ROWS", 8)
            rollup = RollupPlanner(rollup.lake, rollup.network, threads=1)
        waited = 0
        put_aside = compiled.CompiledSums._put_aside

        def counting(*args: Any) -> Any:
            nonlocal waited
            waited += 1
            return put_aside(*args)  # noqa: B023

        with monkeypatch.context() as patched:
            patched.setattr(compiled.CompiledSums, "_put_aside", counting)
            for hour in rollup.plan():
                rollup.roll_up(hour)
        assert (waited > 0) == (name == "little")
        assert not any(p for p in (rollup.lake.root / "staging").rglob("*") if p.is_file())
        made.append(rows_of(rollup))
        groups = [pq.ParquetFile(rollup.lake.path(n)).metadata.num_row_groups
                  for n in rollup.lake.entries("traffic")]  # fmt: skip
        assert (max(groups) > 3) == (name == "little")
    assert all(a.equals(b) for a, b in zip(*made, strict=True))
    assert made[0]


def test_files_without_a_record_in_the_hour_give_no_rows_and_wait_nowhere(tmp_path: Path) -> None:
    rollup = worlds.prepare(tmp_path, worlds.make_world(1))
    files = [(n, rollup.lake.path(n), f.rows) for n, f in rollup.files.items()]
    hour = rollup.plan()[-1].start + timedelta(hours=5)
    folder = tmp_path / "waiting"
    folder.mkdir()
    done = aggregate.Aggregate(files, hour, rollup.context(hour), folder, threads=3)
    assert list(folder.iterdir()) == []
    assert done.figures == aggregate.HourFigures()
    assert [*done.traffic(), *done.traffic_routes()] == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_names_the_file_that_sums_wait_in() -> None:
    with pytest.raises(OSError, match="No space left on device: '/dev/full'"):
        sum_files.write(Path("/dev/full"), np.zeros(1 << 12, ENTRIES))
