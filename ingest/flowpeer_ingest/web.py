"""A small HTTP server for numbers and health: GET and HEAD, few connections, none for long.

Prometheus and a liveness probe ask once in some seconds; everything else that connects is an
accident or an attack, and must cost the collector neither threads nor memory.
"""

from __future__ import annotations

import socket
import socketserver
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

CONNECTIONS = 16
"""Answered at a time; one more is closed at once."""
DEADLINE_S = 10.0
"""From the connection to the end of the answer, however slowly the other side reads or writes."""
MAX_REQUEST = 8_192
"""Octets of the request line and the headers."""


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """What a path gives."""

    body: str
    status: HTTPStatus = HTTPStatus.OK
    type: str = "text/plain; charset=utf-8"

    def octets(self, *, head: bool) -> bytes:
        """The whole answer, without its body for HEAD."""
        body = self.body.encode()
        lines = (
            f"HTTP/1.1 {self.status.value} {self.status.phrase}",
            f"Content-Type: {self.type}",
            f"Content-Length: {len(body)}",
            "Cache-Control: no-store",
            "X-Content-Type-Options: nosniff",
            "Connection: close",
            "",
            "",
        )
        return "\r\n".join(lines).encode() + (b"" if head else body)


Pages = Mapping[str, Callable[[], HttpResponse]]
"""Path → what to call for it."""


def answer(request: bytes, pages: Pages) -> bytes:
    """What to send for the octets of a request, which may be anything."""
    request_line = request.split(b"\r\n", 1)[0].split(b" ")
    if (
        not request.endswith(b"\r\n\r\n")
        or len(request_line) != 3
        or not request_line[2].startswith(b"HTTP/1.")
    ):
        return HttpResponse("not an HTTP request\n", HTTPStatus.BAD_REQUEST).octets(head=False)
    head = request_line[0] == b"HEAD"
    if not head and request_line[0] != b"GET":
        return HttpResponse("only GET and HEAD\n", HTTPStatus.METHOD_NOT_ALLOWED).octets(head=False)
    page = pages.get(request_line[1].partition(b"?")[0].decode(errors="replace"))
    if page is None:
        found = HttpResponse(f"not found; there is {' '.join(pages)}\n", HTTPStatus.NOT_FOUND)
    else:
        found = page()
    return found.octets(head=head)


class Server(socketserver.TCPServer):
    """Answers `pages` in at most `CONNECTIONS` threads. Raises OSError where it cannot bind."""

    allow_reuse_address = True
    request_queue_size = CONNECTIONS

    def __init__(self, address: str, port: int, pages: Pages) -> None:
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.pages = pages
        self.refused = 0
        self._open: dict[socket.socket, float] = {}
        self._lock = threading.Lock()
        super().__init__((address, port), socketserver.BaseRequestHandler)
        self._thread = threading.Thread(target=self.serve_forever, name="http", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread, if there are not too many."""
        with self._lock:
            if len(self._open) >= CONNECTIONS:
                self.refused += 1
                self.shutdown_request(request)
                return
            self._open[request] = time.monotonic()
        threading.Thread(target=self._serve, args=(request,), name="http", daemon=True).start()

    def _serve(self, request: socket.socket) -> None:
        try:
            request.settimeout(DEADLINE_S)
            octets = b""
            while not octets.endswith(b"\r\n\r\n") and len(octets) < MAX_REQUEST:
                more = request.recv(MAX_REQUEST - len(octets))
                if not more:
                    break
                octets += more
            if octets:
                request.sendall(answer(octets, self.pages))
        except OSError:
            pass  # it went away, or its time was over
        finally:
            with self._lock:
                self._open.pop(request, None)
            self.shutdown_request(request)

    def service_actions(self) -> None:
        """End what takes too long; called twice a second."""
        old = time.monotonic() - DEADLINE_S
        with self._lock:
            late = [request for request, since in self._open.items() if since < old]
        for request in late:
            with suppress(OSError):
                request.shutdown(socket.SHUT_RDWR)

    def stop(self) -> None:
        """Answer nobody any more."""
        self.shutdown()
        self.server_close()
        self._thread.join()
