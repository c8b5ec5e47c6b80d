"""What live asks brought: against sums by hand (METHODS M16)."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import polars as pl
import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from reports_world import START, Flow, World

from flowpeer_reports.ask_log import Ask, AskEvent
from flowpeer_reports.outcomes import outcomes

LIVE_DAY = 16
"""Day of the data on which the ask goes live."""
PATHS = [("10.1.0.0/16", "1299 2001"), ("10.2.0.0/16", "1299 2001 2002"),
         ("10.3.0.0/16", "1299 2003")]  # fmt: skip
LINKS = [(2001, 2002, -1), (1299, 2001, -1), (1299, 2003, -1)]


def ask(metros: tuple[str, ...], predicted: float | None = 1000.0) -> Ask:
    day = START.date() + timedelta(days=LIVE_DAY)
    opened = AskEvent(date(2026, 8, 1), "N2001", 2001, metros, "asked", predicted_bps=predicted)
    return Ask(opened, "live", day, None, "", "", (("", day),))


@settings(max_examples=examples(25))
@given(
    st.lists(
        st.tuples(
            st.integers(0, 24), st.sampled_from(["10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16"]),
            st.sampled_from(["transit", "transit", "ix", "peer"]), st.sampled_from(["ams", "fra"]),
            st.integers(1, 10**9),
        ),
        min_size=1, max_size=25,
    ),
    st.sampled_from([(), ("ams",)]),
    st.integers(17, 25),
)  # fmt: skip
def test_outcomes_are_sums_over_days(
    drawn: list[tuple[int, str, str, str, int]], metros: tuple[str, ...], length: int
) -> None:
    origin = {"10.1.0.0/16": 2001, "10.2.0.0/16": 2002, "10.3.0.0/16": 2003}
    flows = [
        Flow(slot=day * 288, origin=origin[prefix], bytes=size, prefix=prefix, metro=metro,
             role=role, provider={"transit": 1299, "ix": 0, "peer": 2001}[role])
        for day, prefix, role, metro, size in drawn if day < length
    ]  # fmt: skip
    world = World(flows, PATHS, LINKS, metros=("ams", "fra"), hours=24 * length)
    inputs = world.inputs()
    row, total = outcomes(inputs, [ask(metros)]).to_dicts()
    here = [f for f in flows if not metros or f.metro in metros]
    days = max(0, length - LIVE_DAY - 1)

    def octets(first: int, end: int, which: str) -> int:
        ours = {"10.1.0.0/16", "10.2.0.0/16"}
        return sum(
            f.bytes for f in here if first <= f.slot // 288 < end and (
                which == "all"
                or (which == "transit" and f.role == "transit" and f.prefix in ours)
                or (which == "carried"
                    and (f.role == "peer" or (f.role == "ix" and f.prefix in ours)))
            )
        )  # fmt: skip

    weeks = [octets(LIVE_DAY - 7 * k, LIVE_DAY - 7 * (k - 1), "transit") for k in (1, 2)]
    assert row["days"] == days
    assert row["weekly_min_bps"] == pytest.approx(min(weeks) * 8 / (7 * 86400), abs=2e-3)
    assert row["weekly_max_bps"] == pytest.approx(max(weeks) * 8 / (7 * 86400), abs=2e-3)
    before = octets(LIVE_DAY - 14, LIVE_DAY, "all") / 14
    if not days:
        assert row["carried_bps"] is None
        assert row["transit_fall_bps"] is None
        return
    carried = octets(LIVE_DAY + 1, LIVE_DAY + 1 + days, "carried") * 8 / (days * 86400)
    assert row["carried_bps"] == pytest.approx(carried, abs=2e-3)
    if not before:
        assert row["growth"] is None
        return
    growth = octets(LIVE_DAY + 1, LIVE_DAY + 1 + days, "all") / days / before
    after = octets(LIVE_DAY + 1, LIVE_DAY + 1 + days, "transit") / days
    fall = (sum(weeks) / 14 * growth - after) * 8 / 86400
    assert row["growth"] == pytest.approx(growth)
    assert row["transit_fall_bps"] == pytest.approx(fall, abs=2e-3)
    # Judged as it is printed, to a thousandth of a bit a second.
    low, high = row["weekly_min_bps"], row["weekly_max_bps"]
    assert row["within_range"] == (low <= row["transit_fall_bps"] <= high)
    assert (total["organisation"], total["asn"]) == ("all 1 asks", None)
    assert total["transit_fall_bps"] == row["transit_fall_bps"]


def test_asks_that_are_not_live_have_no_outcome() -> None:
    world = World([Flow(0, 2001, 10)], hours=24)
    waiting = replace(ask(()), status="asked", live=())
    assert outcomes(world.inputs(), [waiting]).is_empty()
    assert pl.DataFrame(outcomes(world.inputs(), [])).is_empty()
