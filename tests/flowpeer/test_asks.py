"""`flowpeer asks`: the log on disk, and what it does to the list."""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from small_network import NETWORK

from flowpeer import configuration
from flowpeer.analysis.asks import append
from flowpeer.errors import UsageError
from flowpeer_reports.ask_log import AskEvent

Run = Callable[..., "subprocess.CompletedProcess[str]"]
CONFIG = (
    NETWORK
    + """\
[[metros]]
id = "fra"
name = "Frankfurt"
"""
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "flowpeer.toml").write_text(CONFIG)
    return tmp_path


def test_an_ask_is_opened_updated_and_listed(folder: Path, run: Run) -> None:
    ams = ("--metro", "ams", "--metro", "ams")
    added = run("asks", "add", "AS64510", *ams, "--date", "2026-05-04",
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
        (["add", "64510", "--date", "2026-05-04", "--until", "2026-05-03"], "before the day of"),
        (["add", "64510", "--date", "2926-05-04"], "2926-05-04: asked on a day in the future"),
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


REFUSALS = """
[[exporters]]
id = "edge1"
metro = "ams"
addresses = ["192.0.2.1"]
[[interfaces]]
exporter = "edge1"
index = 1
role = "transit"
asn = 64501
[[interfaces]]
exporter = "edge1"
index = 2
role = "customer"
asn = 64502
[[exclusions]]
asn = 64503
reason = "a competitor"
until = 2026-09-30
[policy]
siblings = [[64504, 64505]]
"""


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["64500"], "AS64500 is never asked: own network"),
        (["64501"], "AS64501 is never asked: our transit"),
        (["64502"], "AS64502 is never asked: customer cone"),
        (["64503"], "AS64503 is never asked: excluded: a competitor (until 2026-09-30)"),
        (["64506"], "AS64506 is never asked: excluded: declined 2026-06-01 (until 2026-12-31)"),
        (["64504"], "AS64504 has an ask in ams that is open: asked on 2026-05-04"),
        (["64504", "--metro", "ams", "--metro", "fra"], "AS64504 has an ask in ams that is open"),
        (["64505", "--metro", "ams"], "AS64505: its sibling AS64504 has an ask in ams"),
        (["64504", "--metro", "ams", "--date", "2026-05-01"], "AS64504 has an ask in ams"),
        (["64507", "--event", "planned"], "AS64507 has an ask in ams that is open: planned on"),
        (["64507"], "AS64507 has an ask in ams that is open: planned on 2026-05-04"),
    ],
)
def test_what_is_no_ask_is_refused_with_the_reason(
    folder: Path, run: Run, words: list[str], what: str
) -> None:
    (folder / "flowpeer.toml").write_text(CONFIG + REFUSALS)
    log = folder / "asks.csv"
    log.write_text(
        "date,organisation,asn,metros,event,until,owner,note,"
        "predicted_bps,predicted_ci95_bps,predicted_saving\n"
        "2026-05-04,,64504,ams,asked,,,,,,\n2026-05-04,,64506,ams,asked,,,,,,\n"
        "2026-06-01,,64506,ams,declined,2026-12-31,,,,,\n2026-05-04,,64507,ams,planned,,,,,,\n"
    )
    before = log.read_text()
    day = [] if "--date" in words else ["--date", "2026-07-01"]
    done = run("asks", "add", *words, *day, cwd=folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert what in done.stderr.splitlines()[0]
    assert log.read_text() == before
    # After the day of an exclusion or a refusal, in another metro, or after it was closed.
    for second in (["64503", "--date", "2026-10-01"],
                   ["64506", "--date", "2027-01-01", "--event", "planned"],
                   ["64504", "--metro", "fra"], ["64507", "--metro", "ams"]):  # fmt: skip
        assert run("asks", "add", *second, cwd=folder).returncode == 0
    assert run("asks", "update", "64504", "no_answer", "--metro", "ams",
               cwd=folder).returncode == 0  # fmt: skip
    assert run("asks", "add", "64505", "--metro", "ams", cwd=folder).returncode == 0


def test_an_event_says_which_ask_it_goes_to(folder: Path, run: Run) -> None:
    def refused(*words: str) -> str:
        done = run("asks", "update", "64510", *words, cwd=folder)
        assert (done.returncode, done.stdout) == (2, "")
        return done.stderr.splitlines()[0].removeprefix("error: asks.csv: ")

    def did(*words: str) -> list[tuple[str, list[str]]]:
        done = run("asks", *words, cwd=folder)
        assert done.returncode == 0, done.stderr
        listed = json.loads(run("asks", "list", "--json", cwd=folder).stdout)
        return [(ask["status"], ask["metros"]) for ask in listed]

    add, update, first = ("add", "64510"), ("update", "64510"), ("--date", "2026-05-04")
    did(*add, "--event", "planned", "--metro", "ams", *first)
    assert refused("asked", "--date", "2026-05-03") == (
        "the last event of the ask of AS64510 is of 2026-05-04, after 2026-05-03"
    )
    assert refused("asked", "--metro", "fra") == "no open ask of AS64510 in fra"
    assert refused("asked", "--metro", "ams", "--metro", "fra") == (
        "the ask of AS64510 is for ams, and asked goes for all of it"
    )
    assert did(*update, "asked", "--date", "2026-05-05") == [("asked", ["ams"])]
    assert refused("asked") == "the ask of AS64510 is for ams, and asked already"
    did(*add, "--metro", "fra", *first)
    assert refused("declined") == (
        "AS64510 has 2 open asks: ams (asked 2026-05-05); fra (asked 2026-05-04)"
    )
    assert did(*update, "declined", "--metro", "fra", "--date", "2026-05-06") == [
        ("asked", ["ams"]), ("declined", ["fra"]),
    ]  # fmt: skip
    did(*add, "--metro", "fra", "--date", "2026-08-24")
    both = ("--metro", "ams", "--metro", "fra", "--date", "2026-08-25")
    assert did(*update, "withdrawn", *both) == [
        ("withdrawn", ["ams"]), ("declined", ["fra"]), ("withdrawn", ["fra"]),
    ]  # fmt: skip
    # One answer goes for all of an ask; a session may be in some of its metros.
    did(*add, "--date", "2026-09-01")
    ams = ("--metro", "ams", "--date", "2026-09-02")
    assert refused("answered_yes", *ams) == (
        "the ask of AS64510 is for all metros, and answered_yes goes for all of it"
    )
    assert did(*update, "live", *ams)[-1] == ("live", [])


@pytest.mark.parametrize(
    ("metros", "list_"), [(["fra"], "metros"), (["fra", "ams"], "organisations"),
                          ([], "organisations")],
)  # fmt: skip
def test_an_ask_keeps_what_the_list_of_the_day_predicts(
    demo_copy: Path, run: Run, metros: list[str], list_: str
) -> None:
    where = [word for metro in metros for word in ("--metro", metro)]
    rows = json.loads(
        run("candidates", "--list", list_, *where, "--json", cwd=demo_copy).stdout
    )  # fmt: skip
    row = next(row for row in rows if row["asn"] == 500611 and row["rank"] > 0)
    assert run("asks", "add", "500611", *where, cwd=demo_copy).returncode == 0
    ask = json.loads(run("asks", "list", "--asn", "500611", "--json", cwd=demo_copy).stdout)[-1]
    assert ask["predicted_bps"] == pytest.approx(row["marginal_bps"], abs=0.5)
    assert ask["predicted_ci95_bps"] == pytest.approx(row["ci95_bps"], abs=0.5)
    assert ask["predicted_saving"] == pytest.approx(row["saving_per_month"], abs=0.005)


def test_the_list_of_a_period_that_is_over_has_the_log_as_it_stands(
    demo_copy: Path, run: Run
) -> None:
    """Umberpipit Cable in New York: rank 2, and on the exchange there."""

    def answer(*words: str) -> list[dict[str, Any]]:
        done = run(*words, "--metro", "nyc", "--json", cwd=demo_copy)
        assert done.returncode in (0, 1), done.stderr
        found: list[dict[str, Any]] = json.loads(done.stdout)
        return found

    def umberpipit(*words: str) -> dict[str, Any] | None:
        return next((row for row in answer("candidates", *words) if row["asn"] == 503273), None)

    plain = umberpipit()
    assert plain
    before = {row["ix_id"]: row["marginal_bps"] for row in answer("exchanges")}
    words = ("503273", "--metro", "nyc", "--date")
    run("asks", "add", *words, "2026-10-01", "--owner", "bo", cwd=demo_copy)
    for metro, told in (("nyc", True), ("iad", False)):
        draft = run("asks", "draft", "503273", "--metro", metro, cwd=demo_copy).stdout
        assert draft.startswith("# Policy: ")
        asked = "note: asked already, by the log of asks: AS503273 (asked 2026-10-01)"
        assert (asked in draft) == told
    run("asks", "update", "503273", "answered_yes", "--date", "2026-10-02", cwd=demo_copy)
    listed = umberpipit()
    assert listed == plain | {"status": "answered yes 2026-10-02, bo"}
    # What was agreed is no exchange's any more (M18).
    after = {row["ix_id"]: row["marginal_bps"] for row in answer("exchanges")}
    assert before[201] - after[201] == pytest.approx(plain["cone_bps"], abs=0.01)
    assert after[210] == before[210]
    assert umberpipit("--as-of", "2026-10-01") == plain | {"status": "asked 2026-10-01, bo"}
    assert umberpipit("--as-of", "2026-09-17") == plain
    # Live since before the period, it is a session, also when that ended after the period.
    log = demo_copy / "asks.csv"
    kept = log.read_text()
    for event, day in (("live", "2026-09-01"), ("withdrawn", "2026-10-05")):
        with log.open("a") as stream:
            stream.write(f"{day},,503273,nyc,{event},,,,,,\n")
        listed = umberpipit()
        assert listed
        assert listed["rank"] == 0
    log.write_text(kept)
    # A refusal takes it off the list, and is what changed against a period before it.
    run("asks", "update", "503273", "declined", "--date", "2026-10-03", "--until", "2027-06-30",
        cwd=demo_copy)  # fmt: skip
    assert umberpipit() is None
    halves = ("--period", "2026-09-16T12:00/2026-09-17", "--compare", "before")
    done = run("candidates", "--metro", "nyc", *halves, cwd=demo_copy)
    (gone,) = (line for line in done.stdout.splitlines() if "nyc: gone: Umberpipit" in line)
    assert "eligibility" in gone


def test_without_a_prediction_the_ask_says_why(demo_copy: Path, run: Run) -> None:
    def note(*words: str) -> str:
        done = run("asks", "add", *words, cwd=demo_copy)
        assert done.returncode == 0, done.stderr
        return done.stderr

    # The captures are of 2026-09-16; an ask is from the list as it was on its day.
    assert note("500611", "--metro", "fra", "--date", "2026-09-16") == (
        "note: no prediction: no data of before 2026-09-16\n"
    )
    assert note("500611", "--metro", "ams", "--date", "2026-09-17") == ""
    assert "AS500613 is no row of the list in ams" in note("500613", "--metro", "ams")
    assert note("500613", "--metro", "fra", "--predicted-bps", "1000") == ""


def test_of_the_same_ask_twice_at_once_one_is_written(folder: Path) -> None:
    words = [sys.executable, "-m", "flowpeer", "asks", "add", "64510", "--predicted-bps", "1"]
    adding = [
        subprocess.Popen(words, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(4)
    ]
    said = sorted((p.communicate()[1].decode(), p.returncode) for p in adding)
    assert [code for _, code in said] == [0, 2, 2, 2]
    assert all("has an ask in all metros that is open" in text for text, _ in said[1:])
    assert len((folder / "asks.csv").read_text().splitlines()) == 2


def test_nobody_else_adds_while_an_event_is_checked(folder: Path) -> None:
    network = configuration.load(folder / "flowpeer.toml")
    event = AskEvent(date(2026, 5, 4), "", 64510, (), "asked")

    def refuse() -> None:
        with (folder / "asks.csv").open("ab") as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        raise UsageError("open already")

    append(network, event, lambda: None)
    before = (folder / "asks.csv").read_bytes()
    with pytest.raises(UsageError, match="open already"):
        append(network, event, refuse)
    assert (folder / "asks.csv").read_bytes() == before


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
