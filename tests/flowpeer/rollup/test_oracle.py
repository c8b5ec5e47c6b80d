"""The roll-up against plain Python, on random worlds that hold the traps of METHODS."""

from __future__ import annotations

from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path

import oracle
import pyarrow as pa
import pytest
from effort import seeds
from worlds import HOUR, MIDNIGHT, make_world, prepare, table_rows

from flowpeer.configuration import load
from flowpeer.lake.publish import FlowSink
from flowpeer.rollup.planner import RollupPlanner
from flowpeer.rollup.reconcile import conservation
from flowpeer_core.columns import arrow_schema
from flowpeer_ingest.schema import FLOWS


def test_in_most_worlds_something_is_folded() -> None:
    folds = 0
    for seed in range(12):
        traffic, routes, _ = oracle.roll_up(make_world(seed))
        below_bps = (4 if seed % 2 else 900_000) * 10**6
        traffic, _ = oracle.fold(traffic, routes, Fraction(0.4), below_bps)
        folds += any(asn == -6 for *_, asn, _ in traffic)
    assert folds >= 9


@pytest.mark.parametrize("share", [None, 0.02, 0.4])
@pytest.mark.parametrize("seed", seeds(12, 4))
def test_rollup_equals_plain_python(seed: int, share: float | None, tmp_path: Path) -> None:
    world = make_world(seed)
    below = 4 if seed % 2 else 900_000  # Mbit/s
    fold = "" if share is None else f'fold_share = {share}\nfold_below = "{below}M"'
    rollup = prepare(tmp_path, world, lake=fold)
    for hour in rollup.plan():
        rollup.roll_up(hour)
    traffic, routes, totals = oracle.roll_up(world)
    traffic, routes = oracle.fold(
        traffic, routes, Fraction(share or 0), below * 10**6 if share else 0
    )
    entries = [h.rollup for h in rollup.lake.record().headers("traffic").values()]
    folded = sum(row["bytes"] for (*_, asn, _), row in traffic.items() if asn == -6)
    assert sum(e.folded["bytes"] for e in entries if share and e and e.folded) == folded
    for table, expected, first in (("traffic", traffic, "slot"),
                                   ("traffic_routes", routes, "hour_start")):  # fmt: skip
        rows = table_rows(rollup.lake, table)
        sums = ("bytes", "packets", "records", "variance_low", "variance_high")
        got = {tuple(v for k, v in row.items() if k not in sums): row for row in rows}
        assert len(got) == len(rows)
        assert next(iter(rows[0])) == first
        assert set(got) == set(expected)
        for key, row in got.items():
            want = expected[key]
            assert {k: row[k] for k in sums[:3]} == {k: want[k] for k in sums[:3]}, key
            for name in sums[3:]:  # each part of a record is rounded to an integer
                assert row[name] == pytest.approx(float(want[name]), rel=1e-9, abs=200)
    identities = list(conservation(rollup, again=True))
    assert all(identity.holds for identity in identities), identities
    assert identities[0].left == totals["flows"] + totals["through"]
    assert identities[1].left == totals["flows_unscaled"] + totals["through_unscaled"]


def test_files_are_the_same_whatever_the_units_and_their_order(tmp_path: Path) -> None:
    made = []
    for name, units in (("a", 1), ("b", 5)):
        folder = tmp_path / name
        folder.mkdir()
        rollup = prepare(folder, make_world(99), units)
        for hour in reversed(rollup.plan()):
            rollup.roll_up(hour)
        made.append({n: e["sha256"] for n, e in rollup.lake.entries("traffic").items()})
    assert made[0] == made[1]
    assert made[0]


def test_only_hours_that_changed_are_done_again(tmp_path: Path) -> None:
    world = make_world(7)
    rollup = prepare(tmp_path, world)
    hours = rollup.plan()
    assert all(hour.changed == ("new",) for hour in hours)
    for hour in hours:
        rollup.roll_up(hour)
    config = tmp_path / "flowpeer.toml"

    def changed() -> dict[datetime, tuple[str, ...]]:
        again = RollupPlanner(rollup.lake, load(config))
        return {h.start: h.changed for h in again.plan() if h.changed}

    assert changed() == {}
    config.write_text(config.read_text() + '\n[[contracts]]\nid = "x"\nprice_per_mbps = 1.0\n')
    assert changed() == {}
    text = config.read_text()
    config.write_text(text.replace('role = "customer"', 'role = "internal"', 1))
    touched = changed()
    seen = {
        h.start for h in hours for _, reach in h.received if 14 in reach.seen.get("192.0.2.1", ())
    }
    assert set(touched) == seen
    assert all("interfaces" in reasons for reasons in touched.values())
    config.write_text(text)
    late = FlowSink(rollup.lake, "late")
    flow = {c.name: None for c in FLOWS} | {
        "received_at": MIDNIGHT + HOUR + 5, "start_time": MIDNIGHT + HOUR,
        "end_time": MIDNIGHT + HOUR,
        "exporter_ip": "192.0.2.1", "observation_domain": 0, "format": "netflow9",
        "time_corrected": False, "bytes": 100, "packets": 1, "sampling_interval": 1,
    }  # fmt: skip
    late.write(
        datetime(2026, 9, 16, 1, tzinfo=UTC), "flows",
        pa.Table.from_pylist([flow], arrow_schema(FLOWS)),
    )  # fmt: skip
    late.publish()
    touched = changed()
    assert touched[datetime(2026, 9, 16, 1, tzinfo=UTC)] == ("flows",)
    assert all(r == ("flows",) or "metering" in r for r in touched.values())


def test_shards_cover_every_hour_once(tmp_path: Path) -> None:
    rollup = prepare(tmp_path, make_world(3))
    whole = [h.start for h in rollup.plan()]
    parts = [h.start for i in (1, 2, 3) for h in rollup.plan(shard=(i, 3))]
    assert sorted(parts) == whole
