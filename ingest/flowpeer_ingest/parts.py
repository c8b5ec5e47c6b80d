"""What one unit of work hands over to be published: a part for each table and hour.

The decoder of a capture or segment makes parts; whoever publishes them need not open their files.
`FlowFacts` is what must be known of flow records without reading them again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

INGRESS_IN, EGRESS_IN, INGRESS_OUT, EGRESS_OUT = 1, 2, 4, 8
"""What was seen of an interface: ingress or egress records, with it as input or output."""
WAYS = (INGRESS_IN, EGRESS_IN, INGRESS_OUT, EGRESS_OUT)
"""The order of `FlowFacts.octets`."""
OLDEST_US, NEWEST_US = 24 * 3_600_000_000, 5 * 60_000_000
"""A record may begin so long before it is received, and end so long after it (M3)."""
MAX_INTERFACES = 4_096
"""Interfaces of an exporter that facts name, those with the most records: forged records could
have 2^32. What decides over traffic are the configured ones, which carry much."""
ANY_DOMAIN = -1
PATHS_APART_US = 30_000_000
"""Copies of a datagram whose header says no time are received at most so far apart."""

Span = tuple[int, int, int, int]
"""First and last export time (µs) and lowest and highest sequence number of some datagrams. Where a
header says no time it is that of receipt, `PATHS_APART_US` to either side."""


@dataclass(frozen=True, slots=True)
class FlowFacts:
    """What the record says of flow records received in one hour.

    Hours are `2026-09-16T07`. Exporters are addresses as text.
    """

    hours: tuple[str, ...] = ()
    """Those that the records reach into."""
    seen: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    """Bits of `WAYS` by exporter and interface."""
    unlisted: Mapping[str, int] = field(default_factory=dict)
    """Times that records named interfaces which are not in `seen`, by exporter."""
    unrated: Mapping[str, int] = field(default_factory=dict)
    """Records without a sampling rate, by exporter."""
    announced: tuple[str, ...] = ()
    """Exporters of which a record states no rate itself: what options data announced decides."""
    time_corrected: int = 0
    octets: Mapping[str, Mapping[int, tuple[int, ...]]] = field(default_factory=dict)
    """By exporter and interface: bytes of each way in the order of `WAYS`, times the rate that the
    record itself states, so that it does not hang on what was known when it was decoded; then of
    each way again, bytes of records that state none themselves; then of each way the bytes as
    exported of those that do. Empty in what format 2 left: not known."""
    spans: Mapping[str, Mapping[int, Span]] = field(default_factory=dict)
    """By exporter and domain: what the datagrams of the records say of time and sequence. Of those
    without a sequence number there is none."""


@dataclass(frozen=True, slots=True)
class Part:
    """What a unit brings to one table and UTC hour of receipt.

    content: a table of the stated schema, or an encoded Parquet file of it, complete and on the
    file system of the lake, which is moved into it.
    sums: of the columns that are summed (bytes, packets, …), by name.
    sha256: of an encoded file, where it is known.
    """

    table: str
    hour: datetime
    content: pa.Table | Path
    rows: int
    sums: Mapping[str, int]
    facts: FlowFacts | None = None
    sha256: str = ""


def joined_span(one: Span, other: Span) -> Span:
    """The span of both."""
    return (
        min(one[0], other[0]), max(one[1], other[1]), min(one[2], other[2]), max(one[3], other[3])
    )  # fmt: skip
