"""An explorer asked in process: one loop for all requests, as a server has."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import httpx

from flowpeer.web.app import create_app
from flowpeer.web.settings import ServerSettings

BASE = "http://localhost:8080"


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
