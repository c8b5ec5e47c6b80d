"""A receiver process: sockets → spool segments, and nothing else.

Started by the collector as `python -m flowpeer_ingest.receiver` with its sockets as inherited file
descriptors and its settings as one JSON argument. One thread receives; another syncs every
`COMMIT_S`, publishes the watermark and seals; a third one has the next segments ready. So the first
one never waits for a disk. SIGTERM, or the end of the parent, makes it take what waits in its
sockets, seal and exit.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import mmap
import os
import select
import signal
import socket
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flowpeer_core.slots import HOUR_US
from flowpeer_ingest import faults
from flowpeer_ingest.datagrams import ENTRY
from flowpeer_ingest.recvmmsg import BATCH, batch
from flowpeer_ingest.shared_counters import INDEX, Counters
from flowpeer_ingest.spool import BLOCK_OCTETS, PAGE, SEGMENT_OCTETS, Segment, SegmentName

COMMIT_S = 0.2
NAP_S, LONG_NAP_S = 0.004, 0.016
"""After a batch that emptied the queue: the next one is larger and so cheaper. At 100,000
datagrams/s 400 wait meanwhile, 1 MB of the socket's buffer; at lower rates it is longer, where
the buffers have `LARGE_BUFFER` octets for what may come in a burst."""
ENOUGH = 400
"""Datagrams a batch: more of them leave the processor's cache."""
LARGE_BUFFER = 16 << 20
FAST_S = 10.0
SPARES = 4
"""Segments at hand then: two seconds' worth at 100,000 datagrams/s."""
DRAIN_S = 2.0
"""Longest time that the queue is emptied for at the end, should senders go on."""
MIN_STRIDE, MAX_STRIDE = 128, 2_048
RESERVE_OCTETS = 512 * 10**6
"""Room on the disk that receiving leaves to the decoder: without it nothing would get free."""
NICENESS = -10
"""Where it may: an emptied socket can wait for nothing, everything else on the machine can."""
LOCK = "receivers.lock"
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class ReceiverOptions:
    """What a receiver is given; all of it JSON."""

    spool: str
    number: int
    run: str
    counter: int
    sockets: tuple[tuple[int, int], ...]  # (file descriptor, local port)
    parent: int
    seal_after_s: float = 60.0
    segment_octets: int = SEGMENT_OCTETS
    reserve_octets: int = RESERVE_OCTETS

    def text(self) -> str:
        """As the command line's argument."""
        return json.dumps(asdict(self))


class Receiver:
    """Receives until `stop`; `run` returns once everything is sealed."""

    def __init__(self, settings: ReceiverOptions) -> None:
        self.settings = settings
        self.folder = Path(settings.spool)
        self.batch = batch()
        self.sockets = {
            fd: (socket.socket(fileno=fd), port) for fd, port in map(tuple, settings.sockets)
        }
        buffers = [
            source.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
            for source, _ in self.sockets.values()
        ]
        self.longest_nap_s = LONG_NAP_S if min(buffers) >= LARGE_BUFFER else NAP_S
        self.counters = Counters(
            self.folder / f"receiver-{settings.number}.counters", writable=True
        )
        self.words = self.counters.words
        self.words[INDEX["run"]] = int(settings.run, 16)
        self.words[INDEX["pid"]] = os.getpid()
        self.words[INDEX["started_us"]] = time.time_ns() // 1000
        self.counter = settings.counter
        self.next = 0  # index of the next datagram of this run
        self.segment: Segment | None = None
        self.spares: deque[Segment] = deque()
        self.making = threading.Lock()
        self.lacking = False  # there is no room for another segment
        self.full: deque[Segment] = deque()
        self.opened_s = 0.0
        self.fast = False  # segments fill in less than `FAST_S`
        self.lock = threading.Lock()
        self.wake = threading.Event()
        self.stopping = threading.Event()
        self.finished = threading.Event()
        self.failing_since = 0.0
        self.stride = 1_536
        self.seen_drops: dict[int, int] = {}
        self.memory = memoryview(mmap.mmap(-1, BATCH * MAX_STRIDE + PAGE))

    def stop(self) -> None:
        """Take what waits, seal, end."""
        self.stopping.set()

    # The receiving thread

    def run(self) -> None:
        """Receive until it is to stop, then until nothing waits any more."""
        keeper = threading.Thread(target=self.keep, name="commit")
        keeper.start()
        supplier = threading.Thread(target=self.supply, name="supply")
        supplier.start()
        self.words[INDEX["beat_us"]] = time.time_ns() // 1000
        poll, nap_s = select.poll(), NAP_S
        for fd in self.sockets:
            poll.register(fd, select.POLLIN)
        try:
            while not self.stopping.is_set():
                ready = poll.poll(100)
                self.rotate()
                if not ready:
                    continue
                most = max([self.take(fd) for fd, _ in ready])
                if most < BATCH:
                    nap_s = min(max(nap_s * ENOUGH / max(most, 1), NAP_S), self.longest_nap_s)
                    time.sleep(nap_s)
            self.drain()
        finally:
            with self.lock:
                if self.segment is not None:
                    self.full.append(self.segment)
                    self.segment = None
            self.finished.set()
            self.wake.set()
            keeper.join()
            supplier.join()
        self.words[INDEX["stopped"]] = 1

    def drain(self) -> None:
        """Empty the sockets, for `DRAIN_S` at most."""
        end = time.monotonic() + DRAIN_S
        while time.monotonic() < end:
            if not sum(self.take(fd) for fd in self.sockets):
                return

    def rotate(self) -> None:
        """Hand the segment over for sealing when it is old, or of another hour."""
        segment = self.segment
        if segment is None or segment.began_us < 0:
            return
        old = time.monotonic() - self.opened_s >= self.settings.seal_after_s
        if old or time.time_ns() // 1000 // HOUR_US != segment.began_us // HOUR_US:
            self.hand_over()

    def hand_over(self) -> None:
        """The keeper seals it; the next datagram opens another."""
        with self.lock:
            if self.segment is not None:
                self.full.append(self.segment)
                self.segment = None
        self.words[INDEX["segment_octets"]] = 0
        self.wake.set()

    def room(self) -> Segment | None:
        """The segment to write to, None while the disk is full."""
        segment = self.segment
        if segment is not None:
            if segment.fits(BATCH, self.stride) >= min(BATCH, 64):
                return segment
            self.fast = time.monotonic() - self.opened_s < FAST_S
            self.hand_over()
        segment = self.spares.popleft() if self.spares else None
        if segment is None:
            if self.lacking:
                return None  # the supplying thread tries again
            with self.making:  # numbers are used in the order in which they are given
                segment = self.spares.popleft() if self.spares else self.make()
            if segment is None:
                return None
        segment.next = self.next
        self.segment = segment
        self.opened_s = time.monotonic()
        self.words[INDEX["segment"]] = segment.name.counter
        self.wake.set()
        return segment

    def take(self, fd: int) -> int:
        """One batch from one socket into the segment; how many datagrams."""
        source, port = self.sockets[fd]
        segment = self.room()
        if segment is None:
            return self.refuse(source)
        data, stride = self.batch, self.stride
        limit = segment.fits(BATCH, stride)
        # As far into a page as in the file: the kernel copies them in a fifth of the time.
        slots = self.memory[(segment.position + BLOCK_OCTETS) % PAGE :]
        n = data.receive(source, slots, stride, limit)
        if not n:
            return 0
        faults.point("receive")
        entries = data.entries[:n]
        entries["local_port"] = port
        lengths = entries["length"]
        longest, total = int(lengths.max()), int(lengths.sum())
        if segment.began_us < 0:
            self.opened_s = time.monotonic()
        if longest > stride or (n >= 8 and 2 * total < n * stride):
            self.pack(segment, entries, slots, stride)
        else:
            self.put(segment, entries, slots[: (n - 1) * stride + int(lengths[-1])], total)
        if not self.words[INDEX["oldest_us"]] and segment.began_us >= 0:
            self.words[INDEX["oldest_us"]] = segment.began_us
        faults.point("framed")
        words = self.words
        words[INDEX["last_received_us"]] = int(entries["received_us"][n - 1])
        words[INDEX["batches"]] += 1
        words[INDEX["truncated"]] += data.truncated
        self.note_drops(fd)
        wanted = min(max(-(-longest // 64) * 64, MIN_STRIDE), MAX_STRIDE)
        # Grow at once, shrink slowly: a datagram that is too long for its slot costs a copy.
        self.stride = wanted if wanted >= stride else max(wanted, stride - 64)
        return n

    def put(
        self, segment: Segment, entries: NDArray[np.void], payloads: bytes | memoryview, octets: int
    ) -> None:
        """A block of datagrams into the spool; counted where it takes none."""
        n = len(entries)
        try:
            segment.add(entries, payloads)
        except OSError:
            self.words[INDEX["dropped_disk_full"]] += n
            self.hand_over()  # another one may take more
            return
        self.next += n
        words = self.words
        words[INDEX["received"]] = self.next
        words[INDEX["received_octets"]] += octets
        if self.segment is not None:
            words[INDEX["segment_octets"]] = self.segment.position

    def pack(
        self, segment: Segment, entries: NDArray[np.void], slots: memoryview, stride: int
    ) -> None:
        """A block without slots: for datagrams longer than theirs, or much shorter.

        What does not fit goes on in the next segment; where there is none, it is counted.
        """
        lengths = entries["length"].tolist()
        pieces: list[bytes] = []
        for i, size in enumerate(lengths):
            piece = bytes(slots[i * stride : i * stride + min(size, stride)])
            pieces.append(piece + self.batch.spill(i, stride) if size > stride else piece)
        at = 0
        while at < len(pieces):
            room = segment.octets - segment.position - BLOCK_OCTETS - 8
            sizes = np.cumsum(entries["length"][at:], dtype=np.int64)
            rows = np.arange(1, len(sizes) + 1) * ENTRY.itemsize
            n = int(np.searchsorted(sizes + rows, room, side="right"))
            if n:
                part = entries[at : at + n].copy()
                total = int(sizes[n - 1])
                part["offset"] = sizes[:n] - part["length"]
                self.put(segment, part, b"".join(pieces[at : at + n]), total)
                at += n
            if at < len(pieces):
                self.hand_over()
                following = self.room()
                if following is None:
                    self.words[INDEX["dropped_disk_full"]] += len(pieces) - at
                    return
                segment = following

    def refuse(self, source: socket.socket) -> int:
        """There is no room: read and count, so that what comes is reported and not merely lost."""
        n = self.batch.receive(source, self.memory, MIN_STRIDE, BATCH)
        self.words[INDEX["dropped_disk_full"]] += n
        if n:
            self.note_drops(source.fileno())
        return n

    def note_drops(self, fd: int) -> None:
        """The kernel's count for this socket, kept beyond 2^32."""
        drops = self.batch.drops
        if drops < 0:
            return
        before = self.seen_drops.get(fd, 0)
        self.words[INDEX["kernel_drops"]] += (drops - before) & 0xFFFFFFFF
        self.seen_drops[fd] = drops
        self.batch.drops = -1

    # The keeping thread

    def make(self) -> Segment | None:
        """A new segment, under the lock `making`; None if the disk has no room to spare."""
        settings = self.settings
        try:
            stat = os.statvfs(self.folder)
            if stat.f_bavail * stat.f_frsize < settings.reserve_octets + settings.segment_octets:
                return None
            name = SegmentName(self.counter, settings.number, settings.run)
            self.counter += 1
            return Segment(self.folder, name, settings.segment_octets)
        except OSError:
            return None

    def keep(self) -> None:
        """Sync, publish the watermark, seal: until the receiving thread has finished."""
        retry_s = COMMIT_S
        while True:
            self.wake.wait(retry_s)
            self.wake.clear()
            done = self.finished.is_set()
            failed = self.commit()
            self.words[INDEX["oldest_us"]] = self.oldest_us()
            self.words[INDEX["beat_us"]] = time.time_ns() // 1000
            if done and not self.full:
                break
            if done and failed:
                time.sleep(COMMIT_S)
                if time.monotonic() - self.failing_since > DRAIN_S:
                    break  # recovery at the next start seals it

    def supply(self) -> None:
        """Keep a segment ready, some when datagrams come fast; until the receiving ends."""
        while not self.finished.is_set():
            if len(self.spares) >= (SPARES if self.fast else 1):
                self.finished.wait(COMMIT_S / 4)
                continue
            with self.making:
                spare = self.make()
                self.lacking = spare is None
                if spare is not None:
                    self.spares.append(spare)
            if spare is None:
                self.finished.wait(COMMIT_S)
        for spare in self.spares:
            with suppress(OSError):  # the next start removes it
                spare.seal()

    def commit(self) -> bool:
        """One round of sync and sealing; True if something failed and stays for the next."""
        try:
            while self.full:
                segment = self.full[0]
                if segment.seal() is not None:
                    self.words[INDEX["sealed"]] += 1
                    self.words[INDEX["sealed_us"]] = time.time_ns() // 1000
                self.full.popleft()
                self.watermark(segment.next)
            current = self.segment
            if current is not None and current.next > int(self.words[INDEX["committed"]]):
                reached = current.next
                current.sync()
                self.watermark(reached)
        except OSError:
            if not self.failing_since:
                self.failing_since = time.monotonic()
            self.words[INDEX["sync_failures"]] += 1
            return True
        self.failing_since = 0.0
        return False

    def oldest_us(self) -> int:
        """When the first datagram came that is in no sealed segment; 0 if there is none."""
        with self.lock:
            unsealed = [*self.full, *([self.segment] if self.segment is not None else [])]
        return min((s.began_us for s in unsealed if s.began_us >= 0), default=0)

    def watermark(self, reached: int) -> None:
        """Everything before datagram `reached` is on the disk."""
        faults.point("synced")
        self.words[INDEX["committed"]] = max(int(self.words[INDEX["committed"]]), reached)
        self.words[INDEX["committed_us"]] = time.time_ns() // 1000
        faults.point("committed")


def hold(folder: Path) -> int:
    """The lock that every living receiver of a spool shares; the descriptor that keeps it."""
    handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    return handle


def main(argument: str) -> int:
    """The process: see the module."""
    faults.install()
    settings = ReceiverOptions(**json.loads(argument))
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, NICENESS)
    try:
        return _serve(settings)
    except OSError as error:
        # The collector says what it does about it; this is why.
        where = error.filename or settings.spool
        sys.stderr.write(f"receiver {settings.number}: {where}: {error.strerror or error}\n")
        return 1


def _serve(settings: ReceiverOptions) -> int:
    receiver = Receiver(settings)
    signal.signal(signal.SIGTERM, lambda *_: receiver.stop())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's ^C reaches the collector too
    if os.getppid() != settings.parent:
        receiver.stop()  # the parent ended before it could be watched
    held = hold(Path(settings.spool))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM,))
    try:
        receiver.run()
    finally:
        os.close(held)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
