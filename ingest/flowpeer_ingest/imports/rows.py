"""Rows of another tool → tables of exactly the `flows` schema, and what was refused of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from flowpeer_core.addresses import text_of
from flowpeer_core.sampling_rates import MAX_RATE
from flowpeer_ingest import flow_rules, plausible
from flowpeer_ingest.flow_columns import FLOWS_SCHEMA, RecordTally
from flowpeer_ingest.flow_rules import LONG_US
from flowpeer_ingest.imports import values
from flowpeer_ingest.imports.tools import Tool
from flowpeer_ingest.parts import NEWEST_US, OLDEST_US

InterfaceOf = Callable[[str, str], int | None]
"""(exporter address, interface name) → ifIndex, None if the configuration has no such name."""

_READERS: dict[str, Callable[[pl.Series], values.Read]] = {
    **dict.fromkeys(("received_at", "start_time", "end_time", "export_time"), values.instant),
    **dict.fromkeys(("src_addr", "dst_addr", "next_hop", "bgp_next_hop"), values.address),
    **dict.fromkeys(("src_mac", "dst_mac"), values.mac),
    **dict.fromkeys(("src_mask", "dst_mask"), values.mask),
    "protocol": values.protocol,
    "tcp_flags": values.tcp_flags,
    "direction": values.direction,
    "format": values.wire_format,
}
_TEXTS = ("in_if_name", "out_if_name", "kind")
_INT32 = {f.name for f in FLOWS_SCHEMA if f.type == pa.int32()}
_ICMP = (1, 58)
_SHOWN = ("src_addr", "dst_addr", "input_if", "output_if")
MAX_EXAMPLES = 5
"""Unreadable cells that are shown; all are counted."""


@dataclass
class Importer:
    """Makes flows of one file's rows. `constants` stand in for columns that the file lacks."""

    tool: Tool
    columns: Mapping[str, tuple[str, ...]]
    constants: Mapping[str, str]
    active_timeout_s: Callable[[str], int]
    interface_of: InterfaceOf
    tally: RecordTally = field(default_factory=RecordTally)
    unreadable: list[str] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)
    rows: int = 0  # seen so far
    first_us: int = -1
    last_us: int = -1

    def table(self, frame: pl.DataFrame) -> tuple[pa.Table, np.ndarray[Any, np.dtype[np.int64]]]:
        """The flows among these rows, and when they were received in µs."""
        n = len(frame)
        self.tally.records += n
        lower = {name.lower(): name for name in reversed(frame.columns)}
        read: dict[str, pl.Series] = {}
        keep = np.ones(n, bool)
        for column, names in self.columns.items():
            cells = [frame[lower[name]] for name in names if name in lower]
            if column in self.constants:
                cells = [pl.repeat(self.constants[column], n, dtype=pl.String, eager=True)]
            if column != "exporter_ip":  # of which it counts that there is none
                cells = [c for c in cells if c.null_count() < n]
            if cells:
                read[column] = self._read(column, cells, keep)
        if "kind" in read and self.tool.wanted:
            other = ~read["kind"].str.to_lowercase().is_in(list(self.tool.wanted))
            self._refuse(other.fill_null(value=False), "not a flow record", keep)
        exporter = self._exporters(read, n, keep)
        received, start, end = self._times(read, n, keep)
        self._implausible(read, exporter, received, start, end, keep)
        self.rows += n
        mine = np.flatnonzero(keep)
        if not len(mine):
            return FLOWS_SCHEMA.empty_table(), received[mine]
        out = {name: column.gather(mine) for name, column in read.items()}
        return self._flows(out, exporter.gather(mine), received[mine], start[mine], end[mine])

    def _read(self, column: str, cells: list[pl.Series], keep: np.ndarray[Any, Any]) -> pl.Series:
        if column in _TEXTS:
            return values.text(cells[0])
        reader = _READERS.get(column, values.integer)
        if column == "exporter_ip":
            reader = values.address
        found: pl.Series | None = None
        for one in cells:
            got, bad = reader(one)
            if bad.any():
                at = int(bad.arg_max() or 0)
                if keep[at] and len(self.unreadable) < MAX_EXAMPLES:
                    shown = one.to_physical() if one.dtype.is_temporal() else one
                    cell = repr(shown[at])[:40]
                    self.unreadable.append(f"row {self.rows + at + 1}: {column} is {cell}")
                self._refuse(bad, f"{column} not readable", keep)
            found = got if found is None else _either(found, got, column)
        assert found is not None
        return found

    def _refuse(self, which: pl.Series, reason: str, keep: np.ndarray[Any, Any]) -> None:
        refused = which.fill_null(value=False).to_numpy() & keep
        count = int(np.count_nonzero(refused))
        if count:
            self.tally.rejected[reason] += count
            keep &= ~refused

    def _exporters(
        self, read: dict[str, pl.Series], n: int, keep: np.ndarray[Any, Any]
    ) -> pl.Series:
        """Canonical text of each row's exporter."""
        if "exporter_ip" not in read:
            return pl.repeat("", n, dtype=pl.String, eager=True)
        octets = read.pop("exporter_ip")
        self._refuse(octets.is_null(), "no exporter", keep)
        known = octets.unique().drop_nulls()
        return octets.replace_strict(
            known,
            pl.Series([text_of(o) for o in known.to_list()], dtype=pl.String),
            default="",
            return_dtype=pl.String,
        )

    def _times(
        self, read: dict[str, pl.Series], n: int, keep: np.ndarray[Any, Any]
    ) -> tuple[Any, Any, Any]:
        """received, start, end in µs, −1 where the row does not say.

        Received is the end of the flow where the tool does not keep it, and the start without an
        end.
        """
        none = pl.repeat(None, n, dtype=pl.Int64, eager=True)
        start, end = read.pop("start_time", none), read.pop("end_time", none)
        received = pl.select(pl.coalesce(read.pop("received_at", none), end, start)).to_series()
        self._refuse(received.is_null(), "no time", keep)
        arrays = [s.fill_null(-1).to_numpy().copy() for s in (received, start, end)]
        return arrays[0], arrays[1], arrays[2]

    def _implausible(
        self, read: dict[str, pl.Series], exporter: pl.Series, received: Any, start: Any, end: Any,
        keep: np.ndarray[Any, Any],
    ) -> None:  # fmt: skip
        """Set aside what `plausible.reason_of` names, row by row where there may be any."""
        n = len(received)
        octets, packets = (
            read[name].fill_null(-1).to_numpy() if name in read else np.full(n, -1)
            for name in ("bytes", "packets")
        )
        most, set_aside = plausible.MAX_COUNTER, self.tally.set_aside
        bounded = np.clip(octets[keep], 0, most)
        self.tally.octets += (int((bounded >> 24).sum()) << 24) + int((bounded & 0xFFFFFF).sum())
        least = np.minimum(packets, most) * plausible.LEAST_OCTETS
        lasted = np.where((start >= 0) & (end >= 0), end - start, 0)
        found = (octets > most) | (packets > most) | ((octets >= 0) & (octets < least))
        found |= (lasted < -plausible.BACKWARDS_US) | (lasted > plausible.LONGEST_US)
        for i in np.flatnonzero(found & keep).tolist():
            shown = {name: read[name][i] for name in _SHOWN if name in read}
            b, p, s, e = (
                None if v < 0 else int(v) for v in (octets[i], packets[i], start[i], end[i])
            )
            reason = plausible.reason_of(b, p, int(start[i]), int(end[i]))
            assert reason is not None
            set_aside.add(exporter[i], reason, 1, min(b or 0, most), min(p or 0, most))
            self.tally.by_exporter[exporter[i]] += 1
            set_aside.keep(
                plausible.Implausible(
                    exporter[i], reason, int(received[i]), 0, shown.get("input_if"),
                    shown.get("output_if"), b, p, s, e,
                    *(plausible.address_text(shown.get(k)) for k in ("src_addr", "dst_addr")),
                )
            )  # fmt: skip
        keep &= ~found

    def _flows(
        self, read: dict[str, pl.Series], exporter: pl.Series, received: Any, start: Any, end: Any
    ) -> tuple[pa.Table, Any]:
        n = len(received)
        if n:
            first, last = int(received.min()), int(received.max())
            self.first_us = first if self.first_us < 0 else min(self.first_us, first)
            self.last_us = max(self.last_us, last)
        names = exporter.unique().to_list()
        timeout = exporter.replace_strict(
            names, [self.active_timeout_s(e) * 1_000_000 for e in names], return_dtype=pl.Int64
        ).to_numpy()
        # One time of the two says when the flow was, as for exporters.
        start, end = np.where(start < 0, end, start), np.where(end < 0, start, end)
        usable = (  # as `flows.placed`; these exporters' clocks are not known
            (start >= 0)
            & (start <= end)
            & (start >= received - OLDEST_US)
            & (end <= received + NEWEST_US)
            & (end - start <= 2 * timeout + flow_rules.SLACK_US)
        )
        start = np.where(usable, start, received - timeout)
        end, corrected = np.where(usable, end, received), ~usable
        self._count(exporter, start, end, corrected)
        self._scaled(read, n)
        self._interfaces(read, exporter)
        self._icmp(read)
        made: dict[str, pl.Series] = {
            **read,
            "received_at": pl.Series(received),
            "start_time": pl.Series(start),
            "end_time": pl.Series(end),
            "exporter_ip": exporter,
            "observation_domain": read.get(
                "observation_domain", pl.zeros(n, dtype=pl.Int64, eager=True)
            ).fill_null(0),
            "format": read.get("format", pl.repeat(None, n, dtype=pl.String, eager=True)).fill_null(
                self.tool.name
            ),
            "time_corrected": pl.Series(corrected, dtype=pl.Boolean),
        }
        arrays = [_array(made.get(f.name), f, n) for f in FLOWS_SCHEMA]
        self.tally.rows += n
        return pa.Table.from_arrays(arrays, schema=FLOWS_SCHEMA), received

    def _count(self, exporter: pl.Series, start: Any, end: Any, corrected: Any) -> None:
        frame = pl.DataFrame({"e": exporter, "c": corrected, "l": end - start > LONG_US})
        counted = frame.group_by("e").agg(pl.len(), pl.col("c").sum(), pl.col("l").sum())
        for name, rows, changed, long in counted.iter_rows():
            self.tally.by_exporter[name] += rows
            self.tally.time_corrected[name] += changed
            self.tally.long_flows[name] += long

    def _scaled(self, read: dict[str, pl.Series], n: int) -> None:
        """Rates that are none become null; of scaled bytes the rate is 1."""
        rate = read.get("sampling_interval", pl.repeat(None, n, dtype=pl.Int64, eager=True))
        beyond = (rate > MAX_RATE).fill_null(value=False)
        if beyond.any():
            self.tally.malformed["sampling interval beyond 2^24"] += int(beyond.sum())
        rate = rate.set(beyond | (rate <= 0).fill_null(value=False), None)
        scaled = read.pop("already_scaled", None)
        if scaled is not None:
            one = (scaled > 0).fill_null(value=False)
            rate = rate.set(one, 1)
            if one.any():
                self.notes["records whose bytes the tool had scaled by the sampling rate"] += int(
                    one.sum()
                )
        read["sampling_interval"] = rate

    def _interfaces(self, read: dict[str, pl.Series], exporter: pl.Series) -> None:
        """ifIndex of interfaces that the tool knows by name."""
        for column, named in (("input_if", "in_if_name"), ("output_if", "out_if_name")):
            names = read.pop(named, None)
            if names is None:
                continue
            frame = pl.DataFrame({"e": exporter, "n": names})
            pairs = frame.unique().drop_nulls()
            found = [self.interface_of(e, name) for e, name in pairs.iter_rows()]
            index = frame.join(
                pairs.with_columns(i=pl.Series(found, dtype=pl.Int64)),
                on=["e", "n"], how="left", maintain_order="left",
            )["i"]  # fmt: skip
            unknown = int((names.is_not_null() & index.is_null()).sum())
            if unknown:
                self.notes[f"interface names not in the configuration ({column})"] += unknown
            read[column] = _either(read[column], index, column) if column in read else index

    def _icmp(self, read: dict[str, pl.Series]) -> None:
        """dst_port of ICMP is type × 256 + code, as exporters send it."""
        kind, code = read.pop("icmp_type", None), read.pop("icmp_code", None)
        if kind is None or "protocol" not in read:
            return
        both = kind * 256 + (code.fill_null(0) if code is not None else 0)
        icmp = read["protocol"].is_in(_ICMP) & both.is_not_null()
        port = read.get("dst_port", pl.repeat(None, len(kind), dtype=pl.Int64, eager=True))
        read["dst_port"] = pl.select(pl.when(icmp).then(both).otherwise(port)).to_series()


def _either(first: pl.Series, second: pl.Series, column: str) -> pl.Series:
    """Row by row the first that says something; an all-zero address says nothing."""
    present = first.is_not_null()
    if column.endswith(("addr", "hop")) or column == "exporter_ip":
        present &= ~first.is_in(values.UNSET) | second.is_null()
    return pl.select(pl.when(present).then(first).otherwise(second)).to_series()


def _array(column: pl.Series | None, f: pa.Field, n: int) -> Any:
    if column is None:
        return pa.nulls(n, f.type)
    if f.name in _INT32:
        column = column.set((column > (1 << 31) - 1).fill_null(value=False), None)
    array = column.to_arrow()
    if pa.types.is_timestamp(f.type):
        return array.cast(pa.int64()).cast(f.type)
    if pa.types.is_fixed_size_binary(f.type):
        return array.cast(pa.binary()).cast(f.type)
    return array.cast(f.type)
