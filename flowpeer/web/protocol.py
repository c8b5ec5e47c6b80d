"""HTTP/1.1 as uvicorn speaks it, with an end for connections that ask or read too slowly, and with
the headers of every response on those too that never reach the application."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from starlette.responses import PlainTextResponse
from uvicorn.protocols.http.h11_impl import H11Protocol

from flowpeer.web.guard import HEADERS

MAX_CONNECTIONS = 500
"""At the same time; further ones get 503."""
REQUEST_S = 20.0
"""A connection on which no request came whole for so long is closed."""
LOOKS = 6
"""So many times REQUEST_S a response may take to be read."""

_busy = PlainTextResponse(
    "too many connections: ask again\n", 503, headers={**HEADERS, "retry-after": "5"}
)


class BoundedProtocol(H11Protocol):
    """One connection."""

    _answered = 0
    _seen = 0
    _reading = 0
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """It is counted, and looked at from time to time."""
        if len(self.connections) >= MAX_CONNECTIONS:
            self.app = _busy
        super().connection_made(transport)
        self._timer = self.loop.call_later(REQUEST_S, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """A request was answered."""
        self._answered += 1
        self._reading = 0
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            head = "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items())
            self.transport.write(
                f"HTTP/1.1 400 Bad Request\r\n{head}content-type: text/plain; charset=utf-8\r\n"
                f"content-length: {len(msg) + 1}\r\nconnection: close\r\n\r\n{msg}\n".encode()
            )
        self.transport.close()

    def _look(self) -> None:
        """Close it where nothing came whole since the last look, or nobody reads the response."""
        cycle: Any = self.cycle
        working = cycle is not None and not cycle.response_complete
        if working and cycle.response_started:
            self._reading += 1
        if not (working or self._answered != self._seen) or self._reading > LOOKS:
            self.transport.abort()
            return
        self._seen = self._answered
        self._timer = self.loop.call_later(REQUEST_S, self._look)
