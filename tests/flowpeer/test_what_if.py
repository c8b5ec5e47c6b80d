"""What a selection of asks brings, held against the list, its page and plain sums of traffic."""

from __future__ import annotations

import csv
import io
from datetime import date
from pathlib import Path

import polars as pl
import pytest

import flowpeer
from flowpeer.analysis.what_if import WhatIfs
from flowpeer_core.p95 import rank
from flowpeer_reports.ask_log import HEADER, parse
from flowpeer_reports.columns.what_if import WHAT_IF_ASKS
from flowpeer_reports.errors import ReportError
from flowpeer_reports.what_if import pick_of

STUB = 500644  # of the sample network: nobody is behind it, and nobody in front on its paths


@pytest.fixture(scope="module")
def what_ifs(demo_folder: Path) -> WhatIfs:
    """Made once: it is most of the work."""
    return flowpeer.open(demo_folder / "flowpeer.toml").what_ifs()


@pytest.fixture(scope="module")
def listed(demo_folder: Path) -> pl.DataFrame:
    """The demo's candidate list."""
    return pl.read_parquet(demo_folder / "report" / "candidates.parquet")


def test_the_first_asks_bring_what_their_rows_of_the_list_say(
    what_ifs: WhatIfs, listed: pl.DataFrame
) -> None:
    # Where no session should carry anything, the bills of the list begin where these do.
    peered = listed.filter(pl.col("rank") == 0)["metro"].to_list()
    metro = next(m for m in listed["metro"] if m not in peered)
    first = listed.filter(pl.col("metro") == metro, pl.col("rank").is_between(1, 5))
    found = what_ifs.answer([f"{metro}:{asn}" for asn in first["asn"]]).rows
    assert found["out_bps"].to_list() == first["observed_bps"].to_list()
    assert found["with_inferred_bps"].to_list() == first["marginal_bps"].to_list()
    assert found["bill_saving_per_month"].to_list() == first["bill_saving_per_month"].to_list()
    assert found["bill_saving_per_month"].sum() > 0
    assert found["cumulative_bps"][-1] == pytest.approx(first["observed_bps"].sum(), abs=0.01)
    assert found["cumulative_share"][-1] == pytest.approx(first["cumulative_observed_share"][-1])


def test_links_and_balance_are_those_of_the_traffic_without_it(
    what_ifs: WhatIfs, demo_folder: Path
) -> None:
    """By plain Polars over the slots: all bytes of a stub in the metro are its own."""
    answer = what_ifs.answer([f"nyc:{STUB}"])
    net = flowpeer.open(demo_folder / "flowpeer.toml")
    rows = (
        net.scan("traffic")
        .filter(pl.col("metro") == "nyc", pl.col("role") == "transit", pl.col("direction") == "out",
                "scaled")
        .group_by("slot", "exporter", "interface", "provider_asn", pl.col("remote_asn") == STUB)
        .agg(pl.col("bytes").sum()).collect()
    )  # fmt: skip
    assert rows.filter("remote_asn")["bytes"].sum() == answer.rows["out_bytes"].item() > 0
    slots = rows["slot"].n_unique()

    def p95(frame: pl.DataFrame) -> float:
        sums = frame.group_by("slot").agg(pl.col("bytes").sum())["bytes"].to_list()
        return sorted([0] * (slots - len(sums)) + sums)[rank(slots) - 1] * 8 / 300

    links = answer.side_tables["what_if_links"].rows
    for exporter, interface, before, after in links.select(
        "exporter", "interface", "p95_before_bps", "p95_bps"
    ).iter_rows():
        link = rows.filter(exporter=exporter, interface=interface)
        assert before == p95(link)
        assert after == p95(link.filter(~pl.col("remote_asn")))
    aims = dict(
        pl.read_parquet(demo_folder / "report" / "imbalance.parquet")
        .filter(pl.col("metro") == "nyc", pl.col("direction") == "out")
        .select("provider_asn", "target_share").iter_rows()
    )  # fmt: skip

    def d(frame: pl.DataFrame) -> float:
        wide = frame.group_by("slot", "provider_asn").agg(pl.col("bytes").sum())
        moved = total = 0.0
        for _, group in wide.group_by("slot"):
            whole = group["bytes"].sum()
            of = dict(group.select("provider_asn", "bytes").iter_rows())
            moved += sum(abs(of.get(p, 0) - share * whole) for p, share in aims.items()) / 2
            total += whole
        return moved / total

    (metro,) = answer.side_tables["what_if_metros"].rows.iter_rows(named=True)
    assert metro["d_before"] == pytest.approx(d(rows))
    assert metro["d"] == pytest.approx(d(rows.filter(~pl.col("remote_asn"))))
    assert metro["d_change"] == pytest.approx(metro["d"] - metro["d_before"])


def test_whatever_the_order_the_sum_is_the_same_and_nothing_counts_twice(
    what_ifs: WhatIfs, listed: pl.DataFrame
) -> None:
    asns = listed.filter(pl.col("metro") == "ams", pl.col("rank").is_between(1, 6))["asn"].to_list()
    picks = [f"ams:{asn}" for asn in asns]
    one = what_ifs.answer([*picks, *picks])
    other = what_ifs.answer(picks[::-1])
    assert one.rows["pick"].to_list() == picks
    assert one.rows["out_bytes"].sum() == other.rows["out_bytes"].sum()
    for name in ("what_if_links", "what_if_metros"):
        assert one.side_tables[name].rows.equals(other.side_tables[name].rows)


def test_an_exchange_is_its_members_that_are_easily_won(
    what_ifs: WhatIfs, demo_folder: Path
) -> None:
    net = flowpeer.open(demo_folder / "flowpeer.toml")
    places = pl.read_parquet(demo_folder / "report" / "places.parquet")
    ix = places.filter(pl.col("metro") == "nyc")["ix_id"].drop_nulls()[0]
    found = what_ifs.answer([f"nyc:ix{ix}"]).rows.row(0, named=True)
    assert found["asn"] is None
    assert found["name"] == net.sql(f"SELECT name FROM peeringdb_ix WHERE id = {ix}").item()
    assert found["members"] > 0
    assert 0 < found["out_bps"] <= found["with_inferred_bps"]
    # What is asked of its members one by one is gone when the exchange comes after them.
    assert what_ifs.answer([f"nyc:ix{ix}", f"nyc:ix{ix}"]).rows.height == 1


def test_the_lines_are_lines_of_the_log(what_ifs: WhatIfs) -> None:
    assert tuple(c.name for c in WHAT_IF_ASKS) == HEADER
    answer = what_ifs.answer([f"nyc:{STUB}", "nyc:ix201"], on=date(2026, 10, 1))
    asks = answer.side_tables["what_if_asks"]
    out = io.StringIO()
    csv.writer(out).writerows([HEADER, *asks.rows.iter_rows()])
    (event,) = parse(out.getvalue(), metros=["nyc"])
    assert (event.asn, event.metros, event.event) == (STUB, ("nyc",), "planned")
    assert event.date == date(2026, 10, 1)
    assert event.predicted_bps == pytest.approx(answer.rows["out_bps"][0], abs=0.5)


def test_what_brings_nothing_says_why(what_ifs: WhatIfs) -> None:
    (row,) = what_ifs.answer(["nyc:64499"]).rows.iter_rows(named=True)
    assert row["out_bytes"] == 0
    assert "no candidate here" in row["note"]
    assert what_ifs.answer([]).rows.is_empty()


@pytest.mark.parametrize(
    ("pick", "said"),
    [("nyc", "is no pick"), ("nyc:x", "is no pick"), (":64500", "is no pick"),
     ("nyc:99999999999", "is no pick"), ("xxx:64500", "no transit in metro"),
     ("nyc:ix999999", "is not in nyc")],
)  # fmt: skip
def test_what_is_no_pick_is_refused(what_ifs: WhatIfs, pick: str, said: str) -> None:
    with pytest.raises(flowpeer.UsageError, match=said):
        what_ifs.answer([pick])


def test_picks_come_back_as_they_are_written() -> None:
    assert pick_of("nyc:AS64500").text == pick_of(" nyc:64500 ").text == "nyc:64500"
    assert pick_of("a:b:ix26").text == "a:b:ix26"
    with pytest.raises(ReportError):
        pick_of("nyc:٣")
