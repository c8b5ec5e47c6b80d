"""What changed against another period (METHODS M17)."""

from __future__ import annotations

from flowpeer_reports.columns.column import INT, REAL, TEXT, Column

CHANGES: tuple[Column, ...] = (
    Column("metro", TEXT, "", "metro"),
    Column("asn", INT, "ASN", "network to ask"),
    Column("rank_before", INT, "", "its rank in the compared period; empty: not listed"),
    Column("rank", INT, "", "its rank now; empty: not listed"),
    Column(
        "status",
        TEXT,
        "",
        "new, gone; up, down: marginal by 20 % or more, else rank by 3 or more; same",
    ),
    Column("marginal_bps_before", REAL, "bit/s", "marginal volume of the compared period"),
    Column("marginal_bps", REAL, "bit/s", "marginal volume now; the differences below lead to it"),
    Column("inputs_bps", REAL, "bit/s", "routers that only one of the periods has scaled data of"),
    Column("demand_bps", REAL, "bit/s", "more or less traffic on its routes"),
    Column("routing_bps", REAL, "bit/s", "evidence of the row and of the rows above it"),
    Column("overlap_bps", REAL, "bit/s", "which rows stand above it, sessions among them"),
    Column("eligibility_bps", REAL, "bit/s", "whether it may be asked at all"),
    Column("name", TEXT, "", "name of the network"),
)
