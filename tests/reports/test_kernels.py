"""The compiled loops of drills against those in plain Python, and what they refuse."""

from __future__ import annotations

import random
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from drill_world import random_world

from flowpeer_core.native import library
from flowpeer_reports import kernels
from flowpeer_reports.drill import after, drill
from flowpeer_reports.errors import ReportError
from flowpeer_reports.kernels import (
    LinkRoutes,
    Options,
    SharedPrefixes,
    Spread,
    figures,
    fill,
    spread,
)
from flowpeer_reports.removals import groups

MOST = 1 << 53

pytestmark = pytest.mark.skipif(library() is None, reason="built without the compiled core")


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Called, it makes everything that follows run in plain Python."""
    return lambda: monkeypatch.setattr(kernels, "library", lambda: None)


def _sizes(rng: random.Random, count: int, most: int) -> Any:
    pick = [0, 1, 2, 7, most, rng.randrange(most + 1), rng.randrange(min(most, 1000) + 1)]
    return np.array([rng.choice(pick) for _ in range(count)], dtype=np.int64)


def _small(values: Any) -> Any:
    return np.array(values, dtype=np.int32)


def _world(seed: int) -> tuple[LinkRoutes, Options, Any, SharedPrefixes]:
    rng = random.Random(seed)
    hours, questions, answers, links = 5, 9, 6, 7
    counts = [rng.choice([1, 1, 2, 3, 5]) for _ in range(answers)]
    first = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    options = [sorted(rng.sample(range(links), n)) for n in counts]
    pool = [next(i for i, o in enumerate(options) if o == options[a]) for a in range(answers)]
    weight = _sizes(rng, int(first[-1]), MOST) + 1
    for a in range(answers):
        weight[first[a] : first[a + 1]] = weight[first[pool[a]] : first[pool[a] + 1]]
    holders = [sorted(rng.sample(range(links), rng.randint(2, 5))) for _ in range(4)]
    edge = np.concatenate([[0], np.cumsum([len(h) for h in holders])]).astype(np.int64)
    held = SharedPrefixes(
        edge, _small([x for h in holders for x in h]), _sizes(rng, int(edge[-1]), MOST // 64)
    )
    count = rng.randint(0, 60)
    rows = LinkRoutes(
        _small(sorted(rng.randrange(hours) for _ in range(count))),
        _small([rng.randrange(questions) for _ in range(count)]),
        _small([rng.randrange(-1, 4) for _ in range(count)]),
        _sizes(rng, count, MOST // 64),
    )
    answer = _small([rng.randrange(answers) for _ in range(questions)])
    flat = _small([x for o in options for x in o])
    return rows, Options(answer, first, _small(pool), flat, np.minimum(weight, MOST)), flat, held


@pytest.mark.parametrize("seed", range(60))
def test_routes_fall_alike(seed: int, plain: Callable[[], None]) -> None:
    rows, options, place, held = _world(seed)
    made = []
    for _ in range(2):
        table = np.zeros((7, 5), dtype=np.int64)
        made.append((fill(rows, options, place, held, table).tolist(), table.tolist()))
        assert table.sum() == rows.bytes.sum()
        plain()
    assert made[0] == made[1]


@pytest.mark.parametrize("seed", range(60))
def test_slots_are_spread_alike(seed: int, plain: Callable[[], None]) -> None:
    rng = random.Random(seed)
    targets, per_hour, into = rng.randint(1, 9), rng.choice([1, 12]), rng.randint(0, 11)
    slots = rng.randint(0, 40)
    hours = (into + slots) // per_hour + 1
    # What a column's weights sum to keeps below 2^53, as the plain way needs it.
    weights = _sizes(rng, targets * hours, MOST // 16 // targets).reshape(targets, hours)
    may = np.minimum(_sizes(rng, targets * hours, MOST).reshape(weights.shape), weights.sum(axis=0))
    load = _sizes(rng, slots, MOST)
    rows, pairs = targets + 2, 2
    row = np.array([rng.randrange(rows) for _ in range(targets)], dtype=np.int64)
    pair = np.array([rng.randrange(-1, pairs) for _ in range(targets)], dtype=np.int64)
    real = np.array([rng.random() < 0.7 for _ in range(targets)])
    spare = rng.randrange(targets)
    made = []
    for _ in range(2):
        now, most = np.zeros((2, rows, slots), dtype=np.int64)
        between = np.zeros((pairs, slots), dtype=np.int64)
        how = Spread(weights, may, spare, row, pair, real, now, most, between)
        sums = spread(load, into, per_hour, how)
        assert (now.sum(axis=0) == load).all()
        made.append([x.tolist() for x in (sums, now, most, between)])
        plain()
    assert made[0] == made[1]


@pytest.mark.parametrize("seed", range(60))
def test_figures_are_alike(seed: int, plain: Callable[[], None]) -> None:
    rng = random.Random(seed)
    rows, width, kinds, levels = (rng.randint(a, b) for a, b in ((0, 5), (1, 50), (0, 3), (0, 20)))
    values = _sizes(rng, rows * width, rng.choice([5, 1000, MOST, 2**62])).reshape(rows, width)
    borders = np.sort(_sizes(rng, rows * levels, rng.choice([5, 1000, MOST, 2**62])))
    borders = np.sort(borders.reshape(rows, levels), axis=1)
    counts = np.array([rng.random() < 0.8 for _ in range(kinds * width)]).reshape(kinds, width)
    kind = _small([rng.randrange(-1, kinds) for _ in range(rows)])
    able = [width if k < 0 else int(counts[k].sum()) for k in kind]
    top = np.array([rng.randint(0, n) for n in able], dtype=np.int64)
    guess = _sizes(rng, rows, 2000)
    one = figures(values, borders, top, kind, counts, guess)
    plain()
    two = figures(values, borders, top, kind, counts, guess)
    for name in ("largest", "ranked", "above"):
        assert getattr(one, name).tolist() == getattr(two, name).tolist()


def test_what_is_beyond_exact_arithmetic_or_out_of_place_is_refused() -> None:
    rows, options, place, held = _world(1)
    table = np.zeros((7, 5), dtype=np.int64)
    more = LinkRoutes(rows.hour, rows.question, rows.group, rows.bytes + MOST)
    with pytest.raises(ReportError, match="refused its input"):
        fill(more, options, place, held, table)
    with pytest.raises(ReportError, match="refused its input"):
        fill(rows, options, place + np.int32(7), held, table)
    none = np.zeros((0, 1), dtype=np.int64)
    weights = np.array([[MOST], [MOST]], dtype=np.int64)
    at = np.arange(2)
    how = Spread(weights, None, 0, at, at - 2, at >= 0, np.zeros((2, 1), np.int64), None, none)
    assert spread(np.array([MOST - 1]), 0, 12, how).tolist() == [MOST // 2, MOST // 2 - 1]
    with pytest.raises(ReportError, match=r"more than 2\^53 bytes"):
        spread(np.array([MOST + 1]), 0, 12, how)
    with pytest.raises(ReportError, match="refused its input"):
        figures(np.array([[1, 2]]), np.array([[5, 4]]), np.array([0]), _small([-1]),
                np.zeros((0, 2), np.bool_), np.array([0]))  # fmt: skip


@pytest.mark.parametrize("seed", [3, 6])
def test_a_whole_drill_in_plain_python_is_the_compiled_one(
    seed: int, plain: Callable[[], None]
) -> None:
    made = []
    for _ in range(2):
        world = random_world(seed)
        compiler = world.compiler()
        removals = groups(world.frame(), {})
        found = drill(compiler, removals, covered={}, growths=[Fraction(1), Fraction(7, 2)],
                      slots=True)  # fmt: skip
        states = [
            after(compiler, r, fall, way)
            for r in removals
            for way, fall in zip(("out", "in"), compiler.compile(r), strict=True)
        ]
        made.append((found.rows, found.summary, found.between_metros, found.slots,
                     [(s.bytes.tolist(), s.moved) for s in states]))  # fmt: skip
        plain()
    for one, two in zip(made[0][:4], made[1][:4], strict=True):
        assert one.equals(two)
    assert made[0][4] == made[1][4]
