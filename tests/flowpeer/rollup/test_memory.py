"""What does not fit into memory waits on disk, and the rows are the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import worlds

from flowpeer.rollup import aggregate, reading, sums


def rows_of(rollup: Any) -> list[Any]:
    return [
        pq.ParquetFile(rollup.lake.path(name)).read()
        for table in ("traffic", "traffic_routes")
        for name in rollup.lake.entries(table)
    ]


@pytest.mark.parametrize("lake", ["", 'fold_share = 0.4\nfold_below = "900G"'])
def test_little_memory_gives_the_same_rows(
    lake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    for name in ("much", "little"):
        folder = tmp_path / name
        folder.mkdir()
        rollup = worlds.prepare(folder, worlds.make_world(8), 6, lake)
        if name == "little":
            monkeypatch.setattr(sums, "FOLD_ROWS", 3)
            monkeypatch.setattr(sums, "HELD_ROWS", 10)
            monkeypatch.setattr(reading, "BATCH_ROWS", 4)
            monkeypatch.setattr(aggregate, "PIECE_ROWS", 2)
            monkeypatch.setattr(aggregate, "TABLE_ROWS", 7)
        spilled = 0
        write = sums.pl.DataFrame.write_ipc

        def counting(*args: Any, **kwargs: Any) -> Any:
            nonlocal spilled
            spilled += 1
            return write(*args, **kwargs)  # noqa: B023

        with monkeypatch.context() as patched:
            patched.setattr(sums.pl.DataFrame, "write_ipc", counting)
            for hour in rollup.plan():
                rollup.roll_up(hour)
        assert (spilled > 0) == (name == "little")
        assert not any(p for p in (rollup.lake.root / "staging").rglob("*") if p.is_file())
        made.append(rows_of(rollup))
    assert all(a.equals(b) for a, b in zip(*made, strict=True))
    assert made[0]
