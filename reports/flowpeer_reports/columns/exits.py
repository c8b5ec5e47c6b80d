"""Columns of the exit audit (METHODS M12)."""

from __future__ import annotations

import polars as pl

from flowpeer_reports.columns import Column

_INT, _REAL, _TEXT, _LIST = pl.Int64, pl.Float64, pl.String, pl.List(pl.String)

EXITS = (
    Column("metro", _TEXT, "", "metro that the bytes leave from"),
    Column("cause", _TEXT, "", "as expected, or why another exit than the expected one is used"),
    Column("judged", pl.Boolean, "", "false: the tables do not show enough to judge these bytes"),
    Column("out_bytes", _INT, "bytes", "outbound, scaled"),
    Column("share", _REAL, "fraction", "share of the metro's outbound bytes"),
    Column("prefixes", _INT, "", "prefixes among them"),
    Column("top_prefixes", _LIST, "", "the largest of them"),
    Column(
        "comparison", _TEXT, "",
        "with LOCAL_PREF: does BGP do what it says; without: does policy follow the shortest path",
    ),
)  # fmt: skip
EXIT_ROUTES = (
    Column("comparison", _TEXT, "", "with or without LOCAL_PREF"),
    Column("metro", _TEXT, "", "metro that the bytes leave from"),
    Column("exporter", _TEXT, "", "actual exit: router"),
    Column("interface", _INT, "ifIndex", "its interface"),
    Column("provider_asn", _INT, "ASN", "network on its other side"),
    Column("prefix", _TEXT, "", "route of the remote end"),
    Column("origin_asn", _INT, "ASN", "its origin"),
    Column("home", _TEXT, "", "metro that the demand belongs to"),
    Column("expected", _LIST, "", "exits that the tables say, exporter:interface"),
    Column("cause", _TEXT, "", "why they differ"),
    Column("out_bytes", _INT, "bytes", "outbound, scaled"),
)
