"""Operations of the disk that fail: nothing is lost, nothing deleted, and the work goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
from collector_rig import Rig
from faulty import Fault, Faults, build, every

STRIDE = 11
"""Every so many-th fault is tried here, each error beginning at another one; all of them by
`python bench/faults.py`."""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What makes calls fail."""
    found = build(tmp_path_factory.mktemp("faulty"))
    if found is None:
        pytest.skip("no C compiler")
    return found


@pytest.mark.parametrize(("error", "offset"), [("ENOSPC", 0), ("EIO", STRIDE // 2)])
def test_any_call_that_changes_files_may_fail_and_nothing_is_lost(
    rig: Rig, library: Path, error: str, offset: int
) -> None:
    faults = Faults(rig, library)
    calls = faults.run()
    assert calls["collector"] > 100
    assert calls["receiver"] > 10
    tried = every(calls, [error])[offset::STRIDE]
    for fault in tried:
        faults.run(fault)
    faults.account()
    assert len(faults.failed) == len(tried) >= 15


def test_a_lake_that_cannot_be_made_is_one_clear_line(rig: Rig, library: Path) -> None:
    faults = Faults(rig, library)
    faults.run(Fault("collector", 1, "ENOSPC"))
    assert faults.refused == 1
    faults.account()


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
