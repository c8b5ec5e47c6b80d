"""`flowpeer asks`: the log on disk, and what it does to the list."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]
CONFIG = """\
[network]
asn = 64500
name = "Test"
prefixes = ["198.18.0.0/15"]
[lake]
path = "lake"
[[metros]]
id = "ams"
name = "Amsterdam"
[[metros]]
id = "fra"
name = "Frankfurt"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "flowpeer.toml").write_text(CONFIG)
    return tmp_path


def test_an_ask_is_opened_updated_and_listed(folder: Path, run: Run) -> None:
    added = run("asks", "add", "AS64510", "--metro", "ams", "--date", "2026-05-04",
                "--organisation", "Example, Inc.", "--predicted-bps", "2500000000",
                cwd=folder)  # fmt: skip
    assert added.returncode == 0, added.stderr
    assert run("asks", "update", "64510", "declined", "--date", "2026-06-01", "--until",
               "2027-06-01", cwd=folder).returncode == 0  # fmt: skip
    (ask,) = json.loads(run("asks", "list", "--json", cwd=folder).stdout)
    assert (ask["status"], ask["metros"], ask["organisation"]) == (
        "declined", ["ams"], "Example, Inc.",
    )  # fmt: skip
    assert (ask["date"], ask["until"], ask["predicted_bps"]) == (
        "2026-05-04", "2027-06-01", 2500000000.0,
    )  # fmt: skip
    (before,) = json.loads(
        run("asks", "list", "--json", "--as-of", "2026-05-20", cwd=folder).stdout
    )
    assert before["status"] == "asked"
    # The file is the people's: lines are only added, and a missing newline costs nothing.
    log = folder / "asks.csv"
    text = log.read_text().rstrip("\n")
    log.write_text(text)
    run("asks", "add", "64511", "--date", "2026-06-02", cwd=folder)
    assert log.read_text().startswith(text + "\n")
    assert len(json.loads(run("asks", "list", "--json", cwd=folder).stdout)) == 2


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["add", "AS0"], "no AS number"),
        (["add", "64510", "--metro", "nyc"], "no such metro"),
        (["add", "64510", "--event", "live"], "'live' is no event here"),
        (["add", "64510", "--date", "yesterday"], "no date"),
        (["update", "64510", "live"], "no open ask of AS64510"),
        (["list", "--status", "maybe"], "'maybe' is no event here"),
    ],
)
def test_mistakes_are_invalid_usage_and_write_nothing(
    folder: Path, run: Run, words: list[str], what: str
) -> None:
    done = run("asks", *words, cwd=folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert what in done.stderr
    assert not (folder / "asks.csv").exists()


def test_a_wrong_line_is_named_and_nothing_is_added_to_it(folder: Path, run: Run) -> None:
    log = folder / "asks.csv"
    run("asks", "add", "64510", cwd=folder)
    log.write_text(log.read_text() + "2026-13-01,X,64511,,asked,,,,,,\n")
    for words in (["list"], ["add", "64512"]):
        done = run("asks", *words, cwd=folder)
        assert done.returncode == 3
        assert "line 3: date = '2026-13-01'" in done.stderr
        assert "try: " in done.stderr
    assert len(log.read_text().splitlines()) == 3
