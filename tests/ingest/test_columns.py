"""Records → columns: both ways against what one field at a time must give."""

from __future__ import annotations

from dataclasses import asdict
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from flowpeer_ingest.decoder import Decoder
from flowpeer_ingest.flow_columns import FLOWS_SCHEMA
from flowpeer_ingest.records import decode_records
from flowpeer_ingest.sampling import NO_RATES
from flowpeer_ingest.wire.dispatch import Wire
from flowpeer_ingest.wire.events import Records

TIMEOUTS = lambda ip: {"192.0.2.1": 60, "192.0.2.2": 300}.get(ip, 30)  # noqa: E731
NOW_MS = 1_751_328_000_000
SCALAR = {
    1: "bytes", 2: "packets", 4: "protocol", 5: "tos", 6: "tcp_flags", 7: "src_port",
    10: "input_if", 14: "output_if", 16: "src_as", 17: "dst_as", 25: "min_length",
    26: "max_length", 48: "sampler_id", 34: "sampling_interval", 56: "src_mac", 80: "dst_mac",
}  # fmt: skip
STANDARD = {1: 8, 2: 8, 10: 4, 14: 4, 16: 4, 17: 4, 25: 2, 26: 2, 7: 2, 34: 4, 48: 4, 56: 6, 80: 6}
UNKNOWN = (82, 89, 90, 234, 400, 232)
INT32 = {"protocol", "tos", "tcp_flags", "src_port", "min_length", "max_length"}


def tables(payloads: list[bytes], version: int = 9, chunk: int = 10**9) -> pa.Table:
    """The rows by the compiled core, which are those by plain Python."""
    both = [made(payloads, chunk, plain=plain) for plain in (False, True)]
    assert both[0].equals(both[1])
    return both[0]


def made(payloads: list[bytes], chunk: int, *, plain: bool) -> pa.Table:
    decoder = Decoder(plain=plain)
    wire, columns = decoder.wire, decoder.columns
    out: list[pa.Table] = []
    for payload in payloads:
        for event in wire.decode(payload, "192.0.2.1", 7, NOW_MS * 1000):
            if isinstance(event, Records):
                columns.add(event, NO_RATES)
                chunk -= 1
                if chunk == 0:
                    out.extend(t for _, t in columns.drain())
    out.extend(t for _, t in columns.drain(last=True))
    return pa.concat_tables([FLOWS_SCHEMA.empty_table(), *(t.cast(FLOWS_SCHEMA) for t in out)])


@st.composite
def layouts(draw: Any) -> list[tuple[int, int]]:
    """A template of known and unknown elements, each known one once, lengths reduced at will."""
    numbers = draw(st.lists(st.sampled_from(sorted(SCALAR)), unique=True, max_size=10))
    fields = [
        (n, draw(st.integers(1, STANDARD.get(n, 1))) if n not in (56, 80) else 6) for n in numbers
    ]
    for family in draw(st.sampled_from([(), (4,), (6,), (4, 6)])):
        fields += [(8, 4), (12, 4)] if family == 4 else [(27, 16), (28, 16)]
    fields += [
        (n, draw(st.integers(0, 20))) for n in draw(st.lists(st.sampled_from(UNKNOWN), max_size=4))
    ]
    fields.append((61, 1))
    return list(draw(st.permutations(fields)))


@st.composite
def tables_of_values(draw: Any) -> tuple[list[tuple[int, int]], list[list[bytes]]]:
    fields = draw(layouts())
    rows = draw(
        st.lists(
            st.tuples(*(st.binary(min_size=n, max_size=n) for _, n in fields)).map(list),
            min_size=1,
            max_size=6,
        )
    )
    zero = draw(st.sampled_from([(), (8, 12), (27, 28)]))
    for row in rows:
        for i, (n, size) in enumerate(fields):
            if n in zero:
                row[i] = bytes(size)
    return fields, rows


def expected(fields: list[tuple[int, int]], row: list[bytes]) -> dict[str, Any] | None:
    """What METHODS and the schema demand of one record, None for one to set aside."""
    at = {number: octets for (number, _), octets in zip(fields, row, strict=True)}
    out: dict[str, Any] = dict.fromkeys(SCALAR.values())
    for number, name in SCALAR.items():
        if number in at:
            out[name] = int.from_bytes(at[number], "big")
    if (out["bytes"] or 0) > 1 << 48 or (out["packets"] or 0) > 1 << 48:
        return None
    if None not in (out["bytes"], out["packets"]) and out["bytes"] < 20 * out["packets"]:
        return None
    if out["sampling_interval"] is not None and not 0 < out["sampling_interval"] <= 1 << 24:
        out["sampling_interval"] = None
    direction = at[61][0]
    out["direction"] = direction if direction <= 1 else None
    four, six = at.get(8, b"") + at.get(12, b""), at.get(27, b"") + at.get(28, b"")
    use4 = bool(four) and (any(four) or not any(six))
    for name, n4, n6 in (("src_addr", 8, 27), ("dst_addr", 12, 28)):
        if use4:
            out[name] = bytes(10) + b"\xff\xff" + at[n4]
        else:
            out[name] = at.get(n6)
    return out


@settings(max_examples=examples(200))
@given(tables_of_values(), st.sampled_from([9, 10]))
def test_arrays_say_what_each_record_says(
    build: Any, drawn: tuple[list[tuple[int, int]], list[list[bytes]]], version: int
) -> None:
    fields, rows = drawn
    payload = build.message(
        version,
        build.template(300, fields, version=version),
        build.set_(300, b"".join(map(b"".join, rows))),
    )
    table = tables([payload])
    want = [e for e in (expected(fields, row) for row in rows) if e is not None]
    assert len(table) == len(want)
    for name in want[0] if want else ():
        assert table[name].to_pylist() == [e[name] for e in want], name


@settings(max_examples=examples(150))
@given(tables_of_values(), st.data())
def test_variable_length_gives_the_same_rows_as_fixed(
    build: Any, drawn: tuple[list[tuple[int, int]], list[list[bytes]]], data: Any
) -> None:
    fields, rows = drawn
    variable = [data.draw(st.booleans()) for _ in fields]
    loose = [(n, 65535 if v else size) for (n, size), v in zip(fields, variable, strict=True)]
    octets = b"".join(
        b"".join(bytes([len(x)]) * v + x for x, v in zip(row, variable, strict=True))
        for row in rows
    )
    fixed, free = (
        build.ipfix(build.template(300, f, version=10), build.set_(300, o))
        for f, o in ((fields, b"".join(map(b"".join, rows))), (loose, octets))
    )
    assert tables([free]).equals(tables([fixed]))


def test_more_records_than_a_block_and_any_chunking_are_the_same(build: Any) -> None:
    payloads = [build.v9(build.template(300, build.V4))]
    values = []
    for i in range(300):
        rows = [
            build.record(build.V4, {8: i * 1000 + k + 1, 1: (i + 20) * k, 2: k, 7: i})
            for k in range(40)
        ]
        values += [((i + 20) * k, k, i) for k in range(40)]
        payloads.append(build.v9(build.set_(300, b"".join(rows)), sequence=i + 1))
    whole = tables(payloads)
    got = zip(*(whole[c].to_pylist() for c in ("bytes", "packets", "src_port")), strict=True)
    assert list(got) == values
    assert tables(payloads, chunk=7).equals(whole)


def one(build: Any, fields: Any, values: dict[int, Any], version: int = 10) -> list[dict[str, Any]]:
    payload = build.message(
        version, build.template(300, fields, version=version),
        build.set_(300, build.record(fields, values)),
    )  # fmt: skip
    rows: list[dict[str, Any]] = tables([payload]).to_pylist()
    return rows


def address(text: str) -> bytes:
    a = ip_address(text)
    return a.packed if a.version == 6 else bytes(10) + b"\xff\xff" + a.packed


def test_totals_only_where_the_template_has_no_delta(build: Any) -> None:
    (row,) = one(build, [(1, 4), (2, 4), (85, 8), (86, 8)], {1: 0, 2: 0, 85: 900, 86: 9})
    assert (row["bytes"], row["packets"]) == (0, 0)
    (row,) = one(build, [(85, 8), (86, 8)], {85: 900, 86: 9})
    assert (row["bytes"], row["packets"]) == (900, 9)


def test_events_without_counters_have_none(build: Any) -> None:
    (row,) = one(build, [(8, 4), (12, 4), (233, 1)], {8: "10.0.0.1", 233: 1})
    assert (row["bytes"], row["packets"]) == (None, None)


def test_biflow_is_two_flows(build: Any) -> None:
    fields = [
        (27, 16), (28, 16), (7, 2), (11, 2), (10, 4), (14, 4), (1, 8), (2, 8), (6, 1),
        (1, 8, 29305), (2, 8, 29305), (6, 1, 29305),
    ]  # fmt: skip
    record = build.record(
        fields[:9], {27: "2001:db8::1", 28: "2001:db8::2", 7: 1, 11: 2, 10: 3, 14: 4, 1: 500, 2: 5}
    )
    reverse = (700).to_bytes(8, "big") + (7).to_bytes(8, "big") + b"\x12"
    payload = build.ipfix(
        build.template(300, fields, version=10), build.set_(300, record + reverse)
    )
    there, back = tables([payload]).to_pylist()
    assert (there["bytes"], there["packets"], there["src_port"]) == (500, 5, 1)
    assert (back["bytes"], back["packets"], back["tcp_flags"]) == (700, 7, 18)
    assert (back["src_addr"], back["dst_addr"]) == (there["dst_addr"], there["src_addr"])
    assert (back["src_port"], back["dst_port"]) == (2, 1)
    assert (back["input_if"], back["output_if"]) == (4, 3)


def test_biflow_without_reverse_traffic_is_one_flow(build: Any) -> None:
    fields = [(1, 8), (2, 8), (1, 8, 29305)]
    payload = build.ipfix(build.template(300, fields, version=10), build.set_(300, bytes(24)))
    assert len(tables([payload])) == 1


def test_firewall_event_counts_initiator_and_responder(build: Any) -> None:
    fields = [(8, 4), (12, 4), (231, 4), (232, 4), (298, 4), (299, 4)]
    values = {8: "10.0.0.1", 12: "10.0.0.2", 231: 110, 232: 220, 298: 1, 299: 2}
    there, back = one(build, fields, values, 9)
    assert (there["bytes"], there["packets"]) == (110, 1)
    assert (back["bytes"], back["packets"], back["src_addr"]) == (220, 2, address("10.0.0.2"))


@pytest.mark.parametrize(
    ("fields", "values", "port"),
    [
        ([(4, 1), (11, 2)], {4: 1, 11: 0x0800}, 0x0800),
        ([(4, 1), (11, 2), (32, 2)], {4: 1, 32: 0x0301}, 0x0301),
        ([(4, 1), (32, 2), (139, 2)], {4: 58, 32: 5, 139: 0x8000}, 0x8000),
        ([(4, 1), (176, 1), (177, 1)], {4: 1, 176: 3, 177: 4}, 3 * 256 + 4),
        ([(4, 1), (11, 2), (32, 2)], {4: 6, 32: 0x0301}, 0),
    ],
)
def test_icmp_type_and_code(build: Any, fields: Any, values: Any, port: int) -> None:
    assert one(build, fields, values)[0]["dst_port"] == port


def test_the_innermost_of_repeated_elements(build: Any) -> None:
    fields = [(4, 1), (4, 1)]
    payload = build.ipfix(build.template(300, fields, version=10), build.set_(300, b"\x04\x06" * 4))
    assert tables([payload])["protocol"].to_pylist() == [6] * 4


def test_next_hop_by_content(build: Any) -> None:
    fields = [(8, 4), (15, 4), (62, 16)]
    (row,) = one(build, fields, {8: "10.0.0.1", 62: "2001:db8::7"})
    assert row["next_hop"] == address("2001:db8::7")
    (row,) = one(build, fields, {8: "10.0.0.1", 15: "10.9.9.9"})
    assert row["next_hop"] == address("10.9.9.9")


BEYOND = (1 << 48) + 1
DAY_MS = 86_400_000
EARLY = NOW_MS - 31 * DAY_MS
IMPLAUSIBLE: list[tuple[tuple[int, int, int, int], str | None]] = [
    # bytes, packets, start and end in ms
    ((40, 2, NOW_MS, NOW_MS), None),
    ((39, 2, NOW_MS, NOW_MS), "fewer than 20 bytes a packet"),
    ((0, 1, NOW_MS, NOW_MS), "fewer than 20 bytes a packet"),
    ((0, 0, NOW_MS, NOW_MS), None),
    ((BEYOND - 1, 1, NOW_MS, NOW_MS), None),
    ((BEYOND, 1, NOW_MS, NOW_MS), "bytes beyond 2^48"),
    (((1 << 64) - 1, (1 << 64) - 1, NOW_MS, NOW_MS), "bytes beyond 2^48"),
    ((40, BEYOND, NOW_MS, NOW_MS), "packets beyond 2^48"),
    ((60, 1, NOW_MS, NOW_MS - 60_000), None),
    ((60, 1, NOW_MS, NOW_MS - 60_001), "ends before it starts"),
    ((60, 1, NOW_MS - 30 * DAY_MS, NOW_MS), None),
    ((60, 1, NOW_MS - 30 * DAY_MS - 1, NOW_MS), "lasts more than 30 days"),
    ((60, 1, 0, NOW_MS), None),  # an unset start says nothing
]


@pytest.mark.parametrize("plain", [True, False])
def test_records_that_no_router_can_have_meant_are_set_aside(build: Any, *, plain: bool) -> None:
    columns, wire = Decoder(active_timeout_s=lambda _: 60, plain=plain).columns, Wire()
    fields = [(8, 4), (12, 4), (10, 4), (14, 4), (1, 8), (2, 8), (152, 8), (153, 8)]
    octets = b"".join(
        bytes((192, 0, 2, 1, 192, 0, 2, 2)) + (5).to_bytes(4, "big") + (6).to_bytes(4, "big")
        + b"".join(v.to_bytes(8, "big") for v in values)
        for values, _ in IMPLAUSIBLE
    )  # fmt: skip
    payload = build.ipfix(build.template(300, fields, version=10), build.set_(300, octets))
    for event in wire.decode(payload, "192.0.2.1", 7, NOW_MS * 1000):
        if isinstance(event, Records):
            columns.add(event, NO_RATES)
    (rows,) = [t.select(["bytes", "packets"]).to_pylist() for _, t in columns.drain(last=True)]
    kept = [values for values, reason in IMPLAUSIBLE if reason is None]
    assert [(row["bytes"], row["packets"]) for row in rows] == [v[:2] for v in kept]
    tally = columns.tally
    expected: dict[str, tuple[int, int, int]] = {}
    for values, reason in IMPLAUSIBLE:
        if reason is not None:
            a, b, c = expected.get(reason, (0, 0, 0))
            octets_, packets = (min(v, 1 << 48) for v in values[:2])
            expected[reason] = a + 1, b + octets_, c + packets
    assert tally.set_aside.amounts == {"192.0.2.1": expected}
    assert tally.records == len(IMPLAUSIBLE) == tally.rows + tally.set_aside.records()
    aside = sum(octets for _, octets, _ in expected.values())
    assert tally.octets == sum(row["bytes"] for row in rows) + aside
    assert [one.reason for one in tally.set_aside.sample] == [r for _, r in IMPLAUSIBLE if r]
    assert asdict(tally.set_aside.sample[0]) == {
        "exporter_ip": "192.0.2.1", "reason": "fewer than 20 bytes a packet",
        "received_us": NOW_MS * 1000, "domain": 0, "input_if": 5, "output_if": 6,
        "bytes": 39, "packets": 2, "start_us": NOW_MS * 1000, "end_us": NOW_MS * 1000,
        "src_addr": "192.0.2.1", "dst_addr": "192.0.2.2",
    }  # fmt: skip


def test_v5_columns(build: Any) -> None:
    record = {
        "src": "10.0.0.1", "dst": "10.0.0.2", "hop": "10.0.0.3", "input": 5, "output": 65535,
        "packets": 3, "bytes": 4_294_967_295, "sport": 53, "dport": 5353, "flags": 18,
        "protocol": 17, "tos": 184, "src_as": 65000, "dst_as": 64999, "smask": 20, "dmask": 9,
    }  # fmt: skip
    (row,) = tables([build.v5([record], engine=(1, 2), sampling=0x4064)]).to_pylist()
    got = {
        "src": row["src_addr"], "dst": row["dst_addr"], "hop": row["next_hop"],
        "input": row["input_if"], "output": row["output_if"], "packets": row["packets"],
        "bytes": row["bytes"], "sport": row["src_port"], "dport": row["dst_port"],
        "flags": row["tcp_flags"], "protocol": row["protocol"], "tos": row["tos"],
        "src_as": row["src_as"], "dst_as": row["dst_as"], "smask": row["src_mask"],
        "dmask": row["dst_mask"],
    }  # fmt: skip
    for name in ("src", "dst", "hop"):
        record[name] = address(str(record[name]))
    assert got == record
    assert (row["format"], row["observation_domain"]) == ("netflow5", 258)
    assert row["sampling_interval"] == 100


def test_rows_of_several_exporters_keep_who_where_and_when(build: Any) -> None:
    wire, columns = (
        Wire(),
        Decoder(
            active_timeout_s=lambda ip: {"192.0.2.1": 60, "192.0.2.2": 300}.get(ip, 30)
        ).columns,
    )
    want = []
    template = build.template(300, build.V4)
    for i in range(60):
        exporter, domain, received = f"192.0.2.{i % 3 + 1}", i % 2, NOW_MS * 1000 + i
        octets = b"".join(build.record(build.V4, {1: i * 10 + k}) for k in range(i % 5 + 1))
        payload = build.v9(template, build.set_(300, octets), domain=domain)
        for event in wire.decode(payload, exporter, 7, received):
            if isinstance(event, Records):
                columns.add(event, NO_RATES)
        timeout = {"192.0.2.1": 60, "192.0.2.2": 300}.get(exporter, 30)
        want += [(exporter, domain, i, i * 10 + k, timeout) for k in range(i % 5 + 1)]
    (table,) = [t for _, t in columns.drain(last=True)]
    rows = table.to_pylist()
    first = min(r["received_at"] for r in rows)
    got = [
        (
            r["exporter_ip"],
            r["observation_domain"],
            (r["received_at"] - first).microseconds,
            r["bytes"],
            (r["end_time"] - r["start_time"]).seconds,
        )
        for r in rows
    ]
    assert got == want
    assert columns.tally.by_exporter == {
        e: sum(w[0] == e for w in want) for e in ("192.0.2.1", "192.0.2.2", "192.0.2.3")
    }


@pytest.mark.parametrize(
    ("fields", "values", "shown"),
    [
        ([(32, 2), (4, 1), (11, 2)], {32: 0x0803, 4: 1, 11: 0}, (8, 3, 0)),
        ([(176, 1), (177, 1), (4, 1)], {176: 3, 177: 1, 4: 1}, (3, 1, None)),
        ([(178, 1), (179, 1), (4, 1), (11, 2)], {178: 128, 4: 58, 11: 7}, (128, 0, 7)),
        ([(32, 2), (4, 1), (11, 2)], {32: 0, 4: 6, 11: 443}, (None, None, 443)),
        ([(4, 1), (11, 2)], {4: 1, 11: 2048}, (None, None, 2048)),
    ],
)
def test_decode_shows_icmp_beside_the_port_and_never_over_it(
    build: Any, tmp_path: Path, fields: Any, values: Any, shown: Any
) -> None:
    template = build.template(300, fields, version=10)
    payload = build.ipfix(template, build.set_(300, build.record(fields, values)))
    (row,) = decode_records(build.capture(tmp_path / "c.pcap", payload))
    assert (row.get("icmp_type"), row.get("icmp_code"), row.get("dst_port")) == shown


def test_decode_shows_all_reverse_elements_of_a_biflow(build: Any, tmp_path: Path) -> None:
    pen = 29305
    fields = [(1, 4), (152, 8), (153, 8), (1, 4, pen), (6, 1, pen), (5, 1, pen), (152, 8, pen),
              (153, 8, pen)]  # fmt: skip
    record = b"".join(
        n.to_bytes(size, "big")
        for n, (_, size, *_) in zip(
            (100, 1_000, 2_000, 70, 0x12, 4, 1_500, 2_500), fields, strict=True
        )
    )
    payload = build.ipfix(build.template(300, fields, version=10), build.set_(300, record))
    (row,) = decode_records(build.capture(tmp_path / "c.pcap", payload))
    assert {key: value for key, value in row.items() if key.startswith("reverse_")} == {
        "reverse_bytes": 70, "reverse_tcp_flags": 0x12, "reverse_tos": 4, "reverse_start": 1_500,
        "reverse_end": 2_500,
    }  # fmt: skip
    assert (row["start"], row["end"]) == (1_000, 2_000)
