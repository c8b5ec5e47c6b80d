"""`rib` and `lookup` as a user has them: in a process of their own, over files."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import polars as pl
import pytest
from small_network import EDGE

from flowpeer.lake.store import Lake

Run = Callable[..., "CompletedProcess[str]"]
CONFIG = (
    EDGE
    + """\
[[interfaces]]
exporter = "edge1"
index = 10
name = "et-0/0/1"
role = "transit"
asn = 1299
"""
)


@pytest.fixture
def folder(tmp_path: Path, mrt: Any) -> Path:
    """Two routers' dumps of one moment, and a configuration."""
    (tmp_path / "flowpeer.toml").write_text(CONFIG)

    def both(prefix: str, one: list[int], two: list[int]) -> bytes:
        return bytes(mrt.rib(prefix, [(0, mrt.attributes(one)), (1, mrt.attributes(two))]))

    one = mrt.peers([(1299, "192.0.2.10"), (3356, "192.0.2.20")])
    one += both("20.0.0.0/8", [1299, 64510], [3356, 7, 64510])
    one += both("20.1.0.0/16", [1299, 64510, 64511], [3356, 64511])
    one += mrt.rib("2a00::/12", [(0, mrt.attributes([1299, 64512], next_hop="2001:db8::1"))])
    (tmp_path / "one.mrt").write_bytes(one)
    two = mrt.peers([(6453, "192.0.2.30")])
    two += mrt.rib("20.1.2.0/24", [(0, mrt.attributes([6453, 64513]))])
    (tmp_path / "two.mrt").write_bytes(two)
    return tmp_path


def _json(done: CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_lookup_imports_no_reader_of_sources(folder: Path, run: Run) -> None:
    assert run("rib", "load", "one.mrt", cwd=folder).returncode == 0
    unused = (
        "duckdb", "sqlite3", "urllib3", "flowpeer.registry", "flowpeer.rollup",
        "flowpeer.routing.bmp", "flowpeer.routing.mrt.table_dump", "flowpeer_ingest.wire",
    )  # fmt: skip
    code = (
        "import sys; from flowpeer.cli.app import run; status = run(['lookup', '20.1.2.3'])\n"
        f"print([m for m in {unused!r} if m in sys.modules]); sys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "64511" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def test_rib_list_shows_age_size_and_peers(folder: Path, run: Run) -> None:
    assert run("rib", "load", "one.mrt", cwd=folder).returncode == 0
    (row,) = _json(run("rib", "list", "--json", cwd=folder))
    taken_at = datetime(2026, 1, 1, tzinfo=UTC)
    assert row["taken_at"] == "2026-01-01T00:00:00Z"
    assert abs(row["age_s"] - (datetime.now(UTC) - taken_at).total_seconds()) < 600
    assert row["age"] == f"{row['age_s'] // 86400} d"
    assert row["file_bytes"] == (folder / "lake/routes" / f"{row['name']}.parquet").stat().st_size
    assert (row["peers"], row["prefixes4"], row["prefixes6"], row["routes"]) == (2, 2, 1, 5)
    plain = run("rib", "list", cwd=folder).stdout
    assert row["name"] in plain
    assert row["age"] in plain
    assert "AS3356@192.0.2.20" not in plain
    told = run("rib", "list", "-v", cwd=folder).stdout.splitlines()
    at = told.index(row["name"])
    assert told[at + 1 :] == ["  AS1299@192.0.2.10", "  AS3356@192.0.2.20"]


def test_lookup_tells_all_of_an_address_a_prefix_and_a_network(folder: Path, run: Run) -> None:
    assert run("rib", "load", "one.mrt", cwd=folder).returncode == 0
    (address,) = _json(run("lookup", "20.1.9.9", "--detail", "--json", cwd=folder))
    assert (address["prefix"], address["origin_asn"]) == ("20.1.0.0/16", 64511)
    assert [row["prefix"] for row in address["covering"]] == ["20.1.0.0/16", "20.0.0.0/8"]
    assert [(v["vantage"], v["as_path"], v["interfaces"]) for v in address["views"]] == [
        ("AS1299@192.0.2.10", "1299 64510 64511", ["transit edge1 et-0/0/1"]),
        ("AS3356@192.0.2.20", "3356 64511", []),
    ]
    (prefix,) = _json(run("lookup", "20.0.0.0/8", "--json", cwd=folder))
    assert prefix["exact"] is True
    assert [row["prefix"] for row in prefix["more_specific"]] == ["20.1.0.0/16"]
    (network,) = _json(run("lookup", "as64511", "--json", cwd=folder))
    assert (network["prefixes4"], network["prefixes6"]) == (1, 0)
    assert {row["asn"]: row["routes"] for row in network["neighbours"]} == {64510: 1, 3356: 1}
    text = run("lookup", "20.0.0.0/8", "AS64511", cwd=folder).stdout
    for words in ("20.0.0.0/8: a route", "More specific routes", "originates 1 IPv4 and 0 IPv6"):
        assert words in text


def _in_force_instead(run: Run, folder: Path) -> list[dict[str, Any]]:
    found = json.loads(run("check", "--json", cwd=folder).stdout)
    return [f for f in found if "is in force instead of" in f["text"]]


def test_dumps_of_several_routers_are_one_table_when_loaded_together(
    folder: Path, run: Run
) -> None:
    assert run("rib", "load", "one.mrt", "two.mrt", cwd=folder).returncode == 0
    (finding,) = _in_force_instead(run, folder)
    assert "rib load --together" in finding["next_step"]
    origins = [r["origin_asn"] for r in _json(run("lookup", "20.1.2.3", "20.1.3.3", "--json",
                                                  cwd=folder))]  # fmt: skip
    assert None in origins or 64511 not in origins[:1]  # one of the two tables alone
    (row,) = _json(run("rib", "load", "--together", "one.mrt", "two.mrt", "--json", cwd=folder))
    assert (row["source"], row["peers"], row["routes"]) == ("one.mrt, two.mrt", 3, 6)
    origins = [r["origin_asn"] for r in _json(run("lookup", "20.1.2.3", "20.1.3.3", "--json",
                                                  cwd=folder))]  # fmt: skip
    assert origins == [64513, 64511]
    assert not _in_force_instead(run, folder)
    refused = run("rib", "load", "--together", "--updates", "one.mrt", cwd=folder)
    assert refused.returncode == 2


def test_loaded_together_none_is_loaded_where_one_is_bad(folder: Path, run: Run) -> None:
    (folder / "bad.mrt").write_bytes((folder / "two.mrt").read_bytes()[:-3])
    done = run("rib", "load", "--together", "one.mrt", "bad.mrt", cwd=folder)
    assert done.returncode == 3
    assert "bad.mrt" in done.stderr
    assert _json(run("rib", "list", "--json", cwd=folder)) == []
    done = run("rib", "load", "one.mrt", "bad.mrt", cwd=folder)  # each for itself
    assert done.returncode == 1
    assert len(_json(run("rib", "list", "--json", cwd=folder))) == 1


def test_check_tells_the_age_of_the_routes_and_the_share_with_a_route(
    demo_copy: Path, run: Run
) -> None:
    found = json.loads(run("check", "--json", cwd=demo_copy).stdout)
    traffic = pl.read_parquet(f"{demo_copy}/lake/traffic/**/*.parquet", hive_partitioning=False)
    mine = traffic.filter(
        pl.col("role").is_in(["transit", "peer", "ix", "customer"]) & pl.col("scaled")
    )
    routed = int(mine.filter(pl.col("remote_asn") != -1)["bytes"].sum())
    share = routed / int(mine["bytes"].sum())
    assert f"{share:.2%} of the external bytes have a route" in [f["text"] for f in found]
    assert not [f for f in found if "older than the latest traffic" in f["text"]]
    (name,) = [row["name"] for row in _json(run("rib", "list", "--json", cwd=demo_copy))]
    Lake(demo_copy / "lake").remove(f"routes/{name}.parquet")
    rib = next((demo_copy / "ribs").iterdir())
    done = run("rib", "load", rib, "--taken-at", "2026-07-01", cwd=demo_copy)
    assert done.returncode == 0, done.stderr
    found = json.loads(run("check", "--json", cwd=demo_copy).stdout)
    (finding,) = [f for f in found if "older than the latest traffic" in f["text"]]
    assert finding["text"].startswith("77 days")  # 1 July to 16 September
    assert finding["level"] == "warning"
