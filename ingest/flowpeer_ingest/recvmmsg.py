"""Datagrams in batches: Linux's recvmmsg(2) by the compiled core, or a plain loop with the same
result.

Both write the datagrams of one call into slots of a memory that the caller owns, and say for each
one how long it was, when the kernel received it (SO_TIMESTAMPNS), from where, and how many the
kernel had dropped by then (SO_RXQ_OVFL). A datagram longer than its slot goes on in a place
behind the batch; `spill` brings the two parts together.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import socket
import struct
import sys
import time
from abc import ABC, abstractmethod

import numpy as np

from flowpeer_core.native import library
from flowpeer_core.native import table as native
from flowpeer_ingest.datagrams import ENTRY

BATCH = native.ARRIVALS
"""Datagrams a call: at 100,000/s the kernel hands over 10 ms' worth."""
SO_RXQ_OVFL = 40
SO_TIMESTAMPNS = 35
MSG_TRUNC = 0x20
_CONTROL = 64  # timespec (32) and drops (24), with room


class Batch(ABC):
    """The result of the last `receive`: `count` datagrams, an entry each as the spool has them."""

    def __init__(self) -> None:
        self.entries = np.zeros(BATCH, ENTRY)
        self.truncated = 0
        self.drops = -1  # of the kernel for this socket so far, modulo 2^32; −1: not stated
        # Anonymous memory takes no room before something is written to it.
        self._spill = mmap.mmap(-1, BATCH * native.SPILL)

    def spill(self, i: int, stride: int) -> memoryview:
        """The octets of datagram `i` beyond its slot."""
        at = i * native.SPILL
        return memoryview(self._spill)[at : at + int(self.entries["length"][i]) - stride]

    @abstractmethod
    def receive(self, source: socket.socket, memory: memoryview, stride: int, limit: int) -> int:
        """Up to `limit` waiting datagrams into `memory`, one a slot; how many. Never waits."""


class SingleReceiver(Batch):
    """One system call a datagram: where there is no recvmmsg."""

    def receive(self, source: socket.socket, memory: memoryview, stride: int, limit: int) -> int:
        """See `Batch.receive`."""
        n = 0
        self.truncated = 0
        spill = memoryview(self._spill)
        while n < limit:
            rest = n * native.SPILL
            slots = [memory[n * stride : (n + 1) * stride], spill[rest : rest + native.SPILL]]
            try:
                size, control, flags, peer = source.recvmsg_into(
                    slots, _CONTROL, socket.MSG_DONTWAIT
                )
            except (BlockingIOError, InterruptedError):
                break
            except ConnectionError:
                continue
            self.truncated += bool(flags & MSG_TRUNC)
            stamp = time.time_ns()
            for level, kind, data in control:
                if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS:
                    seconds, rest_ns = struct.unpack("=qq", data[:16])
                    stamp = seconds * 1_000_000_000 + rest_ns
                elif level == socket.SOL_SOCKET and kind == SO_RXQ_OVFL:
                    (self.drops,) = struct.unpack("=I", data[:4])
            if source.family == socket.AF_INET:
                octets = bytes(10) + b"\xff\xff" + socket.inet_aton(peer[0])
            else:
                octets = socket.inet_pton(socket.AF_INET6, peer[0].partition("%")[0])
            address = np.frombuffer(octets, np.uint8)
            self.entries[n] = (stamp // 1_000, address, peer[1], 0, size, n * stride, 0)
            n += 1
        return n


class BatchReceiver(Batch):
    """One system call a batch."""

    def __init__(self) -> None:
        super().__init__()
        found = library()
        if found is None or sys.platform != "linux" or sys.byteorder != "little":
            raise OSError("recvmmsg is Linux's, and asked for by the compiled core")
        self._receive = found.flowpeer_receive
        self._state = native.CReceiving(drops=-1)
        self._state.spill = ctypes.addressof(ctypes.c_char.from_buffer(self._spill))
        self._state.arrivals = self.entries.ctypes.data
        self._at = ctypes.addressof(self._state)

    def receive(self, source: socket.socket, memory: memoryview, stride: int, limit: int) -> int:
        """See `Batch.receive`."""
        if limit * stride > len(memory):
            raise AssertionError(f"{limit} slots of {stride} octets in {len(memory)}")
        state = self._state
        state.drops = -1
        state.memory = np.frombuffer(memory, np.uint8).ctypes.data
        state.stride, state.limit, state.socket = stride, limit, source.fileno()
        n = int(self._receive(self._at))
        if state.error:
            raise OSError(state.error, os.strerror(state.error))
        self.truncated, self.drops = state.truncated, state.drops
        return n


def batch() -> Batch:
    """The fastest way to receive that this machine has."""
    try:
        return BatchReceiver()
    except OSError:
        return SingleReceiver()
