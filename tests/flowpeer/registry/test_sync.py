"""`peeringdb sync` against a server that behaves like the API."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

import pyarrow.parquet as pq
import pytest

from flowpeer.errors import InputError, UsageError
from flowpeer.lake.store import Lake
from flowpeer.registry import http as http_module
from flowpeer.registry.http import JsonClient
from flowpeer.registry.peeringdb import OBJECTS, load_peeringdb
from flowpeer.registry.sync import api_key, sync_peeringdb

KEY = "s3cret-Key.of-ours"
OLD, NEW, NEWER = "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z"


class Api(ThreadingHTTPServer):
    """Objects with a time of change; answers in `script` come first, as (status, headers, body)."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.objects: dict[str, dict[int, dict[str, Any]]] = {name: {} for name in OBJECTS}
        self.asked: list[tuple[str, dict[str, str], str]] = []
        self.script: list[tuple[int, dict[str, str], bytes]] = []
        self.lacking: set[str] = set()
        self.meta: dict[str, Any] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/api"

    def put(self, kind: str, number: int, updated: str = OLD, /, **fields: Any) -> None:
        row = {"id": number, "status": "ok", "updated": updated, **fields}
        self.objects[kind][number] = row


class Handler(BaseHTTPRequestHandler):
    server: Api

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        name = parts.path.rpartition("/")[2]
        self.server.asked.append((name, query, self.headers.get("Authorization", "")))
        if self.server.script:
            self._answer(*self.server.script.pop(0))
            return
        if name not in self.server.objects or name in self.server.lacking:
            self._answer(404, {}, b'{"message": "not found"}')
            return
        assert query["depth"] == "0"
        rows = list(self.server.objects[name].values())
        if "since" in query:
            since = datetime.fromtimestamp(int(query["since"]), UTC)
            rows = [row for row in rows if datetime.fromisoformat(row["updated"]) >= since]
        else:
            rows = [row for row in rows if row["status"] == "ok"]
        self._answer(200, {}, json.dumps({"data": rows, "meta": self.server.meta}).encode())

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def api() -> Iterator[Api]:
    server = Api()
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
    )
    thread.start()
    for name in OBJECTS:
        server.put(name, 1)
    server.put("net", 1, asn=64500, name="Example", policy_ratio=True)
    server.put("net", 2, NEW, asn=64501, name="Other")
    server.put("netixlan", 1, net_id=1, ixlan_id=1, speed=10000)
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(params=["folder", "store"])
def lake(tmp_path: Path, request: Any) -> Lake:
    if request.param == "store":
        return cast("Lake", request.getfixturevalue("bucket").lake())
    return Lake(tmp_path / "lake")


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def sync(api: Api, lake: Lake) -> Callable[..., dict[str, Any]]:
    def run(clock: Clock | None = None, key: str = "", **options: Any) -> dict[str, Any]:
        clock = clock or Clock()
        said: list[str] = []
        authorization = f"Api-Key {key}" if key else ""
        client = JsonClient(api.url, authorization, 3.0, said.append, clock.sleep, clock)
        with lake.lock("reference") as held:
            facts = sync_peeringdb(lake, held, client=client, **options)
        assert not any(KEY in line for line in said)
        return facts

    return run


def _rows(lake: Lake, name: str) -> dict[int, dict[str, Any]]:
    table = pq.read_table(lake.path(f"reference/peeringdb_{name}.parquet"))
    return {row["id"]: row for row in table.to_pylist()}


def _files(lake: Lake) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in lake.root.rglob("*.parquet")}


def test_the_first_sync_fetches_all_the_second_what_has_changed(
    api: Api, lake: Lake, sync: Callable[..., dict[str, Any]]
) -> None:
    facts = sync()
    assert facts["objects"] == {name: 1 + (name == "net") for name in OBJECTS}
    assert [(name, query) for name, query, _ in api.asked] == [(n, {"depth": "0"}) for n in OBJECTS]
    assert _rows(lake, "net")[1]["name"] == "Example"
    assert _rows(lake, "netixlan")[1]["asn"] == 64500  # from net, where the port does not say

    api.asked.clear()
    before = _files(lake)
    assert not any(sync()["changed"].values())
    assert _files(lake) == before
    times = {name: int(query["since"]) for name, query, _ in api.asked}
    assert times["net"] == int(datetime.fromisoformat(NEW).timestamp())
    assert times["org"] == int(datetime.fromisoformat(OLD).timestamp())

    api.put("net", 1, NEWER, asn=64500, name="Renamed", policy_ratio=False)
    api.put("net", 3, NEWER, asn=64502, name="New")
    api.objects["net"][2] |= {"status": "deleted", "updated": NEWER}
    assert {n: c for n, c in sync()["changed"].items() if c} == {"net": 3}
    rows = _rows(lake, "net")
    assert {n: (r["name"], r["policy_ratio"]) for n, r in rows.items()} == {
        1: ("Renamed", False),
        3: ("New", None),
    }


def test_incremental_and_full_give_the_same_tables(
    api: Api, lake: Lake, sync: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    for n in range(2, 40):
        api.put("net", n, f"2026-02-{n % 28 + 1:02}T00:00:00Z", asn=64500 + n, name=f"N{n}")
    sync()
    for n in range(2, 40, 3):
        status = "deleted" if n % 2 else "ok"
        api.put("net", n, f"2026-04-{n % 28 + 1:02}T00:00:00Z", asn=1, name="x")
        api.objects["net"][n]["status"] = status
    sync()
    other = Lake(tmp_path / "other")
    with other.lock("reference") as held:
        sync_peeringdb(other, held, client=JsonClient(api.url, interval_s=0))
    for name in OBJECTS:
        assert _rows(lake, name) == _rows(other, name)
    assert not any(sync(full=True)["changed"].values())


def test_a_loaded_file_is_replaced_by_a_full_sync(
    api: Api, lake: Lake, sync: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    path = tmp_path / "pdb.json"
    path.write_text(json.dumps({"net": {"data": [{"id": 9, "asn": 9, "name": "Nine"}]}}))
    load_peeringdb(lake, path)
    sync()
    assert set(_rows(lake, "net")) == {1, 2}
    assert all("since" not in query for _, query, _ in api.asked)


def test_requests_are_spaced_and_the_server_is_obeyed(
    api: Api, sync: Callable[..., dict[str, Any]]
) -> None:
    clock = Clock()
    api.script = [
        (429, {"Retry-After": "17"}, b'{"message": "Request was throttled."}'),
        (503, {}, b"busy"),
    ]
    sync(clock)
    assert len(api.asked) == len(OBJECTS) + 2
    assert clock.slept[0] == 17
    assert 4 <= clock.slept[1] <= 6  # the second failure: 2² seconds, and up to half of it more
    assert clock.slept[2:] == pytest.approx([3.0] * (len(OBJECTS) - 1))


@pytest.mark.usefixtures("garbage_waits")
def test_what_never_works_changes_nothing(
    api: Api, lake: Lake, sync: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    sync()
    before = _files(lake)
    api.put("net", 1, NEWER, asn=1, name="Changed")
    monkeypatch.setattr(http_module, "MAX_OCTETS", 100_000)
    bad = [
        ([(500, {}, b"")] * 5, "HTTP 500"),
        ([(429, {"Retry-After": "7200"}, b"")], "HTTP 429"),
        ([(401, {}, b"")], "HTTP 401"),
        ([(418, {}, b"")], "HTTP 418"),
        ([(200, {}, b"<html>")], "not JSON"),
        ([(200, {}, b"[" * 100_000)], "nested too deep"),
        ([(200, {}, b'{"data": 1}')], "not an answer of the PeeringDB API"),
        ([(200, {}, b" " * 100_001)], "answers with more than"),
        ([(200, {"Content-Length": "99"}, b'{"data": []}')] * 5, "the answer broke off"),
        ([(302, {"Location": "http://localhost:1/"}, b"")], "leads to another host"),
        ([(302, {"Location": "https://127.0.0.1/"}, b"")], "leads to another host"),
        ([(302, {"Location": "file:///etc/passwd"}, b"")], "leads to another host|HTTP 302"),
        ([(302, {"Location": "/api/org"}, b"")] * 9, "HTTP 302"),
    ]
    for script, what in bad:
        # The objects before are fetched well, so that half of the work is done.
        api.script = [(200, {}, b'{"data": [], "meta": {}}')] * 2 + script
        with pytest.raises(InputError, match=what) as caught:
            sync(key=KEY)
        assert KEY not in f"{caught.value!r} {caught.value} {caught.value.advice}"
        assert caught.value.advice
        assert _files(lake) == before
    api.lacking = {"netixlan"}
    api.script = []
    with pytest.raises(InputError, match=r"netixlan.*HTTP 404"):
        sync()
    api.lacking = set(OBJECTS)
    assert _files(lake) == before


def test_an_older_server_lacks_objects_that_are_then_unknown(
    api: Api, lake: Lake, sync: Callable[..., dict[str, Any]]
) -> None:
    sync()
    api.lacking = {"campus", "carrier", "carrierfac"}
    sync()
    assert not lake.path("reference/peeringdb_campus.parquet").exists()
    assert lake.path("reference/peeringdb_net.parquet").exists()


def test_times_come_from_the_answers_own_when_rows_have_none(
    api: Api, sync: Callable[..., dict[str, Any]]
) -> None:
    for rows in api.objects.values():
        for row in rows.values():
            row["updated"] = None
    api.meta = {"generated": 1_767_225_600.5}
    assert set(sync()["since"].values()) == {1_767_225_600}


def test_the_key_goes_into_one_header_and_stays_on_one_host(
    api: Api, sync: Callable[..., dict[str, Any]]
) -> None:
    api.script = [(302, {"Location": "/api/other/org?depth=0"}, b"")]
    sync(key=KEY)
    assert {sent for _, _, sent in api.asked} == {f"Api-Key {KEY}"}
    assert not any(KEY in f"{name}{query}" for name, query, _ in api.asked)
    assert KEY not in repr(JsonClient(api.url, f"Api-Key {KEY}"))
    with pytest.raises(UsageError, match="unencrypted"):
        JsonClient("http://peeringdb.example/api", f"Api-Key {KEY}")
    for base in ("ftp://x/", "peeringdb", "https://", "https://[x/", "https://x/api?key=1"):
        with pytest.raises(UsageError):
            JsonClient(base)
    with pytest.raises(UsageError, match="user name or password") as caught:
        JsonClient("https://me:hidden@peeringdb.example/api")
    assert "hidden" not in str(caught.value)


def test_the_key_is_read_from_the_environment_or_a_file(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(f"{KEY}\n")
    assert api_key(None, {}) == ""
    assert api_key(file, {}) == KEY
    assert api_key(file, {"FLOWPEER_PEERINGDB_API_KEY": "other"}) == "other"
    for content in ("", "two words", f"{KEY}\nX-Header: 1", "é"):
        file.write_text(content)
        with pytest.raises(UsageError) as caught:
            api_key(file, {})
        assert KEY not in str(caught.value)
    with pytest.raises(UsageError, match="No such file"):
        api_key(tmp_path / "none", {})
    with pytest.raises(UsageError):
        api_key(None, {"FLOWPEER_PEERINGDB_API_KEY": f"{KEY}\r\nX: 1"})


def test_a_server_that_is_not_there_is_said(lake: Lake) -> None:
    clock = Clock()
    client = JsonClient("http://127.0.0.1:9/api", sleep=clock.sleep, clock=clock)
    refused = pytest.raises(InputError, match="cannot be reached: Connection refused")
    with lake.lock("reference") as held, refused:
        sync_peeringdb(lake, held, client=client)
    assert not lake.path("reference").exists()
    assert 30 <= sum(clock.slept) <= 45
