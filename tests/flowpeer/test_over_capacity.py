"""A p95 above what an interface can carry is found, by `capacity` as it was at the time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from flowpeer.checks.metered import overloaded

MIDNIGHT = datetime(2026, 9, 16, tzinfo=UTC)
LATE = MIDNIGHT + timedelta(minutes=5 * 94)


def traffic() -> pl.LazyFrame:
    """100 slots of 1,000 bit/s, the last six of 2,000, in two rows each."""
    rows = [
        {"exporter": "edge1", "interface": 1, "direction": "out", "role": "transit",
         "scaled": scaled, "slot": MIDNIGHT + timedelta(minutes=5 * n),
         "bytes": 300 * 500 // 8 * (1 if n < 94 else 2)}
        for n in range(100)
        for scaled in (True, True, False)
    ]  # fmt: skip
    return pl.LazyFrame(rows)


@pytest.mark.parametrize(
    ("capacity", "since", "until", "slots"),
    [
        (1_999, None, None, 100), (2_000, None, None, None), (None, None, None, None),
        (1_500, LATE, None, 6), (1_500, None, LATE, None),
    ],
)  # fmt: skip
def test_p95_above_capacity(
    capacity: int | None, since: datetime | None, until: datetime | None, slots: int | None
) -> None:
    interface = SimpleNamespace(
        exporter="edge1", index=1, capacity=capacity, from_=since, until=until
    )
    network: Any = SimpleNamespace(interfaces=(interface,))
    found = list(overloaded(network, traffic()))
    if slots is None:
        assert not found
    else:
        (finding,) = found
        assert (finding.level, finding.code) == ("warning", "over-capacity")
        assert finding.text.startswith(f"out: the p95 of {slots} slots is ")
        assert "(2,000 of" in finding.text
