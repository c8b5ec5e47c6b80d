"""Captures → tables of flows, sampling and coverage."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from flowpeer_ingest.captures import Capture, Datagram
from flowpeer_ingest.continuity import Continuity
from flowpeer_ingest.decoder import Decoder
from flowpeer_ingest.decompress import open_source
from flowpeer_ingest.summary import CaptureSummary
from flowpeer_ingest.unit_decoder import (
    BATCH_DATAGRAMS,
    BATCH_OCTETS,
    UnitDecoder,
    Write,
    WriteRows,
)


def batches(
    datagrams: Iterable[Datagram],
) -> Iterator[tuple[list[bytes], list[str], list[int], list[int]]]:
    """(payloads, exporters, ports, times received) of neighbouring datagrams."""
    payloads: list[bytes] = []
    exporters: list[str] = []
    ports: list[int] = []
    times: list[int] = []
    octets = 0
    for d in datagrams:
        payloads.append(d.payload)
        exporters.append(d.exporter)
        ports.append(d.port)
        times.append(d.received_us)
        octets += len(d.payload)
        if len(payloads) >= BATCH_DATAGRAMS or octets >= BATCH_OCTETS:
            yield payloads, exporters, ports, times
            payloads, exporters, ports, times = [], [], [], []
            octets = 0
    yield payloads, exporters, ports, times


def ingest_capture(
    path: str | Path,
    *,
    decoder: Decoder,
    write: Write,
    rows: WriteRows | None = None,
    progress: Callable[[int], None] | None = None,
) -> CaptureSummary:
    """Decode a capture (pcap or pcapng; plain, gzip, bzip2 or zstd; "-" is stdin).

    Calls `write(hour, table name, table)` with tables of exactly the schemas in `schema.TABLES`:
    `flows` in chunks of about 128k rows, all rows of one call received in that hour (an earlier
    hour may come again: records whose template came late); `sampling` and `coverage` at the
    end, once per hour. `rows` takes flow records in its place (`UnitDecoder`). `progress` gets the
    octets read so far from the file on disk. What the decoder knows of the exporters goes on where
    their last capture ended (see `continuity`).

    Raises `IngestError` for a file that is no capture or whose packing is damaged. A capture
    that is cut short is a warning in the summary; all before the cut is kept. After an exception
    the decoder has learned from a part of the file.
    """
    stream, source = open_source(path)
    run = UnitDecoder(decoder, write, rows)
    continuity = Continuity(decoder)
    with stream:
        capture = Capture(stream, str(path))
        try:
            for batch in batches(capture.datagrams()):
                continuity.meet(batch[1], batch[3])
                run.many(*batch)
                if progress is not None:
                    progress(source.offset)
            run.joined(continuity.join())
            run.finish()
        except BaseException:
            decoder.columns.clear()  # rows of a refused file do not slip into the next one
            raise
        summary = CaptureSummary(
            path=str(path),
            digest=source.digest(),
            packets=capture.packets,
            datagrams=capture.datagrams_seen,
            skipped=dict(capture.skipped),
            warnings=capture.warnings,
        )
        if progress is not None:
            progress(source.offset)
    run.summarise(summary)
    continuity.end()
    return summary
