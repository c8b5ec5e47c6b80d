"""The collector keeps what routers call their interfaces, as `ingest` does."""

from __future__ import annotations

import struct
import time

from collector_rig import Rig

from flowpeer.lake.interface_names import exported
from flowpeer.lake.store import Lake


def table(index: int, name: str) -> bytes:
    options = struct.pack(">HHHHHHH", 257, 4, 4, 2, 4, 82, 16)
    row = struct.pack(">I16s", index, name.encode())
    head = struct.pack(">HHIIII", 9, 2, 10_000, int(time.time()), index, 7)
    return (
        head + struct.pack(">HH", 1, 4 + len(options)) + options
        + struct.pack(">HH", 257, 4 + len(row)) + row
    )  # fmt: skip


def test_names_come_from_segments_too_and_outlive_the_collector(rig: Rig) -> None:
    found = []
    for said in ([(11, "et-0/0/1"), (12, "lo0")], [(11, "xe-1/1/1")]):
        rig.start()
        rig.deliver(table(*one) for one in said)
        rig.drained_and(len(said))
        rig.end()
        lake = Lake(rig.folder / "lake")
        (said_of,) = exported(lake.root, ["127.0.0.1"]).texts.values()
        found.append({i: texts["name"][1] for i, texts in said_of.items()})
    assert found == [{11: "et-0/0/1", 12: "lo0"}, {11: "xe-1/1/1", 12: "lo0"}]
