"""Publishing what ingest decoded: one file an hour and table for each unit of work.

The ledger document of a `flows` file says what a roll-up must know without opening it: which
hours its records reach into, which interfaces were seen metered in which direction (METHODS M1),
and which exporters left the sampling rate unsaid.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from flowpeer.lake.store import Lake, StagedTable, hour_folder
from flowpeer_core.slots import HOUR_US
from flowpeer_ingest.schema import TABLES

INGRESS_IN, EGRESS_IN, INGRESS_OUT, EGRESS_OUT = 1, 2, 4, 8
"""What was seen of an interface: ingress or egress records, with it as input or output."""

MERGED = "merged-"
"""What the name of a file begins with that holds the rows of several (flowpeer.lake.compact)."""
MAX_COUNTERS = 1 << 20
"""Up to so many possible values, one counter for each is faster than hashing."""
MAX_INTERFACES = 4_096
"""Interfaces of an exporter that a document names, those with the most records: forged records
could have 2^32. What decides over traffic are the configured ones, which carry much."""


class FlowFacts:
    """What the ledger says of one `flows` file, gathered table by table."""

    def __init__(self) -> None:
        self.hours: set[int] = set()
        self.seen: dict[str, dict[int, int]] = {}
        self._records: dict[str, dict[int, int]] = {}
        self.unlisted: dict[str, int] = {}
        """Times that records named interfaces which are not in `seen`, by exporter."""
        self.unrated: dict[str, int] = {}
        self.corrected = 0

    def add(self, table: pa.Table) -> None:
        """Take the rows of `table` into account."""
        if not table.num_rows:
            return
        start = _microseconds(table, "start_time")
        # A record that ends on the border of an hour has no part in the one that begins there.
        begins, ends = start, _microseconds(table, "end_time")
        start, end = begins // HOUR_US, np.maximum(begins, ends - 1) // HOUR_US
        for first, last, _ in _pairs(start, end):
            self.hours.update(range(first, last + 1))
        named = table["exporter_ip"].combine_chunks().dictionary_encode()
        exporters = named.dictionary.to_pylist()
        exporter = named.indices.to_numpy(zero_copy_only=False).astype(np.int64)
        egress = pc.equal(pc.fill_null(table["direction"], 0), 1).to_numpy()
        kind = exporter << 1 | egress
        for name, ingress_bit, egress_bit in (
            ("input_if", INGRESS_IN, EGRESS_IN),
            ("output_if", INGRESS_OUT, EGRESS_OUT),
        ):
            interface = pc.fill_null(table[name], 0).to_numpy()
            for of, index, count in _pairs(kind, interface):
                ip = exporters[of >> 1]
                seen, records = self.seen.setdefault(ip, {}), self._records.setdefault(ip, {})
                seen[index] = seen.get(index, 0) | (egress_bit if of & 1 else ingress_bit)
                records[index] = records.get(index, 0) + count
        for ip in exporters:
            if len(self.seen[ip]) > 2 * MAX_INTERFACES:
                self._shorten(ip)
        if table["sampling_interval"].null_count:
            silent = exporter[pc.is_null(table["sampling_interval"]).to_numpy()]
            for of, records in enumerate(np.bincount(silent).tolist()):
                if records:
                    ip = exporters[of]
                    self.unrated[ip] = self.unrated.get(ip, 0) + records
        self.corrected += pc.sum(table["time_corrected"]).as_py() or 0

    def _shorten(self, ip: str) -> None:
        """Keep the interfaces of an exporter that most records named."""
        seen, records = self.seen[ip], self._records[ip]
        for index in sorted(seen, key=lambda i: (-records[i], i))[MAX_INTERFACES:]:
            del seen[index]
            self.unlisted[ip] = self.unlisted.get(ip, 0) + records.pop(index)

    def document(self) -> dict[str, Any]:
        """The facts as they stand in the ledger."""
        for ip in self.seen:
            self._shorten(ip)
        return {
            "hours": [hour_text(h) for h in sorted(self.hours)],
            "seen": {
                ip: {str(index): bits for index, bits in sorted(seen.items())}
                for ip, seen in sorted(self.seen.items())
            },
            "unlisted": dict(sorted(self.unlisted.items())),
            "unrated": dict(sorted(self.unrated.items())),
            "time_corrected": self.corrected,
        }


Ints = np.ndarray[Any, np.dtype[np.int64]]


def _pairs(first: Ints, second: Ints) -> list[tuple[int, int, int]]:
    """The distinct pairs and how often each is there. Each is made one integer, since sorting pairs
    took most of the time."""
    low, base = int(first.min()), int(second.min())
    span = int(second.max()) - base + 1
    size = (int(first.max()) - low + 1) * span
    if size >= 1 << 62:
        pairs, counts = np.unique(np.stack((first, second)), axis=1, return_counts=True)
        return [(a, b, n) for (a, b), n in zip(pairs.T.tolist(), counts.tolist(), strict=True)]
    keys = (first - low) * span + (second - base)
    if size <= MAX_COUNTERS:
        counts = np.bincount(keys)
        found = np.flatnonzero(counts)
        counts = counts[found]
    else:
        found, counts = (np.asarray(column) for column in pc.value_counts(pa.array(keys)).flatten())
    return [
        (low + key // span, base + key % span, count)
        for key, count in zip(found.tolist(), counts.tolist(), strict=True)
    ]


def _microseconds(table: pa.Table, name: str) -> Ints:
    values: Ints = table[name].cast(pa.int64()).to_numpy()
    return values


def hour_text(hours_since_epoch: int) -> str:
    """`2026-09-16T07`: an hour as ledger documents name it."""
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(hours=hours_since_epoch)).strftime(
        "%Y-%m-%dT%H"
    )


def merged_facts(units: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The facts of a file that holds the rows of several."""
    hours: set[str] = set()
    seen: dict[str, dict[str, int]] = {}
    unrated: dict[str, int] = {}
    unlisted: dict[str, int] = {}
    for unit in units.values():
        hours.update(unit["hours"])
        for ip, interfaces in unit["seen"].items():
            of = seen.setdefault(ip, {})
            for index, bits in interfaces.items():
                of[index] = of.get(index, 0) | bits
        for counts, more in ((unrated, unit["unrated"]), (unlisted, unit["unlisted"])):
            for ip, records in more.items():
                counts[ip] = counts.get(ip, 0) + records
    return {
        "hours": sorted(hours),
        "seen": seen,
        "unlisted": unlisted,
        "unrated": unrated,
        "time_corrected": sum(unit["time_corrected"] for unit in units.values()),
    }


class FlowSink:
    """Takes the tables of one unit (a capture, a sealed segment) and publishes them together.

    `write` is what `flowpeer_ingest` calls; nothing is visible before `publish`.
    """

    def __init__(self, lake: Lake, unit: str) -> None:
        self._lake = lake
        self._unit = unit
        self._staged: dict[tuple[str, datetime], StagedTable] = {}
        self._facts: dict[datetime, FlowFacts] = {}

    def write(self, hour: datetime, name: str, table: pa.Table) -> None:
        """Add rows received in the UTC hour `hour` to the table `name`."""
        key = (name, hour)
        if key not in self._staged:
            folder = hour_folder(name, f"{hour:%Y-%m-%d}", hour.hour)
            self._staged[key] = self._lake.stage(f"{folder}/{self._unit}.parquet", TABLES[name])
        self._staged[key].write(table)
        if name == "flows":
            self._facts.setdefault(hour, FlowFacts()).add(table)

    def publish(self, facts: Mapping[str, Any]) -> dict[str, int]:
        """Publish every file with its facts and `facts`; rows by table.

        Publishing again what a crash interrupted replaces the same files; those whose rows were
        merged into another file meanwhile stay there.
        """
        rows: dict[str, int] = {}
        # Rates and coverage first: a roll-up that meets the flows must meet them too.
        for (name, hour), staged in sorted(
            self._staged.items(), key=lambda item: (item[0][0] == "flows", item[0])
        ):
            more = self._facts[hour].document() if name == "flows" else {}
            if self._merged(name, hour):
                staged.discard()
            else:
                staged.publish({**facts, **more})
            rows[name] = rows.get(name, 0) + staged.rows
        return rows

    def _merged(self, name: str, hour: datetime) -> bool:
        """Are this unit's rows of the hour in a merged file already?"""
        if hour + timedelta(hours=1) > datetime.now(UTC):
            return False  # only closed hours are merged
        folder = hour_folder(name, f"{hour:%Y-%m-%d}", hour.hour)
        relative = f"{folder}/{self._unit}.parquet"
        merged = [n for n in self._lake.entry_names(folder) if n.startswith(f"{folder}/{MERGED}")]
        entries = map(self._lake.entry, merged)
        return any(relative in entry["made_of"] for entry in entries if entry is not None)

    def unrated(self) -> dict[str, int]:
        """Records without a sampling rate, by exporter."""
        counts: dict[str, int] = {}
        for facts in self._facts.values():
            for ip, records in facts.unrated.items():
                counts[ip] = counts.get(ip, 0) + records
        return counts

    def remove_leftovers(self) -> None:
        """Remove what an interrupted run of this unit published and this run did not make."""
        made = {staged.relative for staged in self._staged.values()}
        for path in self._lake.root.glob(f"*/date=*/hour=*/{self._unit}.parquet"):
            relative = path.relative_to(self._lake.root).as_posix()
            if relative not in made:
                self._lake.remove(relative)

    def discard(self) -> None:
        """Drop everything that was written."""
        for staged in self._staged.values():
            staged.discard()
