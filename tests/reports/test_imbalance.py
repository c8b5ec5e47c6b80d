"""Imbalance against the definitions of METHODS M11, computed in fractions."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction

import numpy as np
import polars as pl
import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from reports_world import Flow, World

from flowpeer_reports.coverage import Coverage, Due
from flowpeer_reports.errors import ReportError
from flowpeer_reports.imbalance import imbalance
from flowpeer_reports.targets import targets

PROVIDERS = (174, 1299, 3356)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    flows = [
        Flow(
            slot=draw(st.integers(0, 23)),
            origin=2001,
            bytes=draw(st.integers(1, 10**12)),
            provider=draw(st.sampled_from(PROVIDERS)),
            direction=draw(st.sampled_from(["out", "in"])),
            scaled=draw(st.integers(0, 9)) > 0,
            role=draw(st.sampled_from(["transit", "transit", "transit", "peer"])),
        )
        for _ in range(draw(st.integers(0, 20)))
    ]
    sizes = [draw(st.integers(1, 40)) * 10**9 for _ in PROVIDERS]
    links = [("ams", p, "transit", p, s) for p, s in zip(PROVIDERS, sizes, strict=True)]
    return World(flows, interfaces=links, hours=2)


def test_targets_are_means_over_the_time_of_each_section() -> None:
    """One link grows after a third of the day, another goes to a third provider after the half."""
    start = datetime(2026, 7, 1, tzinfo=UTC)
    hour = [start + timedelta(hours=n) for n in range(25)]
    sections = [
        ("a", 1, "ams", "transit", 174, 10, "c", None, hour[8]),
        ("a", 1, "ams", "transit", 174, 40, "c", hour[8], None),
        ("a", 2, "ams", "transit", 1299, 20, "d", None, hour[12]),
        ("a", 2, "ams", "transit", 3356, 20, "e", hour[12], None),
        ("b", 1, "fra", "transit", 174, 30, "c", None, None),
        ("a", 3, "ams", "transit", 1299, 99, "d", None, start),
    ]  # fmt: skip
    interfaces = pl.DataFrame(
        sections,
        schema={"exporter": pl.String, "interface": pl.Int64, "metro": pl.String,
                "role": pl.String, "asn": pl.Int64, "capacity_bps": pl.Int64,
                "contract": pl.String, "valid_from": pl.Datetime("us", "UTC"),
                "valid_until": pl.Datetime("us", "UTC")},
        orient="row",
    )  # fmt: skip
    asked = ["ams", [174, 1299, 3356]]
    none = pl.DataFrame(schema={"contract": pl.String, "commit_bps": pl.Int64})
    sizes = {174: Fraction(10 * 8 + 40 * 16, 24), 1299: Fraction(10), 3356: Fraction(10)}
    found = targets(interfaces, none, *asked, "capacity", (start, hour[24]))
    assert found.share == {p: s / sum(sizes.values()) for p, s in sizes.items()}
    commits = pl.DataFrame({"contract": ["c", "d", "e"], "commit_bps": [70, 6, 4]})
    parts = {174: 70 * (Fraction(10, 40) / 3 + Fraction(40, 70) * Fraction(2, 3)),
             1299: Fraction(3), 3356: Fraction(2)}  # fmt: skip
    found = targets(interfaces, commits, *asked, "commit", (start, hour[24]))
    assert found.share == {p: s / sum(parts.values()) for p, s in parts.items()}
    found = targets(interfaces, none, "ams", [174, 3356], "capacity", (hour[12], hour[24]))
    assert found.share == {174: Fraction(2, 3), 3356: Fraction(1, 3)}


@settings(max_examples=examples(80))
@given(worlds())
def test_figures_equal_the_definitions_in_exact_fractions(world: World) -> None:
    found = imbalance(world.inputs())
    capacity = {p: Fraction(s or 0) for _, _, _, p, s in world.interfaces}
    target = {p: capacity[p] / sum(capacity.values()) for p in PROVIDERS}
    assert found.rows.height == 2 * len(PROVIDERS)
    for way in ("out", "in"):
        x = {
            p: [
                sum(
                    f.bytes
                    for f in world.flows
                    if (f.provider, f.slot, f.direction, f.scaled, f.role)
                    == (p, t, way, True, "transit")
                )
                for t in range(24)
            ]
            for p in PROVIDERS
        }
        slots = [sum(x[p][t] for p in PROVIDERS) for t in range(24)]
        whole = sum(slots)
        moved = sum(
            slots[t] * sum(abs(Fraction(x[p][t], slots[t]) - target[p]) for p in PROVIDERS) / 2
            for t in range(24)
            if slots[t]
        )
        begin = found.loads.start
        for hour in (0, 1):
            those = range(12 * hour, 12 * hour + 12)
            kept = found.hours_of_week.filter(
                pl.col("direction") == way,
                pl.col("hour_of_week") == (24 * begin.weekday() + begin.hour + hour) % 168,
            )
            d = sum(
                slots[t] * sum(abs(Fraction(x[p][t], slots[t]) - target[p]) for p in PROVIDERS) / 2
                for t in those if slots[t]
            ) / max(1, sum(slots[t] for t in those))  # fmt: skip
            told = float(d) if any(slots[t] for t in those) else None
            assert kept["d"].to_list() == [pytest.approx(told)] * len(PROVIDERS)
        used = {p: Fraction(sum(x[p]) * 8, 24 * 300) / capacity[p] for p in PROVIDERS}
        bare = any(
            f.direction == way and not f.scaled and f.role == "transit" and f.bytes
            for f in world.flows
        )
        for row in found.rows.filter(pl.col("direction") == way).to_dicts():
            p = row["provider_asn"]
            if bare and not any(
                f.direction == way and f.scaled and f.role == "transit" for f in world.flows
            ):  # there is traffic, and nobody knows how much: not nothing
                rates = ("avg_bps", "p95_bps", "peak_bps", "utilisation_p95")
                assert {row[name] for name in rates} == {None}
                continue
            p95 = sorted(x[p])[(19 * 24 + 19) // 20 - 1] * 8 / 300
            assert row["p95_bps"] == p95
            assert row["peak_bps"] == max(x[p]) * 8 / 300
            assert row["utilisation_p95"] == pytest.approx(float(p95 / capacity[p]))
            over = [v for v in x[p] if Fraction(v * 8, 300) > capacity[p] * 4 / 5]
            assert row["slots_over_80"] == len(over)
            assert row["target_share"] == pytest.approx(float(target[p]))
            if not whole:
                assert row["d"] is row["share"] is row["jain"] is None
                continue
            assert row["d"] == pytest.approx(float(moved / whole))
            share = Fraction(sum(x[p]), whole)
            assert row["share"] == pytest.approx(float(share))
            assert row["excess_share"] == pytest.approx(float(share - target[p]), abs=1e-12)
            jain = sum(used.values()) ** 2 / (3 * sum(u**2 for u in used.values()))
            assert row["jain"] == pytest.approx(float(jain))
        total = found.totals[f"ams/{way}"]
        assert total["bytes"] == whole
        assert total["unscaled_bytes"] == sum(
            f.bytes
            for f in world.flows
            if f.direction == way and not f.scaled and f.role == "transit"
        )
        busiest = sorted((b for b in slots if b), reverse=True)[:2]  # 5 % of 24 slots, rounded up
        assert (total["d_busiest"] is None) == (not busiest)


def test_a_silent_provider_has_zeros_not_gaps() -> None:
    world = World(
        [Flow(0, 2001, 1000)],
        interfaces=[("ams", p, "transit", p, 10**10) for p in (174, 1299)],
    )
    silent = imbalance(world.inputs(), direction="out").rows.row(0, named=True)
    assert (silent["provider_asn"], silent["avg_bps"], silent["p95_bps"]) == (174, 0.0, 0.0)
    assert (silent["share"], silent["excess_share"], silent["d"]) == (0.0, -0.5, 0.5)


def test_a_missing_capacity_gives_equal_targets_and_says_so() -> None:
    world = World(
        [Flow(0, 2001, 1000)],
        interfaces=[("ams", 174, "transit", 174, None), ("ams", 1299, "transit", 1299, 10**10)],
    )
    found = imbalance(world.inputs())
    assert found.rows["target_share"].unique().to_list() == [0.5]
    assert found.rows["jain"].null_count() == found.rows.height
    assert any("equal shares" in n and "AS174" in n for n in found.notes)


@pytest.mark.parametrize(("missing", "given"), [(0, True), (1, True), (3, False)])
def test_p95_is_refused_above_five_percent_of_missing_slots(missing: int, given: bool) -> None:
    world = World(
        [Flow(0, 2001, 1000)], hours=2, slots={"ams": 24 - missing}, missing={"ams": missing}
    )
    found = imbalance(world.inputs(), direction="out")
    assert (found.rows["p95_bps"][0] is not None) == given
    assert any("not covered" in n for n in found.notes) == (missing > 0)


def test_an_unknown_metro_is_refused_by_name() -> None:
    with pytest.raises(ReportError, match="no such metro: xyz"):
        imbalance(World([Flow(0, 2001, 1)]).inputs(), metros=["xyz"])


@pytest.mark.parametrize(("silent", "quality"), [(2, "estimate"), (12, "refused")])
def test_a_dead_router_moves_neither_shares_nor_d(silent: int, quality: str) -> None:
    """Two routers with a provider each and equal traffic; one dies before the end."""
    hours, names = 4, ("edge1.ams", "edge2.ams")
    n = 12 * hours
    flows = [Flow(t, 2001, 900) for t in range(n)]
    flows += [Flow(t, 2002, 900, provider=174) for t in range(n - silent)]
    inputs = World(flows, hours=hours).inputs()
    second = pl.when(pl.col("interface") == 174).then(pl.lit("edge2.ams")).otherwise("exporter")
    covered = np.ones((2, n), bool)
    covered[1, n - silent :] = False
    coverage = Coverage(
        inputs.period_start, tuple(Due(e, "ams") for e in names), np.ones((2, n), bool), covered,
        frozenset(),
    )  # fmt: skip
    inputs = replace(
        inputs,
        traffic=inputs.traffic.with_columns(exporter=second),
        interfaces=inputs.interfaces.with_columns(exporter=second),
        coverage=coverage,
    )
    found = imbalance(inputs, direction="out")
    assert found.rows["share"].to_list() == [0.5, 0.5]
    assert found.rows["avg_bps"].to_list() == [24.0, 24.0]
    total = found.totals["ams/out"]
    assert (total["missing_slots"], total["quality"]) == (silent, quality)
    assert total["d"] == (None if quality == "refused" else 0)
    providers = dict(found.rows.select("provider_asn", "p95_bps").iter_rows())
    assert providers == {1299: 24.0, 174: None if quality == "refused" else 24.0}
    links = dict(found.links.select("exporter", "p95_bps").iter_rows())
    assert links["edge1.ams"] == 24.0
    assert (links["edge2.ams"] is None) == (quality == "refused")
    assert any(f"{silent} of {n} slots are not covered" in note for note in found.notes)
    (words,) = coverage.silences()
    assert words == (
        f"edge2.ams: not covered in {silent} of the {n} slots that it was due in, the first at "
        f"2026-09-16 {(n - silent) // 12:02d}:{(n - silent) % 12 * 5:02d}, the last before "
        "2026-09-16 04:00 UTC"
    )
