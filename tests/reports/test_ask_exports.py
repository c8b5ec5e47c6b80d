"""Asks for Peering Manager and NetBox: the fields that they take, and nothing that executes."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import polars as pl
import pytest
from test_render import EVIL, small_world

from flowpeer_reports.ask_exports import MOST_NAME, ask_export
from flowpeer_reports.candidates import candidates
from flowpeer_reports.errors import ReportError


def test_peering_manager_gets_an_autonomous_system_an_ask_in_the_order_of_the_list() -> None:
    net = pl.DataFrame(
        [{"id": 1, "asn": 2001, "org_id": 1, "irr_as_set": "RIPE::AS-ALPHA", "info_prefixes4": 500,
          "info_prefixes6": None, "name": "Alpha"}]
    )  # fmt: skip
    inputs = replace(small_world(), peeringdb={"net": net}).inputs()
    found = candidates(inputs)
    made = json.loads(ask_export(inputs, found, "peering-manager"))
    asks = found.organisations.filter(pl.col("rank") > 0).sort("rank")
    assert [one["asn"] for one in made] == asks["asn"].to_list()
    one = next(each for each in made if each["asn"] == 2001)
    assert one.pop("comments").startswith("Ask 1 of the list of 2026\\-09\\-16 to ")
    assert one == {
        "asn": 2001, "name": "Alpha & Söhne", "name_peeringdb_sync": True,
        "irr_as_set": "RIPE::AS-ALPHA", "irr_as_set_peeringdb_sync": True,
        "ipv4_max_prefixes": 500, "ipv4_max_prefixes_peeringdb_sync": True,
        "ipv6_max_prefixes_peeringdb_sync": True,
    }  # fmt: skip
    other = next(each for each in made if each["asn"] != 2001)
    assert other["name_peeringdb_sync"] is False
    assert "irr_as_set" not in other


@pytest.mark.parametrize("name", [*EVIL, "x" * 300])
def test_foreign_names_stay_text_of_bounded_size(name: str) -> None:
    inputs = replace(small_world(), names={2001: name}).inputs()
    found = candidates(inputs)
    made = json.loads(ask_export(inputs, found, "peering-manager"))
    called = next(each["name"] for each in made if each["asn"] == 2001)
    assert 0 < len(called) <= MOST_NAME
    assert called.isprintable()
    text = ask_export(inputs, found, "netbox", rir="RIPE")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(text.splitlines()) == len(rows) + 1
    assert list(rows[0]) == ["asn", "rir", "description", "comments"]
    row = next(each for each in rows if each["asn"] == "2001")
    assert row["rir"] == "RIPE"
    assert 0 < len(row["description"]) <= 201
    assert row["description"].lstrip()[0] not in "=+-@＝﹦"


def test_netbox_is_not_given_a_list_that_it_refuses() -> None:
    inputs = small_world().inputs()
    with pytest.raises(ReportError, match="without a RIR"):
        ask_export(inputs, candidates(inputs), "netbox", rir=" \n")
