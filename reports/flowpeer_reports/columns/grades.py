"""Columns of the grade of each metro's data, and of transit by provider and month."""

from __future__ import annotations

from flowpeer_reports.columns.column import INT, LIST, REAL, TEXT, Column

GRADES = (
    Column("metro", TEXT, "", "metro"),
    Column("grade", TEXT, "", "the worst of its factors: A good to D poor (see the methods)"),
    Column("set_by", LIST, "", "factors that are not A, each with its grade"),
    Column("covered_share", REAL, "fraction", "slots of the period that are covered by data"),
    Column(
        "table_age_days", REAL, "days",
        "oldest that the newest routing table in force was at any hour of the period",
    ),
    Column("providers", INT, "ASNs", "transit providers of the metro"),
    Column("providers_with_view", INT, "ASNs", "of them, with a view of their own in the tables"),
    Column("peeringdb_age_days", REAL, "days", "between PeeringDB's data and the period's end"),
    Column(
        "unknown_share", REAL, "fraction",
        "of transit and unknown bytes: on interfaces that the configuration does not name, or with "
        "a remote end that no route or no public network stands for",
    ),
    Column(
        "unscaled_bytes", INT, "bytes as exported",
        "transit without a known sampling rate, in no figure",
    ),
)  # fmt: skip

TIMELINES = (
    Column("metro", TEXT, "", "metro"),
    Column("provider_asn", INT, "ASN", "transit provider"),
    Column("provider", TEXT, "", "its name"),
    Column("direction", TEXT, "", "in or out"),
    Column("month", TEXT, "month", "calendar month, UTC, as far as it lies in the period"),
    Column("capacity_bps", INT, "bit/s", "capacity of its transit interfaces in the metro"),
    Column("avg_bps", REAL, "bit/s", "average, what is missing taken like the rest"),
    Column("p95_bps", REAL, "bit/s", "95th percentile over 5-minute slots, nearest rank"),
    Column("peak_bps", REAL, "bit/s", "largest slot"),
    Column("utilisation_p95", REAL, "fraction", "p95_bps / capacity_bps"),
    Column("slots_counted", INT, "slots", "slots behind the percentile"),
    Column("slots_missing", INT, "slots", "slots of the month in the period that do not count"),
)

CURVE = (
    Column("rank", INT, "", "asks so far"),
    Column("asn", INT, "ASN", "the last of them"),
    Column("name", TEXT, "", "its name"),
    Column("expected_share", REAL, "fraction", "share of the transit traffic that they take"),
    Column("low_share", REAL, "fraction", "low end of the interval in which 4 of 5 outcomes lie"),
    Column("high_share", REAL, "fraction", "high end of it"),
    Column("if_all_yes_share", REAL, "fraction", "if all say yes, by the paths we see"),
    Column("expected_saving", REAL, "currency a month", "saving_per_month, by how likely each is"),
    Column("low_saving", REAL, "currency a month", "low end of the interval"),
    Column("high_saving", REAL, "currency a month", "high end of it"),
    Column("if_all_yes_saving", REAL, "currency a month", "if all say yes"),
    Column("currency", TEXT, "", "currency of the amounts"),
)
