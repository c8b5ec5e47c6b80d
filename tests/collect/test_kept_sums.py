"""A collector of a lake with routes keeps sums, and the hour is closed with them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import pytest
from collector_rig import FIRST_BYTES, Rig

from flowpeer.lake.store import sha256_of
from flowpeer_core.native import library

NETWORK = """
[[metros]]
id = "ams"
name = "Amsterdam"
[[exporters]]
id = "edge"
metro = "ams"
addresses = ["127.0.0.1"]
sampling = 1000
[[interfaces]]
exporter = "edge"
index = 2
role = "transit"
asn = 1299
"""


@pytest.mark.skipif(library() is None, reason="built without the compiled core")
def test_an_hour_is_closed_with_the_sums_of_its_collector(
    rig: Rig, run: Callable[..., Any]
) -> None:
    rig.configure(NETWORK)
    (rig.folder / "routes-2026-09-15.txt").write_text("8.8.8.0\t24\t15169\n8.0.0.0\t9\t3356\n")
    loaded = run("rib", "load", "routes-2026-09-15.txt", cwd=rig.folder)
    assert loaded.returncode == 0, loaded.stderr
    rig.start()
    count = 4_000
    for part in range(4):  # several segments: how the exporter meters is known after the first
        rig.send(count // 4, template=part == 0)
        rig.decoded(rig.sent)
    rig.end()
    lake = rig.folder / "lake"
    flows = sorted((lake / "flows").rglob("*.parquet"))
    kept = {path.stem.partition("-")[0] for path in (lake / "cache" / "sums").rglob("*.sums")}
    assert kept == {sha256_of(path)[:32] for path in flows}

    def closed() -> dict[str, str]:
        done = run("rollup", cwd=rig.folder)
        assert done.returncode == 0, done.stderr
        asked = run("sql", "--format", "csv", "SELECT sum(bytes)::BIGINT AS b FROM traffic",
                    cwd=rig.folder)  # fmt: skip
        octets = int(asked.stdout.split()[-1])
        assert octets == 1000 * (FIRST_BYTES * count + count * (count - 1) // 2)
        checked = run("verify", cwd=rig.folder)
        assert checked.returncode == 0, checked.stderr + checked.stdout
        tables = ("traffic", "traffic_routes")
        files = [path for table in tables for path in sorted((lake / table).rglob("*.parquet"))]
        return {path.parent.parent.parent.name: sha256_of(path) for path in files}

    with_sums = closed()
    for folder in ("cache/sums", "traffic", "traffic_routes", "manifests/traffic",
                   "manifests/traffic_routes"):  # fmt: skip
        shutil.rmtree(lake / folder)
    assert closed() == with_sums
