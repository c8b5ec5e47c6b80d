from __future__ import annotations

import os
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from flowpeer.errors import InputError, NoDataError, UsageError
from flowpeer.lake.store import Lake
from flowpeer.registry.as_names import load_names
from flowpeer.routing.rib import match
from flowpeer.routing.rib.lookup import lookup
from flowpeer.routing.rib.match import open_table
from flowpeer.routing.rib.snapshot import InForce, SnapshotInfo, in_force, load, snapshots
from flowpeer.schema import ROUTES
from flowpeer_core.columns import arrow_schema

Write = Callable[..., Path]


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake")


@pytest.fixture
def rib(mrt: Any, write: Write) -> Path:
    """Two views: disputed origins, a set, a default route, IPv6, different path lengths."""

    def both(prefix: str, first: list[Any], second: list[Any]) -> bytes:
        entries = [(0, mrt.attributes(first)), (1, mrt.attributes(second))]
        return bytes(mrt.rib(prefix, entries))

    octets = mrt.peers([(3356, "192.0.2.2"), (1299, "192.0.2.1")])
    octets += mrt.rib("0.0.0.0/0", [(0, mrt.attributes([3356]))])
    octets += both("198.51.0.0/16", [3356, 64501], [1299, 7, 64501])
    octets += both("198.51.100.0/24", [3356, 8, 9, 64502], [1299, 8, 64503])
    octets += both("203.0.113.0/24", [3356, (64504, 64505)], [1299, 7, 8, 64504])
    octets += both("203.0.112.0/24", [3356, 64506], [1299, 64506])
    octets += mrt.rib("2001:db8::/32", [(1, mrt.attributes([1299, 64507], next_hop="::1"))])
    return write(octets)


def _files(lake: Lake) -> dict[str, bytes]:
    return {
        str(p.relative_to(lake.root)): p.read_bytes() for p in lake.root.rglob("*") if p.is_file()
    }


def test_a_snapshot_states_what_it_is(lake: Lake, rib: Path) -> None:
    info, new = load(lake, rib)
    assert new
    assert info.name == f"20260101T000000Z-{info.source_digest[:8]}"
    assert info.taken_at == datetime(2026, 1, 1, tzinfo=UTC)
    assert (info.rows, info.prefixes4, info.prefixes6) == (10, 5, 1)
    assert info.views == ("AS1299@192.0.2.1", "AS3356@192.0.2.2")
    assert (info.vantage, info.source, info.skipped) == ("", "rib.mrt", {})
    assert snapshots(lake) == [info]
    table = pq.read_table(lake.path(f"routes/{info.name}.parquet"))
    assert table.schema.equals(arrow_schema(ROUTES))
    assert table.num_rows == info.rows


def test_the_same_file_again_writes_nothing(lake: Lake, rib: Path) -> None:
    info, _ = load(lake, rib)
    before = _files(lake)
    assert load(lake, rib) == (info, False)
    assert _files(lake) == before
    other, new = load(lake, rib, vantage="ams/../edge 1")
    assert new
    assert other.vantage == "ams/../edge 1"
    assert other.name == f"{info.name}-ams_.._edge_1"
    later, new = load(lake, rib, taken_at=datetime(2026, 2, 1, tzinfo=UTC))
    assert new
    assert [i.name for i in snapshots(lake)] == [info.name, other.name, later.name]


def test_a_broken_file_never_replaces_a_snapshot(lake: Lake, rib: Path, tmp_path: Path) -> None:
    load(lake, rib)
    before = _files(lake)
    octets = rib.read_bytes()
    for bad in (octets[:-1], octets[: len(octets) // 2], b"", b"no routes", octets[:12]):
        rib.write_bytes(bad)
        with pytest.raises(InputError):
            load(lake, rib)
        assert _files(lake) == before
    with pytest.raises(InputError, match="cannot be read"):
        load(lake, tmp_path / "absent")


@pytest.mark.parametrize(
    ("name", "taken_at"),
    [
        ("routeviews-rv2-20160202-1200.pfx2as", datetime(2016, 2, 2, 12, tzinfo=UTC)),
        ("dfz-2024-01-29.tsv", datetime(2024, 1, 29, tzinfo=UTC)),
        ("rib.20140523.0600.txt", datetime(2014, 5, 23, 6, tzinfo=UTC)),
        ("20261341.txt", datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)),  # no date: the file's time
        ("table.txt", datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)),
    ],
)
def test_a_table_without_a_header_is_dated_by_its_name_or_file(
    name: str, taken_at: datetime, lake: Lake, write: Write
) -> None:
    path = write(b"8.8.8.0/24\t15169\n", name)
    time = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC).timestamp()
    os.utime(path, (time, time))
    info, _ = load(lake, path, vantage="ams")
    assert info.taken_at == taken_at
    assert info.views == ("ams",)


def test_the_best_of_several_views_is_taken(lake: Lake, rib: Path) -> None:
    table = open_table(lake, load(lake, rib)[0])
    best = {
        r["prefix"]: (r["origin_asn"], r["as_path"], r["vantage"], r["origins"])
        for r in table.routes.to_pylist()
    }
    first, second = "AS1299@192.0.2.1", "AS3356@192.0.2.2"
    assert best == {
        "198.51.0.0/16": (64501, "3356 64501", second, None),
        "198.51.100.0/24": (64503, "1299 8 64503", first, [64502, 64503]),
        "203.0.113.0/24": (-3, "3356 {64504,64505}", second, [-3, 64504]),
        "203.0.112.0/24": (64506, "1299 64506", first, None),  # a tie: the lowest vantage
        "2001:db8::/32": (64507, "1299 64507", first, None),
    }


def test_a_damaged_cache_is_made_again(lake: Lake, rib: Path) -> None:
    info, _ = load(lake, rib)
    expected = open_table(lake, info).routes
    (folder,) = (lake.cache / "routes").iterdir()
    for file in sorted(folder.iterdir()):
        kept = file.read_bytes()
        file.write_bytes(kept[: len(kept) // 2])
        assert open_table(lake, info).routes.equals(expected)
        assert file.read_bytes() == kept
        file.unlink()
        assert open_table(lake, info).routes.equals(expected)
    assert [p.name for p in (lake.cache / "routes").iterdir()] == [folder.name]


def test_only_the_tables_used_last_stay_in_the_cache(
    lake: Lake, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(match, "KEPT", 3)
    infos = [
        load(lake, write(f"8.8.8.0/24\t{n}\n".encode(), f"t-2026010{n}.txt"))[0]
        for n in range(1, 7)
    ]
    held = [open_table(lake, info) for info in infos[:3]]
    folders = {p.name: p for p in (lake.cache / "routes").iterdir()}
    for n, info in enumerate(infos[:3]):
        os.utime(
            next(p for name, p in folders.items() if name.startswith(info.digest[:32])), (n, n)
        )
    open_table(lake, infos[0])  # used last
    open_table(lake, infos[3])
    kept = {p.name[:32] for p in (lake.cache / "routes").iterdir()}
    assert kept == {infos[n].digest[:32] for n in (0, 2, 3)}
    assert [t.match_text(["8.8.8.8"])[0] for t in held] == [0, 0, 0]  # still open


def _info(name: str, day: int, vantage: str = "", four: int = 1, six: int = 1) -> SnapshotInfo:
    when = datetime(2026, 1, day, tzinfo=UTC)
    return SnapshotInfo(name, when, vantage, 1, four, six, (), "", "", {}, "")


def test_the_snapshot_in_force_is_the_latest_before_of_the_nearest_vantage() -> None:
    infos = [
        _info("a", 1),
        _info("b", 5),
        _info("m", 3, "ams"),
        _info("e", 7, "edge1"),
        _info("six", 6, four=0),
    ]
    when = datetime(2026, 1, 5, tzinfo=UTC)

    def chosen(at: datetime, exporter: str, metro: str, **options: Any) -> str:
        found = in_force(infos, at, exporter=exporter, metro=metro, **options)
        assert found is not None
        return found.name

    assert chosen(when, "x", "y") == "b"  # at its very time
    assert chosen(when - timedelta(microseconds=1), "x", "y") == "a"
    assert chosen(when - timedelta(days=30), "x", "y") == "a"  # none before: the earliest
    assert chosen(when, "x", "ams") == "m"
    assert chosen(when, "edge1", "ams") == "e"
    assert chosen(when + timedelta(days=9), "x", "y") == "six"
    assert chosen(when + timedelta(days=9), "x", "y", family=4) == "b"
    assert in_force([], when, exporter="x", metro="y") is None
    assert in_force([_info("z", 1, "fra")], when, exporter="x", metro="y") is None


def test_snapshots_in_force_are_those_that_looking_through_all_finds() -> None:
    dice = random.Random(7)
    places = ["", "ams", "fra", "edge1", "edge2"]
    for _ in range(60):
        infos = [
            _info(f"s{n}", dice.randint(1, 9), dice.choice(places), dice.randint(0, 1),
                  dice.randint(0, 1))
            for n in range(dice.randrange(12))
        ]  # fmt: skip
        ask = InForce(infos).at
        for _ in range(30):
            when = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=dice.randrange(240))
            exporter, metro = dice.choice(["edge1", "edge3"]), dice.choice(["ams", "lon"])
            family = dice.choice([None, 4, 6])
            fits = [i for i in infos if family is None or (i.prefixes4, i.prefixes6)[family == 6]]
            views = [[i for i in fits if i.vantage == v] for v in (exporter, metro, "")]
            nearest = next((own for own in views if own), [])
            before = [i for i in nearest if i.taken_at <= when]
            best = max(before, key=lambda i: (i.taken_at, i.name), default=None)
            if best is None and nearest:
                first = min(i.taken_at for i in nearest)
                best = max((i for i in nearest if i.taken_at == first), key=lambda i: i.name)
            assert ask(when, exporter=exporter, metro=metro, family=family) == best


def test_lookup_gives_the_route_origin_path_and_name(lake: Lake, rib: Path, tmp_path: Path) -> None:
    info, _ = load(lake, rib)
    names = tmp_path / "names.csv"
    names.write_text("asn,name\nAS64503,Example\n")
    load_names(lake, names)
    rows = lookup(lake, ["198.51.100.7", "9.9.9.9", "::ffff:203.0.113.1", "2001:db8::1"])
    assert [list(row) for row in rows] == [
        ["address", "prefix", "origin_asn", "origins", "origin_name", "as_path", "snapshot",
         "vantage"]
    ] * 4  # fmt: skip
    assert rows[0] == {
        "address": "198.51.100.7",
        "prefix": "198.51.100.0/24",
        "origin_asn": 64503,
        "origins": [64502, 64503],
        "origin_name": "Example",
        "as_path": "1299 8 64503",
        "snapshot": info.name,
        "vantage": "AS1299@192.0.2.1",
    }
    assert (rows[1]["prefix"], rows[1]["origin_asn"]) == (None, None)
    assert (rows[2]["address"], rows[2]["origin_asn"]) == ("::ffff:203.0.113.1", -3)
    assert rows[2]["origin_name"] == "AS set"
    assert rows[3]["origin_asn"] == 64507


def test_lookup_takes_the_snapshot_of_that_time_and_family(lake: Lake, write: Write) -> None:
    load(lake, write(b"8.8.8.0/24\t1\n", "a-20260101.txt"))
    load(lake, write(b"8.8.8.0/24\t2\n", "b-20260201.txt"))
    load(lake, write(b"2001:db8::/32\t6\n", "c-20260301.txt"))
    asked = ["2001:db8::1", "8.8.8.8"]
    january = lookup(lake, asked, as_of=datetime(2026, 1, 15, tzinfo=UTC))
    assert [row["origin_asn"] for row in january] == [6, 1]
    assert [row["origin_asn"] for row in lookup(lake, asked)] == [6, 2]


@pytest.mark.parametrize(
    "text", ["", "8.8.8", "8.8.8.8/24", "fe80::1%eth0", "example", "8.8.8.8\n"]
)
def test_lookup_refuses_what_is_no_address(text: str, lake: Lake, rib: Path) -> None:
    load(lake, rib)
    with pytest.raises(UsageError):
        lookup(lake, ["8.8.8.8", text])


def test_lookup_without_a_snapshot_says_what_to_do(lake: Lake) -> None:
    with pytest.raises(NoDataError, match="no RIB snapshot") as caught:
        lookup(lake, ["8.8.8.8"])
    assert "rib load" in caught.value.advice


def test_a_real_table_answers_the_known_questions(lake: Lake, shared: Path) -> None:
    info, _ = load(lake, shared / "data" / "mrt" / "rib.routeviews-jinx.20140530.2200.bz2")
    assert (info.rows, info.prefixes4, info.prefixes6) == (503_590, 497_323, 84)
    assert len(info.views) == 14
    rows = lookup(lake, ["193.0.0.1", "8.8.8.8", "::ffff:8.8.8.8"])
    assert [row["origin_asn"] for row in rows] == [3333, 15169, 15169]


def _dump(mrt: Any, peer: str, prefix: str, path: list[int]) -> bytes:
    return bytes(mrt.peers([(path[0], peer)]) + mrt.rib(prefix, [(0, mrt.attributes(path))]))


def test_dumps_of_one_moment_are_one_table(lake: Lake, mrt: Any, write: Write) -> None:
    """Union of the views; the longest match and the best path are those over all of them."""
    one = write(_dump(mrt, "192.0.2.1", "198.51.0.0/16", [1299, 7, 64501]), "a.mrt")
    two = write(
        _dump(mrt, "192.0.2.2", "198.51.0.0/16", [3356, 64501])
        + mrt.rib("198.51.100.0/24", [(0, mrt.attributes([3356, 64502]))]),
        "b.mrt",
    )
    info, new = load(lake, one, two)
    assert new
    assert (info.rows, info.prefixes4) == (3, 2)
    assert info.views == ("AS1299@192.0.2.1", "AS3356@192.0.2.2")
    assert info.source == "a.mrt, b.mrt"
    rows = lookup(lake, ["198.51.1.1", "198.51.100.1"])
    assert [row["as_path"] for row in rows] == ["3356 64501", "3356 64502"]
    before = _files(lake)
    assert load(lake, two, one) == (info, False)  # in whichever order
    assert {k: v for k, v in _files(lake).items() if k.startswith(("routes", "manifests"))} == {
        k: v for k, v in before.items() if k.startswith(("routes", "manifests"))
    }


def test_of_one_moment_what_was_made_of_most_files_is_in_force(
    lake: Lake, mrt: Any, write: Write
) -> None:
    files = [
        write(_dump(mrt, f"192.0.2.{n}", f"10.{n}.0.0/16", [64500 + n]), f"{n}.mrt")
        for n in range(1, 6)
    ]
    alone = [load(lake, file)[0] for file in files]
    both, _ = load(lake, *files[1:3])
    assert {info.taken_at for info in alone} == {both.taken_at}
    for when in (both.taken_at, both.taken_at - timedelta(days=1)):
        assert in_force(snapshots(lake), when, exporter="", metro="") == both


def test_one_bad_file_of_several_loads_nothing(lake: Lake, mrt: Any, write: Write) -> None:
    good = _dump(mrt, "192.0.2.1", "198.51.0.0/16", [1299, 64501])
    files = [write(good, "good.mrt"), write(good + b"\0\0", "cut.mrt")]
    with pytest.raises(InputError, match=r"cut\.mrt.*ends inside a record"):
        load(lake, *files)
    assert not list(lake.root.rglob("*.parquet"))
    assert not snapshots(lake)
    later = datetime(2026, 2, 1, tzinfo=UTC)
    info, _ = load(lake, files[0], write(b"10.0.0.0/8\t7\n", "t.txt"), taken_at=later)
    assert (info.taken_at, info.kind, info.prefixes4) == (later, "table", 2)
