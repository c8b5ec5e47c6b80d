"""From records to export packets: headers, sequence numbers, templates, options, a pcap file.

The whole capture is one array of octets; headers and records are scattered into it.
"""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from flowpeer_sample import world as w
from flowpeer_sample.dice import below
from flowpeer_sample.records import records
from flowpeer_sample.wire import (
    BOOT_MS,
    SAMPLER_ID,
    SAMPLER_OCTETS,
    DataTemplate,
    choose,
    encode,
    layouts,
)

Ints = NDArray[np.int64]

LARGEST = 1400  # octets of UDP payload
PORT = 2055
REFRESH = 300  # seconds between templates, and between options
LATE_OPTIONS = 440  # seconds: the exporter that announces its sampler late


@dataclass(frozen=True, slots=True)
class _Control:
    """A datagram of templates and options: second, sets, and the data records in them."""

    second: int
    sets: bytes
    records: int


@dataclass(frozen=True, slots=True)
class _Version:
    """Numbers that differ between the formats: message header, set ids."""

    header: int
    template_set: int
    options_set: int


_VERSIONS = {"netflow5": _Version(24, 0, 0), "netflow9": _Version(20, 0, 1),
             "ipfix": _Version(16, 2, 3)}  # fmt: skip


def _set(number: int, body: bytes) -> bytes:
    body += bytes(-len(body) % 4)
    return struct.pack("!HH", number, len(body) + 4) + body


def _options(exporter: w.Exporter) -> tuple[bytes, bytes]:
    """The options template set and its data set that tell the sampling rate."""
    octets, sampler = SAMPLER_OCTETS[exporter.metro], SAMPLER_ID[exporter.metro]
    if exporter.format == "netflow9":  # RFC 3954 section 6.1: scope 1 = system, lengths in octets
        fields = struct.pack("!HHHHHHHH", 1, 4, 48, octets, 49, 1, 50, 4)
        template = struct.pack("!HHH", 300, 4, 12) + fields
        body = bytes(4) + sampler.to_bytes(octets, "big") + b"\x02" + struct.pack("!I", w.SAMPLING)
        return _set(1, template), _set(300, body)
    # RFC 7011 section 3.4.2.2, RFC 5477: scope selectorId; 1 packet of every 1 + 999
    fields = struct.pack("!HHHHHHHH", 302, octets, 304, 2, 305, 4, 306, 4)
    template = struct.pack("!HHH", 300, 4, 1) + fields
    body = sampler.to_bytes(octets, "big") + struct.pack("!HII", 1, 1, w.SAMPLING - 1)
    return _set(3, template), _set(300, body)


def _control(exporter: w.Exporter, plan: tuple[DataTemplate, ...]) -> list[_Control]:
    if not plan:
        return []
    version = _VERSIONS[exporter.format]
    templates = _set(version.template_set, b"".join(p.definition() for p in plan))
    made = []
    for second in range(0, 86_400, REFRESH):
        made.append(_Control(second, templates, 0))
        if exporter.rate == "options":
            made.append(_Control(second, b"".join(_options(exporter)), 1))
        elif exporter.rate == "options-late":
            made.append(_Control(second + LATE_OPTIONS % REFRESH, b"".join(_options(exporter)), 1))
    if exporter.rate == "options-late":
        made = [c for c in made if not c.records or c.second >= LATE_OPTIONS]
    return made


@dataclass(slots=True)
class _Data:
    """Data packets: the records [first, first + count) of layout `layout`, in export order."""

    order: Ints  # rows of the records, grouped by packet
    first: Ints
    count: Ints
    layout: Ints
    second: Ints


def _packets(export: Ints, chosen: Ints, room: list[int]) -> _Data:
    """Groups records of the same second and layout, at most `room[layout]` to a packet."""
    order = np.lexsort((chosen, export))
    key = export[order] * 4 + chosen[order]
    begins = np.flatnonzero(np.diff(key, prepend=key[0] - 1))
    size = np.diff(np.append(begins, len(key)))
    place = np.arange(len(key)) - np.repeat(begins, size)
    limit = np.array(room, np.int64)[chosen[order]]
    first = np.flatnonzero(place % limit == 0)
    count = np.diff(np.append(first, len(key)))
    return _Data(order, first, count, chosen[order][first], export[order][first])


def _bytes(array: NDArray[np.void]) -> NDArray[np.uint8]:
    """A structured array as one row of octets per element."""
    return array.view(np.uint8).reshape(len(array), array.dtype.itemsize)


def _scatter(buffer: NDArray[np.uint8], at: Ints, rows: NDArray[np.uint8]) -> None:
    step = 65_536  # in blocks, so that the index array stays in the cache's reach
    width = np.arange(rows.shape[1])
    for k in range(0, len(at), step):
        buffer[at[k : k + step, None] + width] = rows[k : k + step]


def capture(metro: str, until: int = 86_400, day: int = 0) -> bytes:
    """The pcap file of a metro's exporter for the seconds before `until` of a day.

    Sequence numbers of the day after go on where those of the day before ended.
    """
    exporter = w.EXPORTER[metro]
    version = _VERSIONS[exporter.format]
    five = exporter.format == "netflow5"
    plan = layouts(metro)
    rows = records(metro, day)
    kept = np.flatnonzero(rows.export < until)
    chosen = choose(metro, rows)[kept]
    widths = [48] if five else [p.dtype.itemsize for p in plan]
    room = [(LARGEST - version.header - 8) // width for width in widths]
    data = _packets(rows.export[kept], chosen, room)
    data.order = kept[data.order]
    control = [c for c in _control(exporter, plan) if c.second < until]

    set_header = 0 if five else 4
    body = data.count * np.array(widths, np.int64)[data.layout] + set_header
    padding = -body % 4
    n_control = len(control)
    second = np.concatenate([np.array([c.second for c in control], np.int64), data.second])
    inner = np.concatenate([np.array([len(c.sets) for c in control], np.int64), body + padding])
    counts = np.concatenate([np.array([c.records for c in control], np.int64), data.count])
    is_data = np.arange(len(second)) >= n_control
    order = np.lexsort((np.arange(len(second)), second))  # templates first within a second
    second, inner, counts, is_data = second[order], inner[order], counts[order], is_data[order]
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))

    six = ":" in exporter.address
    lead = 16 + 14 + (40 if six else 20) + 8  # pcap record, Ethernet, IP, UDP headers
    payload = inner + version.header
    begin = 24 + np.concatenate([[0], np.cumsum(payload + lead)])[:-1]
    buffer = np.zeros(int(24 + (payload + lead).sum()), np.uint8)
    buffer[:24] = np.frombuffer(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1), np.uint8)

    at = begin + lead
    sent = _sent(metro) if day else (0, 0)
    second = second + day * 86_400
    _scatter(buffer, at, _message_headers(exporter, second, counts, payload, is_data, sent))
    at += version.header
    for k, c in enumerate(control):
        spot = int(at[rank[k]])
        buffer[spot : spot + len(c.sets)] = np.frombuffer(c.sets, np.uint8)
    data_at = at[rank[n_control:]]
    if not five:
        head = np.zeros(len(data_at), np.dtype([("id", ">u2"), ("length", ">u2")]))
        head["id"] = np.array([p.template for p in plan])[data.layout]
        head["length"] = body + padding
        _scatter(buffer, data_at, _bytes(head))
    packet = np.repeat(np.arange(len(data.first)), data.count)
    place = np.arange(len(packet)) - data.first[packet]
    for number, width in enumerate(widths):
        mine = np.flatnonzero(data.layout[packet] == number)
        octets = encode(metro, rows, data.order[mine], plan[number] if plan else None, day)
        where = data_at[packet[mine]] + set_header + place[mine] * width
        _scatter(buffer, where, np.frombuffer(octets, np.uint8).reshape(-1, width))
    _frames(buffer, exporter, begin, payload, second)
    return buffer.tobytes()


@cache
def _sent(metro: str) -> tuple[int, int]:
    """Datagrams, and records in them, of a metro's exporter on the whole first day."""
    exporter = w.EXPORTER[metro]
    plan = layouts(metro)
    header = _VERSIONS[exporter.format].header
    widths = [48] if not plan else [p.dtype.itemsize for p in plan]
    rows = records(metro)
    room = [(LARGEST - header - 8) // width for width in widths]
    data = _packets(rows.export, choose(metro, rows), room)
    control = _control(exporter, plan)
    return len(control) + len(data.first), sum(c.records for c in control) + len(rows.stream)


def _message_headers(
    exporter: w.Exporter, second: Ints, counts: Ints, payload: Ints, is_data: NDArray[np.bool_],
    sent: tuple[int, int],
) -> NDArray[np.uint8]:  # fmt: skip
    n = len(second)
    unix = second + w.DAY
    uptime = (second * 1000 + BOOT_MS[exporter.metro]) % (1 << 32)
    before = np.concatenate([[0], np.cumsum(counts)])[:-1] + sent[1]
    if exporter.format == "netflow5":
        head = np.zeros(n, np.dtype([
            ("version", ">u2"), ("count", ">u2"), ("uptime", ">u4"), ("unix", ">u4"),
            ("nanos", ">u4"), ("sequence", ">u4"), ("engine", ">u2"), ("sampling", ">u2"),
        ]))  # fmt: skip
        head["version"], head["count"], head["uptime"], head["unix"] = 5, counts, uptime, unix
        head["sequence"], head["engine"] = before, exporter.domain
        head["sampling"] = 1 << 14 | w.SAMPLING if exporter.rate == "header" else 0
    elif exporter.format == "netflow9":
        head = np.zeros(n, np.dtype([
            ("version", ">u2"), ("count", ">u2"), ("uptime", ">u4"), ("unix", ">u4"),
            ("sequence", ">u4"), ("source", ">u4"),
        ]))  # fmt: skip
        # count is of records of all kinds: templates and options templates too (RFC 3954 s. 5.1)
        plan = layouts(exporter.metro)
        head["version"], head["unix"], head["uptime"] = 9, unix, uptime
        head["count"] = np.where(is_data, counts, np.where(counts == 0, len(plan), 2))
        head["sequence"], head["source"] = np.arange(n) + sent[0], exporter.domain
    else:
        head = np.zeros(n, np.dtype([
            ("version", ">u2"), ("length", ">u2"), ("unix", ">u4"), ("sequence", ">u4"),
            ("domain", ">u4"),
        ]))  # fmt: skip
        head["version"], head["length"], head["unix"] = 10, payload, unix
        head["sequence"], head["domain"] = before, exporter.domain
    return _bytes(head)


def _folded(sums: NDArray[np.int64]) -> NDArray[np.int64]:
    for _ in range(3):
        sums = (sums & 0xFFFF) + (sums >> 16)
    return ~sums & 0xFFFF


def _sum16(octets: NDArray[np.uint8], begin: Ints, end: Ints) -> NDArray[np.int64]:
    """Sums of the big-endian 16-bit words of [begin, end), all even."""
    words = octets.view(">u2")
    edges = np.stack([begin // 2, end // 2], axis=1).ravel()
    if edges[-1] == len(words):
        words = np.append(words, np.zeros(1, ">u2"))
    return np.add.reduceat(words.astype(np.int64), edges)[::2]


def _frames(
    buffer: NDArray[np.uint8], exporter: w.Exporter, begin: Ints, payload: Ints, second: Ints
) -> None:
    """pcap record, Ethernet, IP and UDP headers with their checksums, before each payload."""
    n = len(begin)
    six = ":" in exporter.address
    ip = 40 if six else 20
    collector = ipaddress.ip_address("2001:db8:ffff::5" if six else "192.0.2.5").packed
    source = ipaddress.ip_address(exporter.address).packed
    head = np.zeros(n, np.dtype([("second", "<u4"), ("micro", "<u4"), ("kept", "<u4"),
                                 ("whole", "<u4")]))  # fmt: skip
    head["second"] = second + w.DAY
    # datagrams of one second leave one after the other, some tens of microseconds apart
    run = np.arange(n) - np.searchsorted(second, second)
    head["micro"] = 400 + run * 60 + below(f"{exporter.id}/wire", n, 50)
    frame = payload + 14 + ip + 8
    head["kept"] = head["whole"] = frame
    _scatter(buffer, begin, _bytes(head))
    ethernet = bytes.fromhex("02000000000502000000000a") + (b"\x86\xdd" if six else b"\x08\x00")
    _scatter(buffer, begin + 16, np.tile(np.frombuffer(ethernet, np.uint8), (n, 1)))
    if six:
        layer3 = np.zeros(n, np.dtype([("first", ">u4"), ("length", ">u2"), ("next", "u1"),
                                       ("hops", "u1"), ("ends", "S32")]))  # fmt: skip
        layer3["first"], layer3["length"], layer3["next"], layer3["hops"] = (
            0x60000000, payload + 8, 17, 64)  # fmt: skip
    else:
        layer3 = np.zeros(n, np.dtype([
            ("first", ">u2"), ("length", ">u2"), ("id", ">u2"), ("flags", ">u2"), ("ttl", "u1"),
            ("protocol", "u1"), ("checksum", ">u2"), ("ends", "S8"),
        ]))  # fmt: skip
        layer3["first"], layer3["length"], layer3["id"] = 0x4500, payload + 28, np.arange(n) % 65536
        layer3["ttl"], layer3["protocol"] = 64, 17
    octets = _bytes(layer3)
    octets[:, -2 * len(source) :] = np.frombuffer(source + collector, np.uint8)
    _scatter(buffer, begin + 30, octets)
    udp = np.zeros(n, np.dtype([("from", ">u2"), ("to", ">u2"), ("length", ">u2"),
                                ("checksum", ">u2")]))  # fmt: skip
    udp["from"], udp["to"], udp["length"] = 50_000 + exporter.domain % 1000, PORT, payload + 8
    at = begin + 30 + ip
    _scatter(buffer, at, _bytes(udp))
    if not six:
        sums = _folded(_sum16(buffer, begin + 30, at))
        _scatter(buffer, begin + 40, sums.astype(">u2").view(np.uint8).reshape(n, 2))
    pseudo = sum(struct.unpack(f"!{len(source)}H", source + collector)) + 17
    sums = _folded(_sum16(buffer, at, at + 8 + payload) + pseudo + payload + 8)
    sums = np.where(sums == 0, 0xFFFF, sums)
    _scatter(buffer, at + 6, sums.astype(">u2").view(np.uint8).reshape(n, 2))
