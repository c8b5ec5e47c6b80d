"""Columns of the period billed again (METHODS M8)."""

from __future__ import annotations

import polars as pl

from flowpeer_reports.columns.column import Column

_INT, _REAL, _TEXT = pl.Int64, pl.Float64, pl.String

COUNTERFACTUAL = (
    Column("contract", _TEXT, "", "its id; all: every contract of the month"),
    Column("provider", _TEXT, "", "provider"),
    Column("month", _TEXT, "month", "in the contract's time zone"),
    Column("as_billed_total", _REAL, "currency a month", "the bill as it was"),
    Column("with_asks_total", _REAL, "currency a month", "if the asks had been peers all along"),
    Column("with_moves_total", _REAL, "currency a month", "and the move list applied too"),
    Column(
        "best_split_total", _REAL, "currency a month",
        "with the asks, and tied routes split freely: the best found, not a bound",
    ),
    Column("as_billed_bps", _REAL, "bit/s", "billed rate as it was"),
    Column("with_asks_bps", _REAL, "bit/s", "with the asks"),
    Column("with_moves_bps", _REAL, "bit/s", "with the moves too"),
    Column("best_split_bps", _REAL, "bit/s", "in the best split found"),
    Column("commit_bps", _INT, "bit/s", "commit"),
    Column("currency", _TEXT, "", "currency of the amounts"),
)  # fmt: skip
