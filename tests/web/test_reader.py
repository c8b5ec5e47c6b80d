"""One table for all who ask; kept until the lake changes; stopped when the last has left."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import polars as pl
import pytest
from explorer_client import BASE, Explorer
from object_store import Bucket

from flowpeer.web import reader as reading
from flowpeer.web.reader import Cancel, SharedReader, ShownTable
from flowpeer.web.settings import ServerSettings

LONG = "SELECT count(*) AS n FROM range(10_000_000_000) a, range(999) b WHERE hash(a, b) = 0"


def table(n: int = 1) -> ShownTable:
    return ShownTable(pl.DataFrame({"n": [n]}), ())


@pytest.fixture
def reader(bare: Path) -> SharedReader:
    return SharedReader(ServerSettings(config=bare))


def test_many_who_ask_wait_for_one(reader: SharedReader) -> None:
    made: list[int] = []

    def make(cancel: Cancel) -> ShownTable:
        made.append(1)
        time.sleep(0.1)
        return table()

    async def ask() -> list[ShownTable]:
        return await asyncio.gather(*(reader.table("k", make, query=True) for _ in range(50)))

    found = asyncio.run(ask())
    assert len(made) == 1
    assert all(t is found[0] for t in found)
    assert reader.kept("k") is found[0]
    reader.close()


def test_an_error_is_told_to_all_and_not_kept(reader: SharedReader) -> None:
    def make(cancel: Cancel) -> ShownTable:
        raise ValueError("no")

    async def ask() -> list[object]:
        asked = (reader.table("k", make, query=True) for _ in range(3))
        return await asyncio.gather(*asked, return_exceptions=True)

    assert [str(e) for e in asyncio.run(ask())] == ["no"] * 3
    assert reader.kept("k") is None
    reader.close()


def test_the_work_stops_when_the_last_has_left(reader: SharedReader) -> None:
    stopped = threading.Event()

    def make(cancel: Cancel) -> ShownTable:
        cancel.on(stopped.set)
        assert stopped.wait(30)
        return table()

    async def ask() -> None:
        first = asyncio.ensure_future(reader.table("k", make, query=True))
        second = asyncio.ensure_future(reader.table("k", make, query=True))
        await asyncio.sleep(0.1)
        first.cancel()
        await asyncio.sleep(0.1)
        assert not stopped.is_set()  # somebody still waits
        second.cancel()
        await asyncio.gather(first, second, return_exceptions=True)
        assert await asyncio.to_thread(stopped.wait, 30)

    asyncio.run(ask())
    reader.close()


def test_an_answer_that_nobody_waits_for_is_kept_and_one_not_begun_is_not_made(
    reader: SharedReader,
) -> None:
    begun, free, made = threading.Event(), threading.Event(), []

    def slow(cancel: Cancel) -> ShownTable:
        begun.set()
        assert free.wait(30)
        return table()

    async def ask() -> None:
        first = asyncio.ensure_future(reader.table("slow", slow, query=False))
        assert await asyncio.to_thread(begun.wait, 30)
        second = asyncio.ensure_future(
            reader.table("next", lambda _: made.append(1) or table(), query=False)
        )
        await asyncio.sleep(0.1)
        first.cancel()
        second.cancel()
        await asyncio.gather(first, second, return_exceptions=True)
        free.set()
        again = await reader.table("slow", lambda _: table(2), query=False)
        assert again.rows["n"].item() == 1
        assert made == []
        assert (await reader.table("next", lambda _: table(3), query=False)).rows["n"].item() == 3

    asyncio.run(ask())
    reader.close()


def test_a_word_that_came_first_stops_at_once() -> None:
    cancel, said = Cancel(), []
    cancel.request()
    cancel.on(lambda: said.append(1))
    assert said == [1]


def test_a_change_of_the_lake_forgets(
    bare: Path, reader: SharedReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "LOOK_S", 0.0)

    async def ask() -> None:
        before = await reader.look()
        await reader.table("k", lambda _: table(), query=True)
        assert await reader.look() == before
        assert reader.kept("k") is not None
        bare.write_text(bare.read_text("utf-8").replace("64500", "64499"), encoding="utf-8")
        assert await reader.look() != before
        assert reader.kept("k") is None
        assert reader.network.configuration.network.asn == 64499

    asyncio.run(ask())
    reader.close()


@pytest.mark.parametrize("on_store", [False, True])
def test_an_answer_is_kept_until_something_comes_to_its_period(
    on_store: bool, demo_copy: Path, monkeypatch: pytest.MonkeyPatch, request: Any
) -> None:
    monkeypatch.setattr(reading, "LOOK_S", 0.0)
    monkeypatch.setattr("flowpeer.api.PUBLISHING_S", -60)  # a store's clock counts seconds
    config = demo_copy / "flowpeer.toml"
    if on_store:
        bucket: Bucket = request.getfixturevalue("bucket")
        place = f'path = "{bucket.address}"'
        config.write_text(config.read_text("utf-8").replace('path = "lake"', place), "utf-8")
        for words in (("lake", "merge", "lake"), ("rollup",)):
            done = request.getfixturevalue("run")(*words, cwd=demo_copy)
            assert done.returncode == 0, done.stderr
    reader = SharedReader(ServerSettings(config=config))
    start, end = reader.network.period(None)
    storage = reader.network.lake.storage

    def comes(day: datetime, table: str) -> None:
        hour = storage.read(f"manifests/{table}/date={start:%Y-%m-%d}/hour=00.json")
        assert hour is not None
        key = f"manifests/{table}/date={day:%Y-%m-%d}/hour=23.json"
        held = storage.read(key)
        (reader.network.lake.root / key).parent.mkdir(parents=True, exist_ok=True)
        storage.write(key, hour.octets, replaces=held.version if held else None)

    async def ask() -> None:
        month = start.replace(day=1)
        for period, day, table_of, stays in (
            ("", end + timedelta(days=40), "flows", True),
            ("", month - timedelta(days=40), "traffic", True),
            ("", start, "flows", False),
            ("", end.replace(day=28), "flows", False),  # of its month, whose bill it changes
            ("", month - timedelta(weeks=4), "traffic", False),  # what the month is heading for
            ("", end + timedelta(days=50), "traffic", False),  # the bill is no projection any more
            ("", end + timedelta(days=51), "traffic", True),
            (None, end + timedelta(days=80), "flows", False),
        ):
            before = await reader.look()
            await reader.table("k", lambda _: table(), query=False, period=period)
            assert reader.kept("k", period=period) is not None
            comes(day, table_of)
            assert await reader.look() != before
            assert (reader.kept("k", period=period) is not None) == stays

    asyncio.run(ask())
    reader.close()


def test_findings_are_of_now_though_nothing_comes_to_the_lake(
    explore: Callable[..., Explorer], demo_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    explorer = explore(config=demo_copy / "flowpeer.toml")
    assert "source-missing" not in explorer.get("/api/findings.json").text
    (demo_copy / "peeringdb.json").unlink()
    later = time.time() + 120
    monkeypatch.setattr("flowpeer.web.named.time", SimpleNamespace(time=lambda: later))
    assert "source-missing" in explorer.get("/api/findings.json").text


def test_a_statement_of_now_runs_again(
    explore: Callable[..., Explorer], bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    explorer = explore(config=bare)
    monkeypatch.setattr("flowpeer.web.statements.OF_NOW_S", 1)

    def asked(statement: str) -> object:
        return explorer.get("/api/sql.json", params={"q": statement}).json()

    for statement in ("SELECT now() AS t", "FROM (VALUES (Current_Timestamp))", "SELECT uuid() u"):
        before = asked(statement)
        time.sleep(1.1)
        assert asked(statement) != before


def test_what_is_kept_is_bounded(reader: SharedReader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "KEPT_BYTES", 40)

    async def ask() -> None:
        for n in range(20):
            await reader.table(n, lambda _, n=n: table(n), query=True)
        assert [n for n in range(20) if reader.kept(n)] == [15, 16, 17, 18, 19]

    asyncio.run(ask())
    reader.close()


def test_a_statement_ends_with_its_reader(
    explore: Callable[..., Explorer], bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request whose connection is gone: the process of its statement is killed."""
    explorer = explore(config=bare)
    ended = threading.Event()
    ask = SharedReader.ask

    def watched(self: SharedReader, *words: Any, **named: Any) -> pl.DataFrame:
        try:
            return ask(self, *words, **named)
        finally:
            ended.set()

    monkeypatch.setattr(SharedReader, "ask", watched)
    begun = threading.Event()
    on = Cancel.on
    monkeypatch.setattr(Cancel, "on", lambda self, stop: (on(self, stop), begun.set())[0])

    async def leave() -> list[dict[str, object]]:
        sent: list[dict[str, object]] = []
        first = True

        async def receive() -> dict[str, object]:
            nonlocal first
            if first:
                first = False
                return {"type": "http.request", "body": b"", "more_body": False}
            assert await asyncio.to_thread(begun.wait, 30)
            await asyncio.sleep(0.3)
            return {"type": "http.disconnect"}

        async def send(message: dict[str, object]) -> None:
            sent.append(message)

        query = str(httpx.QueryParams({"q": LONG})).encode()
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET",
            "scheme": "http", "path": "/api/sql.json", "raw_path": b"/api/sql.json",
            "query_string": query, "root_path": "", "server": ("localhost", 8080),
            "client": ("127.0.0.1", 1), "headers": [(b"host", BASE.removeprefix("http://").encode())],
        }  # fmt: skip
        await explorer.app(scope, receive, send)
        assert await asyncio.to_thread(ended.wait, 20)  # the limit of a statement is 30 s
        return sent

    sent = explorer.run(leave())
    assert sent[0]["status"] == 499


def test_a_statement_is_stopped_at_its_limit(explore: Callable[..., Explorer], bare: Path) -> None:
    explorer = explore(config=bare, query_seconds=0.5)
    response = explorer.get("/api/sql.json", params={"q": LONG})
    assert response.status_code == 400
    assert "stopped after 0.5 s" in response.json()["error"]


def test_a_result_is_bounded_in_octets_and_a_statement_in_memory(
    explore: Callable[..., Explorer], bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few rows of long texts are a small file, and would be gigabytes here."""
    explorer = explore(config=bare, query_memory_bytes=100 << 20)
    many = "SELECT repeat('x', 1_000_000) AS a, [b] AS c FROM range(90) t(b)"
    told = explorer.get("/api/sql.json", params={"q": many})
    assert told.status_code == 400
    assert "octets of text" in told.json()["error"]
    monkeypatch.setattr(reading, "RESULT_BYTES", 4000)
    few = {"q": "SELECT i, {'a': repeat('x', 100)} AS s FROM range(20) t(i)"}
    assert len(explorer.get("/api/sql.json", params=few).json()) == 20
    told = explorer.get("/api/sql.json", params={"q": few["q"].replace("20", "50")})
    assert told.status_code == 400
    large = "SELECT len(list(i)) AS n FROM range(50_000_000) t(i)"
    told = explorer.get("/api/sql.json", params={"q": large})
    assert told.status_code == 400
    assert "memory" in told.json()["error"]
