"""Percentiles by one sort against plain Python, DuckDB and the named question."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa
import pytest

from flowpeer import schema
from flowpeer.lake.store import Lake
from flowpeer.rollup import percentiles
from flowpeer_core.columns import arrow_schema

START = datetime(2026, 9, 16, tzinfo=UTC)
SLOT = timedelta(minutes=5)
METROS = ("ams", "fra")
ASNS = (-1, 0, 1, 3356, 65000, 1 << 20, (1 << 32) - 2)


def make(lake: Lake, seed: int, hours: int) -> list[dict[str, object]]:
    dice = random.Random(seed)
    made = []
    for hour in range(hours):
        begin = START + timedelta(hours=hour)
        rows = {}
        for _ in range(dice.randint(60, 250)):
            key = (
                begin + SLOT * dice.randrange(12), dice.choice(METROS), dice.choice([11, 12]),
                dice.choice(["transit", "transit", "peer"]), dice.choice(["in", "out", "out"]),
                dice.choice([4, 6]), dice.choice(ASNS), dice.random() < 0.9,
            )  # fmt: skip
            rows[key] = dice.choice([0, 1, dice.randrange(1 << 44)])
        table = [
            {"slot": k[0], "metro": k[1], "exporter": "e", "interface": k[2], "role": k[3],
             "provider_asn": 1, "direction": k[4], "family": k[5], "remote_asn": k[6],
             "scaled": k[7], "bytes": v, "packets": 1, "records": 1, "variance_low": 0.0,
             "variance_high": 0.0}
            for k, v in sorted(rows.items())
        ]  # fmt: skip
        made += table
        lake.publish(
            f"traffic/date={begin:%Y-%m-%d}/hour={begin.hour:02d}/part.parquet", schema.TRAFFIC,
            pa.Table.from_pylist(table, arrow_schema(schema.TRAFFIC)), {},
        )  # fmt: skip
    return made


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("direction", ["in", "out"])
def test_every_percentile_is_that_of_plain_python(
    tmp_path: Path, seed: int, direction: str
) -> None:
    lake = Lake(tmp_path)
    rows = make(lake, seed, 5)
    start, end = START + timedelta(minutes=25), START + timedelta(hours=4, minutes=40)
    slots = (end - start) // SLOT
    gone = pl.DataFrame({"metro": ["ams"] * 3, "slot": [start + n * 7 * SLOT for n in range(3)]})
    missing = set(gone.iter_rows())
    series: dict[tuple[object, object], dict[object, int]] = defaultdict(lambda: defaultdict(int))
    for r in rows:
        if (
            r["role"] == "transit" and r["direction"] == direction and r["scaled"]
            and start <= r["slot"] < end and (r["metro"], r["slot"]) not in missing  # type: ignore[operator]
        ):  # fmt: skip
            series[r["metro"], r["remote_asn"]][r["slot"]] += r["bytes"]  # type: ignore[operator]
    n = {"ams": slots - 3, "fra": slots}
    got = percentiles.p95_per_asn(
        lake, start, end, n_slots=n, direction=direction, uncovered=gone,  # type: ignore[arg-type]
    )  # fmt: skip
    want = []
    for (metro, asn), by_slot in series.items():
        dense = sorted([0] * (n[str(metro)] - len(by_slot)) + list(by_slot.values()))
        p95 = dense[math.ceil(0.95 * len(dense)) - 1]
        want.append((metro, asn, len(by_slot), sum(by_slot.values()), p95))
    assert got["folded_bytes"].unique().to_list() == [0]
    assert got.drop("folded_bytes").rows() == sorted(want)
    assert any(row[4] for row in want), "the series are too thin"


@pytest.mark.parametrize("seed", range(4))
def test_folded_hours_are_in_the_bytes_and_make_a_lower_bound(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    rows = [
        r for r in make(Lake(tmp_path / "whole"), seed, 6)
        if r["role"] == "transit" and r["direction"] == "out" and r["scaled"]
    ]  # fmt: skip
    places = sorted({(r["slot"].replace(minute=0), r["metro"]) for r in rows})  # type: ignore[attr-defined]
    tail = {place: set(dice.sample([1, 3356, 1 << 20], 2)) for place in dice.sample(places, 3)}
    lake = Lake(tmp_path / "folded")
    known: dict[tuple[str, int], dict[object, int]] = defaultdict(lambda: defaultdict(int))
    by_hour: dict[tuple[str, int], int] = defaultdict(int)
    for n in range(6):
        begin = START + timedelta(hours=n)
        kept, folded = [], []
        for r in (r for r in rows if r["slot"].replace(minute=0) == begin):  # type: ignore[attr-defined]
            key = r["metro"], r["remote_asn"]
            if r["remote_asn"] in tail.get((begin, r["metro"]), ()):
                kept.append({**r, "remote_asn": -6})
                folded.append({**r, "hour_start": begin, "origin_asn": r["remote_asn"],
                               "prefix": "192.0.2.0/24", "folded": True})  # fmt: skip
                by_hour[key] += r["bytes"]  # type: ignore[index, operator]
            else:
                kept.append(r)
                known[key][r["slot"]] += r["bytes"]  # type: ignore[index, operator]
        facts = {"folded": {"networks": len(folded), "bytes": sum(r["bytes"] for r in folded)}}
        for table, made in (("traffic", kept), ("traffic_routes", folded)):
            arrow = arrow_schema(schema.TABLES[table])
            cells = [{name: row.get(name) for name in arrow.names} for row in made]
            lake.publish(
                f"{table}/date={begin:%Y-%m-%d}/hour={begin.hour:02d}/part.parquet",
                schema.TABLES[table], pa.Table.from_pylist(cells, arrow), facts,
            )  # fmt: skip
    want = []
    for key in sorted(known.keys() | by_hour.keys()):
        slots, hours = known[key], by_hour[key]
        dense = sorted([0] * (72 - len(slots)) + list(slots.values()))
        total = sum(slots.values()) + hours
        p95 = None if 20 * hours > total else dense[math.ceil(0.95 * 72) - 1]
        want.append((*key, len(slots), total, hours, p95))
    n_slots = {"ams": 72, "fra": 72}
    got = percentiles.p95_per_asn(lake, START, START + timedelta(hours=6), n_slots=n_slots)
    assert got.rows() == want
    assert any(row[-1] is None for row in want)
    whole = percentiles.p95_per_asn(
        Lake(tmp_path / "whole"), START, START + timedelta(hours=6), n_slots=n_slots
    )
    assert got.drop("slots", "folded_bytes", "p95_bytes").equals(
        whole.drop("slots", "folded_bytes", "p95_bytes")
    )


def test_duckdb_agrees_on_dense_series(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    dice = random.Random(1)
    rows = [
        {"slot": START + n * SLOT, "metro": "ams", "exporter": "e", "interface": 1,
         "role": "transit", "provider_asn": 1, "direction": "out", "family": 4, "remote_asn": asn,
         "scaled": True, "bytes": dice.randrange(1 << 30), "packets": 1, "records": 1,
         "variance_low": 0.0, "variance_high": 0.0}
        for n in range(12) for asn in (10, 20)
    ]  # fmt: skip
    lake.publish("traffic/date=2026-09-16/hour=00/part.parquet", schema.TRAFFIC,
                 pa.Table.from_pylist(rows, arrow_schema(schema.TRAFFIC)), {})  # fmt: skip
    got = percentiles.p95_per_asn(lake, START, START + timedelta(hours=1), n_slots={"ams": 12})
    with duckdb.connect() as con:
        want = con.execute(
            "SELECT remote_asn, quantile_disc(bytes, 0.95) FROM read_parquet($f) GROUP BY ALL "
            "ORDER BY ALL", {"f": f"{tmp_path}/traffic/**/*.parquet"},
        ).fetchall()  # fmt: skip
    assert got.select("remote_asn", "p95_bytes").rows() == want


def test_nothing_rolled_up_gives_no_rows(tmp_path: Path) -> None:
    got = percentiles.p95_per_asn(Lake(tmp_path), START, START + SLOT, n_slots={"ams": 1})
    assert got.is_empty()
    assert got.columns == ["metro", "remote_asn", "slots", "bytes", "folded_bytes", "p95_bytes"]
