"""Columns of the failure drill and its side tables (METHODS M12)."""

from __future__ import annotations

import polars as pl

from flowpeer_reports.columns import Column

_INT, _REAL, _TEXT, _FLAG = pl.Int64, pl.Float64, pl.String, pl.Boolean

_WHAT = (
    Column("kind", _TEXT, "", "what is removed: link, provider, exporter, exchange, …"),
    Column("removed", _TEXT, "", "its name"),
)
DRILL = (
    *_WHAT,
    Column("metro", _TEXT, "", "metro of a link that takes over"),
    Column("exporter", _TEXT, "", "its router"),
    Column("interface", _INT, "ifIndex", "its interface; all figures are those of the whole port"),
    Column("provider_asn", _INT, "ASN", "network on its other side; empty: several share the port"),
    Column("role", _TEXT, "", "transit, peer, ix or customer"),
    Column("direction", _TEXT, "", "out or in; in: pro rata, its true split is not known"),
    Column("capacity_bps", _INT, "bit/s", "capacity of the link"),
    Column("max_before_bps", _REAL, "bit/s", "largest slot as it was, at the growth asked for"),
    Column("max_bps", _REAL, "bit/s", "largest slot in the drill"),
    Column("p95_bps", _REAL, "bit/s", "95th percentile of the covered slots in the drill"),
    Column("max_utilisation", _REAL, "fraction", "max_bps / capacity_bps"),
    Column("p95_utilisation", _REAL, "fraction", "p95_bps / capacity_bps"),
    Column("slots_over_80", _INT, "slots", "slots above 80 % of capacity"),
    Column("slots_over_100", _INT, "slots", "slots above capacity"),
    Column(
        "worst_max_bps", _REAL, "bit/s",
        "in: the largest slot if this link alone receives all that it may; empty for out",
    ),
    Column("worst_slots_over_100", _INT, "slots", "in: slots above capacity then"),
    Column("short_bps", _REAL, "bit/s", "max_bps above 80 % of capacity: what to buy"),
    Column("ports_to_buy", _INT, "ports", "whole ports of port_bps, each filled to 80 %"),
    Column("port_bps", _INT, "bit/s", "the port that is bought: the link's"),
    Column("bottleneck", _FLAG, "", "the link that is full first in this drill"),
    Column("growth", _REAL, "factor", "what present traffic is multiplied with"),
)  # fmt: skip
DRILL_SUMMARY = (
    *_WHAT,
    Column("moved_bytes", _INT, "bytes", "bytes that other links take over, both directions"),
    Column("tie_bytes", _INT, "bytes", "of them outbound, placed by a tie of exits"),
    Column("assumed_bytes", _INT, "bytes", "of them outbound, placed on exits without a view"),
    Column("gone_bytes", _INT, "bytes", "bytes whose demand is gone with the site"),
    Column("out_without_way_bytes", _INT, "bytes", "outbound bytes that no link takes"),
    Column("in_without_way_bytes", _INT, "bytes", "inbound bytes that no link takes"),
    Column("first_bottleneck", _TEXT, "", "of the links that change, the one that is full first"),
    Column(
        "largest_growth", _REAL, "factor",
        "largest growth at which no slot of them exceeds 100 % (pro rata), rounded down to 0.01",
    ),
    Column("worst_largest_growth", _REAL, "factor", "the same with inbound in the worst case"),
    Column("slots_over_100", _INT, "slots", "slots × links above capacity"),
    Column("ports_to_buy", _INT, "ports", "of all links"),
    Column("growth", _REAL, "factor", "what present traffic is multiplied with"),
)  # fmt: skip
DRILL_BETWEEN_METROS = (
    *_WHAT,
    Column("direction", _TEXT, "", "out or in"),
    Column("from_metro", _TEXT, "", "metro that the bytes left or came in by"),
    Column("to_metro", _TEXT, "", "metro that they use in the drill"),
    Column("bytes", _INT, "bytes", "over the period"),
    Column("avg_bps", _REAL, "bit/s", "average; the backbone's capacity is not checked"),
    Column("p95_bps", _REAL, "bit/s", "95th percentile over the period's slots"),
    Column("max_bps", _REAL, "bit/s", "largest slot"),
    Column("growth", _REAL, "factor", "what present traffic is multiplied with"),
)
DRILL_SLOTS = (
    *_WHAT,
    Column("slot", pl.Datetime("us", "UTC"), "UTC", "start of the slot"),
    Column("metro", _TEXT, "", "metro; empty for bytes on no link"),
    Column("exporter", _TEXT, "", "router; empty: `gone` and `without a way` are no links"),
    Column("interface", _INT, "ifIndex", "interface"),
    Column("what", _TEXT, "", "link, gone or without a way"),
    Column("direction", _TEXT, "", "out or in"),
    Column("before_bytes", _INT, "bytes", "as it was, without growth"),
    Column("bytes", _INT, "bytes", "in the drill, without growth"),
)
DRILL_ASKS = (
    Column("rank", _INT, "", "place in the list of organisations"),
    Column("asn", _INT, "ASN", "network that is taken to have said yes"),
    Column("name", _TEXT, "", "its name"),
    Column("metro", _TEXT, "", "metro"),
    Column("meet", _TEXT, "", "where they meet us"),
    Column("exporter", _TEXT, "", "router of that link; ask-…: a link that is not there yet"),
    Column("interface", _INT, "ifIndex", "its interface; 0 of a link that is not there yet"),
    Column("planned", _FLAG, "", "the link is not there yet: its capacity is not known"),
    Column("moved_bytes", _INT, "bytes", "outbound bytes that leave transit for it"),
    Column("max_bps", _REAL, "bit/s", "largest slot of them"),
)
REPLAY = (
    Column("exporter", _TEXT, "", "router of a surviving link"),
    Column("interface", _INT, "ifIndex", "its interface"),
    Column("direction", _TEXT, "", "out or in"),
    Column("predicted_bytes", _INT, "bytes", "what the drill says for the window"),
    Column("observed_bytes", _INT, "bytes", "what was measured"),
    Column("predicted_max_bps", _REAL, "bit/s", "largest slot of the prediction"),
    Column("observed_max_bps", _REAL, "bit/s", "largest slot measured"),
    Column("error_share", _REAL, "fraction", "Σ over slots |predicted − observed| / Σ observed"),
    Column(
        "window_error_share", _REAL, "fraction", "|predicted_bytes − observed_bytes| / observed"
    ),
)
