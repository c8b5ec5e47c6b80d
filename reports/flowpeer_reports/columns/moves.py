"""Columns of the outbound move list and the inbound sheets (METHODS M11)."""

from __future__ import annotations

import polars as pl

from flowpeer_reports.columns import Column

_INT, _REAL, _TEXT = pl.Int64, pl.Float64, pl.String

MOVES = (
    Column("metro", _TEXT, "", "metro"),
    Column("rule", _INT, "", "order in which to apply; each figure counts those above it"),
    Column("match", _TEXT, "", "what the rule matches: an origin AS, or one prefix"),
    Column("prefix", _TEXT, "", "the prefix; empty for a rule by origin"),
    Column("origin_asn", _INT, "ASN", "origin of the routes"),
    Column("origin", _TEXT, "", "its name"),
    Column("from_provider_asn", _INT, "ASN", "provider that carries them now"),
    Column("from_provider", _TEXT, "", "its name"),
    Column("to_provider_asn", _INT, "ASN", "provider to prefer for them"),
    Column("to_provider", _TEXT, "", "its name"),
    Column("knob", _TEXT, "", "what to set on import"),
    Column("path", _TEXT, "", "tied: no longer AS path; one hop longer"),
    Column("stability", _TEXT, "", "stable, or unknown with fewer than 8 tables in the period"),
    Column("out_bytes", _INT, "bytes", "bytes that the rule moves"),
    Column("avg_bps", _REAL, "bit/s", "on average over the period"),
    Column("d_before", _REAL, "fraction", "d before this rule"),
    Column("d_after", _REAL, "fraction", "d with it"),
    Column("from_p95_before_bps", _REAL, "bit/s", "p95 of the provider it leaves, before"),
    Column("from_p95_after_bps", _REAL, "bit/s", "and after"),
    Column("to_p95_before_bps", _REAL, "bit/s", "p95 of the provider it joins, before"),
    Column("to_p95_after_bps", _REAL, "bit/s", "and after"),
    Column("to_utilisation_after", _REAL, "fraction", "to_p95_after_bps / capacity"),
)
INBOUND = (
    Column("metro", _TEXT, "", "metro"),
    Column("provider_asn", _INT, "ASN", "transit provider that the sheet is for"),
    Column("provider", _TEXT, "", "its name"),
    Column("local_prefix", _TEXT, "", "own prefix; empty: the local end is not ours"),
    Column("source_asn", _INT, "ASN", "network that sends; empty: all others together"),
    Column("source", _TEXT, "", "its name"),
    Column("in_bytes", _INT, "bytes", "inbound over the period, scaled"),
    Column("avg_bps", _REAL, "bit/s", "on average over the period"),
    Column("share", _REAL, "fraction", "share of the provider's inbound bytes in the metro"),
    Column("slots_over_80", _INT, "slots", "slots in which the provider is above 80 % here"),
)
INBOUND_KNOBS = (
    Column("knob", _TEXT, "", "what can be set"),
    Column("does", _TEXT, "", "what it does where the other side heeds it"),
    Column("side_effects", _TEXT, "", "what else it does; no share is predicted"),
)
KNOBS = (
    ("MED", "asks one provider to prefer one of our links to another",
     "only between links to the same neighbour, and only where it accepts MED"),
    ("prepend", "makes a path through one provider longer",
     "moves whole networks at once, also far away; nothing moves where LOCAL_PREF decides"),
    ("more-specific", "draws a part of a prefix to the links that announce it",
     "adds to every table of the Internet; a lone announcement has no fallback"),
    ("provider's communities", "sets LOCAL_PREF or prepends inside one provider",
     "differs by provider; changes how its customers reach us everywhere"),
)  # fmt: skip
