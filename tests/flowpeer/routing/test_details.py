from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from flowpeer.errors import InputError, UsageError
from flowpeer.lake.store import Lake
from flowpeer.routing.bgp.peers import Peers
from flowpeer.routing.rib.lookup import detailed, kind_of
from flowpeer.routing.rib.snapshot import load, snapshots

Write = Callable[..., Path]
PEERS = [(3356, "192.0.2.2"), (1299, "192.0.2.1"), (3356, "2001:db8::9")]


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake")


def _random_rib(mrt: Any, seed: int) -> tuple[bytes, list[tuple[int, str, list[int]]]]:
    """Octets, and (peer, prefix, path) of each route."""
    rng = random.Random(seed)
    routes: list[tuple[int, str, list[int]]] = []
    octets = mrt.peers(PEERS)
    networks = {
        str(ip_network((10 << 24 | rng.getrandbits(12) << 12, rng.randrange(8, 29)), strict=False))
        for _ in range(150)
    } | {
        str(ip_network((0x20010DB8 << 96 | rng.getrandbits(20) << 76, n), strict=False))
        for n in rng.choices(range(32, 65), k=80)
    }
    for network in sorted(networks):
        entries = []
        for peer in rng.sample(range(3), rng.randrange(1, 4)):
            path = [PEERS[peer][0], *rng.choices(range(1, 9), k=2), rng.choice([100, 200, 300])]
            path += [path[-1]] * rng.choice([0, 0, 2])
            entries.append((peer, mrt.attributes(path)))
            routes.append((peer, network, path))
        octets += mrt.rib(network, entries)
    return octets, routes


def _view(peer: int) -> str:
    return f"AS{PEERS[peer][0]}@{PEERS[peer][1]}"


@pytest.mark.parametrize("seed", range(3))
def test_routes_over_and_inside_a_prefix_equal_a_plain_search(
    seed: int, mrt: Any, write: Write, lake: Lake
) -> None:
    octets, routes = _random_rib(mrt, seed)
    load(lake, write(octets))
    rng = random.Random(seed + 50)
    texts = sorted({prefix for _, prefix, _ in routes})
    asked = [
        str(ip_network(prefix).supernet(new_prefix=rng.randrange(ip_network(prefix).prefixlen)))
        for prefix in rng.sample(texts, 15)
    ]
    asked += rng.sample(texts, 15)
    for word, row in zip(asked, detailed(lake, asked, interfaces={1299: ["a", "b"]}), strict=True):
        network = ip_network(word)
        same = [t for t in texts if ip_network(t).version == network.version]
        inside = [t for t in same if ip_network(t) != network and ip_network(t).subnet_of(network)]
        over = sorted(
            (t for t in same if network.subnet_of(ip_network(t))),
            key=lambda t: -ip_network(t).prefixlen,
        )
        assert {r["prefix"] for r in row["more_specific"]} == set(inside)
        assert row["more_specific_count"] == len(inside)
        assert [r["prefix"] for r in row["covering"]] == over
        assert row["exact"] == (word in texts)
        longest: dict[str, tuple[int, str, str]] = {}
        for peer, prefix, path in routes:
            if prefix in over:
                length = ip_network(prefix).prefixlen
                longest[_view(peer)] = max(
                    longest.get(_view(peer), (-1, "", "")),
                    (length, prefix, " ".join(map(str, path))),
                )
        views = {r["vantage"]: (r["prefix"], r["as_path"]) for r in row["views"]}
        assert views == {view: found[1:] for view, found in longest.items()}
        for r in row["views"]:
            assert r["interfaces"] == (["a", "b"] if r["vantage"].startswith("AS1299@") else [])


def test_a_networks_prefixes_and_neighbours_are_counted(mrt: Any, write: Write, lake: Lake) -> None:
    octets, routes = _random_rib(mrt, 7)
    load(lake, write(octets))
    (row,) = detailed(lake, ["AS200"])
    own = [(peer, prefix, path) for peer, prefix, path in routes if path[-1] == 200]
    fours = {prefix for _, prefix, _ in own if ":" not in prefix}
    assert row["prefixes4"] == len(fours)
    assert row["prefixes6"] == len({prefix for _, prefix, _ in own}) - len(fours)
    before = Counter([hop for hop in path if hop != 200][-1] for _, _, path in own)
    assert {n["asn"]: n["routes"] for n in row["neighbours"]} == before
    counted = {v["vantage"]: v["prefixes4"] + v["prefixes6"] for v in row["views"]}
    assert counted == Counter(_view(peer) for peer, _, _ in own)
    assert detailed(lake, ["9"])[0]["routes"] == []


def test_each_vantage_point_has_its_snapshot_in_force(lake: Lake, write: Write) -> None:
    load(lake, write(b"8.8.8.0/24\t1\n", "a-20260101.txt"))
    load(lake, write(b"8.8.0.0/16\t2\n8.8.8.8/32\t4\n", "b-20260110.txt"), vantage="ams")
    load(lake, write(b"8.8.8.0/24\t3\n", "c-20260301.txt"))
    when = datetime(2026, 1, 15, tzinfo=UTC)
    (row,) = detailed(lake, ["8.8.8.0/24"], as_of=when)
    assert [(r["prefix"], r["origin_asn"]) for r in row["covering"]] == [
        ("8.8.8.0/24", 1),
        ("8.8.0.0/16", 2),
    ]
    assert [(r["prefix"], r["vantage"]) for r in row["more_specific"]] == [("8.8.8.8/32", "ams")]
    (row,) = detailed(lake, ["8.8.8.8"], as_of=when)
    assert (row["address"], row["prefix"], row["origin_asn"]) == ("8.8.8.8", "8.8.8.0/24", 1)
    assert "more_specific" not in row


def test_words_are_told_apart() -> None:
    kinds = {
        "192.0.2.1": "address",
        "2001:db8::1": "address",
        "192.0.2.7/24": "prefix",
        "::ffff:192.0.2.0/120": "prefix",
        "AS64500": "asn",
        "as1": "asn",
        "64500": "asn",
    }
    assert {word: kind_of(word) for word in kinds} == kinds
    for word in ("AS4294967296", "AS", "192.0.2.0/33", "example", "::/129", "/8"):
        with pytest.raises(UsageError):
            kind_of(word)


def test_only_the_chosen_peers_are_kept(mrt: Any, write: Write, lake: Lake) -> None:
    octets, routes = _random_rib(mrt, 3)
    path = write(octets)
    for words, peers in (
        (["AS3356"], {0, 2}),
        (["192.0.2.1"], {1}),
        (["3356@2001:DB8::9", "1299"], {1, 2}),
    ):
        info, new = load(lake, path, peers=Peers.of(words))
        assert new
        assert info.rows == sum(peer in peers for peer, _, _ in routes)
        assert set(info.views) == {_view(peer) for peer in peers}
        assert load(lake, path, peers=Peers.of(words)) == (info, False)
    assert load(lake, path)[1]
    assert len({i.name for i in snapshots(lake)}) == 4
    with pytest.raises(InputError, match="no unicast routes"):
        load(lake, path, peers=Peers.of(["AS7"]))
    for word in ("AS3356@", "@192.0.2.1", "example", ""):
        with pytest.raises(UsageError, match="is no peer"):
            Peers.of([word])
