"""What is wrong with a collector, by what it said of itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flowpeer_ingest import export_sessions
from flowpeer_ingest.export_sessions import SenderConflict
from flowpeer_ingest.health import CODES, not_ready, troubles
from flowpeer_ingest.segments import SegmentSummary
from flowpeer_ingest.stats import LOSSES, Stats

NOW = 1_789_520_523_000_000
S = 1_000_000


def well(**changes: Any) -> dict[str, Any]:
    """A status without trouble, but for `changes`; `spool_x` and `exporter_x` go inside."""
    said: dict[str, Any] = {
        "phase": "running", "updated_us": NOW - S, "started_us": NOW - 7200 * S,
        "receivers": [{"beat_us": NOW - S}], "seal_after_s": 60, "reserve_octets": 10**6,
        "exporters_not_listed": 0,
        "spool": {"spool_segments": 1, "lag_seconds": 61.0, "failed": 0, "free_octets": 10**9},
        "losses": {name: {"total": 0, "rose_us": None} for name in LOSSES},
        "exporters": {"192.0.2.1": {"last_seen_us": NOW - 61 * S, "usual_gap_us": 60 * S}},
    }  # fmt: skip
    for key, value in changes.items():
        part, _, inner = key.partition("_")
        if part == "spool":
            said["spool"][inner if inner in said["spool"] else key] = value
        elif part == "exporter":
            said["exporters"]["192.0.2.1"][inner] = value
        else:
            said[key] = value
    return said


def codes(said: dict[str, Any], **names: str) -> list[str]:
    return [t.code for t in troubles(said, NOW, names=dict(names) or {"192.0.2.1": "edge1"})]


def test_a_collector_that_is_well_has_no_trouble() -> None:
    assert codes(well()) == []
    assert not_ready(well(), NOW) == ""


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"phase": "stopped"}, "down"),
        ({"updated_us": NOW - 11 * S}, "down"),
        ({"receivers": [{"beat_us": NOW - 11 * S}]}, "receiver"),
        ({"receivers": [{}]}, "receiver"),
        ({"spool_lag_seconds": 361.0}, "stuck"),
        ({"spool_failed": 1}, "set_aside"),
        ({"spool_free_octets": 10**6 - 1}, "disk"),
        ({"exporter_last_seen_us": NOW - 363 * S}, "silent"),
        ({"exporters": {}}, "silent"),
        (
            {
                "exporter_conflict_us": NOW - 3599 * S,
                "exporter_conflicts": 4,
                "exporter_conflict": "template redefined to and fro",
            },
            "two_senders",
        ),
        ({"losses": {"truncated": {"total": 1, "rose_us": NOW - 3599 * S}}}, "loss"),
    ],
)
def test_each_thing_that_is_wrong_is_told(changes: dict[str, Any], code: str) -> None:
    assert codes(well(**changes)) == [code]
    assert code in CODES


@pytest.mark.parametrize(
    "changes",
    [
        {"spool_lag_seconds": 360.0},
        {"spool_spool_segments": 0, "spool_lag_seconds": 900.0},
        # One that says something every ten minutes is not silent after twenty.
        {"exporter_last_seen_us": NOW - 1200 * S, "exporter_usual_gap_us": 600 * S},
        # What waits in the spool may be from it.
        {"exporter_last_seen_us": NOW - 600 * S, "spool_lag_seconds": 359.0},
        {"exporters": {}, "started_us": NOW - 600 * S},
        {"exporter_conflict_us": NOW - 3601 * S, "exporter_conflicts": 4},
        {"losses": {"truncated": {"total": 1, "rose_us": NOW - 3601 * S}}},
    ],
)
def test_what_is_usual_is_no_trouble(changes: dict[str, Any]) -> None:
    assert codes(well(**changes)) == []


def test_forged_templates_are_an_alarm_of_their_exporter(tmp_path: Path) -> None:
    stats = Stats(tmp_path)
    forged = [
        SenderConflict(
            export_sessions.TO_AND_FRO, "192.0.2.1", 4000, 0, NOW - 9 * S, NOW - 2 * S, 4
        ),
        SenderConflict(export_sessions.RATE_JUMPS, "192.0.2.1", 4000, 7, NOW - 9 * S, NOW - 5 * S),
    ]
    stats.segment(SegmentSummary("1", conflicts=forged), {}, NOW)
    said = well(exporters=stats.snapshot()["exporters"])
    (found,) = troubles(said, NOW, names={"192.0.2.1": "edge1"})
    assert (found.code, found.subject) == ("two_senders", "exporter edge1")
    assert found.text.startswith("template redefined to and fro, last at 2026-09-16 ")
    assert "5 signs of two senders" in found.text


def test_a_loss_is_told_of_a_collector_that_is_down_too() -> None:
    loss = {"truncated": {"total": 1, "rose_us": NOW - S}}
    assert codes(well(phase="stopped", losses=loss)) == ["down", "loss"]


def test_readiness_is_about_the_collector_and_not_about_routers() -> None:
    assert not_ready(well(exporters={}), NOW) == ""
    assert "starting" in not_ready(well(phase="starting"), NOW)
    assert "receiver 0" in not_ready(well(receivers=[{}]), NOW)
