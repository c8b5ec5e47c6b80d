"""The integers that must add up (METHODS M13), for a capture and for each exporter in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowpeer_ingest.export_sessions import SenderConflict, SequenceInterval
from flowpeer_ingest.interface_names import InterfaceTexts
from flowpeer_ingest.plausible import Amounts, Implausible

CLOCK_SAMPLES = 4_096
"""Clock errors kept per exporter for their median; every 2^k-th once that many are there."""


Ints = NDArray[np.int64]


@dataclass
class ExporterSummary:
    """What one exporter sent in a capture."""

    datagrams: int = 0
    records: int = 0
    formats: list[str] = field(default_factory=list)
    lost: int = 0
    template_misses: int = 0
    clock_error_s: float | None = None
    time_corrected: int = 0
    long_flows: int = 0
    implausible: dict[str, Amounts] = field(default_factory=dict)


@dataclass
class CaptureSummary:
    """The integers of METHODS M13 for one capture.

    packets = datagrams + skipped; datagrams = Σ exporters.datagrams + rejected; records = rows +
    rows_rejected + implausible, where the reverse half of a biflow is a record of its own.
    `flow_bytes` are those of all decoded records as exported, of each at most
    `plausible.MAX_COUNTER`.
    `pending` holds data sets of the run that still wait for a template; their records cannot be
    counted. `sample`: some of the records that were set aside.
    `interfaces`: what options data called them. `sequences`: which numbers were received.
    `conflicts`: signs of two senders where there should be one. `forgotten_sessions`: by exporter,
    those that there was no room for any more.
    """

    path: str
    digest: str = ""
    packets: int = 0
    datagrams: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    rejected: dict[str, int] = field(default_factory=dict)
    records: int = 0
    rows: int = 0
    flow_bytes: int = 0
    rows_rejected: dict[str, int] = field(default_factory=dict)
    pending: dict[str, int] = field(default_factory=dict)
    options_records: int = 0
    malformed: dict[str, int] = field(default_factory=dict)
    unsupported: dict[str, int] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    first_received: datetime | None = None
    last_received: datetime | None = None
    exporters: dict[str, ExporterSummary] = field(default_factory=dict)
    interfaces: InterfaceTexts = field(default_factory=dict, repr=False)
    sequences: list[SequenceInterval] = field(default_factory=list)
    conflicts: list[SenderConflict] = field(default_factory=list)
    forgotten_sessions: dict[str, int] = field(default_factory=dict)
    sample: list[Implausible] = field(default_factory=list)

    @property
    def implausible(self) -> dict[str, int]:
        """Records that were set aside (`plausible`), by reason."""
        counts: Counter[str] = Counter()
        for of in self.exporters.values():
            for reason, (records, _, _) in of.implausible.items():
                counts[reason] += records
        return dict(counts)

    def document(self) -> dict[str, Any]:
        """The integers alone, as plain values."""
        plain = asdict(replace(self, interfaces={}))
        del plain["interfaces"]
        return plain


def doubts(summary: CaptureSummary) -> Iterator[str]:
    """Sessions that were forgotten, and signs of two senders in one, in words."""
    for address, count in sorted(summary.forgotten_sessions.items()):
        yield (
            f"{address}: no room for {count:,} of its sessions, the least recently used: their "
            "templates and rates are learned again"
        )
    for c in summary.conflicts:
        detail = f" ({c.detail})" if c.detail else ""
        yield (
            f"{c.exporter_ip}, source port {c.session & 0xFFFF}, domain {c.domain}: "
            f"{c.kind}{detail}, {c.count:,} times: look who sends under this address"
        )


@dataclass(slots=True)
class Counts:
    """Counters of one exporter while its datagrams are read."""

    datagrams: int = 0
    lost: int = 0
    misses: int = 0
    versions: set[str] = field(default_factory=set)
    errors_us: list[int] = field(default_factory=list)
    stride: int = 1

    def clock(self, error_us: int) -> None:
        """Keep the last datagram's clock error, if it is its turn."""
        if self.datagrams % self.stride == 0:
            self.errors_us.append(error_us)
            self.thin()

    def thin(self) -> None:
        """Keep every second error once there are `CLOCK_SAMPLES`."""
        if len(self.errors_us) >= CLOCK_SAMPLES:
            del self.errors_us[::2]
            self.stride *= 2

    def many(self, received_us: NDArray[np.int64], export_ms: NDArray[np.int64]) -> None:
        """Count datagrams at once, as `datagram` does one."""
        first = self.datagrams + 1
        self.datagrams += len(received_us)
        at = 0
        while at < len(received_us):
            # Every stride-th datagram by its number, until the samples are thinned out.
            skip = -(first + at) % self.stride
            chosen = np.arange(at + skip, len(received_us), self.stride)
            chosen = chosen[: CLOCK_SAMPLES - len(self.errors_us)]
            if not len(chosen):
                break
            self.errors_us += (received_us[chosen] - export_ms[chosen] * 1_000).tolist()
            self.thin()
            at = int(chosen[-1]) + 1

    def unclocked(self, received_us: NDArray[np.int64]) -> None:
        """Count datagrams whose headers have no time."""
        self.datagrams += len(received_us)
