from __future__ import annotations

import gzip
import json
import random
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from bmp_octets import header, message, nlri, open_, up, update

from flowpeer.errors import InputError
from flowpeer.lake.store import Lake
from flowpeer.routing.bgp.adj_rib_in import AdjRibs
from flowpeer.routing.bmp.capture import BmpCapture, load_capture
from flowpeer.routing.bmp.session import BmpSession, LostError
from flowpeer.routing.bmp.tcp_streams import TcpSegment, TcpStream
from flowpeer.sources import load_ribs

Write = Callable[..., Path]
Routes = dict[tuple[str, str, int | None], str]
ROUTER = "192.0.2.99"


def _rows(ribs: AdjRibs, session: BmpSession) -> Routes:
    found: Routes = {}
    for table in ribs.tables(session.chosen()):
        for row in table.to_pylist():
            found[row["vantage"], row["prefix"], row["path_id"]] = row["as_path"]
    return found


@pytest.fixture
def session() -> BmpSession:
    return BmpSession(ROUTER, AdjRibs())


def test_routes_of_each_kind_of_rib(mrt: Any, session: BmpSession) -> None:
    def told(header: bytes, path: list[int], prefix: str) -> bytes:
        return message(0, header + update(b"", mrt.attributes(path), nlri(prefix)))

    one, six = (1299, "192.0.2.1"), (3356, "2001:db8::1")
    session.feed(
        message(4, b"\0\1\0\1x" + b"\0\2\0\5edge1")
        + up(header(*one), open_(64500), open_(1299))
        + told(header(*one), [1299, 1], "10.0.0.0/8")
        + told(header(*one), [1299, 2], "10.1.0.0/16")
        + told(header(*six), [3356, 1], "10.0.0.0/8")
        + told(header(*six, post=True), [3356, 9], "10.9.0.0/16")
        + told(header(64500, "192.0.2.250", kind=3), [1299, 1], "10.0.0.0/8")
        + told(header(*one, out=True), [64500], "10.3.0.0/16")
        + told(header(*one, vrf=7), [1299], "10.4.0.0/16")
        + message(1, header(*one) + b"\0\0\0\0")
        + message(6, b"") + message(5, b"")
    )  # fmt: skip
    first = ("AS1299@192.0.2.1", "10.0.0.0/8", None)
    assert session.name == "edge1"
    assert _rows(session.ribs, session) == {
        first: "1299 1",
        ("AS1299@192.0.2.1", "10.1.0.0/16", None): "1299 2",
        ("AS3356@2001:db8::1", "10.9.0.0/16", None): "3356 9",  # after policy, where there is one
        ("AS64500@192.0.2.250", "10.0.0.0/8", None): "1299 1",
    }
    assert session.skipped["message of the Adj-RIB-Out"] == 1
    assert session.skipped["message of a VRF's peer"] == 1
    session.feed(message(0, header(*one) + update(nlri("10.1.0.0/16"))))
    assert len(_rows(session.ribs, session)) == 3
    session.feed(message(2, header(*one) + b"\1"))
    assert first not in _rows(session.ribs, session)
    session.feed(message(4, b""))  # a new session tells everything again
    assert _rows(session.ribs, session) == {}
    assert len(session.ribs) == 0


def test_path_identifiers_are_read_where_both_opens_agree(mrt: Any, session: BmpSession) -> None:
    peer = (1299, "192.0.2.1")
    block = mrt.attributes([1299])
    for sent, received, path_id in ((1, 2, 5), (3, 3, 5), (2, 1, None), (0, 2, None), (1, 1, None)):
        session.feed(up(header(*peer), open_(1, add_path=sent), open_(2, add_path=received)))
        route = update(b"", block, nlri("10.0.0.0/8", path_id))
        session.feed(message(0, header(*peer) + route))
        assert set(_rows(session.ribs, session)) == {("AS1299@192.0.2.1", "10.0.0.0/8", path_id)}
    assert not session.broken


def test_octets_in_any_portions_give_the_same(mrt: Any) -> None:
    octets = up(header(9, "192.0.2.1"), open_(1), open_(9))
    for i in range(20):
        route = update(b"", mrt.attributes([9, i + 1]), nlri(f"10.{i}.0.0/16"))
        octets += message(0, header(9, "192.0.2.1") + route)
    rng = random.Random(2)
    for _ in range(20):
        session, at = BmpSession(ROUTER, AdjRibs()), 0
        while at < len(octets):
            size = rng.choice([1, 3, 40, 200])
            session.feed(octets[at : at + size])
            at += size
        assert len(_rows(session.ribs, session)) == 20
        assert session.messages == 21


def test_random_and_damaged_octets_give_messages_or_one_error(mrt: Any) -> None:
    octets = message(4, b"\0\2\0\5edge1") + up(header(9, "::9"), open_(1), open_(9))
    for i in range(10):
        route = update(b"", mrt.attributes([9, i + 1]), nlri(f"10.{i}.0.0/16"))
        octets += message(0, header(9, "::9") + route)
    rng = random.Random(4)
    for n in range(600):
        damaged = bytearray(octets if n % 3 else rng.randbytes(300))
        for _ in range(rng.choice((1, 5, 50))):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        session = BmpSession(ROUTER, AdjRibs())
        try:
            session.feed(bytes(damaged[: rng.randrange(1, len(damaged))]))
        except LostError:
            session.lose()
            session.resume(octets)
            assert session.messages
        _rows(session.ribs, session)


# TCP


def _pcap(segments: list[tuple[str, int, int, int, bytes]]) -> bytes:
    """(source, port, sequence, flags, payload) as an Ethernet capture, a second apart."""
    out = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
    for n, (source, port, sequence, flags, payload) in enumerate(segments):
        tcp = struct.pack(">HHIIBBHHH", port, 11019, sequence & 0xFFFFFFFF, 0, 0x50, flags, 0, 0, 0)
        packed = ip_address(source).packed
        if len(packed) == 4:
            length = 40 + len(payload)
            ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, length, 0, 0, 64, 6, 0, packed, packed)
            frame = bytes(12) + b"\x08\x00" + ip + tcp + payload
        else:
            ip = struct.pack(">IHBB", 6 << 28, 20 + len(payload), 6, 64) + packed * 2
            frame = bytes(12) + b"\x81\x00\x00\x07\x86\xdd" + ip + tcp + payload
        out += struct.pack("<IIII", 1_767_225_600 + n, 0, len(frame), len(frame)) + frame
    return out


def _cut(octets: bytes, first: int, rng: random.Random) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(octets):
        size = rng.randrange(1, 200)
        yield first + at, octets[at : at + size]
        at += size


@pytest.mark.parametrize("seed", range(10))
def test_segments_in_any_order_twice_and_overlapping_give_the_stream(seed: int) -> None:
    rng = random.Random(seed)
    octets = rng.randbytes(5000)
    first = rng.choice([1, 0xFFFFFFFF - 2000])
    parts = [
        TcpSegment("x", b"", (first + 1 + at) & 0xFFFFFFFF, 16, payload)
        for at, payload in _cut(octets, 0, rng)
    ]
    parts += rng.choices(parts, k=20)
    for _ in range(20):
        at = rng.randrange(4800)
        chunk = octets[at : at + rng.randrange(1, 150)]
        parts.append(TcpSegment("x", b"", (first + 1 + at) & 0xFFFFFFFF, 16, chunk))
    rng.shuffle(parts)
    stream = TcpStream("x", Counter())
    out: list[bytes | None] = []
    for part in [TcpSegment("x", b"", first, 2, b""), *parts]:
        out += stream.add(part)
    assert None not in out
    assert b"".join(part or b"" for part in out) == octets
    assert not stream.waiting
    assert stream.held == 0


def _session_octets(mrt: Any, asn: int, count: int) -> bytes:
    octets = message(4, b"\0\2\0\4edge")
    octets += up(header(asn, "192.0.2.1"), open_(1), open_(asn))
    for i in range(count):
        route = update(b"", mrt.attributes([asn, i + 1]), nlri(f"10.{i}.0.0/16"))
        octets += message(0, header(asn, "192.0.2.1") + route)
    return octets


def test_a_gap_costs_what_was_in_it_and_is_counted(mrt: Any, write: Write) -> None:
    rng = random.Random(8)
    octets = _session_octets(mrt, 9, 100)
    parts = [(ROUTER, 5000, seq, 16, payload) for seq, payload in _cut(octets, 1, rng)]
    missing = parts.pop(len(parts) // 2)
    capture = BmpCapture(write(_pcap([(ROUTER, 5000, 0, 2, b""), *parts]), "gap.pcap"))
    capture.run()
    (session,) = capture.sessions.values()
    assert 90 <= len(_rows(capture.ribs, session)) < 100
    assert capture.tally.skipped["gap in a TCP stream"] == 1
    assert capture.tally.skipped["octets missing in TCP streams"] == len(missing[4])
    middle = write(_pcap(parts[5:]), "middle.pcap")
    capture = BmpCapture(middle)
    capture.run()  # begins inside a message: not taken for BMP, and no error
    assert set(capture.tally.skipped) >= {"octets of other TCP streams"}


# snapshots


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake")


def test_a_capture_makes_a_snapshot_for_each_exporter(mrt: Any, write: Write, lake: Lake) -> None:
    segments = []
    for router, port, asn in ((ROUTER, 1, 9), ("2001:db8::7", 2, 10), ("192.0.2.77", 3, 11)):
        segments.append((router, port, 100, 16, _session_octets(mrt, asn, 5)))
    segments.append(("192.0.2.1", 80, 1, 16, b"GET / HTTP/1.1\r\n"))
    path = write(_pcap(segments), "bmp.pcap")
    infos, new = load_capture(lake, path, exporters={ROUTER: "edge1.ams"})
    assert new
    assert {i.vantage: i.views for i in infos} == {
        "": ("AS10@192.0.2.1", "AS11@192.0.2.1"),
        "edge1.ams": ("AS9@192.0.2.1",),
    }
    assert {i.taken_at for i in infos} == {datetime(2026, 1, 1, 0, 0, 2, tzinfo=UTC)}
    assert {(i.kind, i.rows) for i in infos} == {("bmp", 10), ("bmp", 5)}
    assert infos[0].skipped["octets of other TCP streams"] == 16
    assert load_capture(lake, path, exporters={ROUTER: "edge1.ams"}) == (infos, False)
    said: list[str] = []
    assert {i.name for i in load_ribs(lake, [path], said.append, vantage="ams")} == {
        f"{infos[0].name}-ams"
    }
    assert "of ams" in said[0]
    with pytest.raises(InputError, match="no unicast routes of BMP"):
        load_capture(lake, write(_pcap(segments[3:]), "none.pcap"))
    broken = message(0, b"\0" * 5) * 3
    with pytest.raises(InputError, match="3 of 3 BMP messages are broken"):
        load_capture(lake, write(_pcap([(ROUTER, 1, 1, 16, broken)]), "broken.pcap"))


# against another decoder


def _plainly(lines: list[dict[str, Any]]) -> tuple[Routes, int]:
    """The routes that stand after NetGauze's messages, applied one after the other."""
    peers: dict[tuple[str, str], dict[str, Routes]] = {}
    count = 0
    for line in lines:
        message = line.get("V3")
        if message is None:
            continue
        kind, value = next(iter(message.items()))
        if kind not in ("RouteMonitoring", "PeerUpNotification", "PeerDownNotification"):
            continue
        header = value["peer_header"]
        which, flags = next(iter(header["peer_type"].items()))
        if header["rd"] is not None or flags.get("adj_rib_out"):
            continue
        loc = which == "LocRibInstancePeer"
        address = header["bgp_id"] if loc else header["address"]
        peer = (which, "" if loc else address)
        if kind != "RouteMonitoring":
            peers.pop(peer, None)
            continue
        rib = "loc" if loc else "post" if flags["post_policy"] else "pre"
        update = (value.get("update_message") or value["update_pdu"])["Update"]
        withdrawn = list(update["withdrawn_routes"])
        announced = list(update["nlri"])
        path = ""
        for attribute in (a["value"] for a in update["path_attributes"]):
            ((name, content),) = attribute.items()
            if name == "AsPath":
                ((_, segments),) = content.items()
                assert all(s["segment_type"] == "AsSequence" for s in segments)
                path = " ".join(str(a) for s in segments for a in s["as_numbers"])
            elif name in ("MpReach", "MpUnreach"):
                for family in ("Ipv4Unicast", "Ipv6Unicast"):
                    routes = content.get(family, {}).get("nlri", [])
                    (announced if name == "MpReach" else withdrawn).extend(routes)
        view = f"AS{header['peer_as']}@{address}"
        routes = peers.setdefault(peer, {}).setdefault(rib, {})
        for route in withdrawn:
            routes.pop((view, route["network"], route["path_id"]), None)
        for route in announced:
            routes[view, str(ip_network(route["network"], strict=False)), route["path_id"]] = path
            count += 1
    found: Routes = {}
    for ribs in peers.values():
        found |= ribs.get("post") or ribs.get("pre") or ribs.get("loc") or {}
    return found, count


@pytest.mark.parametrize(
    ("name", "unread", "at_least"),
    [
        ("peers-with-different-caps", set(), 1),
        ("pmacct-200-BMP-HUAWEI-locrib_instance", set(), 0),
        ("pmacct-204-BMP-CISCO-peer_down", set(), 1),
        # NetGauze refuses the Peer Up of FRR's own routes, for its BGP identifier 0.0.0.0,
        # and gives it no address.
        ("pmacct-205-BMP-6wind-FRR-peer_down", {"AS0@0.0.0.0", "AS0@None"}, 100),
    ],
)
def test_real_sessions_leave_the_routes_that_another_decoder_tells_of(
    name: str, unread: set[str], at_least: int, shared: Path
) -> None:
    folder = shared / "data" / "bmp"
    with gzip.open(folder / "expect" / f"{name}.bmp.jsonl.gz", "rt") as file:
        lines = [json.loads(line) for line in file]
    capture = BmpCapture(folder / f"{name}.pcap.gz")
    capture.run()
    assert sum(s.messages for s in capture.sessions.values()) == len(lines)
    assert not capture.tally.broken
    found: Routes = {}
    for session in capture.sessions.values():
        found |= _rows(capture.ribs, session)
    expected, count = _plainly(lines)
    assert {k: v for k, v in found.items() if k[0] not in unread} == {
        k: v for k, v in expected.items() if k[0] not in unread
    }
    assert count >= at_least


def test_a_real_session_becomes_a_snapshot(shared: Path, lake: Lake) -> None:
    path = shared / "data" / "bmp" / "akvorado-bmp-reach.pcap.gz"
    (info,), _ = load_capture(lake, path)
    rows = pq.read_table(lake.path(f"routes/{info.name}.parquet")).to_pylist()
    assert info.rows == 10
    assert {r["vantage"]: r["family"] for r in rows} == {
        "AS65011@192.0.2.1": 4,
        "AS65013@2001:db8::3": 6,
        "AS65017@2001:db8::7": 6,
    }
