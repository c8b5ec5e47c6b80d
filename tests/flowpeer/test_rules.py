"""Roles by rule: first match wins, nothing is guessed, and `check` says what each caught."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowpeer.configuration import load
from flowpeer.errors import ConfigError
from flowpeer.rules import Rules

Run = Callable[..., "subprocess.CompletedProcess[str]"]
HEAD = """\
[network]
asn = 64500
name = "Test"
prefixes = ["198.18.0.0/15"]
[lake]
path = "lake"
[sources]
interfaces = "interfaces.csv"
[[metros]]
id = "ams"
name = "Amsterdam"
[[exporters]]
id = "edge1.ams"
metro = "ams"
addresses = ["192.0.2.1"]
[[contracts]]
id = "c1"
"""
RULES = """\
[[rules]]
description = 'transit:.*as(?P<asn>\\d+)'
role = "transit"
contract = "c1"
capacity = "100G"
[[rules]]
exporter = '^edge'
name = '^(et|xe)-'
description = 'ix'
role = "ix"
[[rules]]
name = '^(lo|irb)'
role = "internal"
"""
CSV = """\
exporter,index,name,description,role,asn,capacity
edge1.ams,11,et-0/0/1,TRANSIT: Arelion AS1299,,,
edge1.ams,12,et-0/0/2,Transit: Lumen AS3356 over IX,,,400G
edge1.ams,13,xe-0/0/3,AMS-IX,,,
edge1.ams,14,lo0,,,,
edge1.ams,15,et-0/0/5,customer something,,,
edge1.ams,16,et-0/0/6,transit: AS174,peer,15169,
"""


def write(folder: Path, rules: str = RULES, table: str = CSV) -> Path:
    (folder / "interfaces.csv").write_text(table)
    (folder / "flowpeer.toml").write_text(HEAD + rules)
    return folder / "flowpeer.toml"


def test_the_first_rule_that_matches_wins(tmp_path: Path) -> None:
    network = load(write(tmp_path))
    found = {i.index: (i.role, i.asn, i.capacity, i.contract) for i in network.interfaces}
    assert found == {
        11: ("transit", 1299, 100 * 10**9, "c1"),
        12: ("transit", 3356, 400 * 10**9, "c1"),  # what the row itself says stands
        13: ("ix", None, None, None),
        14: ("internal", None, None, None),
        16: ("peer", 15169, None, None),  # a role of its own: no rule is asked
    }
    assert network.classified.caught == {
        ("edge1.ams", 11): 0, ("edge1.ams", 12): 0, ("edge1.ams", 13): 1, ("edge1.ams", 14): 2,
    }  # fmt: skip
    assert [row["index"] for row in network.classified.unmatched] == [15]


def test_without_rules_a_role_is_required(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        load(write(tmp_path, rules=""))
    assert "interfaces.csv, line 2" in raised.value.problems[0]
    assert "role: required" in raised.value.problems[0]


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("name = '('\nrole = \"ix\"", "rules[1].name = '(': a regular expression is expected that"),
        ("name = '(?<=a)b'\nrole = \"ix\"", "look-around, including look-ahead and look-behind"),
        ("name = '(a)\\1'\nrole = \"ix\"", "backreferences are not supported"),
        ("name = 'a{1000}{1000}'\nrole = \"ix\"", "exceeds size limit"),
        ("nam = 'a'\nrole = \"ix\"", "did you mean `name`?"),
        ("name = 'a'", "rules[1].role: required"),
        ("name = 'a'\nrole = \"exchange\"", "rules[1].role"),
        ('name = \'a\'\nrole = "ix"\ncontract = "c2"', "'c2' is no id of [[contracts]]"),
    ],
)
def test_mistakes_in_rules_are_said_with_their_line(tmp_path: Path, rule: str, said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load(write(tmp_path, rules=f"[[rules]]\n{rule}\n"))
    mine = [p for p in raised.value.problems if said in p]
    assert mine
    assert all(re.match(r"line \d+: ", p) for p in mine)


def test_a_transit_by_rule_needs_its_asn_and_the_line_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        load(write(tmp_path, rules="[[rules]]\nname = 'et'\nrole = \"transit\"\n"
                                   "[[rules]]\nrole = \"internal\"\n"))  # fmt: skip
    assert any("interfaces.csv, line 2" in p and "needs `asn`" in p for p in raised.value.problems)


def test_a_pattern_that_backtracks_for_ever_elsewhere_ends_at_once_here(tmp_path: Path) -> None:
    rule = "[[rules]]\ndescription = '^(\\w+\\s?)+:.*AS(?P<asn>\\d+)'\nrole = \"peer\"\n"
    table = f"exporter,index,description\nedge1.ams,11,{'a' * 60}\nedge1.ams,12,peer b: as174\n"
    network = load(write(tmp_path, rules=rule, table=table))
    assert [(i.index, i.asn) for i in network.interfaces] == [(12, 174)]
    assert [row["index"] for row in network.classified.unmatched] == [11]


def test_case_is_ignored_in_every_alternative_and_a_group_may_be_absent() -> None:
    rules = Rules([{"name": "transit|PEER(?P<asn>[0-9]+)", "role": "peer"}])
    assert rules.match({"name": "Peer15169"}) == (
        0,
        {"role": "peer", "asn": 15169, "name": "Peer15169"},
    )
    assert rules.match({"name": "TRANSIT"}) == (0, {"role": "peer", "name": "TRANSIT"})
    assert rules.match({"name": "core"}) is None


def test_check_lists_what_each_rule_caught(tmp_path: Path, run: Run) -> None:
    write(tmp_path)
    said = run("check", "--json", cwd=tmp_path)
    found = {f["subject"]: f for f in json.loads(said.stdout)}
    assert (
        found["rule 1"]["text"] == "transit: 2 interfaces: edge1.ams et-0/0/1, edge1.ams et-0/0/2"
    )
    assert found["rule 2"]["text"].startswith("ix: 1 interfaces: edge1.ams xe-0/0/3")
    assert found["rule 3"]["level"] == "ok"
    assert "no rule matches its name 'et-0/0/5'" in found["interface 15 of edge1.ams"]["text"]


@given(
    st.lists(st.tuples(st.text("abc", max_size=3), st.text("abc", max_size=3)), max_size=8),
    st.lists(st.tuples(st.text("abc", max_size=2), st.text("abc", max_size=2)), max_size=4),
)
def test_every_row_goes_to_exactly_one_rule_or_to_none(
    rows: list[tuple[str, str]], rules: list[tuple[str, str]]
) -> None:
    items = [{"exporter": "e", "index": n, "name": a, "description": b}
             for n, (a, b) in enumerate(rows)]  # fmt: skip
    usable = [(a, b) for a, b in rules if a and b]
    asked = Rules([{"name": a, "description": b, "role": "ix"} for a, b in usable])
    for item in items:
        want = next((n for n, (a, b) in enumerate(usable)
                     if a in item["name"] and b in item["description"]), None)  # fmt: skip
        assert asked.match(item) == (None if want is None else (want, {"role": "ix", **item}))
