"""Which routes are stable, against the whole of their history in plain Python."""

from __future__ import annotations

import random
from collections import defaultdict
from itertools import pairwise

import polars as pl
import pytest

from flowpeer.analysis.stability import MOST_CHANGES, RouteHistory
from flowpeer_reports.moves import TABLES

SCHEMA = {"prefix": pl.String, "link": pl.Int32, "path": pl.UInt64, "prepends": pl.Int32}


@pytest.mark.parametrize("seed", range(12))
def test_changes_and_tables_are_counted_as_in_the_whole_history(seed: int) -> None:
    rng = random.Random(seed)
    count = rng.choice([TABLES - 1, TABLES, TABLES + 5])
    keys = [(f"10.{n}.0.0/16", link) for n in range(12) for link in range(3)]
    often = {key: rng.choice([0, 0.1, 0.6, 1]) for key in keys}
    tables = [
        [
            (prefix, link, rng.choice([7, 7, 7, 8, 2**63]), rng.choice([0, 0, 1, 3]))
            for prefix, link in keys
            if rng.random() >= often[prefix, link]
            for _ in range(rng.choice([1, 1, 2]))
        ]
        for _ in range(count)
    ]
    history = RouteHistory()
    paths: dict[tuple[str, int], list[int]] = defaultdict(list)
    prepends: dict[tuple[str, int], int] = {}
    for table in tables:
        history.add(pl.DataFrame(table, schema=SCHEMA, orient="row"))
        here: dict[tuple[str, int], list[tuple[int, int]]] = defaultdict(list)
        for prefix, link, path, more in table:
            here[prefix, link].append((path, more))
        for key, rows in here.items():
            paths[key].append(min(path for path, _ in rows))
            if most := max(more for _, more in rows):
                prepends[key] = most
    unstable = {
        key
        for key, seen in paths.items()
        if sum(a != b for a, b in pairwise(seen)) > MOST_CHANGES or 2 * len(seen) < count
    }
    assert history.unstable() == (unstable if count >= TABLES else set())
    assert history.prepended() == prepends
    if count >= TABLES:
        assert unstable
