"""Columns of the plan of a disaster-recovery test (METHODS M12)."""

from __future__ import annotations

import polars as pl

from flowpeer_reports.columns import Column
from flowpeer_reports.columns.drill import DRILL

_INT, _REAL, _TEXT, _LIST = pl.Int64, pl.Float64, pl.String, pl.List(pl.String)

DRT = (
    Column("metro", _TEXT, "", "metro that is emptied"),
    Column("step", _INT, "", "order in which to withdraw; each figure counts those above it"),
    Column("withdraw", _LIST, "", "own prefixes to withdraw there"),
    Column("at", _LIST, "", "routers that announce them there"),
    Column("to_metro", _TEXT, "", "metro that their demand moves to"),
    Column("why", _TEXT, "", "given, announced there, or nearest: announce it there first"),
    Column("out_bytes", _INT, "bytes", "outbound bytes over the period that this step moves"),
    Column("in_bytes", _INT, "bytes", "inbound bytes that it moves"),
    Column("moved_share", _REAL, "fraction", "of the metro's demand that has moved by then"),
    Column("fullest_link", _TEXT, "", "the fullest link that takes over, and its direction"),
    Column("fullest_utilisation", _REAL, "fraction", "its largest slot / its capacity"),
    Column("slots_over_80", _INT, "slots", "slots × links that take over above 80 %"),
    Column("slots_over_100", _INT, "slots", "slots × links that take over above capacity"),
    Column("without_way_bytes", _INT, "bytes", "bytes that no link takes"),
    Column("left_max_bps", _REAL, "bit/s", "largest slot left on a link of the metro"),
    Column("verdict", _TEXT, "", "whether it fits: go on, or stop"),
    Column("growth", _REAL, "factor", "what present traffic is multiplied with"),
)
DRT_LINKS = (
    Column("emptied", _TEXT, "", "metro that is emptied"),
    Column("step", _INT, "", "step of its plan"),
    *(c for c in DRILL if c.name not in ("kind", "removed")),
)
