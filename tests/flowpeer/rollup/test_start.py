"""What the process of a roll-up imports: a scheduler starts one every hour."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from worlds import make_world, prepare

UNUSED = (
    "rich", "multiprocessing", "flowpeer.analysis", "flowpeer.checks", "flowpeer.pipeline.engines",
    "flowpeer.registry", "flowpeer.routing.bmp", "flowpeer.routing.mrt.table_dump", "flowpeer.web",
    "flowpeer_ingest.summary", "flowpeer_ingest.wire", "flowpeer_reports",
)  # fmt: skip
"""What no hour needs whose sources are loaded already."""
ENGINES = ("duckdb", "polars", "pyarrow.compute", "pyarrow.parquet", "ssl")
"""What an hour needs that is done, or the sums of a day."""


def rolled_up(folder: Path, later: tuple[str, ...]) -> tuple[str, list[str]]:
    """What a roll-up said, and what it imported of some modules."""
    code = (
        "import sys; from flowpeer.cli.app import run; status = run(['rollup'])\n"
        f"print(*[m for m in {later!r} if m in sys.modules], file=sys.stderr); sys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, 1), done.stderr
    return done.stdout, done.stderr.splitlines()[-1].split()


def test_a_roll_up_imports_what_its_hours_need(tmp_path: Path) -> None:
    world = make_world(3)
    world.sampling.clear()  # announced rates are read by engines
    prepare(tmp_path, world)
    said, imported = rolled_up(tmp_path, UNUSED)
    assert "hours rolled up" in said
    assert imported == []
    said, imported = rolled_up(tmp_path, UNUSED + ENGINES)
    assert "all up to date" in said
    assert imported == []
