"""What a service wants from its surroundings, and asks of them."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest

from flowpeer_ingest import service, sockets


def test_a_flood_of_one_reason_is_told_in_few_lines_and_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [1_000.0]
    monkeypatch.setattr(service.time, "monotonic", lambda: now[0])
    said: list[str] = []
    log = service.Log(said.append)
    for i in range(10_000):
        log("junk", f"junk {i}")
    log("other", "other reasons have lines of their own")
    assert len(said) == service.LOG_LINES + 1
    now[0] += 60
    log("junk", "again")
    assert said[-2:] == [
        f"junk: {10_000 - service.LOG_LINES} more lines in the minute before",
        "again",
    ]


def test_the_service_manager_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service.notify("nobody listens")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        service.notify("READY=1")
        assert manager.recv(100) == b"READY=1"


def test_a_small_receive_buffer_is_said_with_what_to_set() -> None:
    listener = sockets.listen("127.0.0.1", 0, shared=False, both=False)
    with listener.socket:
        granted = listener.socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        assert listener.buffer_octets == granted
        listener.buffer_octets = 234_000
        advice = sockets.buffer_advice(listener)
        assert "about 100 full datagrams, 5 ms at 20,000/s" in advice
        assert f"net.core.rmem_max={sockets.RECEIVE_BUFFER_OCTETS}" in advice
        listener.buffer_octets = sockets.ENOUGH_OCTETS
        assert sockets.buffer_advice(listener) == ""


def test_what_a_full_datagram_costs_the_buffer_is_as_the_documentation_says() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "collector.md").read_text()
    stated = int(re.findall(r"\(([\d,]+) × datagrams per second\)", page)[0].replace(",", ""))
    assert stated == sockets.OCTETS_A_DATAGRAM
    listener = sockets.listen("127.0.0.1", 0, shared=False, both=False)
    with listener.socket, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(20):
            sender.sendto(bytes(1_400), ("127.0.0.1", listener.port))
        waiting = sockets.queues({listener.inode})[listener.inode].waiting_octets
    assert waiting / 20 == pytest.approx(stated, rel=0.05)
