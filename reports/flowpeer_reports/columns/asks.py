"""The columns of `asks list` and `asks outcomes`."""

from __future__ import annotations

import polars as pl

from flowpeer_reports.columns import Column

_TEXT, _REAL, _INT, _LIST = pl.String, pl.Float64, pl.Int64, pl.List(pl.String)

ASKS: tuple[Column, ...] = (
    Column("date", pl.Date, "", "when it was asked, else planned"),
    Column("organisation", _TEXT, "", "who is asked"),
    Column("asn", _INT, "ASN", "its network"),
    Column("metros", _LIST, "", "where; empty: everywhere"),
    Column(
        "status",
        _TEXT,
        "",
        "last event: planned, asked, answered_yes, declined, no_answer, live or withdrawn",
    ),
    Column("until", pl.Date, "", "until when that holds"),
    Column("owner", _TEXT, "", "who takes care of it"),
    Column("note", _TEXT, "", "note"),
    Column("predicted_bps", _REAL, "bit/s", "marginal volume predicted when it was asked"),
    Column("predicted_ci95_bps", _REAL, "bit/s", "half width of its 95 % sampling interval"),
    Column("predicted_saving", _REAL, "currency", "saving per month predicted then"),
)
OUTCOMES: tuple[Column, ...] = (
    *ASKS,
    Column("live_since", pl.Date, "", "day from which the session is live"),
    Column("days", _INT, "days", "whole days of data after it that count, at most 28"),
    Column("weekly_min_bps", _REAL, "bit/s", "least week of its routes on transit before"),
    Column("weekly_max_bps", _REAL, "bit/s", "greatest week of its routes on transit before"),
    Column("carried_bps", _REAL, "bit/s", "what its sessions carried over those days"),
    Column(
        "transit_fall_bps",
        _REAL,
        "bit/s",
        "fall of transit on its routes, what was before scaled by `growth`",
    ),
    Column("growth", _REAL, "", "the metros' total over those days by that of the days before"),
    Column("within_range", pl.Boolean, "", "the fall lies between the weekly extremes"),
)
