"""The scenarios for signing, and what resizing a commit risks (METHODS M8)."""

from __future__ import annotations

import polars as pl

from flowpeer_reports.columns.column import INT, REAL, TEXT, Column

_MONEY = "currency a month"

SCENARIOS: tuple[Column, ...] = (
    Column(
        "scenario",
        TEXT,
        "",
        "as it is; sessions put right (rank 0 moved); observed only (every listed ask says yes, "
        "routes that it is seen on); expected (acceptance × weight of the evidence); without the "
        "largest ask (observed only)",
    ),
    Column("asks", INT, "asks", "organisations of the list that are counted on"),
    Column("left_out", TEXT, "", "the ask that is taken to say no"),
    Column("transit_bps", REAL, "bit/s", "outbound transit traffic left, average"),
    Column("moved_bps", REAL, "bit/s", "outbound transit traffic that is gone, average"),
    Column("bill_per_month", REAL, _MONEY, "transit bills by the contracts as they stand"),
    Column(
        "bill_at_renewal_per_month",
        REAL,
        _MONEY,
        "the same at the prices of renewal, without a commit and fixed charges",
    ),
    Column(
        "worst_outage",
        TEXT,
        "",
        "exchange or private interconnection of these asks whose loss raises the bills most",
    ),
    Column(
        "outage_bill_per_month",
        REAL,
        _MONEY,
        "bill_per_month if that is lost in the worst hours of every month (outage_hours)",
    ),
    Column("outage_bill_at_renewal_per_month", REAL, _MONEY, "the same at the prices of renewal"),
    Column("currency", TEXT, "", "currency of the amounts"),
)

COMMITS: tuple[Column, ...] = (
    Column("contract", TEXT, "", "its id"),
    Column("ends", pl.Date, "", "its last day"),
    Column("notice_by", pl.Date, "", "last day to give notice"),
    Column("commit_bps", INT, "bit/s", "commit as it stands"),
    Column("billed_bps", REAL, "bit/s", "billed rate as it is, mean of the months"),
    Column("billed_after_bps", REAL, "bit/s", "the same once every listed ask says yes"),
    Column("worst_outage", TEXT, "", "place of these asks whose loss raises that rate most"),
    Column("outage_hours", INT, "hours", "how long the loss lasts, in every month"),
    Column("billed_in_outage_bps", REAL, "bit/s", "billed rate with that loss in it"),
    Column("saving_at_renewal_per_month", REAL, _MONEY, "what the asks save without a commit"),
    Column("outage_cost_per_month", REAL, _MONEY, "what the loss adds at the prices of renewal"),
    Column("net_saving_at_renewal_per_month", REAL, _MONEY, "the saving less that"),
    Column("currency", TEXT, "", "currency of the amounts"),
)
