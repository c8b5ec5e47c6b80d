"""How the columns of `flows` are best written to Parquet: by what was measured, column by column.

Delta encoding (DELTA_BINARY_PACKED) took a third of the time of a dictionary for times, ports and
counters, and a compressor found nothing more in its result. Source and destination are plain and
LZ4: half the time of a dictionary and zstd to write, a fifth to read, for 2 octets more an address
where they repeat much, and none where they do not. What is the same for a whole file is a run of
one dictionary entry. All encodings are those that DuckDB, Polars, Spark and ClickHouse read.
Minimum and maximum are kept where a reader can leave out a row group by them, or a column that
has one value; of addresses and ports every row group holds all.
"""

from __future__ import annotations

from typing import Any

from flowpeer_ingest.schema import FLOWS

DELTA = (
    "start_time", "end_time", "input_if", "output_if", "src_port", "dst_port", "protocol", "tos",
    "tcp_flags", "bytes", "packets", "min_length", "max_length", "src_as", "dst_as", "src_mask",
    "dst_mask",
)  # fmt: skip
PLAIN = ("received_at", "direction")
"""Long runs of one value: a compressor alone is faster than a dictionary before it."""
ADDRESSES = ("src_addr", "dst_addr")
PACKED = (*PLAIN, "next_hop", "bgp_next_hop", "src_mac", "dst_mac")
MEASURED = (
    "received_at", "start_time", "end_time", "exporter_ip", "observation_domain", "input_if",
    "output_if", "direction", "bytes", "packets", "sampling_interval", "sampler_id", "min_length",
    "max_length",
)  # fmt: skip
DICTIONARY_OCTETS = 4 << 20
"""Of 128k rows all next hops fit, so that a dictionary is never given up half way."""

FLOWS_OPTIONS: dict[str, Any] = {
    "use_dictionary": [c.name for c in FLOWS if c.name not in DELTA + PLAIN + ADDRESSES],
    "column_encoding": dict.fromkeys(DELTA, "DELTA_BINARY_PACKED"),
    "compression": {c.name: "NONE" for c in FLOWS}
    | dict.fromkeys(PACKED, "ZSTD")
    | dict.fromkeys(ADDRESSES, "LZ4"),
    "write_statistics": list(MEASURED),
    "dictionary_pagesize_limit": DICTIONARY_OCTETS,
}
"""Arguments of `pyarrow.parquet.ParquetWriter` for `FLOWS`."""
