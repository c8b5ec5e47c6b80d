"""The same captures in any order, in any pieces, twice: the same files of traffic (METHODS M2).

Generated exporters announce their rates in all nine ways that there are: an override, a field of
the record, one that is rational, options data of a sampler, of an interface, of everything, of
domain 0 for the other domains, the header of v5, and the configuration. Templates may come last.
"""

from __future__ import annotations

import hashlib
import random
import struct
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import polars as pl
import pytest
from small_network import NETWORK

import flowpeer
from flowpeer.lake.store import Lake
from flowpeer.routing.rib import snapshot

START = 1_751_328_000 + 2_400  # 2025-07-01T00:40:00Z
CONFIG = NETWORK
CONFIGURED = {1: "", 2: "sampling = 300", 3: "sampling_override = 7", 4: "", 5: "", 6: ""}
"""Exporter → what its configuration says. 1 and 2 send v5, 3 and 4 NetFlow v9, 5 and 6 IPFIX."""
BASE = ((8, 4), (12, 4), (10, 4), (14, 4), (2, 4), (1, 4), (61, 1))
TEMPLATES: dict[int, tuple[tuple[int, int], ...]] = {
    256: BASE, 257: (*BASE, (48, 1)), 258: (*BASE, (34, 4)), 259: (*BASE, (305, 4), (306, 4)),
}  # fmt: skip
SAMPLER = ((48, 1), (34, 4))
RATIONAL = ((302, 4), (309, 4), (310, 4))
SCOPED = ((34, 4),)
OPTIONS = {
    9: {300: (((1, 4),), SAMPLER), 301: (((2, 4),), SCOPED), 302: (((1, 4),), SCOPED)},
    10: {300: (((302, 4),), ((309, 4), (310, 4))), 301: (((10, 4),), SCOPED),
         302: (((149, 4),), SCOPED)},
}  # fmt: skip
"""Version → template of options → its scopes and fields: of a sampler, an interface, everything."""


class Datagram(NamedTuple):
    at_s: float
    exporter: int
    payload: bytes


def set_(number: int, body: bytes) -> bytes:
    return struct.pack(">HH", number, 4 + len(body)) + body


def template(version: int, number: int) -> bytes:
    if number in TEMPLATES:
        fields = TEMPLATES[number]
        body = struct.pack(">HH", number, len(fields))
        return set_(0 if version == 9 else 2, body + pairs(fields))
    scopes, fields = OPTIONS[version][number]
    if version == 9:
        head = struct.pack(">HHH", number, 4 * len(scopes), 4 * len(fields))
        return set_(1, head + pairs((*scopes, *fields)))
    head = struct.pack(">HHH", number, len(scopes) + len(fields), len(scopes))
    return set_(3, head + pairs((*scopes, *fields)))


def pairs(fields: tuple[tuple[int, int], ...]) -> bytes:
    return b"".join(struct.pack(">HH", *f) for f in fields)


def rate(version: int, number: int, dice: random.Random) -> bytes:
    n = dice.choice([10, 64, 1000, 4096])
    if number == 300 and version == 9:
        return set_(300, struct.pack(">IBI", 0, dice.choice([1, 2]), n))
    if number == 300:
        return set_(300, struct.pack(">III", dice.choice([1, 2]), dice.choice([1, 2, 3]), n))
    if number == 301:
        return set_(301, struct.pack(">II", dice.choice([10, 11]), n))
    return set_(302, struct.pack(">II", 0, n))


def data(number: int, dice: random.Random) -> bytes:
    body = b""
    for _ in range(dice.randint(1, 3)):
        came, left = dice.choice([(10, 20), (20, 10), (20, 11), (11, 20), (10, 11)])
        packets = dice.randint(1, 9)
        remote, own = bytes([20, 0, 0, dice.randint(1, 9)]), bytes([198, 18, 0, 1])
        ends = (own, remote) if came == 20 else (remote, own)
        body += struct.pack(">4s4sIIIIB", *ends, came, left, packets,
                            packets * dice.randint(40, 1500), dice.choice([0, 0, 1]))  # fmt: skip
        if number == 257:
            body += bytes([dice.choice([1, 2, 3])])
        elif number == 258:
            body += struct.pack(">I", dice.choice([100, 2048]))
        elif number == 259:
            body += struct.pack(">II", 2, dice.choice([3, 5]))
    return set_(number, body)


def v5(now: int, sequence: int, dice: random.Random, sampling: int) -> bytes:
    packets = dice.randint(1, 9)
    head = struct.pack(">HHIIIIBBH", 5, 1, 100_000, now, 0, sequence, 0, 0, sampling)
    return head + struct.pack(
        ">4s4s4sHHIIIIHHBBBBHHBBH", bytes([198, 18, 0, 1]), bytes([20, 0, 0, 1]), bytes(4), 20,
        dice.choice([10, 11]), packets, packets * 700, 90_000, 95_000, 1, 2, 0, 16, 6, 0, 0, 0, 24,
        24, 0,
    )  # fmt: skip


def world(seed: int) -> list[Datagram]:
    """Datagrams of all exporters in the order of their receipt, no two at one moment."""
    dice = random.Random(seed)
    made: list[Datagram] = []
    for exporter in CONFIGURED:
        version = 5 if exporter < 3 else 9 if exporter < 5 else 10
        sets: list[tuple[int, bytes]] = []
        for domain in (0, 5) if version != 5 else ():
            used = dice.sample(sorted(TEMPLATES), 2)
            told = dice.sample(sorted(OPTIONS[version]), dice.randint(0, 3))
            mine = [template(version, n) for n in (*used, *told)]
            mine += [data(dice.choice(used), dice) for _ in range(8)]
            mine += [rate(version, n, dice) for n in told for _ in range(dice.randint(1, 2))]
            sets += [(domain, each) for each in mine]
        dice.shuffle(sets)
        times = sorted(dice.sample(range(3_000), len(sets) or 12))
        sequence = {0: 0, 5: 0}
        for n, second in enumerate(times):
            at, now = START + second + exporter / 10, START + second
            if version == 5:
                payload = v5(now, n, dice, 0 if exporter == 2 else dice.choice([100, 1000]))
            else:
                domain, body = sets[n]
                if version == 9:
                    payload = struct.pack(">HHIIII", 9, 1, 10_000, now, sequence[domain], domain)
                else:
                    payload = struct.pack(
                        ">HHIII", 10, 16 + len(body), now, sequence[domain], domain
                    )
                sequence[domain] += 1
                payload += body
            made.append(Datagram(at, exporter, payload))
    return sorted(made)


def capture(path: Path, datagrams: list[Datagram]) -> Path:
    out = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262_144, 101)
    for at, exporter, payload in datagrams:
        packet = struct.pack(
            ">BBHHHBBH4s4sHHHH", 0x45, 0, 28 + len(payload), 1, 0, 64, 17, 0,
            bytes([192, 0, 2, exporter]), bytes([198, 51, 100, 9]), 40_000, 2055,
            8 + len(payload), 0,
        ) + payload  # fmt: skip
        size = len(packet)
        out += struct.pack("<IIII", int(at), round(at % 1 * 1e6), size, size) + packet
    path.write_bytes(out)
    return path


def rolled_up(folder: Path, captures: list[Path]) -> tuple[dict[str, str], int, int]:
    """Digests of the files of traffic, the records that they are of, and their scaled bytes."""
    folder.mkdir()
    text = CONFIG
    for exporter, more in CONFIGURED.items():
        name = f"e{exporter}"
        text += f'[[exporters]]\nid = "{name}"\nmetro = "ams"\naddresses = ["192.0.2.{exporter}"]\n'
        text += more + "\n"
        for index, role in ((10, "transit"), (11, "transit"), (20, "internal")):
            text += f'[[interfaces]]\nexporter = "{name}"\nindex = {index}\nrole = "{role}"\n'
            text += f"asn = {1299 + index}\n" if role == "transit" else ""
    (folder / "flowpeer.toml").write_text(text)
    (folder / "rib.txt").write_text("20.0.0.0/8\t13335\n")
    lake = Lake(folder / "lake")
    snapshot.load(lake, folder / "rib.txt", taken_at=datetime(2025, 6, 30, tzinfo=UTC))
    network = flowpeer.open(folder / "flowpeer.toml")
    for path in captures:
        network.ingest(path)
    network.rollup()
    checked = network.verify()
    assert checked.identities["holds"].all()
    sums = pl.read_parquet(f"{lake.root}/traffic/**/*.parquet", hive_partitioning=False)
    return {
        str(p.relative_to(lake.root)): hashlib.sha256(p.read_bytes()).hexdigest()
        for table in ("traffic", "traffic_routes")
        for p in sorted(lake.root.glob(f"{table}/*/*/*.parquet"))
    }, *(int(sums[name].sum()) for name in ("records", "bytes"))


SEEDS = [0, 1, 2, *(pytest.param(n, marks=pytest.mark.soak) for n in range(3, 60))]


@pytest.mark.parametrize("seed", SEEDS)
def test_any_order_any_pieces_twice_give_the_same_traffic(tmp_path: Path, seed: int) -> None:
    datagrams = world(seed)
    dice = random.Random(seed + 1_000)
    (tmp_path / "captures").mkdir()
    whole = capture(tmp_path / "captures" / "whole.pcap", datagrams)
    cuts = sorted(dice.sample(range(1, len(datagrams)), dice.randint(1, 4)))
    pieces = [
        capture(tmp_path / "captures" / f"{n}.pcap", datagrams[begin:end])
        for n, (begin, end) in enumerate(zip([0, *cuts], [*cuts, None], strict=True))
    ]
    expected = rolled_up(tmp_path / "whole", [whole])
    assert expected[1] > 0
    order = dice.sample(pieces, len(pieces))
    assert rolled_up(tmp_path / "pieces", [*order, *order]) == expected
