"""What the explorer is given when it starts."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path

from flowpeer.errors import UsageError

MIN_TOKEN = 16
"""Characters: a shorter token is guessed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """Where to listen, who may ask, and the bounds of a question."""

    config: Path
    host: str = "127.0.0.1"
    port: int = 8080
    public: bool = False
    """Listen on an address that others reach."""
    token: str = ""
    """What a reader must know, where it is set."""
    user_header: str = ""
    """The header in which a proxy names the reader it has let in, where it is set."""
    hosts: tuple[str, ...] = ()
    """Names that the explorer is called by, beside its address and localhost."""
    query_seconds: float = 30.0
    query_memory_bytes: int = 2 << 30
    query_rows: int = 10_000
    queries: int = 4
    """Statements at the same time; others wait."""

    def __post_init__(self) -> None:
        if self.token and len(self.token) < MIN_TOKEN:
            raise UsageError(
                f"the token is shorter than {MIN_TOKEN} characters",
                advice="make one with `openssl rand -hex 16`",
            )
        if is_loopback(self.host):
            return
        if not self.public:
            raise UsageError(
                f"{self.host} is no loopback address: others would read traffic and contracts",
                advice="add --public with a token or --user-header, or listen on 127.0.0.1",
            )
        if not (self.token or self.user_header):
            raise UsageError(
                "--public needs to know who may read",
                advice="set FLOWPEER_SERVE_TOKEN, or --user-header behind a proxy that sets it",
            )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listening(text: str) -> tuple[str, int]:
    """`127.0.0.1:8080` or `[::1]:8080` as address and port.

    Raises:
        UsageError: it is neither.
    """
    host, separator, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not separator or not host or not port.isascii() or not port.isdigit():
        raise UsageError(f"--listen {text!r} is no address", advice="write it like 127.0.0.1:8080")
    if not 0 <= int(port) <= 65535:
        raise UsageError(f"--listen {text!r}: no such port", advice="use 1 to 65535")
    return host, int(port)
