"""Networks kept by the hour: every figure stays, but a percentile that hangs on them says so."""

from __future__ import annotations

import random
import re
from dataclasses import replace

import polars as pl
import pytest
from effort import seeds
from reports_world import START, SUMS, Flow, World

from flowpeer_reports.candidates import candidates
from flowpeer_reports.columns import CANDIDATES
from flowpeer_reports.imbalance import imbalance
from flowpeer_reports.inputs import Inputs
from flowpeer_reports.render import html_report, render_table
from flowpeer_reports.render.cells import rate
from flowpeer_reports.render.report import Sections

LINKS = [(2001, 2002, -1), (2001, 2003, -1), (2001, 2004, -1)]
"""AS2001 carries the other three."""
PATHS = [(f"10.{n % 251}.0.0/16", f"1299 2001 {n}") for n in (2002, 2003, 2004)]


def world(seed: int) -> World:
    dice = random.Random(seed)
    flows = [
        Flow(slot, origin, dice.randrange(1, 100) * size, metro=metro, direction=direction,
             variance=dice.randrange(2), provider=dice.choice([1299, 174]))
        for slot in range(24)
        for origin, size in ((2001, 10**9), (2002, 10**5), (2003, 10**7), (2004, 10**9), (2005, 10))
        for metro in ("ams", "fra")
        for direction in ("out", "in")
        if dice.random() < 0.7
    ]  # fmt: skip
    flows += [Flow(3, 2002, 77, scaled=False), Flow(4, -1, 1000)]
    return World(flows, PATHS, LINKS, metros=("ams", "fra"), hours=2)


def folded(inputs: Inputs, tail: list[tuple[int, str, int]]) -> Inputs:
    """The same inputs with the networks (hour, metro, ASN) folded."""
    places = (
        pl.DataFrame(
            [(n, metro, asn, True) for n, metro, asn in tail],
            schema={"n": pl.Int64, "metro": pl.String, "asn": pl.Int64, "small": pl.Boolean},
            orient="row",
        )
        .with_columns(time=(START + pl.duration(hours="n")).cast(pl.Datetime("us", "UTC")))
        .drop("n")
    )
    marked = (
        inputs.traffic.collect()
        .with_columns(time=pl.col("slot").dt.truncate("1h"))
        .join(places, left_on=["time", "metro", "remote_asn"], right_on=["time", "metro", "asn"],
              how="left")
        .with_columns(small=pl.col("small").fill_null(False) & pl.col("scaled"))
    )  # fmt: skip
    traffic = (
        marked.with_columns(
            remote_asn=pl.when("small").then(pl.lit(-6, pl.Int64)).otherwise("remote_asn")
        )
        .drop("time", "small")
        .group_by(pl.exclude(*SUMS))
        .agg(pl.col(*SUMS).sum())
    )
    routes = (
        inputs.traffic_routes.collect()
        .join(places, left_on=["hour_start", "metro", "origin_asn"],
              right_on=["time", "metro", "asn"], how="left")
        .with_columns(folded=pl.col("small").fill_null(False) & pl.col("scaled"))
        .drop("small")
    )  # fmt: skip
    assert routes["folded"].any()
    return replace(inputs, traffic=traffic.lazy(), traffic_routes=routes.lazy())


@pytest.mark.parametrize("seed", seeds(6, 2))
@pytest.mark.parametrize("direction", ["out", "in", "both"])
def test_folding_changes_no_figure_but_percentiles_which_say_so(seed: int, direction: str) -> None:
    inputs = world(seed).inputs()
    small = [(0, "ams", 2002), (1, "ams", 2002), (1, "ams", 2003), (0, "ams", 2005),
             (1, "ams", 2005), (1, "fra", 2005)]  # fmt: skip
    after = folded(inputs, small)
    assert imbalance(after).rows.equals(imbalance(inputs).rows)
    assert imbalance(after).totals == imbalance(inputs).totals
    plain = candidates(inputs, direction=direction)  # type: ignore[arg-type]
    found = candidates(after, direction=direction)  # type: ignore[arg-type]
    of_slots = ("p95_bps", "p95_quality", "p95_corrected_bps", "weeks_present", "weekly_min_bps",
                "weekly_max_bps")  # fmt: skip
    assert found.rows.drop(of_slots).equals(plain.rows.drop(of_slots))
    assert found.organisations.drop(of_slots).equals(plain.organisations.drop(of_slots))
    assert found.not_listed.equals(plain.not_listed)
    assert found.totals == plain.totals
    before, rows = ({(r["metro"], r["asn"]): r for r in f.rows.to_dicts()} for f in (plain, found))
    said = {k for k, r in rows.items() if r["p95_quality"] == "folded"}
    assert {("ams", 2001), ("ams", 2005)} <= said
    assert said <= {("ams", 2001), ("ams", 2005), ("fra", 2005)}
    assert found.p95_estimates["ams"] == [2001, 2005]
    assert plain.p95_estimates == {}
    # AS2001 takes the others along: next to nothing of it is folded.
    near = before["ams", 2001]["p95_bps"]
    assert rows["ams", 2001]["p95_bps"] == pytest.approx(near, rel=0.02)
    assert rows["fra", 2001]["p95_bps"] == before["fra", 2001]["p95_bps"]
    # Whatever their shape, the slots hold all the bytes that the hours hold.
    for (metro, asn), row in rows.items():
        assert row["weekly_max_bps"] == pytest.approx(before[metro, asn]["weekly_max_bps"], abs=10)


@pytest.mark.parametrize("format_", ["terminal", "md", "html"])
def test_an_estimate_is_marked_where_people_read(format_: str) -> None:
    stated = [c for c in CANDIDATES if c.name in ("asn", "p95_bps")]
    frame = pl.DataFrame(
        {"asn": [1, 2, 3], "p95_bps": [2e9, 1e9, None], "p95_estimate": [True, False, True]}
    )
    made = render_table(frame, stated, format=format_)  # type: ignore[arg-type]
    assert isinstance(made, str)
    assert "~2.00 Gbps" in made.replace("\\", "")
    assert "~1.00 Gbps" not in made.replace("\\", "")
    assert len(re.findall(r"~\\?[0-9]", made)) == 1
    assert "p95_estimate" not in made


def test_the_report_marks_estimates_too() -> None:
    inputs = folded(world(1).inputs(), [(0, "ams", 2002), (1, "ams", 2002)])
    found = candidates(inputs)
    page = html_report(title="x", sections=Sections(candidates=found))
    p95 = found.rows.filter(pl.col("metro") == "ams", pl.col("asn") == 2001)["p95_bps"][0]
    assert f"~{rate(p95)}" in page
    fra = found.rows.filter(pl.col("metro") == "fra", pl.col("asn") == 2001)["p95_bps"][0]
    assert f"~{rate(fra)}" not in page
    assert rate(fra) in page


def test_plain_formats_hold_plain_numbers() -> None:
    stated = [c for c in CANDIDATES if c.name in ("asn", "p95_bps")]
    frame = pl.DataFrame({"asn": [1], "p95_bps": [2e9], "p95_estimate": [True]})
    assert render_table(frame, stated, format="csv") == "asn,p95_bps\n1,2000000000\n"
