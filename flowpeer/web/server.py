"""Serving the explorer until SIGTERM or Ctrl-C."""

from __future__ import annotations

import socket

import uvicorn

from flowpeer.errors import UsageError
from flowpeer.web.app import create_app
from flowpeer.web.protocol import MAX_CONNECTIONS, BoundedProtocol
from flowpeer.web.settings import ServerSettings


def bound(settings: ServerSettings) -> socket.socket:
    """A socket that listens, so that its port is known before the first request.

    Raises:
        UsageError: the address cannot be had.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((settings.host, settings.port))
        listening.listen(MAX_CONNECTIONS)  # who asks before the first answer can be given waits
    except OSError as error:
        listening.close()
        raise UsageError(
            f"cannot listen on {settings.host}:{settings.port}: {error.strerror or error}",
            advice="choose another address with --listen",
        ) from error
    return listening


def serve(settings: ServerSettings, listening: socket.socket) -> None:
    """Answer requests until a signal says to stop."""
    config = uvicorn.Config(
        create_app(settings), log_level="warning", access_log=False, server_header=False,
        proxy_headers=False, http=BoundedProtocol, timeout_keep_alive=15,
        timeout_graceful_shutdown=3, h11_max_incomplete_event_size=64 << 10, ws="none",
    )  # fmt: skip
    uvicorn.Server(config).run(sockets=[listening])
