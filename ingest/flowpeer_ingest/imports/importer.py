"""A file of another tool → tables of flows, with the counters of a capture."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from flowpeer_core.slots import HOUR_US
from flowpeer_ingest.decompress import open_unpacked
from flowpeer_ingest.errors import IngestError
from flowpeer_ingest.imports import nfdump, row_files
from flowpeer_ingest.imports.rows import Importer, InterfaceOf
from flowpeer_ingest.imports.tools import COLUMNS, EXTRA, GENERIC, Tool, tool_of
from flowpeer_ingest.summary import CaptureSummary, ExporterSummary

MAX_HOURS = 24 * 31
"""Hours one file may reach into: each has a file of its own open while it is read."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PARQUET = b"PAR1"
_ADVICE = (
    "captures, nfcapd files, JSON or CSV of nfdump, goflow2, pmacct and Akvorado, "
    "or a table with columns named as in `flows` (or a --mapping)"
)


@dataclass(frozen=True, slots=True)
class Mapping:
    """A user's `--mapping`: which column of the file is which of `flows`, and what is constant."""

    columns: dict[str, tuple[str, ...]] = field(default_factory=dict)
    constants: dict[str, str] = field(default_factory=dict)


@dataclass
class ExportSummary(CaptureSummary):
    """A capture's integers for another tool's file: records = rows + rows_rejected +
    implausible.

    `tool` wrote it. There are no packets and no datagrams, so nothing is known of losses.
    """

    tool: str = ""
    lines_rejected: dict[str, int] = field(default_factory=dict)
    notes: dict[str, int] = field(default_factory=dict)


def read_mapping(path: Path) -> Mapping:
    """A TOML file with the tables `columns` and `constants`. Raises IngestError."""
    advice = (
        '[columns] has lines like src_addr = "SourceIP", [constants] like exporter_ip = "192.0.2.1"'
    )
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise IngestError(f"not a mapping: {error}", path=str(path), advice=advice) from None
    unknown = data.keys() - {"columns", "constants"}
    if unknown:
        raise IngestError(f"unknown table [{min(unknown)}]", path=str(path), advice=advice)
    columns: dict[str, tuple[str, ...]] = {}
    constants: dict[str, str] = {}
    for kind in ("columns", "constants"):
        table = data.get(kind, {})
        if not isinstance(table, dict):
            raise IngestError(f"{kind} is not a table", path=str(path), advice=advice)
        for name, value in table.items():
            if name not in COLUMNS | EXTRA:
                raise IngestError(
                    f"[{kind}] {name} is no column of flows", path=str(path),
                    advice=f"columns are {', '.join(sorted(COLUMNS | EXTRA))}",
                )  # fmt: skip
            if kind == "constants" and isinstance(value, (str, int)):
                constants[name] = str(value)
            elif kind == "columns" and isinstance(value, str):
                columns[name] = (value.lower(),)
            else:
                raise IngestError(
                    f"[{kind}] {name} = {value!r} is not text", path=str(path), advice=advice
                )
    return Mapping(columns, constants)


@dataclass(frozen=True, slots=True)
class _File:
    """What a file is: `shape` nfcapd, parquet, json or delimited."""

    shape: str
    tool: Tool
    names: list[str]


def _look(path: Path, mapping: Mapping) -> _File | None:
    """What the file's first octets say, None if it is no export of a known tool."""
    with path.open("rb") as file:
        magic = file.read(4)
    if magic[:2] in nfdump.MAGICS:
        tool = tool_of(["type", "first", "last", "in_bytes", "in_packets"])
        assert tool is not None
        return _File("nfcapd", tool, [])
    if magic == _PARQUET:
        names = row_files.parquet_rows(str(path), set()).names
        shape = "parquet"
    else:
        with open_unpacked(path) as stream:
            head = stream.read(row_files.HEAD)
        if b"\r" in head and b"\n" not in head and row_files.delimited_names(head)[0]:
            raise IngestError(
                "lines that end in a carriage return alone", path=str(path),
                advice="write it again with newlines, as `tr '\\r' '\\n'` does",
            )  # fmt: skip
        names, shape = row_files.json_names(head), "json"
        if not names:
            (names, _), shape = row_files.delimited_names(head), "delimited"
    tool = tool_of(names)
    lower = {n.lower() for n in names}
    if tool is None and mapping.columns and any(c[0] in lower for c in mapping.columns.values()):
        tool = GENERIC
    return None if tool is None else _File(shape, tool, names)


def is_export(path: Path, mapping: Mapping | None = None) -> bool:
    """Is this a file of another tool, recognised by its content? Raises IngestError, OSError."""
    return _look(path, mapping or Mapping()) is not None


@contextmanager
def _rows(path: Path, file: _File, wanted: set[str]) -> Iterator[row_files.FileRows]:
    if file.shape == "nfcapd":
        with nfdump.records(path) as stream:
            yield row_files.json_rows(stream, str(path), file.names, wanted)
    elif file.shape == "parquet":
        yield row_files.parquet_rows(str(path), wanted)
    else:
        with open_unpacked(path) as opened:
            if file.shape == "json":
                yield row_files.json_rows(opened, str(path), file.names, wanted)
            else:
                yield row_files.delimited_rows(opened, str(path), wanted)


def ingest_export(
    path: str | Path,
    *,
    write: Callable[[datetime, str, pa.Table], None],
    active_timeout_s: Callable[[str], int] = lambda exporter_ip: 60,
    interface_of: InterfaceOf = lambda exporter_ip, name: None,
    mapping: Mapping | None = None,
    progress: Callable[[int], None] | None = None,
) -> ExportSummary:
    """Read another tool's file. Calls `write(hour, "flows", table)` as `ingest_capture` does.

    Which tool wrote it is recognised by the names of its columns. `mapping` adds to them, and its
    constants replace them. There are no rows of `sampling` and `coverage`. Raises IngestError
    for a file of no known tool, without an exporter, or damaged.
    """
    path = Path(path)
    mapping = mapping or Mapping()
    file = _look(path, mapping)
    if file is None:
        raise IngestError("neither a capture nor a known tool's export", path=str(path),
                          advice="ingest takes " + _ADVICE)  # fmt: skip
    columns = {**file.tool.columns}
    for column, names in mapping.columns.items():
        columns[column] = names
    for column in mapping.constants:
        columns.setdefault(column, ())
    wanted = {name for names in columns.values() for name in names}
    constants = {**file.tool.constants, **mapping.constants}
    _require(path, file, columns, constants)
    importer = Importer(file.tool, columns, constants, active_timeout_s, interface_of)
    hours: set[int] = set()
    with _rows(path, file, wanted) as rows:
        for frame in rows.frames:
            for hour, table in _by_hour(*importer.table(frame)):
                hours.add(hour)
                if len(hours) > MAX_HOURS:
                    raise IngestError(f"rows of more than {MAX_HOURS} hours", path=str(path),
                                      advice="split the file by day")  # fmt: skip
                write(_EPOCH + timedelta(hours=hour), "flows", table)
    if progress is not None:
        progress(path.stat().st_size)
    return _summary(path, file.tool, importer, rows)


def _require(
    path: Path, file: _File, columns: dict[str, tuple[str, ...]], constants: dict[str, str]
) -> None:
    """Raise IngestError if the file cannot say who exported, when, or how much."""
    if file.shape == "nfcapd" or file.shape == "json":
        return  # a key may come later than in the first object: row by row then
    lower = {n.lower() for n in file.names}
    for what, any_of in (
        ("exporter_ip", ("exporter_ip",)),
        ("bytes", ("bytes",)),
        ("received_at, start_time or end_time", ("received_at", "start_time", "end_time")),
    ):
        if not any(c in constants or lower & set(columns.get(c, ())) for c in any_of):
            raise IngestError(
                f"{file.tool.name} file without a column for {what}", path=str(path),
                advice="name it in a --mapping file: under [columns], or under [constants] "
                "if all rows have the same",
            )  # fmt: skip


def _by_hour(
    table: pa.Table, received: np.ndarray[Any, np.dtype[np.int64]]
) -> Iterator[tuple[int, pa.Table]]:
    if not len(received):
        return
    hours = received // HOUR_US
    if int(hours.min()) == int(hours.max()):
        yield int(hours[0]), table
        return
    for hour in np.unique(hours).tolist():
        yield hour, table.filter(pa.array(hours == hour))


def _summary(path: Path, tool: Tool, importer: Importer, rows: row_files.FileRows) -> ExportSummary:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    tally = importer.tally
    summary = ExportSummary(
        path=str(path),
        digest=digest,
        records=tally.records,
        rows=tally.rows,
        flow_bytes=tally.octets,
        sample=tally.set_aside.sample,
        rows_rejected=dict(tally.rejected),
        malformed=dict(tally.malformed),
        warnings=[*rows.warnings, *importer.unreadable],
        tool=tool.name,
        lines_rejected=dict(rows.rejected),
        notes=dict(importer.notes),
    )
    if importer.first_us >= 0:
        summary.first_received = _EPOCH + timedelta(microseconds=importer.first_us)
        summary.last_received = _EPOCH + timedelta(microseconds=importer.last_us)
    for address, count in sorted(tally.by_exporter.items()):
        summary.exporters[address] = ExporterSummary(
            records=count,
            formats=[tool.name],
            time_corrected=tally.time_corrected[address],
            long_flows=tally.long_flows[address],
            implausible=tally.set_aside.amounts.get(address, {}),
        )
    return summary
