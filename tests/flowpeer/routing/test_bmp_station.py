"""The BMP station over loopback, with routers that are the tests' own."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_network
from pathlib import Path
from threading import Thread
from typing import Any, cast

import pyarrow.parquet as pq
import pytest
from bmp_octets import header, message, nlri, open_, up, update

from flowpeer.errors import InputError
from flowpeer.lake.store import Lake
from flowpeer.routing.bmp.station import BmpStation
from flowpeer.routing.rib.snapshot import snapshots


def _until(true: Callable[[], bool]) -> None:
    for _ in range(1000):
        if true():
            return
        time.sleep(0.01)
    raise AssertionError("it did not happen in ten seconds")


class Running:
    """A station in a thread, whose clock the test sets."""

    def __init__(self, lake: Lake, **options: Any) -> None:
        self.now = 1_767_225_600.0
        self.said: list[str] = []
        self.station = BmpStation(
            lake, ("127.0.0.1", 0), options.pop("exporters", {"127.0.0.1": "edge1"}),
            say=self.said.append, clock=lambda: self.now, **options,
        )  # fmt: skip
        self.thread = Thread(target=self.station.run, daemon=True)
        self.thread.start()

    def connect(self) -> socket.socket:
        return socket.create_connection(self.station.address, timeout=10)

    def stop(self) -> None:
        if self.thread.is_alive():
            self.station.stop()
        self.thread.join(10)
        assert not self.thread.is_alive()


@pytest.fixture(params=["folder", "store"])
def lake(tmp_path: Path, request: Any) -> Lake:
    if request.param == "store":
        return cast("Lake", request.getfixturevalue("bucket").lake())
    return Lake(tmp_path / "lake")


@pytest.fixture
def start(lake: Lake) -> Iterator[Callable[..., Running]]:
    running: list[Running] = []

    def run(**options: Any) -> Running:
        running.append(Running(lake, **options))
        return running[-1]

    yield run
    for one in running:
        one.stop()


def _routes(mrt: Any, asn: int, count: int) -> bytes:
    octets = message(4, b"\0\2\0\5edge1") + up(header(asn, "192.0.2.1"), open_(1), open_(asn))
    for i in range(count):
        network = str(ip_network((10 << 24 | i << 8, 24)))
        route = update(b"", mrt.attributes([asn, i + 1]), nlri(network))
        octets += message(0, header(asn, "192.0.2.1") + route)
    return octets


def _rows(lake: Lake, name: str) -> set[tuple[str, str]]:
    table = pq.read_table(lake.path(f"routes/{name}.parquet"), columns=["prefix", "as_path"])
    return {(row["prefix"], row["as_path"]) for row in table.to_pylist()}


def test_each_hour_and_the_end_make_a_snapshot(
    mrt: Any, lake: Lake, start: Callable[..., Running]
) -> None:
    running = start()
    with running.connect() as router:
        router.sendall(_routes(mrt, 9, 500))
        _until(lambda: running.station.counts["messages"] == 502)
        assert snapshots(lake) == []
        running.now += 3600
        withdraw = update(nlri("10.0.0.0/24"))
        router.sendall(message(0, header(9, "192.0.2.1") + withdraw))
        _until(lambda: running.station.counts["snapshots"] == 1)
        (info,) = snapshots(lake)
        assert (info.vantage, info.kind, info.source) == ("edge1", "bmp", "BMP of edge1")
        assert info.taken_at.timestamp() == running.now
        expected = {(f"10.{i >> 8}.{i & 255}.0/24", f"9 {i + 1}") for i in range(500)}
        assert _rows(lake, info.name) in (expected, expected - {("10.0.0.0/24", "9 1")})
        _until(lambda: running.station.counts["messages"] == 503)
        running.now += 100
        running.stop()
    assert len(snapshots(lake)) == 2
    assert _rows(lake, snapshots(lake)[-1].name) == expected - {("10.0.0.0/24", "9 1")}


def test_a_session_that_has_just_begun_or_has_ended_makes_none(
    mrt: Any, lake: Lake, start: Callable[..., Running]
) -> None:
    running = start()
    with running.connect() as router:
        router.sendall(_routes(mrt, 9, 20))
        _until(lambda: running.station.counts["messages"] == 22)
        running.now += 119
        assert running.station.snapshot()
    _until(lambda: any("closed" in line for line in running.said))
    running.now += 3600
    running.stop()
    assert snapshots(lake) == []


def test_a_router_that_comes_again_replaces_its_session(
    mrt: Any, lake: Lake, start: Callable[..., Running]
) -> None:
    running = start(settle_s=0)
    with running.connect() as first, running.connect() as second:
        first.sendall(message(4, b""))
        second.sendall(_routes(mrt, 7, 3))
        _until(lambda: running.station.counts["messages"] >= 5)
        running.stop()
    (info,) = snapshots(lake)
    assert info.views == ("AS7@192.0.2.1",)
    assert any("replaced by a new session" in line for line in running.said)


def test_strangers_and_other_protocols_are_turned_away(
    mrt: Any, lake: Lake, start: Callable[..., Running]
) -> None:
    stranger = start(exporters={"192.0.2.1": "edge1"}, settle_s=0)
    with stranger.connect() as router:
        assert router.recv(1) == b""
    with stranger.connect() as router:
        assert router.recv(1) == b""
    assert stranger.station.counts["refused"] == 2
    assert [line for line in stranger.said if "refused" in line] == [
        "BMP: 127.0.0.1 refused: no address of an exporter"
    ]
    running = start(settle_s=0)
    with running.connect() as router:
        router.sendall(_routes(mrt, 7, 3) + b"GET / HTTP/1.1\r\n\r\n")
        assert router.recv(1) == b""
    assert running.station.counts["lost"] == 1
    running.stop()
    assert snapshots(lake) == []  # what it told is not believed any more


def test_a_lake_in_use_is_tried_again(
    mrt: Any, lake: Lake, tmp_path: Path, start: Callable[..., Running]
) -> None:
    running = start(settle_s=0)
    with running.connect() as router:
        router.sendall(_routes(mrt, 7, 3))
        _until(lambda: running.station.counts["messages"] == 5)
        with Lake(lake.root).lock("ribs"):
            assert not running.station.snapshot()
        assert running.station.snapshot()
    assert len(snapshots(lake)) == 1


def test_an_address_in_use_is_said(lake: Lake) -> None:
    in_use = "cannot listen for BMP: Address already in use"
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(InputError, match=in_use):
        BmpStation(lake, ("127.0.0.1", taken.getsockname()[1]), {})
