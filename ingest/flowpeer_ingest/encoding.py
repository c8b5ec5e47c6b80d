"""How the columns of `flows` are best written to Parquet: by what was measured, column by column.

Delta encoding (DELTA_BINARY_PACKED) took a third of the time of a dictionary for times, ports and
counters, and a compressor found nothing more in its result but where a datagram says something once
for all of its records: LZ4 then leaves a tenth, or a hundredth. Addresses and ASNs repeat: a
dictionary of those of a row group, the addresses in it under LZ4 since half of their octets are
the same. What is the same for a whole file is a run of one dictionary entry. All encodings are
those that DuckDB, Polars, Spark and ClickHouse read. Minimum and maximum are kept where a reader
can leave out a row group by them, or a column that has one value; of addresses and ports every
row group holds all.
"""

from __future__ import annotations

from flowpeer_core.native.encodings import DELTA, DICTIONARY, Encoding
from flowpeer_ingest.schema import FLOWS

_BY_DATAGRAM = ("received_at", "start_time", "end_time", "export_time", "datagram_sequence")
_DELTA = (
    *_BY_DATAGRAM, "input_if", "output_if", "src_port", "dst_port", "protocol",
    "tcp_flags", "bytes", "packets", "min_length", "max_length", "src_mask", "dst_mask",
)  # fmt: skip
_PACKED = (*_BY_DATAGRAM, "src_addr", "dst_addr", "src_mac", "dst_mac")
_MEASURED = (
    "received_at", "start_time", "end_time", "exporter_ip", "observation_domain", "input_if",
    "output_if", "direction", "bytes", "packets", "sampling_interval", "sampler_id", "min_length",
    "max_length",
)  # fmt: skip

FLOWS_ENCODING: dict[str, Encoding] = {
    c.name: Encoding(
        DELTA if c.name in _DELTA else DICTIONARY,
        "lz4_raw" if c.name in _PACKED else "none",
        measured=c.name in _MEASURED,
    )
    for c in FLOWS
}
"""For `flowpeer_core.native.writing.open_writer`."""
