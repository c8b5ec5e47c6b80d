"""Collectors at several places write one lake: its tables are those of a single collector."""

from __future__ import annotations

import json
import random
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
import pytest
from collector_rig import Rig
from warm import flowpeer

RECORDS = 20
UPTIME_MS = 10_000_000
NETWORK = """[network]
asn = 64500
name = "Many"
prefixes = ["198.18.0.0/15"]
[collector]
name = "{name}"
spool = "{spool}"
seal_after = "1s"
[lake]
path = "{lake}"
"""


def netflow5(exporter: int, number: int) -> bytes:
    """Datagram `number` of an exporter: its records say when they were, and what only they say."""
    now = time.time()
    head = struct.pack(
        ">HHIIIIBBH", 5, RECORDS, UPTIME_MS, int(now), int(now % 1 * 1e9), number * RECORDS, 0, 0,
        0x4000 | 100,
    )  # fmt: skip
    return head + b"".join(
        struct.pack(
            ">IIIHHIIIIHHBBBBHHBBH",
            0xC6120000 + n, 0x08000000 + (exporter << 16) + n, 0, 1, 2, 10, 1_000 + n,
            UPTIME_MS - 2_000 - n, UPTIME_MS - 1_000, 443, 1_024 + n, 0, 16, 6, 0, 0,
            64_496 + exporter, 24, 24, 0,
        )
        for n in range(number % 7, number % 7 + RECORDS)
    )  # fmt: skip


@dataclass
class Place(Rig):
    """A collector with a name and a spool of its own, that writes a lake which others write too."""

    lake: Path = field(default_factory=Path)
    exporters: int = 1

    def configure(self, more: str = "") -> None:
        text = NETWORK.format(name=self.folder.name, spool=self.spool, lake=self.lake)
        for i in range(self.exporters):
            text += f'[[metros]]\nid = "m{i}"\nname = "Metro {i}"\n'
            text += f'[[exporters]]\nid = "e{i}"\nmetro = "m{i}"\naddresses = ["{address(i)}"]\n'
            text += f'[[interfaces]]\nexporter = "e{i}"\nindex = 1\nrole = "internal"\n'
            text += f'[[interfaces]]\nexporter = "e{i}"\nindex = 2\nrole = "transit"\nasn = 1299\n'
        (self.folder / "flowpeer.toml").write_text(text + more)

    @property
    def spool(self) -> Path:
        return self.folder / "spool"


def address(exporter: int) -> str:
    return f"127.0.0.{20 + exporter}"


class Places:
    """Some collectors that write one lake, and a single one that gets everything too."""

    def __init__(self, folder: Path, count: int) -> None:
        self.all = Place(folder / "single", lake=folder / "lake-of-one", exporters=count)
        self.places = [
            Place(folder / f"pop{i}", lake=folder / "lake", exporters=count) for i in range(count)
        ]
        self.sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(count)]
        for i, sender in enumerate(self.sockets):
            sender.bind((address(i), 0))
        for place in (self.all, *self.places):
            receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
            receiver.bind(("127.0.0.1", 0))
            place.hold(receiver)
            place.start(wait=False)
        for place in (self.all, *self.places):
            place.until(lambda place=place: place.status().get("phase") == "running", seconds=300)
        self.sent = 0

    def send(self, datagrams: int) -> None:
        """So many of each exporter, to its own collector and to the single one."""
        for number in range(self.sent, self.sent + datagrams):
            for i, (sender, place) in enumerate(zip(self.sockets, self.places, strict=True)):
                payload = netflow5(i, number)
                sender.sendto(payload, ("127.0.0.1", place.port))
                sender.sendto(payload, ("127.0.0.1", self.all.port))
                place.runs[-1].after += 1
                self.all.runs[-1].after += 1
            time.sleep(0.002)
        self.sent += datagrams

    def close(self) -> None:
        for place in (self.all, *self.places):
            place.close()
            assert place.held is not None
            place.held.close()
        for sender in self.sockets:
            sender.close()


@pytest.fixture
def places(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Places]:
    made = Places(tmp_path, request.param)
    yield made
    made.close()


def rolled_up(place: Place) -> dict[str, pl.DataFrame]:
    """The roll-ups of a lake that `verify` finds clean."""
    routes = place.folder / "routes-2026-01-01.txt"
    routes.write_text("".join(f"8.{i}.0.0\t16\t{64_496 + i}\n" for i in range(place.exporters)))
    for words in (["rib", "load", str(routes)], ["rollup"], ["verify"]):
        done = flowpeer("--json", *words, cwd=place.folder)
        assert done.returncode == 0, done.stderr + done.stdout
        assert json.loads(done.stdout) is not None
    return {
        table: pl.read_parquet(f"{place.lake}/{table}/**/*.parquet").sort(pl.all())
        for table in ("traffic", "traffic_routes")
    }


@pytest.mark.parametrize(
    "places", [2, pytest.param(9, marks=pytest.mark.soak)], indirect=True, ids=str
)
def test_the_tables_are_those_of_one_collector_though_some_are_killed(places: Places) -> None:
    chance = random.Random(7)
    for _ in range(len(places.places)):
        places.send(40)
        victim = chance.choice(places.places)
        run, due = victim.runs[-1], victim.runs[-1].after - victim.runs[-1].first
        # What is committed must survive; what only waits in the socket is not the victim's yet.
        victim.until(lambda v=victim, n=due: v.watermark()["committed"] >= n, seconds=300)
        victim.sent = run.after
        victim.kill()
        victim.start(wait=False)
        places.send(20)  # while it starts: these wait in its socket
    for place in (places.all, *places.places):
        place.until(lambda p=place: p.status().get("phase") == "running", seconds=300)
        run = place.runs[-1]
        place.until(
            lambda p=place, n=run.after - run.first: p.watermark()["received"] >= n, seconds=300
        )
        place.end()
    wanted, found = rolled_up(places.all), rolled_up(places.places[0])
    records = len(places.places) ** 2 * 60 * RECORDS
    assert wanted["traffic"]["records"].sum() >= records
    for table, frame in wanted.items():
        assert found[table].equals(frame), table
    names = {p.folder.name for p in places.places}
    files = {f.name for f in (places.places[0].lake / "flows").rglob("*.parquet")}
    assert all(any(name in file for file in files) for name in names), files
