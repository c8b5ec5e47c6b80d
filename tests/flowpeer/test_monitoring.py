"""Alert rules, dashboard and figures: made of the tables of counters, and true of what exists."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from flowpeer.checks.freshness import FIGURES, days_until_full
from flowpeer.cli.textfile import RUN, command_of
from flowpeer_ingest.collector import Collector, CollectorOptions
from flowpeer_ingest.metrics import Metrics
from flowpeer_ingest.stats import LOSSES

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def monitoring() -> ModuleType:
    spec = importlib.util.spec_from_file_location("monitoring", DEPLOY / "monitoring.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def exported(tmp_path: Path) -> set[str]:
    """Every name that a collector, a run and Prometheus itself give."""
    collector = Collector(CollectorOptions(spool=tmp_path, listen=()), unit=lambda name: None)  # type: ignore[arg-type, return-value]
    snapshot = {**collector.snapshot(), "receivers": [{}], "listen": []}
    families = list(Metrics(lambda: snapshot, collector.troubles).collect())
    names = {f"{f.name}_total" if f.type == "counter" else f.name for f in families}
    return names | set(RUN) | {f"flowpeer_{name}" for name in FIGURES} | {"up"}


def test_the_shipped_files_are_what_they_are_made_of(monitoring: ModuleType) -> None:
    assert monitoring.stale() == []


def test_rules_and_dashboard_name_only_metrics_that_exist(exported: set[str]) -> None:
    document = json.loads((DEPLOY / "grafana" / "flowpeer.json").read_text())
    expressions = [t["expr"] for panel in document["panels"] for t in panel["targets"]]
    expressions += re.findall(
        r'expr: (".*")', (DEPLOY / "prometheus/flowpeer.rules.yml").read_text()
    )
    named = {name for text in expressions for name in re.findall(r"\bflowpeer_\w+", text)}
    assert named - exported == set()
    ids = [panel["id"] for panel in document["panels"]]
    assert len(set(ids)) == len(ids) == 19
    # No loss without an alert and a line.
    losses = {f"flowpeer_loss_{name}_total" for name in LOSSES}
    assert losses <= named


def test_promtool_accepts_the_rules_and_every_alert_fires_when_it_should() -> None:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed")
    folder = DEPLOY / "prometheus"
    for words in (["check", "rules", "flowpeer.rules.yml"],
                  ["test", "rules", "flowpeer.rules.test.yml"]):  # fmt: skip
        done = subprocess.run(["promtool", *words], cwd=folder, capture_output=True, text=True,
                              check=False)  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
    rules = set(re.findall(r"alert: (\w+)", (folder / "flowpeer.rules.yml").read_text()))
    tested = set(re.findall(r"alertname: (\w+)", (folder / "flowpeer.rules.test.yml").read_text()))
    assert rules == tested


@pytest.mark.parametrize(
    ("free", "per_day", "passing", "left", "days"),
    [
        (100, 10, 0, None, 10.0),  # nothing is ever pruned
        (100, 10, 8, 20, 10.0),  # full before the first is pruned
        (100, 10, 8, 5, 5 + 50 / 2),  # then only what stays adds up
        (100, 10, 10, 5, None),  # all is pruned: it never fills
        (100, 10, 8, -3, 50.0),  # pruning has begun
        (100, 0, 0, None, None),
    ],
)
def test_days_until_the_disk_is_full(
    free: float, per_day: float, passing: float, left: float | None, days: float | None
) -> None:
    assert days_until_full(free, per_day, passing, left) == days


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["-q", "-c", "x.toml", "run", "ready"], "run"), (["peeringdb", "sync", "--full"],
         "peeringdb sync"), (["--textfile=x", "sql", "SELECT 1"], "sql"), (['bad"name'], "badname"),
        ([], ""),
    ],
)  # fmt: skip
def test_the_command_of_a_command_line(words: list[str], command: str) -> None:
    assert command_of(words) == command


def test_a_run_leaves_its_figures_for_prometheus(
    demo_folder: Path, tmp_path: Path, run: Run
) -> None:
    file = tmp_path / "run.prom"
    done = run("check", "--textfile", file, cwd=demo_folder)
    figures: dict[tuple[Any, ...], float] = {
        (s.name, *s.labels.values()): s.value
        for family in text_string_to_metric_families(file.read_text())
        for s in family.samples
    }
    assert figures["flowpeer_command_exit_status", "check"] == done.returncode
    assert figures["flowpeer_command_warnings", "check"] == done.stdout.count("warning  ")
    assert {f"flowpeer_{n}" for n in FIGURES} - {name for name, *_ in figures} <= {
        "flowpeer_days_until_full"}  # fmt: skip
    assert figures["flowpeer_rolled_up_until",] == figures["flowpeer_flows_until",]
    assert figures["flowpeer_disk_free_octets",] > 0
    assert figures["flowpeer_lake_octets_per_day",] > 0
    assert file.stat().st_mode & 0o777 == 0o644
    # Of a command that fails too, and not at all where it cannot be written.
    assert run("prune", "--keep=soon", "--textfile", file, cwd=demo_folder).returncode == 2
    assert 'exit_status{command="prune"} 2' in file.read_text()
    lost = run("check", "--textfile", tmp_path / "none" / "x.prom", cwd=demo_folder)
    assert lost.returncode == 3
    assert "x.prom" in lost.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["run.prom"]
