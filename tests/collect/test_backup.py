"""A lake that is copied while a collector writes into it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from collector_rig import FIRST_BYTES, Rig
from prometheus_client.parser import text_string_to_metric_families

from flowpeer.cli.textfile import RUN

BACKUP = Path(__file__).resolve().parents[2] / "deploy" / "backup" / "flowpeer-backup"
Run = Callable[..., "subprocess.CompletedProcess[str]"]


def test_a_copy_is_what_the_lake_was_at_one_moment(rig: Rig, run: Run, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    (rig.folder / "routes.txt").write_text("8.8.8.0/24 15169\n")
    assert run("rib", "load", "routes.txt", cwd=rig.folder).returncode == 0
    rig.start()
    for n in range(3):
        rig.send(2_000)
        rig.until(lambda: rig.status()["totals"].get("rows", 0) > 0)
        before = rig.status()["totals"]["rows"]
        with subprocess.Popen(
            [BACKUP, rig.folder / "lake", copy / "lake"], stderr=subprocess.PIPE, text=True
        ) as copying:
            rig.send(2_000, rate=2_000)
            if n == 1:
                assert run("rollup", cwd=rig.folder).returncode == 0
            said = copying.communicate(timeout=120)[1]
        assert copying.returncode == 0, said
        shutil.copy(rig.folder / "flowpeer.toml", copy)
        verified = json.loads(run("verify", "--json", cwd=copy).stdout)
        assert verified["faults"] == []
        assert all(identity["holds"] for identity in verified["identities"])
        query = "SELECT count(*) AS n, count(DISTINCT bytes) AS different, max(bytes) AS last"
        done = run("sql", f"{query} FROM flows", "--format", "json", cwd=copy)
        (row,) = json.loads(done.stdout)
        assert row["n"] == row["different"] == row["last"] - FIRST_BYTES + 1
        assert before <= row["n"] <= rig.sent
    rig.end()
    assert len(rig.numbers()) == rig.sent
    assert run("rollup", cwd=copy).returncode == 0


def _written(lake: Path, name: str, text: str) -> None:
    (lake / name).parent.mkdir(parents=True, exist_ok=True)
    (lake / name).write_text(text)


def _copied(to: Path) -> set[str]:
    return {p.relative_to(to).as_posix() for p in to.rglob("*") if p.is_file()}


def test_what_was_pruned_goes_from_the_copy_and_a_second_copy_is_the_same(tmp_path: Path) -> None:
    lake, to = tmp_path / "lake", tmp_path / "backup with a blank"
    files = {"flows/hour=00/a.parquet", "flows/hour=01/b.parquet", "routes/r.parquet"}
    manifests = {f"manifests/{file.rpartition('/')[0]}.json": file for file in files}
    for manifest, file in manifests.items():
        _written(lake, manifest, f'{{"paths":["{file}"]}}\n')
        _written(lake, file, file)
    for name in ("cache/x", "staging/x", "locks/x", "spool/x", "flows/hour=00/unfinished.parquet",
                 "format.json"):  # fmt: skip
        _written(lake, name, name)
    for gone in (None, "flows/hour=00/a.parquet"):
        if gone is not None:
            (lake / gone).unlink()
        subprocess.run([BACKUP, lake, to], check=True)
        assert _copied(to) == {*manifests, *files, "format.json"} - {gone}


def test_what_is_replaced_while_it_is_copied_is_copied_again(tmp_path: Path) -> None:
    """`cp` of the manifests is watched: a file that they name goes right after it, as `rollup`
    replaces it."""
    lake, to, tools = tmp_path / "lake", tmp_path / "to", tmp_path / "tools"
    for name, text in (
        ("manifests/traffic/hour=00.json", '{"paths":["traffic/hour=00/old.parquet"]}'),
        ("traffic/hour=00/old.parquet", "old"),
    ):
        _written(lake, name, text)
    replaced = "\n".join([
        "#!/bin/sh", '/bin/cp "$@"', f"cd '{lake}'", "[ -e traffic/hour=00/old.parquet ] || exit 0",
        "mv traffic/hour=00/old.parquet traffic/hour=00/new.parquet",
        """echo '{"paths":["traffic/hour=00/new.parquet"]}' > manifests/traffic/hour=00.json""",
    ])  # fmt: skip
    _written(tools, "cp", replaced)
    (tools / "cp").chmod(0o755)
    _written(tools, "diff", "#!/bin/sh\n")  # as if nothing had changed until after it looked
    (tools / "diff").chmod(0o755)
    environment = os.environ | {"PATH": f"{tools}:{os.environ['PATH']}"}
    subprocess.run([BACKUP, lake, to], check=True, env=environment)
    assert _copied(to) == {"manifests/traffic/hour=00.json", "traffic/hour=00/new.parquet"}
    assert "new.parquet" in (to / "manifests/traffic/hour=00.json").read_text()


@pytest.mark.parametrize(("words", "status"), [((), 2), (("none",), 2), (("none", "to"), 3)])
def test_what_is_no_lake_is_not_copied(words: tuple[str, ...], status: int, tmp_path: Path) -> None:
    done = subprocess.run([BACKUP, *words], cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == status
    assert not list(tmp_path.iterdir())


def test_how_a_copy_ended_is_told_to_prometheus(tmp_path: Path) -> None:
    lake, figures = tmp_path / "lake", tmp_path / "backup.prom"
    before = int(time.time())
    for status in (3, 0):
        done = subprocess.run([BACKUP, "lake", "copy", figures.name], cwd=tmp_path, check=False)
        assert done.returncode == status
        families = list(text_string_to_metric_families(figures.read_text()))
        # node_exporter leaves out all of a name with two texts or types.
        assert {f.name: (f.documentation, f.type) for f in families} == {
            f.name: (RUN[f.name], "gauge") for f in families
        }
        values = {
            (family.name, sample.labels["command"]): sample.value
            for family in families
            for sample in family.samples
        }
        ended = values.pop(("flowpeer_command_finished_timestamp_seconds", "backup"))
        assert before <= ended <= time.time()
        assert values == {("flowpeer_command_exit_status", "backup"): status}
        assert figures.stat().st_mode & 0o777 == 0o644
        _written(lake, "manifests/flows/a.json", "{}")
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith("backup")] == ["backup.prom"]
