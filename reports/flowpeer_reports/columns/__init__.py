"""Every column that a report puts out, stated once: type, unit, meaning.

All formats, the glossary of the HTML page and the reference page read these tuples. To add a
column: state it here at its place in the order, fill it where the answer is made, renew the
golden files.
"""

from __future__ import annotations

from flowpeer_reports.columns.candidates import (
    CANDIDATE_TOTALS,
    CANDIDATES,
    CANDIDATES_SHORT,
    NOT_LISTED,
    ORGANISATIONS,
    PLACES,
)
from flowpeer_reports.columns.column import (
    INT as _INT,
)
from flowpeer_reports.columns.column import (
    REAL as _REAL,
)
from flowpeer_reports.columns.column import (
    TEXT as _TEXT,
)
from flowpeer_reports.columns.column import (
    Column,
    PolarsType,
    pick,
    schema,
)
from flowpeer_reports.columns.exchanges import EXCHANGES, OPENINGS

__all__ = [
    "CANDIDATES",
    "CANDIDATES_SHORT",
    "CANDIDATE_TOTALS",
    "EXCHANGES",
    "IMBALANCE",
    "IMBALANCE_TOTALS",
    "NOT_LISTED",
    "OPENINGS",
    "ORGANISATIONS",
    "PLACES",
    "Column",
    "PolarsType",
    "pick",
    "schema",
]  # fmt: skip

IMBALANCE: tuple[Column, ...] = (
    Column("metro", _TEXT, "", "metro"),
    Column("direction", _TEXT, "", "in or out"),
    Column("provider_asn", _INT, "ASN", "transit provider"),
    Column("provider", _TEXT, "", "its name"),
    Column("capacity_bps", _INT, "bit/s", "capacity of its transit interfaces in the metro"),
    Column("avg_bps", _REAL, "bit/s", "average over the covered slots"),
    Column("p95_bps", _REAL, "bit/s", "95th percentile over 5-minute slots, nearest rank"),
    Column("peak_bps", _REAL, "bit/s", "largest slot"),
    Column("utilisation_p95", _REAL, "fraction", "p95_bps / capacity_bps"),
    Column("share", _REAL, "fraction", "its share of the metro's transit bytes"),
    Column("target_share", _REAL, "fraction", "what it should carry, by `target`"),
    Column("excess_share", _REAL, "fraction", "share − target_share"),
    Column(
        "d",
        _REAL,
        "fraction",
        "least fraction of the metro's traffic that must change "
        "provider: byte-weighted mean over slots of ½ Σ |share − target_share|",
    ),
    Column("jain", _REAL, "index", "Jain's index of the metro's average utilisations, 1 is even"),
    Column("slots_over_80", _INT, "slots", "slots above 80 % of capacity"),
    Column("target", _TEXT, "", "what targets are by: commit, capacity, given or equal"),
    Column("d_busiest", _REAL, "fraction", "mean of d over the busiest 5 % of slots"),
    Column(
        "d_feasible",
        _REAL,
        "fraction",
        "d by the hour that is left if the bytes of tied routes are split freely among their "
        "exits: a bound; empty for inbound, and without views of at least two providers",
    ),
    Column("d_hourly", _REAL, "fraction", "d by the hour as it is, to compare d_feasible with"),
    Column("p50_bps", _REAL, "bit/s", "median over 5-minute slots, nearest rank"),
)

IMBALANCE_TOTALS: tuple[Column, ...] = (
    Column("metro", _TEXT, "", "metro"),
    Column("direction", _TEXT, "", "in or out"),
    Column("slots", _INT, "slots", "5-minute slots covered by data"),
    Column("missing_slots", _INT, "slots", "slots without data, left out"),
    Column("bytes", _INT, "bytes", "transit traffic, scaled"),
    Column("unscaled_bytes", _INT, "bytes as exported", "without a known sampling rate"),
    Column("d", _REAL, "fraction", "byte-weighted mean over slots"),
    Column("d_busiest", _REAL, "fraction", "the same over the busiest 5 % of slots"),
    Column("target", _TEXT, "", "what targets are by: commit, capacity, given or equal"),
    Column("jain", _REAL, "index", "Jain's index of average utilisations"),
    Column("worst_provider_asn", _INT, "ASN", "provider with the highest utilisation_p95"),
    Column("worst_utilisation_p95", _REAL, "fraction", "its utilisation_p95"),
    Column("slots_over_80", _INT, "slots", "slots in which some provider is above 80 %"),
)
