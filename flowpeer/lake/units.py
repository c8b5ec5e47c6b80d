"""The record of units of work: captures, other tools' exports and collected segments.

A unit's record is what makes its entries count: it is written after all of them, and names the
digest of each. It holds the integers of METHODS M13, the sequence numbers of the datagrams by
exporter and domain, and what tells a capture again. Records are packed: some dozens a document, by
a bucket that follows from the unit's name.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from flowpeer_ingest.plausible import Amounts, Implausible


@dataclass(frozen=True, slots=True)
class Content:
    """What a capture holds: digests of the whole and of its head, and its length in octets."""

    sha256: str
    head_sha256: str
    content_bytes: int

    @property
    def unit(self) -> str:
        """The name of its files in the lake."""
        return f"capture-{self.sha256[:16]}"


@dataclass(frozen=True, slots=True)
class ExporterCounts:
    """What one exporter sent in a unit."""

    datagrams: int = 0
    records: int = 0
    formats: tuple[str, ...] = ()
    lost: int = 0
    template_misses: int = 0
    clock_error_s: float | None = None
    time_corrected: int = 0
    long_flows: int = 0
    implausible: dict[str, Amounts] = field(default_factory=dict)
    """Records that were set aside, by reason (flowpeer_ingest.plausible)."""


@dataclass(frozen=True, slots=True)
class Sequence:
    """Sequence numbers of one exporter, session and domain that a unit holds without a gap:
    `first` ≤ n < `after` ≤ 2^32, received between two times (epoch µs). They count what
    `coverage.received` counts."""

    exporter_ip: str
    session: int
    domain: int
    first: int
    after: int
    first_us: int
    last_us: int


@dataclass(frozen=True, slots=True)
class RecordedConflict:
    """A sign that two senders speak as one exporter: `count` times between two times of receipt
    (epoch µs), in which the records of this exporter, session and domain are in doubt."""

    kind: str
    exporter_ip: str
    session: int
    domain: int
    first_us: int
    last_us: int
    count: int = 1
    detail: str = ""


@dataclass(frozen=True, slots=True)
class UnitRecord:
    """One unit of work, complete. The counters are `flowpeer_ingest.summary.CaptureSummary`'s."""

    name: str
    parts: dict[str, str] = field(default_factory=dict)
    """Digest of each file it was published as, by path."""
    collector: str = ""
    path: str = ""
    digest: str = ""
    packets: int = 0
    datagrams: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    rejected: dict[str, int] = field(default_factory=dict)
    records: int = 0
    rows: int = 0
    rows_rejected: dict[str, int] = field(default_factory=dict)
    pending: dict[str, int] = field(default_factory=dict)
    options_records: int = 0
    malformed: dict[str, int] = field(default_factory=dict)
    unsupported: dict[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    first_received: str | None = None
    last_received: str | None = None
    exporters: dict[str, ExporterCounts] = field(default_factory=dict)
    content: Content | None = None
    first: int = 0
    damaged_octets: int = 0
    sequences: tuple[Sequence, ...] = ()
    """Empty where they are not known."""
    conflicts: tuple[RecordedConflict, ...] = ()
    forgotten_sessions: dict[str, int] = field(default_factory=dict)
    """By exporter, those that there was no room for any more."""
    flow_bytes: int | None = None
    """As exported, of all records decoded; None where it is not known."""
    published_bytes: int = 0
    """As exported, of those in `flows`."""
    sample: tuple[Implausible, ...] = ()
    """Some of the records that were set aside."""

    @property
    def is_segment(self) -> bool:
        """Collected, not read from a file."""
        return self.name.startswith("segment-")

    @property
    def run(self) -> str:
        """Of a segment, the receiver's run, which numbers what it takes."""
        return self.name.split("-", 2)[2]


def bucket_of(name: str) -> str:
    """The document that a unit's record is in: of segments, 64 of one run together."""
    kind, _, rest = name.partition("-")
    if kind == "segment":
        number, _, run = rest.partition("-")
        if number.isascii() and number.isdecimal():
            return f"segment-{run}-{int(number) >> 6:09d}"
    elif kind == "capture":
        return f"capture-{rest[:2]}"
    return f"unit-{hashlib.sha256(name.encode()).hexdigest()[:2]}"


def unit_key(bucket: str) -> str:
    """Where a bucket is, below the lake."""
    return f"manifests/units/{bucket}.json"
