from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from flowpeer.errors import InputError, NoDataError
from flowpeer.lake.store import Lake
from flowpeer.routing.cones import TABLE, load_cones, observe_cones
from flowpeer.routing.relations import load_relations
from flowpeer.routing.rib.snapshot import load, snapshots
from flowpeer_reports.paths import behind
from flowpeer_reports.relations import AsGraph

Write = Callable[..., Path]


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake")


def _pairs(lake: Lake) -> set[tuple[int, int]]:
    return set(pl.read_parquet(lake.path(TABLE), glob=False).iter_rows())


def _plainly(
    paths: list[str], relations: dict[tuple[int, int], int], ours: int, peers: set[int]
) -> set[tuple[int, int]]:
    """Who is downhill behind whom, told to a provider or a peer; one path after the other."""

    def down(a: int, b: int) -> bool:
        return relations.get((a, b)) in (-1, 1) or relations.get((b, a)) == 1

    def told(hops: list[int], i: int) -> bool:
        if i == 0 or hops[i - 1] == ours:
            return hops[i] in peers
        before, here = hops[i - 1], hops[i]
        if relations.get((before, here)) in (-1, 0) or relations.get((here, before)) == 0:
            return True
        sibling = 1 in (relations.get((before, here)), relations.get((here, before)))
        return sibling and told(hops, i - 1)

    found: set[tuple[int, int]] = set()
    for path in paths:
        hops: list[int] = []
        for word in path.split():
            asn = 0 if "{" in word else int(word)
            if not hops or hops[-1] != asn:
                hops.append(asn)
        for i, above in enumerate(hops):
            for j in range(i + 1, len(hops)):
                if {hops[j - 1], hops[j]} & {0, ours} or not down(hops[j - 1], hops[j]):
                    break
                if above != hops[j] and told(hops, i):
                    found.add((above, hops[j]))
    return found


@pytest.mark.parametrize("seed", range(20))
def test_observed_cones_equal_a_plain_walk(seed: int) -> None:
    rng = random.Random(seed)
    asns = range(1, 12)
    relations = {
        (a, b): rng.choice([-1, -1, 0, 1])
        for a in asns
        for b in asns
        if a != b and rng.random() < 0.4
    }
    paths = []
    for _ in range(30):
        words = [str(a) for a in rng.choices(asns, k=rng.randrange(1, 7))]
        if rng.random() < 0.2:
            words.insert(rng.randrange(len(words) + 1), "{3,4}")
        paths.append(" ".join(w for word in words for w in [word] * rng.choice([1, 1, 2])))
    frame = pl.DataFrame(
        [(a, b, r) for (a, b), r in relations.items()],
        schema=["asn", "other_asn", "relationship"],
        orient="row",
    )
    peers = {a for a in asns if rng.random() < 0.3}
    found = behind(pl.Series([*paths, None, ""]), AsGraph(frame), [7], peers)
    assert set(found.iter_rows()) == _plainly(paths, relations, 7, peers)


def test_cones_are_observed_on_the_routes_and_remembered(
    mrt: Any, write: Write, lake: Lake
) -> None:
    with pytest.raises(NoDataError, match="without a RIB"):
        observe_cones(lake, [], 64500)
    octets = mrt.peers([(1, "192.0.2.1")])
    octets += mrt.rib("10.0.0.0/8", [(0, mrt.attributes([1, 2, 3]))])
    octets += mrt.rib("11.0.0.0/8", [(0, mrt.attributes([1, 4, 3]))])
    load(lake, write(octets))
    with pytest.raises(NoDataError, match="without AS relationships"):
        observe_cones(lake, snapshots(lake), 64500)
    load_relations(lake, write(b"1|2|-1\n2|3|-1\n1|4|0\n4|3|-1\n2|9|-1\n", "rel.txt"))
    facts, new = observe_cones(lake, snapshots(lake), 64500)
    assert new
    # 9 is nobody's on any path; what 1 sells us says nothing of what it would tell a peer.
    assert _pairs(lake) == {(2, 3), (4, 3)}
    assert facts["rows"] == 2
    facts, new = observe_cones(lake, snapshots(lake), 64500, [1])
    assert new
    assert _pairs(lake) == {(1, 2), (1, 3), (2, 3), (4, 3)}
    assert observe_cones(lake, snapshots(lake), 64500)[1]
    assert observe_cones(lake, snapshots(lake), 64500)[1] is False
    load_relations(lake, write(b"1|2|-1\n2|3|-1\n4|3|0\n", "rel.txt"))
    assert observe_cones(lake, snapshots(lake), 64500)[1]
    assert _pairs(lake) == {(2, 3)}


def test_a_file_of_cones_is_read(write: Write, lake: Lake) -> None:
    path = write(b"# inferred cones\n1 1 2 3\n2 2\n4 3 3 4\n0 7\nnot a cone\n" * 3, "ppdc.txt.bz2")
    with pytest.raises(InputError, match="line 6: 3 of 15 lines"):
        load_cones(lake, path)
    path = write(b"# inferred cones\n1 1 2 3\n2 2\n4 3 3 4\n0 7\n", "ppdc.txt.bz2")
    facts, new = load_cones(lake, path)
    assert new
    assert _pairs(lake) == {(1, 2), (1, 3), (4, 3)}
    assert "ppdc.txt.bz2" in facts["words"]
    assert load_cones(lake, path)[1] is False


def test_observed_cones_of_a_real_table_lie_inside_the_recursive_ones(
    lake: Lake, shared: Path
) -> None:
    load(lake, shared / "data" / "mrt" / "rib.routeviews.20140523.0600.part1.gz")
    load_relations(lake, shared / "data" / "asrel" / "20160101.as-rel.txt.gz")
    observe_cones(lake, snapshots(lake), 64500)
    observed: dict[int, set[int]] = {}
    for asn, member in _pairs(lake):
        observed.setdefault(asn, set()).add(member)
    assert len(observed) > 300
    graph = AsGraph(pl.read_parquet(lake.path("reference/as_relationships.parquet"), glob=False))
    smaller = 0
    for asn in random.Random(1).sample(sorted(observed), 60):
        recursive = graph.cone([asn])
        assert observed[asn] | {asn} <= recursive
        smaller += len(observed[asn]) + 1 < len(recursive)
    assert smaller > 0


def test_the_list_says_which_cones_it_infers_from(demo_copy: Path, run: Callable[..., Any]) -> None:
    def notes(config: str) -> tuple[str, list[dict[str, Any]]]:
        (demo_copy / "flowpeer.toml").write_text(config)  # and no roll-up before the answer
        words = ("candidates", "--metro", "ams", "--out", "o", "--format", "json")
        done = run(*words, cwd=demo_copy)
        assert done.returncode in (0, 1), done.stderr
        rows = json.loads((demo_copy / "o" / "candidates.json").read_text())
        return (demo_copy / "o" / "candidates.meta.json").read_text(), rows

    config = (demo_copy / "flowpeer.toml").read_text()
    meta, observed = notes(config)
    assert "customer cones observed on the paths of our own routes" in meta
    assert "recursive" not in meta
    meta, recursive = notes(config.replace("[sources]", '[sources]\nas_cones = "recursive"'))
    assert "recursive customer cones" in meta
    meta, again = notes(config.replace("[sources]", '[sources]\nas_cones = "observed"'))
    assert again == observed
    alone = {(r["metro"], r["asn"]): r["cone_bps"] for r in recursive}
    shared_rows = [r for r in observed if (r["metro"], r["asn"]) in alone]
    assert shared_rows
    for row in shared_rows:
        assert row["cone_bps"] <= alone[row["metro"], row["asn"]] * (1 + 1e-9)
