"""Publishing one unit of work: a capture, another tool's export, a collected segment.

All units go one way: files are staged, moved into the lake, named by the manifests of their hours,
and count from the moment that the unit's own record is written, last. Done again after a crash, a
unit replaces its own entries by name, and changes nothing where it is complete.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa

from flowpeer.lake.commit import Change, commit, complete
from flowpeer.lake.manifest import File, Manifest, UnitEntry, folder_of
from flowpeer.lake.staged import StagedTable, described
from flowpeer.lake.store import Lake
from flowpeer.lake.units import ExporterCounts, RecordedConflict, Sequence, UnitRecord
from flowpeer_core.native.rows import Rows
from flowpeer_ingest.facts import Facts
from flowpeer_ingest.parts import FlowFacts, Part
from flowpeer_ingest.schema import TABLES
from flowpeer_ingest.summary import CaptureSummary

MERGED = "merged-"
"""What the name of a file begins with that holds the rows of several (flowpeer.lake.compact)."""


def publish(lake: Lake, unit: str, parts: Iterable[Part], record: UnitRecord | None = None) -> None:
    """Publish the parts of one unit together.

    Args:
        record: the unit's record. Without one its parts count at once, each by itself.
    """
    lake.check_writable()
    made: list[tuple[Path, Part, File]] = []
    for part in parts:
        relative = f"{folder_of(part.table, part.hour)}/{unit}.parquet"
        if isinstance(part.content, Path):
            path = part.content
            file = described(path, relative, part.rows, part.sums, part.sha256)
        else:
            staged = lake.stage(relative, TABLES[part.table])
            staged.write(part.content)
            path, file = staged.path, staged.finish(relative)
        entry = UnitEntry(relative, file.sha256, file.rows, record is not None, part.facts)
        made.append((path, part, replace(file, units=(entry,))))
    if record is not None and lake.record().unit(record.name) is not None:
        for path, _, _ in made:
            path.unlink(missing_ok=True)
        return
    # Rates and coverage first: a roll-up that meets the flows must meet them too.
    for path, part, file in sorted(made, key=lambda m: (m[1].table == "flows", m[2].path)):
        _add(lake, part, lake.put(path, file))
    if record is not None:
        digests = {f.path: f.sha256 for _, _, f in made}  # by the paths of their entries
        octets = sum(f.sums.get("bytes", 0) for _, part, f in made if part.table == "flows")
        complete(lake, [replace(record, parts=digests, published_bytes=octets)])


def _add(lake: Lake, part: Part, file: File) -> None:
    """Name a file in the manifest of its hour."""
    merged = False
    (entry,) = file.units

    def edit(manifest: Manifest) -> Change | None:
        nonlocal merged
        of = [f for f in manifest.files if any(u.path == entry.path for u in f.units)]
        merged = any(PurePosixPath(f.path).name.startswith(MERGED) or f.pruned for f in of)
        if merged:  # its rows are in a merged file, or were deleted
            return None
        # What an attempt before this one left goes.
        kept = (f for f in manifest.files if f not in of)
        return Change((*kept, file), tuple(f.path for f in of))

    commit(lake, part.table, part.hour, edit)
    if merged:
        lake.storage.remove(file.path)


class FlowSink:
    """Takes the tables of one unit and publishes them together.

    `write` is what `flowpeer_ingest` calls, or `add` for parts that are complete; nothing is
    visible before `publish`.
    """

    def __init__(self, lake: Lake, unit: str) -> None:
        self._lake = lake
        self.unit = unit
        self._staged: dict[tuple[str, datetime], StagedTable] = {}
        self._facts: dict[datetime, Facts] = {}
        self._parts: list[Part] = []

    def write(self, hour: datetime, name: str, table: pa.Table | Rows) -> None:
        """Add rows received in the UTC hour `hour` to the table `name`."""
        key = (name, hour)
        if key not in self._staged:
            relative = f"{folder_of(name, hour)}/{self.unit}.parquet"
            self._staged[key] = self._lake.stage(relative, TABLES[name])
        self._staged[key].write(table)
        if name == "flows":
            if hour not in self._facts:
                self._facts[hour] = Facts()
            self._facts[hour].add(table)

    def add(self, part: Part) -> None:
        """Add a part that is complete."""
        self._parts.append(part)

    @property
    def flow_digests(self) -> dict[datetime, str]:
        """The SHA-256 of each file of flows that was published, by hour."""
        return {part.hour: part.sha256 for part in self._parts if part.table == "flows"}

    def publish(self, record: UnitRecord | None = None) -> dict[str, int]:
        """Publish every part; rows by table."""
        for (name, hour), staged in self._staged.items():
            staged.close()
            facts = self._facts[hour].facts() if name == "flows" else None
            self.add(Part(name, hour, staged.path, staged.rows, staged.sums, facts, staged.sha256))
        self._staged.clear()
        publish(self._lake, self.unit, self._parts, record)
        rows: dict[str, int] = {}
        for part in self._parts:
            rows[part.table] = rows.get(part.table, 0) + part.rows
        return rows

    def unrated(self) -> dict[str, int]:
        """Records without a sampling rate, by exporter."""
        counts: dict[str, int] = {}
        found: list[FlowFacts] = [facts.facts() for facts in self._facts.values()]
        if not found:
            found = [part.facts for part in self._parts if part.facts is not None]
        for facts in found:
            for ip, records in facts.unrated.items():
                counts[ip] = counts.get(ip, 0) + records
        return counts

    def discard(self) -> None:
        """Drop everything that was written."""
        for staged in self._staged.values():
            staged.discard()
        for part in self._parts:
            if isinstance(part.content, Path):
                part.content.unlink(missing_ok=True)


def unit_record(name: str, summary: CaptureSummary, **more: Any) -> UnitRecord:
    """The record of a unit from what its decoder counted; `more` are other fields."""
    counted: Mapping[str, Any] = summary.document()
    known: dict[str, Any] = {
        key: value for key, value in counted.items() if key in UnitRecord.__dataclass_fields__
    }
    known["warnings"] = tuple(summary.warnings)
    known["exporters"] = {
        ip: ExporterCounts(**{**counts, "formats": tuple(counts["formats"])})
        for ip, counts in counted["exporters"].items()
    }
    for key in ("first_received", "last_received"):
        known[key] = None if known.get(key) is None else str(known[key])
    known["sequences"] = tuple(
        Sequence(**s) if isinstance(s, dict) else s for s in known.get("sequences", ())
    )
    known["sample"] = tuple(summary.sample)
    known["conflicts"] = tuple(
        RecordedConflict(**c) if isinstance(c, dict) else c for c in known.get("conflicts", ())
    )
    return UnitRecord(name, **{**known, **more})
