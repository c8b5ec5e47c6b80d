"""The collector's small HTTP server: what it answers, and what it lets itself be cost."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowpeer_ingest import web
from flowpeer_ingest.web import HttpResponse, Server, answer

PAGES = {
    "/metrics": lambda: HttpResponse("one 1\n"),
    "/broken": lambda: HttpResponse("no\n", web.HTTPStatus(503)),
}


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server("127.0.0.1", 0, PAGES)
    yield made
    made.stop()


def ask(server: Server, method: str, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request(method, path)
    said = connection.getresponse()
    return said.status, said.read()


def test_get_and_head_and_nothing_else(server: Server) -> None:
    assert ask(server, "GET", "/metrics") == (200, b"one 1\n")
    assert ask(server, "GET", "/metrics?x=1") == (200, b"one 1\n")
    assert ask(server, "HEAD", "/metrics") == (200, b"")
    assert ask(server, "GET", "/broken") == (503, b"no\n")
    assert ask(server, "GET", "/../etc/passwd")[0] == 404
    for method in ("POST", "PUT", "DELETE", "CONNECT", "X" * 100):
        assert ask(server, method, "/metrics")[0] == 405


@given(st.binary(max_size=200))
def test_any_octets_get_an_answer(octets: bytes) -> None:
    for request in (octets, octets + b"\r\n\r\n", b"GET " + octets + b" HTTP/1.1\r\n\r\n"):
        assert answer(request, PAGES).startswith(b"HTTP/1.1 ")


def test_idle_clients_cost_no_more_than_their_number(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "DEADLINE_S", 0.5)
    before = most = threading.active_count()
    idle = []
    for _ in range(100):
        idle.append(socket.create_connection(("127.0.0.1", server.port), timeout=10))
        most = max(most, threading.active_count())
    assert most - before <= web.CONNECTIONS
    for client in idle:  # too many at once are closed at once, the others send nothing in time
        with client:
            assert client.recv(1) == b""
    assert ask(server, "GET", "/metrics")[0] == 200


def test_one_that_sends_octet_by_octet_has_its_time_too(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "DEADLINE_S", 0.5)
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as slow:
        slow.settimeout(0.1)
        sent = 0
        while sent < 600:
            try:
                slow.sendall(b"G")
                sent += 1
                if not slow.recv(1):
                    break
            except TimeoutError:
                continue
            except OSError:
                break
    assert sent < 600  # a minute of octets


def test_a_request_that_does_not_end_is_cut(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
        client.sendall(b"GET /metrics HTTP/1.1\r\nX: " + b"a" * web.MAX_REQUEST)
        assert client.recv(100).startswith(b"HTTP/1.1 400 ")
