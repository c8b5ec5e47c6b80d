"""The spool: datagrams as received, in segments that are written once and read once.

    <spool>/<counter>-<run>-<receiver>.open      being written: preallocated
    <spool>/<counter>-<run>-<receiver>.sealed    complete, cut to its length, waits for the decoder
    <spool>/<counter>-<run>-<receiver>.failed    the decoder could not: kept for a person
    <spool>/state-<counter>.…                    see `saved`
    <spool>/receiver-<n>.counters                see `counters`

A segment is a header page and then blocks; a block holds the datagrams of one call to the kernel:

    block header   64 octets   magic, CRC of the header, CRC of all else, count, sizes, first index
    payloads       datagram i at `offset[i]`, as many octets as the caller's slots took
    table          one `ENTRY` a datagram: when, from where, to which port, where in the payloads

A block is written by one call, and its checksums say whether it is there as a whole. All numbers
are little-endian. Order of a segment's end: data synced, cut, renamed, folder synced.
"""

from __future__ import annotations

import errno
import mmap
import os
import re
import struct
import threading
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flowpeer_core.native.checksum import crc32
from flowpeer_ingest import faults
from flowpeer_ingest.datagrams import ENTRY
from flowpeer_ingest.errors import IngestError

SEGMENT_OCTETS = 64 << 20
"""About 45,000 full datagrams, a million flow records: one row group of the published file."""
PAGE = 4096
MAX_DATAGRAM = 65_535
"""RFC 7011 section 10.3.3 bounds a message over UDP by the datagram; IPv4's bound is this."""

_FILE = struct.Struct("<8sIIQIIQ")  # magic, version, crc, run, receiver, -, counter
_FILE_MAGIC = b"flowpeer"
_VERSION = 1
_BLOCK = struct.Struct("<4sIIIQQQQQQ")  # magic, crc, body crc, count, payload, total, first, …
_BLOCK_MAGIC = b"FPB1"
BLOCK_OCTETS = _BLOCK.size
assert BLOCK_OCTETS == 64

_NAME = re.compile(r"(\d{12})-([0-9a-f]{8})-(\d{2})\.(open|sealed|failed)")


@dataclass(frozen=True, slots=True, order=True)
class SegmentName:
    """What a segment is called; in the order of decoding."""

    counter: int
    receiver: int
    run: str

    @property
    def unit(self) -> str:
        """The name of what is published from it. The run makes it unique for good."""
        return f"segment-{self.counter:012d}-{self.run}-{self.receiver:02d}"

    def path(self, folder: Path, suffix: str) -> Path:
        """The file in its state `open`, `sealed` or `failed`."""
        return folder / f"{self.counter:012d}-{self.run}-{self.receiver:02d}.{suffix}"


def segments(folder: Path, suffix: str) -> list[SegmentName]:
    """All segments in a state, first the one to decode first."""
    found = []
    for entry in os.scandir(folder):
        match = _NAME.fullmatch(entry.name)
        if match and match[4] == suffix:
            found.append(SegmentName(int(match[1]), int(match[3]), match[2]))
    return sorted(found)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` survive a loss of power."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class Segment:
    """A segment that is being written, by one thread; another one may `sync` it meanwhile.

    Raises OSError (ENOSPC) where there is no room for it; room that it has, it keeps.
    """

    def __init__(self, folder: Path, name: SegmentName, octets: int = SEGMENT_OCTETS) -> None:
        self.name = name
        self.folder = folder
        self.octets = octets
        self.path = name.path(folder, "open")
        self.file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        head = _FILE.pack(
            _FILE_MAGIC, _VERSION, 0, int(name.run, 16), name.receiver, 0, name.counter
        )
        try:
            os.posix_fallocate(self.file, 0, octets)
            self._write([head[:12], struct.pack("<I", zlib.crc32(head)), head[16:]], 0)
        except BaseException:
            os.close(self.file)
            self.path.unlink()
            raise
        self.position = PAGE
        self._synced = 0
        self._writing = threading.Lock()
        self.next = 0  # index in the run of the next datagram
        self.began_us = -1

    def fits(self, count: int, stride: int) -> int:
        """How many of `count` datagrams in slots of `stride` octets there is room for."""
        room = self.octets - self.position - BLOCK_OCTETS - MAX_DATAGRAM - 2 * ENTRY.itemsize
        return max(0, min(count, room // (stride + ENTRY.itemsize)))

    def add(self, entries: NDArray[np.void], payloads: bytes | memoryview) -> None:
        """Write a block. Raises OSError where the file takes none of it."""
        table = entries.view(np.uint8)
        gap = bytes(-len(payloads) % 8)
        payload = len(payloads) + len(gap)
        crc = crc32(np.frombuffer(payloads, np.uint8)) if payloads else 0
        crc = crc32(table, zlib.crc32(gap, crc))
        count, total = len(entries), BLOCK_OCTETS + payload + len(table)
        counter = self.name.counter
        rest = struct.pack("<IIQQQQQQ", crc, count, payload, total, self.next, counter, 0, 0)
        head = struct.pack("<4sI", _BLOCK_MAGIC, zlib.crc32(rest)) + rest
        faults.point("frame")
        with self._writing:
            self._write([head, payloads, gap, table.data], self.position)
            if self.began_us < 0:
                self.began_us = int(entries["received_us"][0])
            self.next += count
            self.position += total

    def _write(self, parts: list[bytes | memoryview], at: int) -> None:
        total = sum(map(len, parts))
        if os.pwritev(self.file, parts, at) != total:  # what is there of it is no block
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))

    def sync(self) -> None:
        """Everything written before this call is on the disk after it.

        After a sync that failed, the kernel holds the pages for clean: they are written once more,
        else the next sync would succeed without writing them.
        """
        end = self.position
        try:
            faults.point("fdatasync")
            os.fdatasync(self.file)
            faults.point("fdatasync+")
        except OSError:
            with self._writing:  # else a block that was just written could be missed
                start = self._synced
                octets = os.pread(self.file, self.position - start, start)
                os.pwrite(self.file, octets, start)
            raise
        self._synced = end

    def seal(self) -> Path | None:
        """Sync, cut, rename; None if there was nothing in it and the file is gone.

        After an OSError it may be called again.
        """
        target = self.name.path(self.folder, "sealed")
        if self.position == PAGE:
            self.path.unlink(missing_ok=True)
            self.close()
            return None
        if not target.exists():
            self.sync()
            faults.point("seal")
            os.ftruncate(self.file, self.position)
            os.fsync(self.file)
            os.replace(self.path, target)  # noqa: PTH105
        sync_folder(self.folder)
        self.close()
        return target

    def close(self) -> None:
        """Let go of the file."""
        if self.file >= 0:
            os.close(self.file)
            self.file = -1


@dataclass(frozen=True, slots=True)
class Block:
    """Datagrams of one block: offsets are into `octets`, the whole file's, from `at` on."""

    first: int
    entries: NDArray[np.void]
    octets: memoryview
    at: int

    def begins(self) -> NDArray[np.int64]:
        """Where in the file each datagram lies."""
        return self.entries["offset"].astype(np.int64) + self.at

    def datagrams(self) -> list[bytes]:
        """The octets of each datagram."""
        begins = self.begins()
        ends = begins + self.entries["length"]
        return [
            bytes(self.octets[a:b]) for a, b in zip(begins.tolist(), ends.tolist(), strict=True)
        ]


@dataclass(slots=True)
class Reading:
    """What a pass over a segment found: good blocks up to `end`, then `torn` octets."""

    datagrams: int = 0
    end: int = PAGE
    torn: int = 0


def read(path: Path, reading: Reading | None = None) -> Iterator[Block]:
    """The good blocks of a segment, from its start to the first that is not whole.

    Raises IngestError for a file whose header is not that of a segment.
    """
    found = reading if reading is not None else Reading()
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size < PAGE:
            raise IngestError("not a spool segment: too short", path=str(path), advice=_ADVICE)
        data = memoryview(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ))
    magic, version, crc, _, _, _, counter = _FILE.unpack_from(data)
    head = bytes(data[: _FILE.size])
    if magic != _FILE_MAGIC or crc != zlib.crc32(head[:12] + bytes(4) + head[16:]):
        raise IngestError("not a spool segment: no good header", path=str(path), advice=_ADVICE)
    if version != _VERSION:
        raise IngestError(f"spool segment of version {version}", path=str(path), advice=_ADVICE)
    array: NDArray[np.uint8] = np.frombuffer(data, np.uint8)
    at = PAGE
    while at + BLOCK_OCTETS <= size:
        mark, head_crc, body_crc, count, payload, total, first, owner, _, _ = _BLOCK.unpack_from(
            data, at
        )
        table = count * ENTRY.itemsize
        if (
            mark != _BLOCK_MAGIC
            or head_crc != zlib.crc32(data[at + 8 : at + BLOCK_OCTETS])
            or owner != counter
            or total != BLOCK_OCTETS + payload + table
            or at + total > size
            or body_crc != crc32(array[at + BLOCK_OCTETS : at + total])
        ):
            break
        body = at + BLOCK_OCTETS
        entries = np.frombuffer(data, ENTRY, count, body + payload)
        ends = entries["offset"].astype(np.int64) + entries["length"]
        if count and int(ends.max()) > payload:
            break
        at += total
        found.datagrams += count
        found.end = at
        yield Block(first, entries, data, body)
    used = np.flatnonzero(array[found.end :])
    found.torn = int(used[-1]) + 1 if len(used) else 0


def first_received_us(path: Path) -> int:
    """When the first datagram of a segment was received, without reading the rest; 0 if that is
    not to be found."""
    with path.open("rb") as file:
        head = os.pread(file.fileno(), BLOCK_OCTETS, PAGE)
        if len(head) < BLOCK_OCTETS or not head.startswith(_BLOCK_MAGIC):
            return 0
        payload = int(_BLOCK.unpack(head)[4])
        entry = os.pread(file.fileno(), ENTRY.itemsize, PAGE + BLOCK_OCTETS + payload)
    return int(np.frombuffer(entry, ENTRY)["received_us"][0]) if len(entry) == ENTRY.itemsize else 0


_ADVICE = "move it out of the spool folder; the other segments are not affected"


@dataclass(slots=True)
class Recovered:
    """What a start found of an earlier run that did not end by itself."""

    segments: int = 0
    datagrams: int = 0
    torn_octets: int = 0
    unreadable: int = 0


def recover(folder: Path, receiver: int | None = None) -> Recovered:
    """Seal what ended processes left open (of one receiver, or all), cut at the last good block.

    May be repeated.
    """
    found = Recovered()
    for name in segments(folder, "open"):
        if receiver is not None and name.receiver != receiver:
            continue
        path = name.path(folder, "open")
        reading = Reading()
        try:
            for _ in read(path, reading):
                pass
        except IngestError:
            if not _blank(path):
                found.unreadable += 1
                os.replace(path, name.path(folder, "failed"))  # noqa: PTH105
                continue
        if not reading.datagrams and not reading.torn:
            path.unlink()
            continue
        found.torn_octets += reading.torn
        faults.point("recover")
        if not reading.datagrams:
            path.unlink()  # one block was begun and never finished
            continue
        handle = os.open(path, os.O_RDWR)
        try:
            os.ftruncate(handle, reading.end)
            os.fsync(handle)
        finally:
            os.close(handle)
        os.replace(path, name.path(folder, "sealed"))  # noqa: PTH105
        found.segments += 1
        found.datagrams += reading.datagrams
    sync_folder(folder)
    return found


def _blank(path: Path) -> bool:
    """A file that was made, and nothing written into it."""
    with path.open("rb") as file:
        return not any(file.read(PAGE))
