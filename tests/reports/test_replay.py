"""A planted outage: one link silent for six hours, predicted from the day before."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from drill_world import DrillWorld, Link, Offer

from flowpeer_reports.errors import ReportError
from flowpeer_reports.replay import DAY, replay


def _two_days(noise: int, ripple: int = 0) -> DrillWorld:
    """Three transits of a metro; the first falls silent from 12:00 to 18:00 on the second day.

    Its prefix is offered by the second, so all of it goes there; demand doubles from day to day,
    and `noise` bytes a slot move from the second to the third in the outage, and `ripple` from one
    slot to the next.
    """
    links = [Link("a", n, "ams", "transit", asn, 10**10) for n, asn in enumerate((174, 1299, 3356))]
    offers = [
        Offer("10.1.0.0/16", link, asn, 100, 2, 0, None, 0) for link, asn in ((0, 174), (1, 1299))
    ] + [Offer("10.2.0.0/16", 2, 3356, 100, 2, 0, None, 0)]
    loads = {"out": np.zeros((3, 2 * DAY), np.int64), "in": np.zeros((3, 2 * DAY), np.int64)}
    out = loads["out"]
    out[:, :DAY] = np.array([[1000], [500], [300]]) + np.arange(DAY) % 7
    out[:, DAY:] = 2 * out[:, :DAY]
    window = slice(DAY + 144, DAY + 216)
    out[1, window] += out[0, window] - noise
    out[2, window] += noise
    out[1, window] += np.tile([ripple, -ripple], 36)
    out[0, window] = 0
    routes = [
        (hour, link, "out", "10.1.0.0/16" if link < 2 else "10.2.0.0/16", None,
         int(out[link, 12 * hour : 12 * hour + 12].sum()))
        for hour in range(48) for link in range(3)
    ]  # fmt: skip
    return DrillWorld(links, [offers], [0] * 48, [r for r in routes if r[5]], loads)


@pytest.mark.parametrize("noise", [0, 40])
def test_a_planted_outage_is_predicted_and_the_error_is_right(noise: int) -> None:
    compiler = _two_days(noise).compiler()
    found = replay(compiler, slice(DAY + 144, DAY + 216))
    assert found.removed == ["a:0"]
    assert found.shift == DAY
    observed = int(compiler.found.out[:, DAY + 144 : DAY + 216].sum())
    assert found.error["out"] == pytest.approx(2 * noise * 72 / observed)
    rows = {row["interface"]: row for row in found.rows.iter_rows(named=True)}
    assert set(rows) == {1, 2}
    assert rows[2]["predicted_bytes"] == rows[2]["observed_bytes"] - noise * 72
    assert rows[1]["predicted_bytes"] == rows[1]["observed_bytes"] + noise * 72
    assert found.rows.filter(pl.col("direction") == "out").height == 2


def test_what_evens_out_over_the_window_is_no_error_of_the_window() -> None:
    compiler = _two_days(40, 90).compiler()
    found = replay(compiler, slice(DAY + 144, DAY + 216))
    observed = int(compiler.found.out[:, DAY + 144 : DAY + 216].sum())
    by_slot = 36 * (50 + 130) + 40 * 72  # link 1 errs by 40 − 90 and 40 + 90, link 2 by 40
    assert found.error["out"] == pytest.approx(by_slot / observed)
    assert found.window_error["ams/out"] == found.window_error["out"]
    assert found.window_error["out"] == pytest.approx(2 * 40 * 72 / observed)
    rows = {row["interface"]: row for row in found.rows.iter_rows(named=True)}
    for row in rows.values():
        assert row["window_error_share"] == pytest.approx(40 * 72 / row["observed_bytes"])


def test_what_cannot_be_replayed_is_refused() -> None:
    compiler = _two_days(0).compiler()
    with pytest.raises(ReportError, match="no link fell silent"):
        replay(compiler, slice(DAY, DAY + 12))
    with pytest.raises(ReportError, match="a day or a week before"):
        replay(compiler, slice(144, 216))
    quiet = replace(compiler, found=replace(compiler.found, out=compiler.found.out * 0))
    with pytest.raises(ReportError, match="no traffic in the window"):
        replay(quiet, slice(DAY, DAY + 12))


def test_neighbours_of_one_port_are_silent_together_or_not_at_all() -> None:
    world = _two_days(0)
    world.links[2] = replace(world.links[0], asn=3356)  # on the port of the first
    compiler = world.compiler()
    with pytest.raises(ReportError, match="no link fell silent"):
        replay(compiler, slice(DAY + 144, DAY + 216))
    world.loads["out"][2, DAY + 144 : DAY + 216] = 0
    found = replay(world.compiler(), slice(DAY + 144, DAY + 216))
    assert found.removed == ["a:0"]
    assert set(found.rows["interface"]) == {1}
