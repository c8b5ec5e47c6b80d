"""What is gathered of flow records while they are decoded: nobody reads them again for it."""

from __future__ import annotations

import ctypes
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from flowpeer_core.native import library
from flowpeer_core.native import table as native
from flowpeer_core.native.rows import Rows
from flowpeer_core.slots import HOUR_US
from flowpeer_ingest.parts import (
    ANY_DOMAIN,
    MAX_INTERFACES,
    PATHS_APART_US,
    WAYS,
    FlowFacts,
    Span,
    joined_span,
)

MAX_DOMAINS = 64
"""Domains of an exporter that have a span of their own; more are put together as `ANY_DOMAIN`."""
MAX_OCTETS = 1 << 40
"""Of one record, scaled, in `octets`: what is above cannot be traffic, and 2^22 rows of it still
fit into 63 bits."""
MAX_SCALE = 1 << 22
"""A greater rate counts as this one, so that the product fits into 63 bits."""
COLUMNS = {
    "start": "start_time", "end": "end_time", "received": "received_at", "sent": "export_time",
    "exporter": "exporter_ip", "domain": "observation_domain", "sequence": "datagram_sequence",
    "session": "session", "input_if": "input_if", "output_if": "output_if",
    "direction": "direction", "bytes": "bytes", "interval": "sampling_interval",
    "numerator": "sampling_numerator",
}  # fmt: skip
"""Member of `native.CFacts`, its first ones in their order → column of `flows`."""
NULLS = {"sent": -1, "sequence": -1, "interval": 1}
"""What stands for no value; 0 where nothing is stated here."""


MOST_ROWS = 1 << 20
"""Whose octets still sum up within 63 bits."""
_PLACES = [native.COLUMNS.index(name) for name in COLUMNS.values()]
_NULLS = [NULLS.get(name, 0) for name in COLUMNS]
_FACT, _SPAN = np.dtype(native.CFact), np.dtype(native.CSpan)


@dataclass(slots=True)
class GatheredFacts:
    """Of one table. Exporters are indices into its texts."""

    hours: set[tuple[int, int]] = field(default_factory=set)
    """Those in which a record starts and ends, since the epoch."""
    sums: dict[tuple[int, int, int], tuple[int, int, int]] = field(default_factory=dict)
    """(exporter, interface, way) → records, bytes scaled and as exported. `way`: 1 of an egress
    record, 2 as output, 4 without a rate of its own."""
    spans: dict[tuple[int, int], Span] = field(default_factory=dict)
    """(exporter, domain) → its datagrams."""
    unrated: Counter[int] = field(default_factory=Counter)
    """Records without a rate by exporter."""
    asking: set[int] = field(default_factory=set)
    """Exporters of a record without a rate of its own."""

    def add(self, key: tuple[int, int, int], records: int, octets: int, exported: int) -> None:
        """Add to a sum."""
        a, b, c = self.sums.get(key, (0, 0, 0))
        self.sums[key] = a + records, b + octets, c + exported

    def reach(self, key: tuple[int, int], span: Span) -> None:
        """Widen a span."""
        self.spans[key] = joined_span(self.spans.get(key, span), span)


class Facts:
    """Gathers `FlowFacts` table by table."""

    def __init__(self, *, plain: bool = False) -> None:
        """`plain`: record by record in Python, which the compiled core is held against."""
        found = None if plain else library()
        self._compiled = None if found is None else _Compiled(found)
        self._gather: Callable[[Mapping[str, pa.Array], int], GatheredFacts]
        self._gather = self._compiled or _plainly
        self._waiting: list[str] = []
        """Exporters of the rows whose sums are still the compiled core's."""
        self._hours: set[int] = set()
        self._seen: dict[str, dict[int, int]] = {}
        self._records: dict[str, dict[int, int]] = {}
        self._octets: dict[str, dict[int, list[int]]] = {}
        self._unlisted: dict[str, int] = {}
        self._unrated: Counter[str] = Counter()
        self._announced: set[str] = set()
        self._corrected = 0
        self._spans: dict[str, dict[int, Span]] = {}

    def add(self, table: pa.Table | Rows) -> None:
        """Take the rows of `table` into account."""
        if not table.num_rows:
            return
        if isinstance(table, Rows) and self._compiled is not None:
            exporters = table.dictionaries["exporter_ip"].to_pylist()
            if exporters != self._waiting or not self._compiled.fits(table.num_rows):
                self._settle()
                self._waiting = exporters
                self._compiled.begin(len(exporters))
            self._compiled.rows(table)
            self._corrected += table.corrected
            return
        self._settle()
        table = table.table() if isinstance(table, Rows) else table
        named = _one(table["exporter_ip"])
        if not pa.types.is_dictionary(named.type):
            named = named.dictionary_encode()
        exporters = named.dictionary.to_pylist()
        columns = {to: named.indices if to == "exporter" else _one(table[name])
                   for to, name in COLUMNS.items()}  # fmt: skip
        self._enter(self._gather(columns, len(exporters)), exporters)
        self._corrected += pc.sum(table["time_corrected"]).as_py() or 0

    def _settle(self) -> None:
        """Enter what waits in the compiled core."""
        if self._waiting and self._compiled is not None:
            self._enter(self._compiled.found(), self._waiting)
        self._waiting = []

    def _enter(self, found: GatheredFacts, exporters: Sequence[str]) -> None:
        for first, last in found.hours:
            self._hours.update(range(first, last + 1))
        for (of, index, way), (records, octets, exported) in found.sums.items():
            self._take(exporters[of], index, way, records, octets, exported)
        for of in {of for of, _, _ in found.sums}:
            if len(self._seen[exporters[of]]) > 2 * MAX_INTERFACES:
                self._shorten(exporters[of])
        for of, records in found.unrated.items():
            self._unrated[exporters[of]] += records
        self._announced.update(exporters[of] for of in found.asking)
        for (of, domain), span in sorted(found.spans.items()):
            of_exporter = self._spans.setdefault(exporters[of], {})
            if domain not in of_exporter and len(of_exporter) >= MAX_DOMAINS:
                domain = ANY_DOMAIN
            of_exporter[domain] = joined_span(of_exporter.get(domain, span), span)

    def _take(
        self, ip: str, index: int, way: int, records: int, octets: int, exported: int
    ) -> None:
        place = way & 3  # as WAYS are in order
        seen = self._seen.setdefault(ip, {})
        seen[index] = seen.get(index, 0) | WAYS[place]
        counts = self._records.setdefault(ip, {})
        counts[index] = counts.get(index, 0) + records
        of = self._octets.setdefault(ip, {}).setdefault(index, [0] * 12)
        of[way] += octets
        if way < 4:
            of[way + 8] += exported

    def _shorten(self, ip: str) -> None:
        """Keep the interfaces of an exporter that most records named."""
        seen, records = self._seen[ip], self._records[ip]
        for index in sorted(seen, key=lambda i: (-records[i], i))[MAX_INTERFACES:]:
            del seen[index], self._octets[ip][index]
            self._unlisted[ip] = self._unlisted.get(ip, 0) + records.pop(index)

    def facts(self) -> FlowFacts:
        """What was gathered."""
        self._settle()
        for ip in self._seen:
            self._shorten(ip)
        return FlowFacts(
            hours=tuple(hour_text(h) for h in sorted(self._hours)),
            seen={ip: dict(sorted(seen.items())) for ip, seen in sorted(self._seen.items())},
            unlisted=dict(sorted(self._unlisted.items())),
            unrated=dict(sorted(self._unrated.items())),
            announced=tuple(sorted(self._announced)),
            time_corrected=self._corrected,
            octets={
                ip: {index: tuple(of[index]) for index in sorted(of)}
                for ip, of in sorted(self._octets.items())
            },
            spans={ip: dict(sorted(of.items())) for ip, of in sorted(self._spans.items())},
        )


def facts_of(table: pa.Table) -> FlowFacts:
    """The facts of one table of flow records."""
    gathered = Facts()
    gathered.add(table)
    return gathered.facts()


def hour_text(hours_since_epoch: int) -> str:
    """`2026-09-16T07`: an hour as the record names it."""
    return str(np.datetime64(hours_since_epoch, "h"))


class _Compiled:
    """By the compiled core (src/facts.c)."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        self._places = np.zeros(2 * native.FACTS, np.uint32)
        self._sums = np.empty(native.FACTS, _FACT)
        self._spans = np.empty(native.FACTS_SPANS, _SPAN)
        self._hours = np.empty((native.FACTS_HOURS, 2), np.int64)
        self._state = native.CFacts(
            hour_us=HOUR_US, apart_us=PATHS_APART_US, most_octets=MAX_OCTETS, most_rate=MAX_SCALE,
            places=self._places.ctypes.data, facts=self._sums.ctypes.data,
            spans=self._spans.ctypes.data, hours=self._hours.ctypes.data,
        )  # fmt: skip

    def __call__(self, columns: Mapping[str, pa.Array], exporters: int) -> GatheredFacts:
        self.begin(exporters)
        for name, column in columns.items():
            setattr(self._state, name, _input(column, NULLS.get(name, 0)))
        self._add(len(columns["start"]))
        return self.found()

    def begin(self, exporters: int) -> None:
        """Begin with nothing."""
        self._out, self._rows = GatheredFacts(), 0
        self._unrated, self._asking = np.zeros(exporters, np.int64), np.zeros(exporters, np.uint8)
        self._state.unrated, self._state.asking = (
            self._unrated.ctypes.data, self._asking.ctypes.data,
        )  # fmt: skip
        self._state.exporters = exporters
        self._empty()

    def fits(self, rows: int) -> bool:
        """Do sums of so many more rows stay within 63 bits?"""
        return self._rows + rows <= MOST_ROWS

    def rows(self, rows: Rows) -> None:
        """Add rows as they lie."""
        inputs = rows.columns[_PLACES]
        inputs["null"] = _NULLS
        inputs["width"][inputs["values"] == 0] = 0
        ctypes.memmove(ctypes.addressof(self._state), inputs.ctypes.data, inputs.nbytes)
        self._add(rows.num_rows)

    def _add(self, rows: int) -> None:
        state = self._state
        self._rows += rows
        state.rows, state.next = rows, 0
        while True:
            done = self._library.flowpeer_gather(ctypes.addressof(state))
            if done < 0:
                raise AssertionError(f"row {state.next} of {rows} cannot be gathered ({done})")
            if state.next >= rows:
                return
            self._take()

    def _empty(self) -> None:
        self._places[:] = 0
        self._state.fact_count = self._state.span_count = self._state.hour_count = 0

    def _take(self) -> None:
        """Take the sums out of the core's tables."""
        state, out = self._state, self._out
        for interface, of, way, *amounts in self._sums[: state.fact_count].tolist():
            out.add((of, interface, way), *amounts)
        for of, domain, first, last, low, high in self._spans[: state.span_count].tolist():
            out.reach((of, domain), (first, last, low, high))
        out.hours.update((a, b) for a, b in self._hours[: state.hour_count].tolist())
        self._empty()

    def found(self) -> GatheredFacts:
        """What was gathered since `begin`."""
        self._take()
        for of in np.flatnonzero(self._unrated).tolist():
            self._out.unrated[of] = int(self._unrated[of])
        self._out.asking.update(np.flatnonzero(self._asking).tolist())
        return self._out


def _input(column: pa.Array, null: int) -> native.CInput:
    """A column as the compiled core reads it."""
    if column.null_count == len(column):
        return native.CInput(null=null)
    valid, values = column.buffers()
    return native.CInput(
        values.address, valid.address if column.null_count else None, column.offset, null,
        column.type.bit_width // 8,
    )  # fmt: skip


def _plainly(columns: Mapping[str, pa.Array], exporters: int) -> GatheredFacts:
    """The same in Python, one record after the other."""
    out = GatheredFacts()
    for row in zip(*(_integers(columns[name]) for name in COLUMNS), strict=True):
        (start, end, received, sent, of, domain, sequence, session, input_if, output_if, direction,
         octets, interval, numerator) = row  # fmt: skip
        # A record that ends on the border of an hour has no part in the one that begins there.
        out.hours.add((start // HOUR_US, max(start, end - 1) // HOUR_US))
        # Of imported records, which have no session, their rate is all that they say.
        own = interval is not None and (numerator is not None or session is None)
        rate = min(max(interval, 1), MAX_SCALE) if own else 1
        octets = min(max(octets or 0, 0), MAX_OCTETS)
        if interval is None:
            out.unrated[of] += 1
        if not own:
            out.asking.add(of)
        way = (direction == 1) + (0 if own else 4)
        for interface, side in ((input_if, 0), (output_if, 2)):
            out.add((of, interface or 0, way + side), 1, min(octets * rate, MAX_OCTETS), octets)
        if sequence is not None and sequence >= 0:
            at, apart = (received, PATHS_APART_US) if sent is None or sent < 0 else (sent, 0)
            out.reach((of, domain or 0), (at - apart, at + apart, sequence, sequence))
    return out


def _integers(column: pa.Array) -> list[int | None]:
    if pa.types.is_timestamp(column.type):
        column = column.view(pa.int64())
    values: list[int | None] = column.to_pylist()
    return values


def _one(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
