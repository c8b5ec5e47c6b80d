"""Drafts of asks: whom to write to, where to meet, and what rides transit between us now.

A draft says nothing of prices, ranks or other networks: only what both sides can measure (routes
that are their own, or that we see behind them, both directions), and places that both are listed
at. Contacts are PeeringDB's `poc`; addresses are foreign text and are checked before they become
one. The words are a template that the operator can replace.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from string import Template
from typing import Any

import polars as pl

from flowpeer_reports.candidates import Candidates
from flowpeer_reports.columns.column import schema
from flowpeer_reports.columns.drafts import DRAFTS
from flowpeer_reports.errors import ReportError
from flowpeer_reports.inputs import Inputs, pdb
from flowpeer_reports.meeting import (
    BILATERAL,
    CAMPUS,
    FACILITY,
    JOIN_IX,
    NEARBY,
    ROUTE_SERVERS,
    MeetingPlace,
    MeetingPlaces,
)
from flowpeer_reports.places import Registry
from flowpeer_reports.ranking import bps
from flowpeer_reports.render.cells import clean, rate

TEMPLATE = """\
Subject: Peering between AS$our_asn ($our_name) and AS$peer_asn ($peer_name)

Dear $contact,

we run $our_name (AS$our_asn). Between your network and its customers and us we see,
averaged over $period and carried by transit today:

$traffic

We would like to peer with you directly. As far as PeeringDB knows, we could meet at:

$places

Would one of these suit you, and what do you need from us? If you prefer other places or
terms, please tell us.

Kind regards,
$our_name, AS$our_asn
"""
PLACEHOLDERS = (
    "contact", "metros", "our_asn", "our_name", "peer_asn", "peer_name", "period", "places",
    "traffic",
)  # fmt: skip
SUBJECT = "Subject:"
ROLES = ("Policy", "NOC", "Technical", "Maintenance")
"""PeeringDB's roles of contacts to ask, in this order; Abuse, Sales and the like are not asked."""
MOST_CONTACTS = 3
_ADDRESS = re.compile(
    r"[A-Za-z0-9.!#$%&'*+/=?^_{|}~-]{1,64}@(?=.{1,253}\Z)"
    r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)+"
)


@dataclass(frozen=True, slots=True)
class Contact:
    """Somebody to write to."""

    role: str
    name: str
    email: str

    def __str__(self) -> str:
        return f"{self.role}: " + (f"{self.name} <{self.email}>" if self.name else self.email)


def contacts(tables: Mapping[str, pl.DataFrame], asns: Iterable[int]) -> list[Contact]:
    """Whom PeeringDB names for some networks, whoever decides about peering first."""
    net = pdb(tables, "net", {"id": pl.Int64, "asn": pl.Int64})
    order = {asn: n for n, asn in enumerate(asns)}
    text = pl.String
    poc = pdb(
        tables,
        "poc",
        {"id": pl.Int64, "net_id": pl.Int64, "role": text, "name": text, "email": text},
    )
    rows = poc.drop_nulls(["net_id", "role", "email"]).join(
        net.filter(pl.col("asn").is_in(list(order))), left_on="net_id", right_on="id"
    )
    found = [
        ((ROLES.index(role), order[asn], number), Contact(role, clean(name or ""), email.strip()))
        for number, asn, role, name, email in rows.select(
            "id", "asn", "role", "name", "email"
        ).iter_rows()
        if role in ROLES and _ADDRESS.fullmatch(email.strip())
    ]
    first: dict[str, Contact] = {}
    for _, one in sorted(found, key=lambda f: f[0]):
        first.setdefault(one.email.lower(), one)
    return list(first.values())[:MOST_CONTACTS]


def template_of(text: str) -> tuple[Template, Template]:
    """Subject and body of a template.

    Raises:
        ReportError: it has no subject line, or names something that there is not.
    """
    head, _, rest = text.replace("\r\n", "\n").partition("\n")
    if not head.startswith(SUBJECT) or rest[:1] != "\n":
        raise ReportError(
            f"line 1: a template begins with a line `{SUBJECT} …` and an empty one after it"
        )
    for number, line in enumerate([head, *rest.split("\n")], start=1):
        one = Template(line)
        if not one.is_valid():
            raise ReportError(
                f"line {number}: a $ that begins no name", advice="write $$ for the character"
            )
        wrong = [n for n in one.get_identifiers() if n not in PLACEHOLDERS]
        if wrong:
            raise ReportError(
                f"line {number}: ${wrong[0]} is not known",
                advice="there are " + ", ".join(f"${n}" for n in PLACEHOLDERS),
            )
    return Template(head.removeprefix(SUBJECT).strip()), Template(rest[1:])


def drafts(
    inputs: Inputs, found: Candidates, *, asns: Sequence[int] = (), template: str = TEMPLATE
) -> pl.DataFrame:
    """One draft a row, in the order of the organisations' list and in `columns.drafts.DRAFTS`.

    Args:
        asns: only these networks; a sibling stands for its organisation. Default: every ask.

    Raises:
        ReportError: a network is not on the list, or the template is wrong.
    """
    subject, body = template_of(template)
    listed = {r.asn: r for r in found.ranking.organisations.rows if r.rank and r.asn is not None}
    wanted = list(dict.fromkeys(found.ranking.parties.of(asn) for asn in asns)) or list(listed)
    missing = [asn for asn in wanted if asn not in listed]
    if missing:
        raise ReportError(
            f"AS{missing[0]} is no ask of this list",
            advice=f"`flowpeer explain {missing[0]}` says why",
        )
    names, places = inputs.names(), MeetingPlaces(inputs, found.ranking.parties)
    metro_names = {m: n or m for m, n in inputs.metros.select("metro", "name").iter_rows()}
    rates = _rates(inputs, found)
    ends = (inputs.period_start, inputs.period_end)
    period = " to ".join(f"{t.astimezone(UTC):%Y-%m-%d %H:%M}" for t in ends) + " UTC"
    rows: list[dict[str, Any]] = []
    for asn in sorted(wanted, key=lambda a: listed[a].rank or 0):
        row = listed[asn]
        members = list(found.ranking.parties.members(asn))
        name = clean(names.get(asn) or "") or f"AS{asn}"
        who = contacts(inputs.peeringdb, [asn, *(m for m in members if m != asn)])
        metros = [
            m
            for m in (found.ranking.cells.metros[n] for n in row.metros)
            if rates.get((asn, m), (0.0, 0.0)) != (0.0, 0.0)
        ]
        meet = dict.fromkeys(
            f"- {metro_names.get(place.there or m, place.there or m)}: {where}"
            for m in metros
            for place in places.options(asn, m)
            if (where := _place(place, places.registry))
        )
        values = {
            "contact": (who[0].name if who and who[0].name else f"peering team of {name}"),
            "metros": ", ".join(metro_names.get(m, m) for m in metros),
            "our_asn": str(inputs.asn),
            "our_name": clean(inputs.name),
            "peer_asn": str(asn),
            "peer_name": name,
            "period": period,
            "places": "\n".join(meet) or "- we know of no common place yet",
            "traffic": "\n".join(
                f"- {metro_names.get(m, m)}: {rate(rates[asn, m][0])} from us to you, "
                f"{rate(rates[asn, m][1])} from you to us"
                for m in metros
            )
            or "- nothing that we measure: what is behind you is inferred",
        }
        rows.append(
            {
                "rank": row.rank, "asn": asn, "name": name, "metros": metros,
                "to": [one.email for one in who], "contacts": [str(one) for one in who],
                "subject": clean(subject.substitute(values)), "body": body.substitute(values),
            }
        )  # fmt: skip
    return pl.DataFrame(rows, schema=schema(DRAFTS), orient="row")


def message(row: Mapping[str, Any]) -> str:
    """A draft as it is pasted into a mail client: To, Subject, an empty line, the words."""
    to = ", ".join(row["to"]) or "(PeeringDB names nobody)"
    lines = [clean(line) if line.strip() else "" for line in row["body"].splitlines()]
    return "\n".join([f"To: {to}", f"Subject: {row['subject']}", "", *lines]) + "\n"


def _rates(inputs: Inputs, found: Candidates) -> dict[tuple[int, str], tuple[float, float]]:
    """(ASN, metro) → bit/s out and in of its own and observed routes, whatever rows stand above."""
    ranking, slots = found.ranking, inputs.period_slots
    return {
        (asn, listing.name): (bps(out, slots), bps(into, slots))
        for listing, entries, alone in zip(
            ranking.metros, ranking.eligible, ranking.alone, strict=True
        )
        for asn, (out, into) in zip(entries.asns.tolist(), alone, strict=True)
    }


def _place(place: MeetingPlace, registry: Registry) -> str:
    """A place in words for the other side; empty where it is none of both."""
    ours, theirs = (
        None if f is None else clean(registry.facility(f))
        for f in (place.our_facility, place.facility)
    )
    rank = place.there_rank if place.there else place.rank
    if rank in (ROUTE_SERVERS, BILATERAL) and place.ix is not None:
        sizes = (("you have", place.their_bps), ("we", place.our_bps))
        ports = ", ".join(f"{who} {rate(size)}" for who, size in sizes if size)
        return clean(registry.exchange(place.ix)) + (f" ({ports})" if ports else "")
    if rank == FACILITY and (theirs or ours):
        return f"private interconnection in {theirs or ours}"
    if rank in (CAMPUS, NEARBY) and ours and theirs:
        return f"private interconnection between {ours} (ours) and {theirs} (yours)"
    if rank == JOIN_IX and place.ix is not None:
        return f"{clean(registry.exchange(place.ix))}, which we could join"
    return ""
