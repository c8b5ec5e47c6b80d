"""Why a row is where it is."""

from __future__ import annotations

from flowpeer_reports.columns.column import INT, TEXT, Column

EXPLAIN: tuple[Column, ...] = (
    Column("metro", TEXT, "", "metro"),
    Column(
        "step",
        TEXT,
        "",
        "flows, routes, roles, evidence, cover, policy, place, money: from the traffic to the row",
    ),
    Column("text", TEXT, "", "what was found"),
    Column("value", INT, "by `unit`", "the number of that step"),
    Column(
        "unit",
        TEXT,
        "",
        "bytes, routes, entries, ports, millionths (of a probability) or cents a month",
    ),
    Column("sql", TEXT, "", "the statement that gives the number, for `flowpeer sql`"),
)
