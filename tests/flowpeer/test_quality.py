"""What `check` finds wrong, planted into a finished demo."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import polars as pl

from flowpeer.checks.rollups import reported
from flowpeer.configuration import load
from flowpeer.lake.store import Lake

Run = Callable[..., CompletedProcess[str]]


def warnings(run: Run, folder: Path) -> list[dict[str, Any]]:
    done = run("check", "--json", cwd=folder)
    found = [f for f in json.loads(done.stdout) if f["level"] == "warning"]
    assert done.returncode == bool(found)
    return found


def test_an_ingest_that_was_cut_off_is_named(
    demo_copy: Path, run: Run, forget_unit: Callable[[Path, str], None]
) -> None:
    record = Lake(demo_copy / "lake").record()
    (path,) = record.stands("flows", record.hours("flows")[-1]).header.pending  # the last one's
    forget_unit(demo_copy / "lake", Path(path).stem)
    (found,) = [f for f in warnings(run, demo_copy) if f["subject"] == "ingest"]
    assert Path(path).stem in found["text"]
    assert run("ingest", "captures", cwd=demo_copy).returncode == 0
    assert not [f for f in warnings(run, demo_copy) if f["subject"] == "ingest"]
    assert json.loads(run("rollup", "--json", cwd=demo_copy).stdout)["rolled_up"] == 0


def test_a_router_that_sends_when_it_is_not_due_is_named_with_its_bytes(
    demo_copy: Path, run: Run
) -> None:
    config = demo_copy / "flowpeer.toml"
    text = config.read_text()
    for name, day in (
        ("ams", "until = 2026-09-16T12:00:00Z"), ("fra", "from = 2026-09-16T06:00:00Z"),
        ("lon", "from = 2026-01-01"),
    ):  # fmt: skip
        text = text.replace(f'id = "edge1.{name}"\n', f'id = "edge1.{name}"\n{day}\n', 1)
    config.write_text(text)
    files = (demo_copy / "lake" / "traffic").rglob("*.parquet")
    traffic = pl.concat([pl.read_parquet(f, hive_partitioning=False) for f in files])
    traffic = traffic.filter(pl.col("role").is_in(["transit", "peer", "ix", "customer"]))
    hour = pl.col("slot").dt.hour()
    late = traffic.filter(pl.col("exporter") == "edge1.ams", hour >= 12)["bytes"].sum()
    early = traffic.filter(pl.col("exporter") == "edge1.fra", hour < 6)["bytes"].sum()
    assert late
    assert early
    words = {
        "exporter edge1.ams": f"{late:,} bytes on external interfaces are from after its `until`, "
        "2026-09-16 12:00, and count all the same",
        "exporter edge1.fra": f"{early:,} bytes on external interfaces are from before its `from`, "
        "2026-09-16 06:00, and count all the same",
    }
    found = [f for f in warnings(run, demo_copy) if "all the same" in f["text"]]
    assert {f["subject"]: f["text"] for f in found} == words
    done = run("candidates", "--metro", "ams", "--metro", "fra", cwd=demo_copy)
    assert done.returncode == 1
    for subject, text in words.items():
        assert f"{subject}: {text}" in done.stdout
    # Outside the period of an answer it is none of its figures.
    done = run("bills", "--period", "2026-09-16/2026-09-16T06:00", cwd=demo_copy)
    assert words["exporter edge1.ams"] not in done.stdout


def test_notes_of_metros_that_are_left_out_are_left_out(demo_folder: Path, run: Run) -> None:
    told = "interfaces that the configuration does not name are in no answer"
    for words in (["candidates", "--asks", "1"], ["imbalance"]):
        for metro, there in ((["lon"], True), (["nyc"], False), (["nyc", "lon"], True), ([], True)):
            where = [word for m in metro for word in ("--metro", m)]
            assert (told in run(*words, *where, cwd=demo_folder).stdout) == there


def test_a_currency_without_a_rate_is_named(demo_copy: Path, run: Run) -> None:
    config = demo_copy / "flowpeer.toml"
    text = config.read_text()
    text = text.replace('id = "umbraline-eu"\n', 'id = "umbraline-eu"\ncurrency = "EUR"\n')
    text = text.replace("exchanges = [{ id = 206,", 'exchanges = [{ id = 206, currency = "CHF",')
    config.write_text(text)
    found = [f for f in warnings(run, demo_copy) if "its prices are in" in f["text"]]
    assert [(f["subject"], f["text"].split(",")[0]) for f in found] == [
        ("contract umbraline-eu", "its prices are in EUR"),
        ("exchange 206 of ams", "its prices are in CHF"),
    ]
    for one, other, rate in (("USD", "EUR", "0.9"), ("CHF", "USD", "1.2")):
        text += f'\n[[fx]]\nfrom = "{one}"\nto = "{other}"\nrate = {rate}\n'
    config.write_text(text)
    assert not [f for f in warnings(run, demo_copy) if "its prices are in" in f["text"]]


def test_two_tables_of_one_moment_are_named(demo_copy: Path, run: Run) -> None:
    (demo_copy / "second-20260915.txt").write_text("26.0.0.0/8\t13335\n2a00::/12\t13335\n")
    done = run(
        "rib", "load", "second-20260915.txt", "--taken-at", "2026-09-15T22:05", cwd=demo_copy
    )
    assert done.returncode == 0, done.stderr
    found = [f for f in warnings(run, demo_copy) if "in force instead of" in f["text"]]
    assert len(found) == 2  # one a family
    assert "second-20260915.txt" in found[0]["text"]


def test_one_stray_egress_record_does_not_take_a_link_away_in_silence(
    demo_copy: Path, run: Run
) -> None:
    """An exporter that meters ingress, and one record that says egress for its transit port."""
    import pyarrow as pa

    from flowpeer.lake.manifest import partition_hour
    from flowpeer.lake.publish import FlowSink
    from flowpeer_core.columns import arrow_schema
    from flowpeer_ingest.schema import FLOWS

    lake = Lake(demo_copy / "lake")
    traffic = pl.read_parquet(f"{lake.root}/traffic/**/*.parquet", hive_partitioning=False)
    aside = set(traffic.filter(pl.col("role") == "set_aside")["exporter"])
    exporter, interface = (
        traffic.filter(
            (pl.col("role") == "transit") & (pl.col("direction") == "out")
            & ~pl.col("exporter").is_in([*aside, "edge1.lon"]) & pl.col("scaled")
        )
        .select("exporter", "interface")
        .row(0)
    )  # fmt: skip
    addresses = run("sql", f"SELECT address FROM exporters WHERE exporter = '{exporter}'",
                    "--format", "csv", cwd=demo_copy).stdout.split()  # fmt: skip

    def counted() -> int:
        rows = pl.read_parquet(f"{lake.root}/traffic/**/*.parquet", hive_partitioning=False)
        mine = (pl.col("exporter") == exporter) & (pl.col("interface") == interface)
        return int(rows.filter(mine, pl.col("direction") == "out")["bytes"].sum())

    hour = partition_hour(next(iter(lake.entries("flows"))))
    sink = FlowSink(lake, "stray")
    at = int(hour.timestamp()) * 1_000_000 + 5
    row = {c.name: None for c in FLOWS} | {
        "received_at": at, "start_time": at, "end_time": at, "exporter_ip": addresses[1],
        "observation_domain": 0, "format": "netflow9", "output_if": interface, "direction": 1,
        "bytes": 40, "packets": 1, "time_corrected": False,
    }  # fmt: skip
    sink.write(hour, "flows", pa.Table.from_pylist([row], arrow_schema(FLOWS)))
    sink.publish()
    before = counted()
    assert run("rollup", cwd=demo_copy).returncode in (0, 1)
    assert counted() == before > 0, "the choice is made by bytes: one record decides nothing"
    document = run("check", "--json", cwd=demo_copy)
    assert not [f for f in json.loads(document.stdout) if f["code"] == "metering"]
    # With a third of the bytes it is no stray any more: the conflict stands on every answer.
    parts = before // 3 // (1 << 39) + 1
    row |= {"bytes": before // 3 // parts, "sampling_interval": 1}
    sink = FlowSink(lake, "more")
    sink.write(hour, "flows", pa.Table.from_pylist([row] * parts, arrow_schema(FLOWS)))
    sink.publish()
    assert run("rollup", cwd=demo_copy).returncode in (0, 1)
    assert counted() == before
    (found,) = [f for f in warnings(run, demo_copy) if f["code"] == "metering"]
    subject = f"interface {interface} of {exporter}"
    assert (found["subject"], "out is metered both ways" in found["text"]) == (subject, True)
    metro = exporter.partition(".")[2]
    done = run("imbalance", "--metro", metro, cwd=demo_copy)
    assert (done.returncode, f"warning: {subject}: " in done.stderr) == (1, True)
    assert f"{subject}: " in done.stdout
    done = run("imbalance", "--metro", "ams" if metro != "ams" else "fra", cwd=demo_copy)
    assert (done.returncode, subject in done.stdout) == (0, False)
    config = demo_copy / "flowpeer.toml"
    text = config.read_text()
    accepted = f'[[accepted]]\ncode = "metering"\nobject = "{subject}"\nreason = "a lab port"\n'
    config.write_text(f"{text}\n{accepted}")
    (found,) = [f for f in json.loads(run("check", "--json", cwd=demo_copy).stdout)
                if f["code"] == "metering"]  # fmt: skip
    assert (found["level"], "(accepted: a lab port)" in found["text"]) == ("note", True)
    done = run("imbalance", "--metro", metro, cwd=demo_copy)
    assert (done.returncode, "(accepted: a lab port)" in done.stdout) == (0, True), done.stderr
    config.write_text(f"{text}\n{accepted}until = 2026-01-01\n")
    (found,) = [f for f in warnings(run, demo_copy) if f["code"] == "metering"]
    assert "was accepted until 2026-01-01" in found["text"]
    done = run("imbalance", "--metro", metro, cwd=demo_copy)
    assert (done.returncode, "was accepted until 2026-01-01" in done.stderr) == (1, True)


def test_a_list_that_lacks_one_byte_of_the_traffic_is_told(demo_copy: Path, run: Run) -> None:
    identities = json.loads(run("verify", "--json", cwd=demo_copy).stdout)["identities"]
    (sound,) = [one for one in identities if "candidates" in one["identity"]]
    assert sound["holds"]
    assert sound["right"] > 1_000_000
    lake = Lake(demo_copy / "lake")
    path = lake.path(next(iter(lake.entries("traffic"))))
    rows = pl.read_parquet(path, hive_partitioning=False)
    mine = (pl.col("role") == "transit") & (pl.col("direction") == "out") & pl.col("scaled")
    number = rows.with_row_index().filter(mine)["index"][0]
    more = pl.int_range(pl.len(), dtype=pl.Int64) == number
    rows.with_columns(pl.col("bytes") + more.cast(pl.Int64)).write_parquet(path)
    found = reported(load(demo_copy / "flowpeer.toml"), lake.record())
    assert found is not None
    assert not found.holds
    assert (found.left, found.right) == (sound["left"], sound["right"] + 1)


def test_a_table_tied_to_a_metro_is_not_loaded_for_all(demo_copy: Path, run: Run) -> None:
    lake = Lake(demo_copy / "lake")
    for name in lake.entries("routes"):
        lake.remove(name)
    assert run("rib", "load", "ribs", "--vantage", "ams", cwd=demo_copy).returncode == 0
    run("rollup", cwd=demo_copy)
    listed = json.loads(run("rib", "list", "--json", cwd=demo_copy).stdout)
    assert [row["vantage"] for row in listed] == ["ams"]
