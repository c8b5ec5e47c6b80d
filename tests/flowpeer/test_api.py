"""The public API: the command line's twin, without a terminal."""

from __future__ import annotations

import doctest
import importlib
import inspect
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import flowpeer
import flowpeer.api
from flowpeer.analysis.candidates import ListOf
from flowpeer.cli.commands import COMMANDS

DOCS = Path(__file__).resolve().parents[2] / "docs"
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.fixture
def net(demo_folder: Path) -> flowpeer.Network:
    return flowpeer.open(demo_folder / "flowpeer.toml")


@pytest.mark.parametrize("module", [flowpeer, flowpeer.api])
def test_docstrings_are_true(
    module: object, demo_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(demo_folder)
    failed, attempted = doctest.testmod(module, optionflags=FLAGS)  # type: ignore[arg-type]
    assert attempted > 2
    assert failed == 0


def test_the_tutorial_runs_cell_by_cell(demo_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(demo_folder)
    failed, attempted = doctest.testfile(
        str(DOCS / "tutorial-python.md"), module_relative=False, optionflags=FLAGS
    )
    assert attempted > 20
    assert failed == 0


def test_every_command_has_its_line_on_the_python_page() -> None:
    page = (DOCS / "python.md").read_text("utf-8")
    first = re.findall(r"(?m)^\| (.*?) \|", page)
    named = set(re.findall(r"`flowpeer (\w+)", "\n".join(first)))
    assert named == {entry.name for entry in COMMANDS}
    for method in re.findall(r"net\.(\w+)\(", page):
        assert hasattr(flowpeer.Network, method), method


@pytest.mark.parametrize("of", ["metros", "organisations"])
def test_totals_are_of_the_list_that_is_shown(net: flowpeer.Network, of: ListOf) -> None:
    answer = net.candidates(of=of, asks=3)
    whole = answer.totals["totals"]["all"]
    beside = answer.side_tables["not_listed"].rows
    both = {
        name: sum(int(rows[c].sum()) for c in ("out_bytes", "in_bytes"))
        for name, rows in (
            ("listed_bytes", answer.rows.filter(pl.col("rank") > 0)),
            ("already_peered_bytes", answer.rows.filter(pl.col("rank") == 0)),
            ("not_listed_bytes", beside),
        )
    }
    assert {name: whole[name] for name in both} == both
    assert sum(both.values()) == whole["out_bytes"] + whole["in_bytes"]


TWINS = {
    "bills": "bills", "candidates": "candidates", "capacity": "capacity", "drill": "drill",
    "exchanges": "exchanges", "exits": "exits", "explain": "explain", "imbalance": "imbalance",
    "leaks": "leaks", "report": "report",
}  # fmt: skip
"""Command → the method that is its twin."""
OTHER_NAMES = {
    "list_": "of", "join_ix": "join", "all_": "every", "with_asks": "asks", "format_": "formats",
    "contract": "contracts", "invoice": "invoices", "force": "forced", "out": "folder",
    "directory": "folder",
}  # fmt: skip
OWN_METHODS = {
    ("bills", "with_asks"): "counterfactual", ("bills", "rules"): "counterfactual",
    ("drill", "plan"): "drt", ("drill", "replay"): "replay",
}  # fmt: skip
FILES_ALONE = {"out", "format_"}
"""Of answers: an `Answer` has `write(folder, formats)` for them."""


@pytest.mark.parametrize("command", sorted(TWINS))
def test_every_option_of_an_answer_has_its_twin(command: str) -> None:
    module, _, name = next(e.target for e in COMMANDS if e.name == command).partition(":")
    function = getattr(importlib.import_module(f"flowpeer.cli.{module}"), name)
    mine = set(inspect.signature(getattr(flowpeer.Network, TWINS[command])).parameters)
    for option in set(inspect.signature(function).parameters) - {"ctx"}:
        if (command, option) in OWN_METHODS:
            assert hasattr(flowpeer.Network, OWN_METHODS[command, option])
        elif command == "report" or option not in FILES_ALONE:
            assert OTHER_NAMES.get(option, option) in mine, (command, option, mine)


def test_importing_costs_nothing_until_a_name_is_used() -> None:
    code = (
        "import sys, flowpeer, flowpeer.errors\n"
        "heavy = {'numpy', 'pyarrow', 'polars', 'duckdb', 'pydantic', 'typer'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "assert set(flowpeer.__all__) <= set(dir(flowpeer))\n"
        "assert all(getattr(flowpeer, name) for name in flowpeer.__all__)\n"
        "assert 'typer' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_answers_are_the_command_lines(
    net: flowpeer.Network, demo_folder: Path, run: Callable[..., subprocess.CompletedProcess[str]],
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    rows = net.imbalance(metro="ams").rows
    shown = capfd.readouterr()
    assert (shown.out, shown.err) == ("", "")
    done = run("imbalance", "--metro", "ams", "--json", cwd=demo_folder)
    said = pl.DataFrame(json.loads(done.stdout), schema=rows.schema)
    assert_frame_equal(said, rows, rel_tol=1e-9)


def test_a_period_is_text_or_two_times(net: flowpeer.Network) -> None:
    inputs = net.gather().inputs
    start, end = inputs.period_start, inputs.period_end
    text = f"{start:%Y-%m-%d}/{end:%Y-%m-%d}"
    assert_frame_equal(
        net.imbalance(text, metro="ams").rows, net.imbalance((start, end), metro="ams").rows
    )


def test_a_question_takes_what_the_command_line_does(net: flowpeer.Network, tmp_path: Path) -> None:
    inputs = net.gather().inputs
    start, end = inputs.period_start, inputs.period_end
    (tmp_path / "mine.csv").write_text("number,owner\n65000,ann\n")
    rows = net.sql("growth", period=(start, end), metro="ams", provider="AS64501", top=3)
    assert rows.height <= 3
    with_file = net.sql("SELECT owner FROM mine", attach={"mine": tmp_path / "mine.csv"})
    assert with_file["owner"].to_list() == ["ann"]
    with pytest.raises(flowpeer.UsageError, match="no metro xyz"):
        net.sql("growth", metro="xyz")
    with pytest.raises(flowpeer.NoDataError, match="no traffic in 1999Q1"):
        net.sql("growth", period="1999Q1")


def test_errors_are_of_one_tree(net: flowpeer.Network, tmp_path: Path) -> None:
    with pytest.raises(flowpeer.UsageError, match="no such metro"):
        net.candidates(metro="xyz")
    with pytest.raises(flowpeer.NoDataError):
        net.imbalance("1999-01")
    with pytest.raises(flowpeer.ConfigError):
        flowpeer.open(tmp_path / "flowpeer.toml")
    with pytest.raises(flowpeer.FlowpeerError):
        net.sql("DELETE FROM traffic")


def test_a_network_from_captures_to_answers(demo_folder: Path, tmp_path: Path) -> None:
    """The way of a scheduler, in one process, with every word of it collected."""
    text = (demo_folder / "flowpeer.toml").read_text("utf-8")
    text = re.sub(r'(?m)^path = "lake"', f'path = "{tmp_path / "lake"}"', text)
    for name in ("ribs", "peeringdb.json", "as-rel2.txt.bz2", "asns.csv"):
        text = text.replace(f'"{name}"', f'"{demo_folder / name}"')
    (tmp_path / "flowpeer.toml").write_text(text, "utf-8")
    net = flowpeer.open(tmp_path / "flowpeer.toml")
    capture = demo_folder / "captures" / "edge1.ams.pcap"
    added = net.ingest(capture)
    assert added["added"].to_list() == [True]
    assert added["rows"].sum() == net.scan("flows").select(pl.len()).collect().item()
    assert net.ingest([capture])["added"].to_list() == [False]
    done = net.rollup()
    assert done.height == net.plan().height > 20
    assert done["records"].sum() > 0
    assert net.rollup().is_empty()
    assert net.verify().good
    assert net.routes()["prefixes4"].sum() > 0
    assert any("already in the lake" in note for note in net.notes)
    files = net.report(tmp_path / "report")
    assert {path.name for path in files} >= {"candidates.csv", "imbalance.csv", "report.html"}
