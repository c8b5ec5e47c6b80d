"""`flowpeer bills` on the sample network, against sums of its own table `traffic`."""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import polars as pl
import pytest

from flowpeer.configuration import load
from flowpeer_sample import answers, facts, world

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def p95_by_hand(demo: Path, contract: str, direction: str) -> Fraction:
    """bit/s at rank 274 of the day's 288 slots, framing added to each packet."""
    network = load(demo / "flowpeer.toml")
    links = [(i.exporter, i.index) for i in network.interfaces if i.contract == contract]
    slots: dict[object, int] = {}
    files = sorted((demo / "lake" / "traffic").rglob("*.parquet"))
    for row in pl.concat([pl.read_parquet(f, hive_partitioning=False) for f in files]).iter_rows(
        named=True
    ):
        if (row["exporter"], row["interface"]) in links and row["direction"] == direction:
            octets = row["bytes"] + 18 * row["packets"] if row["scaled"] else 0
            slots[row["slot"]] = slots.get(row["slot"], 0) + octets
    dense = sorted([*slots.values(), *[0] * (288 - len(slots))])
    return Fraction(dense[274 - 1] * 8, 300)


def test_a_bill_is_the_percentile_of_the_contracts_links(demo_folder: Path, run: Run) -> None:
    done = run("bills", "--json", "--contract", "umbraline-na", cwd=demo_folder)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)
    contract = next(
        c for c in load(demo_folder / "flowpeer.toml").contracts if c.id == "umbraline-na"
    )
    sides = [p95_by_hand(demo_folder, "umbraline-na", d) for d in ("in", "out")]
    assert [row["p95_in_bps"], row["p95_out_bps"]] == pytest.approx([float(s) for s in sides])
    assert contract.commit
    assert contract.price_per_mbps
    assert contract.overage_per_mbps
    commit, rate = contract.commit, max(sides)
    amount = (
        commit * Fraction(contract.price_per_mbps)
        + max(rate - commit, Fraction(0)) * Fraction(contract.overage_per_mbps)
    ) / 10**6
    assert row["total"] == pytest.approx(float(amount), abs=0.005)
    assert (row["status"], row["month"]) == ("projected", "2026-09")


def test_the_samples_bills_are_its_generators(demo_folder: Path, run: Run) -> None:
    done = run("bills", "--json", cwd=demo_folder)
    rows = json.loads(done.stdout)
    assert [row["contract"] for row in rows] == [c.id for c in world.CONTRACTS]
    for row, contract in zip(rows, world.CONTRACTS, strict=True):
        assert row["billed_bps"] == pytest.approx(answers.billed_bps(contract.id), abs=1e-3)
        assert row["total"] == pytest.approx(facts.month_bill(contract), abs=0.005)
    below = [row["contract"] for row in rows if row["billed_bps"] < row["commit_bps"]]
    assert below == ["pelagolink-na"]


def test_a_running_month_shows_its_burst_budget_on_the_screen(demo_folder: Path, run: Run) -> None:
    screen = run("bills", "--contract", "umbraline-na", cwd=demo_folder).stdout
    heads, _, cells = screen.splitlines()[2:5]
    shown = dict(zip(heads.split(), cells.replace(" Gbps", "").split(), strict=True))
    (row,) = json.loads(
        run("bills", "--contract", "umbraline-na", "--json", cwd=demo_folder).stdout
    )
    for name in ("burst_slots_allowed", "burst_slots_used_in", "burst_slots_used_out"):
        assert int(shown[name]) == row[name]
    # A day of data does not say where a month is heading.
    assert "heading_for_bps" not in shown
    assert row["heading_for_bps"] is None
    assert "umbraline-na 2026-09: where the month is heading is not given" in screen


def test_an_invoice_is_compared(demo_folder: Path, run: Run) -> None:
    plain = run("bills", "--format", "csv", "--contract", "pelagolink-eu", cwd=demo_folder)
    total = float(next(csv.DictReader(io.StringIO(plain.stdout)))["total"])
    for text in ("1300", "pelagolink-eu=1300", "pelagolink-eu:2026-09=1300.00"):
        done = run(
            "bills", "--json", "--contract", "pelagolink-eu", "--invoice", text, cwd=demo_folder
        )
        (row,) = json.loads(done.stdout)
        assert row["invoice_difference"] == pytest.approx(1300 - total)


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["--invoice", "12"], "6 bills it may be of"),
        (["--invoice", "quartzheron-na:2026-13=1"], "2026-13"),
        (["--invoice", "much"], "no amount"),
        (["--invoice", "-12"], "--invoice -12: below 0"),
        (["--contract", "none"], "no contract 'none'"),
        (["--period", "2026-13"], "no period"),
    ],
)
def test_mistakes_are_invalid_usage(
    demo_folder: Path, run: Run, words: list[str], what: str
) -> None:
    done = run("bills", *words, cwd=demo_folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert what in done.stderr
    assert "try: " in done.stderr


def test_a_network_without_contracts_is_told_what_to_add(
    demo_folder: Path, run: Run, tmp_path: Path
) -> None:
    shutil.copy(demo_folder / "flowpeer.toml", tmp_path / "flowpeer.toml")
    text = (tmp_path / "flowpeer.toml").read_text()
    text = "\n".join(line for line in text.splitlines() if not line.startswith("contract = "))
    (tmp_path / "flowpeer.toml").write_text(text[: text.index("[[contracts]]")] + "\n")
    done = run("bills", cwd=tmp_path)
    assert done.returncode == 2
    assert "names no contract" in done.stderr
