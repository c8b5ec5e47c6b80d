"""Folding the tail: which networks, what stays exact, and when hours are done again.

The sums themselves are held against plain Python in test_oracle.py.
"""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
import worlds
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from warm import begin

from flowpeer.configuration import load
from flowpeer.lake.store import Lake, sha256_of
from flowpeer.rollup import retention
from flowpeer.rollup.folding import ASN_BITS, Tail
from flowpeer.rollup.planner import RollupPlanner
from flowpeer.rollup.reconcile import conservation, hours_conserved

Run = Callable[..., "subprocess.CompletedProcess[str]"]
FOLD = 'fold_share = 0.4\nfold_below = "900G"'


HANG_ON_SLOTS = (
    "p95_bps", "p95_corrected_bps", "p95_quality", "bill_saving_per_month", "saving_per_month",
    "saving_with_inbound_per_month", "saving_upper_per_month", "saving_at_renewal_per_month",
    "billed_bps_avoided", "payback_months", "saving_note",
)  # fmt: skip
"""Columns of candidates that follow from a network's bytes by slot, which are not kept of the tail;
a bill too, where the tail of an ask is part of what its p95 falls by."""


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake of three hours that is to be folded, not rolled up yet."""
    folder = tmp_path_factory.mktemp("fresh")
    world = worlds.make_world(21)
    for seed in range(100, 112):  # many networks on the same interfaces
        world.flows += worlds.make_world(seed).flows
    worlds.prepare(folder, world, 4, FOLD)
    return folder


def copy(folder: Path, to: Path) -> Path:
    return Path(shutil.copytree(folder, to))


def again(folder: Path) -> RollupPlanner:
    network = load(folder / "flowpeer.toml")
    return RollupPlanner(Lake(network.lake_path), network)


def roll_up(folder: Path) -> RollupPlanner:
    rollup = again(folder)
    for hour in rollup.plan():
        if hour.changed:
            rollup.roll_up(hour)
    return rollup


def files(folder: Path) -> dict[str, str]:
    lake = folder / "lake"
    return {
        str(path.relative_to(lake)): sha256_of(path)
        for table in ("traffic", "traffic_routes")
        for path in sorted((lake / table).rglob("*.parquet"))
    }


def set_fold(folder: Path, text: str) -> None:
    config = folder / "flowpeer.toml"
    config.write_text(config.read_text().replace(FOLD, text))


def table(folder: Path, name: str) -> pl.DataFrame:
    return pl.read_parquet(f"{folder}/lake/{name}/**/*.parquet", hive_partitioning=False)


@given(
    st.lists(st.integers(0, 10**6), max_size=40),
    st.sampled_from([0.01, 0.25, 0.5]),
    st.sampled_from([1, 1000, 1 << 50]),
)
def test_the_tail_is_the_smallest_that_carry_no_more_than_the_share(
    sizes: list[int], share: float, below_bps: int
) -> None:
    totals = pl.DataFrame(
        {"network": [(n % 2 << ASN_BITS) + n + 1 for n in range(len(sizes))], "bytes": sizes},
        schema={"network": pl.Int64, "bytes": pl.Int64},
    )
    tail = set(Tail(share, below_bps).smallest(totals).tolist())
    for metro in (0, 1):
        here = {n: b for n, b in totals.iter_rows() if n >> ASN_BITS == metro}
        inside = {n: b for n, b in here.items() if n in tail}
        outside = {n: b for n, b in here.items() if n not in tail}
        whole = sum(here.values())
        assert sum(inside.values()) <= share * whole
        assert all(b * 8 < below_bps * 3600 for b in inside.values())
        if outside:
            smallest = min((b, n) for n, b in outside.items())
            assert all((b, n) < smallest for n, b in inside.items())
            too_much = sum(inside.values()) + smallest[0] > share * whole
            assert too_much or smallest[0] * 8 >= below_bps * 3600


def test_sums_by_slot_and_interface_are_those_without_folding(fresh: Path, tmp_path: Path) -> None:
    folded, plain = copy(fresh, tmp_path / "folded"), copy(fresh, tmp_path / "plain")
    set_fold(plain, "")
    roll_up(folded), roll_up(plain)
    by = ["slot", "metro", "exporter", "interface", "role", "provider_asn", "direction", "family",
          "scaled"]  # fmt: skip
    sums = ["bytes", "packets", "records", "variance_low", "variance_high"]

    def ports(folder: Path) -> pl.DataFrame:
        return table(folder, "traffic").group_by(by).agg(pl.col(sums).sum()).sort(by)

    assert_frame_equal(ports(folded), ports(plain), rel_tol=1e-12)  # integers: exactly
    assert table(folded, "traffic").height < table(plain, "traffic").height
    routes = [table(folder, "traffic_routes") for folder in (folded, plain)]
    assert routes[0].drop("folded").equals(routes[1].drop("folded"))
    assert routes[0]["folded"].any()
    assert not routes[1]["folded"].any()
    # Each network's own sum: its rows of the one table, and its folded rows of the other.
    networks = ["metro", "role", "direction", "remote_asn"]
    kept = table(folded, "traffic").filter(pl.col("remote_asn") != -6)
    moved = routes[0].filter("folded").rename({"origin_asn": "remote_asn"})
    own = pl.concat([f.select(*networks, *sums) for f in (kept, moved)])
    whole = table(plain, "traffic").select(*networks, *sums)
    assert_frame_equal(
        own.group_by(networks).agg(pl.col(sums).sum()).sort(networks),
        whole.group_by(networks).agg(pl.col(sums).sum()).sort(networks),
        rel_tol=1e-12,
    )


def test_the_record_says_what_was_folded_and_everything_adds_up(
    fresh: Path, tmp_path: Path
) -> None:
    folder = copy(fresh, tmp_path / "world")
    rollup = roll_up(folder)
    headers = rollup.lake.record().headers("traffic")
    said = {hour: header.rollup.folded for hour, header in headers.items() if header.rollup}
    rows = table(folder, "traffic").filter(pl.col("remote_asn") == -6)
    assert sum(e["bytes"] for e in said.values()) == rows["bytes"].sum() > 0
    pairs = table(folder, "traffic_routes").filter("folded")
    assert sum(e["networks"] for e in said.values()) == (
        pairs.select("hour_start", "metro", "origin_asn").n_unique()
    )
    assert all(identity.holds for identity in conservation(rollup, again=True))
    hours = again(folder).plan()
    assert all(identity.holds for identity in hours_conserved(again(folder), hours, again=True))


def test_changing_what_is_folded_redoes_every_hour_and_says_why(
    fresh: Path, tmp_path: Path, run: Run
) -> None:
    folder = copy(fresh, tmp_path / "world")
    roll_up(folder)
    made = files(folder)

    def reasons() -> set[str]:
        said = run("rollup", "--explain", "--json", cwd=folder)
        assert said.returncode == 0, said.stderr
        return {row["changed"] for row in json.loads(said.stdout)}

    assert reasons() == {"up to date"}
    set_fold(folder, FOLD.replace("0.4", "0.1"))
    assert reasons() == {"fold"}
    roll_up(folder)
    assert files(folder) != made
    text = (folder / "flowpeer.toml").read_text()
    (folder / "flowpeer.toml").write_text(text.replace("0.1", "0.4"))
    assert reasons() == {"fold"}
    roll_up(folder)
    assert files(folder) == made
    verified = run("verify", cwd=folder)
    assert verified.returncode == 0, verified.stdout + verified.stderr


def test_a_pruned_hour_stays_as_it_was_folded(fresh: Path, tmp_path: Path) -> None:
    folder = copy(fresh, tmp_path / "world")
    rollup = roll_up(folder)
    made = files(folder)
    retention.prune(rollup, retention.prunable(rollup, datetime.now(UTC)))
    set_fold(folder, "")
    assert not [hour for hour in again(folder).plan() if hour.changed]
    assert files(folder) == made
    assert all(identity.holds for identity in conservation(again(folder), again=True))


def test_killed_or_in_shards_it_makes_the_same_files(fresh: Path, tmp_path: Path) -> None:
    whole = copy(fresh, tmp_path / "whole")
    log = tmp_path / "log"
    alone = ("rollup", "--jobs", "1")  # how many of several threads put sums aside is chance
    assert begin(whole, *alone, FLOWPEER_FAULTS_LOG=str(log)).finish().status == 0
    made = files(whole)
    counts = Counter(line.split()[1] for line in log.read_text().splitlines())
    every = [(name, n) for name in sorted(counts) for n in range(1, counts[name] + 1)]
    for name, n in random.Random(4).sample(every, 1):
        folder = copy(fresh, tmp_path / f"{name}{n}")
        killed = begin(folder, *alone, FLOWPEER_FAULTS=f"kill:{name}:{n}")
        assert killed.finish().status == -signal.SIGKILL, (name, n)
        assert begin(folder, "rollup").finish().status == 0, (name, n)
        assert files(folder) == made, (name, n)
    shards = copy(fresh, tmp_path / "shards")
    running = [begin(shards, "rollup", "--shard", f"{n}/2") for n in (1, 2)]
    assert [process.finish().status for process in running] == [0, 0]
    assert files(shards) == made


@pytest.mark.parametrize("metros", [("ams", "iad"), pytest.param((), marks=pytest.mark.soak)])
def test_a_folded_network_gets_the_same_answers(
    demo_copy: Path, run: Run, metros: tuple[str, ...]
) -> None:
    config = demo_copy / "flowpeer.toml"

    def answers(folder: str) -> None:
        for name in ("candidates", "imbalance"):
            only = [word for metro in metros for word in ("--metro", metro)]
            made = run(name, "--out", folder, "--format", "csv", *only, cwd=demo_copy)
            assert made.returncode == 0, made.stderr

    answers("plain")
    text = config.read_text()
    assert "\n[lake]\n" in text
    config.write_text(text.replace("\n[lake]\n", '\n[lake]\nfold_share = 0.2\nfold_below = "1G"\n'))
    assert run("rollup", cwd=demo_copy).returncode == 0
    verified = run("verify", cwd=demo_copy)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    answers("folded")
    plain, folded = (demo_copy / name for name in ("plain", "folded"))
    for name in ("imbalance.csv", "not_listed.csv"):
        assert (folded / name).read_bytes() == (plain / name).read_bytes()
    rows = [
        pl.read_csv(place / "candidates.csv", infer_schema_length=None) for place in (plain, folded)
    ]
    weeks = pl.col("weekly_min_bps", "weekly_max_bps").round(1)  # summed in another order
    exact = [frame.drop(HANG_ON_SLOTS).with_columns(weeks) for frame in rows]
    assert_frame_equal(exact[0], exact[1])
    columns = ["p95_quality", "p95_bps", "p95_corrected_bps"]
    kinds: Counter[str] = Counter()
    for was, (quality, *now) in zip(
        rows[0].select(columns).iter_rows(), rows[1].select(columns).iter_rows(), strict=True
    ):
        kinds[quality] += 1
        assert quality in ("folded", "noisy") or (quality, *now) == was
    assert kinds["folded"]
    assert kinds["exact"]
