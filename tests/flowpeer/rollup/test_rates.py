"""Announced rates of a lake: the same answers whichever units hold them, in whatever pieces."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from flowpeer.rollup import rates
from flowpeer.rollup.packed_rates import changes, points
from flowpeer.rollup.rates import Announcements, Sampled

T0 = datetime(2026, 1, 2, 3, tzinfo=UTC)
SCHEMA: Any = {
    "exporter_ip": pl.String, "session": pl.Int64, "observation_domain": pl.Int64,
    "sampler_id": pl.Int64, "interface": pl.Int64, "interval": pl.Int64, "numerator": pl.Int64,
    "denominator": pl.Int64, "first_seen": pl.Datetime("us", "UTC"),
    "last_seen": pl.Datetime("us", "UTC"),
}  # fmt: skip
KEYS = st.sampled_from(
    [(7, 0, None, None), (7, 0, 1, None), (7, 5, None, 3), (7, 5, 1, None), (8, 5, None, None)]
)
SAID = st.lists(st.tuples(KEYS, st.sampled_from([(10, 1), (5, 2), (1000, 1)])), max_size=12)


def told(said: list[Any], cuts: set[int]) -> list[dict[str, Any]]:
    """Rows of `sampling`, as units write them that end at `cuts`: one row a change."""
    rows: list[dict[str, Any]] = []
    running: dict[Any, dict[str, Any]] = {}
    for second, (key, rate) in enumerate(said):
        if second in cuts:
            running = {}
        at = T0 + timedelta(seconds=second)
        row = running.get(key)
        if row is not None and (row["numerator"], row["denominator"]) == rate:
            row["last_seen"] = at
            continue
        session, domain, sampler, interface = key
        running[key] = {
            "exporter_ip": "192.0.2.1", "session": session, "observation_domain": domain,
            "sampler_id": sampler, "interface": interface, "interval": 0, "numerator": rate[0],
            "denominator": rate[1], "first_seen": at, "last_seen": at,
        }  # fmt: skip
        rows.append(running[key])
    return rows


@settings(max_examples=examples(60))
@given(SAID, st.sets(st.integers(0, 12)), st.data())
def test_pieces_order_and_repetition_change_no_rate(
    said: list[Any], cuts: set[int], data: st.DataObject
) -> None:
    whole = told(said, set())
    pieces = told(said, cuts)
    pieces = data.draw(st.permutations(pieces + pieces))
    one, other = (
        Announcements(changes(points(pl.LazyFrame(rows, schema=SCHEMA))).iter_rows())
        for rows in (whole, pieces)
    )
    begin_us = rates.microseconds(T0)
    for session in (7, 8, 9):
        for domain in (0, 5):
            for sampler in (None, 1):
                for second in range(-1, 14):
                    asked = Sampled(
                        "192.0.2.1", session, domain, sampler, 3, None,
                        begin_us + second * 1_000_000,
                    )  # fmt: skip
                    assert one.rate(asked) == other.rate(asked)
    assert one.rate(Sampled("192.0.2.1", 9, 5, None, 3, None, begin_us)) is None, "no session of it"
