"""`explain` and `report` on the sample network."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import flowpeer

Run = Callable[..., Any]
FJORDLANTERN, HARBOURQUILL, DRIFTLARK = 500622, 500633, 500655


@pytest.mark.parametrize(
    ("asn", "metro"), [(FJORDLANTERN, "ams"), (HARBOURQUILL, "ams"), (DRIFTLARK, "lon")]
)
def test_every_number_is_what_its_sql_gives(demo_folder: Path, asn: int, metro: str) -> None:
    net = flowpeer.open(demo_folder / "flowpeer.toml")
    answer = net.explain(asn, metro=metro)
    steps = answer.rows["step"].to_list()
    assert steps[:4] == ["flows", "routes", "routes", "roles"]
    assert {"evidence", "cover"} <= set(steps)
    screen = answer.on_screen(80)
    asked = 0
    with net.session() as session:
        for value, sql in answer.rows.select("value", "sql").iter_rows():
            assert (value is None) == (sql is None)
            if sql is not None:
                asked += 1
                assert f"{sql}\n" in screen
                told = pl.DataFrame(pl.from_arrow(session.query(sql))).row(0)
                assert told[0] == value
                if told[1:]:
                    assert f"policy {told[1] or 'unknown'}" in answer.rows["text"].to_list()
    assert asked >= 5
    expected = answer.rows.filter(pl.col("text").str.contains("^expected .* Mbps"))
    listed = answer.found.rows.filter(pl.col("metro") == metro, pl.col("asn") == asn)
    listed = listed.filter(pl.col("rank") > 0)
    assert expected.height == listed.height
    cents = answer.rows.filter(pl.col("unit") == "cents a month")
    assert listed.height == (metro == "ams")
    for saving in listed["bill_saving_per_month"]:
        assert sum(cents["value"]) / 100 == pytest.approx(saving, abs=0.02)
    chance = answer.rows.filter(pl.col("unit") == "millionths")["value"].to_list()
    assert chance == [round(p * 1e6) for p in listed["feasibility"]]
    for octets, bps in zip(expected["value"], listed["expected_bps"], strict=True):
        assert octets * 8 / 86_400 == pytest.approx(bps, rel=1e-3)


def test_a_network_with_a_session_says_so(demo_folder: Path, run: Run) -> None:
    done = run("explain", f"AS{DRIFTLARK}", "--metro", "lon", cwd=demo_folder)
    assert done.returncode in (0, 1), done.stderr
    assert "a session exists" in done.stdout
    wrong = run("explain", "driftlark", cwd=demo_folder)
    assert (wrong.returncode, wrong.stdout) == (2, "")


def test_a_network_in_no_figure_is_a_few_lines(demo_folder: Path, run: Run) -> None:
    net = flowpeer.open(demo_folder / "flowpeer.toml")
    answer = net.explain(999999)
    assert answer.rows["metro"].to_list() == [None] * 4
    assert answer.rows["value"].to_list() == [0, 0, 0, None]
    with net.session() as session:
        for sql in answer.rows["sql"].drop_nulls():
            assert pl.DataFrame(pl.from_arrow(session.query(sql))).row(0)[0] == 0
    screen = run("explain", "999999", cwd=demo_folder).stdout
    assert "AS999999 is in no figure" in screen
    assert "policy unknown: PeeringDB has no entry of it" in screen
    assert "not listed: no transit traffic is known to go by it" in screen
    own = net.explain(64500, metro="ams").rows
    assert own["text"][-1] == "not listed: own network"
    # One with traffic is explained metro by metro, listed or not.
    assert net.explain(500303).rows["metro"].n_unique() > 1


def test_the_report_holds_every_answer(demo_folder: Path, tmp_path: Path, run: Run) -> None:
    done = run(
        "report", tmp_path / "pack", "--json", "--format", "csv,xlsx", "--metro", "ams",
        "--metro", "fra", cwd=demo_folder,
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stderr
    made = json.loads(done.stdout)
    names = {Path(path).name for path in made["files"]}
    assert names >= {
        "candidates.csv", "organisations.csv", "not_listed.csv", "exchanges.csv", "leaks.csv",
        "leak_prefixes.csv", "imbalance.csv", "exits.csv", "drill.csv", "capacity.csv",
        "bills.csv", "report.html", "report.xlsx", "drt.csv", "drt_links.csv",
        "imbalance_causes.csv", "capacity_weekly.csv", "hours_of_week.csv",
    }  # fmt: skip
    # The workbook has what the files have: the candidates a sheet a metro, the rest one a file.
    with zipfile.ZipFile(tmp_path / "pack" / "report.xlsx") as book:
        sheets = re.findall(r'<sheet name="([^"]+)"', book.read("xl/workbook.xml").decode())
    stems = {name.removesuffix(".csv") for name in names if name.endswith(".csv")}
    assert set(sheets) == stems - {"candidates"} | {"ams", "fra", "notes"}
    assert len(sheets) == len(set(sheets))
    page = Path(made["report"]).read_text("utf-8")
    for heading in ("Already peered, still on transit", "Transit by hour of the week",
                    "When others fail", "Plans of disaster-recovery tests",
                    "Why transit is uneven"):  # fmt: skip
        assert f"<h2>{heading}</h2>" in page
    # What the amounts of its bills hang on is among what to know before quoting.
    assert "from sampled flows, with 18 octets of framing a packet" in page
    assert "http" not in page.replace("http-equiv", "")


def test_a_draft_of_an_ask_is_text_to_paste(demo_folder: Path, tmp_path: Path, run: Run) -> None:
    done = run("asks", "draft", "AS502068", "--metro", "nyc", cwd=demo_folder)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:2] == ["# Policy: peering@as502068.example", "# NOC: noc@as502068.example"]
    assert lines[2] == "To: peering@as502068.example, noc@as502068.example"
    assert any(line.startswith("- New York: ") for line in lines)
    own = tmp_path / "own.txt"
    own.write_text("Subject: $peer_name\n\n$metros\n")
    told = run("asks", "draft", "502068", "--template", str(own), "--json", cwd=demo_folder)
    (row,) = json.loads(told.stdout)
    assert (row["subject"], row["asn"]) == ("Mossytern Carrier", 502068)
    own.write_text("Subject: $price\n\n")
    wrong = run("asks", "draft", "502068", "--template", str(own), cwd=demo_folder)
    assert (wrong.returncode, wrong.stdout) == (3, "")
    assert f"{own}: line 1: $price is not known" in wrong.stderr


def test_asks_go_to_other_tools(demo_folder: Path, run: Run) -> None:
    done = run("asks", "export", "peering-manager", "--asks", "3", cwd=demo_folder)
    assert done.returncode in (0, 1), done.stderr
    assert len(json.loads(done.stdout)) == 3
    done = run("asks", "export", "netbox", "--asks", "2", "--rir", "RIPE", cwd=demo_folder)
    lines = done.stdout.splitlines()
    assert lines[0] == "asn,rir,description,comments"
    assert len(lines) == 3
    for words in (("netbox",), ("ipam", "--rir", "x")):
        wrong = run("asks", "export", *words, cwd=demo_folder)
        assert (wrong.returncode, wrong.stdout) == (2, "")
