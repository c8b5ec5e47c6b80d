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
MOVES_EFFECT = (
    Column("metro", _TEXT, "", "metro"),
    Column("provider_asn", _INT, "ASN", "transit provider"),
    Column("provider", _TEXT, "", "its name"),
    Column("capacity_bps", _INT, "bit/s", "of its links here; empty: one is unknown"),
    Column(
        "avg_before_bps", _REAL, "bit/s", "outbound over the slots that count, before the rules"
    ),
    Column("avg_after_bps", _REAL, "bit/s", "and with all of them"),
    Column("p95_before_bps", _REAL, "bit/s", "p95, before"),
    Column("p95_after_bps", _REAL, "bit/s", "and after"),
    Column("utilisation_before", _REAL, "fraction", "p95 / capacity, before"),
    Column("utilisation_after", _REAL, "fraction", "and after"),
    Column("slots_over_80_before", _INT, "slots", "slots above 80 % of capacity, before"),
    Column("slots_over_80_after", _INT, "slots", "and after"),
    Column("worst_link_before", _TEXT, "", "its link with the highest p95 / capacity, before"),
    Column("worst_link_utilisation_before", _REAL, "fraction", "that p95 / capacity"),
    Column("worst_link_after", _TEXT, "", "its link with the highest p95 / capacity, after"),
    Column("worst_link_utilisation_after", _REAL, "fraction", "that p95 / capacity"),
    Column("n1_lost_before", _TEXT, "", "provider here whose loss fills this one most, before"),
    Column("n1_utilisation_before", _REAL, "fraction", "p95 / capacity with that one lost"),
    Column("n1_lost_after", _TEXT, "", "provider here whose loss fills this one most, after"),
    Column("n1_utilisation_after", _REAL, "fraction", "p95 / capacity with that one lost"),
    Column(
        "n1_slots_over_100_before", _INT, "slots", "most slots above capacity in an N−1, before"
    ),
    Column("n1_slots_over_100_after", _INT, "slots", "and after"),
)
MOVES_BILLS = (
    Column("contract", _TEXT, "", "its id; all: every contract of the month"),
    Column("provider", _TEXT, "", "provider"),
    Column("month", _TEXT, "month", "in the contract's time zone"),
    Column("before_total", _REAL, "currency a month", "the bill as it was"),
    Column("after_total", _REAL, "currency a month", "if the rules had held all month"),
    Column("before_bps", _REAL, "bit/s", "billed rate as it was"),
    Column("after_bps", _REAL, "bit/s", "with the rules"),
    Column("commit_bps", _INT, "bit/s", "commit"),
    Column("currency", _TEXT, "", "currency of the amounts"),
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
