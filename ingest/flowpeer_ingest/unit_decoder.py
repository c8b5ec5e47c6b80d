"""Datagrams of one unit of work → rows, and the integers that must add up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from statistics import median_low
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from flowpeer_core.native.rows import Rows
from flowpeer_core.sampling_rates import rounded
from flowpeer_core.slots import HOUR_US, SLOT_US
from flowpeer_ingest.compiled import CompiledColumns
from flowpeer_ingest.datagrams import Datagrams
from flowpeer_ingest.decoder import Decoder
from flowpeer_ingest.export_sessions import (
    JUMP,
    RATE_JUMPS,
    TO_AND_FRO,
    SenderConflict,
    SessionCounts,
    SessionKey,
    conflicts,
    intervals,
)
from flowpeer_ingest.flow_columns import EPOCH, RecordTally, coverage_table, sampling_table
from flowpeer_ingest.interface_names import InterfaceNames
from flowpeer_ingest.sampling import NO_RATES, Rates
from flowpeer_ingest.summary import CaptureSummary, Counts, ExporterSummary
from flowpeer_ingest.walk import SessionDatagrams
from flowpeer_ingest.wire.events import (
    FORMATS,
    SFLOW5,
    Event,
    InterfaceLearned,
    Malformed,
    Message,
    MissingTemplate,
    OptionsRecords,
    Records,
    Rejected,
    SamplingLearned,
    SequenceGap,
    TemplateLearned,
    Unsupported,
)
from flowpeer_ingest.wire.state import FLOWS, ExportSession

BATCH_DATAGRAMS = 4_096
BATCH_OCTETS = 8 << 20
"""Datagrams decoded together."""
MAX_RATE_ROWS = 1 << 18
"""Rows of `sampling` per capture: a rate per interface and hour of hundreds of routers."""
MAX_CONFLICTS = 1_024
"""Signs of two senders that are reported of one unit: forged ones could be as many as datagrams."""

Write = Callable[[datetime, str, pa.Table], None]
"""Takes rows that were received in an hour, of a table of that name."""
WriteRows = Callable[[datetime, str, pa.Table | Rows], None]


class UnitDecoder:
    """Datagrams of one unit (a capture, a spool segment) on their way through a decoder."""

    def __init__(self, decoder: Decoder, write: Write, rows: WriteRows | None = None) -> None:
        """`rows`: what takes flow records in `write`'s place, as the compiled core left them."""
        self.decoder = decoder
        self.write, self.write_rows = write, rows
        self.exporters: dict[str, Counts] = {}
        self.rejected: Counter[str] = Counter()
        self.malformed: Counter[str] = Counter()
        self.unsupported: Counter[str] = Counter()
        self.options_records = 0
        self.sessions: dict[SessionKey, SessionCounts] = {}
        self.conflicts: dict[tuple[str, SessionKey], SenderConflict] = {}
        self.rates: dict[tuple[Any, ...], list[Any]] = {}
        self.rate_rows: list[tuple[Any, ...]] = []
        self.names = InterfaceNames()
        self.first_us = self.last_us = -1
        decoder.columns.tally = RecordTally()
        decoder.begin()
        decoder.wire.state.forgotten.clear()

    def datagram(self, payload: bytes, exporter: str, port: int, received_us: int) -> bool:
        """Decode one datagram and gather what it says; whether that was flow records alone."""
        if self.first_us < 0 or received_us < self.first_us:
            self.first_us = received_us
        self.last_us = max(self.last_us, received_us)
        decoder = self.decoder
        events = decoder.wire.decode(payload, exporter, port, received_us)
        head = events[0]
        if type(head) is not Message:
            assert isinstance(head, Rejected | Unsupported)
            if isinstance(head, Rejected):
                reason = head.reason
            else:
                self.unsupported[head.name] += 1
                reason = f"{head.name} is not decoded"
            self.rejected[reason] += 1
            self.refused(reason, payload, exporter, port, received_us)
            return False
        who = self.counts(exporter)
        who.datagrams += 1
        who.versions.add(head.format)
        session = self.session_of(head)
        counts = self.of_session(session)
        units = self.units(head, events, session)
        known = session.expected >= 0 or head.version not in (5, 7, 10)
        sequence = -1 if head.version == 1 else head.sequence
        counts.datagram(received_us, sequence, units, known=known)
        slot = counts.slot(received_us)
        if head.export_ms >= 0:
            who.clock(received_us - head.export_ms * 1_000)
        self.take(events, who, slot)
        return all(type(event) in (Message, Records) for event in events)

    def take(self, events: Sequence[Event], who: Counts, slot: list[int]) -> None:
        """Gather the records of a datagram and count the rest."""
        decoder = self.decoder
        for event in events:
            kind = type(event)
            if kind is Records:
                assert isinstance(event, Records)
                m = event.message
                if decoder.columns.add(event, self.rates_of(m)):
                    self.drain()
            elif kind is not Message:
                self.other(event, who, slot)

    def joined(self, events: Iterable[Event]) -> None:
        """Gather what waited, and could be decoded by what captures taught together."""
        for event in events:  # none of them is of a datagram of this unit's slots
            self.take([event], Counts(), [0, 0, 0])

    def session_of(self, message: Message) -> ExportSession:
        """The session of a message that was just decoded."""
        state = self.decoder.wire.state
        port = message.session if message.version == SFLOW5 else message.port
        found = state.known(message.exporter, port, message.version, message.domain)
        assert found is not None  # what was used last is not what is forgotten first
        return found

    def of_session(self, session: ExportSession) -> SessionCounts:
        """The counters of a session."""
        found = self.sessions.get(session.key)
        if found is None:
            found = self.sessions[session.key] = SessionCounts(session, session.restarts)
        return found

    def rates_of(self, message: Message) -> Rates:
        """The rates of a message's records."""
        if message.version not in (9, 10):
            return NO_RATES
        return self.decoder.rates(self.session_of(message))

    def units(self, head: Message, events: Sequence[Event], session: ExportSession) -> int:
        """How much of what its sequence numbers count a datagram brought."""
        if head.version == SFLOW5:
            return 1
        if head.version == 9 and session.counts != FLOWS:
            return 1
        kinds = (Records,) if head.version == 9 else (Records, OptionsRecords)
        # Not those of an earlier datagram that waited for a template of this one.
        return sum(
            e.count
            for e in events
            if isinstance(e, kinds)
            and (e.message.sequence, e.message.received_us) == (head.sequence, head.received_us)
        )

    def many(
        self,
        payloads: Sequence[bytes],
        exporters: Sequence[str],
        ports: Sequence[int],
        received_us: Sequence[int],
    ) -> None:
        """Decode datagrams in the order they came: `datagram` for each, with the same result."""
        self.batch(Datagrams.of(payloads, exporters, ports, received_us))

    def batch(self, datagrams: Datagrams) -> None:
        """`many` of a batch."""
        walk = self.decoder.walk
        if walk is None:
            for i in range(len(datagrams)):
                self.datagram(*datagrams.one(i))
            return
        taken = walk.batch(
            datagrams, drain=self.drain, on_other=lambda i: self.datagram(*datagrams.one(i))
        )
        for plain in taken:
            self.plain(plain)
        self.unsupported.update(walk.samples_left_out())

    def plain(self, taken: SessionDatagrams) -> None:
        """Count plain datagrams of a session, whose records were gathered."""
        self.seen(taken.received_us)
        version = taken.session.version
        who = self.counts(taken.exporter)
        who.versions.add(FORMATS[version])
        if version == SFLOW5:
            who.unclocked(taken.received_us)
        else:
            who.many(taken.received_us, taken.export_ms)
        counts = self.of_session(taken.session)
        counts.many(taken.received_us, taken.sequence, taken.units)
        for i in np.flatnonzero(taken.lost).tolist():
            who.lost += int(taken.lost[i])
            counts.slot(int(taken.received_us[i]))[1] += int(taken.lost[i])

    def seen(self, received_us: NDArray[np.int64]) -> None:
        """Times at which datagrams were received."""
        if received_us.size:
            first, last = int(received_us.min()), int(received_us.max())
            self.first_us = first if self.first_us < 0 else min(self.first_us, first)
            self.last_us = max(self.last_us, last)

    def counts(self, exporter: str) -> Counts:
        """The counters of an exporter."""
        who = self.exporters.get(exporter)
        if who is None:
            who = self.exporters[exporter] = Counts()
        return who

    def refused(
        self, reason: str, payload: bytes, exporter: str, port: int, received_us: int
    ) -> None:
        """A datagram that was rejected, for those who keep some of them."""

    def rate(self, event: SamplingLearned) -> None:
        """A rate that options data announced, for table `sampling`: one row a change and hour."""
        m = event.message
        hour = m.received_us // HOUR_US
        key = m.exporter, m.session, m.domain, event.sampler_id, event.interface
        seen = self.rates.get(key)
        if seen is not None and seen[:2] == [hour, event.rate]:
            seen[2] = min(seen[2], m.received_us)
            seen[3] = max(seen[3], m.received_us)
            return
        if len(self.rate_rows) + len(self.rates) >= MAX_RATE_ROWS:
            self.malformed["too many sampling rates"] += 1
            return
        if seen is not None:
            self.rate_rows.append((key, *seen))
        self.rates[key] = [hour, event.rate, m.received_us, m.received_us]
        if event.replaced is not None:
            (a, b), (c, d) = event.rate, event.replaced
            if a * d >= JUMP * b * c or b * c >= JUMP * a * d:
                detail = f"1:{rounded(event.replaced)} and 1:{rounded(event.rate)}"
                self.conflict(RATE_JUMPS, m, detail)

    def conflict(self, kind: str, message: Message, detail: str = "") -> None:
        """Count a sign of two senders in one session."""
        key = message.exporter, message.session, message.version, message.domain
        found = self.conflicts.get((kind, key))
        if found is not None:
            found.again(message.received_us)
        elif len(self.conflicts) < MAX_CONFLICTS:
            at_us = message.received_us
            self.conflicts[kind, key] = SenderConflict(
                kind, message.exporter, message.session, message.domain, at_us, at_us,
                detail=detail,
            )  # fmt: skip

    def other(self, event: Any, who: Counts, slot: list[int]) -> None:
        """Events that carry no flow records."""
        if isinstance(event, OptionsRecords):
            self.options_records += event.count
        elif isinstance(event, SequenceGap):
            who.lost += event.lost
            slot[1] += event.lost
        elif isinstance(event, MissingTemplate):
            who.misses += 1
        elif isinstance(event, SamplingLearned):
            self.rate(event)
        elif isinstance(event, TemplateLearned):
            if event.back:
                self.conflict(TO_AND_FRO, event.message, f"template {event.template.number}")
        elif isinstance(event, InterfaceLearned):
            if not self.names.learn(event):
                self.malformed["too many interface names"] += 1
        elif isinstance(event, Malformed):
            self.malformed[event.reason] += 1
        elif isinstance(event, Unsupported):
            self.unsupported[event.name] += 1

    def drain(self, *, last: bool = False) -> None:
        """Write rows that wait; all of them at the `last`."""
        columns = self.decoder.columns
        if self.write_rows is not None and isinstance(columns, CompiledColumns):
            for hour, rows in columns.rows(last=last):
                self.write_rows(hour, "flows", rows)
                del rows
        else:
            for hour, table in columns.drain(last=last):
                self.write(hour, "flows", table)

    def finish(self) -> None:
        """Write what is left, then the rates and the coverage of each hour."""
        self.drain(last=True)
        sampling: dict[int, list[Any]] = {}
        rows = [*self.rate_rows, *((key, *seen) for key, seen in self.rates.items())]
        for (exporter, session, domain, *key), hour, rate, first, last in rows:
            sampling.setdefault(hour, []).append(
                (exporter, domain, *key, rounded(rate), first, last, *rate, session)
            )
        coverage: dict[int, list[Any]] = {}
        for (address, session, _, domain), counts in self.sessions.items():
            for slot, (datagrams, lost, more) in counts.slots.items():
                first = counts.firsts.get(slot, (0, -1))[1]
                after = counts.lasts.get(slot, (0, -1))[1]
                at = slot * SLOT_US
                row = (
                    at, address, session, domain, datagrams, datagrams + more, max(lost, 0),
                    None if first < 0 else first, None if after < 0 else after, datagrams > 0,
                )  # fmt: skip
                coverage.setdefault(at // HOUR_US, []).append(row)

        def order(row: tuple[Any, ...]) -> tuple[Any, ...]:
            return tuple((v is not None, v) for v in row)

        for table, by_hour, made in (
            ("sampling", sampling, sampling_table),
            ("coverage", coverage, coverage_table),
        ):
            for hour in sorted(by_hour):
                self.write(
                    EPOCH + timedelta(hours=hour), table, made(sorted(by_hour[hour], key=order))
                )

    def summarise(self, summary: CaptureSummary) -> None:
        """Fill in all counters."""
        tally = self.decoder.columns.tally
        summary.rejected = dict(self.rejected)
        summary.records = tally.records
        summary.rows, summary.flow_bytes = tally.rows, tally.octets
        summary.sample = tally.set_aside.sample
        summary.rows_rejected = dict(tally.rejected)
        summary.pending = {
            f"{address} {domain} {number}": sets
            for (address, _, domain, number), sets in sorted(
                self.decoder.wire.state.pending().items()
            )
        }
        summary.options_records = self.options_records
        summary.interfaces = self.names.texts
        summary.sequences = list(intervals(self.sessions))
        summary.conflicts = [*self.conflicts.values(), *conflicts(self.sessions)][:MAX_CONFLICTS]
        summary.forgotten_sessions = dict(self.decoder.wire.state.forgotten)
        summary.malformed = dict(self.malformed + tally.malformed)
        summary.unsupported = dict(self.unsupported)
        if self.first_us >= 0:
            summary.first_received = EPOCH + timedelta(microseconds=self.first_us)
            summary.last_received = EPOCH + timedelta(microseconds=self.last_us)
        for address, who in sorted(self.exporters.items()):
            summary.exporters[address] = ExporterSummary(
                datagrams=who.datagrams,
                records=tally.by_exporter[address],
                formats=sorted(who.versions),
                lost=max(who.lost, 0),
                template_misses=who.misses,
                clock_error_s=median_low(who.errors_us) / 1e6 if who.errors_us else None,
                time_corrected=tally.time_corrected[address],
                long_flows=tally.long_flows[address],
                implausible=tally.set_aside.amounts.get(address, {}),
            )
