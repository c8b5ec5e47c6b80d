"""Captures and other tools' exports into the lake, each file once."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from flowpeer.errors import InputError, NoDataError
from flowpeer.lake import interface_names
from flowpeer.lake.decoder_state import SavedDecoder
from flowpeer.lake.dedup import content_of, refuse_longer_version
from flowpeer.lake.publish import FlowSink, unit_record
from flowpeer.lake.store import Lake
from flowpeer.lake.units import Content
from flowpeer.network import Configuration
from flowpeer.pipeline.summaries import report, report_pending
from flowpeer.reporter import Reporter
from flowpeer_ingest.decoder import Decoder
from flowpeer_ingest.errors import IngestError
from flowpeer_ingest.imports.importer import ingest_export, is_export, read_mapping
from flowpeer_ingest.ingest import ingest_capture
from flowpeer_ingest.summary import CaptureSummary

CAPTURE_SUFFIXES = (".pcap", ".pcapng", ".cap", ".dmp")
EXPORT_SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet")
PACKED_SUFFIXES = (".gz", ".bz2", ".zst")


@dataclass(frozen=True, slots=True)
class Ingested:
    """One file: whether it was new, the flow records it added, the unit it is in the lake."""

    path: str
    added: bool
    rows: int
    unit: str | None
    """None where the file could not be read."""


def capture_files(paths: Iterable[Path], *, empty: bool = False) -> list[Path]:
    """The files named, and the captures and exports in the folders named, sorted by name.

    Args:
        empty: folders without any are as good as others.

    Raises:
        NoDataError: a folder without any.
    """
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
                or ((_unpacked_suffix(p) in EXPORT_SUFFIXES or _nfcapd(p)) and _is_export(p))
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


def _is_export(path: Path) -> bool:
    """Is it another tool's file, or one that is damaged, which is reported when it is loaded?"""
    try:
        return is_export(path)
    except IngestError:
        return True


def _unpacked_suffix(path: Path) -> str:
    return Path(path.stem).suffix if path.suffix in PACKED_SUFFIXES else path.suffix


def _nfcapd(path: Path) -> bool:
    """A finished file of nfcapd, by its name: `nfcapd.202601010000`."""
    return path.name.startswith("nfcapd.") and path.suffix[1:].isdecimal()


def ingest_files(
    network: Configuration,
    lake: Lake,
    files: list[Path],
    reporter: Reporter,
    *,
    mapping: Path | None = None,
    done: Path | None = None,
) -> list[Ingested]:
    """Load captures and other tools' exports into the lake, each one once.

    Afterwards the configuration is to be read again: exporters may have announced interface names.

    Args:
        done: folder that a file is moved to once it is in the lake.

    Raises:
        IngestError, InputError: the only file cannot be read; of several, the others are loaded.
        LockedError: another process ingests.
    """
    mapped = read_mapping(mapping) if mapping is not None else None
    results: list[Ingested] = []
    # One decoder for all files: the template may be in the file before, or in an earlier run's.
    decoder = Decoder(active_timeout_s=network.active_timeout_s)

    def load(path: Path, content: Content) -> CaptureSummary:
        sink = FlowSink(lake, content.unit)
        made: CaptureSummary
        try:
            with reporter.progress(path.name, path.stat().st_size) as advance:
                if is_export(path, mapped):
                    made = ingest_export(
                        path, write=sink.write, active_timeout_s=network.active_timeout_s,
                        interface_of=_interface_of(network), mapping=mapped, progress=advance,
                    )  # fmt: skip
                else:
                    made = ingest_capture(
                        path, decoder=decoder, write=sink.write, rows=sink.write, progress=advance
                    )
        except BaseException:
            sink.discard()
            memory.restore()
            raise
        interface_names.merge(lake, interface_names.INGEST, made, network.exporter_by_address)
        if made.datagrams:
            memory.save(content.unit)
        sink.publish(unit_record(content.unit, made, content=content))
        return made

    with lake.lock("ingest") as held:
        memory = SavedDecoder(lake, held, decoder)
        for damaged in memory.damaged:
            reporter.warn(f"{damaged}: not a readable decoder state; templates are learned again")
        for path in files:
            try:
                content = content_of(path)
                record = lake.record()
                known = record.unit(content.unit) is not None
                if not known:
                    refuse_longer_version(record, path, content)
                    summary = load(path, content)
            except (IngestError, InputError) as error:
                # One file that is empty, cut or still growing does not keep a folder from loading.
                if len(files) == 1 and done is None:
                    raise
                reporter.warn(f"{error}; not loaded: {error.advice or 'the other files go on'}")
                results.append(Ingested(str(path), added=False, rows=0, unit=None))
                continue
            rows = 0
            if known:
                reporter.say(f"{path}: already in the lake, nothing added")
            else:
                report(reporter, str(path), summary)
                rows = summary.rows
            results.append(Ingested(str(path), not known, rows, content.unit))
            if done is not None:
                _move(path, done)
        report_pending(reporter, memory.unread())
    return results


def _move(path: Path, folder: Path) -> None:
    """Move a file that is in the lake to `folder`, beside one of the same name if there is one."""
    folder.mkdir(parents=True, exist_ok=True)
    target, n = folder / path.name, 1
    while target.exists():
        target, n = folder / f"{path.name}~{n}", n + 1
    shutil.move(path, target)


def _interface_of(network: Configuration) -> Callable[[str, str], int | None]:
    """ifIndex by exporter address and interface name, for tools that keep only names."""
    by_name = {(i.exporter, i.name): i.index for i in network.interfaces if i.name is not None}

    def find(exporter_ip: str, name: str) -> int | None:
        exporter = network.exporter_by_address.get(exporter_ip)
        return by_name.get((exporter_ip if exporter is None else exporter.id, name))

    return find
