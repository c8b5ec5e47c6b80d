"""The collector: receivers fill the spool, this process decodes sealed segments and publishes.

Order of a start: recover what an earlier run left, load the checkpoint, bind, start receivers,
decode. Order of an end: receivers take what waits and seal, the rest is decoded, the last status
is written.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

from flowpeer_ingest import faults, receiver, spool
from flowpeer_ingest.errors import IngestError
from flowpeer_ingest.health import CODES, DOWN_AFTER_S, not_ready, troubles
from flowpeer_ingest.publisher import Publisher, Unit
from flowpeer_ingest.segments import Allowed
from flowpeer_ingest.service import Log, notify, now_us
from flowpeer_ingest.sockets import another_place
from flowpeer_ingest.spool import SEGMENT_OCTETS
from flowpeer_ingest.stats import LOSSES, Stats, write_status
from flowpeer_ingest.supervisor import RETRY_S, Supervisor
from flowpeer_ingest.web import HttpResponse, Server

STATUS_S = 1.0
TELL_S = 60.0
LOOK_S = 0.1
END_S = 7.0
"""After SIGTERM, decoding goes on until then, also inside a segment; the rest waits for a start."""
NICENESS = 5
"""Of the decoder, so that receiving goes first where there are few cores."""


@dataclass(frozen=True, slots=True)
class CollectorOptions:
    """What a collector is given."""

    spool: Path
    listen: tuple[tuple[str, int], ...]
    receivers: int = 1
    seal_after_s: float = 60.0
    segment_octets: int = SEGMENT_OCTETS
    reserve_octets: int = receiver.RESERVE_OCTETS
    configured: frozenset[str] = frozenset()
    exporter_ids: Mapping[str, str] = field(default_factory=dict)
    """By address: what the configured exporters are called."""
    allowed: Allowed = None
    metrics: tuple[str, int] | None = None


class Collector:
    """`run` collects until `stop` is called (from a signal handler or another thread)."""

    def __init__(
        self,
        settings: CollectorOptions,
        *,
        unit: Callable[[str], Unit],
        active_timeout_s: Callable[[str], int] = lambda exporter_ip: 60,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.settings = settings
        self.folder = settings.spool
        self.log = Log(say)
        self.stats = Stats(self.folder)
        self.supervisor = Supervisor(
            self.folder,
            self.stats,
            self.log,
            seal_after_s=settings.seal_after_s,
            segment_octets=settings.segment_octets,
            reserve_octets=settings.reserve_octets,
        )
        self.publisher = Publisher(
            self.folder,
            self.stats,
            self.log,
            unit=unit,
            active_timeout_s=active_timeout_s,
            configured=settings.configured,
            allowed=settings.allowed,
        )
        self.stopping = threading.Event()
        self._end_s = float("inf")
        self.publisher.over = lambda: time.monotonic() > self._end_s
        self.ended = threading.Event()
        self.phase = "starting"
        self.started_us = self.updated_us = now_us()
        self.recovered = spool.Recovered()
        self.metrics_port = 0
        self.losses_reported: dict[
            str, tuple[int, float]
        ] = {}  # losses: how many were reported, and when

    def stop(self) -> None:
        """Seal, decode, publish, return from `run`."""
        self._end_s = min(self._end_s, time.monotonic() + END_S)
        self.stopping.set()

    def run(self) -> None:
        """Collect until stopped. Raises IngestError where it cannot start."""
        faults.install()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._recover()
        except OSError as error:
            raise IngestError(
                f"the spool cannot be used: {error.strerror}",
                path=str(error.filename or self.folder),
                advice="fix the disk or the permissions; nothing was deleted, start again",
            ) from None
        stop_metrics: Callable[[], None] | None = None
        ticker = threading.Thread(target=self._tick, name="status")
        # Not this thread: a receiver started by it would be as nice as decoding is, and would
        # have to wait until a backlog is decoded.
        watcher = threading.Thread(target=self._watch, name="watch")
        try:
            for text in self.supervisor.bind(self.settings.listen, self.settings.receivers):
                self._warn(text)
            self.supervisor.start(self.stopping)
            if self.settings.metrics is not None:
                stop_metrics = self._serve(*self.settings.metrics)
            self.phase = "running"
            self._status()
            ticker.start()
            watcher.start()
            notify("READY=1")
            nicer = max(NICENESS, os.getpriority(os.PRIO_PROCESS, 0))
            os.setpriority(os.PRIO_PROCESS, 0, nicer)  # of this thread and those it starts
            while not self.stopping.is_set():
                self._decode(self.stopping.is_set)
            watcher.join()
            self._end()
        finally:
            self.stopping.set()
            if watcher.is_alive():
                watcher.join()
            self.supervisor.end()
            self.phase = "stopped"
            self.ended.set()
            if stop_metrics is not None:
                stop_metrics()
            if ticker.is_alive():
                ticker.join()
            self._status()
            self._tell_losses(0)
            self.supervisor.close()

    def _decode(self, over: Callable[[], bool]) -> None:
        done = self.publisher.all(over)
        if not done:
            self.stopping.wait(RETRY_S if done is None else LOOK_S)

    def _watch(self) -> None:
        """Start receivers again that ended, until the collector is to stop."""
        while not self.stopping.wait(LOOK_S):
            self.supervisor.watch(self.stopping)

    def _end(self) -> None:
        """Publish what the receivers took, as far as time allows."""
        self.phase = "stopping"
        notify("STOPPING=1")
        end = min(self._end_s, time.monotonic() + END_S)
        self.supervisor.end()
        while self.publisher.all(lambda: time.monotonic() > end) is None:
            if time.monotonic() + RETRY_S > end:
                break
            time.sleep(RETRY_S)
        waiting = len(spool.segments(self.folder, "sealed"))
        if waiting:
            self.log("end", f"{waiting} segments wait in the spool for the next start")

    def _serve(self, address: str, port: int) -> Callable[[], None]:
        from flowpeer_ingest.metrics import text

        try:
            server = Server(
                address,
                port,
                {
                    "/metrics": text(self.snapshot, self.troubles),
                    "/healthz": self._healthy,
                    "/readyz": self._ready,
                },
            )
        except OSError as error:
            raise IngestError(
                f"cannot answer Prometheus: {error.strerror}",
                path=f"{address}:{port}",
                advice=another_place(error, "--metrics HOST:PORT", "ss -tlpn"),
            ) from None
        self.metrics_port = server.port
        return server.stop

    def _healthy(self) -> HttpResponse:
        """Live: the status is being written. Not whether all is well; a restart repairs no disk."""
        late_s = (now_us() - self.updated_us) / 1e6
        if late_s < DOWN_AFTER_S:
            return HttpResponse("ok\n")
        return HttpResponse(f"no status for {late_s:.0f} s\n", HTTPStatus.SERVICE_UNAVAILABLE)

    def _ready(self) -> HttpResponse:
        """Ready: it receives, and what it receives gets into the lake."""
        why = not_ready(self.snapshot(), now_us())
        return HttpResponse(f"{why or 'ok'}\n", HTTPStatus(503 if why else 200))

    def _recover(self) -> None:
        """Make an earlier run's segments ready, and know what it knew."""
        with self._alone():
            found = self.recovered = spool.recover(self.folder)
        now = now_us()
        self.stats.lose("torn_octets", found.torn_octets, now)
        self.stats.lose("failed_segments", found.unreadable, now)
        if found.segments or found.torn_octets:
            self.log(
                "recovery",
                f"recovered {found.datagrams:,} datagrams in {found.segments} segments that an "
                f"earlier run left open; {found.torn_octets:,} octets were torn",
            )
        for path in self.publisher.load():
            self._warn(f"{path}: not a readable checkpoint; templates are learned again")
        self.supervisor.counter = self.publisher.next_counter()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """No receiver of an earlier run is still sealing."""
        handle = os.open(self.folder / receiver.LOCK, os.O_RDWR | os.O_CREAT, 0o640)
        end = time.monotonic() + 2 * receiver.DRAIN_S + 1
        try:
            while True:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > end:
                        raise IngestError(
                            "a receiver of an earlier run is still writing",
                            path=str(self.folder),
                            advice=f"wait some seconds, or end it: `fuser -v` on {receiver.LOCK}",
                        ) from None
                    time.sleep(0.05)
            yield
        finally:
            os.close(handle)

    # Telling

    def _warn(self, text: str) -> None:
        """Something a person should fix: reported once, and shown in the status."""
        self.stats.warnings.append(text)
        self.log("warning", f"warning: {text}")

    def _tick(self) -> None:
        """Write the status each second until the end."""
        while not self.ended.wait(STATUS_S):
            self._status()
            self._tell_losses()
            notify("WATCHDOG=1")

    def _tell_losses(self, every_s: float = TELL_S) -> None:
        """Log each loss when it begins, then how it goes on, once a minute."""
        now = time.monotonic()
        for name, total in self.stats.losses.items():
            before, at = self.losses_reported.get(name, (0, now - every_s))
            if total <= before or now - at < every_s:
                continue
            self.losses_reported[name] = total, now
            remedy = ""
            if name == "dropped_disk_full":
                remedy = (
                    f"; make room on the disk of {self.folder}, of which receiving leaves "
                    f"{self.settings.reserve_octets:,} octets free (`reserve` of [collector])"
                )
            self.log(
                f"loss {name}",
                f"lost: {name} +{total - before:,} to {total:,}: {LOSSES[name]}{remedy}",
            )

    def _status(self) -> None:
        with suppress(OSError):
            document = self.snapshot()
            self.updated_us = document["updated_us"]
            write_status(self.folder, document)

    def snapshot(self) -> dict[str, Any]:
        """Everything there is to tell, now; from any thread."""
        now = now_us()
        with self.stats.lock:
            sockets = self.supervisor.snapshot(now)
            waiting, octets, sealed_us = self._depth()
            waits = [sealed_us, *(r.get("oldest_us", 0) for r in sockets["receivers"])]
            oldest_us = min(filter(None, waits), default=0)
            return {
                "format": 1,
                "phase": self.phase,
                "pid": os.getpid(),
                "started_us": self.started_us,
                "updated_us": now,
                "metrics_port": self.metrics_port,
                "recovered": asdict(self.recovered),
                "spool": {
                    "spool_segments": waiting,
                    "spool_octets": octets
                    + sum(r.get("segment_octets", 0) for r in sockets["receivers"]),
                    "lag_seconds": max(0, now - oldest_us) / 1e6 if oldest_us else 0.0,
                    "failed": len(spool.segments(self.folder, "failed")),
                    "free_octets": self._free(),
                },
                "seal_after_s": self.settings.seal_after_s,
                "reserve_octets": self.settings.reserve_octets,
                "last_datagram_us": max(
                    (r.get("last_received_us", 0) for r in sockets["receivers"]), default=0
                ),
                "last_sealed_us": max(
                    (r.get("sealed_us", 0) for r in sockets["receivers"]), default=0
                ),
                **sockets,
                **self.stats.snapshot(),
            }

    def troubles(self) -> dict[str, int]:
        """How many troubles there are of each code."""
        found = troubles(self.snapshot(), now_us(), names=self.settings.exporter_ids)
        counted = Counter(trouble.code for trouble in found)
        return {code: counted[code] for code in CODES}

    def _free(self) -> int:
        """Octets that are left on the disk of the spool."""
        try:
            stat = os.statvfs(self.folder)
        except OSError:
            return 0
        return stat.f_bavail * stat.f_frsize

    def _depth(self) -> tuple[int, int, int]:
        """Sealed segments, their octets, and when the oldest datagram in them was received."""
        waiting = octets = 0
        first: dict[int, int] = {}  # by receiver: each one's segments are in the order of time
        for name in spool.segments(self.folder, "sealed"):
            with suppress(OSError):
                path = name.path(self.folder, "sealed")
                octets += path.stat().st_size
                waiting += 1
                if name.receiver not in first:
                    first[name.receiver] = spool.first_received_us(path)
        return waiting, octets, min(filter(None, first.values()), default=0)
