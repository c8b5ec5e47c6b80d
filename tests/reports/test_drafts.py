"""Drafts of asks: whom they go to, what they say, and what foreign text cannot do to them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import polars as pl
import pytest
from reports_world import Flow, World
from test_meeting import ASN, port, world

from flowpeer_reports.candidates import candidates
from flowpeer_reports.columns.column import schema
from flowpeer_reports.columns.drafts import DRAFTS
from flowpeer_reports.drafts import TEMPLATE, contacts, drafts, message, template_of
from flowpeer_reports.errors import ReportError

SECONDS = 3600


def contact(number: int, role: str, email: str | None, name: str = "", net: int = 1) -> Any:
    return {"id": number, "net_id": net, "role": role, "name": name, "email": email}


def drafted(made: World, *asns: int, template: str = TEMPLATE) -> pl.DataFrame:
    inputs = made.inputs()
    return drafts(inputs, candidates(inputs), asns=asns, template=template)


def test_contacts_are_those_who_decide_first_and_each_address_once() -> None:
    tables = {
        "net": pl.DataFrame({"id": [1, 2], "asn": [ASN, 2002]}),
        "poc": pl.DataFrame(
            [
                contact(1, "Abuse", "abuse@example.net"),
                contact(2, "NOC", "noc@example.net"),
                contact(3, "Policy", "sibling@example.org", net=2),
                contact(4, "Policy", "Peering@example.net", "Ada\u202e L"),
                contact(5, "Technical", "peering@EXAMPLE.net"),
                contact(6, "Technical", None),
                contact(7, "Maintenance", "works@example.net"),
                contact(8, "Policy", "other@example.com", net=3),
            ]
        ),
    }
    found = contacts(tables, [ASN, 2002])
    assert [(c.role, c.email) for c in found] == [
        ("Policy", "Peering@example.net"), ("Policy", "sibling@example.org"),
        ("NOC", "noc@example.net"),
    ]  # fmt: skip
    assert str(found[0]) == "Policy: Ada  L <Peering@example.net>"
    assert contacts({}, [ASN]) == []


@pytest.mark.parametrize(
    "address",
    [
        "", "nobody", "a@b", "a b@example.net", "a@example.net, c@example.org", "<a@example.net>",
        "a@example.net\nBcc: c@example.org", "a@-example.net", "a@example..net", "ä@example.net",
        "a@" + "b" * 300 + ".net", "a@example.net?subject=x", "mailto:a@example.net",
    ],
)  # fmt: skip
def test_what_is_no_address_is_not_written_to(address: str) -> None:
    tables = {
        "net": pl.DataFrame({"id": [1], "asn": [ASN]}),
        "poc": pl.DataFrame([contact(1, "Policy", address)]),
    }
    assert contacts(tables, [ASN]) == []


def test_a_draft_tells_what_both_sides_can_measure() -> None:
    """Own and observed routes of both directions; neither rank nor inferred routes change it."""
    made = World(
        [
            Flow(0, ASN, 9_000_000), Flow(1, ASN, 3_000_000, direction="in"),
            Flow(2, 3001, 5_000_000, "10.9.0.0/16"),  # seen behind it
            Flow(3, 3002, 7_000_000, "10.8.0.0/16"),  # its customer, on no path of ours
            Flow(4, 2002, 80_000_000),  # stands above it
            Flow(5, ASN, 2_000_000, metro="fra"),
        ],
        paths=[("10.9.0.0/16", f"1299 {ASN} 3001")],
        links=[(ASN, 3001, -1), (ASN, 3002, -1), (1299, ASN, -1), (1299, 2002, -1)],
        metros=("ams", "fra"), names={ASN: "Their Net"},
    )  # fmt: skip
    (row,) = drafted(made, ASN).iter_rows(named=True)
    assert (row["rank"], row["name"], row["metros"]) == (2, "Their Net", ["ams", "fra"])
    out, into, fra = (n * 8 / SECONDS / 1e3 for n in (14_000_000, 3_000_000, 2_000_000))
    assert f"- AMS: {out:.1f} kbps from us to you, {into:.2f} kbps from you to us" in row["body"]
    assert f"- FRA: {fra:.2f} kbps from us to you, 0 bps from you to us" in row["body"]
    assert "2026-09-16 00:00 to 2026-09-16 01:00 UTC" in row["body"]
    assert "- we know of no common place yet" in row["body"]
    assert row["to"] == []
    every = drafted(made)
    assert every.schema == schema(DRAFTS)
    assert every["asn"].to_list() == [2002, ASN, 3002, 3001]


def test_a_draft_names_the_places_of_both() -> None:
    (row,) = drafted(world([port()], (18, 21))).iter_rows(named=True)
    assert [line for line in row["body"].splitlines() if line.startswith("- AMS: ")][1:] == [
        "- AMS: AMS-Example (you have 100 Gbps, we 10.0 Gbps)",
        "- AMS: private interconnection in Harbour",
    ]
    (row,) = drafted(world(facilities=(21,))).iter_rows(named=True)
    assert (
        "private interconnection between Harbour (ours) and Harbour Annexe (yours)" in row["body"]
    )
    (row,) = drafted(world([port(ix_id=27, ixlan_id=27)], ())).iter_rows(named=True)
    assert "- AMS: Other-Example, which we could join" in row["body"]
    # Nothing there: where both are nearest to it.
    (row,) = drafted(world(facilities=(20,))).iter_rows(named=True)
    assert "- FRA: private interconnection in Main" in row["body"]
    assert "no common place" not in row["body"]


def test_foreign_text_makes_no_lines_of_its_own() -> None:
    made = world([port()])
    made.names = {ASN: "Evil\r\nBcc: x@example.org\x1b[31m $our_asn ${x}"}
    made.peeringdb = {
        **made.peeringdb,
        "poc": pl.DataFrame([contact(1, "Policy", "p@example.net", "Al\nSubject: no")]),
        "ix": pl.DataFrame({"id": [26], "name": ["AMS\r\n\r\nX: y"]}),
    }
    (row,) = drafted(made).iter_rows(named=True)
    text = message(row)
    head, _, body = text.partition("\n\n")
    assert head.splitlines()[0] == "To: p@example.net"
    assert len(head.splitlines()) == 2
    assert head.splitlines()[1].startswith("Subject: Peering between AS64500")
    assert "$our_asn ${x}" in head  # a name is no template
    assert "\x1b" not in text
    assert not [n for n in body.splitlines() if n.startswith(("Bcc", "Subject", "X:"))]


def test_the_operators_words_are_used() -> None:
    (row,) = drafted(
        world([port()]), ASN,
        template="Subject: $peer_asn\n\nHi ${contact}, $$5 of $metros.\n",
    ).iter_rows(named=True)  # fmt: skip
    assert (row["subject"], row["body"]) == (
        "2001", "Hi peering team of Their Net, $5 of AMS.\n",
    )  # fmt: skip
    assert message(row) == (
        "To: (PeeringDB names nobody)\nSubject: 2001\n\nHi peering team of Their Net, $5 of AMS.\n"
    )


@pytest.mark.parametrize(
    ("template", "what"),
    [
        ("", "line 1: a template begins with"),
        ("Hello", "line 1: a template begins with"),
        ("Subject: x\nno empty line", "line 1: a template begins with"),
        ("Subject: x\n\nok\n$price", r"line 4: \$price is not known"),
        ("Subject: $x\n\nok", r"line 1: \$x is not known"),
        ("Subject: x\n\n5 $", r"line 3: a \$ that begins no name"),
        ("Subject: x\n\n${contact.__class__}", r"line 3: a \$ that begins no name"),
    ],
)
def test_a_wrong_template_says_where(template: str, what: str) -> None:
    with pytest.raises(ReportError, match=what):
        template_of(template)


def test_an_ask_that_is_not_listed_is_refused_and_a_sibling_stands_for_its_organisation() -> None:
    made = world([port()])
    with pytest.raises(ReportError, match="AS65000 is no ask") as caught:
        drafted(made, 65000)
    assert "flowpeer explain 65000" in caught.value.advice
    inputs = made.inputs()
    together = replace(inputs, policy=replace(inputs.policy, sibling_groups=((ASN, 2009),)))
    found = drafts(together, candidates(together), asns=[2009, ASN])
    assert found["asn"].to_list() == [ASN]
