"""An explorer asked in process, one loop for all requests, as a server has; and a real server."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from flowpeer.lake.store import Lake
from flowpeer.web.app import create_app
from flowpeer.web.settings import ServerSettings

BASE = "http://localhost:8080"
SERVER = """
import os, select, signal, sys, threading
def end_with(process):  # it ends with whoever tests it
    select.select([process], [], [])
    os.kill(os.getpid(), signal.SIGTERM)
watched = os.pidfd_open(int(sys.argv[1]))
threading.Thread(target=end_with, args=[watched], daemon=True).start()
from flowpeer.cli import main
sys.argv = ["flowpeer", "serve", "--listen", "127.0.0.1:0", *sys.argv[2:]]
main()
"""


def bare_network(folder: Path) -> Path:
    """The configuration of a lake without any data, with names that want to be markup."""
    config = folder / "flowpeer.toml"
    config.write_text(
        """[network]
asn = 64500
name = "<img src=x onerror=alert(1)>"
prefixes = ["198.18.0.0/15"]
[lake]
path = "lake"
[[metros]]
id = "ams"
name = "\\"><script>alert(1)</script>{{7*7}}"
""",
        encoding="utf-8",
    )
    Lake(folder / "lake").mark()
    return config


def serve(
    folder: Path, said: Path, *words: str, token: str = "", until: int = 0
) -> tuple[subprocess.Popen[bytes], str]:
    """A server of the network in a folder, on a free port, and its address.

    Args:
        said: the file that it writes what it says to.
        until: it ends with the process of this number; 0 is this one.
    """
    environment = {k: v for k, v in os.environ.items() if not k.startswith("FLOWPEER_SERVE")}
    if token:
        environment["FLOWPEER_SERVE_TOKEN"] = token
    with said.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(until or os.getpid()), *words], cwd=folder,
            stderr=stderr, env=environment,
        )  # fmt: skip
    begun = time.monotonic()
    while not (address := address_in(said)):
        assert process.poll() is None, said.read_text("utf-8")
        assert time.monotonic() < begun + 120, "the server says nothing"
        time.sleep(0.02)
    return process, address


def address_in(said: Path) -> str | None:
    """Where a server listens, once it has told the whole of it."""
    told = re.search(r"http://[\d.:]+(?=/)", said.read_text("utf-8"))
    return told and told[0]


@contextmanager
def serving(folder: Path, *words: str, token: str = "") -> Iterator[str]:
    """The address of such a server, which ends at the end."""
    with tempfile.TemporaryDirectory() as made:
        process, address = serve(folder, Path(made) / "said", *words, token=token)
        with process:
            try:
                yield address
                process.send_signal(signal.SIGTERM)
                assert process.wait(60) in (0, -signal.SIGTERM)
            finally:
                process.kill()


class Explorer:
    """An application and a loop that it runs on."""

    def __init__(self, **settings: Any) -> None:
        self.app = create_app(ServerSettings(**settings))
        self.runner = asyncio.Runner()

    def client(self) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url=BASE)

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(work)

    def ask(self, method: str, url: str, **words: Any) -> httpx.Response:
        async def once() -> httpx.Response:
            async with self.client() as client:
                return await client.request(method, url, **words)

        response: httpx.Response = self.run(once())
        return response

    def get(self, url: str, **words: Any) -> httpx.Response:
        return self.ask("GET", url, **words)
