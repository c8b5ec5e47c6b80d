"""Datagrams in batches: Linux's recvmmsg(2) through ctypes, or a plain loop with the same result.

Both write the datagrams of one call into slots of a memory that the caller owns, and say for each
one how long it was, when the kernel received it (SO_TIMESTAMPNS), from where, and how many the
kernel had dropped by then (SO_RXQ_OVFL). A datagram longer than its slot goes on in a place
behind the batch; `spill` brings the two parts together.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import socket
import struct
import sys
import time
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

BATCH = 1024
"""Datagrams a call: at 100,000/s the kernel hands over 10 ms' worth."""
MAX_DATAGRAM = 65_535
SO_RXQ_OVFL = 40
SO_TIMESTAMPNS = 35
MSG_TRUNC = 0x20

_NAME = 28  # sockaddr_in6
_CONTROL = 64  # timespec (32) and drops (24), with room
_MSG = np.dtype(
    {
        "names": ["name", "namelen", "iov", "iovlen", "control", "controllen", "flags", "length"],
        "formats": ["<u8", "<u4", "<u8", "<u8", "<u8", "<u8", "<i4", "<u4"],
        "offsets": [0, 8, 16, 24, 32, 40, 48, 56],
        "itemsize": 64,
    }
)
_IOV = np.dtype([("base", "<u8"), ("length", "<u8")])
_STAMP = np.dtype([("size", "<u8"), ("level", "<i4"), ("kind", "<i4"), ("s", "<i8"), ("ns", "<i8")])
_DROPS = np.dtype([("size", "<u8"), ("level", "<i4"), ("kind", "<i4"), ("drops", "<u4")])


class Batch(ABC):
    """The result of the last `receive`: `count` datagrams, one row each in the arrays."""

    def __init__(self) -> None:
        self.count = 0
        self.length: NDArray[np.int64] = np.zeros(BATCH, np.int64)
        self.received_us: NDArray[np.int64] = np.zeros(BATCH, np.int64)
        self.address: NDArray[np.uint8] = np.zeros((BATCH, 16), np.uint8)
        self.port: NDArray[np.uint16] = np.zeros(BATCH, np.uint16)
        self.truncated = 0
        self.drops = -1  # of the kernel for this socket so far, modulo 2^32; −1: not stated
        # Anonymous memory takes no room before something is written to it.
        self._spill = mmap.mmap(-1, BATCH * (MAX_DATAGRAM + 1))
        self._spilled: NDArray[np.uint8] = np.frombuffer(self._spill, np.uint8)

    def spill(self, i: int, stride: int) -> memoryview:
        """The octets of datagram `i` beyond its slot."""
        at = i * (MAX_DATAGRAM + 1)
        return memoryview(self._spill)[at : at + int(self.length[i]) - stride]

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
            rest = n * (MAX_DATAGRAM + 1)
            slots = [
                memory[n * stride : (n + 1) * stride], spill[rest : rest + MAX_DATAGRAM + 1]
            ]  # fmt: skip
            try:
                size, control, flags, peer = source.recvmsg_into(
                    slots, _CONTROL, socket.MSG_DONTWAIT
                )
            except (BlockingIOError, InterruptedError):
                break
            except ConnectionError:
                continue
            self.length[n] = size
            self.truncated += bool(flags & MSG_TRUNC)
            stamp = time.time_ns()
            for level, kind, data in control:
                if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS:
                    seconds, rest_ns = struct.unpack("=qq", data[:16])
                    stamp = seconds * 1_000_000_000 + rest_ns
                elif level == socket.SOL_SOCKET and kind == SO_RXQ_OVFL:
                    (self.drops,) = struct.unpack("=I", data[:4])
            self.received_us[n] = stamp // 1000
            if source.family == socket.AF_INET:
                octets = bytes(10) + b"\xff\xff" + socket.inet_aton(peer[0])
            else:
                octets = socket.inet_pton(socket.AF_INET6, peer[0].partition("%")[0])
            self.address[n] = np.frombuffer(octets, np.uint8)
            self.port[n] = peer[1]
            n += 1
        self.count = n
        return n


class BatchReceiver(Batch):
    """recvmmsg(2): one system call a batch, everything around it in whole arrays."""

    def __init__(self) -> None:
        super().__init__()
        libc = ctypes.CDLL(None, use_errno=True)
        self._call: Any = libc.recvmmsg
        self._call.argtypes = [
            ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p
        ]  # fmt: skip
        self._names: NDArray[np.uint8] = np.zeros((BATCH, _NAME), np.uint8)
        self._control: NDArray[np.uint8] = np.zeros((BATCH, _CONTROL), np.uint8)
        self._iov = np.zeros((BATCH, 2), _IOV)
        self._msg = np.zeros(BATCH, _MSG)
        steps = np.arange(BATCH, dtype=np.uint64)
        self._steps = steps
        self._msg["name"] = self._names.ctypes.data + steps * _NAME
        self._msg["iov"] = self._iov.ctypes.data + steps * (2 * _IOV.itemsize)
        self._msg["iovlen"] = 2
        self._msg["control"] = self._control.ctypes.data + steps * _CONTROL
        self._iov["base"][:, 1] = self._spilled.ctypes.data + steps * (MAX_DATAGRAM + 1)
        self._iov["length"][:, 1] = MAX_DATAGRAM + 1
        self._stamp = self._control[:, : _STAMP.itemsize].view(_STAMP)[:, 0]
        at = _STAMP.itemsize
        self._second = self._control[:, at : at + 20]
        self._msg_pointer = self._msg.ctypes.data

    def receive(self, source: socket.socket, memory: memoryview, stride: int, limit: int) -> int:
        """See `Batch.receive`."""
        base = np.frombuffer(memory, np.uint8).ctypes.data
        msg = self._msg[:limit]
        self._iov["base"][:limit, 0] = base + self._steps[:limit] * stride
        self._iov["length"][:limit, 0] = stride
        msg["namelen"] = _NAME
        msg["controllen"] = _CONTROL
        n = self._call(source.fileno(), self._msg_pointer, limit, socket.MSG_DONTWAIT, None)
        if n <= 0:
            number = ctypes.get_errno() if n < 0 else errno.EAGAIN
            if number not in (errno.EAGAIN, errno.EINTR, errno.ECONNREFUSED):
                raise OSError(number, os.strerror(number))
            self.count = 0
            return 0
        self.count = n
        msg = self._msg[:n]
        self.length[:n] = msg["length"]
        self.truncated = int(np.count_nonzero(msg["flags"] & MSG_TRUNC))
        self._stamps(n)
        names = self._names[:n]
        self.port[:n] = (names[:, 2].astype(np.uint16) << 8) | names[:, 3]
        if source.family == socket.AF_INET:
            self.address[:n, :10] = 0
            self.address[:n, 10:12] = 255
            self.address[:n, 12:] = names[:, 4:8]
        else:
            self.address[:n] = names[:, 8:24]
        return int(n)

    def _stamps(self, n: int) -> None:
        sizes = self._msg["controllen"][:n]
        stamp = self._stamp[:n]
        stamped = (
            (sizes >= _STAMP.itemsize)
            & (stamp["kind"] == SO_TIMESTAMPNS)
            & (stamp["level"] == socket.SOL_SOCKET)
        )
        self.received_us[:n] = stamp["s"] * 1_000_000 + stamp["ns"] // 1_000
        if not stamped.all():
            self.received_us[:n][~stamped] = time.time_ns() // 1_000
        # The count only grows, so the last datagram that carries it says most.
        last = self._control[n - 1]
        at = 0
        size = int(sizes[n - 1])
        while at + 16 <= size:
            length, level, kind = struct.unpack_from("=QII", last, at)
            if level == socket.SOL_SOCKET and kind == SO_RXQ_OVFL:
                (self.drops,) = struct.unpack_from("=I", last, at + 16)
            if length < 16:
                break
            at += -(-length // 8) * 8


def batch() -> Batch:
    """The fastest way to receive that this machine has."""
    if (
        sys.platform == "linux"
        and sys.byteorder == "little"
        and ctypes.sizeof(ctypes.c_void_p) == 8
    ):
        try:
            return BatchReceiver()
        except (AttributeError, OSError):
            pass
    return SingleReceiver()
