"""Operations of the disk that fail: nothing is lost, nothing deleted, and the work goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
from collector_rig import Rig
from faulty import Fault, Faults, build, every

pytestmark = pytest.mark.slow


STRIDE = 32
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
    faults.run()  # makes folders, which later runs find
    calls = faults.run()
    assert calls["collector"] > 30
    assert calls["receiver"] > 10
    tried = every(calls, [error])[offset::STRIDE]
    for fault in tried:
        faults.run(fault)
    faults.account()
    assert len(tried) >= 3
    # The last calls of a run may be ones that another does not make.
    assert 2 * len(faults.missed) <= len(tried)


def test_a_lake_that_cannot_be_made_is_one_clear_line(rig: Rig, library: Path) -> None:
    faults = Faults(rig, library)
    faults.run(Fault("collector", 1, "ENOSPC"))
    assert faults.refused == 1
    faults.account()


def test_a_full_disk_is_counted_and_work_goes_on_by_itself(rig: Rig, library: Path) -> None:
    faults = Faults(rig, library)
    full = rig.folder / "full"
    rig.start(**faults.environment(), FAULTY_FULL=str(full))
    rig.send(1_000)
    rig.drained()
    full.touch()
    before = sorted(p for p in (rig.folder / "lake").rglob("*.parquet"))
    while not rig.watermark()["dropped_disk_full"]:
        rig.send(200, rate=2_000)
    rig.drained_or_dropped()
    status = rig.spool / "status.json"
    assert before == sorted(p for p in (rig.folder / "lake").rglob("*.parquet"))
    assert list(rig.spool.glob("*.sealed")), "it waits for room"
    told = status.stat().st_mtime_ns
    full.unlink()
    rig.until(lambda: status.stat().st_mtime_ns > told)
    stored = rig.watermark()["received"]
    while rig.watermark()["received"] == stored:
        rig.send(200, rate=2_000)
    rig.drained_or_dropped()
    rig.until(faults.done, seconds=300)  # at its end it has seconds, and a busy machine takes more
    last = rig.end()
    [receiver] = last["receivers"]
    dropped = receiver["dropped_disk_full"]
    assert last["losses"]["dropped_disk_full"]["total"] == dropped > 0
    assert receiver["received"] + dropped == rig.sent
    assert last["spool"]["spool_segments"] == 0
    assert len(rig.numbers()) == receiver["received"]
    assert rig.lost_by_sequence() == dropped
    rig.clean()
