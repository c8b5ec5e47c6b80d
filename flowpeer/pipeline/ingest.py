"""`decode` and `ingest`: from captures to records on the screen, or in the lake."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from flowpeer.cli.state import State

if TYPE_CHECKING:
    from flowpeer.network import Network
    from flowpeer_ingest.imports.ingest import ExportSummary
    from flowpeer_ingest.records import DecodeSummary
    from flowpeer_ingest.summary import CaptureSummary

CAPTURE_SUFFIXES = (".pcap", ".pcapng", ".cap", ".dmp")
EXPORT_SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet")
PACKED_SUFFIXES = (".gz", ".bz2", ".zst")
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
    from flowpeer_ingest.records import DecodeRun

    state: State = ctx.obj
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
        _report(state, name, run.summary)
        _report_pending(state, run.summary.pending)
    if state.json:
        state.emit(collected)


def _decode_csv(rows: Iterator[dict[str, Any]], *, header: bool) -> None:
    import csv

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
    import polars as pl

    from flowpeer.cli.state import terminal_width
    from flowpeer_reports.render import render_table

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
    from datetime import UTC, datetime, timedelta

    if key == "seconds":
        return (row["end"] - row["start"]) / 1000 if {"start", "end"} <= row.keys() else None
    value = row.get(key)
    if key == "start" and value is not None:
        return f"{datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=value):%m-%d %H:%M:%S}"
    return value if value is None or isinstance(value, int) else str(value)


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{n:,} {what}" for what, n in sorted(counts.items(), key=lambda i: -i[1]))


def _report(state: State, path: str, summary: CaptureSummary | DecodeSummary) -> None:
    """What was understood, and everything that was not, counted and named."""
    from flowpeer_ingest.imports.ingest import ExportSummary

    if isinstance(summary, ExportSummary):
        _report_export(state, path, summary)
        return
    state.say(
        f"{path}: {summary.packets:,} packets, {summary.datagrams:,} datagrams, "
        f"{summary.records:,} flow records, {summary.options_records:,} options records"
    )
    for label, counts in (
        ("packets that are no UDP datagram", summary.skipped),
        ("not decoded, by format", summary.unsupported),
    ):
        if counts:
            state.say(f"{path}: {label}: {_counts(counts)}")
    for label, counts in (
        ("datagrams refused", summary.rejected),
        ("malformed", summary.malformed),
        ("records refused", getattr(summary, "rows_rejected", {})),
    ):
        if counts:
            state.warn(f"{path}: {label}: {_counts(counts)}")
    for text in summary.warnings:
        state.warn(f"{path}: {text}")
    if not summary.datagrams:
        state.warn(f"{path}: no UDP datagram in it")


def _report_export(state: State, path: str, summary: ExportSummary) -> None:
    """The same for another tool's file."""
    state.say(f"{path}: {summary.tool}: {summary.records:,} rows, {summary.rows:,} flow records")
    if summary.notes:
        state.say(f"{path}: {_counts(summary.notes)}")
    for label, counts in (
        ("lines that are no rows", summary.lines_rejected),
        ("rows refused", summary.rows_rejected),
        ("malformed", summary.malformed),
    ):
        if counts:
            state.warn(f"{path}: {label}: {_counts(counts)}")
    for text in summary.warnings:
        state.warn(f"{path}: {text}")
    if not summary.records:
        state.warn(f"{path}: no row in it")


def _report_pending(state: State, pending: Mapping[str, int]) -> None:
    """Data sets left without their template at the end of a run."""
    if pending:
        state.warn(
            "data sets whose template never came (exporter, domain, template): "
            + ", ".join(f"{n:,} of {what}" for what, n in sorted(pending.items()))
        )


@contextmanager
def standard_input(paths: list[Path]) -> Iterator[list[Path]]:
    """The paths, with a copy of standard input for `-`: a capture is known by its whole content.

    Raises:
        InputError: it has more octets than a packed file may have.
    """
    from flowpeer.errors import InputError, naming
    from flowpeer_ingest.decompress import BUFFER, LIMIT_BYTES

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


def capture_files(paths: Iterable[Path], *, empty: bool = False) -> list[Path]:
    """The files named, and the captures and exports in the folders named, sorted by name.

    Args:
        empty: folders without any are as good as others.

    Raises:
        NoDataError: a folder without any.
    """
    from flowpeer.errors import NoDataError
    from flowpeer_ingest.imports.ingest import is_export

    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        inside = sorted(
            p
            for p in path.rglob("*")
            if p.is_file()
            and (
                _unpacked_suffix(p) in CAPTURE_SUFFIXES
                or ((_unpacked_suffix(p) in EXPORT_SUFFIXES or _nfcapd(p)) and is_export(p))
            )
        )
        if not inside and not empty:
            raise NoDataError(
                f"{path}: no captures in this folder",
                advice=f"captures are files that end in {', '.join(CAPTURE_SUFFIXES)}, "
                f"also with {', '.join(PACKED_SUFFIXES)}; "
                "of other tools' exports, name the file to see why it is not read",
            )
        found += inside
    return found


def _unpacked_suffix(path: Path) -> str:
    return Path(path.stem).suffix if path.suffix in PACKED_SUFFIXES else path.suffix


def _nfcapd(path: Path) -> bool:
    """A finished file of nfcapd, by its name: `nfcapd.202601010000`."""
    return path.name.startswith("nfcapd.") and path.suffix[1:].isdecimal()


def ingest_files(
    state: State, files: list[Path], mapping: Path | None = None, *, done: Path | None = None
) -> list[dict[str, Any]]:
    """Load captures and other tools' exports into the lake, each one once; one row a file.

    Args:
        done: folder that a file is moved to once it is in the lake.
    """
    from dataclasses import asdict

    from flowpeer.errors import InputError
    from flowpeer.lake import names
    from flowpeer.lake.content import Content, content_of, refuse_longer_version
    from flowpeer.lake.flows import FlowSink
    from flowpeer.lake.memory import Memory
    from flowpeer_ingest.decoder import Decoder
    from flowpeer_ingest.errors import IngestError
    from flowpeer_ingest.imports.ingest import ingest_export, is_export, read_mapping
    from flowpeer_ingest.ingest import ingest_capture

    network, lake = state.network(), state.lake()
    mapped = read_mapping(mapping) if mapping is not None else None
    results: list[dict[str, Any]] = []
    # One decoder for all files: the template may be in the file before, or in an earlier run's.
    decoder = Decoder(active_timeout_s=network.active_timeout_s)

    def load(path: Path, content: Content) -> CaptureSummary:
        sink = FlowSink(lake, content.unit)
        made: CaptureSummary
        try:
            with state.progress(path.name, path.stat().st_size) as advance:
                if is_export(path, mapped):
                    made = ingest_export(
                        path, write=sink.write, active_timeout_s=network.active_timeout_s,
                        interface_of=_interface_of(network), mapping=mapped, progress=advance,
                    )  # fmt: skip
                else:
                    made = ingest_capture(path, decoder=decoder, write=sink.write, progress=advance)
        except BaseException:
            sink.discard()
            memory.restore()
            raise
        sink.remove_leftovers()
        sink.publish({"capture": str(path), "capture_sha256": content.sha256})
        names.merge(lake, "ingest", made, network.exporter_by_address)
        if made.datagrams:
            memory.save(content.unit)
        entry = {**made.document(), "content": asdict(content)}
        lake.write_entry(f"captures/{content.unit}.parquet", entry)
        return made

    with lake.lock("ingest"):
        memory = Memory(lake, decoder)
        for damaged in memory.damaged:
            state.warn(f"{damaged}: not a readable memory; templates are learned anew")
        for path in files:
            try:
                content = content_of(path)
                known = lake.entry(f"captures/{content.unit}.parquet") is not None
                if not known:
                    refuse_longer_version(lake, path, content)
                    summary = load(path, content)
            except (IngestError, InputError) as error:
                # One file that is empty, cut or still growing does not keep a folder from loading.
                if len(files) == 1 and done is None:
                    raise
                state.warn(f"{error}; not loaded: {error.advice or 'the other files go on'}")
                results.append({"path": str(path), "added": False, "rows": 0, "unit": None})
                continue
            rows = 0
            if known:
                state.say(f"{path}: already in the lake, nothing added")
            else:
                _report(state, str(path), summary)
                rows = summary.rows
            results.append(
                {"path": str(path), "added": not known, "rows": rows, "unit": content.unit}
            )
            if done is not None:
                _move(path, done)
        _report_pending(state, memory.unread())
    state.reread()
    return results


def _move(path: Path, folder: Path) -> None:
    """Move a file that is in the lake to `folder`, beside one of the same name if there is one."""
    folder.mkdir(parents=True, exist_ok=True)
    target, n = folder / path.name, 1
    while target.exists():
        target, n = folder / f"{path.name}~{n}", n + 1
    shutil.move(path, target)


def _interface_of(network: Network) -> Callable[[str, str], int | None]:
    """ifIndex by exporter address and interface name, for tools that keep only names."""
    by_name = {(i.exporter, i.name): i.index for i in network.interfaces if i.name is not None}

    def find(exporter_ip: str, name: str) -> int | None:
        exporter = network.exporter_by_address.get(exporter_ip)
        return by_name.get((exporter_ip if exporter is None else exporter.id, name))

    return find


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
    pmacct and Akvorado; CSV and Parquet tables. Also packed with gzip, bzip2 or zstd, and
    folders of them.
    """
    state: State = ctx.obj
    with standard_input(paths) as named:
        files = capture_files(named, empty=done is not None)
        results = ingest_files(state, files, mapping, done=done)
    if state.json:
        state.emit(results)
        return
    added = [r for r in results if r["added"]]
    state.tell(f"{sum(r['rows'] for r in added):,} flow records added from {len(added)} files")


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(decode)
    app.command()(ingest)
