"""The columns of `asks draft`."""

from __future__ import annotations

from flowpeer_reports.columns.column import INT, LIST, TEXT, Column

DRAFTS: tuple[Column, ...] = (
    Column("rank", INT, "", "rank of the ask in the organisations' list"),
    Column("asn", INT, "ASN", "network to ask"),
    Column("name", TEXT, "", "its name"),
    Column("metros", LIST, "", "metros with traffic of its own or of routes seen behind it"),
    Column("to", LIST, "", "addresses to write to, from PeeringDB's contacts"),
    Column("contacts", LIST, "", "the contacts: role, name and address"),
    Column("subject", TEXT, "", "subject of the draft"),
    Column("body", TEXT, "", "its words"),
)
