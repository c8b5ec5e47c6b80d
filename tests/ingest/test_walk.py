"""The compiled core says of datagrams what plain Python says, record for record, in any batches."""

from __future__ import annotations

import csv
import random
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from flowpeer_core.columns import arrow_schema
from flowpeer_core.native import library
from flowpeer_core.native.rows import Rows
from flowpeer_ingest.captures import Capture
from flowpeer_ingest.decoder import Decoder
from flowpeer_ingest.decompress import open_unpacked
from flowpeer_ingest.facts import Facts
from flowpeer_ingest.schema import TABLES
from flowpeer_ingest.summary import CaptureSummary
from flowpeer_ingest.unit_decoder import UnitDecoder
from flowpeer_ingest.wire.saved import snapshot

Sent = tuple[bytes, str, int, int]
"""Payload, exporter, source port, time received."""


def result(sent: list[Sent], size: int, *, plain: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """The summary, and the rows by table and hour in their order, in batches of this size."""
    tables: dict[tuple[datetime, str], list[pa.Table]] = {}
    decoder = Decoder(plain=plain)

    def take(hour: datetime, name: str, rows: pa.Table | Rows) -> None:
        tables.setdefault((hour, name), []).append(table_of(rows))

    run = UnitDecoder(decoder, take, None if plain else take)
    for at in range(0, len(sent), size):
        run.many(*zip(*sent[at : at + size], strict=True))
    run.finish()
    summary = CaptureSummary("")
    run.summarise(summary)
    rows = {
        f"{hour} {name}": pa.concat_tables(
            [t.cast(arrow_schema(TABLES[name])) for t in parts]
        ).to_pylist()
        for (hour, name), parts in tables.items()
    }
    remembered = snapshot(decoder.wire.state)
    for exporter in remembered["exporters"]:
        del exporter["work"]  # what each way spends of the exporter's budget
    return asdict(summary) | {"remembered": remembered}, rows


def table_of(rows: pa.Table | Rows) -> pa.Table:
    """Rows as a table, and what is known of them without it is true of it."""
    if not isinstance(rows, Rows):
        return rows
    table = rows.table()
    table.validate(full=True)
    assert table.num_rows == rows.num_rows
    for name in ("bytes", "packets"):
        assert rows.sums[name] == sum(v or 0 for v in table[name].to_pylist())
    assert rows.corrected == sum(table["time_corrected"].to_pylist())
    facts = [Facts(), Facts(), Facts(plain=True)]
    for gathered, some in zip(facts, (rows, table, table), strict=True):
        gathered.add(some)
        gathered.add(some)
    one, two, three = (gathered.facts() for gathered in facts)
    assert one == two == three
    return pa.Table.from_batches(table.to_batches()).cast(arrow_schema(TABLES["flows"]))


def assert_equal(sent: list[Sent], size: int) -> None:
    if library() is None:
        pytest.skip("built without the compiled core")
    one, many = result(sent, size, plain=True), result(sent, size, plain=False)
    assert many[0] == one[0]
    assert many[1] == one[1]


def captured(path: Path) -> list[Sent]:
    with open_unpacked(path) as stream:
        return [
            (d.payload, d.exporter, d.port, d.received_us)
            for d in Capture(stream, str(path)).datagrams()
        ]


@pytest.fixture(scope="module")
def corpus(shared: Path) -> list[list[Sent]]:
    with (shared / "corpus/MANIFEST.csv").open(newline="") as f:
        return [captured(shared / "corpus" / row["file"]) for row in csv.DictReader(f)]


def test_every_capture_gives_the_same_in_batches(corpus: list[list[Sent]]) -> None:
    for sent in corpus:
        if sent:
            assert_equal(sent, 1_000)


def test_captures_mixed_and_damaged_give_the_same_in_batches(corpus: list[list[Sent]]) -> None:
    rng = random.Random(5)
    pool = [d for sent in corpus for d in sent[:40]]
    for size in (3, 50, 700):
        sent = []
        for payload, exporter, port, received in rng.choices(pool, k=700):
            if rng.random() < 0.2 and payload:
                damaged = bytearray(payload)
                for _ in range(rng.randrange(1, 4)):
                    damaged[rng.randrange(min(len(damaged), 80))] = rng.randrange(256)
                payload = bytes(damaged[: rng.randrange(1, len(damaged) + 1)])
            sent.append((payload, exporter, port, received))
        assert_equal(sent, size)


def test_losses_repeats_and_late_datagrams_are_counted_alike(
    corpus: list[list[Sent]], build: Any
) -> None:
    layout = [(8, 4), (12, 4), (1, 4)]
    for version in (5, 9, 10):
        made, sequence = [], 2**32 - 90
        for i in range(300):
            count = 2 + i % 4
            if version == 5:
                payload = build.v5([{"bytes": 1}] * count, sequence=sequence)
            else:
                record = build.record(layout, {8: "192.0.2.9", 12: "192.0.2.8", 1: 1})
                sets = [build.template(256, layout, version=version)] * (i % 50 == 0)
                sets.append(build.set_(256, record * count))
                payload = build.message(version, *sets, sequence=sequence)
            made.append((payload, "192.0.2.1", 7, (build.START + i) * 1_000_000))
            sequence = (sequence + (1 if version == 9 else count)) & 0xFFFFFFFF
        assert_equal(disturbed(made), 60)
    for sent in corpus:
        if sent:
            assert_equal(disturbed(sent[:300]), 60)


@pytest.mark.parametrize("version", [9, 10])
def test_templates_that_come_again_and_again_give_the_same(build: Any, version: int) -> None:
    """Alone or before data, unchanged, changed to and fro, withdrawn, or with something broken."""
    layouts = [[(8, 4), (12, 4), (1, 4)], [(8, 4), (12, 4), (1, 4), (2, 4)]]
    values = {8: "192.0.2.9", 12: "192.0.2.8", 1: 1_000, 2: 1}
    rng = random.Random(version)
    made, sequence, now = [], 1, [0, 0]
    for i in range(600):
        sets, count = [], rng.randrange(4)
        domain = i % 2
        if rng.random() < 0.02:
            now[domain] = 1 - now[domain]
        layout = layouts[now[domain]]
        if rng.random() < 0.4 or i < 2:
            sets += [build.template(256, layout, version=version)] * rng.choice((1, 1, 2))
        if rng.random() < 0.2:
            sets.append(build.options_template(258, [(10, 4)], [(34, 4)], version))
        if rng.random() < 0.05:  # broken, and so each time that it comes
            sets.append(build.set_(0 if version == 9 else 2, b"\x01\x03\x00\x09\x00\x01"))
        if rng.random() < 0.02 and version == 10:
            sets.append(build.set_(2, b"\x01\x00\x00\x00"))
        if count:
            sets.append(build.set_(256, build.record(layout, values) * count))
        payload = build.message(version, *sets, sequence=sequence, domain=domain)
        made.append((payload, "192.0.2.1", 7, (build.START + i // 9) * 1_000_000))
        sequence += 1 if version == 9 else count
    for size in (7, 60, 600):
        assert_equal(made, size)
    assert_equal(disturbed(made), 60)


def test_templates_that_come_again_are_passed_over(build: Any) -> None:
    if library() is None:
        pytest.skip("built without the compiled core")
    layout = [(8, 4), (12, 4), (1, 4)]
    record = build.record(layout, {8: "192.0.2.9", 12: "192.0.2.8", 1: 1_000})
    sets = build.template(256, layout, version=9), build.set_(256, record)
    run = UnitDecoder(Decoder(), lambda *_: None)
    alone: list[bytes] = []
    datagram = run.datagram

    def counted(payload: bytes, *rest: Any) -> bool:
        alone.append(payload)
        return datagram(payload, *rest)

    run.datagram = counted  # type: ignore[method-assign]
    sent = [
        (build.message(9, *sets, sequence=i), "192.0.2.1", 7, build.START * 1_000_000)
        for i in range(100)
    ]
    run.many(*zip(*sent, strict=True))
    run.finish()
    assert run.decoder.columns.tally.records == 100
    assert len(alone) == 2, "the first, which is news, and the second, which is none"


def disturbed(sent: list[Sent]) -> list[Sent]:
    """The same with some lost, some twice, some late, and a sender that begins again."""
    rng = random.Random(len(sent))
    out = [d for d in sent for _ in range(rng.choices((0, 1, 2), (1, 40, 1))[0])]
    for at in rng.sample(range(len(out)), len(out) // 40):
        out.insert(min(at + rng.randrange(1, 4), len(out) - 1), out.pop(at))
    return out + out[: len(out) // 4]


@st.composite
def streams(draw: Any, build: Any) -> list[Sent]:
    """Datagrams of few exporters whose templates, rates and sequences change on the way."""
    fields = [(8, 4), (12, 4), (1, 4), (2, 2), (10, 2)]
    layouts = [fields, fields[:3], [*fields, (82, 65535)], [(27, 65535), (1, 65535), (2, 2)]]
    sent: list[Sent] = []
    for i in range(draw(st.integers(1, 40))):
        exporter = draw(st.sampled_from(["192.0.2.1", "192.0.2.2"]))
        domain, port = draw(st.integers(0, 1)), draw(st.integers(7, 8))
        version = draw(st.sampled_from([5, 9, 10, 10]))
        sequence = draw(st.sampled_from([i, i, i, i * 2, 7, 2**32 - 1]))
        sets = []
        for _ in range(draw(st.integers(0, 3))):
            layout = draw(st.sampled_from(layouts))
            number = draw(st.sampled_from([256, 257]))
            kind = draw(st.sampled_from(["template", "data", "data", "data", "data", "rate", "x"]))
            if kind == "template" and (version == 10 or all(f[1] < 65535 for f in layout)):
                sets.append(build.template(number, layout, version=version))
            elif kind == "data":
                values: dict[int, Any] = {
                    8: "192.0.2.9", 12: "192.0.2.8", 1: i * 20 + 1, 2: i + i // 20, 10: i % 3,
                    82: b"x" * (i * 9), 27: b"\1" * (i % 20),
                }  # fmt: skip
                if any(f == (1, 65535) for f in layout):
                    values[1] = bytes([i + 1])
                octets = build.record(layout, values) * draw(st.integers(0, 4))
                sets.append(build.set_(number, octets + bytes(draw(st.integers(0, 5)))))
            elif kind == "rate":
                sets.append(build.options_template(258, [(10, 4)], [(34, 4), (160, 8)], version))
                rate = draw(st.integers(0, 3)).to_bytes(4, "big")
                boot = (build.START * 1_000 - draw(st.integers(0, 2)) * 5_000).to_bytes(8, "big")
                sets.append(build.set_(258, (1).to_bytes(4, "big") + rate + boot))
            elif kind == "x":
                sets.append(draw(st.binary(max_size=9)))
        if version == 5:
            payload = build.v5(
                [{"bytes": i}] * draw(st.integers(0, 3)), sequence=sequence, sampling=i,
                engine=(0, domain), count=draw(st.sampled_from([None, None, 2])),
            )  # fmt: skip
        else:
            payload = build.message(version, *sets, sequence=sequence, domain=domain)
        sent.append((payload, exporter, port, (build.START + i * 300) * 1_000_000))
    return sent


@settings(max_examples=examples(150))
@given(st.data())
def test_generated_streams_give_the_same_in_batches(build: Any, data: Any) -> None:
    sent = data.draw(streams(build))
    assert_equal(sent, data.draw(st.sampled_from([2, 7, 40])))


def test_clock_samples_are_thinned_alike(build: Any) -> None:
    sent = [
        (build.v5([{}], sequence=i), "192.0.2.1", 7, (build.START + i % 77) * 1_000_000)
        for i in range(9_500)
    ]
    sent += [(p, "192.0.2.2", q, t) for p, _, q, t in sent]
    assert_equal(sent, 5_000)
