"""What the collector tells: totals, exporters, losses and when each last rose.

One `Stats` in the collector's process; its snapshot goes to `status.json` in the spool folder
each second, which `flowpeer status` reads, and to Prometheus. The times at which losses rose are
taken over from the file of the run before, so that a restart hides nothing.
"""

from __future__ import annotations

import json
import os
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flowpeer_ingest.segments import SegmentSummary
from flowpeer_ingest.service import now_us

STATUS = "status.json"
REMEMBER_US = 7 * 86_400 * 1_000_000
"""An exporter that a run before saw so lately is known to this one, and missed if it is silent."""
MAX_LISTED = 1_000
"""Exporters listed in the status file, those with most octets; the totals hold all."""

LOSSES: dict[str, str] = {
    "kernel_drops": "datagrams dropped by the kernel: the socket's buffer was full",
    "dropped_disk_full": "datagrams read and dropped: no room in the spool",
    "sequence_lost": "datagrams or records missing by sequence number: lost on the way or here",
    "truncated": "datagrams longer than 65,535 octets",
    "torn_octets": "octets of batches that a crash tore, found at the start",
    "damaged_octets": "octets of sealed segments that could not be read",
    "failed_segments": "segments that could not be decoded and are kept in the spool",
    "template_dropped": "data sets that waited for a template in vain: no room, or none in an hour",
    "records_implausible": "records set aside: impossible counters or times",
}
"""Counters that mean that something is missing, and what each counts."""


@dataclass(slots=True)
class ExporterStats:
    """One exporter since the start."""

    datagrams: int = 0
    octets: int = 0
    records: int = 0
    lost: int = 0
    template_misses: int = 0
    unknown_sampling: int = 0
    time_corrected: int = 0
    clock_error_s: float | None = None
    last_seen_us: int = 0
    usual_gap_us: int = 0
    """The longest silence between two segments with something of it; older ones count less."""
    formats: list[str] = field(default_factory=list)
    conflicts: int = 0
    """Signs of two senders under its address; the kind of the last one, and when that was."""
    conflict: str = ""
    conflict_us: int = 0


class Stats:
    """Everything that is counted; all methods may be called from any thread."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lock = threading.RLock()
        self.totals: Counter[str] = Counter()
        self.reasons: dict[str, Counter[str]] = {
            name: Counter() for name in ("rejected", "implausible", "malformed", "unsupported")
        }
        self.exporters: dict[str, ExporterStats] = {}
        self.refused_sources: Counter[str] = Counter()
        self.losses: dict[str, int] = dict.fromkeys(LOSSES, 0)
        self.rose_us: dict[str, int] = {}
        self.pending: dict[str, int] = {}
        self.published_us = 0
        self.since_us = now_us()
        self.lost = 0  # by sequence number, of all exporters ever
        self.warnings: list[str] = []
        self.before: dict[str, Any] = {}
        self.carry_over()

    def carry_over(self) -> None:
        """Take exporters and the times of losses over from the run before; a file that is not
        readable has none."""
        self.before = read_status(self.folder) or {}
        known = self.before.get("exporters")
        for address, entry in known.items() if isinstance(known, dict) else ():
            of = entry if isinstance(entry, dict) else {}
            seen_us, gap_us = of.get("last_seen_us"), of.get("usual_gap_us")
            if not isinstance(seen_us, int) or not isinstance(gap_us, int):
                continue
            if self.since_us - seen_us < REMEMBER_US:
                self.exporters[address] = ExporterStats(last_seen_us=seen_us, usual_gap_us=gap_us)
        losses = self.before.get("losses")
        if not isinstance(losses, dict):
            return
        for name, loss in losses.items():
            rose = loss.get("rose_us") if isinstance(loss, dict) else None
            if name in LOSSES and isinstance(rose, int):
                self.rose_us[name] = rose

    def lose(self, name: str, total: int, now_us: int) -> None:
        """The counter of a loss stands at `total`; it never goes back."""
        with self.lock:
            if total > self.losses[name]:
                self.losses[name] = total
                self.rose_us[name] = now_us

    def segment(self, summary: SegmentSummary, unrated: Mapping[str, int], now_us: int) -> None:
        """A segment is published."""
        with self.lock:
            totals = self.totals
            totals["segments"] += 1
            for name in ("datagrams", "records", "rows", "options_records"):
                totals[name] += getattr(summary, name)
            for name, counts in self.reasons.items():
                counts.update(getattr(summary, name))
            for name, counted in (
                ("forgotten_sessions", sum(summary.forgotten_sessions.values())),
                ("conflicts", sum(c.count for c in summary.conflicts)),
            ):
                if counted:
                    totals[name] += counted
            self.refused_sources.update(summary.refused_sources)
            self.pending = summary.pending
            for address, exporter in summary.exporters.items():
                state = self.exporters.setdefault(address, ExporterStats())
                state.datagrams += exporter.datagrams
                state.records += exporter.records
                state.lost += exporter.lost
                state.template_misses += exporter.template_misses
                state.time_corrected += exporter.time_corrected
                state.octets += summary.octets.get(address, 0)
                state.unknown_sampling += unrated.get(address, 0)
                if exporter.clock_error_s is not None:
                    state.clock_error_s = exporter.clock_error_s
                seen_us = summary.last_seen_us.get(address, 0)
                if self.since_us < state.last_seen_us < seen_us:  # a restart is no silence
                    gap_us = seen_us - state.last_seen_us
                    state.usual_gap_us = max(gap_us, state.usual_gap_us * 9 // 10)
                state.last_seen_us = max(state.last_seen_us, seen_us)
                state.formats = sorted({*state.formats, *exporter.formats})
                totals["octets"] += summary.octets.get(address, 0)
                self.lost += exporter.lost
            for c in summary.conflicts:
                state = self.exporters.setdefault(c.exporter_ip, ExporterStats())
                state.conflicts += c.count
                if c.last_us >= state.conflict_us:
                    state.conflict, state.conflict_us = c.kind, c.last_us
            self.published_us = now_us
            self.lose("sequence_lost", self.lost, now_us)
            self.lose("records_implausible", self.reasons["implausible"].total(), now_us)

    def last_seen_us(self, address: str, now_us: int) -> int:
        """When an exporter was last seen; one that was not seen since the start: just now."""
        with self.lock:
            return self.exporters.setdefault(
                address, ExporterStats(last_seen_us=now_us)
            ).last_seen_us

    def forget(self, addresses: list[str]) -> None:
        """Take exporters off the list; the totals keep what they sent."""
        with self.lock:
            for address in addresses:
                self.exporters.pop(address, None)

    def snapshot(self) -> dict[str, Any]:
        """What is known here, as plain values."""
        with self.lock:
            listed = sorted(self.exporters.items(), key=lambda item: -item[1].octets)
            return {
                "totals": dict(self.totals),
                "losses": {
                    name: {"total": total, "rose_us": self.rose_us.get(name)}
                    for name, total in self.losses.items()
                },
                **{name: dict(counts) for name, counts in self.reasons.items()},
                "published_us": self.published_us,
                "pending": dict(list(self.pending.items())[:MAX_LISTED]),
                "refused_sources": dict(self.refused_sources.most_common(MAX_LISTED)),
                "exporters": {
                    address: {name: getattr(e, name) for name in ExporterStats.__slots__}
                    for address, e in listed[:MAX_LISTED]
                },
                "exporters_not_listed": max(0, len(listed) - MAX_LISTED),
                "warnings": list(self.warnings),
            }


def write_status(folder: Path, document: Mapping[str, Any]) -> None:
    """Replace the status file atomically; it need not survive a loss of power."""
    temporary = folder / (STATUS + ".new")
    temporary.write_text(json.dumps(document))
    os.rename(temporary, folder / STATUS)  # noqa: PTH104 (not among the calls that tests fail)


def read_status(folder: Path) -> dict[str, Any] | None:
    """What the collector last wrote; None if it never ran or the file is damaged.

    Raises:
        PermissionError: this user may not look.
    """
    try:
        document = json.loads((folder / STATUS).read_bytes())
    except PermissionError:
        raise
    except (OSError, ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None
