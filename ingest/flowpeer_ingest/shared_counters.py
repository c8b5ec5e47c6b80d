"""Numbers that a receiver shares with everyone: 64-bit words in a small memory-mapped file.

`committed` is the public watermark: so many of the datagrams that this run of this receiver took
are on the disk, the first ones. The file outlives its process, so a killed one's last word stays.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

RECEIVER: tuple[str, ...] = (
    "run",
    "pid",
    "started_us",
    "beat_us",
    "received",
    "received_octets",
    "committed",
    "committed_us",
    "dropped_disk_full",
    "truncated",
    "sync_failures",
    "kernel_drops",
    "last_received_us",
    "segment",
    "segment_octets",
    "sealed",
    "batches",
    "stopped",
    "oldest_us",
    "sealed_us",
)
"""In this order in the file. received = committed + what waits for the next sync, all of which is
in the spool; dropped_disk_full counts what came while there was no room, and is not in received.
`oldest_us`: when the first datagram came that is in no sealed segment, 0 if there is none;
`sealed_us`: when the last one was sealed."""

_OCTETS = 4096


class Counters:
    """One receiver's counters: the writer makes the file again, readers open it."""

    def __init__(self, path: Path, *, writable: bool = False) -> None:
        flags = os.O_RDWR | os.O_CREAT if writable else os.O_RDONLY
        handle = os.open(path, flags | os.O_CLOEXEC, 0o640)
        try:
            if writable:
                os.write(handle, bytes(_OCTETS))
            prot = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
            self._map = mmap.mmap(handle, _OCTETS, prot=prot)
        finally:
            os.close(handle)
        self.words: NDArray[np.int64] = np.frombuffer(self._map, np.int64, len(RECEIVER))
        if writable:
            self.words[:] = 0

    def snapshot(self) -> dict[str, int]:
        """All counters by name."""
        return dict(zip(RECEIVER, self.words.tolist(), strict=True))


INDEX = {name: i for i, name in enumerate(RECEIVER)}
