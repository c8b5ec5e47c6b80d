"""Columns of the capacity forecast (METHODS M15)."""

from __future__ import annotations

import polars as pl

from flowpeer_reports.columns import Column

_INT, _REAL, _TEXT = pl.Int64, pl.Float64, pl.String

CAPACITY = (
    Column("metro", _TEXT, "", "metro"),
    Column("provider_asn", _INT, "ASN", "transit provider"),
    Column("provider", _TEXT, "", "its name"),
    Column("direction", _TEXT, "", "in or out"),
    Column("capacity_bps", _INT, "bit/s", "capacity of its transit interfaces in the metro"),
    Column("weeks", _INT, "weeks", "whole weeks (from Monday, UTC) with a p95"),
    Column("p95_bps", _REAL, "bit/s", "95th percentile of the last of them"),
    Column("slope_per_year", _REAL, "fraction a year", "growth: Theil–Sen on the logarithm"),
    Column("slope_low", _REAL, "fraction a year", "low end of its nominal 80 % interval"),
    Column("slope_high", _REAL, "fraction a year", "high end of it"),
    Column("status", _TEXT, "", "what the forecast can say, and what it cannot"),
    Column("month_80", _TEXT, "month", "in which p95 reaches 80 % of capacity, median"),
    Column("month_80_early", _TEXT, "month", "with slope_high; empty: beyond the history's length"),
    Column("month_80_late", _TEXT, "month", "with slope_low; empty: beyond the history's length"),
    Column("month_80_after_asks", _TEXT, "month", "month_80 less what the signed list takes"),
    Column(
        "ports_to_buy", _INT, "ports",
        "whole ports that keep p95 at 80 % as far ahead as the history is long, a year at most",
    ),
    Column("port_bps", _INT, "bit/s", "the port counted with: its largest link's"),
)  # fmt: skip
CAPACITY_LINKS = (
    Column("metro", _TEXT, "", "metro"),
    Column("provider_asn", _INT, "ASN", "transit provider"),
    Column("direction", _TEXT, "", "in or out"),
    Column("exporter", _TEXT, "", "router"),
    Column("interface", _INT, "ifIndex", "its interface"),
    Column("capacity_bps", _INT, "bit/s", "capacity of the link"),
    Column("recent_share", _REAL, "fraction", "its share of the provider's last four weeks"),
    Column("p95_bps", _REAL, "bit/s", "95th percentile of the last week"),
    Column("month_80", _TEXT, "month", "with the provider's growth and its recent share"),
    Column("month_80_after_asks", _TEXT, "month", "the same less what the signed list takes"),
)
CAPACITY_WEEKLY = (
    Column("metro", _TEXT, "", "metro"),
    Column("provider_asn", _INT, "ASN", "transit provider"),
    Column("provider", _TEXT, "", "its name"),
    Column("direction", _TEXT, "", "in or out"),
    Column("week", pl.Date, "", "Monday that it begins on, UTC"),
    Column("p95_bps", _REAL, "bit/s", "95th percentile of its slots"),
    Column("p95_after_asks_bps", _REAL, "bit/s", "the same less what the signed list takes"),
)
