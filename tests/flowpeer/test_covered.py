"""Which slots count (METHODS M5): Python, SQL and a plain count of cases say the same."""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from flowpeer import catalog
from flowpeer.analysis.coverage import covered_slots, exporter_coverage
from flowpeer.checks.rollups import covered
from flowpeer.configuration import load
from flowpeer.lake.store import Lake
from flowpeer.network import Configuration
from flowpeer.query import QuerySession
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
DUE = {"edge2": (3, 30)}
"""Numbers of the first slot that an exporter is due in, and of the first that it is no longer."""
Row = dict[str, Any]


def project(folder: Path, rows: list[Row], carried: Mapping[tuple[str, int], int]) -> Configuration:
    """A lake with this coverage, and bytes of transit by exporter and slot."""
    text = CONFIG + "".join(
        f'[[metros]]\nid = "{m}"\nname = "{m}"\n' for m in ("ams", "fra", "mad")
    )
    for name, (metro, addresses) in EXPORTERS.items():
        text += f'[[exporters]]\nid = "{name}"\nmetro = "{metro}"\naddresses = {addresses}\n'
        for key, n in zip(("from", "until"), DUE.get(name, ()), strict=False):
            text += f'{key} = "{START + n * SLOT:%Y-%m-%dT%H:%M:%SZ}"\n'
    (folder / "flowpeer.toml").write_text(text)
    network = load(folder / "flowpeer.toml")
    lake = Lake(network.lake_path)
    traffic = [
        {"slot": START + n * SLOT, "metro": EXPORTERS[exporter][0], "exporter": exporter,
         "role": "transit", "direction": "in", "remote_asn": 15169, "scaled": True,
         "bytes": octets, "packets": 1, "records": 1, "variance_low": 0.0, "variance_high": 0.0,
         "folded": False}
        for (exporter, n), octets in carried.items()
    ]  # fmt: skip
    for table, all_rows in (("coverage", rows), ("traffic", traffic)):
        hours: dict[datetime, list[Row]] = {}
        for row in all_rows:
            hours.setdefault(row["slot"].replace(minute=0), []).append(row)
        schema = arrow_schema(TABLES[table])
        for hour, some in hours.items():
            cells = [{name: row.get(name) for name in schema.names} for row in some]
            lake.publish(
                f"{table}/date={hour:%Y-%m-%d}/hour={hour.hour:02d}/part.parquet", TABLES[table],
                pa.Table.from_pylist(cells, schema), {},
            )  # fmt: skip
    return network


def heard(n: int, address: str, received: int, lost: int, *, sequence: int | None = None) -> Row:
    after = None if sequence is None else sequence + received
    return {"slot": START + n * SLOT, "exporter_ip": address, "session": 7, "domain": 0,
            "datagrams": 3, "received": received, "lost": lost, "seen": True,
            "first_sequence": sequence, "last_sequence": after}  # fmt: skip


def told(rows: list[Row], addresses: list[str]) -> list[bool]:
    """In which slots an exporter is covered, from the words of M5."""
    mine = [r for r in rows if r["exporter_ip"] in addresses]
    if not mine:
        return [True] * SLOTS
    here = [[r for r in mine if r["slot"] == START + n * SLOT] for n in range(SLOTS)]
    good = []
    for n in range(SLOTS):
        lost, came = (sum(r[key] for r in here[n]) for key in ("lost", "received"))
        if here[n]:
            good.append(20 * lost < lost + came)
            continue
        before = next((here[k] for k in range(n, -1, -1) if here[k]), None)
        after = next((here[k] for k in range(n, SLOTS) if here[k]), None)
        good.append(
            before is not None
            and after is not None
            and not any(r["lost"] for r in after)
            and None not in [r["first_sequence"] for r in (*before, *after)]
            and min(r["first_sequence"] for r in after) == max(r["last_sequence"] for r in before)
        )
    return good


def plainly(rows: list[Row], carried: Mapping[tuple[str, int], int]) -> set[tuple[str, datetime]]:
    """The slots that do not count, from the words of M5."""
    gone: set[tuple[str, datetime]] = set()
    for metro in ("ams", "fra", "mad"):
        of = [e for e, (place, _) in EXPORTERS.items() if place == metro]
        covered = {e: told(rows, EXPORTERS[e][1]) for e in of}
        due = {e: range(*DUE.get(e, (0, SLOTS))) for e in of}
        mean, kept = {}, []
        for e in of:
            sure = [n for n in due[e] if covered[e][n]]
            mean[e] = Fraction(sum(carried.get((e, n), 0) for n in sure), max(len(sure), 1))
            if 2 * len(sure) >= len(due[e]):
                kept.append(e)
        for n in range(SLOTS):
            wanted = [e for e in of if n in due[e]]
            there = [e for e in wanted if covered[e][n]]
            whole = sum(mean[e] for e in wanted if e in kept)
            part = sum(mean[e] for e in there if e in kept)
            if (wanted and not there) or 100 * part < 99 * whole:
                gone.add((metro, START + n * SLOT))
    return gone


def python_and_sql(network: Configuration) -> tuple[set[Any], list[set[Any]]]:
    """The slots that do not count, by Python and by SQL without and with a period."""
    lake, end = Lake(network.lake_path), START + SLOTS * SLOT
    coverage = exporter_coverage(network, lake.record(), START, end)
    found = covered_slots(network, coverage, catalog.scan(lake.root, "traffic"))
    said = []
    with QuerySession(lake.root, configured=network.tables()) as con:
        for period in ("NULL, NULL", f"'{START:%Y-%m-%d %H:%M}', '{end:%Y-%m-%d %H:%M}'"):
            rows = con.query(f"FROM slots_uncovered({period})").to_pylist()
            said.append({(r["metro"], r["slot"].replace(tzinfo=UTC)) for r in rows})
            assert len(said[-1]) == len(rows)
    return set(found.uncovered.iter_rows()), said


@pytest.mark.parametrize("seed", range(8))
def test_python_and_sql_agree_on_the_slots_that_count(seed: int, tmp_path: Path) -> None:
    dice = random.Random(seed)
    rows: list[Row] = []
    carried = {("edge1", 0): 1, ("edge1", SLOTS - 1): 1}
    for name, (_, addresses) in list(EXPORTERS.items())[: dice.choice([2, 3, 3, 4])]:
        size = dice.choice([1, 10, 2_000])
        numbered, sequence = dice.random() < 0.6, 0
        first, last = sorted(dice.sample(range(SLOTS), 2))
        if dice.random() < 0.5:
            first, last = 0, SLOTS - 1
        for n in range(first, last + 1):
            if dice.random() < 0.9:
                carried[name, n] = carried.get((name, n), 0) + size * dice.randrange(90, 110)
            for _ in range(dice.choice([0, 1, 1, 1, 1, 2])):
                came = dice.choice([0, 19, 95, 1900])
                lost = dice.choice([0, 0, 0, 0, 1, 5, 100])
                rows.append(
                    heard(n, dice.choice(addresses), came, lost,
                          sequence=sequence if numbered else None)
                )  # fmt: skip
                sequence += came
    network = project(tmp_path, rows, carried)
    want = plainly(rows, carried)
    python, sql = python_and_sql(network)
    assert python == want
    assert sql == [want, want]


def test_a_router_that_dies_at_noon_leaves_the_afternoon_missing(tmp_path: Path) -> None:
    rows = [heard(n, "192.0.2.1", 100, 0) for n in range(SLOTS)]
    rows += [heard(n, "192.0.2.2", 100, 0) for n in range(3, 20)]
    carried = {("edge1", n): 1_000 for n in range(SLOTS)}
    carried |= {("edge2", n): 1_000 for n in range(3, 20)}
    network = project(tmp_path, rows, carried)
    want = {("ams", START + n * SLOT) for n in range(20, 30)}  # then it is not due any more
    python, sql = python_and_sql(network)
    assert python == want
    assert sql == [want, want]


def test_loss_is_held_against_what_came_in_its_own_unit(tmp_path: Path) -> None:
    # IPFIX counts records: 30 of 2,030 lost are few, though they are more than the datagrams.
    rows = [heard(n, "192.0.2.3", 2_000, 30) for n in range(SLOTS)]
    rows[7] = heard(7, "192.0.2.3", 500, 30)
    network = project(tmp_path, rows, {("edge3", 0): 1, ("edge3", SLOTS - 1): 1})
    want = {("fra", START + 7 * SLOT)}
    python, sql = python_and_sql(network)
    assert python == want
    assert sql == [want, want]


@pytest.mark.parametrize(("gap", "level"), [(0, "note"), (7, "warning")])
def test_a_first_slot_received_in_part_is_no_gap(gap: int, level: str, tmp_path: Path) -> None:
    rows = [heard(n, "192.0.2.3", 100, 0) for n in range(SLOTS) if n != gap]
    carried = {("edge3", n): 1_000 for n in range(SLOTS)}
    network = project(tmp_path, rows, carried)
    found = [
        f for f in covered(network, Lake(network.lake_path).record(), (START, START + SLOTS * SLOT))
        if f.subject == "metro fra" or "in part" in f.text
    ]  # fmt: skip
    assert [f.level for f in found] == [level]
    assert ("does not count in fra" in found[0].text) == (level == "note")
