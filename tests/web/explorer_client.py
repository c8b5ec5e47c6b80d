"""An explorer asked in process, one loop for all requests, as a server has; and a real server."""

from __future__ import annotations

import asyncio
import os
import re
import select
import signal
import subprocess
import sys
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
import ctypes, sys
ctypes.CDLL(None).prctl(1, 15)  # PR_SET_PDEATHSIG, SIGTERM: it ends with whoever tests it
from flowpeer.cli import main
sys.argv = ["flowpeer", "serve", "--listen", "127.0.0.1:0", *sys.argv[1:]]
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


@contextmanager
def serving(folder: Path, *words: str, token: str = "") -> Iterator[str]:
    """The address of a server of the network in a folder, on a free port, as a process."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("FLOWPEER_SERVE")}
    if token:
        environment["FLOWPEER_SERVE_TOKEN"] = token
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, *words], cwd=folder, stderr=subprocess.PIPE, text=True,
        env=environment,
    ) as process:  # fmt: skip
        try:
            assert process.stderr is not None
            said, told = "", None
            while told is None:
                assert select.select([process.stderr], [], [], 120)[0], "the server says nothing"
                line = process.stderr.readline()
                assert line, said
                said += line
                told = re.search(r"http://[\d.:]+", line)
            yield told[0]
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
