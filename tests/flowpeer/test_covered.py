"""Which slots count (METHODS M5): Python, SQL and a plain count of cases say the same."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from flowpeer.analysis.coverage import coverage, covered_slots
from flowpeer.configuration import load
from flowpeer.lake.store import Lake
from flowpeer.network import Network
from flowpeer.query import Session
from flowpeer.schema import TABLES
from flowpeer_core.columns import arrow_schema

START = datetime(2026, 9, 16, tzinfo=UTC)
SLOT = timedelta(minutes=5)
SLOTS = 36
CONFIG = """\
[network]
asn = 64500
name = "Test"
prefixes = ["198.18.0.0/15"]
[lake]
path = "lake"
"""
EXPORTERS = {"edge1": ("ams", ["192.0.2.1", "192.0.2.11"]), "edge2": ("ams", ["192.0.2.2"]),
             "edge3": ("fra", ["192.0.2.3"]), "edge4": ("mad", ["192.0.2.4"])}  # fmt: skip


def project(folder: Path, rows: list[dict[str, Any]]) -> tuple[Network, Lake]:
    """A lake with this coverage, and one row of traffic in the first and last slot."""
    text = CONFIG + "".join(
        f'[[metros]]\nid = "{m}"\nname = "{m}"\n' for m in ("ams", "fra", "mad")
    )
    for name, (metro, addresses) in EXPORTERS.items():
        text += f'[[exporters]]\nid = "{name}"\nmetro = "{metro}"\naddresses = {addresses}\n'
    (folder / "flowpeer.toml").write_text(text)
    network = load(folder / "flowpeer.toml")
    lake = Lake(network.lake_path)
    traffic = [
        {"slot": START + n * SLOT, "metro": "ams", "exporter": "edge1", "role": "transit",
         "direction": "in", "remote_asn": 15169, "scaled": True, "bytes": 1, "packets": 1,
         "records": 1, "variance_low": 0.0, "variance_high": 0.0, "folded": False}
        for n in (0, SLOTS - 1)
    ]  # fmt: skip
    for table, all_rows in (("coverage", rows), ("traffic", traffic)):
        hours: dict[datetime, list[dict[str, Any]]] = {}
        for row in all_rows:
            hours.setdefault(row["slot"].replace(minute=0), []).append(row)
        schema = arrow_schema(TABLES[table])
        for hour, some in hours.items():
            cells = [{name: row.get(name) for name in schema.names} for row in some]
            lake.publish(
                f"{table}/date={hour:%Y-%m-%d}/hour={hour.hour:02d}/part.parquet", TABLES[table],
                pa.Table.from_pylist(cells, schema), {},
            )  # fmt: skip
    return network, lake


def heard(n: int, address: str, received: int, lost: int, *, datagrams: int = 3) -> dict[str, Any]:
    return {"slot": START + n * SLOT, "exporter_ip": address, "datagrams": datagrams,
            "received": received, "lost": lost, "seen": True}  # fmt: skip


def plainly(rows: list[dict[str, Any]]) -> set[tuple[str, datetime]]:
    """The slots that do not count, from the words of M5."""
    gone: set[tuple[str, datetime]] = set()
    for metro in ("ams", "fra", "mad"):
        spans, missed = [], set()
        for _, (place, addresses) in EXPORTERS.items():
            mine = [r for r in rows if r["exporter_ip"] in addresses and place == metro]
            if not mine:
                continue
            first, last = min(r["slot"] for r in mine), max(r["slot"] for r in mine)
            spans.append((first, last))
            for n in range(SLOTS):
                slot = START + n * SLOT
                good = False
                for address in addresses:
                    here = [r for r in mine if (r["slot"], r["exporter_ip"]) == (slot, address)]
                    lost, came = sum(r["lost"] for r in here), sum(r["received"] for r in here)
                    good |= bool(here) and lost * 100 <= 5 * (lost + came)
                if first <= slot <= last and not good:
                    missed.add(slot)
        if spans:
            every = {START + n * SLOT for n in range(SLOTS)}
            missed |= {s for s in every if not any(a <= s <= b for a, b in spans)}
        gone |= {(metro, slot) for slot in missed}
    return gone


@pytest.mark.parametrize("seed", range(8))
def test_python_and_sql_agree_on_the_slots_that_count(seed: int, tmp_path: Path) -> None:
    dice = random.Random(seed)
    rows: list[dict[str, Any]] = []
    for _, addresses in list(EXPORTERS.values())[: dice.choice([2, 3, 3, 4])]:
        for address in addresses[: dice.choice([1, 2])]:
            first, last = sorted(dice.sample(range(SLOTS), 2))
            for n in range(first, last + 1):
                for _ in range(dice.choice([0, 1, 1, 1, 2])):
                    came = dice.choice([0, 19, 95, 1900])
                    rows.append(heard(n, address, came, dice.choice([0, 0, 1, 5, 6, 100])))
    network, lake = project(tmp_path, rows)
    end = START + SLOTS * SLOT
    found = covered_slots(network, coverage(lake.record(), START, end), START, end)
    want = plainly(rows)
    assert set(found.uncovered.iter_rows()) == want
    with Session(lake.root, configured=network.tables()) as con:
        for period in ("NULL, NULL", f"'{START:%Y-%m-%d %H:%M}', '{end:%Y-%m-%d %H:%M}'"):
            said = con.query(f"FROM slots_uncovered({period})").to_pylist()
            assert {(r["metro"], r["slot"].replace(tzinfo=UTC)) for r in said} == want
            assert len(said) == len(want)


def test_loss_is_held_against_what_came_in_its_own_unit(tmp_path: Path) -> None:
    # IPFIX counts records: 30 of 2,030 lost are few, though they are more than the datagrams.
    rows = [heard(n, "192.0.2.3", 2_000, 30, datagrams=20) for n in range(SLOTS)]
    rows[7] = heard(7, "192.0.2.3", 500, 30, datagrams=500)
    network, lake = project(tmp_path, rows)
    end = START + SLOTS * SLOT
    found = covered_slots(network, coverage(lake.record(), START, end), START, end)
    assert found.uncovered.rows() == [("fra", START + 7 * SLOT)]
