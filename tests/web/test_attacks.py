"""What strangers send to a real server, octet by octet: no client between normalises it."""

from __future__ import annotations

import asyncio
import re
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

import pytest
import uvicorn
from explorer_client import bare_network, serving
from starlette.responses import PlainTextResponse
from uvicorn.server import ServerState

from flowpeer.web import protocol
from flowpeer.web.guard import HEADERS

TOKEN = "0123456789abcdef0123456789abcdef"
PATIENT = 120


class Answer:
    """A response, as it came."""

    def __init__(self, octets: bytes) -> None:
        self.head, _, self.body = octets.partition(b"\r\n\r\n")
        lines = self.head.decode("latin-1").split("\r\n")
        self.status = int(lines[0].split()[1])
        self.headers = [line.partition(": ")[::2] for line in lines[1:]]
        self.named = {name.lower(): value for name, value in self.headers}

    def is_guarded(self) -> bool:
        """Every header that a response must have, once; none that lets others read it."""
        names = [name.lower() for name, _ in self.headers]
        return (
            all(self.named.get(n) == v and names.count(n) == 1 for n, v in HEADERS.items())
            and not any(name.startswith("access-control-") for name in names)
            and "x-injected" not in names
        )


class Door:
    """A server's address, to knock at."""

    def __init__(self, address: str) -> None:
        self.port = int(address.rpartition(":")[2])

    def send(self, octets: bytes) -> Answer:
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENT) as made:
            found = b""
            try:
                made.sendall(octets)
                while part := made.recv(1 << 16):
                    found += part
            except (ConnectionResetError, BrokenPipeError):
                pass  # it does not read what it has refused
        return Answer(found)

    def get(self, target: str | bytes, *headers: str, host: str = "localhost") -> Answer:
        return self.ask("GET", target, *headers, host=host)

    def ask(
        self,
        method: str,
        target: str | bytes,
        *headers: str,
        host: str = "localhost",
        body: bytes = b"",
    ) -> Answer:
        words = target if isinstance(target, bytes) else target.encode()
        lines = [f"Host: {host}", "Connection: close", *headers]
        head = method.encode() + b" " + words + b" HTTP/1.1\r\n"
        return self.send(head + "".join(f"{x}\r\n" for x in lines).encode() + b"\r\n" + body)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bare_network(tmp_path_factory.mktemp("bare")).parent


@pytest.fixture(scope="module")
def door(folder: Path) -> Iterator[Door]:
    with serving(folder) as address:
        yield Door(address)


@pytest.fixture(scope="module")
def locked(folder: Path) -> Iterator[Door]:
    with serving(folder, token=TOKEN) as address:
        yield Door(address)


PATHS: list[str | bytes] = [
    "/static/../settings.py", "/static/%2e%2e/settings.py", "/static/..%2fsettings.py",
    "/static/%252e%252e/settings.py", "/static/..%255csettings.py", "/static/..\\settings.py",
    "/static/..%5csettings.py", "/static/%00", "/static/explorer.css%00.png", "/static",
    "/static/", "/static/vendor/", "/static//etc/passwd", "/static/%2fetc%2fpasswd",
    "/static/....//settings.py", "//etc/passwd", "/api/..%2f..%2fflowpeer.toml",
    "/api/%2e%2e/%2e%2e/flowpeer.json", "/api/%2e%2e%2f%2e%2e%2fflowpeer.toml%00.json",
    "/metro/..%2f..", "/section/metro/..%2f..", "http://evil.example/", "*", "/%ff%fe",
    b"/\xff\xfe", b"/a\x00b",
]  # fmt: skip


@pytest.mark.parametrize("target", PATHS)
def test_no_path_leads_to_a_file_of_others(door: Door, target: str | bytes) -> None:
    answer = door.get(target)
    assert answer.status in (400, 404)
    assert answer.is_guarded()
    assert b"import" not in answer.body
    assert b"[network]" not in answer.body
    assert b"root:" not in answer.body
    assert "location" not in answer.named


@pytest.mark.parametrize(
    "target",
    ["/api/bills%0d%0aX-Injected:%20a.json", "/api/metros.json%0d%0aX-Injected:%20a",
     "/api/sql.csv%0d%0aX-Injected:%20a?q=SELECT+1", "/sql?q=%0d%0aX-Injected:%20a",
     "/search?find=AS1%0d%0aX-Injected:%20a", "/?%0d%0aX-Injected:%20a=1",
     "/login?%0d%0aX-Injected:a", "/%0d%0aX-Injected:%20a", "/nope\r\nX-Injected: a\r\nA: "],
)  # fmt: skip
def test_no_word_becomes_a_header(door: Door, target: str) -> None:
    assert door.get(target).is_guarded()


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example@localhost", "localhost@evil.example", "localhost.evil.example",
     "localhost/evil", "localhost:80:80", "localhost.", "[::1", "127.0.0.1.evil.example", "",
     "localhost, evil.example", "2130706433", "0.0.0.0"],
)  # fmt: skip
def test_a_name_of_others_is_refused(door: Door, host: str) -> None:
    """A page of theirs could reach the loopback by a name of their own (DNS rebinding)."""
    answer = door.get("/", host=host)
    assert answer.status in (400, 421)
    assert answer.is_guarded()


def test_two_names_or_none_are_refused(door: Door) -> None:
    for octets in (
        b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"a" * 100,
    ):
        answer = door.send(octets)
        assert answer.status in (400, 421)
        assert answer.is_guarded()


def chunks(count: int) -> bytes:
    return (b"4000\r\n" + b"a" * 0x4000 + b"\r\n") * count + b"0\r\n\r\n"


def test_what_is_too_large_is_refused(door: Door) -> None:
    own, many = "Origin: http://localhost", [f"X-{n}: a" for n in range(200)]
    for status, answer in (
        ({414}, door.get("/?find=" + "a" * 20_000)),
        ({400}, door.get("/?find=" + "a" * 1_000_000)),
        ({431}, door.get("/", "X-Long: " + "a" * 40_000)),
        ({431}, door.get("/", *many)),
        ({400}, door.get("/?" + "&".join(["metro=nope"] * 1_000))),
        ({400}, door.get("/?" + "&".join(["period="] * 1_000))),
        ({413}, door.ask("POST", "/login", own, "Content-Length: 100000", body=b"a")),
        ({413}, door.ask("POST", "/login", own, "Transfer-Encoding: chunked", body=chunks(8))),
        ({400}, door.ask("POST", "/login", own, "Content-Length: -5")),
        ({400}, door.ask("POST", "/login", own, "Content-Length: " + "9" * 5_000)),
        ({400}, door.ask("POST", "/login", own, "Content-Length: 5", "Content-Length: 6")),
        ({400}, door.ask("POST", "/login", own, "Content-Length: 5", "Transfer-Encoding: chunked",
                         body=b"0\r\n\r\n")),
        ({200}, door.get("/")),
    ):  # fmt: skip
        assert answer.status in status
        assert answer.is_guarded()


def test_other_sites_get_nothing(door: Door) -> None:
    """Scripts, forms, frames and pictures of theirs; a link that a reader follows works."""
    evil = "Origin: http://evil.example"
    statement = "/sql?q=SELECT+1"
    for answer in (
        door.get("/api/sql.json?q=SELECT+1", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: cors"),
        door.get(statement, "Sec-Fetch-Site: same-site", "Sec-Fetch-Mode: no-cors"),
        door.get(statement, "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate",
                 "Sec-Fetch-Dest: iframe"),
        door.ask("POST", "/sql", evil, "Content-Length: 10", body=b"q=SELECT+1"),
        door.ask("POST", "/login", "Origin: null", "Content-Length: 7", body=b"token=x"),
        door.ask("POST", "/login", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate",
                 "Sec-Fetch-Dest: document", "Origin: http://localhost", "Content-Length: 0"),
    ):  # fmt: skip
        assert answer.status == 403
        assert answer.is_guarded()
    for method in ("OPTIONS", "PUT", "TRACE", "CONNECT", "DELETE", "FOO"):
        answer = door.ask(method, "/api/sql.json?q=SELECT+1", evil)
        assert answer.status == 405
        assert answer.is_guarded()
    followed = door.get("/", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate",
                        "Sec-Fetch-Dest: document")  # fmt: skip
    assert followed.status == 200
    assert door.get("/api/openapi.json", evil).is_guarded()  # and no header lets them read it


TEMPLATES = ["{{7*7}}", "${7*7}", "{% raw %}", "<%= 7*7 %>", "#{7*7}",
             "'\"><script>alert(1)</script>", "{{self.__init__.__globals__}}"]  # fmt: skip
PLACES = ["/?period=", "/?metro=", "/?provider=", "/?direction=", "/?family=", "/?asn=",
          "/?filter=", "/?sort=", "/?pick=", "/?limit=", "/?", "/search?find=", "/sql?q=",
          "/sql?answer=", "/sql?q=p95_per_provider&p.metro=", "/metro/", "/network/", "/provider/",
          "/section/metro/", "/section/overview/findings?page=", "/api/", "/nope"]  # fmt: skip


def test_no_word_is_a_template_or_markup(door: Door) -> None:
    """Every place of a page that takes words; the slowest, statements, with few of them."""
    for place in PLACES:
        for word in TEMPLATES[:2] if place.startswith("/sql?q=") else TEMPLATES:
            answer = door.get(place + quote(word, safe=""))
            assert answer.status < 500, (place, word)
            assert answer.is_guarded()
            assert b"<script>alert" not in answer.body or place == "/api/", (place, word)
            assert not re.search(rb"\b49\b", answer.body), (place, word)
            assert b"__builtins__" not in answer.body


def test_a_token_is_asked_before_anything_is_told(locked: Door) -> None:
    for target in ("/", "/sql?q=SELECT+1", "/api/openapi.json", "/api/sql.json?q=SELECT+1", "/nope",
                   "/static/../api/openapi.json", "//login", "/login/../api/openapi.json",
                   "/LOGIN", "/%6cogin/../sql"):  # fmt: skip
        answer = locked.get(target, f"Authorization: Bearer {TOKEN[:-1]}", "X-Remote-User: root")
        assert answer.status in (401, 404), target
        assert answer.is_guarded()
        assert b"64500" not in answer.body
        assert "set-cookie" not in answer.named
    for wrong in ("Basic " + TOKEN, "Bearer", f"Bearer {TOKEN}x", "Bearer \u00e9"):
        assert locked.get("/api/openapi.json", f"Authorization: {wrong}").status == 401
    right = f"Authorization: Bearer {TOKEN}"
    answer = locked.get("/", right)
    assert answer.status == 200
    assert TOKEN.encode() not in answer.head + answer.body
    assert "set-cookie" not in answer.named
    form = f"token={TOKEN}".encode()
    for scheme, secure in (("http", False), ("https", True)):  # behind a proxy that adds TLS
        told = locked.ask("POST", "/login", f"Origin: {scheme}://localhost",
                          f"Content-Length: {len(form)}", body=form)  # fmt: skip
        assert told.status == 303
        assert told.named["location"] == "/"
        cookie = told.named["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert ("Secure" in cookie) is secure


def test_it_does_not_listen_where_others_reach_it(folder: Path) -> None:
    for words, said in (
        (("--listen", "0.0.0.0:0"), "no loopback address"),
        (("--listen", "[::]:0", "--public"), "needs to know who may read"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "flowpeer", "serve", *words], cwd=folder, timeout=PATIENT,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 2
        assert said in done.stderr


HEAD = b"GET / HTTP/1.1\r\nHost: localhost\r\n"


@asynccontextmanager
async def bounded() -> AsyncIterator[int]:
    """The port of an application behind `BoundedProtocol`."""
    config = uvicorn.Config(PlainTextResponse("here"), lifespan="off", ws="none")
    config.load()
    state = ServerState()
    server = await asyncio.get_running_loop().create_server(
        lambda: protocol.BoundedProtocol(config, state, {}), "127.0.0.1", 0
    )
    yield server.sockets[0].getsockname()[1]
    server.close()


async def opened(port: int, words: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(words)
    await writer.drain()
    return reader, writer


async def until_the_end(reader: asyncio.StreamReader) -> bytes:
    try:
        return await asyncio.wait_for(reader.read(), PATIENT)
    except ConnectionResetError:
        return b""


def test_who_never_asks_is_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Silent, in the middle of a request, and in the middle of the next."""
    monkeypatch.setattr(protocol, "REQUEST_S", 0.2)

    async def ask() -> list[bytes]:
        told = []
        async with bounded() as port:
            for words in (b"", HEAD, HEAD + b"\r\nGET / HT"):
                reader, writer = await opened(port, words)
                told.append(await until_the_end(reader))
                writer.close()
        return told

    silent, half, after_one = asyncio.run(ask())
    assert silent == half == b""
    assert after_one.count(b"HTTP/1.1 200 OK") == 1


def test_a_connection_too_many_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "MAX_CONNECTIONS", 3)

    async def ask() -> bytes:
        async with bounded() as port:
            held = [await opened(port, HEAD) for _ in range(3)]
            held.append(await opened(port, HEAD + b"Connection: close\r\n\r\n"))
            told = await until_the_end(held[-1][0])
            for _, writer in held:
                writer.close()
            return told

    busy = Answer(asyncio.run(ask()))
    assert busy.status == 503
    assert busy.is_guarded()
