"""The memory of a run of the decoder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from flowpeer_ingest.columns import Columns
from flowpeer_ingest.sampling import Sampling
from flowpeer_ingest.wire.dispatch import Wire


class Decoder:
    """What is remembered of all exporters: templates, sampling rates and sequence numbers.

    Give the same decoder to one capture after the other (see `continuity`). Not for several
    threads.
    """

    def __init__(self, *, active_timeout_s: Callable[[str], int] = lambda exporter_ip: 60) -> None:
        self.wire = Wire()
        self.sampling = Sampling()
        self.columns = Columns(active_timeout_s)
        self.last_seen_us: dict[str, int] = {}
        """By exporter, when captures last had a datagram of it; the least recent capture first."""
        self.lost: Counter[tuple[str, int, int, int]] = Counter()
        """Data sets given up between captures: (exporter, version, domain, template) → sets."""
