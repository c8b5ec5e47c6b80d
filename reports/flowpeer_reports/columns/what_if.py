"""What if these asks all said yes (METHODS M7, M8, M11)."""

from __future__ import annotations

from flowpeer_reports.columns.column import INT, REAL, TEXT, Column

WHAT_IF: tuple[Column, ...] = (
    Column("pick", TEXT, "", "what was picked: METRO:ASN, or METRO:ixID for an exchange"),
    Column("metro", TEXT, "", "metro of the session"),
    Column("asn", INT, "ASN", "network that is asked; empty for an exchange"),
    Column("name", TEXT, "", "its name, or the exchange's"),
    Column("members", INT, "networks", "how many networks it stands for, siblings as one"),
    Column("out_bytes", INT, "bytes", "outbound bytes on its observed routes that no pick above "
           "takes"),
    Column("out_bps", REAL, "bit/s", "the same as the average of the period"),
    Column("cumulative_bps", REAL, "bit/s", "with all picks above"),
    Column("cumulative_share", REAL, "", "of the metro's outbound transit, with the picks above "
           "in it"),
    Column("with_inferred_bps", REAL, "bit/s", "out_bps if inferred routes moved too: an upper "
           "bound"),
    Column("bill_saving_per_month", REAL, "currency a month", "what the transit bills fall by, "
           "after the picks above; without what peering costs"),
    Column("cumulative_saving_per_month", REAL, "currency a month", "with all picks above"),
    Column("currency", TEXT, "", "currency of the amounts"),
    Column("note", TEXT, "", "why it brings nothing, or saves nothing"),
)  # fmt: skip

WHAT_IF_LINKS: tuple[Column, ...] = (
    Column("metro", TEXT, "", "metro of a pick"),
    Column("provider_asn", INT, "ASN", "transit provider"),
    Column("provider", TEXT, "", "its name"),
    Column("exporter", TEXT, "", "exporter of the link"),
    Column("interface", INT, "SNMP index", "its interface"),
    Column("capacity_bps", INT, "bit/s", "its capacity"),
    Column("p95_before_bps", REAL, "bit/s", "95th percentile outbound over 5-minute slots, nearest "
           "rank, as it was"),
    Column("p95_bps", REAL, "bit/s", "without what the picks take"),
    Column("change_bps", REAL, "bit/s", "p95_bps less p95_before_bps"),
    Column("utilisation_before", REAL, "", "p95_before_bps by capacity"),
    Column("utilisation", REAL, "", "p95_bps by capacity"),
)  # fmt: skip

WHAT_IF_METROS: tuple[Column, ...] = (
    Column("metro", TEXT, "", "metro of a pick"),
    Column("avg_before_bps", REAL, "bit/s", "outbound transit, average of the period, as it was"),
    Column("avg_bps", REAL, "bit/s", "without what the picks take"),
    Column("d_before", REAL, "", "imbalance D of outbound transit as it was"),
    Column("d", REAL, "", "D of what is left on transit"),
    Column("d_change", REAL, "", "d less d_before: below zero is better balanced"),
    Column("target", TEXT, "", "where the targets come from"),
)  # fmt: skip

WHAT_IF_ASKS: tuple[Column, ...] = (
    Column("date", TEXT, "", "day of the event"),
    Column("organisation", TEXT, "", "whose network it is"),
    Column("asn", INT, "ASN", "network to ask"),
    Column("metros", TEXT, "", "where"),
    Column("event", TEXT, "", "planned"),
    Column("until", TEXT, "", "left empty"),
    Column("owner", TEXT, "", "left empty"),
    Column("note", TEXT, "", "left empty"),
    Column("predicted_bps", INT, "bit/s", "out_bps of its row"),
    Column("predicted_ci95_bps", INT, "bit/s", "left empty"),
    Column("predicted_saving", REAL, "currency a month", "bill_saving_per_month of its row"),
)
"""The header of the log of asks, so that the CSV is lines of it."""
