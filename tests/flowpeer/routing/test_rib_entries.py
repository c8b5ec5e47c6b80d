"""Reading many records and blocks at once gives what reading them one by one gives."""

from __future__ import annotations

import random
import struct
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from effort import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowpeer.errors import InputError
from flowpeer.routing.bgp import route_columns
from flowpeer.routing.bgp.attribute_columns import MOST_ATTRIBUTES, parse_blocks
from flowpeer.routing.bgp.attributes import AttributeParser, AttributesError
from flowpeer.routing.mrt import framing, rib_entries
from flowpeer.routing.mrt.table_dump import MrtReader

ALIKE = settings(
    max_examples=examples(150),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def _read(path: Path) -> tuple[Any, ...]:
    """All that a reader says of a file."""
    reader = MrtReader(path)
    rows: list[dict[str, Any]] = []
    fault = ""
    try:
        for table in reader:
            table.validate(full=True)
            rows += table.to_pylist()
    except InputError as error:
        fault = str(error)
    tally = reader.tally
    return rows, reader.views, tally.records, tally.broken, tally.skipped, fault


def _one_by_one(path: Path) -> tuple[Any, ...]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MrtReader, "_many", lambda self, buffer, at: at)
        return _read(path)


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """However few there are, they are read in batches."""
    monkeypatch.setattr(rib_entries, "FEWEST_RECORDS", 1)
    monkeypatch.setattr(route_columns, "FEW_BLOCKS", 1)


def _block(mrt: Any, rng: random.Random, nlri: bytes) -> bytes:
    """Attributes as routers write them, and as they should not."""
    path: list[Any] = [rng.choice((7, 64500, 4200000000)) for _ in range(rng.randrange(4))]
    if rng.random() < 0.1:
        path.append((64500, 64501))
    hop = rng.choice((None, "192.0.2.1", "0.0.0.0", "2001:db8::1", "::"))
    block: bytes = mrt.attributes(
        path,
        next_hop=hop,
        med=rng.choice((None, 0, 4294967295)),
        local_pref=rng.choice((None, 100)),
        communities=[(1, 2)] * rng.randrange(3),
        large=[(4200000000, 1, 2)] * rng.choice((0, 0, 2)),
        whole_reach=rng.random() < 0.5,
    )
    odd = rng.randrange(14)
    if odd == 0:
        block += mrt.attribute(4, bytes(rng.randrange(6)))
    elif odd == 1:
        block += mrt.attribute(rng.choice((2, 3, 8, 14, 17, 32)), rng.randbytes(rng.randrange(20)))
    elif odd == 2:
        block += mrt.attribute(rng.randrange(256), rng.randbytes(rng.choice((0, 3, 300))))
    elif odd == 3:
        block += rng.randbytes(rng.randrange(4))
    elif odd == 4:
        block += mrt.attribute(2, bytes([3, 1, 0, 0, 255, 1, 2, 1, 0, 0, 0, 9]))
    elif odd == 5:
        block = b""
    elif odd == 6:
        block = mrt.attribute(1, b"\0") * (MOST_ATTRIBUTES + 2)
    elif odd in (7, 8, 9):
        hop_ = rng.choice((bytes(16), rng.randbytes(32), b"1234", b""))
        reach = struct.pack(">HBB", 2, 1, len(hop_)) + hop_ + b"\0" + nlri
        block = mrt.as_path([64500, rng.randrange(3)]) + mrt.attribute(14, reach, 0x80)
    elif odd == 10:
        block += nlri  # ends like a whole MP_REACH_NLRI and is none
    return block


def _table(mrt: Any, rng: random.Random) -> bytes:
    octets: bytes = mrt.peers([(64500 + n, f"192.0.2.{n + 1}") for n in range(3)])
    for _ in range(rng.randrange(1, 60)):
        six = rng.random() < 0.4
        length = rng.choice((0, 1, 8, 20, 24, 32) if not six else (0, 7, 32, 48, 96, 127, 128))
        bits = rng.choice((0, rng.getrandbits(128), 0xFFFF << 32)) if six else rng.getrandbits(32)
        network = ip_network((bits.to_bytes(16 if six else 4, "big"), length), strict=False)
        nlri = bytes([length]) + network.network_address.packed[: (length + 7) // 8]
        of = [
            (rng.choice((0, 1, 2, 2, 3 if rng.random() < 0.02 else 0)), _block(mrt, rng, nlri))
            for _ in range(rng.randrange(5))
        ]
        ids = [rng.getrandbits(32) for _ in of] if rng.random() < 0.2 else None
        octets += mrt.rib(str(network), of, path_ids=ids)
        if rng.random() < 0.05:
            octets += mrt.record(13, rng.choice((1, 6, 77)), rng.randbytes(12))
        if rng.random() < 0.05:
            octets += mrt.peers([(65000, "2001:db8::7"), (64999, "192.0.2.9"), (7, "192.0.2.1")])
        if rng.random() < 0.05:
            octets += mrt.old("10.0.0.0/8", 7, "192.0.2.1", mrt.as_path([7, 8], width=2))
    return octets


@ALIKE
@given(seed=st.integers(0, 2**32), block=st.sampled_from([40, 700, 1 << 22]))
def test_lots_give_what_single_records_give(
    mrt: Any, always: None, tmp_path: Path, seed: int, block: int
) -> None:
    path = tmp_path / "rib.mrt"
    path.write_bytes(_table(mrt, random.Random(seed)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(framing, "BLOCK", block)
        assert _read(path) == _one_by_one(path)


@ALIKE
@given(seed=st.integers(0, 2**32), block=st.sampled_from([40, 700, 1 << 22]))
def test_lots_of_damaged_records_give_what_single_ones_give(
    mrt: Any, always: None, tmp_path: Path, seed: int, block: int
) -> None:
    rng = random.Random(seed)
    damaged = bytearray(_table(mrt, rng))
    for _ in range(rng.choice((1, 3, 30))):
        damaged[rng.randrange(len(damaged))] = rng.choice((0, 1, 255, rng.randrange(256)))
    if rng.random() < 0.3:
        del damaged[rng.randrange(len(damaged)) :]
    if rng.random() < 0.3:
        at = rng.randrange(len(damaged) + 1)
        damaged[at:at] = rng.randbytes(rng.randrange(40))
    path = tmp_path / "rib.mrt"
    path.write_bytes(bytes(damaged))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(framing, "BLOCK", block)
        assert _read(path) == _one_by_one(path)


@ALIKE
@given(seed=st.integers(0, 2**32))
def test_parsed_blocks_are_those_of_the_single_parser(mrt: Any, seed: int) -> None:
    rng = random.Random(seed)
    blocks = [_block(mrt, rng, bytes([8, 10])) for _ in range(rng.randrange(1, 40))]
    for at in range(len(blocks)):
        if blocks[at] and rng.random() < 0.2:
            damaged = bytearray(blocks[at])
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
            blocks[at] = bytes(damaged)
    parser = AttributeParser()
    parsed = parse_blocks(blocks, parser.next_hop)
    rows = list(zip(*(column.to_pylist() for column in parsed.columns), strict=True))
    for block, plain, row in zip(blocks, parsed.plain.tolist(), rows, strict=True):
        try:
            expected = tuple(AttributeParser().parse(block, 4))
        except AttributesError:
            assert not plain
        else:
            assert not plain or row == expected


def test_ordinary_records_and_blocks_take_the_fast_way(mrt: Any, tmp_path: Path) -> None:
    """Else the tests above would say nothing of it."""
    rng = random.Random(3)
    octets = mrt.peers([(64500 + n, f"192.0.2.{n + 1}") for n in range(9)])
    for number in range(4 * rib_entries.FEWEST_RECORDS):
        of = [(n, mrt.attributes([64500 + n, number], med=n)) for n in range(rng.randrange(1, 9))]
        octets += mrt.rib(f"10.{number // 256}.{number % 256}.0/24", of)
    path = tmp_path / "rib.mrt"
    path.write_bytes(octets)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MrtReader, "_rib", None)
        patch.setattr(AttributeParser, "parse", None)
        fast = _read(path)
    assert fast == _one_by_one(path)


@pytest.mark.parametrize("six", [False, True])
def test_an_odd_record_among_ordinary_ones_is_read_alone(
    mrt: Any, always: None, tmp_path: Path, six: bool
) -> None:
    """Too long a prefix, too many entries or too few, an unknown peer, room left over."""
    block = mrt.attributes([64500])
    base, limit, subtype = ("2001:db8::/32", 128, 4) if six else ("10.0.0.0/32", 32, 2)
    good = mrt.rib(base, [(0, block)])
    octets = ip_network(base).network_address.packed

    def record(length: int, count: int, peer: int, rest: bytes = b"") -> bytes:
        body = struct.pack(">IB", 0, length) + octets[: (length + 7) // 8].ljust(
            (length + 7) // 8, b"\0"
        )
        body += struct.pack(">HHIH", count, peer, 0, len(block)) + block + rest
        return bytes(mrt.record(13, subtype, body))

    odd = [
        record(limit + 1, 1, 0), record(limit + 8, 1, 0), record(24, 2, 0), record(24, 0, 0),
        record(24, 1, 1), record(24, 1, 0, b"\0"), record(24, 65535, 0),
    ]  # fmt: skip
    path = tmp_path / "rib.mrt"
    for one in odd:
        path.write_bytes(mrt.peers([(64500, "192.0.2.1")]) + good * 15 + one + good * 15)
        read = _read(path)
        assert read == _one_by_one(path)
        assert (len(read[0]), read[3]) == (30, 1)


def test_a_prefix_that_is_part_of_the_next_hop_is_not_cut_off(
    mrt: Any, always: None, tmp_path: Path
) -> None:
    """A whole MP_REACH_NLRI without a prefix whose next hop ends in just those octets."""
    octets = mrt.peers([(64500, "192.0.2.1")])
    for number in range(40):
        nlri = bytes([32, 0x20, 1, 0, number])
        hop = bytes([0x20, 1]) + bytes(14 - len(nlri)) + nlri
        reach = mrt.attribute(14, struct.pack(">HBB", 2, 1, 16) + hop, 0x80)
        prefix = f"2001:{number:x}::/32"
        octets += mrt.rib(prefix, [(0, mrt.as_path([64500]) + reach)])
    path = tmp_path / "rib.mrt"
    path.write_bytes(octets)
    read = _read(path)
    assert read == _one_by_one(path)
    assert len({row["next_hop"] for row in read[0]}) == 40


def test_more_peers_than_records_in_step(mrt: Any, tmp_path: Path) -> None:
    """A few records of very many entries among many of one."""
    octets = mrt.peers([(64500, "192.0.2.1")])
    blocks = [mrt.attributes([64500, n]) for n in range(5)]
    for number in range(3 * rib_entries.FEWEST_RECORDS):
        of = [(0, blocks[n % 5]) for n in range(1 if number % 50 else 2000)]
        octets += mrt.rib(f"10.{number // 256}.{number % 256}.0/24", of)
    path = tmp_path / "rib.mrt"
    path.write_bytes(octets)
    assert _read(path) == _one_by_one(path)


@pytest.mark.parametrize(
    "name",
    [
        "bview.64k_stream_overflow.gz",
        "bview.ipv4_unicast_add_path.gz",
        "rib.routeviews.20140523.0600.part1.gz",
        "rib6.routeviews.20151101.0600.part1.gz",
    ],
)
def test_real_tables_read_alike_both_ways(name: str, shared: Path) -> None:
    path = shared / "data" / "mrt" / name
    assert _read(path) == _one_by_one(path)
