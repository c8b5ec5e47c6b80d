"""The columns of `bills`."""

from __future__ import annotations

import polars as pl

from flowpeer_reports.columns import Column

_TEXT, _REAL, _INT, _LIST = pl.String, pl.Float64, pl.Int64, pl.List(pl.String)

BILLS: tuple[Column, ...] = (
    Column("contract", _TEXT, "", "id of the contract"),
    Column("provider", _TEXT, "", "who sends the bill"),
    Column("month", _TEXT, "", "calendar month of the contract's time zone"),
    Column("timezone", _TEXT, "", "that time zone"),
    Column("status", _TEXT, "", "complete, or projected: a part of the month is not in the data"),
    Column("source", _TEXT, "", "what the octets are from: flows, counters, counters and flows"),
    Column("billing", _TEXT, "", "how the billed rate is made from both directions (M5)"),
    Column("aggregate", _TEXT, "", "links summed before the percentile or after it"),
    Column("slots", _INT, "slots", "5-minute slots of the whole month"),
    Column(
        "missing_slots", _INT, "slots", "slots of the data's span without data: in no percentile"
    ),
    Column("filled_slots", _INT, "slots", "slots in which a gap was filled (M5)"),
    Column("quality", _TEXT, "", "exact, estimate or refused (M5)"),
    Column("p95_in_bps", _REAL, "bit/s", "95th percentile inbound, all links together"),
    Column("p95_out_bps", _REAL, "bit/s", "95th percentile outbound, all links together"),
    Column("billed_bps", _REAL, "bit/s", "the rate that is billed, commit aside"),
    Column("commit_bps", _REAL, "bit/s", "committed rate"),
    Column("overage_bps", _REAL, "bit/s", "billed rate above the commit"),
    Column("usage_amount", _REAL, "currency", "commit and overage, or tiers"),
    Column("fixed_amount", _REAL, "currency", "charges that do not depend on traffic"),
    Column("total", _REAL, "currency", "the month's bill"),
    Column("currency", _TEXT, "", "currency of the amounts"),
    Column(
        "burst_slots_allowed", _INT, "slots", "slots of the month that the percentile leaves out"
    ),
    Column("burst_slots_used_in", _INT, "slots", "slots above the commit inbound"),
    Column("burst_slots_used_out", _INT, "slots", "slots above the commit outbound"),
    Column(
        "heading_for_bps",
        _REAL,
        "bit/s",
        "billed rate of a running month if each slot to come is as a week earlier",
    ),
    Column("heading_for_total", _REAL, "currency", "what that would cost"),
    Column("ends", pl.Date, "", "last day of the contract"),
    Column("notice_by", pl.Date, "", "last day to give notice"),
    Column("invoice", _REAL, "currency", "what the provider invoiced"),
    Column("invoice_difference", _REAL, "currency", "invoice less total"),
    Column("heading_for_low_bps", _REAL, "bit/s", "the least over the last four weeks' slots"),
    Column("heading_for_high_bps", _REAL, "bit/s", "the most over the last four weeks' slots"),
)
BESIDE = ("provider", "contract", "month", "status", "quality", "p95_in_bps", "p95_out_bps",
          "billed_bps", "commit_bps", "total", "currency")  # fmt: skip
IMBALANCE_BILLS: tuple[Column, ...] = (
    Column("provider_asn", _INT, "ASN", "network on the other side of the contract's links"),
    Column("metros", _LIST, "", "where the contract's links are"),
    *(c for c in BILLS if c.name in BESIDE),
)
