from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from flowpeer.routing.rib import intervals
from flowpeer.routing.rib.match import RouteTable, Trie

Network = IPv4Network | IPv6Network


def _near(bits: int) -> st.SearchStrategy[int]:
    """Addresses that crowd together, so that prefixes nest and touch."""
    few = st.sampled_from(
        [0, 1, 2**bits - 1, 2 ** (bits - 1), 10 << (bits - 8), 0x2001 << bits - 16]
    )
    return st.one_of(
        st.integers(0, 2**bits - 1),
        st.builds(lambda base, low: (base + low) % 2**bits, few, st.integers(0, 1023)),
        st.builds(
            lambda base, high: (base + (high << bits // 2)) % 2**bits, few, st.integers(0, 9)
        ),
    )


def _networks() -> st.SearchStrategy[list[Network]]:
    four = st.builds(lambda a, n: ip_network((a, n), strict=False), _near(32), st.integers(0, 32))
    six = st.builds(
        lambda a, n: ip_network((a.to_bytes(16, "big"), n), strict=False),
        _near(128),
        st.integers(0, 128),
    )
    return st.lists(st.one_of(four, six), max_size=40, unique=True)


def _in_mapped(network: Network) -> bool:
    return isinstance(network, IPv6Network) and network.overlaps(IPv6Network("::ffff:0:0/96"))


def _questions(networks: list[Network], extra: list[int]) -> list[str]:
    """Both borders of every prefix and the addresses beside them, and some others."""
    found: set[str] = set()
    for network in networks:
        top = 2**network.max_prefixlen
        for number in (int(network.network_address), int(network.broadcast_address)):
            for at in (number - 1, number, number + 1):
                raw = (at % top).to_bytes(network.max_prefixlen // 8, "big")
                found.add(str(ip_address(raw)))
    for number in extra:
        found.add(str(ip_address(number.to_bytes(16, "big"))))
        found.add(str(ip_address((number % 2**32).to_bytes(4, "big"))))
    return sorted(found)


def _brute_force(networks: list[Network], question: str) -> str | None:
    address = ip_address(question)
    if address.version == 6 and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    over = [n for n in networks if n.version == address.version and n.prefixlen and address in n]
    return str(max(over, key=lambda n: n.prefixlen)) if over else None


def _answers(table: RouteTable, questions: list[str]) -> list[str | None]:
    found = table.match_text(questions).tolist()
    return [table.prefixes[i].as_py() if i >= 0 else None for i in found]


@given(_networks(), st.lists(st.integers(0, 2**128 - 1), max_size=5))
@settings(max_examples=examples(300))
def test_compiled_equals_trie_equals_brute_force(networks: list[Network], extra: list[int]) -> None:
    networks = [n for n in networks if not _in_mapped(n)]
    texts = [str(n) for n in networks]
    table, trie = RouteTable.from_routes(texts, range(len(texts))), Trie(texts)
    questions = _questions(networks, extra)
    expected = [_brute_force(networks, q) for q in questions]
    places = [trie.lookup(q) for q in questions]
    assert [None if place is None else texts[place] for place in places] == expected
    assert _answers(table, questions) == expected
    table.four.spread()
    table.six.spread()
    assert table.four._blocks is not None
    assert table.six._strides is not None
    assert _answers(table, questions) == expected
    origin = {str(n): i for i, n in enumerate(networks)}
    assert table.origin_asn.tolist() == [origin[p] for p in table.prefixes.to_pylist()]


@given(_networks())
@settings(max_examples=examples(100))
def test_covering_and_covered_equal_brute_force(networks: list[Network]) -> None:
    networks = [n for n in networks if n.prefixlen]
    trie = Trie(map(str, networks))
    for asked in networks[:10]:
        family = [n for n in networks if n.version == asked.version]
        over = [n for n in family if asked.subnet_of(n)]  # type: ignore[arg-type]
        under = [n for n in family if n.subnet_of(asked)]  # type: ignore[arg-type]
        longest_first = sorted(over, key=lambda n: -n.prefixlen)
        assert [networks[i] for i in trie.covering(str(asked))] == longest_first
        assert {networks[i] for i in trie.covered(str(asked))} == set(under)


def test_default_routes_and_nothing_are_unrouted() -> None:
    table = RouteTable.from_routes(["0.0.0.0/0", "::/0"], [1, 2])
    assert len(table.prefixes) == 0
    assert (
        table.match_text(["8.8.8.8", "2001:db8::1", "::", "255.255.255.255"]).tolist() == [-1] * 4
    )
    empty = RouteTable.from_routes([], [])
    assert empty.match_text(["8.8.8.8", "::1"]).tolist() == [-1, -1]
    assert empty.match(np.zeros(0, np.uint64), np.zeros(0, np.uint64)).dtype == np.int32


def test_mapped_addresses_are_ipv4_alone() -> None:
    table = RouteTable.from_routes(["8.0.0.0/8", "::/8"], [3356, 1])
    assert _answers(table, ["::ffff:8.8.8.8", "::ffff:9.9.9.9", "::fffe:8.8.8.8"]) == [
        "8.0.0.0/8",
        None,
        "::/8",
    ]


def test_host_routes_and_the_ends_of_the_space() -> None:
    routes = ["0.0.0.0/32", "255.255.255.255/32", "::/128", f"{'ffff:' * 7}ffff/128", "8000::/1"]
    table = RouteTable.from_routes(routes, [1] * 5)
    top = routes[3].removesuffix("/128")
    asked = ["0.0.0.0", "0.0.0.1", "255.255.255.255", "255.255.255.254", "::", "::1", top, "8000::"]
    assert _answers(table, asked) == [
        "0.0.0.0/32", None, "255.255.255.255/32", None, "::/128", None, routes[3], "8000::/1",
    ]  # fmt: skip


def test_origins_are_kept_as_they_are() -> None:
    numbers = [0, 23456, 64512, 4294967295, -3, None]
    table = RouteTable.from_routes([f"10.{i}.0.0/16" for i in range(6)], numbers)
    assert table.origin_asn.tolist() == [0, 23456, 64512, 4294967295, -3, -3]


def test_a_text_that_is_no_prefix_is_refused() -> None:
    with pytest.raises(ValueError, match="not a prefix"):
        RouteTable.from_routes(["300.0.0.0/8"], [1])


def _random_table(rng: np.random.Generator, count: int) -> tuple[list[str], list[str]]:
    lengths = rng.choice(np.arange(8, 33), count, p=np.full(25, 1 / 25))
    base = rng.integers(0, 2**32, count) & ~((1 << (32 - lengths)) - 1)
    four = {f"{ip_address(int(a))}/{n}" for a, n in zip(base, lengths, strict=True)}
    six = set()
    for _ in range(count):
        length = int(rng.integers(12, 129))
        number = (0x2001 << 112) | (int(rng.integers(0, 2**40)) << int(rng.integers(0, 70)))
        six.add(str(ip_network((number.to_bytes(16, "big"), length), strict=False)))
    return sorted(four), sorted(six)


def test_bulk_equals_trie_over_many_chunks(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    four, six = _random_table(rng, 8000)
    routes = [*four, *six]
    table, trie = RouteTable.from_routes(routes, range(len(routes))), Trie(routes)
    n = 2 * intervals.SPREAD_FROM_ADDRESSES + 10_000
    lo = rng.integers(0, 2**32, n, dtype=np.uint64) | np.uint64(0xFFFF << 32)
    hi = np.zeros(n, dtype=np.uint64)
    is6 = rng.random(n) < 0.5
    hi[is6] = (0x2001 << 48) | rng.integers(0, 2**40, int(is6.sum()), dtype=np.uint64)
    lo[is6] = rng.integers(0, 2**63, int(is6.sum()), dtype=np.uint64)
    table.save(tmp_path)
    mapped = RouteTable.open(tmp_path)
    found = table.match(hi, lo)
    assert (table.match(hi, lo) == found).all()  # the second time by blocks
    assert table.four._blocks is not None
    assert table.six._strides is not None
    assert (mapped.match(hi, lo) == found).all()
    prefixes = mapped.prefixes.to_pylist()
    for i in rng.choice(n, 5000, replace=False).tolist():
        text = str(ip_address((int(hi[i]) << 64 | int(lo[i])).to_bytes(16, "big")))
        place = trie.lookup(text)
        assert (None if place is None else routes[place]) == (
            prefixes[found[i]] if found[i] >= 0 else None
        )


def test_too_many_blocks_cut_inside_stay_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "MAX_ROWS", 3)
    table = RouteTable.from_routes([f"10.0.{i}.1/32" for i in range(5)], range(5))
    table.four.spread()
    assert table.four._blocks is None
    assert _answers(table, ["10.0.3.1", "10.0.3.2"]) == ["10.0.3.1/32", None]


def test_every_prefix_of_a_full_table_is_found_at_its_borders(shared: Path) -> None:
    from flowpeer.routing.prefix_columns import halves_of, high_mask, split_prefixes
    from flowpeer.routing.rib.prefix_tables import TableReader

    reader = TableReader(shared / "data" / "prefix2as" / "routeviews-rv6-20160202-1200.pfx2as.gz")
    texts = sorted({p for t in reader for p in t.column("prefix").to_pylist()})
    table, trie = RouteTable.from_routes(texts, range(len(texts))), Trie(texts)
    address, length, _ = split_prefixes(table.prefixes)
    hi, lo, _ = halves_of(address.to_pylist())
    end_hi, end_lo = hi | ~high_mask(length), lo | ~high_mask(length - 64)
    prefixes: list[Any] = table.prefixes.to_pylist()
    for h, low in ((hi, lo), (end_hi, end_lo)):
        for i, found in enumerate(table.match(h, low).tolist()):
            text = str(ip_address((int(h[i]) << 64 | int(low[i])).to_bytes(16, "big")))
            place = trie.lookup(text)
            assert place is not None
            assert prefixes[found] == texts[place]
