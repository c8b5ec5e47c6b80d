"""METHODS M2 and M3 as the ingest applies them: whose clock, which N."""

from __future__ import annotations

import struct
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from flowpeer_ingest.decoder import Decoder
from flowpeer_ingest.ingest import ingest_capture
from flowpeer_ingest.summary import CaptureSummary

T0 = datetime(2025, 7, 1, tzinfo=UTC)
NTP = 2_208_988_800


class Tables:
    """Collects what is written."""

    def __init__(self) -> None:
        self.parts: list[tuple[datetime, str, pa.Table]] = []

    def __call__(self, hour: datetime, name: str, table: pa.Table) -> None:
        self.parts.append((hour, name, table))

    def rows(self, name: str = "flows") -> list[dict[str, Any]]:
        return [r for _, n, t in self.parts if n == name for r in t.to_pylist()]


def ingest(
    build: Any, tmp_path: Path, *payloads: bytes, timeout: int = 60, **how: Any
) -> tuple[Tables, CaptureSummary]:
    tables = Tables()
    path = build.capture(tmp_path / "c.pcap", *payloads, **how)
    decoder = Decoder(active_timeout_s=lambda _: timeout)
    return tables, ingest_capture(path, decoder=decoder, write=tables)


def span(row: dict[str, Any]) -> tuple[float, float]:
    return (row["start_time"] - T0).total_seconds(), (row["end_time"] - T0).total_seconds()


def ms(seconds: float) -> int:
    return round((1_751_328_000 + seconds) * 1000)


@pytest.mark.parametrize(
    ("fields", "values"),
    [
        ([(152, 8), (153, 8)], {152: ms(-10), 153: ms(-4)}),
        ([(150, 4), (151, 4)], {150: ms(-10) // 1000, 151: ms(-4) // 1000}),
        ([(158, 4), (159, 4)], {158: 10_000_000, 159: 4_000_000}),
        (
            [(154, 8), (155, 8)],
            {154: (ms(-10) // 1000 + NTP) << 32, 155: (ms(-4) // 1000 + NTP) << 32},
        ),
        (
            [(156, 8), (157, 8)],
            {156: (ms(-10) // 1000 + NTP) << 32, 157: (ms(-4) // 1000 + NTP) << 32},
        ),
        ([(22, 4), (21, 4), (160, 8)], {160: ms(-500), 22: 490_000, 21: 496_000}),
        ([(153, 8), (161, 4)], {153: ms(-4), 161: 6_000}),
        ([(152, 8), (162, 4)], {152: ms(-10), 162: 6_000_000}),
        (
            [(150, 4), (151, 4), (152, 8), (153, 8)],
            {150: 1, 151: 2, 152: ms(-10), 153: ms(-4)},
        ),
    ],
)
def test_every_unit_of_time(build: Any, tmp_path: Path, fields: Any, values: Any) -> None:
    template = build.template(300, fields, version=10)
    payload = build.ipfix(template, build.set_(300, build.record(fields, values)))
    tables, summary = ingest(build, tmp_path, payload)
    (row,) = tables.rows()
    assert span(row) == (-10, -4)
    assert not row["time_corrected"]
    assert summary.exporters["192.0.2.10"].time_corrected == 0


@pytest.mark.parametrize(
    ("uptime", "first", "last"),
    [(60_000, 50_000, 56_000), (5_000, 2**32 - 5_000, 1_000), (60_000, 50_000, 60_500)],
)
def test_sysuptime_wraps_and_may_be_a_little_ahead(
    build: Any, tmp_path: Path, uptime: int, first: int, last: int
) -> None:
    tables, _ = ingest(build, tmp_path, build.v5([{"first": first, "last": last}], uptime=uptime))
    (row,) = tables.rows()
    end = -((uptime - last + 2**31) % 2**32 - 2**31) / 1000
    assert span(row) == (-10, end)
    assert not row["time_corrected"]


def test_boot_time_from_options_holds_for_later_records(build: Any, tmp_path: Path) -> None:
    fields = [(22, 4), (21, 4)]
    tables, _ = ingest(
        build, tmp_path,
        build.ipfix(
            build.options_template(400, [(149, 4)], [(160, 8)], 10),
            build.set_(400, struct.pack(">IQ", 0, ms(-500))),
            build.template(300, fields, version=10),
            build.set_(300, build.record(fields, {22: 490_000, 21: 496_000})),
        ),
    )  # fmt: skip
    assert span(tables.rows()[0]) == (-10, -4)


@pytest.mark.parametrize("error_s", [-7_200, -3, 3, 86_400 * 400])
def test_clock_error_is_removed(build: Any, tmp_path: Path, error_s: int) -> None:
    seconds = build.START - error_s
    payload = build.v5([{"first": 0, "last": 6_000}], uptime=10_000, seconds=seconds)
    tables, summary = ingest(build, tmp_path, payload)
    assert span(tables.rows()[0]) == (-10, -4)
    assert summary.exporters["192.0.2.10"].clock_error_s == error_s


def test_small_differences_are_delay_and_stay(build: Any, tmp_path: Path) -> None:
    payload = build.v5([{"first": 0, "last": 6_000}], uptime=10_000, seconds=build.START - 2)
    tables, _ = ingest(build, tmp_path, payload)
    assert span(tables.rows()[0]) == (-12, -6)


@pytest.mark.parametrize(
    ("start", "end", "timeout", "usable"),
    [
        (-180, 0, 60, True),
        (-181, 0, 60, False),
        (-181, 0, 1800, True),
        (-86_400, -86_390, 60, True),
        (-86_401, -86_390, 60, False),
        (290, 300, 60, True),
        (290, 301, 60, False),
        (-4, -10, 60, False),
    ],
)
def test_times_out_of_bounds_are_replaced_and_counted(
    build: Any, tmp_path: Path, start: int, end: int, timeout: int, usable: bool
) -> None:
    fields = [(152, 8), (153, 8)]
    template = build.template(300, fields, version=10)
    record = build.record(fields, {152: ms(start), 153: ms(end)})
    payload = build.ipfix(template, build.set_(300, record))
    tables, summary = ingest(build, tmp_path, payload, timeout=timeout)
    (row,) = tables.rows()
    assert row["time_corrected"] is not usable
    assert span(row) == ((start, end) if usable else (-timeout, 0))
    assert summary.exporters["192.0.2.10"].time_corrected == (not usable)


def test_records_without_times_lie_in_the_active_timeout(build: Any, tmp_path: Path) -> None:
    payload = build.ipfix(build.template(300, [(1, 4)], version=10), build.set_(300, bytes(4)))
    tables, _ = ingest(build, tmp_path, payload, timeout=30)
    (row,) = tables.rows()
    assert (span(row), row["time_corrected"]) == ((-30, 0), True)


def test_long_flows_are_counted(build: Any, tmp_path: Path) -> None:
    payload = build.v5([{"first": 0, "last": 400_000}, {}], uptime=401_000)
    _, summary = ingest(build, tmp_path, payload, timeout=1800)
    assert summary.exporters["192.0.2.10"].long_flows == 1


# Sampling

FIELDS = [(1, 4), (10, 4), (48, 1)]


def data(build: Any, sampler: int, interface: int = 1) -> bytes:
    octets: bytes = build.set_(300, build.record(FIELDS, {1: 100, 10: interface, 48: sampler}))
    return octets


def said(build: Any, scope: tuple[int, int], sampler: int | None, rate: int) -> bytes:
    """Options template 400 + one record: scope (type, value), maybe a sampler, the rate."""
    fields = [(48, 1)] * (sampler is not None) + [(50, 4)]
    values = bytes([sampler]) if sampler is not None else b""
    number = 400 + scope[0] + 10 * (sampler is not None)
    octets: bytes = build.options_template(number, [(scope[0], 4)], fields) + build.set_(
        number, struct.pack(">I", scope[1]) + values + struct.pack(">I", rate)
    )
    return octets


def rates(tables: Tables) -> list[int | None]:
    return [r["sampling_interval"] for r in tables.rows()]


def test_rate_by_sampler_then_interface_then_domain(build: Any, tmp_path: Path) -> None:
    payload = build.v9(
        build.template(300, FIELDS), said(build, (1, 0), 1, 1000), said(build, (1, 0), 2, 2000),
        said(build, (2, 7), None, 300), said(build, (1, 0), None, 40),
        data(build, 1, 7), data(build, 2), data(build, 3, 7), data(build, 3, 8),
    )  # fmt: skip
    assert rates(ingest(build, tmp_path, payload)[0]) == [1000, 2000, 300, 40]


def test_rates_hold_in_their_domain_and_those_of_domain_0_in_all(
    build: Any, tmp_path: Path
) -> None:
    template = build.template(300, FIELDS)
    tables, _ = ingest(
        build, tmp_path,
        build.v9(said(build, (1, 0), 1, 1000), domain=6),
        build.v9(template, data(build, 1), domain=5),
        build.v9(template, data(build, 1), domain=6),
        build.v9(said(build, (1, 0), 1, 500), domain=0),
        build.v9(data(build, 1), domain=5),
        build.v9(data(build, 1), domain=6),
    )  # fmt: skip
    by_domain = {(r["observation_domain"], r["sampling_interval"]) for r in tables.rows()}
    assert by_domain == {(5, None), (5, 500), (6, 1000)}


def test_a_rate_holds_from_when_it_was_said_and_is_replaced(build: Any, tmp_path: Path) -> None:
    template = build.template(300, FIELDS)
    tables, _ = ingest(
        build, tmp_path,
        build.v9(template, data(build, 1), sequence=0),
        build.v9(said(build, (1, 0), 1, 1000), data(build, 1), sequence=1),
        build.v9(said(build, (1, 0), 1, 4000), data(build, 1), sequence=2),
        step=1,
    )  # fmt: skip
    assert rates(tables) == [None, 1000, 4000], "what was not announced yet is for the roll-up"
    assert [(r["sampler_id"], r["interval"]) for r in tables.rows("sampling")] == [
        (1, 1000),
        (1, 4000),
    ]


def test_rates_of_other_exporters_do_not_hold(build: Any, tmp_path: Path) -> None:
    tables = Tables()
    decoder = Decoder()
    for source, payload in (
        ("192.0.2.1", build.v9(said(build, (1, 0), 1, 1000))),
        ("192.0.2.2", build.v9(build.template(300, FIELDS), data(build, 1))),
    ):
        path = build.capture(tmp_path / "c.pcap", payload, source=source)
        ingest_capture(path, decoder=decoder, write=tables)
    assert rates(tables) == [None]


@pytest.mark.parametrize(
    ("fields", "values", "rate"),
    [
        ([(34, 4)], {34: 2048}, 2048),
        ([(34, 4)], {34: 0}, None),
        ([(34, 4)], {34: 1}, 1),
        ([(50, 2)], {50: 128}, 128),
        ([(305, 4), (306, 4)], {305: 1, 306: 999}, 1000),
        ([(305, 4), (309, 4), (310, 4)], {305: 1, 309: 1, 310: 256}, 256),
        ([(34, 4)], {34: (1 << 24) + 1}, None),
    ],
)
def test_rate_in_the_record(
    build: Any, tmp_path: Path, fields: Any, values: Any, rate: int | None
) -> None:
    template = build.template(300, fields, version=10)
    payload = build.ipfix(template, build.set_(300, build.record(fields, values)))
    tables, summary = ingest(build, tmp_path, payload)
    assert rates(tables) == [rate]
    assert bool(summary.malformed) == (values.get(34, 0) > 1 << 24)


@pytest.mark.parametrize(("field", "rate"), [(0x4064, 100), (0x03E8, 1000), (0, None)])
def test_v5_header_rate_has_14_bits(
    build: Any, tmp_path: Path, field: int, rate: int | None
) -> None:
    assert rates(ingest(build, tmp_path, build.v5([{}], sampling=field))[0]) == [rate]


# Hours, coverage, late templates


def test_rows_go_to_the_hour_they_were_received_in(build: Any, tmp_path: Path) -> None:
    payloads = [build.v5([{"sport": i}], sequence=i) for i in range(3)]
    tables, summary = ingest(build, tmp_path, *payloads, step=1800.0)
    hours = {
        (hour, r["src_port"]) for hour, n, t in tables.parts if n == "flows" for r in t.to_pylist()
    }
    assert hours == {(T0, 0), (T0, 1), (T0 + timedelta(hours=1), 2)}
    assert summary.first_received == T0
    assert summary.last_received == T0 + timedelta(hours=1)


def test_data_that_waited_keeps_its_own_time_and_hour(build: Any, tmp_path: Path) -> None:
    tables, summary = ingest(
        build, tmp_path, build.v9(build.set_(300, bytes(8))),
        build.v9(build.template(300, [(1, 4)]), sequence=1), step=4000.0,
    )  # fmt: skip
    assert [(h, len(t)) for h, n, t in tables.parts if n == "flows"] == [(T0, 2)]
    assert tables.rows()[0]["received_at"] == T0
    assert (summary.records, summary.pending) == (2, {})
    assert summary.exporters["192.0.2.10"].template_misses == 1


def test_data_that_still_waits_is_pending(build: Any, tmp_path: Path) -> None:
    _, summary = ingest(build, tmp_path, build.v9(build.set_(300, bytes(8)), domain=4))
    assert summary.pending == {"192.0.2.10 4 300": 1}


def test_coverage_counts_datagrams_and_losses_by_slot(build: Any, tmp_path: Path) -> None:
    payloads = [build.v9(sequence=s) for s in (0, 1, 4, 5)]
    tables, summary = ingest(build, tmp_path, *payloads, step=200.0)
    rows = [(r["slot"], r["datagrams"], r["lost"], r["seen"]) for r in tables.rows("coverage")]
    slot = timedelta(minutes=5)
    assert rows == [(T0, 2, 0, True), (T0 + slot, 1, 2, True), (T0 + 2 * slot, 1, 0, True)]
    assert summary.exporters["192.0.2.10"].lost == 2


def test_what_was_received_is_counted_in_the_unit_of_the_losses(build: Any, tmp_path: Path) -> None:
    template = build.template(300, [(1, 4)])
    data = build.set_(300, bytes(12))  # three records
    v5 = [build.v5([{"sport": i}] * 4, sequence=4 * i) for i in (0, 1, 3)]
    nine = [build.v9(template, data, sequence=0)]
    nine += [build.v9(data, data, sequence=s) for s in (1, 4)]  # a step of 1: it counts datagrams
    ten = [build.ipfix(build.template(300, [(1, 4)], version=10), data, sequence=0)]
    ten += [build.ipfix(data, data, sequence=s) for s in (3, 19)]
    for name, payloads, want in (
        ("v5", v5, (3, 12, 4)), ("v9", nine, (3, 3, 2)), ("ipfix", ten, (3, 15, 10)),
    ):  # fmt: skip
        folder = tmp_path / name
        folder.mkdir()
        tables, _ = ingest(build, folder, *payloads)
        (row,) = tables.rows("coverage")
        assert (row["datagrams"], row["received"], row["lost"]) == want, name
