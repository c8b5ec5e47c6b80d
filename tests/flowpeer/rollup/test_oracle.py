"""The roll-up against plain Python, on random worlds that hold the traps of METHODS."""

from __future__ import annotations

import ipaddress
import random
from datetime import UTC, datetime
from fractions import Fraction
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from flowpeer.configuration import load
from flowpeer.lake.flows import FlowSink
from flowpeer.lake.store import Lake
from flowpeer.rollup.conserve import conservation
from flowpeer.rollup.hours import Rollup
from flowpeer.routing import snapshot
from flowpeer_ingest.schema import FLOWS, SAMPLING, arrow_schema


def _oracle() -> ModuleType:
    spec = spec_from_file_location("rollup_oracle", Path(__file__).with_name("oracle.py"))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    import sys

    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


oracle = _oracle()
MIDNIGHT = int(datetime(2026, 9, 16, tzinfo=UTC).timestamp()) * 1_000_000
HOUR = 3_600_000_000
EXPORTERS = {
    "192.0.2.1": {"id": "edge1", "metro": "ams", "sampling": 1000, "sampling_override": None,
                  "metering": "auto"},
    "192.0.2.2": {"id": "edge2", "metro": "fra", "sampling": None, "sampling_override": 7,
                  "metering": "egress"},
    "2001:db8:1::3": {"id": "edge3", "metro": "fra", "sampling": None, "sampling_override": None,
                      "metering": "auto"},
}  # fmt: skip
ROLES = [("transit", 1299), ("transit", 3356), ("peer", 15169), ("ix", None), ("customer", 2914),
         ("internal", None)]  # fmt: skip
ROUTES: dict[str, int | None] = {
    "0.0.0.0/0": 3356, "::/0": 3356, "20.0.0.0/8": 8075, "20.1.0.0/16": 2906, "20.1.2.0/24": 64512,
    "20.1.2.3/32": 13335, "31.0.0.0/9": 0, "31.64.0.0/10": 23456, "31.128.0.0/9": 4294967295,
    "45.0.0.0/8": None, "46.0.0.0/8": 64500, "2600::/12": 7922, "2600:10::/32": 20940,
    "2600:10::1/128": 4200000001,
}  # fmt: skip
REMOTES = ["20.0.0.1", "20.1.0.1", "20.1.2.1", "20.1.2.3", "31.1.1.1", "31.65.0.1", "31.200.0.1",
           "45.1.1.1", "46.1.1.1", "99.1.1.1", "2600:1::1", "2600:10::2", "2600:10::1", "2a00::1",
           "198.18.3.4", "2001:db8::77", None]  # fmt: skip
OWN = ["198.18.0.0/15", "198.18.3.0/24", "2001:db8::/32"]


def make_world(seed: int) -> Any:
    dice = random.Random(seed)
    interfaces = {
        (e["id"], 10 + n): {"role": role, "asn": asn}
        for e in EXPORTERS.values()
        for n, (role, asn) in enumerate(ROLES)
    }
    world = oracle.World(64500, OWN, EXPORTERS, interfaces, ROUTES)
    for _ in range(dice.randint(20, 120)):
        received = MIDNIGHT + dice.randrange(3 * HOUR)
        duration = dice.choice([0, 1, 999_999, 60_000_000, 299_999_999, 300_000_000, 900_000_001])
        end = received - dice.randrange(60_000_000)
        if dice.random() < 0.2:
            end -= end % 300_000_000
        rated = dice.random()
        world.flows.append({
            "exporter_ip": dice.choice([*EXPORTERS, "203.0.113.9"]),
            "observation_domain": dice.choice([0, 1]),
            "received": received, "start": end - duration, "end": end,
            "input_if": dice.choice([None, 0, 9, *range(10, 16)]),
            "output_if": dice.choice([None, 0, 9, *range(10, 16)]),
            "direction": dice.choice([None, 0, 1]),
            "src_addr": dice.choice([*REMOTES, "198.18.0.1", "198.18.3.9"]),
            "dst_addr": dice.choice([*REMOTES, "198.18.0.1", "2001:db8::1"]),
            "bytes": dice.choice([None, 0, 1, 1499, 1 << 20, dice.randrange(1 << 25)]),
            "packets": dice.choice([None, 1, 3, 1000]),
            "sampling_interval": None if rated < 0.6 else dice.choice([1, 512, 4096]),
            "sampler_id": dice.choice([None, 1, 2]),
            "min_length": dice.choice([None, 40, 64]), "max_length": dice.choice([None, 1500]),
        })  # fmt: skip
    for _ in range(dice.randint(0, 6)):
        scope = dice.choice([(None, None), (1, None), (2, None), (None, 10), (None, 12)])
        world.sampling.append({
            "exporter_ip": dice.choice(list(EXPORTERS)),
            "observation_domain": dice.choice([0, 1]), "sampler_id": scope[0],
            "interface": scope[1], "interval": dice.choice([10, 100, 2000]),
            "first_seen": MIDNIGHT + dice.randrange(3 * HOUR),
        })  # fmt: skip
    return world


def octets(address: str | None) -> bytes | None:
    if address is None:
        return None
    ip = ipaddress.ip_address(address)
    return ip.packed if ip.version == 6 else b"\0" * 10 + b"\xff\xff" + ip.packed


def toml_of(world: Any, lake: str = "") -> str:
    lines = [
        "[network]", f"asn = {world.asn}", 'name = "Test"', f"prefixes = {world.prefixes}",
        "[lake]", 'path = "lake"', lake,
    ]  # fmt: skip
    for metro in sorted({e["metro"] for e in world.exporters.values()}):
        lines += ["[[metros]]", f'id = "{metro}"', f'name = "{metro}"']
    for address, e in world.exporters.items():
        lines += ["[[exporters]]", f'id = "{e["id"]}"', f'metro = "{e["metro"]}"',
                  f'addresses = ["{address}"]', f'metering = "{e["metering"]}"']  # fmt: skip
        lines += [f"{k} = {e[k]}" for k in ("sampling", "sampling_override") if e[k]]
    for (exporter, index), i in world.interfaces.items():
        lines += ["[[interfaces]]", f'exporter = "{exporter}"', f"index = {index}",
                  f'role = "{i["role"]}"']  # fmt: skip
        lines += [f"asn = {i['asn']}"] if i["asn"] else []
    return "\n".join(lines)


def publish(lake: Lake, world: Any, units: int) -> None:
    """Put the world's records into the lake as `units` units of work."""
    sink = {n: FlowSink(lake, f"unit-{n}") for n in range(units)}

    def hour_of(time: int) -> datetime:
        return datetime.fromtimestamp(time // HOUR * 3600, UTC)

    for n, flow in enumerate(world.flows):
        row = {c.name: None for c in FLOWS} | {k: v for k, v in flow.items() if k != "received"}
        row |= {
            "received_at": flow["received"], "start_time": flow.pop("start"),
            "end_time": flow.pop("end"), "format": "ipfix", "time_corrected": False,
            "src_addr": octets(flow["src_addr"]), "dst_addr": octets(flow["dst_addr"]),
        }  # fmt: skip
        flow["start"], flow["end"] = row["start_time"], row["end_time"]
        row.pop("start", None), row.pop("end", None)
        sink[n % units].write(
            hour_of(flow["received"]), "flows", pa.Table.from_pylist([row], arrow_schema(FLOWS))
        )
    for rate in world.sampling:
        row = {**rate, "last_seen": rate["first_seen"]}
        sink[0].write(
            hour_of(rate["first_seen"]), "sampling",
            pa.Table.from_pylist([row], arrow_schema(SAMPLING)),
        )  # fmt: skip
    for one in sink.values():
        one.publish({})


def prepare(folder: Path, world: Any, units: int = 2, lake: str = "") -> Rollup:
    """A lake with a world's routes and records; `lake` are more lines of its section."""
    (folder / "flowpeer.toml").write_text(toml_of(world, lake))
    for family, mark in (("4", "."), ("6", ":")):  # tables of the two families come apart
        (folder / f"routes{family}-2026-09-15.txt").write_text(
            "".join(
                f"{prefix.replace('/', chr(9))}\t{'{1299,3356}' if origin is None else origin}\n"
                for prefix, origin in world.routes.items()
                if mark in prefix
            )
        )
    network = load(folder / "flowpeer.toml")
    lake = Lake(network.lake_path)
    for table in sorted(folder.glob("routes*.txt")):
        snapshot.load(lake, table, taken_at=datetime(2026, 9, 15, tzinfo=UTC))
    publish(lake, world, units)
    return Rollup(lake, network)


def table_rows(lake: Lake, table: str) -> list[dict[str, Any]]:
    frames = [
        pl.read_parquet(lake.path(name), hive_partitioning=False) for name in lake.entries(table)
    ]
    return pl.concat(frames).to_dicts()


def test_in_most_worlds_something_is_folded() -> None:
    folds = 0
    for seed in range(12):
        traffic, routes, _ = oracle.roll_up(make_world(seed))
        below_bps = (4 if seed % 2 else 900_000) * 10**6
        traffic, _ = oracle.fold(traffic, routes, Fraction(0.4), below_bps)
        folds += any(asn == -6 for *_, asn, _ in traffic)
    assert folds >= 9


@pytest.mark.parametrize("share", [None, 0.02, 0.4])
@pytest.mark.parametrize("seed", range(12))
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
    entries = rollup.lake.entries("traffic").values()
    folded = sum(row["bytes"] for (*_, asn, _), row in traffic.items() if asn == -6)
    assert sum(e["folded"]["bytes"] for e in entries if share) == folded
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
        again = Rollup(rollup.lake, load(config))
        return {h.start: h.changed for h in again.plan() if h.changed}

    assert changed() == {}
    config.write_text(config.read_text() + '\n[[contracts]]\nid = "x"\nprice_per_mbps = 1.0\n')
    assert changed() == {}
    text = config.read_text()
    config.write_text(text.replace('role = "customer"', 'role = "internal"', 1))
    touched = changed()
    seen = {
        h.start
        for h in hours
        for f in h.files
        if "14" in rollup.lake.entries("flows")[f]["seen"].get("192.0.2.1", {})
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
    late.publish({})
    touched = changed()
    assert touched[datetime(2026, 9, 16, 1, tzinfo=UTC)] == ("flows",)
    assert all(r == ("flows",) or "metering" in r for r in touched.values())


def test_shards_cover_every_hour_once(tmp_path: Path) -> None:
    rollup = prepare(tmp_path, make_world(3))
    whole = [h.start for h in rollup.plan()]
    parts = [h.start for i in (1, 2, 3) for h in rollup.plan(shard=(i, 3))]
    assert sorted(parts) == whole
