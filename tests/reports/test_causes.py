"""A planted world with one route for each cause of an imbalance."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from drill_world import DrillWorld, Link, Offer

from flowpeer_reports import causes as c
from flowpeer_reports.loads import Loads

OVER, ROOM, NEARBY = 0, 1, 2
"""Links: the provider with too much, the one with room, both in ams; one in fra."""
ROUTES = {
    # cause: offers of (link, LOCAL_PREF, length, ORIGIN, MED)
    c.LOCAL_PREF: [(OVER, 200, 3, 0, None), (ROOM, 100, 3, 0, None)],
    c.SHORTER: [(OVER, 100, 2, 0, None), (ROOM, 100, 3, 0, None)],
    c.PREPENDS: [(OVER, 100, 2, 0, None), (ROOM, 100, 4, 0, None)],
    c.ORIGIN: [(OVER, 100, 2, 0, None), (ROOM, 100, 2, 2, None)],
    c.MISSING_MED: [(OVER, 100, 2, 0, None), (ROOM, 100, 2, 0, 10)],
    c.OTHER_MED: [(OVER, 100, 2, 0, 5), (ROOM, 100, 2, 0, 10)],
    c.TIE: [(OVER, 100, 2, 0, 5), (ROOM, 100, 2, 0, 5)],
    c.ALONE: [(OVER, 100, 2, 0, None)],
    c.HOT_POTATO: [(OVER, 100, 2, 0, None), (NEARBY, 100, 2, 0, None)],
    c.AGAINST: [(OVER, 100, 3, 0, None), (ROOM, 100, 2, 0, None)],
    c.UNSEEN: [(ROOM, 100, 2, 0, None)],
}  # fmt: skip


def _world(always_compare_med: bool) -> tuple[DrillWorld, dict[str, str]]:
    prefix = {cause: f"10.{n}.0.0/16" for n, cause in enumerate(ROUTES)}
    links = [Link("a", 0, "ams", "transit", 174, 10**10),
             Link("a", 1, "ams", "transit", 1299, 10**10),
             Link("f", 0, "fra", "transit", 174, 10**10)]  # fmt: skip
    offers = [
        Offer(prefix[cause], link, links[link].asn or 0, pref, length, origin, med, 3)
        for cause, of in ROUTES.items()
        for link, pref, length, origin, med in of
    ]
    routes = [(0, OVER, "out", p, None, 1000 + n) for n, p in enumerate(prefix.values())]
    dense = np.zeros((3, 12), dtype=np.int64)
    return DrillWorld(links, [offers], [0], routes, {"out": dense, "in": dense},
                      always_compare_med=always_compare_med), prefix  # fmt: skip


def _found(
    world: DrillWorld, prefix: dict[str, str], found: Loads | None = None, networks: int = 0
) -> pl.DataFrame:
    plain, offers, choice = world.offered()
    routes = pl.concat(world.parts()).with_columns(epoch=pl.lit(0, pl.Int64))
    whole = int(routes["bytes"].sum())
    excess = c.Excess("ams", "out", {174: ("Over", 0.3, whole), 1299: ("Room", -0.3, 0)})
    rows = [("ams", 174, "out", 64501, networks)] if networks else []
    schema = {"metro": pl.String, "provider_asn": pl.Int64, "direction": pl.String,
              "remote_asn": pl.Int64, "bytes": pl.Int64}  # fmt: skip
    evidence = c.Evidence(
        found or plain, offers, choice, routes, {(prefix[c.PREPENDS], ROOM): 2},
        pl.DataFrame(rows, schema=schema, orient="row"), {},
    )  # fmt: skip
    return c.causes(evidence, [excess], {64501: "Big"})


@pytest.mark.parametrize("compared", [True, False])
def test_each_route_has_the_cause_that_was_planted(compared: bool) -> None:
    world, prefix = _world(compared)
    found = _found(world, prefix)
    assert found["bytes"].sum() == sum(r[5] for r in world.routes)
    assert found["share"].sum() == pytest.approx(1)
    told = {p: row["cause"] for row in found.iter_rows(named=True) for p in row["examples"]}
    expected = {p: cause for cause, p in prefix.items()}
    if not compared:  # MED is compared within one neighbour AS alone: the IGP decides
        expected |= {prefix[c.MISSING_MED]: c.TIE, prefix[c.OTHER_MED]: c.TIE}
    assert told == expected
    assert set(found["provider"]) == {"Over"}


def test_one_large_network_and_a_silent_link_are_told() -> None:
    world, prefix = _world(True)
    plain, _, _ = world.offered()
    out = np.full((3, 48), 10, dtype=np.int64)
    out[ROOM, 10:30] = 0
    silent = Loads(plain.links, plain.start, out, out * 0, plain.unscaled)
    whole = sum(r[5] for r in world.routes)
    found = _found(world, prefix, silent, networks=int(0.3 * whole))
    large = found.filter(pl.col("cause") == c.ONE_NETWORK).row(0, named=True)
    assert large["examples"] == ["AS64501 Big"]
    assert large["bytes"] == int(0.3 * whole)
    down = found.filter(pl.col("cause") == c.DOWN).row(0, named=True)
    assert (down["provider"], down["examples"]) == ("Room", ["a:1"])
    assert "a:1 without a byte in 20 slots" in down["detail"]
    small = _found(world, prefix, networks=int(0.1 * whole))
    assert not {c.ONE_NETWORK, c.DOWN} & set(small["cause"])
