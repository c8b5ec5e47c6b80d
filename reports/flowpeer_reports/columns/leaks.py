"""What is peered already and still rides transit (METHODS M14)."""

from __future__ import annotations

from flowpeer_reports.columns.column import FLAG, INT, LIST, REAL, TEXT, Column

LEAKS: tuple[Column, ...] = (
    Column("metro", TEXT, "", "metro of the session and of the transit"),
    Column("asn", INT, "ASN", "network that we have a session with"),
    Column("name", TEXT, "", "its name"),
    Column("cause", TEXT, "", "why its routes ride transit all the same"),
    Column("prefixes", INT, "prefixes", "routes with that cause"),
    Column("out_bytes", INT, "bytes", "outbound, scaled"),
    Column("avg_bps", REAL, "bit/s", "average over the period"),
    Column("p95_bps", REAL, "bit/s", "95th percentile over 5-minute slots, nearest rank"),
    Column(
        "in_row_0",
        FLAG,
        "",
        "counted in row 0 of the candidate list; else it is not announced to us, and others may be "
        "asked for it",
    ),
    Column("saving_per_month", REAL, "currency a month", "what the bills fall by when it is fixed"),
    Column("currency", TEXT, "", "currency of the amount"),
    Column("transits", LIST, "", "transit providers that carry it, with shares"),
)

LEAK_PREFIXES: tuple[Column, ...] = (
    Column("metro", TEXT, "", "metro"),
    Column("asn", INT, "ASN", "network that we have a session with"),
    Column("prefix", TEXT, "", "route of the traffic"),
    Column("origin_asn", INT, "ASN", "its origin"),
    Column("cause", TEXT, "", "cause of most of its bytes"),
    Column("covering_prefix", TEXT, "", "the less specific route that the session announces"),
    Column("out_bytes", INT, "bytes", "outbound, scaled"),
    Column("available_to_others", FLAG, "", "not in row 0: others may be asked for it"),
)
