"""From export packets to the answers: the program against the sample network's own ground truth.

The sample's generator encodes packets by the RFCs and computes the right answers from what it
planted; nothing here was taken from the program's output.
"""

from __future__ import annotations

import json
import re
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import polars as pl
import pytest

from flowpeer_sample import answers, facts, world
from flowpeer_sample.balance import balance

pytestmark = pytest.mark.slow


Run = Callable[..., CompletedProcess[str]]
EXTERNAL = ["transit", "peer", "ix", "customer"]


@pytest.fixture(scope="module")
def traffic(demo_folder: Path) -> pl.DataFrame:
    return pl.read_parquet(f"{demo_folder}/lake/traffic/**/*.parquet", hive_partitioning=False)


@pytest.fixture(scope="module")
def routes(demo_folder: Path) -> pl.DataFrame:
    return pl.read_parquet(
        f"{demo_folder}/lake/traffic_routes/**/*.parquet", hive_partitioning=False
    )


@pytest.fixture(scope="module")
def candidates(demo_folder: Path, run: Run) -> list[dict[str, Any]]:
    done = run("candidates", "--json", cwd=demo_folder)
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout))


@pytest.fixture(scope="module")
def imbalance(demo_folder: Path, run: Run) -> list[dict[str, Any]]:
    done = run("imbalance", "--json", cwd=demo_folder)
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout))


def fact(key: str) -> facts.Fact:
    return next(f for f in facts.facts() if f.key == key)


def row(rows: list[dict[str, Any]], **wanted: Any) -> dict[str, Any]:
    found = [r for r in rows if all(r[k] == v for k, v in wanted.items())]
    assert len(found) == 1, wanted
    return found[0]


def test_every_exported_record_and_byte_is_in_the_flows(demo_folder: Path) -> None:
    flows = pl.read_parquet(f"{demo_folder}/lake/flows/**/*.parquet", hive_partitioning=False)
    got = {
        address: (records, octets, packets)
        for address, records, octets, packets in flows.group_by("exporter_ip")
        .agg(pl.len(), pl.col("bytes").sum(), pl.col("packets").sum())
        .iter_rows()
    }
    want = {
        world.EXPORTER[e.exporter.removeprefix("edge1.")].address: (e.records, e.bytes, e.packets)
        for e in answers.exported()
    }
    assert got == want
    assert not flows["time_corrected"].any()


def test_bytes_by_role_provider_and_direction_are_the_answers(traffic: pl.DataFrame) -> None:
    for scaled in (True, False):
        want = answers.role_bytes(scaled=scaled)
        got: dict[tuple[Any, ...], int] = defaultdict(int)
        for metro, role, provider, direction, octets in (
            traffic.filter(pl.col("scaled") == scaled)
            .group_by("metro", "role", "provider_asn", "direction")
            .agg(pl.col("bytes").sum())
            .iter_rows()
        ):
            got[metro, role, provider if role == "transit" else None, direction] += octets
        assert dict(got) == want


def test_bytes_by_origin_are_the_answers(traffic: pl.DataFrame, routes: pl.DataFrame) -> None:
    by_traffic: dict[tuple[Any, ...], dict[int, int]] = defaultdict(dict)
    transit = (pl.col("role") == "transit") & pl.col("scaled")
    for metro, provider, direction, asn, octets in (
        traffic.filter(transit)
        .group_by("metro", "provider_asn", "direction", "remote_asn")
        .agg(pl.col("bytes").sum())
        .iter_rows()
    ):
        by_traffic[metro, provider, direction][asn] = octets
    assert dict(by_traffic) == answers.origin_bytes()
    private = pl.when(pl.col("origin_asn") == world.PRIVATE_ORIGIN).then(-2)
    by_route = (
        routes.filter(transit)
        .group_by(private.otherwise(pl.col("origin_asn")).alias("origin"))
        .agg(pl.col("bytes").sum())
    )
    whole: dict[int, int] = defaultdict(int)
    for sums in answers.origin_bytes().values():
        for asn, octets in sums.items():
            whole[asn] += octets
    assert dict(by_route.iter_rows()) == dict(whole)


def test_every_slot_of_every_transit_port_is_the_answer(traffic: pl.DataFrame) -> None:
    ports = traffic.filter((pl.col("role") == "transit") & pl.col("scaled"))
    (first,) = traffic.select(pl.col("slot").min()).row(0)
    compared = 0
    for (metro, interface, direction), rows in ports.group_by("metro", "interface", "direction"):
        want = answers.slot_bytes(str(metro), int(str(interface)), str(direction))
        got = dict(rows.group_by("slot").agg(pl.col("bytes").sum()).iter_rows())
        start = first.replace(hour=0, minute=0)
        slots = {
            round((time - start).total_seconds() / 300): octets for time, octets in got.items()
        }
        assert slots == {n: int(octets) for n, octets in enumerate(want) if octets}
        compared += 1
    assert compared > 30


def test_sums_hold_through_every_stage_to_the_byte(
    demo_folder: Path, run: Run, traffic: pl.DataFrame, candidates: list[dict[str, Any]]
) -> None:
    exported = sum(e.scaled_bytes or 0 for e in answers.exported())
    through = sum(answers.through_bytes().values())
    assert traffic.filter("scaled")["bytes"].sum() == exported + through
    assert traffic.filter(~pl.col("scaled"))["bytes"].sum() == answers.unscaled_bytes()
    verify = run("verify", "--json", cwd=demo_folder)
    account = {i["identity"]: i for i in json.loads(verify.stdout)["identities"]}
    assert account["scaled bytes: flows + through = traffic"]["left"] == exported + through
    assert all(i["holds"] for i in account.values())
    for direction in ("out", "in"):
        transit = sum(
            octets for (_, _, way), octets in answers.transit_bytes().items() if way == direction
        )
        folder = demo_folder.parent / f"sums-{direction}"
        done = run("candidates", "--direction", direction, "--asks", 5, "--out", folder,
                   "--format", "parquet,csv,json", cwd=demo_folder)  # fmt: skip
        assert done.returncode == 0, done.stderr
        column = f"{direction}_bytes"
        listed = pl.read_parquet(folder / "candidates.parquet")[column].sum()
        rest = pl.read_parquet(folder / "not_listed.parquet")[column].sum()
        assert listed + rest == transit
        meta = json.loads((folder / "candidates.meta.json").read_text())
        assert meta["totals"]["all"][column] == transit
        text = pl.read_csv(folder / "candidates.csv", infer_schema_length=None)
        assert text[column].sum() == listed


def test_flows_say_where_their_rate_came_from(demo_folder: Path) -> None:
    flows = pl.read_parquet(f"{demo_folder}/lake/flows/**/*.parquet", hive_partitioning=False)
    said = dict(
        flows.group_by("exporter_ip").agg(pl.col("sampling_interval").unique().sort()).iter_rows()
    )
    for exporter in world.EXPORTERS:
        values = set(said[exporter.address])
        if exporter.rate in ("nowhere", "config"):
            assert values == {None}, exporter.id
        else:
            assert values in ({1000}, {None, 1000}), exporter.id
    late = [e for e in world.EXPORTERS if set(said[e.address]) == {None, 1000}]
    assert late, "one exporter announces its rate after its first flows"


def test_the_network_worth_most_through_its_cone_is_first(
    candidates: list[dict[str, Any]],
) -> None:
    want = fact("cone")
    got = row(candidates, metro="fra", asn=want.asn)
    assert got["rank"] == 1
    assert got["out_bytes"] == want.figures["marginal_bytes"]
    assert got["own_bps"] == pytest.approx(want.figures["own_bytes"] * 8 / 86_400)
    assert got["cone_bps"] == pytest.approx(want.figures["cone_bytes"] * 8 / 86_400)
    assert got["marginal_bps"] == pytest.approx(want.figures["marginal_bytes"] * 8 / 86_400)
    assert got["own_bps"] < got["cone_bps"] / 100


def test_overlapping_cones_count_once(candidates: list[dict[str, Any]]) -> None:
    first, second = fact("overlap-first"), fact("overlap-second")
    one = row(candidates, metro="ams", asn=first.asn)
    two = row(candidates, metro="ams", asn=second.asn)
    assert one["rank"] == 1
    assert one["out_bytes"] == first.figures["marginal_bytes"]
    assert two["rank"] > one["rank"]
    assert two["cone_bps"] == pytest.approx(second.figures["cone_bytes"] * 8 / 86_400)
    assert two["marginal_bps"] < two["cone_bps"] / 10


def test_the_night_network_has_its_own_p95(candidates: list[dict[str, Any]]) -> None:
    want = fact("night")
    got = row(candidates, metro="nyc", asn=want.asn)
    assert got["out_bytes"] == want.figures["out_bytes"]
    assert got["p95_bps"] == pytest.approx(want.figures["p95_bps"])


def test_a_peer_that_rides_transit_is_row_nought(candidates: list[dict[str, Any]]) -> None:
    want = fact("leak")
    got = row(candidates, metro="lon", asn=want.asn)
    assert got["rank"] == 0
    assert got["out_bytes"] == want.figures["transit_out_bytes"]
    assert [r["asn"] for r in candidates if r["rank"] == 0] == [want.asn]


def test_the_overloaded_provider_is_named(imbalance: list[dict[str, Any]]) -> None:
    want = fact("overload")
    got = row(imbalance, metro=want.metro, provider_asn=want.asn, direction="out")
    assert got["p95_bps"] == pytest.approx(want.figures["p95_bps"])
    assert got["utilisation_p95"] == pytest.approx(want.figures["utilisation_p95"])
    assert got["slots_over_80"] == want.figures["slots_over_80"]
    assert got["capacity_bps"] == want.figures["capacity_bps"]
    over = [(r["metro"], r["provider_asn"]) for r in imbalance if (r["utilisation_p95"] or 0) > 0.8]
    assert over == [(want.metro, want.asn)]


def test_a_more_specific_route_moves_the_traffic(traffic: pl.DataFrame) -> None:
    want = fact("more-specific")
    out = traffic.filter((pl.col("metro") == want.metro) & (pl.col("direction") == "out"))
    for key, asn in (("specific", world.SPECIFIC), ("covering", world.COVERING)):
        got = out.filter(pl.col("remote_asn") == asn)["bytes"].sum()
        assert got == want.figures[f"{key}_out_bytes"]


def test_the_forgotten_interface_is_reported(demo_folder: Path, run: Run) -> None:
    done = run("check", "--json", cwd=demo_folder)
    assert done.returncode == 0, "both are accepted"
    found = json.loads(done.stdout)
    warned = [f for f in found if "(accepted: " in f["text"]]
    assert not [f for f in found if f["level"] == "warning"]
    exporter, interface = answers.UNCONFIGURED
    mine = [f for f in warned if f["subject"] == f"interface {interface} of {exporter}"]
    assert len(mine) == 1
    came, went = re.findall(r"([\d,]+) bytes (?:in|out)", mine[0]["text"])
    octets = int(came.replace(",", "")) + int(went.replace(",", ""))
    assert octets == answers.unconfigured_bytes()
    unscaled = [f for f in warned if "no sampling rate" in f["text"]]
    assert [f["subject"] for f in unscaled] == ["exporter edge1.par"]
    assert len(warned) == len(mine) + 1, warned


def test_shares_and_excess_add_up(imbalance: list[dict[str, Any]]) -> None:
    groups: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for r in imbalance:
        groups[r["metro"], r["direction"]].append(r)
    transit = answers.transit_bytes()
    for (metro, direction), rows in groups.items():
        total = sum(transit.get((metro, r["provider_asn"], direction), 0) for r in rows)
        if not total:
            continue
        told = balance(metro, direction)
        target = {link.provider_asn: link.target_share for link in told.links}
        for r in rows:
            assert r["d"] == pytest.approx(told.d)
            assert r["target_share"] == pytest.approx(target[r["provider_asn"]])
            octets = transit.get((metro, r["provider_asn"], direction), 0)
            assert r["share"] == pytest.approx(octets / total)
            assert r["excess_share"] == pytest.approx(r["share"] - r["target_share"])
        assert sum(r["share"] for r in rows) == pytest.approx(1)


def changes(folder: Path) -> Iterator[tuple[str, int]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not {"locks", "cache"} & set(path.parts):
            yield str(path.relative_to(folder)), path.stat().st_mtime_ns


def test_a_second_demo_changes_nothing(demo_copy: Path, run: Run) -> None:
    before = dict(changes(demo_copy))
    done = run("demo", demo_copy)
    assert done.returncode == 0, done.stderr
    assert dict(changes(demo_copy)) == before


def test_ingesting_the_same_file_twice_adds_nothing(demo_copy: Path, run: Run) -> None:
    before = dict(changes(demo_copy))
    done = run("ingest", "captures", "--json", cwd=demo_copy)
    assert done.returncode == 0, done.stderr
    assert [r["added"] for r in json.loads(done.stdout)] == [False] * 9
    done = run("rollup", "--json", cwd=demo_copy)
    assert json.loads(done.stdout)["rolled_up"] == 0
    assert dict(changes(demo_copy)) == before


def test_a_changed_role_redoes_only_the_hours_it_touches(demo_copy: Path, run: Run) -> None:
    config = demo_copy / "flowpeer.toml"
    lines = config.read_text().splitlines()
    at = next(n for n, line in enumerate(lines) if line.strip().startswith('role = "customer"'))
    lines[at] = lines[at].replace("customer", "internal")
    config.write_text("\n".join(lines) + "\n")
    explained = json.loads(run("rollup", "--explain", "--json", cwd=demo_copy).stdout)
    stale = {e["hour"] for e in explained if e["changed"] != "up to date"}
    assert all(e["changed"] in ("up to date", "interfaces;metering", "interfaces")
               for e in explained)  # fmt: skip
    done = json.loads(run("rollup", "--json", cwd=demo_copy).stdout)
    assert done["rolled_up"] == len(stale) > 0
    assert json.loads(run("rollup", "--json", cwd=demo_copy).stdout)["rolled_up"] == 0


def test_a_foreign_folder_is_left_alone(tmp_path: Path, run: Run) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    done = run("demo", tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_period_without_data_says_what_there_is(demo_folder: Path, run: Run) -> None:
    done = run("candidates", "--period", "2025Q1", cwd=demo_folder)
    assert done.returncode == 3
    assert "2026-09-16 00:00" in done.stderr
    assert done.stdout == ""


def test_a_flipped_bit_is_found(demo_copy: Path, run: Run) -> None:
    victim = next((demo_copy / "lake" / "flows").rglob("*.parquet"))
    octets = bytearray(victim.read_bytes())
    octets[len(octets) // 3] ^= 4
    victim.write_bytes(octets)
    done = run("verify", cwd=demo_copy)
    assert done.returncode == 1
    assert victim.name in done.stderr
    assert "not what was published" in done.stderr


def test_only_what_is_wrong_is_said_with_q_and_what_is_loaded_is_moved(
    demo_folder: Path, tmp_path: Path, run: Run
) -> None:
    folder = tmp_path / "site"
    folder.mkdir()
    for name in ("flowpeer.toml", "ribs", "peeringdb.json", "as-rel2.txt.bz2", "asns.csv"):
        copy = shutil.copytree if (demo_folder / name).is_dir() else shutil.copy
        copy(demo_folder / name, folder / name)
    ready = folder / "ready"
    ready.mkdir()
    source = next((demo_folder / "captures").glob("*dfw*"))
    shutil.copy(source, ready)
    first = run("-q", "run", "ready", "--done", "done", "--out", "report", cwd=folder)
    assert {line.split()[0] for line in first.stdout.splitlines()} <= {"warning"}
    for words in (["rollup"], ["compact"], ["prune", "--keep", "1h"], ["verify"]):
        quiet = run("-q", *words, cwd=folder)
        assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", ""), words
    assert [p.name for p in (folder / "done").iterdir()] == [source.name]
    # Known already, unreadable, and nothing to read at all.
    shutil.copy(source, ready)
    (ready / "cut.pcap").write_bytes(source.read_bytes()[:20])
    second = run("-q", "run", "ready", "--done", "done", cwd=folder)
    assert second.returncode == 1
    assert "cut.pcap" in second.stderr
    assert [p.name for p in ready.iterdir()] == ["cut.pcap"]
    assert len(list((folder / "done").iterdir())) == 2
    third = run("run", "ready", "--done", "done", "--json", cwd=folder)
    assert third.returncode == 1
    assert json.loads(third.stdout)["rollup"]["rolled_up"] == 0  # all the same, the rest is done
    (ready / "cut.pcap").unlink()
    assert "cut.pcap" not in run("-q", "run", "ready", "--done", "done", cwd=folder).stderr
