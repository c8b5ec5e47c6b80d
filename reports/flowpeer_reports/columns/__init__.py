"""Every column that a report puts out, stated once: type, unit, meaning.

All formats, the glossary of the HTML page and the reference page read these tuples. To add a
column: state it here at its place in the order, fill it where the answer is made, renew the
golden files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl
from polars.datatypes import DataType, DataTypeClass

PolarsType = DataType | DataTypeClass


@dataclass(frozen=True, slots=True)
class Column:
    """One column of one answer."""

    name: str
    type: PolarsType
    unit: str
    meaning: str
    estimate: str = ""
    """A column that a frame may have beside it: true where the value is an estimate."""


_INT, _REAL, _TEXT, _LIST = pl.Int64, pl.Float64, pl.String, pl.List(pl.String)

CANDIDATES: tuple[Column, ...] = (
    Column("rank", _INT, "", "order in which to ask; 0: already peered, still on transit"),
    Column("metro", _TEXT, "", "metro to peer in"),
    Column("asn", _INT, "ASN", "network to ask"),
    Column("name", _TEXT, "", "its name"),
    Column("transits", _LIST, "", "transit providers that carry the marginal part, with shares"),
    Column("own_bps", _REAL, "bit/s", "transit traffic whose remote end is the network itself"),
    Column("cone_bps", _REAL, "bit/s", "all that this ask could take standing alone, unweighted"),
    Column(
        "marginal_bps",
        _REAL,
        "bit/s",
        "what it takes if every row above it in the metro says yes, unweighted",
    ),
    Column(
        "ci95_bps",
        _REAL,
        "bit/s",
        "half width of the 95 % interval of marginal_bps: sampling error alone",
    ),
    Column(
        "p95_bps",
        _REAL,
        "bit/s",
        "95th percentile of the marginal part over 5-minute slots, nearest rank",
        "p95_estimate",
    ),
    Column("out_bytes", _INT, "bytes", "outbound bytes of the marginal part over the period"),
    Column("in_bytes", _INT, "bytes", "inbound bytes of the marginal part over the period"),
    Column(
        "cumulative_share",
        _REAL,
        "fraction",
        "share of the metro's transit traffic that this row and those above take together",
    ),
    Column(
        "evidence",
        _LIST,
        "",
        "how the marginal part is known, with shares: observed on a "
        "path, inferred from the customer cone, declared",
    ),
    Column("saving_per_month", _REAL, "currency", "what the row saves; empty until prices count"),
    Column("currency", _TEXT, "", "currency of saving_per_month"),
    Column("meet", _TEXT, "", "where to meet"),
    Column(
        "meet_rank",
        _INT,
        "",
        "0 session exists, 1 route servers, 2 same exchange, 3 same "
        "facility, 4 same campus, 5 within 50 km, 6 exchange we are not on, 7 elsewhere",
    ),
    Column("policy", _TEXT, "", "peering policy it states: Open, Selective, Restrictive, No"),
    Column("feasibility", _REAL, "score", "acceptance: a score of 0 to 1, not yet calibrated"),
    Column("feasibility_reasons", _LIST, "", "each factor of feasibility, with its source"),
    Column(
        "expected_value",
        _REAL,
        "bit/s",
        "feasibility × marginal, given how likely the rows above say yes: the ranking's figure",
    ),
    Column("tied_with", _LIST, "", "neighbours in rank that sampling cannot tell apart from it"),
    Column("first_seen", pl.Date, "UTC", "first period with this row; empty: not tracked"),
    Column("change", _REAL, "fraction", "change against the period before; empty: not tracked"),
)

CANDIDATES_SHORT = (
    "rank",
    "metro",
    "asn",
    "name",
    "own_bps",
    "cone_bps",
    "marginal_bps",
    "ci95_bps",
    "p95_bps",
    "cumulative_share",
    "policy",
    "feasibility",
    "meet",
)
"""The columns that fit a terminal and decide most questions."""

NOT_LISTED: tuple[Column, ...] = (
    Column("metro", _TEXT, "", "metro"),
    Column("reason", _TEXT, "", "why this transit traffic is in no row"),
    Column("asns", _INT, "ASNs", "networks behind the figure"),
    Column("out_bytes", _INT, "bytes", "outbound, scaled"),
    Column("in_bytes", _INT, "bytes", "inbound, scaled"),
    Column("bytes", _INT, "bytes", "both, scaled"),
    Column(
        "unscaled_bytes",
        _INT,
        "bytes as exported",
        "both directions without a known sampling rate; in no sum of scaled bytes",
    ),
)

CANDIDATE_TOTALS: tuple[Column, ...] = (
    Column("metro", _TEXT, "", "metro; all: every metro together"),
    Column("slots", _INT, "slots", "5-minute slots covered by data"),
    Column("transit_bps", _REAL, "bit/s", "transit traffic of the chosen direction, average"),
    Column("candidates", _INT, "rows", "rows of rank 1 and above"),
    Column("already_peered_bytes", _INT, "bytes", "rows of rank 0: both directions"),
    Column("listed_bytes", _INT, "bytes", "rows of rank 1 and above: both directions"),
    Column("not_listed_bytes", _INT, "bytes", "everything else: both directions"),
    Column("out_bytes", _INT, "bytes", "transit traffic, outbound"),
    Column("in_bytes", _INT, "bytes", "transit traffic, inbound"),
    Column("unscaled_bytes", _INT, "bytes as exported", "without a known sampling rate"),
)

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
    Column("target_share", _REAL, "fraction", "its share of the metro's transit capacity"),
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
    Column("jain", _REAL, "index", "Jain's index of average utilisations"),
    Column("worst_provider_asn", _INT, "ASN", "provider with the highest utilisation_p95"),
    Column("worst_utilisation_p95", _REAL, "fraction", "its utilisation_p95"),
    Column("slots_over_80", _INT, "slots", "slots in which some provider is above 80 %"),
)


def schema(columns: Sequence[Column]) -> pl.Schema:
    """The Polars schema of `columns`, in their order."""
    return pl.Schema({c.name: c.type for c in columns})


def pick(columns: Sequence[Column], names: Sequence[str]) -> tuple[Column, ...]:
    """The columns with these names, in the order of the names."""
    by_name = {c.name: c for c in columns}
    return tuple(by_name[n] for n in names)
