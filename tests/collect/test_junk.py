"""Junk and forgery beside good traffic: the totals stay as they are, and memory within bounds."""

from __future__ import annotations

import random
import socket
import struct
import time
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from collector_rig import FIRST_BYTES, RATE, Rig, numbered

pytestmark = pytest.mark.slow


MEMORY_BOUND = 64 << 20


def forged_template(chance: random.Random, domain: int, number: int, fields: int = 40) -> bytes:
    """A v9 template that nobody else has."""
    body = b"".join(struct.pack(">HH", chance.randrange(1, 400), 4) for _ in range(fields))
    head = struct.pack(">HHIIII", 9, 1, 1, 1, chance.getrandbits(32), domain)
    return head + struct.pack(">HHHH", 0, 8 + len(body), number, fields) + body


def junk(chance: random.Random) -> Iterator[bytes]:
    """Noise, and good datagrams with some octets changed, cut or added."""
    while True:
        kind = chance.randrange(4)
        if kind == 0:
            yield chance.randbytes(chance.randrange(1_500))
        elif kind == 1:
            good = bytearray(numbered(chance.randrange(10**6)))
            for _ in range(chance.randrange(1, 6)):
                good[chance.randrange(len(good))] = chance.randrange(256)
            yield bytes(good[: chance.randrange(len(good) + 1)])
        elif kind == 2:
            version = chance.choice((5, 9, 10, 0))
            yield struct.pack(">HH", version, chance.getrandbits(16)) + chance.randbytes(60)
        else:
            yield forged_template(chance, chance.randrange(9), chance.randrange(256, 300))


class Spoofer:
    """Sends from any address of 127.0.0.0/8."""

    def __init__(self, port: int) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.target = ("127.0.0.1", port)

    def send(self, payload: bytes, source: int) -> None:
        info = struct.pack("=I4s4s", 0, IPv4Address(source).packed, bytes(4))
        self.socket.sendmsg([payload], [(socket.IPPROTO_IP, 8, info)], 0, self.target)  # IP_PKTINFO


@pytest.fixture
def rig(rig: Rig) -> Rig:
    """One whose memory is its own: nothing in it was imported for other commands."""
    rig.warm = False
    return rig


def resident(rig: Rig) -> int:
    """Octets of memory of the collector's processes; mapped files are the page cache's."""
    assert rig.process is not None
    octets = 0
    for pid in (rig.process.pid, rig.watermark()["pid"]):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        octets += sum(int(li.split()[1]) * 1024 for li in lines if li.startswith("RssAnon:"))
    return octets


def good_rows(rig: Rig) -> list[int]:
    """The numbers of the good sender's datagrams."""
    found: list[int] = []
    for file in (rig.folder / "lake" / "flows").rglob("*.parquet"):
        table = pq.ParquetFile(file).read(columns=["exporter_ip", "observation_domain", "bytes"])
        rows = zip(*(table[c].to_pylist() for c in table.column_names), strict=True)
        found += [n - FIRST_BYTES for ip, domain, n in rows if (ip, domain) == ("127.0.0.1", 7)]
    return sorted(found)


def test_junk_and_forged_templates_change_no_total_of_others(rig: Rig) -> None:
    chance = random.Random(8)
    rig.start()
    noise = junk(chance)
    spoofer = Spoofer(rig.port)
    for _ in range(40):
        rig.send(100)
        for _ in range(250):
            spoofer.send(next(noise), int(IPv4Address("127.9.0.0")) + chance.randrange(64))
        # The good exporter's own address, domain and template number, from another port.
        spoofer.send(forged_template(chance, 7, 256, 9), int(IPv4Address("127.0.0.1")))
    everything = 40 * (100 + 250 + 1)
    rig.decoded(everything)
    last = rig.end()
    spoofer.socket.close()
    assert good_rows(rig) == list(range(4_000))
    assert last["exporters"]["127.0.0.1"]["lost"] == 0
    totals = last["totals"]
    heard = sum(e["datagrams"] for e in last["exporters"].values())
    assert totals["datagrams"] == everything == heard + sum(last["rejected"].values())
    assert totals["records"] == totals["rows"] + sum(last["implausible"].values())
    rig.clean()


def test_a_flood_of_forged_sources_and_templates_stays_within_its_memory(rig: Rig) -> None:
    chance = random.Random(9)
    rig.start()
    for _ in range(2):  # what decoding takes for itself
        rig.send(RATE // 4)
        rig.until(lambda: rig.status()["totals"].get("datagrams", 0) == rig.sent)
    before = resident(rig)
    spoofer = Spoofer(rig.port)
    base = int(IPv4Address("127.64.0.0"))
    for i in range(60_000):
        source = base + chance.randrange(1 << 20)
        spoofer.send(forged_template(chance, chance.randrange(1 << 31), 256 + i % 1_000), source)
        if i % 100 == 0:
            time.sleep(0.002)
        if i % 500 == 0:
            rig.send(10)
    everything = rig.sent + 60_000
    rig.decoded(everything)
    grown = resident(rig) - before
    last = rig.end()
    spoofer.socket.close()
    assert grown <= MEMORY_BOUND, f"{grown >> 20} MiB"
    assert good_rows(rig) == list(range(rig.sent))
    assert last["rejected"]["too many exporters that are not in the configuration"] > 10_000
