"""Coverage-guided fuzzing of the entries that are written in Python.

`python tests/fuzz/entries.py --seconds 60 [NAME…]` mutates a corpus of each entry, keeps what
reaches new lines of ours, and stops at the first input that raises anything but the entry's own
errors. The input is left beside the corpus (`--keep DIR`) and belongs into a test.
"""

from __future__ import annotations

import argparse
import os
import random
import struct
import sys
import tempfile
import time
import traceback
import zlib
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

os.environ.setdefault("POLARS_MAX_THREADS", "1")  # twice as many executions with few rows

from flowpeer.configuration import load
from flowpeer.errors import FlowpeerError
from flowpeer.inventory import read_csv
from flowpeer.lake import codec
from flowpeer.lake.manifest import File, Header
from flowpeer.lake.units import UnitRecord
from flowpeer.registry import as_names, ixf, peeringdb
from flowpeer.registry.source_files import parse_json, read_all
from flowpeer.routing import relations
from flowpeer.routing.bgp.adj_rib_in import AdjRibs
from flowpeer.routing.bgp.attributes import AttributeParser, AttributesError
from flowpeer.routing.bgp.messages import MessageError, messages, open_message, update
from flowpeer.routing.bmp.capture import BmpCapture
from flowpeer.routing.bmp.session import BmpSession, LostError
from flowpeer.routing.mrt.table_dump import MrtReader
from flowpeer.routing.rib.prefix_tables import TableReader
from flowpeer.routing.rib.updates import UpdateReader
from flowpeer.rules import fault
from flowpeer_ingest import spool
from flowpeer_ingest.checkpoint import UNREADABLE, Checkpoint
from flowpeer_ingest.datagrams import ENTRY
from flowpeer_ingest.decoder import Decoder
from flowpeer_ingest.errors import IngestError
from flowpeer_ingest.imports.importer import ingest_export, read_mapping
from flowpeer_ingest.ingest import ingest_capture
from flowpeer_ingest.summary import CaptureSummary
from flowpeer_ingest.unit_decoder import UnitDecoder
from flowpeer_ingest.web import HttpResponse, answer

SLOW_S = 0.05
"""Of CPU, for an input of some kB. What seems slower while traced is done again untraced."""
LARGE_OCTETS = 16 << 20
"""More memory at a time than before the input."""
MAX_OCTETS = 1 << 14
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""Where the input is written: to open a file on a disk takes longer than most entries."""
OURS = ("/flowpeer/", "/flowpeer_ingest/", "/flowpeer_core/")
WORDS = (
    b"\x00" * 4, b"\xff" * 4, b"\x80" + bytes(7), b"\x7f" + b"\xff" * 7, b"9223372036854775808",
    b"-1", b"1e400", b"NaN", b"\r", b"\n", b'"', b"[", b"{", b",", b"\xef\xbb\xbf", b"\x1f\x8b",
    b"2026-09-16 01:02:03", b"192.0.2.1", b"::1",
)  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """`call` takes a file; `seeds` are where mutation begins."""

    call: Callable[[Path], object]
    seeds: tuple[bytes, ...]


def _text(path: Path) -> str:
    return path.read_bytes().decode(errors="replace")


# Datagrams, in the readable decoder; tests/fuzz/datagrams.c has the compiled one.


def _frames(octets: bytes) -> list[bytes]:
    """Octets as datagrams, each behind its length."""
    found, at = [], 0
    while at + 2 <= len(octets):
        length = int.from_bytes(octets[at : at + 2], "big")
        found.append(octets[at + 2 : at + 2 + length])
        at += 2 + length
    return found


def _datagrams(path: Path) -> None:
    """Datagrams of one exporter, and the knowledge of it saved and taken up again after each."""
    decoder = Decoder(plain=True)
    unit = UnitDecoder(decoder, lambda *_: None)
    for n, payload in enumerate(_frames(path.read_bytes())):
        unit.datagram(payload, "192.0.2.1", 4000, 1_789_520_523_000_000 + n)
        Checkpoint.of(decoder, n, "").apply(decoder)
    unit.drain(last=True)
    unit.finish()
    unit.summarise(CaptureSummary("fuzz"))


def _checkpoint(path: Path) -> None:
    with suppress(*UNREADABLE):  # what no `of` made: the caller begins again
        Checkpoint(0, "", path.read_bytes()).apply(Decoder(plain=True))


def _known() -> bytes:
    """What a decoder knows after the datagrams below."""
    decoder = Decoder(plain=True)
    unit = UnitDecoder(decoder, lambda *_: None)
    for payload in (_V5, _V9, _IPFIX, _SFLOW):
        unit.datagram(payload, "192.0.2.1", 4000, 1_789_520_523_000_000)
    return Checkpoint.of(decoder, 1, "").document


def _framed(*payloads: bytes) -> bytes:
    return b"".join(len(p).to_bytes(2, "big") + p for p in payloads)


_V5 = struct.pack(">HHIIIIBBH", 5, 1, 9, 1_789_520_523, 0, 0, 0, 0, 0x4064) + bytes(48)
_SETS = (
    struct.pack(">HHHHHHHHHH", 0, 20, 256, 3, 8, 4, 1, 4, 2, 4)
    + struct.pack(">HHIII", 256, 16, 0xC0000201, 1500, 1)
    + struct.pack(">HHHHHHHHHH", 1, 20, 257, 4, 4, 1, 4, 34, 4, 0)
    + struct.pack(">HHII", 257, 12, 0, 100)
)
_V9 = struct.pack(">HHIIII", 9, 4, 9, 1_789_520_523, 0, 7) + _SETS
_IPFIX_SETS = (
    struct.pack(">HHHHHHHHHH", 2, 20, 256, 3, 8, 4, 1, 4, 96, 0xFFFF)
    + struct.pack(">HHII", 256, 19, 0xC0000201, 1500) + b"\x06domain"
    + struct.pack(">HHHHHHHH", 3, 18, 257, 2, 1, 149, 4, 305) + struct.pack(">H", 4)
    + struct.pack(">HHII", 257, 12, 0, 100)
)  # fmt: skip
_IPFIX = struct.pack(">HHIII", 10, 16 + len(_IPFIX_SETS), 1_789_520_523, 0, 7) + _IPFIX_SETS
_PACKET = bytes(12) + b"\x08\x00" + b"\x45" + bytes(8) + b"\x06" + bytes(10) + bytes(28)
_SFLOW_RECORD = struct.pack(">IIIIII", 1, 16 + len(_PACKET), 1, 1500, 4, len(_PACKET)) + _PACKET
_SFLOW_SAMPLE = struct.pack(">IIIIIIII", 1, 3, 1000, 9000, 0, 1, 2, 1) + _SFLOW_RECORD
_SFLOW = (
    struct.pack(">IIIIIII", 5, 1, 0xC0000201, 0, 1, 1000, 1)
    + struct.pack(">II", 1, len(_SFLOW_SAMPLE)) + _SFLOW_SAMPLE
)  # fmt: skip


# Captures


def _udp(payload: bytes, port: int = 2055) -> bytes:
    """An Ethernet frame with a datagram."""
    udp = struct.pack(">HHHH", 4000, port, 8 + len(payload), 0) + payload
    ip = struct.pack(">BBHIBBHII", 0x45, 0, 20 + len(udp), 0, 64, 17, 0, 0xC0000201, 0xC0000202)
    return bytes(12) + b"\x08\x00" + ip + udp


def _tcp(payload: bytes) -> bytes:
    tcp = struct.pack(">HHIIBBHHH", 179, 11019, 1, 0, 0x50, 0x18, 9, 0, 0) + payload
    ip = struct.pack(">BBHIBBHII", 0x45, 0, 20 + len(tcp), 0, 64, 6, 0, 0xC0000201, 0xC0000202)
    return bytes(12) + b"\x08\x00" + ip + tcp


def _pcap(*frames: bytes) -> bytes:
    head = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65_535, 1)
    return head + b"".join(
        struct.pack("<IIII", 1_789_520_523, 0, len(f), len(f)) + f for f in frames
    )


def _block(kind: int, body: bytes) -> bytes:
    body += bytes(-len(body) % 4)
    size = struct.pack("<I", 12 + len(body))
    return struct.pack("<I", kind) + size + body + size


def _pcapng(*frames: bytes) -> bytes:
    head = _block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1))
    head += _block(1, struct.pack("<HHIHHI", 1, 0, 65_535, 9, 1, 9))
    return head + b"".join(
        _block(6, struct.pack("<IIIII", 0, 0, 9, len(f), len(f)) + f) for f in frames
    )


def _capture(path: Path) -> None:
    ingest_capture(path, decoder=Decoder(), write=lambda *_: None)


_FRAMES = (_udp(_V5), _udp(_V9), _udp(_SFLOW, 6343))


# Routes


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack(">BBH", 0x50, kind, len(value)) + value


_ATTRIBUTES = (
    _attribute(1, b"\0") + _attribute(2, struct.pack(">BBII", 2, 2, 64500, 64501))
    + _attribute(3, bytes([192, 0, 2, 1])) + _attribute(4, bytes(4)) + _attribute(5, bytes(4))
    + _attribute(8, struct.pack(">HH", 64500, 1)) + _attribute(32, struct.pack(">III", 1, 2, 3))
)  # fmt: skip
_REACH6 = _attribute(14, struct.pack(">HBB", 2, 1, 16) + bytes(17) + b"\x20\x20\x01\x0d\xb8")
_ROUTE = b"\x18\x08\x08\x08"


def _bgp(kind: int, body: bytes) -> bytes:
    return b"\xff" * 16 + struct.pack(">HB", 19 + len(body), kind) + body


_UPDATE = _bgp(
    2, b"\0\4" + _ROUTE + len(_ATTRIBUTES + _REACH6).to_bytes(2, "big")
    + _ATTRIBUTES + _REACH6 + _ROUTE,
)  # fmt: skip
_CAPABILITIES = b"\x41\x04\0\0\xfb\xf4" + b"\x45\x04\0\1\1\1" + b"\1\4\0\2\0\1"
_OPEN = _bgp(1, struct.pack(">BHHIBBB", 4, 23456, 90, 1, 2 + len(_CAPABILITIES), 2,
                            len(_CAPABILITIES)) + _CAPABILITIES)  # fmt: skip


def _bgp_messages(path: Path) -> None:
    parser = AttributeParser()
    with suppress(MessageError, AttributesError):
        for kind, body in messages(path.read_bytes()):
            if kind == 1:
                open_message(body)
            for add_path in (frozenset[int](), frozenset({4, 6})):
                with suppress(MessageError):
                    change = update(body, add_path)
                    for block, _ in change.announced:
                        for width in (2, 4):
                            with suppress(AttributesError):
                                parser.parse(block, width)


def _bmp(kind: int, body: bytes) -> bytes:
    return struct.pack(">BIB", 3, 6 + len(body), kind) + body


_BMP_PEER = struct.pack(">BBQ", 0, 0, 0) + bytes(12) + bytes([192, 0, 2, 9]) + struct.pack(
    ">IIII", 64500, 1, 1_789_520_523, 0
)  # fmt: skip
_BMP = (
    _bmp(4, b"\0\2\0\5edge1") + _bmp(3, _BMP_PEER + bytes(20) + _OPEN + _OPEN)
    + _bmp(0, _BMP_PEER + _UPDATE) + _bmp(2, _BMP_PEER + b"\1") + _bmp(5, b"\0\1\0\2\0\0")
)  # fmt: skip


def _bmp_session(path: Path) -> None:
    """A stream in two parts, and on after octets that are no message."""
    octets = path.read_bytes()
    session = BmpSession("192.0.2.1", AdjRibs())
    for part in (octets[: len(octets) // 2], octets[len(octets) // 2 :]):
        try:
            session.feed(part)
        except LostError:
            session.lose()
            with suppress(LostError):
                session.resume(part)
    for table in session.ribs.tables(session.chosen()):
        table.validate(full=True)


def _bmp_capture(path: Path) -> None:
    capture = BmpCapture(path)
    capture.run()
    list(capture.ribs.tables())


def _mrt(kind: int, subtype: int, body: bytes) -> bytes:
    return struct.pack(">IHHI", 1_789_520_523, kind, subtype, len(body)) + body


_MRT_PEER = b"\2" + bytes(4) + bytes([192, 0, 2, 9]) + struct.pack(">I", 64500)
_MRT_ENTRY = struct.pack(">HIH", 0, 1_789_520_523, len(_ATTRIBUTES)) + _ATTRIBUTES
_MRT = (
    _mrt(13, 1, bytes(4) + b"\0\0" + b"\0\1" + _MRT_PEER)
    + _mrt(13, 2, bytes(4) + _ROUTE + b"\0\1" + _MRT_ENTRY)
    + _mrt(13, 2, bytes(3) + b"\1" + b"\x18\x08\x08\x09" + b"\0\2" + _MRT_ENTRY * 2)
    + _mrt(13, 4, bytes(3) + b"\2" + b"\x20\x20\x01\x0d\xb8" + b"\0\1" + _MRT_ENTRY)
)
_MRT_UPDATES = _mrt(
    16, 4, struct.pack(">IIHH", 64500, 64501, 0, 1) + bytes([192, 0, 2, 9, 192, 0, 2, 1]) + _UPDATE
) + _mrt(16, 5, struct.pack(">IIHH", 64500, 64501, 0, 1) + bytes(8) + struct.pack(">HH", 6, 1))


def _read_all(reader: Callable[[Path], Any]) -> Callable[[Path], None]:
    def read(path: Path) -> None:
        for table in reader(path):
            table.validate(full=True)

    return read


# Registries


def _peeringdb(path: Path) -> None:
    found, _ = peeringdb._read(path, [path])
    peeringdb._derive(found)
    peeringdb.shape(found)


def _ixf(path: Path) -> None:
    ixf._ports(path, parse_json(read_all(path), str(path)), None, Counter())


_PEERINGDB = (
    b'{"net":{"data":[{"id":1,"org_id":2,"asn":15169,"name":"G","policy_general":"Open",'
    b'"info_prefixes4":9,"info_unicast":true,"updated":"2026-09-16T01:02:03Z","status":"ok"}]},'
    b'"netixlan":{"data":[{"id":1,"net_id":1,"ix_id":3,"asn":15169,"speed":10000,'
    b'"ipaddr4":"192.0.2.1","ipaddr6":"2001:db8::1","is_rs_peer":true,"operational":true}]},'
    b'"ix":[{"id":3,"name":"X","city":"Amsterdam"}],"fac":{"data":[{"id":4,"latitude":52.1}]}}'
)
_IXF = (
    b'{"version":"1.0","ixp_list":[{"ixp_id":1,"peeringdb_id":26,"vlan":[]}],"member_list":['
    b'{"asnum":64500,"connection_list":[{"ixp_id":1,"if_list":[{"if_speed":10000}],"vlan_list":['
    b'{"vlan_id":0,"ipv4":{"address":"192.0.2.1","routeserver":true},"ipv6":{"address":"::1"}}]}]}]}'
)


# Files of ours: a digest or CRC keeps damage out. Here each input gets the right one, so that what
# is behind it is reached too.


def _manifest(path: Path) -> None:
    octets = path.read_bytes()
    sealed = octets + codec._SEAL + sha256(octets).hexdigest().encode() + b'"}\n'
    for document in (octets, sealed):
        for decode in (codec.decode, codec.decode_units, codec.decode_header):
            with suppress(FlowpeerError):
                decode(document, "fuzz")


_HEADER = Header("flows", "2026-09-16T01")
_MANIFESTS = tuple(
    codec.encode(_HEADER, lines)[: -codec._SEAL_OCTETS]
    for lines in (
        [File("flows/date=2026-09-16/hour=01/a.parquet", 1, 9, "00", {"bytes": 100})],
        [UnitRecord("capture-1", {"flows/a.parquet": "00"}, datagrams=1, rejected={"x": 1})],
    )
)


def _spool(path: Path) -> None:
    octets = bytearray(path.read_bytes())
    if len(octets) > spool.PAGE + spool.BLOCK_OCTETS:
        at, body = spool.PAGE, spool.PAGE + spool.BLOCK_OCTETS
        total = int.from_bytes(octets[at + 24 : at + 32], "little")
        struct.pack_into("<I", octets, at + 8, zlib.crc32(octets[body : at + total]))
        struct.pack_into("<I", octets, at + 4, zlib.crc32(octets[at + 8 : body]))
        path.write_bytes(octets)
    for block in spool.read(path):
        block.datagrams()


def _segment() -> bytes:
    """A segment of two datagrams."""
    import numpy as np

    with tempfile.TemporaryDirectory() as folder:
        segment = spool.Segment(
            Path(folder), spool.SegmentName(counter=1, run="0000000a", receiver=0), 1 << 18
        )
        entries = np.zeros(2, ENTRY)
        entries["length"] = 36, 30
        entries["offset"] = 0, 40
        segment.add(entries, _V5)
        sealed = segment.seal()
        assert sealed is not None
        return sealed.read_bytes()


_CSV = b"exporter_ip,received_at,src_addr,dst_addr,bytes,packets,tcp_flags,src_mac,protocol\n"
_ROW = b"192.0.2.1,2026-09-16 01:02:03,198.18.0.1,8.8.8.8,100,1,.AP.S.,aa:bb:cc:dd:ee:ff,TCP\n"
_PMACCT = (
    b'{"event_type":"purge","peer_ip_src":"192.0.2.1","ip_src":"1.1.1.1","ip_dst":"2.2.2.2",'
    b'"stamp_inserted":"2026-09-16 01:02:03","packets":1,"bytes":100,"sampling_rate":10}\n'
)
_JSON = (
    b'{"type":"FLOW","sampler_address":"192.0.2.1","time_received_ns":1789520523000000000,'
    b'"src_addr":"1.1.1.1","dst_addr":"2.2.2.2","bytes":100,"packets":1,"proto":"TCP"}\n'
)
_TOML = (
    b'[network]\nasn = 64500\nname = "x"\nprefixes = ["198.18.0.0/15"]\n[lake]\npath = "lake"\n'
    b'keep_flows = "14d"\n[collector]\nlisten = ["0.0.0.0:2055"]\n[[metros]]\nid = "ams"\n'
    b'name = "A"\n'
    b'[[exporters]]\nid = "e"\nmetro = "ams"\naddresses = ["192.0.2.1"]\n'
    b"[[rules]]\nname = '^(et|xe)-(?P<asn>\\d+)'\nrole = \"ix\"\n"
)
ENTRIES: dict[str, Entry] = {
    "datagrams": Entry(
        _datagrams, (_framed(_V5), _framed(_V9, _V9), _framed(_IPFIX, _IPFIX), _framed(_SFLOW))
    ),
    "checkpoint": Entry(_checkpoint, (_known(),)),
    "pcap": Entry(_capture, (_pcap(), _pcap(*_FRAMES), _pcap(bytes(60)))),
    "pcapng": Entry(_capture, (_pcapng(), _pcapng(*_FRAMES))),
    "mrt": Entry(_read_all(MrtReader), (_MRT,)),
    "mrt_updates": Entry(
        lambda path: UpdateReader(path, AdjRibs(remember_withdrawn=True)).run(), (_MRT_UPDATES,)
    ),
    "prefix_table": Entry(
        _read_all(TableReader), (b"8.8.8.0/24 15169\n", b"prefix,asn\n2001:db8::/32,64500\n")
    ),
    "bmp": Entry(_bmp_session, (_BMP,)),
    "bmp_capture": Entry(_bmp_capture, (_pcap(_tcp(_BMP)),)),
    "bgp": Entry(_bgp_messages, (_OPEN + _UPDATE,)),
    "peeringdb": Entry(_peeringdb, (_PEERINGDB, b'{"data":[{"asn":1,"info_traffic":"x"}]}')),
    "ixf": Entry(_ixf, (_IXF,)),
    "as_names": Entry(
        lambda path: as_names._parse(path, _text(path)), (b"asn,name,cc\n15169,Google,US\n",)
    ),
    "as_relationships": Entry(
        lambda path: relations._parse(path, _text(path)), (b"# clique: 1 2\n1|2|0\n1|3|-1\n",)
    ),
    "export": Entry(
        lambda path: ingest_export(path, write=lambda *_: None),
        (_CSV + _ROW * 2, _JSON * 2, b"[" + _JSON + b"," + _JSON + b"]", _PMACCT),
    ),
    "mapping": Entry(read_mapping, (b'[columns]\nsrc_addr = "A"\n[constants]\nbytes = 1\n',)),
    "settings": Entry(load, (_TOML,)),
    "interfaces": Entry(read_csv, (b"exporter,index,name,role,asn\ne,1,et-0,ix,\n",)),
    "pattern": Entry(lambda path: fault(_text(path)[:500]), (rb"^(\w+\s?)+:.*AS(?P<asn>\d+)",)),
    "spool": Entry(_spool, (bytes(4096), _segment())),
    "manifest": Entry(_manifest, _MANIFESTS),
    "http": Entry(
        lambda path: answer(path.read_bytes(), {"/metrics": lambda: HttpResponse("x")}),
        (b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",),
    ),
}
EXPECTED = (FlowpeerError, IngestError)


class Lines:
    """Lines of our code that were reached between `with` and its end.

    `sys.monitoring` (3.12) costs nothing for a line once it was seen. Before, each call is within
    `sys.settrace(lines.tracer)`, and costs until all lines of its code were seen: a fourth of the
    executions in the same time.
    """

    def __init__(self) -> None:
        self.seen: set[tuple[CodeType, int]] = set()
        self.whole: set[CodeType] = set()
        self.left: dict[CodeType, set[int]] = {}
        self.tracer: Callable[[FrameType, str, Any], Any] | None = self.trace

    def __enter__(self) -> Lines:
        if sys.version_info >= (3, 12):
            self.tracer, tool = None, sys.monitoring
            tool.use_tool_id(tool.COVERAGE_ID, "fuzz")
            tool.register_callback(tool.COVERAGE_ID, tool.events.LINE, self.reached)
            tool.restart_events()
            tool.set_events(tool.COVERAGE_ID, tool.events.LINE)
        return self

    def __exit__(self, *_: object) -> None:
        if sys.version_info >= (3, 12):
            sys.monitoring.set_events(sys.monitoring.COVERAGE_ID, 0)
            sys.monitoring.free_tool_id(sys.monitoring.COVERAGE_ID)

    def reached(self, code: CodeType, line: int) -> Any:
        """What the interpreter calls for a line: not again for this one."""
        if any(part in code.co_filename for part in OURS):
            self.seen.add((code, line))
        return sys.monitoring.DISABLE if sys.version_info >= (3, 12) else None

    def trace(self, frame: FrameType, event: str, _: Any) -> Any:
        """What the interpreter calls for each call, and then for each line."""
        code = frame.f_code
        if event == "call":
            if code in self.whole or not any(part in code.co_filename for part in OURS):
                return None
            if code not in self.left:
                self.left[code] = {line for _, _, line in code.co_lines() if line is not None}
            return self.trace
        line = frame.f_lineno
        if (code, line) not in self.seen:
            self.seen.add((code, line))
            self.left[code].discard(line)
            if not self.left[code]:
                self.whole.add(code)
        return self.trace


def mutated(octets: bytes, dice: random.Random, corpus: list[bytes]) -> bytes:
    """A variation: some octets changed, cut out, doubled, or taken from another input."""
    out = bytearray(octets)
    for _ in range(1 << dice.randrange(4)):
        at = dice.randrange(len(out) + 1)
        kind = dice.randrange(6)
        if kind == 0 and out:
            out[at % len(out)] = dice.randrange(256)
        elif kind == 1 and out:
            out[at % len(out)] ^= 1 << dice.randrange(8)
        elif kind == 2:
            del out[at : at + dice.randrange(1, 16)]
        elif kind == 3:
            out[at:at] = dice.choice(WORDS)
        elif kind == 4:
            out[at:at] = out[at : at + dice.randrange(1, 32)]
        else:
            other = dice.choice(corpus)
            start = dice.randrange(len(other) + 1)
            out[at:at] = other[start : start + dice.randrange(1, 64)]
    return bytes(out[:MAX_OCTETS])


@dataclass
class Run:
    """What came of fuzzing an entry: `found` is the traceback of a find, or empty."""

    name: str
    executions: int = 0
    lines: int = 0
    found: str = ""


def fuzz(
    name: str,
    *,
    seconds: float,
    executions: int = 1 << 62,
    seed: int = 0,
    keep: Path | None = None,
    corpus: Path | None = None,
    costs: bool = False,
) -> Run:
    """Fuzz one entry until it is through, or the first find.

    Args:
        keep: where the input of a find goes.
        corpus: inputs to begin with; what reaches new lines is added.
        costs: an input that takes longer than `SLOW_S`, or more memory than `LARGE_OCTETS`, is a
            find too: on a machine where nothing else disturbs.
    """
    entry, dice, lines, run = ENTRIES[name], random.Random(seed), Lines(), Run(name)
    own = None if corpus is None else corpus / name
    inputs = list(entry.seeds)
    if own is not None:
        own.mkdir(parents=True, exist_ok=True)
        inputs += [path.read_bytes() for path in sorted(own.iterdir())]
    queue = inputs[::-1]  # the seeds first
    end = time.monotonic() + seconds
    with lines, tempfile.TemporaryDirectory(prefix="fuzz-", dir=MEMORY) as folder:
        path = Path(folder) / "input"
        usual = _usual(entry, path) if costs else 0
        while run.executions < executions and time.monotonic() < end:
            octets = queue.pop() if queue else mutated(dice.choice(inputs), dice, inputs)
            path.write_bytes(octets)
            before = len(lines.seen)
            cost = _Cost()
            sys.settrace(lines.tracer)
            try:
                entry.call(path)
            except EXPECTED:
                pass
            except BaseException as error:  # engines panic past Exception
                sys.settrace(None)
                if isinstance(error, KeyboardInterrupt):
                    raise
                run.found = traceback.format_exc()
            finally:
                sys.settrace(None)
            run.executions += 1
            if costs and not run.found and run.executions > len(entry.seeds) and cost.high(usual):
                run.found = _again(entry, path, octets, usual)
            run.lines = len(lines.seen)
            if run.found:
                run.found = _found(name, octets, keep, run.found)
                break
            if run.lines > before:
                inputs.append(octets)
                if own is not None:
                    (own / sha256(octets).hexdigest()[:16]).write_bytes(octets)
    return run


class _Cost:
    """CPU and memory since it was made. The kernel's high-water mark is set back then."""

    def __init__(self) -> None:
        Path("/proc/self/clear_refs").write_text("5")
        self.resident = _memory("VmRSS")
        self.began = time.process_time()

    @property
    def octets(self) -> int:
        """Memory so far, at its most."""
        return _memory("VmHWM") - self.resident

    def high(self, usual: int) -> str:
        """What is beyond the limits, or nothing. `usual`: memory that is no fault of the input."""
        seconds = time.process_time() - self.began
        octets = self.octets - usual
        if seconds > SLOW_S:
            return f"takes {seconds * 1e3:.0f} ms"
        return f"takes {octets >> 20} MiB" if octets > LARGE_OCTETS else ""


def _memory(name: str) -> int:
    text = Path("/proc/self/status").read_text()
    return int(text.partition(f"{name}:")[2].split()[0]) << 10


def _usual(entry: Entry, path: Path) -> int:
    """The memory of the seeds once all is imported: tables that a decoder has for any input."""
    most = 0
    for n, octets in enumerate(entry.seeds * 4):
        path.write_bytes(octets)
        cost = _Cost()
        with suppress(*EXPECTED):
            entry.call(path)
        most = max(most, cost.octets if n >= len(entry.seeds) else 0)
    return most


def _again(entry: Entry, path: Path, octets: bytes, usual: int) -> str:
    """What an input costs without tracing, the least of three times."""
    said = ""
    for _ in range(3):
        path.write_bytes(octets)
        cost = _Cost()
        with suppress(*EXPECTED):
            entry.call(path)
        said = cost.high(usual)
        if not said:
            break
    return said


def _found(name: str, octets: bytes, keep: Path | None, text: str) -> str:
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        (keep / f"{name}-{sha256(octets).hexdigest()[:8]}").write_bytes(octets)
    return f"{octets[:200]!r}\n{text}"


def main() -> int:
    """Fuzz the entries named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*ENTRIES, []], default=[])
    parser.add_argument("--seconds", type=float, default=60, help="for each entry")
    parser.add_argument("--seed", type=int, default=1, help="0: another each time")
    parser.add_argument("--keep", type=Path, default=Path("build/fuzz"))
    parser.add_argument("--corpus", type=Path, help="inputs that reached new lines, kept")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--costs", action="store_true", help="slow and large inputs are finds too")
    words = parser.parse_args()
    one = partial(
        fuzz, seconds=words.seconds, seed=words.seed or time.time_ns(), keep=words.keep,
        corpus=words.corpus, costs=words.costs,
    )  # fmt: skip
    failed = 0
    with ProcessPoolExecutor(words.workers) as pool:
        for run in pool.map(one, words.names or ENTRIES):
            said = f"{run.name}: {run.executions:,} executions, {run.lines:,} lines"
            print(f"{said}{', FOUND' if run.found else ''}", flush=True)
            if run.found:
                print(run.found, flush=True)
                failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main())
