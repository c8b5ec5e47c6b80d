"""The integers that must add up (METHODS M13), for a capture and for each exporter in it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowpeer_core.slots import SLOT_US
from flowpeer_ingest.interface_names import Said

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


@dataclass
class CaptureSummary:
    """The integers of METHODS M13 for one capture.

    packets = datagrams + skipped; datagrams = Σ exporters.datagrams + rejected; records = rows +
    rows_rejected, where the reverse half of a biflow is a record of its own. `pending` holds
    data sets of the run that still wait for a template; their records cannot be counted.
    `interfaces`: what options data called them.
    """

    path: str
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
    warnings: list[str] = field(default_factory=list)
    first_received: datetime | None = None
    last_received: datetime | None = None
    exporters: dict[str, ExporterSummary] = field(default_factory=dict)
    interfaces: Said = field(default_factory=dict, repr=False)

    def document(self) -> dict[str, Any]:
        """The integers alone, as plain values."""
        plain = asdict(replace(self, interfaces={}))
        del plain["interfaces"]
        return plain


@dataclass(slots=True)
class Counts:
    """Counters of one exporter while its datagrams are read."""

    datagrams: int = 0
    lost: int = 0
    misses: int = 0
    versions: set[str] = field(default_factory=set)
    errors_us: list[int] = field(default_factory=list)
    stride: int = 1
    slots: dict[int, list[int]] = field(default_factory=dict)
    """slot → [datagrams, units lost, units received beyond one a datagram], where units are what
    the exporter's sequence numbers count."""

    def slot(self, number: int) -> list[int]:
        """The counters of a slot, see `slots`."""
        found = self.slots.get(number)
        if found is None:
            found = self.slots[number] = [0, 0, 0]
        return found

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

    def many(self, received_us: Ints, export_ms: Ints) -> None:
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
        self._count(received_us)

    def unclocked(self, received_us: Ints) -> None:
        """Count datagrams whose headers have no time."""
        self.datagrams += len(received_us)
        self._count(received_us)

    def _count(self, received_us: Ints) -> None:
        slots, counts = np.unique(received_us // SLOT_US, return_counts=True)
        for slot, count in zip(slots.tolist(), counts.tolist(), strict=True):
            self.slot(slot)[0] += count

    def units(self, received_us: Ints, units: Ints) -> None:
        """Count what datagrams brought in units of their sequence numbers, beyond one each."""
        slots, at = np.unique(received_us // SLOT_US, return_inverse=True)
        for slot, more in zip(slots.tolist(), np.bincount(at, units - 1).tolist(), strict=True):
            self.slot(slot)[2] += int(more)
