from __future__ import annotations

import random
import re
import shutil
import struct
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from flowpeer.errors import InputError, NoDataError
from flowpeer.lake.store import Lake
from flowpeer.routing.bgp import adj_rib_in
from flowpeer.routing.bgp import messages as bgp
from flowpeer.routing.bgp.adj_rib_in import AdjRibs
from flowpeer.routing.bgp.peers import Peers
from flowpeer.routing.rib.snapshot import SnapshotInfo, load, snapshots
from flowpeer.routing.rib.updates import load_updates

Write = Callable[..., Path]
Key = tuple[str, str, int | None]
Fields = tuple[str, str, int, int, str]
WHEN = 1_767_225_600
PEER = (1299, "192.0.2.1")
_WELL_KNOWN = {
    "no-export": "65535:65281",
    "no-advertise": "65535:65282",
    "local-AS": "65535:65283",
}


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake")


def _nlri(prefix: str, path_id: int | None = None) -> bytes:
    network = ip_network(prefix)
    lead = b"" if path_id is None else struct.pack(">I", path_id)
    octets = (network.prefixlen + 7) // 8
    return lead + bytes([network.prefixlen]) + network.network_address.packed[:octets]


def _update(withdrawn: bytes = b"", attributes: bytes = b"", nlri: bytes = b"") -> bytes:
    body = struct.pack(">H", len(withdrawn)) + withdrawn
    body += struct.pack(">H", len(attributes)) + attributes + nlri
    return b"\xff" * 16 + struct.pack(">HB", 19 + len(body), 2) + body


def _record(
    mrt: Any, message: bytes, *, subtype: int = 4, peer: Any = PEER, when: int = WHEN + 60
) -> bytes:
    """A BGP4MP record; messages of subtype 0 and 5 are the two states."""
    asn, address = peer
    packed = ip_address(address).packed
    form = ">IIHH" if subtype in (4, 5, 7, 9, 11) else ">HHHH"
    body = struct.pack(form, asn, 64500, 0, 1 if len(packed) == 4 else 2) + packed * 2 + message
    return bytes(mrt.record(16, subtype, body, when))


def _reach(mrt: Any, prefixes: list[str], hop: str, *, add_path: bool = False) -> bytes:
    packed = ip_address(hop).packed
    value = struct.pack(">HBB", 2, 1, len(packed)) + packed + b"\0"
    value += b"".join(_nlri(p, 7 if add_path else None) for p in prefixes)
    return bytes(mrt.attribute(14, value, 0x80))


@lru_cache(1 << 16)
def _address(text: str) -> str:
    return str(ip_address(text))


@lru_cache(1 << 16)
def _network(text: str) -> str:
    return str(ip_network(text, strict=False))


def _routes(lake: Lake, info: SnapshotInfo) -> dict[Key, Fields]:
    rows = pq.read_table(lake.path(f"routes/{info.name}.parquet")).to_pylist()
    found = {}
    for row in rows:
        words = (row["communities"] or "").split()
        key = (row["vantage"], row["prefix"], row["path_id"])
        assert key not in found
        found[key] = (
            row["as_path"],
            row["next_hop"] or "",
            row["med"] or 0,
            row["local_pref"] or 0,
            " ".join(word for word in words if word.count(":") == 1),
        )
    assert info.rows == len(found)
    return found


@pytest.fixture
def base(mrt: Any, write: Write, lake: Lake) -> SnapshotInfo:
    octets = mrt.peers([PEER, (3356, "192.0.2.2")])
    for i in range(3):
        entries = [(0, mrt.attributes([1299, 10 + i])), (1, mrt.attributes([3356, 10 + i]))]
        octets += mrt.rib(f"198.18.{i}.0/24", entries)
    octets += mrt.rib("2001:db8::/32", [(0, mrt.attributes([1299, 6], next_hop="2001:db8::1"))])
    return load(lake, write(octets))[0]


def test_announced_withdrawn_and_dropped(mrt: Any, write: Write, lake: Lake, base: Any) -> None:
    before = _routes(lake, base)
    new = mrt.attributes([1299, 7, 99], med=5)
    octets = _record(mrt, _update(_nlri("198.18.0.0/24"), new, _nlri("198.18.1.0/24")))
    octets += _record(mrt, _update(b"", new, _nlri("203.0.113.0/24") + _nlri("192.0.2.0/25")))
    octets += _record(mrt, _update(_nlri("192.0.2.0/25")), when=WHEN + 61)
    unreach = mrt.attribute(15, struct.pack(">HB", 2, 1) + _nlri("2001:db8::/32"), 0x80)
    octets += _record(mrt, _update(attributes=unreach), when=WHEN + 62)
    path = write(octets, "updates.mrt")
    info, made = load_updates(lake, [path])
    assert made
    assert info.taken_at == datetime.fromtimestamp(WHEN + 62, UTC)
    assert (info.kind, info.source) == ("updates", "updates.mrt")
    view, route = "AS1299@192.0.2.1", ("1299 7 99", "192.0.2.1", 5, 0, "")
    expected = {key: f for key, f in before.items() if key[0] != view or "198.18.2" in key[1]}
    expected |= {(view, p, None): route for p in ("198.18.1.0/24", "203.0.113.0/24")}
    assert _routes(lake, info) == expected
    assert load_updates(lake, [path]) == (info, False)  # the base did not change

    down = write(
        _record(mrt, struct.pack(">HH", 6, 1), subtype=5, when=WHEN + 90)
        + _record(mrt, _update(b"", new, _nlri("203.0.113.0/24")), when=WHEN + 99),
        "down.mrt",
    )
    later, made = load_updates(lake, [down])
    assert made
    expected = {key: f for key, f in expected.items() if key[0] != view}
    assert _routes(lake, later) == expected | {(view, "203.0.113.0/24", None): route}
    assert later.views == ("AS1299@192.0.2.1", "AS3356@192.0.2.2")
    again, _ = load_updates(lake, [down, path], onto=base.name)
    assert _routes(lake, again) == _routes(lake, later)


def test_a_snapshot_without_origin_codes_can_be_built_upon(
    mrt: Any, write: Write, lake: Lake, base: Any
) -> None:
    path = lake.path(f"routes/{base.name}.parquet")
    pq.write_table(pq.read_table(path).drop_columns("origin_code"), path)
    new = mrt.attributes([1299, 7], origin=b"\1")
    octets = _record(mrt, _update(b"", new, _nlri("198.18.0.0/24")))
    info, _ = load_updates(lake, [write(octets, "updates.mrt")])
    rows = pq.read_table(lake.path(f"routes/{info.name}.parquet")).to_pylist()
    codes = {(row["prefix"], row["as_path"]): row["origin_code"] for row in rows}
    assert codes.pop(("198.18.0.0/24", "1299 7")) == "EGP"
    assert len(codes) == 6
    assert set(codes.values()) == {None}


def test_widths_families_and_path_identifiers(
    mrt: Any, write: Write, lake: Lake, base: Any
) -> None:
    narrow = (
        mrt.attribute(1, b"\0")
        + mrt.as_path([1299, 23456], width=2)
        + mrt.attribute(3, ip_address("192.0.2.9").packed)
        + mrt.as_path([4200000000], code=17)
    )
    both = mrt.attributes([1299, 5]) + _reach(mrt, ["2001:db8:1::/48"], "2001:db8::9")
    six = mrt.attributes([9, 5], next_hop=None)
    ids = _nlri("203.0.113.0/24", 1) + _nlri("203.0.113.0/24", 2)
    octets = _record(mrt, _update(b"", narrow, _nlri("192.0.2.0/24")), subtype=1)
    octets += _record(mrt, _update(b"", both, _nlri("192.0.2.128/25")))
    octets += _record(mrt, _update(b"", mrt.attributes([1299, 8]), ids), subtype=9)
    octets += _record(mrt, _update(_nlri("203.0.113.0/24", 1)), subtype=9)
    reach = six + _reach(mrt, ["2001:db8:2::/48"], "2001:db8::8", add_path=True)
    octets += _record(mrt, _update(b"", reach), subtype=9, peer=(9, "2001:db8::5"))
    octets += _record(mrt, _update(b"", six, _nlri("10.0.0.0/8")), subtype=7)  # ours
    octets += _record(mrt, _update(b"", six, _nlri("10.0.0.0/8")), when=WHEN - 1)
    octets += mrt.record(17, 4, b"\0\0\0\7" + _record(mrt, _update(), subtype=4)[12:], WHEN + 60)
    info, _ = load_updates(lake, [write(octets, "u.mrt")], onto=base.name)
    found = {k: f for k, f in _routes(lake, info).items() if k not in _routes(lake, base)}
    view = "AS1299@192.0.2.1"
    assert {k: f[:2] for k, f in found.items()} == {
        (view, "192.0.2.0/24", None): ("1299 4200000000", "192.0.2.9"),
        (view, "192.0.2.128/25", None): ("1299 5", "192.0.2.1"),
        (view, "2001:db8:1::/48", None): ("1299 5", "2001:db8::9"),
        (view, "203.0.113.0/24", 2): ("1299 8", "192.0.2.1"),
        ("AS9@2001:db8::5", "2001:db8:2::/48", 7): ("9 5", "2001:db8::8"),
    }
    assert info.skipped == {
        "message that the collector sent": 1,
        "update from before the snapshot": 1,
    }


def test_contradicting_attributes_withdraw_the_route(
    mrt: Any, write: Write, lake: Lake, base: Any
) -> None:
    bad = mrt.attribute(1, b"\0") + mrt.attribute(2, b"\x02\x09\0\0\0\1")
    octets = _record(mrt, _update(b"", bad, _nlri("198.18.0.0/24")))
    info, _ = load_updates(lake, [write(octets, "u.mrt")])
    assert ("AS1299@192.0.2.1", "198.18.0.0/24", None) not in _routes(lake, info)
    assert info.rows == base.rows - 1
    assert info.skipped == {"attributes: AS_PATH": 1}


def test_only_chosen_peers_change(mrt: Any, write: Write, lake: Lake, base: Any) -> None:
    octets = _record(mrt, _update(_nlri("198.18.0.0/24")))
    octets += _record(mrt, _update(_nlri("198.18.0.0/24")), peer=(3356, "192.0.2.2"))
    info, _ = load_updates(lake, [write(octets, "u.mrt")], peers=Peers.of(["AS3356"]))
    gone = set(_routes(lake, base)) - set(_routes(lake, info))
    assert gone == {("AS3356@192.0.2.2", "198.18.0.0/24", None)}


def test_what_cannot_be_applied_is_said(mrt: Any, write: Write, lake: Lake) -> None:
    update = _record(mrt, _update(_nlri("198.18.0.0/24")))
    path = write(update, "u.mrt")
    with pytest.raises(NoDataError, match="no snapshot with peers"):
        load_updates(lake, [path])
    load(lake, write(b"8.8.8.0/24\t1\n", "t-20250101.txt"))
    with pytest.raises(NoDataError, match="no snapshot with peers"):
        load_updates(lake, [path])
    rib = mrt.peers([PEER]) + mrt.rib("198.18.0.0/24", [(0, mrt.attributes([1299]))])
    base, _ = load(lake, write(rib))
    with pytest.raises(NoDataError, match="no snapshot 'x'"):
        load_updates(lake, [path], onto="x")
    with pytest.raises(NoDataError, match="no update after"):
        load_updates(lake, [write(_record(mrt, _update(), when=WHEN - 5), "o.mrt")], onto=base.name)
    with pytest.raises(InputError, match="no BGP4MP updates"):
        load_updates(lake, [write(rib, "again.mrt")])
    with pytest.raises(InputError, match="not an MRT file"):
        load_updates(lake, [write(b"text that is no MRT at all", "x.txt")])
    broken = _record(mrt, _update(b"\x21", b"", b"")[:-1])
    with pytest.raises(InputError, match="2 of 4 records are broken"):
        load_updates(lake, [write(update * 2 + broken * 2, "b.mrt")])
    assert [i.kind for i in snapshots(lake)] == ["table", "mrt"]


def test_updates_cut_or_changed_give_a_snapshot_or_one_error(
    mrt: Any, write: Write, lake: Lake, base: Any
) -> None:
    octets = b"".join(
        _record(
            mrt, _update(_nlri("10.0.0.0/8"), mrt.attributes([1299, i]), _nlri(f"10.{i}.0.0/16"))
        )
        for i in range(1, 30)
    )
    rng = random.Random(3)
    good = bad = 0
    for n in range(300):
        if n < 100:
            damaged = bytearray(octets[: rng.randrange(len(octets))])
        else:
            damaged = bytearray(octets)
            for _ in range(rng.choice((1, 3, 30))):
                damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        try:
            load_updates(lake, [write(bytes(damaged), "m.mrt")], onto=base.name)
            good += 1
        except (InputError, NoDataError):
            bad += 1
    assert good > 50
    assert bad > 50
    assert not list((lake.root / "staging").rglob("*.parquet"))


def test_compacting_changes_no_route(mrt: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adj_rib_in, "COMPACT_FROM", 10)
    ribs = AdjRibs()
    rng = random.Random(1)
    kept: dict[tuple[str, str], str] = {}
    for n in range(4000):
        view = ribs.view(f"AS{rng.randrange(3)}@192.0.2.1", 1)
        prefix = f"10.{rng.randrange(30)}.0.0/16"
        if rng.random() < 0.3:
            ribs.apply(view, bgp.update(_update(_nlri(prefix))[19:]), 4)
            kept.pop((view.text, prefix), None)
        else:
            block = mrt.attributes([n + 1])
            ribs.apply(view, bgp.update(_update(b"", block, _nlri(prefix))[19:]), 4)
            kept[view.text, prefix] = str(n + 1)
        if n % 100 == 0:
            ribs.compact()
    rows = [row for table in ribs.tables() for row in table.to_pylist()]
    assert {(row["vantage"], row["prefix"]): row["as_path"] for row in rows} == kept
    assert len(ribs) == len(kept)
    ribs.compact()
    assert len(ribs._pool) <= 4 * len(kept) + 10 < 300


# against bgpdump, applied by plain Python


def _dump(path: Path) -> list[list[str]]:
    if shutil.which("bgpdump") is None:
        pytest.skip("bgpdump is not installed")
    done = subprocess.run(["bgpdump", "-m", str(path)], capture_output=True, check=False)
    return [line.split("|") for line in done.stdout.decode().splitlines()]


def _fields(f: list[str]) -> tuple[Key, Fields]:
    path_id = int(f.pop(6)) if f[0].endswith("_AP") else None
    key = f"AS{f[4]}@{_address(f[3])}", _network(f[5]), path_id
    communities = " ".join(_WELL_KNOWN.get(word, word) for word in f[11].split())
    return key, (f[6], _address(f[8]), int(f[10]), int(f[9]), communities)


def _plainly(routes: dict[Key, Fields], lines: list[list[str]]) -> None:
    for f in lines:
        if f[2] == "A":
            key, fields = _fields(f)
            routes[key] = fields
        elif f[2] == "W":
            path_id = int(f.pop(6)) if f[0].endswith("_AP") else None
            view = f"AS{f[4]}@{_address(f[3])}"
            routes.pop((view, _network(f[5]), path_id), None)
        elif f[6] != "6":
            view = f"AS{f[4]}@{_address(f[3])}"
            for key in [key for key in routes if key[0] == view]:
                del routes[key]


def _multicast(path: Path) -> set[tuple[str, str]]:
    """View and prefix of what bgpdump's one-line form does not tell from unicast."""
    done = subprocess.run(["bgpdump", "-H", str(path)], capture_output=True, check=False)
    found: set[tuple[str, str]] = set()
    for block in done.stdout.decode().split("\n\n"):
        if "Multicast)" in block:
            address, asn = re.findall(r"(?m)^FROM: (\S+) AS(\d+)$", block)[0]
            for prefix in re.findall(r"(?m)^ +([0-9a-f:.]+/\d+)", block):
                found.add((f"AS{asn}@{address}", prefix))
    return found


FILES = [
    "updates.20100722.2015.gz",
    "updates.20160811.1600.gz",
    "updates.example.bz2",
    "updates.ris-rrc06.20140530.gz",
    "updates.ris-rrc15.20100227.1600.gz",
    "mrtparse-bird-mrtdump_bgp.gz",
    "mrtparse-bird6-mrtdump_bgp.gz",
]


@pytest.mark.parametrize("name", FILES)
def test_real_updates_on_a_table_equal_bgpdumps_text_applied_plainly(
    name: str, shared: Path, mrt: Any, write: Write, lake: Lake
) -> None:
    """The table below has a third of the routes that the updates touch, and some of their own."""
    updates = shared / "data" / "mrt" / name
    lines = _dump(updates)
    rng = random.Random(name)
    told = [f for f in lines if f[2] in "AW"]
    chosen = rng.sample(told, len(told) // 3) or told
    peers = sorted({(int(f[4]), _address(f[3])) for f in told})
    prefixes: dict[str, set[int]] = {}
    for f in chosen:
        network = _network(f[5])
        prefixes.setdefault(network, set()).add(peers.index((int(f[4]), _address(f[3]))))
    octets = mrt.peers(peers)
    for number in range(40):
        prefixes.setdefault(f"100.{64 + number}.0.0/16", set()).add(number % len(peers))
    for network, seen in prefixes.items():
        hop = "2001:db8::1" if ":" in network else "192.0.2.1"
        entries = [(peer, mrt.attributes([peers[peer][0], 77], next_hop=hop)) for peer in seen]
        octets += mrt.rib(network, entries)
    table = write(octets, "base.mrt")
    expected: dict[Key, Fields] = {}
    for f in _dump(table):
        key, fields = _fields(f)
        expected[key] = fields
    start = datetime.fromtimestamp(min(int(f[1]) for f in lines), UTC)
    base, _ = load(lake, table, taken_at=start)
    assert _routes(lake, base) == expected
    _plainly(expected, lines)
    info, _ = load_updates(lake, [updates])
    found = _routes(lake, info)
    multicast = _multicast(updates)
    assert len(multicast) < len(expected) / 200
    for routes in (found, expected):
        for key in [key for key in routes if key[:2] in multicast]:
            del routes[key]
    assert found == expected
    shown = datetime.fromtimestamp(max(int(f[1]) for f in lines), UTC)
    assert shown <= info.taken_at < shown + timedelta(minutes=1)  # an End-of-RIB has no line


def test_routes_of_a_field_cut_short_are_not_believed(
    shared: Path, mrt: Any, write: Write, lake: Lake
) -> None:
    """bgpdump shows the first of them; RFC 7606 section 5.3 lets nobody install it."""
    path = shared / "data" / "mrt" / "updates.nlri_mask_trailing_bits.gz"
    assert len(_dump(path)) == 1
    rib = mrt.peers([PEER]) + mrt.rib("198.18.0.0/24", [(0, mrt.attributes([1299]))])
    load(lake, write(rib), taken_at=datetime(2010, 1, 1, tzinfo=UTC))
    with pytest.raises(InputError, match=r"1 of 1 records are broken .*NLRI"):
        load_updates(lake, [path])
