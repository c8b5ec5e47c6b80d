"""The receiver processes of a collector: their sockets, their lives, their numbers.

The sockets are opened here and inherited, so a receiver that dies loses nothing but what it had
not written: datagrams wait in the kernel for its successor.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flowpeer_ingest import spool
from flowpeer_ingest.receiver import DRAIN_S
from flowpeer_ingest.receiver import ReceiverOptions as ReceiverSettings
from flowpeer_ingest.service import Log, now_us
from flowpeer_ingest.shared_counters import Counters
from flowpeer_ingest.sockets import Listener, buffer_advice, inherited, listen, queues
from flowpeer_ingest.stats import Stats

START_S = 10.0
RETRY_S = 1.0
_ADDED = frozenset(
    {"received", "received_octets", "committed", "dropped_disk_full", "truncated", "sync_failures",
     "sealed", "batches"}
)  # fmt: skip
"""Counters of which those of ended processes are added to the living one's."""


@dataclass(slots=True)
class ReceiverProcess:
    """A receiver process and its sockets."""

    number: int
    listeners: list[Listener]
    process: subprocess.Popen[bytes] | None = None
    ended: Counter[str] = field(default_factory=Counter)

    @property
    def dead(self) -> bool:
        """It was started and has ended."""
        return self.process is not None and self.process.poll() is not None


class Supervisor:
    """All receivers of a collector. `counter`: the number of the next segment."""

    def __init__(
        self,
        folder: Path,
        stats: Stats,
        log: Log,
        *,
        seal_after_s: float,
        segment_octets: int,
        reserve_octets: int,
    ) -> None:
        self.folder = folder
        self.stats = stats
        self.log = log
        self.seal_after_s = seal_after_s
        self.segment_octets = segment_octets
        self.reserve_octets = reserve_octets
        self.counter = 1
        self.all: list[ReceiverProcess] = []
        self.drops: dict[int, int] = {}  # by inode, extended beyond 2^32
        self.reported: dict[int, int] = {}  # those that a run before this one reported

    def bind(self, addresses: tuple[tuple[str, int], ...], receivers: int) -> list[str]:
        """Open the sockets, or take those that a service manager holds; what to warn of.

        Raises IngestError for an address that cannot be had.
        """
        held = inherited()
        if held:
            self.all = [ReceiverProcess(0, held)]
        else:
            plain = {port for address, port in addresses if ":" not in address}
            bound = list(addresses)
            for number in range(receivers):
                listeners: list[Listener] = []
                self.all.append(ReceiverProcess(number, listeners))
                for i, (address, port) in enumerate(bound):
                    listener = listen(address, port, shared=receivers > 1, both=port not in plain)
                    listeners.append(listener)
                    bound[i] = address, listener.port
        before = {s.get("inode"): s for s in self.stats.before.get("listen", ())}
        advice = []
        for receiver in self.all:
            for listener in receiver.listeners:
                # A socket that outlived its collector goes on counting where it stood.
                earlier = before.get(listener.inode, {}) if listener.inherited else {}
                self.reported[listener.inode] = self.drops[listener.inode] = earlier.get(
                    "drops_ever", 0
                )
                if receiver.number == 0:
                    advice.append(buffer_advice(listener))
        return [text for text in advice if text]

    def start(self, stopping: threading.Event) -> None:
        """Start all, and wait until they receive, so that "running" is true when it is stated."""
        for receiver in self.all:
            self._start(receiver)
        end = time.monotonic() + START_S
        for receiver in self.all:
            while time.monotonic() < end and not stopping.is_set():
                if self.counters(receiver).get("beat_us") or receiver.dead:
                    break
                time.sleep(0.01)

    def _start(self, receiver: ReceiverProcess) -> None:
        # Never the numbers of another process.
        self._path(receiver).unlink(missing_ok=True)
        settings = ReceiverSettings(
            spool=str(self.folder),
            number=receiver.number,
            run=secrets.token_hex(4),  # of this process: its datagrams are numbered from 0
            counter=self.counter,
            sockets=tuple((li.socket.fileno(), li.port) for li in receiver.listeners),
            parent=os.getpid(),
            seal_after_s=self.seal_after_s,
            segment_octets=self.segment_octets,
            reserve_octets=self.reserve_octets,
        )
        # A signal that comes before the receiver can handle it waits, and does not kill it.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM,))
        try:
            receiver.process = subprocess.Popen(  # noqa: S603 (our own module)
                [sys.executable, "-m", "flowpeer_ingest.receiver", settings.text()],
                pass_fds=[li.socket.fileno() for li in receiver.listeners],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def watch(self, stopping: threading.Event) -> None:
        """Seal for those that ended by themselves, and start them again."""
        for receiver in self.all:
            if not receiver.dead:
                continue
            assert receiver.process is not None
            code = receiver.process.returncode
            self.log("receiver", f"receiver {receiver.number} ended ({code}): again")
            try:
                self._succeed(receiver)
            except OSError as error:
                self.log("receiver", f"receiver {receiver.number}: {error.strerror}; trying again")
            stopping.wait(RETRY_S)  # one that cannot run is not started without a pause

    def _succeed(self, receiver: ReceiverProcess) -> None:
        found = spool.recover(self.folder, receiver.number)
        torn = self.stats.losses["torn_octets"] + found.torn_octets
        self.stats.lose("torn_octets", torn, now_us())
        counters = self.counters(receiver)
        with self.stats.lock:  # a snapshot counts its file or what it ended with, never both
            self._path(receiver).unlink(missing_ok=True)
            receiver.ended += Counter({k: v for k, v in counters.items() if k in _ADDED})
        taken = [n.counter for s in ("sealed", "failed") for n in spool.segments(self.folder, s)]
        self.counter = 1 + max([self.counter, counters.get("segment", 0), *taken])
        self._start(receiver)

    def end(self) -> None:
        """Let them take what waits and seal, and wait for them."""
        for receiver in self.all:
            if receiver.process is not None and not receiver.dead:
                receiver.process.send_signal(signal.SIGTERM)
        for receiver in self.all:
            if receiver.process is None:
                continue
            try:
                receiver.process.wait(2 * DRAIN_S + 1)
            except subprocess.TimeoutExpired:
                self.log("end", f"receiver {receiver.number} does not end: killed")
                receiver.process.kill()
                receiver.process.wait()
        with suppress(OSError):
            if spool.segments(self.folder, "open"):
                spool.recover(self.folder)

    def close(self) -> None:
        """Close the sockets."""
        for receiver in self.all:
            for listener in receiver.listeners:
                listener.socket.close()

    def _path(self, receiver: ReceiverProcess) -> Path:
        return self.folder / f"receiver-{receiver.number}.counters"

    def counters(self, receiver: ReceiverProcess) -> dict[str, int]:
        """What a receiver says of itself; nothing while it starts."""
        try:
            return Counters(self._path(receiver)).snapshot()
        except (OSError, ValueError):
            return {}

    def snapshot(self, at_us: int) -> dict[str, list[dict[str, Any]]]:
        """Sockets and receivers, now; losses go to the statistics. One caller at a time.

        Kernel drops: the larger of what /proc says of a receiver's sockets and what came with its
        datagrams (SO_RXQ_OVFL), which are two readings of one counter.
        """
        kernel = queues(set(self.drops))
        receivers: list[dict[str, Any]] = []
        listeners: list[dict[str, Any]] = []
        for receiver in self.all:
            counts = Counter(self.counters(receiver))
            for key, value in receiver.ended.items():
                counts[key] += value
            by_queue = reported = 0
            for listener in receiver.listeners:
                inode = listener.inode
                queue = kernel.get(inode)
                if queue is not None:
                    self.drops[inode] += (queue.drops - self.drops[inode]) & 0xFFFFFFFF
                drops = self.drops[inode] - self.reported[inode]
                reported += self.reported[inode]
                by_queue += drops
                listeners.append(
                    {
                        "name": listener.name,
                        "receiver": receiver.number,
                        "buffer_octets": listener.buffer_octets,
                        "kernel_drops": drops,
                        "inode": inode,
                        "drops_ever": self.drops[inode],
                        "queue_octets": queue.waiting_octets if queue else 0,
                        "inherited": listener.inherited,
                    }
                )
            counts["kernel_drops"] = max(counts["kernel_drops"] - reported, by_queue)
            receivers.append(dict(counts))
        for name in ("kernel_drops", "dropped_disk_full", "truncated"):
            self.stats.lose(name, sum(r.get(name, 0) for r in receivers), at_us)
        return {"listen": listeners, "receivers": receivers}
