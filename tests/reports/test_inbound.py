"""The sheets for transit providers against sums in plain Python."""

from __future__ import annotations

import random
from collections import defaultdict
from fractions import Fraction
from typing import Any

import polars as pl
import pytest
from reports_world import Flow, World

from flowpeer_reports.imbalance import imbalance, providers_of
from flowpeer_reports.inbound import SOURCES, inbound, knobs

PROVIDERS = (1299, 174)
LOCALS = ("198.18.0.0/16", "2001:db8::/32", None)
CAPACITY = 1_000_000


def _world(seed: int) -> World:
    rng = random.Random(seed)
    flows = [
        Flow(
            rng.randrange(24), rng.choice([7, 8, *range(100, 100 + 3 * SOURCES)]),
            rng.choice([1, 50_000, rng.randrange(10**7)]), provider=rng.choice(PROVIDERS),
            metro=rng.choice(["ams", "fra"]), direction=rng.choice(["in", "in", "out"]),
            scaled=rng.random() < 0.9, role=rng.choice(["transit", "transit", "peer"]),
            local=rng.choice(LOCALS),
        )
        for _ in range(1000)
    ]  # fmt: skip
    return World(
        flows, metros=("ams", "fra"), hours=2, names={7: "Seven", 1299: "Arelion"},
        interfaces=[(m, p, "transit", p, CAPACITY) for m in ("ams", "fra") for p in PROVIDERS],
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(6))
def test_a_sheet_holds_all_that_comes_in_by_its_provider(seed: int) -> None:
    world = _world(seed)
    inputs = world.inputs()
    balance = imbalance(inputs)
    assert balance.loads is not None
    names = inputs.names()
    providers = {
        metro: {p.asn: p.name for p in providers_of(inputs, balance.loads, metro, names)}
        for metro in world.metros
    }
    rows = inbound(inputs, balance.loads, providers, names)
    sums: Any = defaultdict(lambda: defaultdict(int))
    slots: Any = defaultdict(lambda: [0] * 24)
    for flow in world.flows:
        if flow.role == "transit" and flow.direction == "in" and flow.scaled:
            sums[flow.metro, flow.provider, flow.local][flow.origin] += flow.bytes
            slots[flow.metro, flow.provider][flow.slot] += flow.bytes
    assert rows["in_bytes"].sum() == sum(sum(s) for s in slots.values())
    assert rows.filter(pl.col("source_asn").is_null()).height > 0
    for (metro, asn, local), by_source in sums.items():
        mine = rows.filter(
            pl.col("metro") == metro, pl.col("provider_asn") == asn,
            pl.col("local_prefix").eq_missing(pl.lit(local, pl.String)),
        )  # fmt: skip
        ordered = sorted(by_source.items(), key=lambda s: (-s[1], s[0]))
        expected: list[tuple[int | None, int]] = [*ordered[:SOURCES]]
        if len(ordered) > SOURCES:
            expected.append((None, sum(size for _, size in ordered[SOURCES:])))
        assert mine.select("source_asn", "in_bytes").rows() == expected
        whole = sum(slots[metro, asn])
        for row in mine.iter_rows(named=True):
            assert row["share"] == pytest.approx(row["in_bytes"] / whole)
            assert row["avg_bps"] == pytest.approx(row["in_bytes"] * 8 / 7200)
            full = [s for s in slots[metro, asn] if Fraction(8 * s, 300) > CAPACITY * 4 // 5]
            assert row["slots_over_80"] == len(full)
            assert row["source"] == names.get(row["source_asn"], row["source"])
    assert set(zip(*(rows[c] for c in ("metro", "provider_asn", "local_prefix")), strict=True)) == (
        set(sums)
    )
    assert knobs().columns == ["knob", "does", "side_effects"]
    assert knobs()["side_effects"].str.len_chars().min() > 10
