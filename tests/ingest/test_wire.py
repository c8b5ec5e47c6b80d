"""Octets → events: the documents' rules, one by one, and the checklist of malformed messages."""

from __future__ import annotations

import struct
from itertools import pairwise
from typing import Any

import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from flowpeer_ingest.wire import state
from flowpeer_ingest.wire.dispatch import Wire
from flowpeer_ingest.wire.elements import ELEMENTS
from flowpeer_ingest.wire.events import (
    Malformed,
    Message,
    MissingTemplate,
    OptionsRecords,
    Records,
    Rejected,
    SamplingLearned,
    SequenceGap,
    TemplateLearned,
    TemplateWithdrawn,
    Unsupported,
)
from flowpeer_ingest.wire.state import ExportSession, advance
from flowpeer_ingest.wire.values import read_all

EXPORTER = "192.0.2.10"
VERSIONS = pytest.mark.parametrize("version", [9, 10])


def feed(wire: Wire, payload: bytes, exporter: str = EXPORTER, port: int = 1) -> list[Any]:
    return list(wire.decode(payload, exporter, port, 1_751_328_000_000_000))


def of(kind: type, events: list[Any]) -> list[Any]:
    return [e for e in events if isinstance(e, kind)]


def reasons(events: list[Any]) -> list[str]:
    return [e.reason for e in events if isinstance(e, Malformed)]


@VERSIONS
def test_template_and_data_in_one_message(build: Any, version: int) -> None:
    octets = build.record(build.V4, {8: "10.0.0.1", 1: 77}) * 3
    payload = build.message(
        version, build.template(300, build.V4, version=version), build.set_(300, octets)
    )
    head, learned, records = feed(Wire(), payload)
    assert isinstance(head, Message)
    assert (head.version, head.domain) == (version, 0)
    assert isinstance(learned, TemplateLearned)
    assert not learned.replaced
    assert isinstance(records, Records)
    assert (records.count, records.octets) == (3, octets)
    assert [(f.number, f.length) for f in records.template.layout.fields] == list(build.V4)


def test_v5_header_and_records(build: Any) -> None:
    head, records = feed(Wire(), build.v5([{}] * 3, sampling=0x4000 | 100, engine=(2, 7)))
    assert (head.domain, head.sampling, head.uptime_ms) == (2 * 256 + 7, 100, 10_000)
    assert (records.count, len(records.octets)) == (3, 144)


@VERSIONS
def test_unchanged_template_is_no_event(build: Any, version: int) -> None:
    wire = Wire()
    payload = build.message(version, build.template(300, build.V4, version=version))
    assert len(of(TemplateLearned, feed(wire, payload))) == 1
    assert of(TemplateLearned, feed(wire, payload)) == []


@VERSIONS
def test_redefined_template_replaces_the_old_one(build: Any, version: int) -> None:
    wire = Wire()
    feed(wire, build.message(version, build.template(300, build.V4, version=version)))
    other = ((8, 4), (1, 8))
    events = feed(wire, build.message(version, build.template(300, other, version=version)))
    assert [e.replaced for e in of(TemplateLearned, events)] == [True]
    events = feed(wire, build.message(version, build.set_(300, bytes(24))))
    assert [r.count for r in of(Records, events)] == [2]


@VERSIONS
def test_options_template_takes_over_a_data_templates_number(build: Any, version: int) -> None:
    wire = Wire()
    feed(wire, build.message(version, build.template(300, build.V4, version=version)))
    feed(wire, build.message(version, build.options_template(300, [(1, 4)], [(34, 4)], version)))
    events = feed(wire, build.message(version, build.set_(300, bytes(8))))
    assert of(Records, events) == []
    assert len(of(OptionsRecords, events)) == 1


@VERSIONS
def test_domains_exporters_and_sessions_do_not_share_numbers(build: Any, version: int) -> None:
    wire = Wire()
    short, long = ((1, 4),), ((1, 4), (2, 4))

    def announce(fields: Any, exporter: str, port: int, domain: int) -> None:
        template = build.template(300, fields, version=version)
        feed(wire, build.message(version, template, domain=domain), exporter, port)

    announce(short, "192.0.2.1", 1, 0)
    announce(long, "192.0.2.1", 1, 5)
    announce(long, "192.0.2.2", 1, 0)
    announce(long, "192.0.2.1", 2, 0)
    data = build.set_(300, bytes(8))

    def count(exporter: str, port: int, domain: int) -> int:
        events = feed(wire, build.message(version, data, domain=domain), exporter, port)
        return sum(r.count for r in of(Records, events))

    assert count("192.0.2.1", 1, 0) == 2
    assert count("192.0.2.1", 1, 5) == 1
    assert count("192.0.2.2", 1, 0) == 1
    assert count("192.0.2.1", 2, 0) == 1
    assert count("192.0.2.1", 9, 5) == 0, "another source port is another sender"


@VERSIONS
def test_missing_template_is_an_outcome_and_the_data_waits(build: Any, version: int) -> None:
    wire = Wire()
    template = build.template(300, build.V4, version=version)
    octets = build.record(build.V4, {8: "10.0.0.1"})
    early = feed(wire, build.message(version, build.set_(300, octets), sequence=7))
    assert [(e.template_id, e.held) for e in of(MissingTemplate, early)] == [(300, True)]
    assert reasons(early) == []
    assert wire.state.pending() == {(EXPORTER, version, 0, 300): 1}
    late = feed(wire, build.message(version, template, sequence=8))
    assert [(r.count, r.message.sequence) for r in of(Records, late)] == [(1, 7)]
    assert wire.state.pending() == {}


@VERSIONS
def test_data_before_its_template_in_one_message(build: Any, version: int) -> None:
    octets = build.record(build.V4, {})
    payload = build.message(
        version, build.set_(300, octets), build.template(300, build.V4, version=version),
        build.set_(300, octets),
    )  # fmt: skip
    assert [r.count for r in of(Records, feed(Wire(), payload))] == [1, 1]


def test_pending_data_is_bounded_and_the_rest_counted(build: Any) -> None:
    wire = Wire()
    room = state.MAX_PENDING_OCTETS // (state.HELD_OCTETS + 8)
    events = feed(wire, build.v9(*[build.set_(300, bytes(8))] * (room + 5)))
    assert sum(not e.held for e in of(MissingTemplate, events)) == 5
    assert wire.state.pending() == {(EXPORTER, 9, 0, 300): room + 5}


def test_data_that_waited_too_long_is_dropped_and_counted(build: Any) -> None:
    wire = Wire()
    minute = 60_000_000
    for at in range(4):
        wire.decode(build.v9(build.set_(300, bytes(8))), EXPORTER, 9, at * 20 * minute)
    bound = state.MAX_PENDING_S * 1_000_000
    wire.state.drop_overdue(bound + 20 * minute)
    assert wire.state.pending() == {(EXPORTER, 9, 0, 300): 4}, "told as long as it is missing"
    assert wire.state.exporters[EXPORTER].dropped == {(9, 0, 300): 1}
    template = build.v9(build.template(300, [(8, 4), (12, 4)]))
    [*_, last] = [wire.decode(template, EXPORTER, 9, bound)]
    assert sum(r.count for r in of(Records, last)) == 3
    assert wire.state.exporters[EXPORTER].pending_octets == 0


def test_forged_template_numbers_that_expire_are_not_kept(build: Any) -> None:
    wire = Wire()
    numbers = 3 * state.MAX_PENDING_TEMPLATES
    for i in range(numbers):
        at = i * state.MAX_PENDING_S * 1_000
        wire.decode(build.v9(build.set_(256 + i, bytes(8))), EXPORTER, 9, at)
        wire.state.drop_overdue(at)
    owner = wire.state.exporters[EXPORTER]
    assert len(owner.dropped) <= state.MAX_PENDING_TEMPLATES + 1
    assert sum(wire.state.pending().values()) == numbers, "none is forgotten"


def test_a_flood_of_templates_leaves_other_exporters_alone(build: Any) -> None:
    wire = Wire()
    feed(wire, build.v9(build.template(300, build.V4)), "192.0.2.1")
    wide = [(i, 1) for i in range(1, 400)]
    for domain in range(200):
        sets = [build.template(256 + i, wide) for i in range(20)]
        feed(wire, build.v9(*sets, domain=domain), "203.0.113.66")
    flood = wire.state.exporters["203.0.113.66"]
    assert flood.octets <= state.MAX_EXPORTER_OCTETS
    events = feed(wire, build.v9(build.set_(300, build.record(build.V4, {}))), "192.0.2.1")
    assert len(of(Records, events)) == 1


def test_withdrawal_forgets_a_template_and_all_templates(build: Any) -> None:
    wire = Wire()
    for number in (300, 301):
        feed(wire, build.ipfix(build.template(number, build.V4, version=10)))
    events = feed(wire, build.ipfix(build.set_(2, struct.pack(">HH", 300, 0))))
    assert [e.template_id for e in of(TemplateWithdrawn, events)] == [300]
    assert len(of(MissingTemplate, feed(wire, build.ipfix(build.set_(300, bytes(40)))))) == 1
    events = feed(wire, build.ipfix(build.set_(2, struct.pack(">HH", 2, 0))))
    assert [e.template_id for e in of(TemplateWithdrawn, events)] == [301]


def test_variable_length_in_both_forms(build: Any) -> None:
    fields = ((8, 4), (82, 65535), (1, 4))
    long = build.record(fields, {8: "10.0.0.2", 82: b"y" * 300, 1: 6})
    octets = build.record(fields, {8: "10.0.0.1", 82: b"x", 1: 5}) + long + long
    events = feed(
        Wire(), build.ipfix(build.template(300, fields, version=10), build.set_(300, octets))
    )
    (records,) = of(Records, events)
    assert (records.count, records.octets) == (3, octets)
    flat = [records.flat[i : i + 8] for i in (0, 8, 16)]
    assert flat == [b"\x0a\0\0\1\0\0\0\5", b"\x0a\0\0\2\0\0\0\6", b"\x0a\0\0\2\0\0\0\6"]


@pytest.mark.parametrize("padding", range(1, 29))
def test_padding_of_any_size_below_a_record(build: Any, padding: int) -> None:
    octets = build.record(build.V4, {8: "10.0.0.1"})
    payload = build.v9(build.template(300, build.V4), build.set_(300, octets + bytes(padding)))
    events = feed(Wire(), payload)
    assert [r.count for r in of(Records, events)] == [1]
    assert reasons(events) == []


def test_zero_fill_after_the_last_set_is_no_error(build: Any) -> None:
    payload = build.v9(build.template(300, build.V4)) + bytes(40)
    assert reasons(feed(Wire(), payload)) == []


def test_sampling_in_options_data(build: Any) -> None:
    options = build.options_template(400, [(1, 4)], [(48, 1), (50, 4)])
    data = build.set_(400, struct.pack(">IBIIBI", 0, 1, 2000, 0, 2, 4000) + bytes(2))
    events = of(SamplingLearned, feed(Wire(), build.v9(options, data)))
    assert [(e.sampler_id, e.interface, e.interval) for e in events] == [
        (1, None, 2000),
        (2, None, 4000),
    ]


@pytest.mark.parametrize(
    ("fields", "values", "interval"),
    [
        ([(34, 4)], [100], 100),
        ([(50, 4)], [200], 200),
        ([(305, 4), (306, 4)], [1, 999], 1000),
        ([(305, 4), (306, 4)], [10, 90], 10),
        ([(305, 4)], [256], 256),
        ([(305, 4), (309, 4), (310, 4)], [1, 1, 256], 256),
        ([(309, 4), (310, 4)], [2, 1001], 501),
        ([(34, 4)], [0], None),
        ([(34, 4)], [1 << 25], None),
    ],
)
def test_which_numbers_make_the_rate(
    build: Any, fields: list[tuple[int, int]], values: list[int], interval: int | None
) -> None:
    options = build.options_template(400, [(149, 4)], fields, 10)
    data = build.set_(400, bytes(4) + b"".join(v.to_bytes(4, "big") for v in values))
    events = feed(Wire(), build.ipfix(options, data))
    assert [e.interval for e in of(SamplingLearned, events)] == ([interval] if interval else [])
    assert bool(reasons(events)) == (values == [1 << 25])


def test_v9_interface_scope(build: Any) -> None:
    options = build.options_template(400, [(2, 4)], [(34, 4)])
    events = feed(Wire(), build.v9(options, build.set_(400, struct.pack(">II", 17, 512))))
    (learned,) = of(SamplingLearned, events)
    assert (learned.sampler_id, learned.interface, learned.interval) == (None, 17, 512)


# The checklist of malformed messages


@pytest.mark.parametrize(
    "payload", [b"", b"\0", b"\0\5", b"\0\x09" + bytes(17), b"\0\x0a" + bytes(13), b"GET / HTTP"]
)
def test_what_is_no_export_packet_is_rejected_with_a_reason(payload: bytes) -> None:
    (event,) = feed(Wire(), payload)
    assert isinstance(event, Rejected)
    assert event.reason


def test_version_8_is_named() -> None:
    assert feed(Wire(), struct.pack(">H", 8) + bytes(40)) == [Unsupported("NetFlow v8")]


def test_unknown_set_id_is_skipped_and_the_rest_read(build: Any) -> None:
    payload = build.v9(build.set_(77, bytes(8)), build.template(300, build.V4))
    events = feed(Wire(), payload)
    assert reasons(events) == ["unknown set id"]
    assert len(of(TemplateLearned, events)) == 1


def test_template_id_below_256(build: Any) -> None:
    assert reasons(feed(Wire(), build.v9(build.template(255, build.V4)))) == [
        "template id below 256"
    ]


@VERSIONS
def test_template_cut_short(build: Any, version: int) -> None:
    body = build.template(300, build.V4, version=version)[4:-3]
    payload = build.message(version, build.set_(0 if version == 9 else 2, body))
    events = feed(Wire(), payload)
    assert reasons(events) == ["template cut short"]
    assert of(TemplateLearned, events) == []


def test_zero_fields_and_zero_length_records(build: Any) -> None:
    assert reasons(feed(Wire(), build.v9(build.template(300, [])))) == ["template with zero fields"]
    events = feed(Wire(), build.v9(build.template(300, [(8, 0), (12, 0)])))
    assert reasons(events) == ["template of zero-length records"]


def test_zero_length_field_beside_others_is_legal(build: Any) -> None:
    fields = ((8, 4), (82, 0), (1, 4))
    payload = build.v9(build.template(300, fields), build.set_(300, bytes(16)))
    assert [r.count for r in of(Records, feed(Wire(), payload))] == [2]


def test_field_longer_than_any_message(build: Any) -> None:
    payload = build.v9(build.template(300, [(8, 60_000)]), build.set_(300, b"\1" * 100))
    assert reasons(feed(Wire(), payload)) == ["record does not fit its set"]


def test_options_template_not_a_multiple_of_4(build: Any) -> None:
    body = struct.pack(">HHH", 400, 3, 4) + bytes(8)
    events = feed(Wire(), build.v9(build.set_(1, body), build.template(300, build.V4)))
    assert reasons(events) == ["options template not a multiple of 4"]
    assert len(of(TemplateLearned, events)) == 1, "the good template beside it is kept"


def test_options_template_with_a_wrong_scope_count(build: Any) -> None:
    body = struct.pack(">HHH", 400, 1, 8) + bytes(4)
    assert reasons(feed(Wire(), build.ipfix(build.set_(3, body)))) == [
        "options template with a wrong scope count"
    ]


@VERSIONS
def test_data_set_cut_short_keeps_whole_records(build: Any, version: int) -> None:
    octets = build.record(build.V4, {8: "10.0.0.1"})
    whole = build.message(
        version, build.template(300, build.V4, version=version), build.set_(300, octets * 3)
    )
    events = feed(Wire(), whole[:-10])
    assert "set runs past the message" in reasons(events)
    assert [r.count for r in of(Records, events)] == [2]


def test_set_shorter_than_its_header(build: Any) -> None:
    payload = build.v9(struct.pack(">HH", 300, 2) + b"\1\1")
    assert reasons(feed(Wire(), payload)) == ["set shorter than its header"]


def test_variable_record_that_runs_past_its_set(build: Any) -> None:
    fields = ((82, 65535),)
    octets = b"\x02ab" + b"\xf0zz"
    events = feed(
        Wire(), build.ipfix(build.template(300, fields, version=10), build.set_(300, octets))
    )
    assert [r.count for r in of(Records, events)] == [1]
    assert reasons(events) == ["record does not fit its set"]


def test_v5_count_beyond_the_datagram(build: Any) -> None:
    events = feed(Wire(), build.v5([{}] * 2, count=55_582))
    assert reasons(events) == ["v5 count is larger than the datagram"]
    assert [r.count for r in of(Records, events)] == [2]


def test_another_protocol_that_starts_like_v5_is_rejected() -> None:
    dns = struct.pack(">HHHHHH", 5, 0x0100, 1, 0, 0, 0) + b"\x3fx" * 31
    (event,) = feed(Wire(), dns)
    assert event == Rejected("not a NetFlow v5 packet")


def test_octets_after_the_ipfix_length_are_ignored(build: Any) -> None:
    payload = build.ipfix(build.template(300, build.V4, version=10)) + b"\xff" * 30
    assert reasons(feed(Wire(), payload)) == []


# Sequence numbers: v5 counts flows, v9 datagrams, IPFIX data records


def test_v5_sequence_counts_flows(build: Any) -> None:
    wire = Wire()
    feed(wire, build.v5([{}] * 3, sequence=100))
    assert of(SequenceGap, feed(wire, build.v5([{}] * 2, sequence=103))) == []
    (gap,) = of(SequenceGap, feed(wire, build.v5([{}], sequence=112)))
    assert gap.lost == 7
    assert of(SequenceGap, feed(wire, build.v5([{}], sequence=0, engine=(0, 1)))) == []


def test_v9_sequence_counts_datagrams(build: Any) -> None:
    wire = Wire()
    feed(wire, build.v9(sequence=0xFFFFFFFF))
    assert of(SequenceGap, feed(wire, build.v9(sequence=0))) == []
    (gap,) = of(SequenceGap, feed(wire, build.v9(sequence=3)))
    assert gap.lost == 2


def test_ipfix_sequence_counts_data_records_of_both_kinds(build: Any) -> None:
    wire = Wire()
    sets = (
        build.template(300, ((1, 4),), version=10),
        build.options_template(400, [(149, 4)], [(34, 4)], 10),
    )
    feed(wire, build.ipfix(*sets, sequence=50))
    data = (build.set_(300, bytes(12)), build.set_(400, bytes(8)))
    assert of(SequenceGap, feed(wire, build.ipfix(*data, sequence=50))) == []
    assert of(SequenceGap, feed(wire, build.ipfix(*data, sequence=54))) == []
    (gap,) = of(SequenceGap, feed(wire, build.ipfix(*data, sequence=60)))
    assert gap.lost == 2


def test_ipfix_message_of_unknown_size_makes_no_gap(build: Any) -> None:
    wire = Wire()
    feed(wire, build.ipfix(build.set_(300, bytes(12)), sequence=50))
    assert of(SequenceGap, feed(wire, build.ipfix(sequence=53))) == []


def test_late_datagram_takes_its_loss_back_and_a_restart_is_no_loss(build: Any) -> None:
    lost = []
    wire = Wire()
    for sequence in (10, 12, 11, 13, 0, 1):
        events = feed(wire, build.v9(sequence=sequence))
        lost.append(sum(e.lost for e in of(SequenceGap, events)))
    assert lost == [0, 1, -1, 0, 0, 0]


def test_advance_over_the_32_bit_border() -> None:
    wire = Wire()
    session = wire.state.session(EXPORTER, 1, 10, 0)
    assert isinstance(session, ExportSession)
    assert advance(session, 0xFFFFFFFE, 5) == 0
    assert advance(session, 3, 1) == 0
    assert advance(session, 14, 1) == 10


# What a v9 sequence counts


def losses(build: Any, messages: list[tuple[int, int]]) -> list[int]:
    """Units lost before each message of (sequence, flow records), a template first."""
    wire = Wire()
    template = build.template(300, [(1, 4)])
    out = []
    for i, (sequence, records) in enumerate(messages):
        sets = [template] if i == 0 else []
        if records:
            sets.append(build.set_(300, bytes(4 * records)))
        events = feed(wire, build.v9(*sets, sequence=sequence))
        out.append(sum(e.lost for e in of(SequenceGap, events)))
    return out


def test_v9_sequence_that_counts_flows_is_no_loss(build: Any) -> None:
    assert losses(build, [(0, 1), (1, 4), (4, 1), (5, 5), (8, 3), (10, 1), (11, 3)]) == [0] * 7


def test_v9_losses_of_an_exporter_that_counts_flows_are_told_at_least(build: Any) -> None:
    assert losses(build, [(0, 5), (3, 4), (40, 4)]) == [0, 0, 33]


def test_v9_losses_after_proof_are_exact_though_they_could_be_flows(build: Any) -> None:
    assert losses(build, [(7, 24), (8, 24), (22, 24), (23, 2), (25, 24)]) == [0, 0, 13, 0, 1]


def test_v9_losses_before_the_template_wait_for_proof(build: Any) -> None:
    wire = Wire()
    lost = []
    for sequence in (0, 5):
        events = feed(wire, build.v9(build.set_(300, bytes(40)), sequence=sequence))
        lost.append(sum(e.lost for e in of(SequenceGap, events)))
    for sequence in (6, 7):
        events = feed(
            wire,
            build.v9(build.template(300, [(1, 4)]), build.set_(300, bytes(40)), sequence=sequence),
        )
        lost.append(sum(e.lost for e in of(SequenceGap, events)))
    assert lost == [0, 0, 0, 4]


@settings(max_examples=examples(200))
@given(
    st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=30),
    st.integers(0, 2**32 - 1),
)
def test_v9_losses_are_never_more_than_the_datagrams_lost(
    build: Any, stream: list[tuple[int, bool]], start: int
) -> None:
    kept = [((start + i) % 2**32, n) for i, (n, keep) in enumerate(stream) if keep]
    lost = losses(build, kept)
    assert all(x >= 0 for x in lost)
    gaps = [(b[0] - a[0]) % 2**32 - 1 for a, b in pairwise(kept)]
    assert sum(lost) <= sum(gaps)


@settings(max_examples=examples(200))
@given(
    st.lists(st.tuples(st.integers(1, 12), st.integers(0, 12)), min_size=2, max_size=30),
    st.integers(0, 2**32 - 1),
)
def test_v9_flow_counters_lose_nothing_where_nothing_is_lost(
    build: Any, stream: list[tuple[int, int]], start: int
) -> None:
    sequence, messages = start, []
    for flows, both in stream:
        messages.append((sequence, flows + min(both, flows)))
        sequence = (sequence + flows) % 2**32
    assert sum(losses(build, messages)) == 0


# Encoding, then decoding


@settings(max_examples=examples(300))
@given(st.data(), st.sampled_from([9, 10]))
def test_every_element_is_read_as_it_was_written(build: Any, data: Any, version: int) -> None:
    chosen = data.draw(
        st.lists(st.sampled_from(ELEMENTS), unique_by=lambda e: e.key, min_size=1, max_size=12)
    )
    fields: list[tuple[int, int]] = []
    for e in chosen:
        whole = {"address4": 4, "address6": 16}.get(e.kind, 8)
        free = version == 10 and data.draw(st.booleans())
        exact = e.kind != "unsigned" or "_ntp" in e.key
        size = whole if exact else data.draw(st.integers(1, whole))
        fields.append((e.number, 65535 if free else size))
    sizes = [
        (8 if e.kind == "unsigned" else {"address4": 4, "address6": 16}[e.kind])
        if size == 65535 else size
        for e, (_, size) in zip(chosen, fields, strict=True)
    ]  # fmt: skip
    rows = data.draw(
        st.lists(
            st.tuples(*(st.binary(min_size=n, max_size=n) for n in sizes)), min_size=1, max_size=5
        )
    )
    body = b"".join(
        build.record(fields, {n: v for (n, _), v in zip(fields, row, strict=True)}) for row in rows
    )
    payload = build.message(
        version, build.template(300, fields, version=version), build.set_(300, body)
    )
    found = of(Records, feed(Wire(), payload))
    assert sum(r.count for r in found) == len(rows)
    assert b"".join(r.octets for r in found) == body
    (event,) = found
    values = read_all(event.template.layout, event.flat, event.count)
    for i, e in enumerate(chosen):
        said = [v[e.key] for v in values]
        written = [int.from_bytes(row[i], "big") for row in rows]
        if e.kind != "unsigned":
            assert said == written
        elif "_ntp" not in e.key:
            assert said == [min(x, 2**63 - 1) for x in written]
