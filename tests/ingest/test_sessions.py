"""Whose templates and rates hold for whom, how many sessions there may be, and what two senders in
one session look like."""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pytest

from flowpeer_ingest import export_sessions
from flowpeer_ingest.decoder import Decoder
from flowpeer_ingest.summary import CaptureSummary
from flowpeer_ingest.unit_decoder import UnitDecoder
from flowpeer_ingest.wire import state
from flowpeer_ingest.wire.saved import restore, snapshot

VERSIONS = pytest.mark.parametrize("version", [9, 10])
ROUTER, STRANGER = "192.0.2.10", "203.0.113.66"
START_US = 1_751_328_000_000_000
SECOND = 1_000_000
FIELDS = [(8, 4), (12, 4), (10, 4), (1, 4), (2, 4)]


@dataclass
class Net:
    """Datagrams of several senders, decoded as one unit."""

    build: Any
    decoder: Decoder = field(default_factory=Decoder)
    sent: list[tuple[bytes, str, int, int]] = field(default_factory=list)
    tables: list[tuple[str, pa.Table]] = field(default_factory=list)
    at: float = 0.0

    def send(
        self, payload: bytes, *, after: float = 1.0, port: int = 4_000, exporter: str = ROUTER
    ) -> None:
        self.at += after
        self.sent.append((payload, exporter, port, START_US + round(self.at * SECOND)))

    def unit(self) -> CaptureSummary:
        """Decode what was sent since the last unit."""
        self.tables = []
        unit = UnitDecoder(self.decoder, lambda _, name, table: self.tables.append((name, table)))
        unit.many(*([list(column) for column in zip(*self.sent, strict=True)]))
        self.sent = []
        unit.finish()
        summary = CaptureSummary("")
        unit.summarise(summary)
        return summary

    def rows(self, name: str = "flows") -> list[dict[str, Any]]:
        return [row for n, table in self.tables if n == name for row in table.to_pylist()]

    def data(self, octets: int = 100, number: int = 300) -> bytes:
        values = {8: "198.51.100.1", 12: "198.51.100.2", 10: 1, 1: octets}
        set_: bytes = self.build.set_(number, self.build.record(FIELDS, values))
        return set_

    def template(self, version: int, fields: Any = FIELDS, number: int = 300) -> bytes:
        set_: bytes = self.build.template(number, fields, version=version)
        return set_

    def rate(self, version: int, rate: int, sampler: int = 1) -> bytes:
        scope = (1, 4) if version == 9 else (149, 4)
        octets: bytes = self.build.options_template(400, [scope], [(48, 1), (50, 4)], version)
        octets += self.build.set_(400, struct.pack(">IBI", 0, sampler, rate))
        return octets


@pytest.fixture
def net(build: Any) -> Net:
    return Net(build)


# Whose word holds


@VERSIONS
@pytest.mark.parametrize("differs", ["port", "domain", "exporter"])
def test_a_forged_template_reads_no_row_of_another(
    net: Net, build: Any, version: int, differs: str
) -> None:
    """Ten records would be read as ones of a single octet."""
    narrow = net.template(version, [(1, 1), (2, 1)])
    forged = build.message(version, narrow, domain=7 if differs == "domain" else 5)
    how = {"port": {"port": 666}, "exporter": {"exporter": STRANGER}}.get(differs, {})
    net.send(build.message(version, net.template(version), domain=5))
    for i in range(10):
        net.send(forged, **how)
        net.send(build.message(version, net.data(1_000 + i), domain=5, sequence=i))
    net.unit()
    assert [row["bytes"] for row in net.rows()] == [1_000 + i for i in range(10)]


@VERSIONS
@pytest.mark.parametrize("differs", ["port", "domain", "exporter"])
def test_a_forged_rate_scales_no_row_of_another(
    net: Net, build: Any, version: int, differs: str
) -> None:
    forged = build.message(version, net.rate(version, 9_000_000), domain=5 + (differs == "domain"))
    how = {"port": {"port": 666}, "exporter": {"exporter": STRANGER}}.get(differs, {})
    net.send(build.message(version, net.template(version), net.rate(version, 1_000), domain=5))
    net.send(forged, **how)
    net.send(build.message(version, net.data(), domain=5))
    net.unit()
    assert [row["sampling_interval"] for row in net.rows()] == [1_000]
    assert {(r["session"], r["interval"]) for r in net.rows("sampling")} == {
        (4_000, 1_000), (666 if differs == "port" else 4_000, 9_000_000)
    }  # fmt: skip


@VERSIONS
def test_only_v9_takes_over_from_a_session_and_only_from_a_silent_one(
    net: Net, build: Any, version: int
) -> None:
    net.send(build.message(version, net.template(version), net.rate(version, 1_000), net.data(1)))
    net.send(build.message(version, net.data(2)), port=4_001, after=5)
    assert net.unit().exporters[ROUTER].template_misses == 1, "the other one may be alive"
    net.send(build.message(version, net.data(3)), port=4_001, after=70)
    summary = net.unit()
    found = sorted(row["bytes"] for row in net.rows())
    if version == 10:
        assert found == []
        assert summary.pending == {f"{ROUTER} 0 300": 2}
        return
    assert found == [2, 3], "what waited is read too"
    assert summary.pending == {}
    assert [row["sampling_interval"] for row in net.rows()] == [1_000, 1_000]
    assert [(r["session"], r["interval"]) for r in net.rows("sampling")] == [(4_001, 1_000)]


def test_two_live_sessions_of_v9_never_take_over(net: Net, build: Any) -> None:
    net.send(build.v9(net.template(9), net.data(1)))
    for i in range(30):
        net.send(build.v9(net.data(2), sequence=1 + i), after=10)
        net.send(build.v9(net.data(3), sequence=i), port=666)
    summary = net.unit()
    assert {row["bytes"] for row in net.rows()} == {1, 2}
    (conflict,) = summary.conflicts
    assert (conflict.kind, conflict.exporter_ip) == (export_sessions.TWO_SESSIONS, ROUTER)
    assert conflict.detail == "source ports 4000 and 666"


# How many


def test_a_chassis_of_thousands_of_domains_is_read_whole(net: Net, build: Any) -> None:
    domains = 3_000
    for domain in range(domains):
        net.send(build.ipfix(net.template(10), domain=domain), after=0.01)
    for domain in range(domains):
        net.send(build.ipfix(net.data(domain), domain=domain), after=0.01)
    summary = net.unit()
    assert (summary.rows, summary.pending) == (domains, {})
    assert summary.forgotten_sessions == {}
    assert len(net.rows("coverage")) == domains


def test_the_least_recently_used_session_goes_first_and_is_counted(
    net: Net, build: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = 10 * (state.SESSION_OCTETS + state.TEMPLATE_OCTETS)
    monkeypatch.setattr(state, "MAX_EXPORTER_OCTETS", room)
    for domain in range(10):
        net.send(build.ipfix(net.template(10), domain=domain))
    net.send(build.ipfix(net.data(7), domain=0))
    net.send(build.ipfix(net.template(10), domain=10))
    for domain in (0, 1):
        net.send(build.ipfix(net.data(8 + domain), domain=domain, sequence=1))
    summary = net.unit()
    assert sorted(row["bytes"] for row in net.rows()) == [7, 8], "domain 1 was forgotten, not 0"
    assert summary.forgotten_sessions == {ROUTER: 2}


@pytest.mark.parametrize("agents", [65, 300])
def test_losses_of_many_sflow_agents_behind_one_address_are_counted(net: Net, agents: int) -> None:
    def sflow(agent: int, sequence: int) -> bytes:
        return struct.pack(">IIIIIII", 5, 1, 0x0A000000 + agent, 0, sequence, 1_000, 0)

    for sequence in (1, 2, 5):
        for agent in range(agents):
            net.send(sflow(agent, sequence), after=0.001, port=6_343)
    summary = net.unit()
    assert summary.exporters[ROUTER].lost == 2 * agents
    rows = net.rows("coverage")
    assert len({row["session"] for row in rows}) == agents
    assert {(row["first_sequence"], row["last_sequence"], row["lost"]) for row in rows} == {
        (1, 6, 2)
    }


def test_strangers_do_not_take_what_configured_exporters_need(build: Any) -> None:
    """1,520 datagrams stopped the first contact of a configured exporter."""
    net = Net(build, Decoder(configured=frozenset({ROUTER})))
    filled = build.v9(build.set_(300, bytes(60_000)))
    for i in range(1_520):
        net.send(filled, exporter=f"203.0.{i // 20}.{i % 20}", after=0.001)
    for i in range(200):
        wide = [(1 + (i + k) % 400, 1 + k % 3) for k in range(400)]
        sets = [build.template(256 + k, [*wide[k:], (k, 2)]) for k in range(30)]
        net.send(build.v9(*sets), exporter=f"198.51.{i // 20}.{i % 20}", after=0.001)
    net.send(build.v9(net.data(1)))
    net.send(build.v9(net.template(9), net.data(2), sequence=1))
    summary = net.unit()
    assert [row["bytes"] for row in net.rows() if row["exporter_ip"] == ROUTER] == [1, 2]
    assert summary.malformed["too many different templates"] > 0
    assert net.decoder.wire.state.dropped > 0


def test_a_saved_state_forgets_in_the_same_order(
    net: Net, build: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for domain in range(8):
        net.send(build.v9(net.template(9), net.rate(9, 100), net.data(number=301), domain=domain))
    net.send(build.v9(net.data(), domain=3, sequence=1))
    net.unit()
    before = net.decoder.wire.state
    again = restore(snapshot(before))
    assert snapshot(again) == snapshot(before)
    assert [*again.in_order()] == [*before.in_order()]
    assert again.exporters[ROUTER].octets == before.exporters[ROUTER].octets


# Two senders that look like one


def test_a_template_redefined_to_and_fro_is_told(net: Net, build: Any) -> None:
    for i in range(3):
        net.send(build.v9(net.template(9), sequence=2 * i))
        net.send(build.v9(net.template(9, [(1, 1), (2, 1)]), sequence=2 * i + 1))
    (conflict,) = net.unit().conflicts
    assert (conflict.kind, conflict.count) == (export_sessions.TO_AND_FRO, 4)
    assert conflict.detail == "template 300"
    assert conflict.first_us == START_US + 3 * SECOND
    assert conflict.last_us == START_US + 6 * SECOND


def test_a_template_that_changes_once_is_no_conflict(net: Net, build: Any) -> None:
    for i in range(4):
        net.send(build.v9(net.template(9, FIELDS[: 5 - i // 2]), sequence=i))
    assert net.unit().conflicts == []


@pytest.mark.parametrize(("rate", "told"), [(2_000, 0), (10_000, 2), (100, 2)])
def test_a_rate_that_jumps_is_told(net: Net, build: Any, rate: int, told: int) -> None:
    for i, one in enumerate((1_000, rate, 1_000)):
        net.send(build.v9(net.rate(9, one), sequence=i))
    found = net.unit().conflicts
    assert sum(c.count for c in found) == told
    assert {c.kind for c in found} <= {export_sessions.RATE_JUMPS}
    changes = sorted((r["first_seen"], r["interval"]) for r in net.rows("sampling"))
    assert [interval for _, interval in changes] == [1_000, rate, 1_000]


def test_sequences_of_two_senders_in_one_session_are_told(net: Net, build: Any) -> None:
    net.send(build.v9(net.template(9), sequence=0))
    for i in range(10):
        net.send(build.v9(net.data(), sequence=1 + i))
        net.send(build.v9(net.data(), sequence=1_000_000_000 + i))
    (conflict,) = net.unit().conflicts
    assert (conflict.kind, conflict.session) == (export_sessions.SEQUENCE, 4_000)
    net.send(build.v9(net.data(), sequence=5))
    net.send(build.v9(net.data(), sequence=6))
    assert net.unit().conflicts == [], "one restart is none"


# What a change costs


def test_an_exporter_that_changes_without_end_is_stopped_and_told(
    net: Net, build: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "MAX_WORK", 50)
    net.send(build.v9(net.template(9), net.data(1)))
    for i in range(100):
        net.send(build.v9(net.rate(9, 100 + i), sequence=1 + i), after=0.1)
    net.send(build.v9(net.template(9, [(1, 1), (2, 1)]), net.data(2), sequence=101), after=0.1)
    net.send(build.v9(net.template(9), net.data(3), sequence=102), exporter=STRANGER)
    summary = net.unit()
    told = "too many changes of templates and rates in a minute"
    assert summary.malformed[told] > 50
    assert sorted(row["bytes"] for row in net.rows()) == [1, 3], "nothing is read by guess"
    net.send(build.v9(net.template(9), net.data(4), sequence=102), after=61)
    net.unit()
    assert sorted(row["bytes"] for row in net.rows()) == [2, 4]


# Coverage and intervals


def test_coverage_is_by_session_and_domain_with_its_numbers(net: Net, build: Any) -> None:
    data = net.data() + net.data()
    net.send(build.ipfix(net.template(10), data, domain=1, sequence=10))
    net.send(build.ipfix(data, domain=1, sequence=12))
    net.send(build.ipfix(data, domain=1, sequence=20), after=300)
    net.send(build.ipfix(net.template(10), domain=2, sequence=7), port=4_001)
    summary = net.unit()
    names = ("session", "domain", "datagrams", "received", "lost", "first_sequence",
             "last_sequence")  # fmt: skip
    assert Counter(tuple(row[n] for n in names) for row in net.rows("coverage")) == Counter(
        [(4_000, 1, 2, 4, 0, 10, 14), (4_000, 1, 1, 2, 6, 20, 22), (4_001, 2, 1, 0, 0, 7, 7)]
    )
    found = [(i.session, i.domain, i.first, i.after) for i in summary.sequences]
    assert found == [(4_000, 1, 10, 14), (4_000, 1, 20, 22)]
    rows = {(row["datagram_sequence"], row["session"]) for row in net.rows()}
    assert rows == {(10, 4_000), (12, 4_000), (20, 4_000)}
    assert {row["export_time"].timestamp() for row in net.rows()} == {START_US / 1e6}


def test_numbers_on_either_side_of_2_to_32_keep_their_times() -> None:
    sent = [(2**32 - 7, 5), (2**32 - 2, 5), (3, 4), (7, 1)]
    one, many = (export_sessions.SessionCounts(cast(Any, None), 0) for _ in range(2))
    for i, (sequence, units) in enumerate(sent):
        one.datagram(i, sequence, units, known=True)
    many.many(np.arange(4), *(np.array(column) for column in zip(*sent, strict=True)))
    expected = [[0, 8, 1, 3], [2**32 - 7, 2**32, 0, 1]]
    assert export_sessions.joined(one.runs) == export_sessions.joined(many.runs) == expected


def test_intervals_join_what_overtook_and_stay_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    def spans(*runs: tuple[int, int]) -> list[list[int]]:
        return [
            r[:2] for r in export_sessions.joined([first, units, 0, 0] for first, units in runs)
        ]

    assert spans((0, 5), (6, 1), (5, 1), (7, 3), (20, 1)) == [[0, 10], [20, 21]]
    monkeypatch.setattr(export_sessions, "MAX_INTERVALS", 3)
    assert spans(*((10 * i + (i > 4) * 50, 3) for i in range(9))) == [[0, 43], [100, 133]]
