"""Operations of the disk that fail: nothing is lost, nothing deleted, and the work goes on."""

from __future__ import annotations

import pytest
from collector_rig import Rig

CALLS = (
    "fallocate", "fdatasync", "truncate", "fsync", "replace", "unlink", "write", "publish",
    "published",
)  # fmt: skip
"""Every kind of operation; `write` stands for pyarrow's."""
TURNS = 6
"""Passings of each kind that fail: a segment's whole way passes none of them more often."""


@pytest.mark.parametrize("error", ["ENOSPC", "EIO"])
def test_the_nth_operation_of_each_kind_fails_and_nothing_is_lost(rig: Rig, error: str) -> None:
    rig.start()
    rig.send(3_000)
    rig.until(lambda: rig.watermark()["committed"])
    rig.kill()  # so that the next start has something to recover
    for n in range(1, TURNS + 1):
        rig.start(FLOWPEER_FAULTS=",".join(f"{error}:{call}:{n}" for call in CALLS))
        if rig.ended:  # a disk that fails at the start ends it with a message, as it should
            assert rig.process is not None
            assert rig.process.returncode in (3, 4), rig.said()
            rig.reap()
            continue
        rig.send(2_000)
        rig.drained()
        rig.end()
    rig.start()
    rig.send(2_000)
    rig.drained()
    last = rig.end()
    figures = rig.account()
    assert figures["missing"] == figures["uncommitted"], "lost by a failing disk"
    assert last["spool"]["spool_segments"] == 0
    rig.clean()


def test_a_disk_without_room_is_counted_and_receiving_goes_on_by_itself(rig: Rig) -> None:
    failing = ",".join(f"ENOSPC:fallocate:{n}" for n in range(1, 13))
    rig.start(FLOWPEER_FAULTS=failing)
    while not rig.watermark()["received"]:
        rig.send(200, rate=2_000)
    rig.drained_or_dropped()
    last = rig.end()
    [receiver] = last["receivers"]
    assert receiver["dropped_disk_full"] > 0
    assert last["losses"]["dropped_disk_full"]["total"] == receiver["dropped_disk_full"]
    assert receiver["received"] + receiver["dropped_disk_full"] == rig.sent
    # The template was in the first datagram, so what came after the disk had room waits for it.
    assert len(rig.numbers()) == 0
    assert sum(last["pending"].values()) == receiver["received"]
    rig.clean()
