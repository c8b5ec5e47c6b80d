"""`decode` and `ingest`: from captures to records on the screen, or in the lake."""

from __future__ import annotations

import csv
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import polars as pl
import typer

from flowpeer.cli.state import CommandState, terminal_width
from flowpeer.errors import InputError, naming
from flowpeer.pipeline.ingest import capture_files, ingest_files
from flowpeer.pipeline.summaries import report, report_pending
from flowpeer_ingest.decompress import BUFFER, LIMIT_BYTES
from flowpeer_ingest.records import DecodeRun
from flowpeer_reports.render import render_table

STDIN = Path("-")
TABLE_COLUMNS = (
    "exporter", "version", "input_if", "output_if", "src_addr", "dst_addr", "src_port", "dst_port",
    "protocol", "bytes", "packets", "sampling_interval", "start", "seconds",
)  # fmt: skip
CSV_COLUMNS = (
    "exporter", "version", "observation_domain", "engine_type", "engine_id", "template_id",
    "src_addr", "dst_addr", "src_port", "dst_port", "protocol", "tcp_flags", "tos", "bytes",
    "packets", "bytes_total", "packets_total", "input_if", "output_if", "direction", "src_as",
    "dst_as", "next_hop", "bgp_next_hop", "src_mask", "dst_mask", "start", "end",
    "sampling_interval", "sampler_id",
)  # fmt: skip
"""The keys that most exporters fill; JSON lines have every key of a record."""
Done = Annotated[
    Path | None,
    typer.Option("--done", help="Move each file there that is in the lake; others stay."),
]
TABLE_ROWS = 2_000
"""Rows of a decode table that are laid out together; longer output is a table after a table."""


def decode(
    ctx: typer.Context,
    files: Annotated[list[str], typer.Argument(help="Captures; - for standard input.")],
    format_: Annotated[
        Literal["table", "jsonl", "csv"], typer.Option("--format", help="How to show records.")
    ] = "table",
    options: Annotated[bool, typer.Option("--options", help="Show options data too.")] = False,
) -> None:
    """What the export packets of captures say.

    Values are shown as on the wire: not scaled, not corrected.
    """
    state: CommandState = ctx.obj
    if state.json:
        format_ = "jsonl"
    collected: list[dict[str, Any]] = []
    for name in files:
        run = DecodeRun(name, options=options)
        rows = run.records()
        if state.json:
            collected += rows
        elif format_ == "jsonl":
            for row in rows:
                sys.stdout.write(json.dumps(row, ensure_ascii=False) + "\n")
        elif format_ == "csv":
            _decode_csv(rows, header=name == files[0])
        else:
            _decode_tables(rows)
        report(state, name, run.summary)
        report_pending(state, run.summary.pending)
    if state.json:
        state.emit(collected)


def _decode_csv(rows: Iterator[dict[str, Any]], *, header: bool) -> None:
    # Numbers and addresses only: there is no text in these columns that could be a formula.
    writer = csv.writer(sys.stdout, lineterminator="\n")
    if header:
        writer.writerow(CSV_COLUMNS)
    writer.writerows(
        ["" if (value := row.get(key)) is None else value for key in CSV_COLUMNS]
        for row in rows
        if not row.get("options")
    )


def _decode_tables(rows: Iterator[dict[str, Any]]) -> None:
    chunk: list[dict[str, Any]] = []

    def show() -> None:
        frame = pl.DataFrame(
            {c: [_cell(row, c) for row in chunk] for c in TABLE_COLUMNS}, strict=False
        )
        sys.stdout.write(str(render_table(frame, None, format="terminal", width=terminal_width())))
        chunk.clear()

    for row in rows:
        if row.get("options"):
            sys.stdout.write(json.dumps(row, ensure_ascii=False) + "\n")
            continue
        chunk.append(row)
        if len(chunk) == TABLE_ROWS:
            show()
    if chunk:
        show()


def _cell(row: dict[str, Any], key: str) -> Any:
    if key == "seconds":
        return (row["end"] - row["start"]) / 1000 if {"start", "end"} <= row.keys() else None
    value = row.get(key)
    if key == "start" and value is not None:
        return f"{datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=value):%m-%d %H:%M:%S}"
    return value if value is None or isinstance(value, int) else str(value)


@contextmanager
def standard_input(paths: list[Path]) -> Iterator[list[Path]]:
    """The paths, with a copy of standard input for `-`: a capture is known by its whole content.

    Raises:
        InputError: it has more octets than a packed file may have.
    """
    if STDIN not in paths:
        yield paths
        return
    with tempfile.TemporaryDirectory(prefix="flowpeer-") as folder:
        copy = Path(folder) / "stdin"
        with naming(copy), copy.open("wb") as file:
            while octets := sys.stdin.buffer.read(BUFFER):
                file.write(octets)
                if file.tell() > LIMIT_BYTES:
                    raise InputError(
                        "-", f"more than {LIMIT_BYTES} octets",
                        advice="write captures of an hour each, and ingest them when complete",
                    )  # fmt: skip
        yield [copy if path == STDIN else path for path in paths]


def ingest(
    ctx: typer.Context,
    paths: Annotated[
        list[Path],
        typer.Argument(help="Captures, other tools' exports, or folders of them; - for stdin."),
    ],
    mapping: Annotated[
        Path | None,
        typer.Option(help="TOML file that names the columns of a table of your own."),
    ] = None,
    done: Done = None,
) -> None:
    """Captures and other tools' exports into flow records; a file twice adds nothing.

    Takes pcap and pcapng; nfcapd files (by way of nfdump); JSON and CSV of nfdump, goflow2,
    pmacct and Akvorado; datagrams that Akvorado's inlet wrote to Kafka; CSV and Parquet tables.
    Also packed with gzip, bzip2 or zstd, and folders of them.
    """
    state: CommandState = ctx.obj
    with standard_input(paths) as named:
        files = capture_files(named, empty=done is not None)
        results = ingest_files(
            state.network(), state.lake(), files, state, mapping=mapping, done=done
        )
    if state.json:
        state.emit([asdict(file) for file in results])
        return
    added = [file for file in results if file.added]
    state.tell(f"{sum(file.rows for file in added):,} flow records added from {len(added)} files")
