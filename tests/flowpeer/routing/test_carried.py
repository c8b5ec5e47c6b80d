"""Prefixes that carry traffic and those over them, against ipaddress."""

from __future__ import annotations

import ipaddress
import random
from typing import Any

import polars as pl
import pytest
from effort import seeds

from flowpeer.analysis.carried import CarriedPrefixes


def _network(rng: random.Random) -> str:
    if rng.random() < 0.5:
        octets = bytes([10, rng.choice([0, 1, 255]), rng.choice([0, 128]), rng.choice([0, 255])])
        length = rng.choice([0, 8, 9, 16, 17, 24, 32])
    else:
        octets = bytes([0x20, 1, 0xD, rng.choice([0xB8, 0xFF]), *rng.choices([0, 1, 255], k=12)])
        length = rng.choice([0, 3, 32, 48, 64, 127, 128])
    return str(ipaddress.ip_network((octets, length), strict=False))


@pytest.mark.parametrize("seed", seeds(200, 25))
def test_what_bears_on_traffic_is_found_table_by_table(seed: int) -> None:
    rng = random.Random(seed)
    used = list({_network(rng) for _ in range(rng.choice([0, 1, 5, 30]))})
    carried = CarriedPrefixes(pl.Series(used, dtype=pl.String))
    seen: set[str] = set()
    for _ in range(3):
        table = {_network(rng) for _ in range(rng.choice([1, 40]))}
        seen |= table
        found = carried.over(pl.Series(sorted(table), dtype=pl.String))["prefix"].to_list()
        assert len(found) == len(set(found))
        assert set(found) == {p for p in seen if _bears(p, used)}


def _bears(prefix: str, used: list[str]) -> bool:
    net: Any = ipaddress.ip_network(prefix)
    return net.prefixlen > 0 and any(
        net.version == other.version and other.subnet_of(net)
        for other in map(ipaddress.ip_network, used)
    )
