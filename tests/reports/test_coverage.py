"""Due and covered slots, filled series and proved silences, against plain Python (METHODS M5)."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from fractions import Fraction

import numpy as np
import polars as pl
import pytest

from flowpeer_core.slots import SLOT
from flowpeer_reports.coverage import Coverage, Due, coverage_of

START = datetime(2026, 7, 1, tzinfo=UTC)


def told(rows: list[tuple[int, str, int, int, int, int]]) -> pl.DataFrame:
    """Rows of `coverage` from (slot number, exporter, received, lost, first sequence, next)."""
    return pl.DataFrame(
        [
            {"slot": START + SLOT * n, "exporter": e, "session": "s", "domain": 0, "received": r,
             "lost": lost, "first_sequence": first, "last_sequence": last, "seen": True}
            for n, e, r, lost, first, last in rows
        ],
        schema={"slot": pl.Datetime("us", "UTC"), "exporter": pl.String, "session": pl.String,
                "domain": pl.Int64, "received": pl.Int64, "lost": pl.Int64,
                "first_sequence": pl.Int64, "last_sequence": pl.Int64, "seen": pl.Boolean},
    )  # fmt: skip


def covered_places(rows: list[tuple[int, str, int, int, int, int]], n: int) -> list[int]:
    made = coverage_of(told(rows), [Due("a", "ams")], START, START + SLOT * n)
    return np.flatnonzero(made.covered[0]).tolist()


def test_a_router_that_dies_at_noon_is_missing_in_the_afternoon() -> None:
    rows = [(n, "a", 10, 0, 10 * n, 10 * n + 10) for n in range(144)]
    made = coverage_of(told(rows), [Due("a", "ams")], START, START + SLOT * 288)
    assert made.missing("a") == 144
    assert made.factor("a", np.zeros(288, bool)) == 2
    until = Due("a", "ams", until=START + timedelta(hours=12))
    assert coverage_of(told(rows), [until], START, START + SLOT * 288).missing("a") == 0


def test_a_silence_is_proved_by_sequence_numbers_that_run_on() -> None:
    assert covered_places([(0, "a", 5, 0, 0, 5), (5, "a", 5, 0, 5, 10)], 6) == [0, 1, 2, 3, 4, 5]
    # One lost between that no unit counted, lost on the way, started again, or with a slot of heavy
    # loss at its end: no proof.
    assert covered_places([(0, "a", 5, 0, 0, 5), (5, "a", 5, 0, 6, 11)], 6) == [0, 5]
    assert covered_places([(0, "a", 5, 0, 0, 5), (5, "a", 99, 1, 6, 105)], 6) == [0, 5]
    assert covered_places([(0, "a", 5, 0, 90, 95), (5, "a", 5, 0, 0, 5)], 6) == [0, 5]
    assert covered_places([(0, "a", 5, 0, 0, 5), (5, "a", 19, 1, 6, 25)], 6) == [0]


def test_another_domain_that_lost_something_denies_the_proof() -> None:
    rows = told([(0, "a", 5, 0, 0, 5), (5, "a", 5, 0, 5, 10)])
    other = rows.with_columns(domain=pl.lit(1, pl.Int64), lost=pl.Series([0, 1]),
                              received=pl.lit(200, pl.Int64))  # fmt: skip
    made = coverage_of(pl.concat([rows, other]), [Due("a", "ams")], START, START + SLOT * 6)
    assert np.flatnonzero(made.covered[0]).tolist() == [0, 5]


def test_imported_data_counts_as_covered_and_is_named() -> None:
    made = coverage_of(told([]), [Due("a", "ams"), Due("b", "fra")], START, START + SLOT * 3)
    assert made.untold == {"a", "b"}
    assert made.covered.all()
    assert made.of("fra") == ["b"]


def filled_by_hand(
    series: dict[str, list[int]], due: dict[str, list[bool]], covered: dict[str, list[bool]]
) -> tuple[list[tuple[int, int]], int, str]:
    """M5 word by word: the slots that count with their values, how many filled, the quality."""
    n = len(next(iter(series.values())))
    mean, out = {}, set()
    for e, values in series.items():
        sure = [v for v, d, c in zip(values, due[e], covered[e], strict=True) if d and c]
        mean[e] = Fraction(sum(sure), len(sure)) if sure else Fraction(0)
        if 2 * len(sure) < sum(due[e]):
            out.add(e)
    counted, filled = [], 0
    for t in range(n):
        kept = [e for e in series if e not in out]
        want = sum((mean[e] for e in kept if due[e][t]), Fraction(0))
        have = sum((mean[e] for e in kept if due[e][t] and covered[e][t]), Fraction(0))
        if have < Fraction(99, 100) * want:
            continue
        value, hole = 0, False
        for e in kept:
            if not due[e][t] or covered[e][t]:
                value += series[e][t]
                continue
            hole = True
            sure = [i for i in range(n) if due[e][i] and covered[e][i]]
            near = [max((i for i in sure if i < t), default=None),
                    min((i for i in sure if i > t), default=None)]  # fmt: skip
            found = [series[e][i] for i in near if i is not None and abs(i - t) <= 6]
            exact = Fraction(sum(found), len(found)) if found else mean[e]
            value += int(exact + Fraction(1, 2))
        counted.append((t, value))
        filled += hole
    missing = n - len(counted)
    whole = sum(mean.values(), Fraction(0))
    gone = sum((mean[e] for e in out), Fraction(0))
    quality = "exact"
    if missing > Fraction(n, 20) or gone > whole / 20:
        quality = "refused"
    elif max(missing, filled) > Fraction(n, 100) or gone > whole / 100:
        quality = "estimate"
    return counted, filled, quality


@pytest.mark.parametrize("seed", range(60))
def test_series_are_filled_as_the_methods_say(seed: int) -> None:
    dice = random.Random(seed)
    n, names = dice.choice([40, 288]), ["a", "b", "c"][: dice.randint(1, 3)]
    size = {e: dice.choice([10, 1000, 10**6]) for e in names}
    series = {e: [dice.randrange(size[e]) for _ in range(n)] for e in names}
    due, covered = {}, {}
    for e in names:
        begin, end = sorted(dice.sample(range(n + 1), 2)) if dice.random() < 0.4 else (0, n)
        due[e] = [begin <= t < end for t in range(n)]
        gap = dice.choice([0, 0, 3, 15, n // 2 + 2])
        at = dice.randrange(n)
        covered[e] = [not at <= t < at + gap and dice.random() > 0.002 for t in range(n)]
    made = Coverage(
        START,
        tuple(Due(e, "ams") for e in names),
        np.array([due[e] for e in names]),
        np.array([covered[e] for e in names]),
        frozenset(),
    )
    octets = {e: np.array(v, np.int64) for e, v in series.items()}
    got = made.judge(octets)
    counted, filled, quality = filled_by_hand(series, due, covered)
    found = list(zip(got.places.tolist(), got.apply(octets).tolist(), strict=True))
    assert (found, got.filled, got.missing) == (counted, filled, n - len(counted))
    if any(d and not c for e in names for d, c in zip(due[e], covered[e], strict=True)):
        assert got.quality == quality
    else:
        assert got.quality == "exact"
