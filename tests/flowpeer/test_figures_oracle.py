"""From captures to answers against METHODS in plain Python, on generated networks.

The traps: default and more specific routes, sets, private, reserved and own origins, siblings by
link and by organisation, siblings of transits, customers' cones, the clique, a network without
providers outside it, a peer that is a transit too, policy *no*, exclusions that have ended,
exporters that die, come late, end, are silent, lose datagrams or start again, unscaled bytes.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from figures_oracle import Oracle, bps
from figures_world import (
    EXPORTERS,
    FACILITIES,
    HOURS,
    SLOT_S,
    SLOTS,
    START,
    TRANSITS,
    World,
    make,
    write,
)

import flowpeer

WORLDS = 40
PERIOD = (START, START + timedelta(hours=HOURS))
TEXT = "/".join(f"{time:%Y-%m-%dT%H:%M}" for time in PERIOD)
SECONDS = SLOTS * SLOT_S
NEAR = 1.5
"""bit/s that a percentile may be off: bytes of a slot are rounded by network and interface."""


def network(folder: Path, world: World) -> flowpeer.Network:
    write(folder, world)
    made = flowpeer.open(folder / "flowpeer.toml")
    made.ingest(sorted((folder / "captures").iterdir()))
    made.rollup()
    return made


def compare_list(rows: list[dict[str, Any]], oracle: Oracle, metros: list[str]) -> None:
    directions = oracle.world.direction
    ways = {"in", "out"} if directions == "both" else {directions}
    expected = oracle.answer(metros, ways)
    assert [(r["rank"], r["asn"]) for r in rows] == [(e.rank, e.asn) for e in expected]
    whole = oracle.octets({c.route for c in oracle.scaled if c.metro in metros}, ways)
    taken, seen, hoped = 0, 0, 0.0
    for row, want in zip(rows, expected, strict=True):
        about = f"rank {row['rank']} AS{row['asn']}"
        assert row["out_bytes"] == oracle.octets(want.marginal, {"out"}), about
        assert row["in_bytes"] == oracle.octets(want.marginal, {"in"}), about
        for name, value in (("marginal", oracle.rate(want.marginal, ways)),
                            ("observed", oracle.rate(want.observed, ways)),
                            ("expected", want.expected_rate)):  # fmt: skip
            assert row[f"{name}_bps"] == pytest.approx(bps(value), abs=2e-3), (about, name)
        if want.rank != 0:
            taken += oracle.octets(want.marginal, ways)
            if not want.refuses:
                seen += oracle.octets(want.observed, ways)
                hoped += float(want.expected)
        for name, sum_ in (("", taken), ("_observed", seen), ("_expected", hoped)):
            if whole:
                assert row[f"cumulative{name}_share"] == pytest.approx(sum_ / whole), (about, name)
        half, low, high = oracle.interval(want.marginal, ways)
        octets = oracle.octets(want.marginal, ways)
        scale = float(oracle.rate(want.marginal, ways) / octets) if octets else 0.0
        for name, value in (("", half), ("_low", low), ("_high", high)):
            got = row[f"ci95{name}_bps"]
            assert got == pytest.approx(value * scale * 8 / SECONDS, rel=1e-6, abs=1), (about, name)
        if metros != list(FACILITIES):
            compare_percentile(
                row, oracle.percentile(want.marginal, metros[0], sorted(ways)), about
            )


def compare_percentile(row: dict[str, Any], want: dict[str, Any], about: str) -> None:
    for name in ("slots_counted", "slots_filled", "slots_missing"):
        assert row[name] == want[name], (about, name)
    assert row["p95_bps"] == (
        None if want["p95_bps"] is None else pytest.approx(want["p95_bps"], abs=NEAR)
    ), about
    if want["p95_bps"] is None:
        assert row["p95_quality"] is None, about
    elif want["cv"] == 0:
        assert row["p95_quality"] == want["quality"], about
    elif want["cv"] > 0.15:
        assert row["p95_quality"] == "noisy", about


def compare_imbalance(answer: Any, oracle: Oracle) -> None:
    totals = answer.totals["totals"]
    for metro in FACILITIES:
        for way in ("out", "in"):
            want, total = oracle.imbalance(metro, way), totals[f"{metro}/{way}"]
            about = f"{metro} {way}"
            assert total["quality"] == want["quality"], about
            assert (total["missing_slots"], total["filled_slots"]) == (
                want["missing"], want["filled"],
            ), about  # fmt: skip
            rows = answer.rows.filter(metro=metro, direction=way).to_dicts()
            assert {r["provider_asn"] for r in rows} == set(want["providers"])
            for row in rows:
                figures = want["providers"][row["provider_asn"]]
                assert row["target"] == want["rule"], about
                assert row["d"] == (None if want["d"] is None else pytest.approx(float(want["d"])))
                for name, value in figures.items():
                    exact = None if value is None else pytest.approx(float(value), abs=NEAR / 100)
                    assert row[name] == exact, (about, row["provider_asn"], name)


def compare_links(answer: Any, oracle: Oracle) -> None:
    for row in answer.side_tables["links"].rows.iter_rows(named=True):
        where = row["exporter"], row["interface"], row["direction"]
        want = oracle.link(*where)
        assert row["p95_bps"] == (None if want is None else pytest.approx(want, abs=NEAR)), where


def compare_sql(net: flowpeer.Network, oracle: Oracle) -> None:
    """The questions say what the answers say (M5)."""
    for row in net.sql("p95_per_provider", period=TEXT).iter_rows(named=True):
        figures = oracle.imbalance(row["metro"], row["direction"])["providers"]
        compare_rates(row, figures[row["provider_asn"]])
    found = net.sql("p95_per_asn", period=TEXT, top="100")
    keys = ("metro", "direction", "provider_asn", "remote_asn")
    for row in found.iter_rows(named=True):
        want = oracle.network(*(row[key] for key in keys))
        compare_rates(row, want)
        for name in ("bytes", "quality", "n_slots", "missing_slots"):
            assert row[name] == want[name], (row, name)
    every = {(c.metro, c.direction, c.provider, c.route[2]) for c in oracle.scaled if c.provider}
    assert {tuple(row[key] for key in keys) for row in found.iter_rows(named=True)} == {
        key for key in every if key[2] in TRANSITS
    }


def compare_rates(row: dict[str, Any], want: dict[str, Any]) -> None:
    for name, of in (("mean_mbps", "avg_bps"), ("p95_mbps", "p95_bps")):
        exact = None if want[of] is None else pytest.approx(float(want[of]) / 1e6, abs=NEAR / 1e6)
        assert row[name] == exact, (row, name)


def compare_whole(answer: Any, oracle: Oracle) -> None:
    """Every transit byte is in one row or has a reason (M13)."""
    left_out = answer.side_tables["not_listed"].rows
    for metro in FACILITIES:
        for way in ("out", "in"):
            whole = sum(c.bytes for c in oracle.scaled if (c.metro, c.direction) == (metro, way))
            parts = [t.filter(metro=metro)[f"{way}_bytes"].sum() for t in (answer.rows, left_out)]
            assert sum(parts) == whole, (metro, way)
    bare = sum(c.bytes for c in oracle.crossings if not c.scaled)
    assert answer.totals["totals"]["all"]["unscaled_bytes"] == bare


@pytest.mark.parametrize("eight", range(WORLDS // 8))
def test_answers_equal_the_methods(eight: int) -> None:
    seen: Counter[str] = Counter()  # so that no world is empty of what it is for
    for seed in range(8 * eight, 8 * eight + 8):
        world = make(seed)
        oracle = Oracle(world)
        with tempfile.TemporaryDirectory() as folder:
            net = network(Path(folder), world)
            answer = net.candidates(PERIOD, direction=world.direction)  # type: ignore[arg-type]
            organisations = answer.side_tables["organisations"].rows
            for metro in FACILITIES:
                compare_list(answer.rows.filter(metro=metro).to_dicts(), oracle, [metro])
            compare_list(organisations.to_dicts(), oracle, list(FACILITIES))
            compare_whole(answer, oracle)
            if seed % 2:
                imbalance = net.imbalance(PERIOD)
                compare_imbalance(imbalance, oracle)
                compare_links(imbalance, oracle)
                compare_sql(net, oracle)
            seen["missing"] += any(not all(oracle.covered[e]) for e in EXPORTERS)
    assert seen["missing"], seen
