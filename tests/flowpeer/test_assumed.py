"""What `check` says that drills, exits and moves assume; nothing where all of it is stated."""

from __future__ import annotations

from pathlib import Path

from flowpeer.checks.assumed import assumed
from flowpeer.configuration import load

BARE = """[network]
asn = 64500
name = "Example"
prefixes = ["198.18.0.0/15"]
[lake]
path = "lake"
[[metros]]
id = "ams"
name = "Amsterdam"
{metro}
[[exporters]]
id = "e"
metro = "ams"
addresses = ["192.0.2.1"]
[[interfaces]]
exporter = "e"
index = 1
role = "{role}"
asn = 174
{interface}
{more}
"""
STATED = """
[routing]
always_compare_med = true
[[routing.route_scope]]
community = "64500:1"
scope = "region"
[[announcements]]
prefix = "198.18.0.0/15"
metros = ["ams"]
[[risk_groups]]
id = "duct"
interfaces = ["e:1"]
"""


def _said(folder: Path, **parts: str) -> dict[str, str]:
    path = folder / "flowpeer.toml"
    known = {"metro": "", "interface": "", "more": "", "role": "transit"}
    path.write_text(BARE.format(**known | parts))
    found = list(assumed(load(path), []))
    assert all(f.level == "note" for f in found)
    return {f.subject: f.text for f in found}


def test_each_answer_names_what_it_assumes(tmp_path: Path) -> None:
    said = _said(tmp_path)
    assert set(said) == {"drill", "exits"}
    for word in ("[[announcements]]", "route_scope", "[[risk_groups]]", "capacity of 1 of e",
                 "region of ams", "continent of ams", "full_table of 1"):  # fmt: skip
        assert word in said["drill"]
    assert "[[risk_groups]]" not in said["exits"]
    assert "full_table of 1" in said["exits"]
    compared = _said(tmp_path, more="[routing]\nalways_compare_med = true\n")
    assert "med of 1 transit" in compared["imbalance"]


def test_what_is_stated_is_not_assumed(tmp_path: Path) -> None:
    said = _said(
        tmp_path, metro='region = "eu-west"\ncontinent = "EU"',
        interface='capacity = "10G"\nfull_table = true\nmed = 10', more=STATED,
    )  # fmt: skip
    assert said == {}
    assert _said(tmp_path, role="peer") == {}
