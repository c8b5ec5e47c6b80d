from __future__ import annotations

import bz2
import gzip
import random
import shutil
import struct
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from functools import lru_cache
from ipaddress import ip_address, ip_network
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pytest

from flowpeer.errors import InputError
from flowpeer.routing.mrt.table_dump import MrtReader, looks_like_mrt

Rows = Callable[..., list[dict[str, Any]]]
Write = Callable[..., Path]

_WELL_KNOWN = {
    "no-export": "65535:65281",
    "no-advertise": "65535:65282",
    "local-AS": "65535:65283",
}


def _zstd(octets: bytes) -> bytes:
    return bytes(pa.compress(octets, "zstd", asbytes=True))


def _small(mrt: Any, prefixes: int = 40) -> bytes:
    out = mrt.peers([(1299, "192.0.2.1"), (3356, "2001:db8::1")])
    for i in range(prefixes):
        attributes = mrt.attributes([1299, 64500 + i], med=i)
        out += mrt.rib(f"198.{i}.0.0/16", [(0, attributes), (1, attributes)])
    return out


def test_every_field_of_a_route_is_read(mrt: Any, write: Write, rows_of: Rows) -> None:
    attributes = mrt.attributes(
        [1299, 4200000000, (64500, 64501)],
        next_hop="2001:db8::2",
        med=7,
        local_pref=200,
        communities=[(1299, 20000), (65535, 65281)],
        large=[(4200000000, 1, 2)],
        origin=b"\2",
    )
    octets = mrt.peers([(1299, "2001:db8::1")]) + mrt.rib("2001:db8:8000::/33", [(0, attributes)])
    assert rows_of(write(octets)) == [
        {
            "vantage": "AS1299@2001:db8::1",
            "prefix": "2001:db8:8000::/33",
            "family": 6,
            "origin_asn": None,
            "as_path": "1299 4200000000 {64500,64501}",
            "next_hop": "2001:db8::2",
            "med": 7,
            "local_pref": 200,
            "communities": "1299:20000 65535:65281 4200000000:1:2",
            "path_id": None,
            "origin_code": "INCOMPLETE",
        }
    ]


@pytest.mark.parametrize("count", [1, 60])  # one by one, and many blocks at once
@pytest.mark.parametrize(
    ("origin", "code"),
    [(b"\0", "IGP"), (b"\1", "EGP"), (b"\2", "INCOMPLETE"), (b"\3", None), (b"", None),
     (b"\0\0", None), (None, None)],
)  # fmt: skip
def test_the_origin_code_is_kept_and_a_wrong_one_is_unknown(
    mrt: Any, write: Write, rows_of: Rows, origin: bytes | None, code: str | None, count: int
) -> None:
    octets = mrt.peers([(1299, "192.0.2.1")])
    for i in range(count):
        octets += mrt.rib(f"10.{i}.0.0/16", [(0, mrt.attributes([1299, i + 1], origin=origin))])
    found = [row["origin_code"] for row in rows_of(write(octets))]
    assert found == [code] * count


def test_a_whole_mp_reach_is_read_like_an_abbreviated_one(
    mrt: Any, write: Write, rows_of: Rows
) -> None:
    entries = [
        (0, mrt.attributes([1], next_hop="2001:db8::9", whole_reach=whole))
        for whole in (True, False)
    ]
    octets = mrt.peers([(1, "192.0.2.1")]) + mrt.rib("2001:db8::/32", entries)
    assert {row["next_hop"] for row in rows_of(write(octets))} == {"2001:db8::9"}


def test_an_empty_path_originates_in_the_peer(mrt: Any, write: Write, rows_of: Rows) -> None:
    octets = mrt.peers([(64500, "192.0.2.1")]) + mrt.rib("10.0.0.0/8", [(0, mrt.attributes([]))])
    (row,) = rows_of(write(octets))
    assert (row["origin_asn"], row["as_path"]) == (64500, "")


def test_add_path_gives_every_path_and_generic_is_skipped(mrt: Any, write: Write) -> None:
    entries = [(0, mrt.attributes([1, 2])), (0, mrt.attributes([1, 3]))]
    octets = (
        mrt.peers([(1, "192.0.2.1")])
        + mrt.record(13, 6, b"\0" * 40)
        + mrt.rib("10.0.0.0/8", entries, path_ids=[1, 2])
        + mrt.rib("2001:db8::/32", entries, path_ids=[1, 2])
        + mrt.record(16, 4, b"\0" * 20)
    )
    reader = MrtReader(write(octets))
    rows = [row for table in reader for row in table.to_pylist()]
    assert [row["origin_asn"] for row in rows] == [2, 3, 2, 3]
    assert [row["path_id"] for row in rows] == [1, 2, 1, 2]
    assert reader.tally.skipped == {"RIB_GENERIC": 1, "BGP4MP": 1}


def test_table_dump_takes_wide_asns_from_as4_path(mrt: Any, write: Write, rows_of: Rows) -> None:
    attributes = (
        mrt.attribute(1, b"\0")
        + mrt.as_path([1299, 23456], width=2)
        + mrt.as_path([4200000000], code=17)
    )
    octets = mrt.old("10.0.0.0/8", 1299, "192.0.2.1", attributes)
    octets += mrt.old("2001:db8::/32", 1299, "2001:db8::1", attributes)
    rows = rows_of(write(octets))
    assert [row["as_path"] for row in rows] == ["1299 4200000000"] * 2
    assert [row["prefix"] for row in rows] == ["10.0.0.0/8", "2001:db8::/32"]
    assert [row["vantage"] for row in rows] == ["AS1299@192.0.2.1", "AS1299@2001:db8::1"]


def test_host_bits_are_cleared(mrt: Any, write: Write, rows_of: Rows) -> None:
    good = mrt.rib("11.8.0.0/13", [(0, mrt.attributes([1]))])
    dirty = good.replace(b"\x0d\x0b\x08", b"\x0d\x0b\x0d")
    assert dirty != good
    rows = rows_of(write(mrt.peers([(1, "192.0.2.1")]) + dirty))
    assert rows[0]["prefix"] == "11.8.0.0/13"


def test_chosen_peers_only(mrt: Any, write: Write) -> None:
    reader = MrtReader(write(_small(mrt)), peers={3356})
    assert {v for t in reader for v in t.column("vantage").to_pylist()} == {"AS3356@2001:db8::1"}
    assert reader.views == ["AS3356@2001:db8::1"]


def test_a_second_peer_table_holds_from_there_on(mrt: Any, write: Write, rows_of: Rows) -> None:
    rib = mrt.rib("10.0.0.0/8", [(0, mrt.attributes([1]))])
    octets = mrt.peers([(1, "192.0.2.1")]) + rib + mrt.peers([(2, "192.0.2.2")]) + rib
    assert [r["vantage"] for r in rows_of(write(octets))] == ["AS1@192.0.2.1", "AS2@192.0.2.2"]


def test_a_malformed_block_costs_its_entry_and_is_named(mrt: Any, write: Write) -> None:
    bad = mrt.attributes([1]) + b"\x40\x04\x09"
    octets = _small(mrt) + mrt.rib("10.0.0.0/8", [(0, bad), (0, mrt.attributes([1]))])
    reader = MrtReader(write(octets))
    assert sum(table.num_rows for table in reader) == 81
    assert reader.tally.skipped == {"attributes: attribute length": 1}


def test_a_file_cut_anywhere_is_refused(mrt: Any, write: Write, rows_of: Rows) -> None:
    octets = _small(mrt, 4)
    borders = {0}
    at = 0
    while at < len(octets):
        at += 12 + struct.unpack_from(">I", octets, at + 8)[0]
        borders.add(at)
    first = sorted(borders)[1]
    for length in range(len(octets)):
        path = write(octets[:length])
        if length in borders and length > first:
            assert rows_of(path)
        else:
            with pytest.raises(InputError) as caught:
                rows_of(path)
            assert str(path) in str(caught.value)
            assert caught.value.advice


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, _zstd])
def test_any_packing_gives_the_same_and_cut_short_none(
    mrt: Any, write: Write, rows_of: Rows, pack: Callable[[bytes], bytes]
) -> None:
    octets = _small(mrt, 60)
    packed = pack(octets)
    assert rows_of(write(packed)) == rows_of(write(octets))
    for length in range(1, len(packed), 7):
        path = write(packed[:length])
        with pytest.raises(InputError) as caught:
            rows_of(path)
        assert "\n" not in str(caught.value)
        assert caught.value.advice


def test_a_wrong_length_costs_few_records(mrt: Any, write: Write) -> None:
    octets = _small(mrt, 200)
    victim = octets.index(bytes([16, 198, 100])) - 12  # type, subtype, then length of its record
    for subtype, wrong in ((2, 1), (2, 30), (2, 5000), (2, 0xFFFFFFFF), (77, 30), (77, 5000)):
        header = struct.pack(">HI", subtype, wrong)
        damaged = octets[: victim + 2] + header + octets[victim + 8 :]
        reader = MrtReader(write(damaged))
        rows = sum(table.num_rows for table in reader)
        assert rows == 398
        assert reader.tally.broken


def test_mutations_give_routes_or_one_error(mrt: Any, write: Write) -> None:
    octets = _small(mrt, 60)
    rng = random.Random(5)
    kept = total = refused = 0
    for _ in range(400):
        damaged = bytearray(octets)
        for _ in range(rng.choice((1, 1, 3, 40))):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        try:
            kept += sum(t.num_rows for t in MrtReader(write(bytes(damaged))))
            total += 120
        except InputError:
            refused += 1
    assert refused < 200
    assert kept > 0.9 * total


def test_a_mostly_broken_file_is_refused(mrt: Any, write: Write, rows_of: Rows) -> None:
    broken = mrt.record(13, 2, b"\0\0\0\0\x10\x0a\x00\x00\x05")
    assert rows_of(write(_small(mrt, 40) + broken * 3))
    with pytest.raises(InputError, match="20 of 61 records are broken"):
        rows_of(write(_small(mrt, 40) + broken * 20))


def test_other_files_are_told_apart(mrt: Any) -> None:
    assert looks_like_mrt(_small(mrt)[:12])
    for other in (
        b"1.0.0.0/24\t13",
        b"# a comment\n",
        b"\x89PNG\r\n\x1a\n\0\0\0",
        b"prefix,asn\n1",
    ):
        assert not looks_like_mrt(other[:12].ljust(12))


def test_a_file_of_updates_alone_is_refused_by_name(mrt: Any, write: Write, rows_of: Rows) -> None:
    with pytest.raises(InputError, match=r"no unicast routes in it \(3 × BGP4MP\)"):
        rows_of(write(mrt.record(16, 4, b"\0" * 30) * 3))


def test_a_packed_bomb_is_refused_in_seconds(mrt: Any, tmp_path: Path, rows_of: Rows) -> None:
    path = tmp_path / "bomb.gz"
    record = mrt.record(13, 6, bytes(1 << 20))
    with gzip.open(path, "wb") as file:
        for _ in range(100):
            file.write(record)
    started = time.monotonic()
    with pytest.raises(InputError, match="unpacks to more than 200 times"):
        rows_of(path)
    assert time.monotonic() - started < 10


# against other programs


@lru_cache(1 << 16)
def _address(text: str) -> str:
    return str(ip_address(text)) if text else ""


@lru_cache(1 << 16)
def _network(text: str) -> str:
    return str(ip_network(text, strict=False))


def _bgpdump(path: Path) -> Counter[tuple[Any, ...]]:
    if shutil.which("bgpdump") is None:
        pytest.skip("bgpdump is not installed")
    done = subprocess.run(["bgpdump", "-m", "-v", str(path)], capture_output=True, check=False)
    found: Counter[tuple[Any, ...]] = Counter()
    for line in done.stdout.decode().splitlines():
        f = line.split("|")
        if f[0].endswith("_AP"):
            del f[6]
        hop = "" if f[8] == "255.255.255.255" else _address(f[8])  # its word for none
        communities = " ".join(_WELL_KNOWN.get(word, word) for word in f[11].split())
        peer = f"AS{f[4]}@{_address(f[3])}"
        found[peer, _network(f[5]), f[6], hop, int(f[9]), int(f[10]), communities] += 1
    return found


def _ours(path: Path) -> Counter[tuple[Any, ...]]:
    found: Counter[tuple[Any, ...]] = Counter()
    for table in MrtReader(path):
        for row in table.to_pylist():
            words = (row["communities"] or "").split()
            found[
                row["vantage"],
                row["prefix"],
                row["as_path"],
                _address(row["next_hop"] or ""),
                row["local_pref"] or 0,
                row["med"] or 0,
                " ".join(word for word in words if word.count(":") == 1),  # it shows no large ones
            ] += 1
    return found


TABLES = [
    "bview.64k_stream_overflow.gz",
    "bview.ipv4_unicast_add_path.gz",
    "mrtparse-bird-mrtdump_rib.gz",
    "mrtparse-bird6-mrtdump_rib.gz",
    "mrtparse-openbgpd_rib_table-v2.gz",
    "mrtparse-openbgpd_rib_table.gz",
    "mrtparse-quagga_rib.gz",
    "rib.routeviews.20140523.0600.part1.gz",
    "rib6.routeviews.20151101.0600.part1.gz",
]


@pytest.mark.parametrize("name", TABLES)
def test_every_route_of_a_real_table_equals_bgpdumps(name: str, shared: Path) -> None:
    path = shared / "data" / "mrt" / name
    assert _ours(path) == _bgpdump(path)


def test_a_generated_table_equals_bgpdumps(mrt: Any, write: Write) -> None:
    rng = random.Random(11)
    octets = mrt.peers([(64500 + i, f"192.0.2.{i + 1}") for i in range(5)])
    for _ in range(300):
        length = rng.randrange(33)
        network = ip_network((rng.getrandbits(32), length), strict=False)
        entries = []
        for peer in rng.sample(range(5), rng.randrange(1, 5)):
            path: list[Any] = [rng.randrange(1, 1 << 32) for _ in range(rng.randrange(8))]
            if rng.random() < 0.1:
                path.append(tuple(rng.randrange(1, 1 << 16) for _ in range(3)))
            communities = [
                (rng.randrange(1, 65000), rng.randrange(65536)) for _ in range(rng.randrange(4))
            ]
            options = {"med": rng.randrange(100), "local_pref": rng.randrange(300)}
            entries.append((peer, mrt.attributes(path, communities=communities, **options)))
        octets += mrt.rib(str(network), entries)
    path = write(octets)
    assert _ours(path) == _bgpdump(path)


@pytest.mark.parametrize("name", [n for n in TABLES if not n.startswith("rib")])
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_routes_of_each_table_are_as_many_as_mrtparses(
    name: str, shared: Path, mrtparse: ModuleType
) -> None:
    path = shared / "data" / "mrt" / name
    count = 0
    for entry in mrtparse.Reader(str(path)):
        kind, subtype = next(iter(entry.data["type"])), next(iter(entry.data["subtype"]))
        if kind == 12:
            count += 1
        elif kind == 13 and subtype in (2, 4, 8, 10):
            count += entry.data["entry_count"]
    assert sum(table.num_rows for table in MrtReader(path)) == count
