"""UDP sockets of the collector, and what the kernel says about them."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
from dataclasses import dataclass
from pathlib import Path

from flowpeer_ingest.errors import IngestError
from flowpeer_ingest.recvmmsg import SO_RXQ_OVFL, SO_TIMESTAMPNS

RECEIVE_BUFFER_OCTETS = 64 << 20
"""Asked for; without CAP_NET_ADMIN the kernel grants `net.core.rmem_max` at most. It counts double
of what is asked, and a datagram of 1,400 octets as about 2,340, so this holds 57,000 of them: half
a second at 100,000/s, should the receiver have to wait."""
ENOUGH_OCTETS = 16 << 20
"""As the kernel counts; below this the start says what to set."""
OCTETS_A_DATAGRAM = 2_340
_SO_RCVBUFFORCE = 33
_LISTEN_FDS_START = 3


@dataclass(slots=True)
class Listener:
    """One bound socket."""

    socket: socket.socket
    address: str
    port: int
    inode: int
    buffer_octets: int
    """The receive buffer that was granted."""
    inherited: bool = False

    @property
    def name(self) -> str:
        """`HOST:PORT`, the host in brackets if it is IPv6."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{host}:{self.port}"


def parse(text: str, host: str = "0.0.0.0") -> tuple[str, int]:  # noqa: S104 (what was asked for)
    """`HOST:PORT`, `[v6]:PORT`, `:PORT` or `PORT` → (address, port); hosts are addresses, and
    `host` is where none is stated.

    Raises ValueError with what is expected.
    """
    address_text, _, port = text.rpartition(":")
    try:
        number = int(port)
        address = str(
            ipaddress.ip_address(address_text.removeprefix("[").removesuffix("]") or host)
        )
    except ValueError:
        number, address = -1, ""
    if not 0 <= number <= 65_535:
        raise ValueError(f'{text!r}: HOST:PORT is expected, like "0.0.0.0:2055" or "[::]:2055"')
    return address, number


def listen(address: str, port: int, *, shared: bool, both: bool) -> Listener:
    """Bind a socket. `shared`: several receivers (SO_REUSEPORT); `both`: IPv4 on an IPv6 one too.

    Raises IngestError if the address cannot be bound.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if both else 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        _prepare(sock)
        sock.bind((address, port))
    except OSError as error:
        sock.close()
        name = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        raise IngestError(
            f"cannot listen: {error.strerror}",
            path=name,
            advice=another_place(error, "--listen HOST:PORT", "ss -ulpn"),
        ) from None
    return _listener(sock)


def another_place(error: OSError, option: str, shown: str) -> str:
    """What to do about an address that cannot be bound. `shown`: the command that names who did."""
    look = {
        errno.EADDRINUSE: f"see who does with `{shown}`, or ",
        errno.EADDRNOTAVAIL: "`ip address` lists those of this machine: ",
        errno.EACCES: "ports below 1024 are root's: ",
    }
    return f"{look.get(error.errno or 0, '')}choose another {option}"


def inherited() -> list[Listener]:
    """Sockets that a service manager holds for us (sd_listen_fds(3)), and no other process."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = int(os.environ.get("LISTEN_FDS", "0"))
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        os.environ.pop(name, None)
    found = []
    for fd in range(_LISTEN_FDS_START, _LISTEN_FDS_START + count):
        sock = socket.socket(fileno=fd)
        if sock.type != socket.SOCK_DGRAM or sock.family not in (socket.AF_INET, socket.AF_INET6):
            raise IngestError(
                f"inherited descriptor {fd} is no UDP socket",
                path="LISTEN_FDS",
                advice="use ListenDatagram= in the socket unit",
            )
        sock.setblocking(False)
        _prepare(sock)
        listener = _listener(sock)
        listener.inherited = True
        found.append(listener)
    return found


def _prepare(sock: socket.socket) -> None:
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, RECEIVE_BUFFER_OCTETS)
    except PermissionError:
        if sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) < RECEIVE_BUFFER_OCTETS:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_OCTETS)
    sock.setsockopt(socket.SOL_SOCKET, SO_RXQ_OVFL, 1)
    sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)


def _listener(sock: socket.socket) -> Listener:
    address, port = sock.getsockname()[:2]
    granted = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    return Listener(sock, address, port, os.fstat(sock.fileno()).st_ino, granted)


def buffer_advice(listener: Listener) -> str:
    """What to say about a small receive buffer, "" if it is large enough."""
    granted = listener.buffer_octets
    if granted >= ENOUGH_OCTETS:
        return ""
    datagrams = granted // OCTETS_A_DATAGRAM
    return (
        f"{listener.name}: receive buffer of {granted:,} octets holds about {datagrams:,} full "
        f"datagrams, {datagrams / 20:,.0f} ms at 20,000/s; "
        f"set `sysctl -w net.core.rmem_max={RECEIVE_BUFFER_OCTETS}` and start again"
    )


@dataclass(frozen=True, slots=True)
class Queue:
    """A line of /proc/net/udp: octets that wait, datagrams dropped (modulo 2^32)."""

    waiting_octets: int
    drops: int


def queues(inodes: set[int]) -> dict[int, Queue]:
    """What the kernel says about these sockets now; empty where /proc does not say."""
    found: dict[int, Queue] = {}
    for name in ("udp", "udp6"):
        try:
            lines = Path("/proc/net", name).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            cells = line.split()
            if len(cells) >= 13 and cells[9].isdigit() and int(cells[9]) in inodes:
                waiting = int(cells[4].partition(":")[2], 16)
                found[int(cells[9])] = Queue(waiting, int(cells[12]))
    return found
