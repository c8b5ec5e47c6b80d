"""What exchanges would take, against sums over single routes (METHODS M18)."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import polars as pl
import pytest
from reports_world import Flow, World

from flowpeer_reports.candidates import candidates
from flowpeer_reports.errors import ReportError
from flowpeer_reports.exchanges import as_if_joined, exchanges, joined_in_vain

ASNS = tuple(range(2001, 2013))
POLICIES = ("Open", "Selective", "Restrictive", "No", "")
IXES = (26, 27, 28)


def world(seed: int) -> tuple[World, dict[int, str], dict[int, dict[int, bool]]]:
    """A world, the policies in it, and exchange → member → on the route servers."""
    dice = random.Random(seed)
    policies = {a: dice.choice(POLICIES) for a in ASNS}
    members = {ix: {a: dice.random() < 0.4 for a in ASNS if dice.random() < 0.5} for ix in IXES}
    ports = [
        {"asn": a, "net_id": a, "ix_id": ix, "speed": 10_000, "is_rs_peer": servers,
         "operational": True}
        for ix, of in members.items() for a, servers in of.items()
    ]  # fmt: skip
    # Ports that are down, and a member of everything that is never asked.
    down = [(a, ix) for a in ASNS for ix in IXES if a not in members[ix]]
    ports += [{"asn": a, "net_id": a, "ix_id": ix, "speed": 10, "is_rs_peer": True,
               "operational": False} for a, ix in down]  # fmt: skip
    ports += [{"asn": 174, "net_id": 174, "ix_id": ix, "speed": 10_000, "is_rs_peer": True,
               "operational": True} for ix in IXES]  # fmt: skip
    tables = {
        "net": pl.DataFrame({"id": [*ASNS, 174], "asn": [*ASNS, 174],
                             "policy_general": [*policies.values(), "Open"]}),
        "fac": pl.DataFrame({"id": [18], "name": ["Harbour"], "latitude": [52.3],
                             "longitude": [4.9]}),
        "ix": pl.DataFrame({"id": list(IXES), "name": ["One", "Two", "Three"]}),
        "ixfac": pl.DataFrame({"ix_id": list(IXES), "fac_id": [18] * 3}),
        "netixlan": pl.DataFrame(ports),
    }  # fmt: skip
    paths = [(f"10.{a % 251}.0.0/16", f"1299 {dice.choice(ASNS[:4])} {a}") for a in ASNS[4:]]
    links = [(int(p.split()[1]), int(p.split()[2]), -1) for _, p in paths]
    links += [(2001, a, -1) for a in ASNS if dice.random() < 0.2 and a != 2001]
    made = World(
        [Flow(dice.randrange(12), a, dice.randrange(1, 10**6)) for a in (*ASNS, 174)],
        paths,
        links,
        peeringdb=tables,
        places={"ams": {"facilities": [18], "latitude": 52.3, "longitude": 4.9}},
        ports=[("ams", 26, True, 10**10)],
        sessions=[(2002, "ams", "pni")],
    )
    return made, policies, members


@pytest.mark.parametrize("seed", range(12))
def test_tiers_and_marginals_are_unions_of_what_members_take(seed: int) -> None:
    made, policies, members = world(seed)
    inputs = made.inputs()
    found = candidates(inputs)
    rows = exchanges(inputs, found).rows.to_dicts()
    octets = {f.origin: f.bytes for f in made.flows}
    down: dict[int, set[int]] = {}
    for above, below, _ in made.links:
        down.setdefault(above, set()).add(below)

    def cone(asn: int) -> set[int]:
        seen, todo = {asn}, [asn]
        while todo:
            more = down.get(todo.pop(), set()) - seen
            seen |= more
            todo += more
        return seen

    at = {f"10.{a % 251}.0.0/16": a for a in ASNS}
    on_path = {at[prefix]: int(path.split()[1]) for prefix, path in made.paths}
    seen = {a: {a} | {o for o, above in on_path.items() if above == a} for a in ASNS}
    peered = seen[2002]  # carried by the session there is

    def union(asns: list[int], of: Any) -> float:
        routes = set().union(*(of(a) for a in asns)) - peered if asns else set()
        return sum(octets[o] for o in routes if o in octets) * 8 / 3600

    tiers: dict[int, list[list[int]]] = {}
    for ix, of in members.items():
        rank = {"Open": 1, "Selective": 2, "Restrictive": 3, "": 3}
        can = {
            a: 0 if servers else rank[policies[a]]
            for a, servers in of.items()
            if policies[a] != "No" and a != 2002 and cone(a) - peered
        }
        tiers[ix] = [[a for a, t in can.items() if t <= tier] for tier in range(4)]
    assert {r["ix_id"] for r in rows} == set(IXES)
    taken: dict[str, set[int]] = {"open": set(), "all": set()}
    for row in rows:
        of = tiers[row["ix_id"]]
        for tier, name in enumerate(("rs", "open", "selective", "all")):
            assert row[f"{name}_bps"] == pytest.approx(union(of[tier], cone), abs=0.01)
        assert row["observed_bps"] == pytest.approx(union(of[3], lambda a: seen[a]), abs=0.01)
        assert row["joined"] == (row["ix_id"] == 26)
        for name, tier, column in (("open", 1, "marginal_bps"), ("all", 3, "marginal_all_bps")):
            mine = set().union(*map(cone, of[tier])) - peered if of[tier] else set()
            left = sum(octets.get(o, 0) for o in mine - taken[name]) * 8 / 3600
            assert row[column] == pytest.approx(left, abs=0.01)
            taken[name] |= mine
    assert [r["rank"] for r in rows] == [1, 2, 3]


def test_what_was_agreed_is_nobodys_any_more() -> None:
    made, policies, members = world(1)
    inputs = made.inputs()
    agreed = next(a for a in members[27] if policies[a] == "Open" or members[27][a])
    before = exchanges(inputs, candidates(inputs)).rows["marginal_all_bps"].sum()
    inputs = replace(inputs, accepted={"ams": [agreed]})
    assert exchanges(inputs, candidates(inputs)).rows["marginal_all_bps"].sum() < before


def test_the_list_as_if_we_had_joined() -> None:
    made, _, _ = world(2)
    inputs = made.inputs()
    there = candidates(as_if_joined(inputs, [28, 27]))
    plain = candidates(inputs)

    before, after = (
        dict(f.rows.select("asn", "meet_rank").drop_nulls().iter_rows()) for f in (plain, there)
    )
    waiting = [a for a, rung in before.items() if rung == 6]
    assert waiting
    assert all(after[a] in (1, 2) for a in waiting if a in after)
    assert there.rows["expected_bps"].sum() > plain.rows["expected_bps"].sum()
    with pytest.raises(ReportError, match="exchange 99 is in none of our metros"):
        as_if_joined(inputs, [99])


def test_an_exchange_that_changes_nothing_says_why() -> None:
    made, _, members = world(2)
    inputs = made.inputs()
    there = candidates(as_if_joined(inputs, [28, 27, 26]))
    vain = joined_in_vain(inputs, there, [28, 27, 26])
    assert list(vain) == [26]
    assert vain[26].endswith(": we are on it already in ams")
    # The same list, where everybody on it is excluded.
    nobody = pl.DataFrame(
        [(asn, None, None) for asn in members[28]], schema=inputs.exclusions.schema, orient="row"
    )
    inputs = replace(inputs, exclusions=nobody)
    there, plain = candidates(as_if_joined(inputs, [28])), candidates(inputs)
    assert there.rows.equals(plain.rows)
    assert joined_in_vain(inputs, there, [28])[28].endswith(
        "no network that could be asked has a port on it"
    )


def test_rows_that_would_meet_at_a_closed_exchange_are_told() -> None:
    made, _, _ = world(3)
    inputs = made.inputs()
    found = candidates(inputs)
    openings = exchanges(inputs, found).openings
    waiting = found.rows.filter(pl.col("meet_rank") == 6)["asn"].to_list()
    assert sorted(a for asns in openings["asns"].to_list() for a in asns) == sorted(waiting)
    assert not openings.filter(pl.col("ix_id") == 26).height
