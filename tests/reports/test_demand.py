"""How a period's routes and tables of offers become numbers, against plain Python."""

from __future__ import annotations

import random
from collections import defaultdict
from typing import Any

import numpy as np
import polars as pl
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from flowpeer_reports.demand import summed
from flowpeer_reports.offers import OFFERS, Offers

_KEY = st.tuples(st.integers(-1, 2**41), st.integers(-1, 3), st.integers(0, 2**41))


@settings(max_examples=examples(60))
@given(st.lists(st.tuples(_KEY, st.integers(0, 2**53)), max_size=20), st.randoms())
def test_equal_keys_are_summed_in_their_order_however_wide(
    rows: list[tuple[tuple[int, int, int], int]], dice: random.Random
) -> None:
    rows = rows + [(key, 1) for key, _ in rows]  # each key twice at least
    dice.shuffle(rows)
    sums: dict[tuple[int, int, int], int] = defaultdict(int)
    for key, size in rows:
        sums[key] += size
    columns = {
        name: np.array([key[n] for key, _ in rows], dtype=np.int64) for n, name in enumerate("abc")
    }
    made = summed(columns, np.array([size for _, size in rows], dtype=np.int64))
    assert list(zip(*(made[n].tolist() for n in ("a", "b", "c", "bytes")), strict=True)) == [
        (*key, sums[key]) for key in sorted(sums)
    ]


def test_tables_that_mostly_repeat_have_the_offers_that_each_states() -> None:
    dice = random.Random(13)
    prefixes = [f"10.{n}.0.0/16" for n in range(30)]

    def some(prefix: str) -> list[tuple[Any, ...]]:
        return [
            (prefix, link, 100 + link, dice.choice([None, 100]), dice.randint(1, 3),
             dice.choice([None, 0, 2]), dice.choice([None, 0, 10]), dice.randint(0, 3))
            for link in range(dice.randint(0, 4))
        ]  # fmt: skip

    table = {prefix: some(prefix) for prefix in prefixes}
    offers = Offers(np.zeros(0, dtype=np.int64), np.ones(4, dtype=np.bool_))
    stated = []
    for _ in range(6):
        for prefix in dice.sample(prefixes, 3):
            table[prefix] = some(prefix)
        rows = [row for prefix in prefixes for row in table[prefix]]
        rows += dice.sample(rows, 5)  # some twice: a prefix has an offer once
        dice.shuffle(rows)
        offers.learn(pl.DataFrame(rows, schema=OFFERS, orient="row"))
        stated.append({prefix: set(found) for prefix, found in table.items() if found})
    first, values = offers.table()
    class_of: dict[frozenset[Any], int] = {}
    for known, was in zip(offers.of_prefix, stated, strict=True):
        assert set(known) == set(was)
        for prefix, class_ in known.items():
            mine = {tuple(-1 if v is None else v for v in row[1:]) for row in was[prefix]}
            said = [tuple(row) for row in values[first[class_] : first[class_ + 1]].tolist()]
            assert said == sorted(mine)
            assert class_of.setdefault(frozenset(mine), class_) == class_
