"""Columns of the causes of an imbalance (METHODS M11)."""

from __future__ import annotations

import polars as pl

from flowpeer_reports.columns import Column

_INT, _REAL, _TEXT, _LIST = pl.Int64, pl.Float64, pl.String, pl.List(pl.String)

CAUSES = (
    Column("metro", _TEXT, "", "metro"),
    Column("direction", _TEXT, "", "in or out"),
    Column("provider_asn", _INT, "ASN", "transit provider that carries too much, or too little"),
    Column("provider", _TEXT, "", "its name"),
    Column("excess_share", _REAL, "fraction", "share − target_share, as in imbalance"),
    Column("cause", _TEXT, "", "why its routes are there and not at a provider with room"),
    Column("bytes", _INT, "bytes", "of the provider's bytes there; empty where none are counted"),
    Column("share", _REAL, "fraction", "of the provider's bytes in that direction"),
    Column("prefixes", _INT, "", "routes of that cause"),
    Column("examples", _LIST, "", "the largest of them, or the links, or the network"),
    Column("detail", _TEXT, "", "what the cause rests on, in words"),
)
