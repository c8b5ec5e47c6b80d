"""Columns of the side tables of the transit imbalance (METHODS M11)."""

from __future__ import annotations

import polars as pl

from flowpeer_reports.columns import IMBALANCE, Column

_INT, _REAL, _TEXT = pl.Int64, pl.Float64, pl.String

_WHO = (
    Column("metro", _TEXT, "", "metro"),
    Column("direction", _TEXT, "", "in or out"),
    Column("provider_asn", _INT, "ASN", "transit provider"),
    Column("provider", _TEXT, "", "its name"),
)
_LOAD = (
    Column("capacity_bps", _INT, "bit/s", "capacity"),
    Column("bytes", _INT, "bytes", "over the period, scaled"),
    Column("avg_bps", _REAL, "bit/s", "average over the covered slots"),
    Column("p50_bps", _REAL, "bit/s", "median over 5-minute slots, nearest rank"),
    Column("p95_bps", _REAL, "bit/s", "95th percentile over 5-minute slots, nearest rank"),
    Column("peak_bps", _REAL, "bit/s", "largest slot"),
    Column("utilisation_p95", _REAL, "fraction", "p95_bps / capacity_bps"),
    Column("slots_over_80", _INT, "slots", "slots above 80 % of capacity"),
)
LINKS = (
    *_WHO,
    Column("exporter", _TEXT, "", "router"),
    Column("interface", _INT, "ifIndex", "its interface"),
    Column("name", _TEXT, "", "name of the interface"),
    *_LOAD,
    Column("share_of_provider", _REAL, "fraction", "its share of the provider's bytes here"),
    Column("target_share", _REAL, "fraction", "its share of the provider's capacity here"),
)
ROUTERS = (
    *_WHO,
    Column("exporter", _TEXT, "", "router"),
    Column("links", _INT, "", "its transit interfaces to that provider"),
    *_LOAD,
    Column("share_of_provider", _REAL, "fraction", "its share of the provider's bytes here"),
)
AREAS = (
    Column("area", _TEXT, "", "region or network"),
    *(
        Column("metro", _TEXT, "", "name of the region; all: every metro")
        if c.name == "metro"
        else c
        for c in IMBALANCE
    ),
)
HOURS_OF_WEEK = (
    *_WHO,
    Column("hour_of_week", _INT, "hour", "0 is Monday 00:00 to 01:00 UTC, 167 Sunday's last"),
    Column("slots", _INT, "slots", "covered slots of the period in that hour"),
    Column("mean_bps", _REAL, "bit/s", "mean over them"),
    Column("p95_bps", _REAL, "bit/s", "95th percentile over them, nearest rank"),
    Column("utilisation_p95", _REAL, "fraction", "p95_bps / capacity"),
    Column("share", _REAL, "fraction", "share of the metro's transit bytes in that hour"),
    Column("d", _REAL, "fraction", "the metro's d in that hour, byte-weighted over its slots"),
)
TREND = (
    Column("metro", _TEXT, "", "metro"),
    Column("direction", _TEXT, "", "in or out"),
    Column("what", _TEXT, "", "d, or the share of a provider"),
    Column("provider_asn", _INT, "ASN", "transit provider, for its share"),
    Column("provider", _TEXT, "", "its name"),
    Column("weeks", _INT, "weeks", "whole weeks (from Monday, UTC) with traffic"),
    Column("first_week", _REAL, "fraction", "value of the first of them"),
    Column("last_week", _REAL, "fraction", "value of the last of them"),
    Column("change_per_week", _REAL, "fraction a week", "slope of least squares"),
    Column("standard_error", _REAL, "fraction a week", "of that slope; empty below 3 weeks"),
)
