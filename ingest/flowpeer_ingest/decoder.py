"""The memory of a run of the decoder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from flowpeer_core.native import library
from flowpeer_ingest.columns import Columns, PlainColumns
from flowpeer_ingest.compiled import CompiledColumns
from flowpeer_ingest.sampling import Sampling
from flowpeer_ingest.walk import Walk
from flowpeer_ingest.wire.dispatch import Wire


class Decoder:
    """What is remembered of all exporters: templates, sampling rates and sequence numbers.

    Give the same decoder to one capture after the other (see `continuity`). Not for several
    threads. `plain`: decode in plain Python although the compiled core is there.
    """

    def __init__(
        self,
        *,
        active_timeout_s: Callable[[str], int] = lambda exporter_ip: 60,
        plain: bool = False,
    ) -> None:
        self.wire = Wire()
        self.sampling = Sampling()
        found = None if plain else library()
        self.columns: Columns
        self.walk: Walk | None = None
        if found is None:
            self.columns = PlainColumns(active_timeout_s)
        else:
            self.columns = compiled = CompiledColumns(found, active_timeout_s)
            self.walk = Walk(found, compiled, self.wire, self.sampling)
        self.last_seen_us: dict[str, int] = {}
        """By exporter, when captures last had a datagram of it; the least recent capture first."""
        self.lost: Counter[tuple[str, int, int, int]] = Counter()
        """Data sets given up between captures: (exporter, version, domain, template) → sets."""
