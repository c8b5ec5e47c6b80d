"""Datagrams of one unit of work → rows, and the integers that must add up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import compress
from operator import itemgetter
from statistics import median_low
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from flowpeer_core.slots import HOUR_US, SLOT_US
from flowpeer_ingest.bulk import Batch, Known, Sequences, look, take
from flowpeer_ingest.columns import CHUNK_ROWS, Tally, coverage_table, sampling_table
from flowpeer_ingest.decoder import Decoder
from flowpeer_ingest.interface_names import InterfaceNames
from flowpeer_ingest.samples import MAGIC, Agent, Datagrams, agents
from flowpeer_ingest.summary import CaptureSummary, Counts, ExporterSummary
from flowpeer_ingest.wire import sflow5
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
    Unsupported,
)
from flowpeer_ingest.wire.state import FLOWS, Session, advance

BATCH_DATAGRAMS = 4_096
BATCH_OCTETS = 8 << 20
"""Datagrams decoded together: enough that array operations cost little a datagram."""
MAX_CHANGES = 16
"""Changes of templates or rates in a batch, each of which costs another look at the whole batch;
after so many, what is left of it is decoded one by one."""
MAX_RATE_ROWS = 1 << 18
"""Rows of `sampling` per capture: a rate per interface and hour of hundreds of routers."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST = itemgetter(slice(4))

Write = Callable[[datetime, str, pa.Table], None]


class UnitDecoder:
    """Datagrams of one unit (a capture, a spool segment) on their way through a decoder."""

    def __init__(self, decoder: Decoder, write: Write) -> None:
        self.decoder = decoder
        self.write = write
        self.exporters: dict[str, Counts] = {}
        self.rejected: Counter[str] = Counter()
        self.malformed: Counter[str] = Counter()
        self.unsupported: Counter[str] = Counter()
        self.options_records = 0
        self.rates: dict[tuple[Any, ...], list[int]] = {}
        self.names = InterfaceNames()
        self.first_us = self.last_us = -1
        decoder.columns.tally = Tally()

    def datagram(self, payload: bytes, exporter: str, port: int, received_us: int) -> None:
        """Decode one datagram and gather what it says."""
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
            return
        who = self.counts(exporter)
        who.datagrams += 1
        who.versions.add(head.format)
        slot = who.slot(received_us // SLOT_US)
        slot[0] += 1
        slot[2] += self.units(head, events) - 1
        if head.export_ms >= 0:
            who.clock(received_us - head.export_ms * 1_000)
        if len(events) > 2:
            # First what a datagram says about sampling, since it holds for the data beside it,
            # and so that a datagram changes the known rates once, whatever it interleaves.
            for event in events:
                if type(event) is SamplingLearned:
                    self.rate(event)
        self.take(events, who, slot)

    def take(self, events: Sequence[Event], who: Counts, slot: list[int]) -> None:
        """Gather the records of a datagram and count the rest."""
        decoder = self.decoder
        for event in events:
            kind = type(event)
            if kind is Records:
                assert isinstance(event, Records)
                m = event.message
                if decoder.columns.add(event, decoder.sampling.rates(m.exporter, m.domain)):
                    self.drain()
            elif kind is not Message:
                self.other(event, who, slot)

    def units(self, head: Message, events: Sequence[Event]) -> int:
        """How much of what its sequence numbers count a datagram brought."""
        if head.version == SFLOW5:
            return 1
        if head.version == 9:
            session = self.decoder.wire.state.session(head.exporter, head.port, 9, head.domain)
            if session is None or session.counts != FLOWS:
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
        """Decode datagrams in the order they came: `datagram` for each, with the same result.

        Only the order of rows may differ, between datagrams of different kinds.
        """
        if MAGIC in map(_FIRST, payloads):
            of, listed = agents(payloads, exporters, ports, self.decoder.wire.state)
            some = [agent >= 0 for agent in of]
            self.samples(
                [agent for agent in of if agent >= 0],
                listed,
                *_chosen(some, payloads, exporters, ports, received_us),
            )
            others = [agent < 0 for agent in of]
            self.sets(*_chosen(others, payloads, exporters, ports, received_us))
        else:
            self.sets(payloads, exporters, ports, received_us)

    def samples(
        self,
        of: list[int],
        listed: list[Agent],
        payloads: list[bytes],
        exporters: list[str],
        ports: list[int],
        received_us: list[int],
    ) -> None:
        """sFlow datagrams of these agents: `of` has the place of each one's in `listed`."""
        if not payloads:
            return
        found = Datagrams(payloads)
        state, sampling = self.decoder.wire.state, self.decoder.sampling
        sessions: dict[int, Session] = {}
        plain, sequences = found.plain.tolist(), found.sequence.tolist()
        for i, agent in enumerate(of):
            if not plain[i]:
                self.datagram(payloads[i], exporters[i], ports[i], received_us[i])
                continue
            session = sessions.get(agent)
            if session is None:
                a = listed[agent]
                session = state.session(a.exporter, a.session, SFLOW5, a.sub_agent)
                assert session is not None  # `agents` saw to it that there is room
                sessions[agent] = session
            self.lost(exporters[i], received_us[i], advance(session, sequences[i], 1))
        self.unsupported.update(found.others)
        silent = int(np.count_nonzero(~found.found & ~found.odd))
        if silent:
            self.unsupported[sflow5.NO_PACKET] += silent
        times, whose = np.array(received_us, np.int64), np.array(of, np.int64)
        self.seen(times[found.plain])
        for agent in sessions:
            who = self.counts(listed[agent].exporter)
            who.versions.add(FORMATS[SFLOW5])
            who.unclocked(times[found.plain & (whose == agent)])
        rates = [sampling.rates(a.exporter, a.sub_agent) for a in listed]
        for layout, block in found.blocks(times, whose, listed, rates):
            if self.decoder.columns.add_block(SFLOW5, layout, block):
                self.drain()
        for at in np.flatnonzero(found.odd).tolist():
            i = int(found.owner[at])
            head = sflow5.head(payloads[i], exporters[i], ports[i], received_us[i])
            assert head is not None
            events: list[Event] = []
            sflow5.sample(payloads[i], int(found.place[at]), head.message, events)
            who = self.counts(exporters[i])
            self.take(events, who, who.slot(received_us[i] // SLOT_US))

    def sets(
        self,
        payloads: Sequence[bytes],
        exporters: Sequence[str],
        ports: Sequence[int],
        received_us: Sequence[int],
    ) -> None:
        """The datagrams of all other protocols."""
        if not payloads:
            return
        batch = Batch(payloads, exporters, ports, received_us)
        n = len(payloads)
        wire = self.decoder.wire
        start = changes = 0
        while start < n:
            known = look(batch, wire.state, self.decoder.sampling)
            if changes == MAX_CHANGES:
                known.plain[start:] = False
            changes += 1
            sequences = Sequences(batch, known, start)
            others = np.flatnonzero(~known.plain[start:]) + start
            stop = n
            for i in others.tolist():
                self.gaps(batch, sequences.until(i, int(batch.session[i])))
                self.datagram(payloads[i], exporters[i], ports[i], int(batch.received_us[i]))
                if changes <= MAX_CHANGES and known.outdated(
                    int(batch.session[i]), wire.state, self.decoder.sampling
                ):
                    stop = i + 1
                    break
            self.plain(batch, known, sequences, start, stop)
            start = stop

    def plain(
        self, batch: Batch, known: Known, sequences: Sequences, start: int, stop: int
    ) -> None:
        """Take the records of the plain datagrams in [start, stop), and count them."""
        chosen = known.plain.copy()
        chosen[:start] = chosen[stop:] = False
        self.gaps(batch, sequences.rest(stop))
        if not chosen.any():
            return
        self.seen(batch.received_us[chosen])
        for number in np.unique(batch.session[chosen]).tolist():
            exporter, _, version, _ = batch.sessions[number]
            mine = chosen & (batch.session == number)
            who = self.counts(exporter)
            who.versions.add(FORMATS[version])
            who.many(batch.received_us[mine], batch.export_ms[mine])
            who.units(batch.received_us[mine], sequences.received[mine])
        # Rows of a few octets can make very many of a batch: not all at once.
        rows = np.cumsum(
            np.bincount(batch.owner, known.counts * chosen[batch.owner], len(batch.payloads))
        )
        for at in range(0, int(rows[-1]) + 1, CHUNK_ROWS):
            for taken in take(batch, known, chosen & (rows > at) & (rows <= at + CHUNK_ROWS)):
                if self.decoder.columns.add_block(taken.version, taken.layout, taken.block):
                    self.drain()

    def seen(self, received_us: NDArray[np.int64]) -> None:
        """Times at which datagrams were received."""
        if received_us.size:
            first, last = int(received_us.min()), int(received_us.max())
            self.first_us = first if self.first_us < 0 else min(self.first_us, first)
            self.last_us = max(self.last_us, last)

    def gaps(self, batch: Batch, found: list[tuple[int, int]]) -> None:
        """Count (datagram of the batch, units lost before it)."""
        for i, units in found:
            self.lost(batch.exporters[i], int(batch.received_us[i]), units)

    def lost(self, exporter: str, received_us: int, units: int) -> None:
        """Count what was lost before a datagram."""
        if units:
            who = self.counts(exporter)
            who.lost += units
            who.slot(received_us // SLOT_US)[1] += units

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
        """A rate that options data stated, for later records and for table `sampling`."""
        self.decoder.sampling.learn(event)
        m = event.message
        key = (
            m.received_us // HOUR_US, m.exporter, m.domain, event.sampler_id,
            event.interface, event.interval,
        )  # fmt: skip
        seen = self.rates.get(key)
        if seen is None:
            if len(self.rates) >= MAX_RATE_ROWS:
                self.malformed["too many sampling rates"] += 1
                return
            self.rates[key] = [m.received_us, m.received_us]
        else:
            seen[0] = min(seen[0], m.received_us)
            seen[1] = max(seen[1], m.received_us)

    def other(self, event: Any, who: Counts, slot: list[int]) -> None:
        """Events that carry no flow records."""
        if isinstance(event, OptionsRecords):
            self.options_records += event.count
        elif isinstance(event, SequenceGap):
            who.lost += event.lost
            slot[1] += event.lost
        elif isinstance(event, MissingTemplate):
            who.misses += 1
        elif isinstance(event, InterfaceLearned):
            if not self.names.learn(event):
                self.malformed["too many interface names"] += 1
        elif isinstance(event, Malformed):
            self.malformed[event.reason] += 1
        elif isinstance(event, Unsupported):
            self.unsupported[event.name] += 1

    def drain(self) -> None:
        """Write all rows that wait."""
        for hour, table in self.decoder.columns.drain():
            self.write(hour, "flows", table)

    def finish(self) -> None:
        """Write what is left, then the rates and the coverage of each hour."""
        self.drain()
        sampling: dict[int, list[Any]] = {}
        for (hour, *key), (first, last) in self.rates.items():
            sampling.setdefault(hour, []).append((*key, first, last))
        coverage: dict[int, list[Any]] = {}
        for address, who in self.exporters.items():
            for slot, (datagrams, lost, more) in who.slots.items():
                at = slot * SLOT_US
                row = (
                    at, address, None, None, datagrams, datagrams + more, max(lost, 0),
                    None, None, True,
                )  # fmt: skip
                coverage.setdefault(at // HOUR_US, []).append(row)

        def order(row: tuple[Any, ...]) -> tuple[Any, ...]:
            return tuple((v is not None, v) for v in row)

        for hour in sorted(sampling):
            rows = [(*row, None, None) for row in sorted(sampling[hour], key=order)]
            self.write(_EPOCH + timedelta(hours=hour), "sampling", sampling_table(rows))
        for hour in sorted(coverage):
            rows = sorted(coverage[hour], key=order)
            self.write(_EPOCH + timedelta(hours=hour), "coverage", coverage_table(rows))

    def summarise(self, summary: CaptureSummary) -> None:
        """Fill in all counters."""
        tally = self.decoder.columns.tally
        summary.rejected = dict(self.rejected)
        summary.records = tally.records
        summary.rows = tally.rows
        summary.rows_rejected = dict(tally.rejected)
        summary.pending = {
            f"{address} {domain} {number}": sets
            for (address, _, domain, number), sets in sorted(
                self.decoder.wire.state.pending().items()
            )
        }
        summary.options_records = self.options_records
        summary.interfaces = self.names.said
        summary.malformed = dict(self.malformed + tally.malformed)
        summary.unsupported = dict(self.unsupported)
        if self.first_us >= 0:
            summary.first_received = _EPOCH + timedelta(microseconds=self.first_us)
            summary.last_received = _EPOCH + timedelta(microseconds=self.last_us)
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
            )


def _chosen(which: Sequence[bool], *columns: Sequence[Any]) -> Iterator[list[Any]]:
    return (list(compress(column, which)) for column in columns)
