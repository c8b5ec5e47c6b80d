"""Sealed segments → the lake: decode, publish, checkpoint, remove, in this order.

Whatever is interrupted is done again from the checkpoint before it, with the same result.
"""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from flowpeer_core.native.rows import Rows
from flowpeer_ingest import checkpoint, faults, spool
from flowpeer_ingest.checkpoint import Checkpoint
from flowpeer_ingest.decoder import Decoder
from flowpeer_ingest.errors import IngestError
from flowpeer_ingest.quarantine import Quarantine
from flowpeer_ingest.segments import (
    MAX_UNCONFIGURED,
    Allowed,
    SegmentSummary,
    StoppedError,
    ingest_segment,
)
from flowpeer_ingest.service import Log, now_us
from flowpeer_ingest.stats import Stats
from flowpeer_ingest.summary import doubts

IDLE_S = 900
"""Sources outside the configuration are forgotten after so much silence, when they are many."""
ATTEMPTS = 3
"""A segment that fails for another reason than the disk's is set aside after so many."""


class Unit(Protocol):
    """Where one segment's tables go. Nothing is visible before `publish`."""

    def write(self, hour: datetime, name: str, table: pa.Table | Rows) -> None:
        """Rows received in this hour for this table."""

    def publish(self, summary: SegmentSummary) -> Mapping[str, int]:
        """Make all of it visible; records without a sampling rate by exporter."""

    def discard(self) -> None:
        """Drop what was written."""


class Publisher:
    """One decoder, one spool; `unit` opens the place where a segment's tables go."""

    def __init__(
        self,
        folder: Path,
        stats: Stats,
        log: Log,
        *,
        unit: Callable[[str], Unit],
        active_timeout_s: Callable[[str], int],
        configured: frozenset[str],
        allowed: Allowed,
    ) -> None:
        self.folder = folder
        self.stats = stats
        self.log = log
        self.unit = unit
        self.configured = configured
        self.allowed = allowed
        self.quarantine = Quarantine(folder)
        self.decoder = Decoder(active_timeout_s=active_timeout_s, configured=configured)
        self.checkpoint = Checkpoint.of(self.decoder, 0, "")
        self.attempts: Counter[str] = Counter()
        self.over: Callable[[], bool] = lambda: False
        """Is there no time left, so that a segment is given up and done after the next start?"""
        self._dropped_before = 0
        self._damaged = 0

    def load(self) -> list[Path]:
        """Know what was known; remove what is done. Checkpoints that were not readable."""
        self.checkpoint, bad = checkpoint.latest(self.folder, self.decoder)
        self._dropped_before = self.decoder.wire.state.dropped
        for name in spool.segments(self.folder, "sealed"):
            if name.unit == self.checkpoint.unit and not self._remove(name):
                # Done from its own checkpoint it would count gaps a second time.
                raise OSError(errno.EIO, "a finished segment cannot be removed", str(self.folder))
        return bad

    def next_counter(self) -> int:
        """A segment number beyond all that were given."""
        taken = [n.counter for s in ("sealed", "failed") for n in spool.segments(self.folder, s)]
        if self.checkpoint.unit:
            taken.append(int(self.checkpoint.unit.split("-")[1]))
        return 1 + max(taken, default=0)

    def all(self, over: Callable[[], bool]) -> bool | None:
        """Decode what is sealed, in order, until it is `over`: True if there was anything, None
        if one of them stays for another attempt."""
        done = False
        for name in spool.segments(self.folder, "sealed"):
            if done and over():
                break
            if not self.one(name):
                return None
            done = True
        return done

    def one(self, name: spool.SegmentName) -> bool:
        """One segment into the lake; False if it stays for another attempt."""
        if name.unit == self.checkpoint.unit:
            return self._remove(name)
        unit = self.unit(name.unit)
        try:
            faults.point("decode")
            summary = ingest_segment(
                name.path(self.folder, "sealed"),
                decoder=self.decoder,
                write=unit.write,
                configured=self.configured,
                allowed=self.allowed,
                quarantine=self.quarantine,
                over=self.over,
            )
            faults.point("publish")
            unrated = unit.publish(summary)
            faults.point("published")
            self._forget_idle()
            following = Checkpoint.of(self.decoder, self.checkpoint.serial + 1, name.unit)
            following.save(self.folder)
            faults.point("checkpoint")
        except StoppedError:
            with suppress(OSError):
                unit.discard()
            self.checkpoint.apply(self.decoder)
            return False
        except Exception as error:
            with suppress(OSError):
                unit.discard()
            self.checkpoint.apply(self.decoder)
            return self._failed(name, error)
        self.checkpoint = following
        self._tell(summary, unrated)
        return self._remove(name)

    def _remove(self, name: spool.SegmentName) -> bool:
        """Take a finished segment out of the spool; False if the disk does not let us."""
        try:
            name.path(self.folder, "sealed").unlink(missing_ok=True)
            spool.sync_folder(self.folder)
        except OSError as error:
            self.log("remove", f"{name.unit}: cannot be removed: {error.strerror}; trying again")
            return False
        faults.point("removed")
        return True

    def _failed(self, name: spool.SegmentName, error: Exception) -> bool:
        """What becomes of a segment that was not published; True if it is out of the way."""
        self.attempts[name.unit] += 1
        self.log("decode", f"{name.unit}: {type(error).__name__}: {error}")
        if not isinstance(error, IngestError) and (
            isinstance(error, OSError) or self.attempts[name.unit] < ATTEMPTS
        ):
            return False
        aside = name.path(self.folder, "failed")
        try:
            os.replace(name.path(self.folder, "sealed"), aside)  # noqa: PTH105
        except OSError:
            return False
        self.stats.lose("failed_segments", self.stats.losses["failed_segments"] + 1, now_us())
        self.log("decode", f"{name.unit}: set aside as {aside.name}")
        return True

    def _tell(self, summary: SegmentSummary, unrated: Mapping[str, int]) -> None:
        now = now_us()
        self.stats.segment(summary, unrated, now)
        dropped = self.decoder.wire.state.dropped - self._dropped_before
        self.stats.lose("template_dropped", dropped, now)
        if summary.damaged_octets:
            self._damaged += summary.damaged_octets
            self.stats.lose("damaged_octets", self._damaged, now)
        for warning in summary.warnings:
            self.log("damage", f"{summary.path}: {warning}")
        for reason, count in summary.rejected.items():
            self.log(f"rejected: {reason}", f"{summary.path}: {count:,} datagrams: {reason}")
        for text in doubts(summary):
            self.log("sessions", f"{summary.path}: {text}")

    def _forget_idle(self) -> None:
        """Let go of sources that are not in the configuration and are not seen any more, so
        that a flood of forged ones does not keep others out."""
        state = self.decoder.wire.state
        strangers = [a for a in state.exporters if a not in self.configured]
        if len(strangers) < MAX_UNCONFIGURED // 2:
            return
        now = now_us()
        limit = now - IDLE_S * 1_000_000
        gone = [a for a in strangers if self.stats.last_seen_us(a, now) < limit]
        for address in gone:
            state.forget(address)
        self.stats.forget(gone)
