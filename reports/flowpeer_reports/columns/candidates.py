"""The candidate lists: metros, organisations, what is not listed, and where to meet."""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from flowpeer_reports.columns.column import ASNS, INT, LIST, REAL, TEXT, Column

_MONEY = "currency a month"

CANDIDATES: tuple[Column, ...] = (
    Column(
        "rank",
        INT,
        "",
        "order in which to ask; 0: already peered, still on transit; empty: all "
        "remaining candidates together",
    ),
    Column("metro", TEXT, "", "metro to peer in"),
    Column("asn", INT, "ASN", "network to ask"),
    Column("asns", ASNS, "ASN", "all networks of its organisation: they are asked together"),
    Column("name", TEXT, "", "its name; where a row stands for several networks, how many"),
    Column("organisation", TEXT, "", "organisation that it belongs to"),
    Column(
        "status",
        TEXT,
        "",
        "where an ask stands; `if #1 says no`: the rows above take all its routes",
    ),
    Column("transits", LIST, "", "transit providers that carry the marginal part, with shares"),
    Column("own_bps", REAL, "bit/s", "transit traffic whose remote end is the network itself"),
    Column("cone_bps", REAL, "bit/s", "all that this ask could take standing alone, unweighted"),
    Column(
        "marginal_bps",
        REAL,
        "bit/s",
        "what it takes if every row above it says yes, by any evidence, unweighted",
    ),
    Column(
        "observed_bps",
        REAL,
        "bit/s",
        "routes that it is seen on, taken by no row above that is seen on them",
    ),
    Column("inferred_bps", REAL, "bit/s", "the part of marginal_bps that it is not seen on"),
    Column(
        "ci95_bps",
        REAL,
        "bit/s",
        "half width of the 95 % interval of marginal_bps: sampling error alone",
    ),
    Column("ci95_low_bps", REAL, "bit/s", "lower end of that interval"),
    Column("ci95_high_bps", REAL, "bit/s", "upper end of that interval"),
    Column(
        "expected_bps",
        REAL,
        "bit/s",
        "acceptance × weight of the evidence × bytes, given how likely the rows above say yes",
    ),
    Column(
        "p95_bps",
        REAL,
        "bit/s",
        "95th percentile of the marginal part over 5-minute slots, nearest rank",
        "p95_estimate",
    ),
    Column(
        "p95_corrected_bps",
        REAL,
        "bit/s",
        "the same less what sampling noise adds to it; where the noise of a slot is above 2 %",
    ),
    Column(
        "p95_quality",
        TEXT,
        "",
        "noisy (sampling above 10 % a slot: not usable), folded (part of it is kept by the hour), "
        "estimate (slots missing or filled), corrected or exact; empty: refused",
    ),
    Column("slots_counted", INT, "slots", "slots behind the percentile"),
    Column("slots_filled", INT, "slots", "of them, with a silent router's part filled in"),
    Column("slots_missing", INT, "slots", "slots of the period that do not count"),
    Column("out_bytes", INT, "bytes", "outbound bytes of the marginal part over the period"),
    Column("in_bytes", INT, "bytes", "inbound bytes of the marginal part over the period"),
    Column(
        "cumulative_share",
        REAL,
        "fraction",
        "share of all transit traffic that this row and those above it (less rank 0) take",
    ),
    Column("cumulative_observed_share", REAL, "fraction", "the same of observed_bps"),
    Column("cumulative_expected_share", REAL, "fraction", "the same of expected_bps"),
    Column(
        "evidence",
        LIST,
        "",
        "how the marginal part is known, with shares: observed on a "
        "path, inferred from the customer cone, declared",
    ),
    Column("weeks_present", INT, "weeks", "weeks of the period with traffic in the marginal part"),
    Column("weekly_min_bps", REAL, "bit/s", "its lowest weekly average"),
    Column("weekly_max_bps", REAL, "bit/s", "its highest weekly average"),
    Column("bill_saving_per_month", REAL, _MONEY, "what the transit bills fall by"),
    Column("saving_per_month", REAL, _MONEY, "the same less peering_cost_per_month"),
    Column("saving_with_inbound_per_month", REAL, _MONEY, "with its own inbound traffic moved too"),
    Column("saving_upper_per_month", REAL, _MONEY, "with inferred routes moved too"),
    Column("saving_at_renewal_per_month", REAL, _MONEY, "at the prices of the contracts' renewal"),
    Column("peering_cost_per_month", REAL, _MONEY, "what the peering itself costs"),
    Column("billed_bps_avoided", REAL, "bit/s", "fall of the billed rate, before the commit"),
    Column("break_even_bps", REAL, "bit/s", "volume from which the peering pays for itself"),
    Column("payback_months", REAL, "months", "set-up cost ÷ monthly saving; empty: never"),
    Column("saving_note", TEXT, "", "why a saving is what it is"),
    Column("currency", TEXT, "", "currency of the amounts"),
    Column("meet", TEXT, "", "where to meet"),
    Column(
        "meet_rank",
        INT,
        "",
        "0 session exists, 1 route servers, 2 same exchange, 3 same "
        "facility, 4 same campus, 5 within 50 km, 6 exchange we are not on, 7 elsewhere",
    ),
    Column(
        "over_port_bps",
        REAL,
        "bit/s",
        "what of the 95th percentile is beyond their ports on that exchange, or beyond what the "
        "rows above leave of ours",
    ),
    Column("policy", TEXT, "", "peering policy it states: Open, Selective, Restrictive, No"),
    Column("feasibility", REAL, "score", "how likely a yes is: a score of 0 to 1 until calibrated"),
    Column("feasibility_reasons", LIST, "", "each factor of feasibility, with its source"),
    Column(
        "expected_value",
        REAL,
        "bit/s",
        "what the list is ranked by: expected_bps; with --rank-by saving or renewal the expected "
        "saving in currency a month",
    ),
    Column("tied_with", LIST, "", "neighbours in rank that sampling cannot tell apart from it"),
    Column("first_seen", pl.Date, "UTC", "start of the compared period if it was listed there"),
    Column("change", TEXT, "", "against the compared period: new, up, down, same"),
    Column("change_causes", LIST, "", "what the change of marginal_bps is made of"),
)

ORGANISATIONS: tuple[Column, ...] = tuple(
    Column("metros", LIST, "", "metros in which it takes anything, most first")
    if c.name == "metro"
    else replace(c, meaning="networks of the organisation")
    if c.name == "asns"
    else c
    for c in CANDIDATES
)

CANDIDATES_SHORT = (
    "rank",
    "metro",
    "asn",
    "name",
    "own_bps",
    "cone_bps",
    "marginal_bps",
    "observed_bps",
    "expected_bps",
    "p95_bps",
    "cumulative_share",
    "policy",
    "feasibility",
    "meet",
)
"""The columns that fit a terminal and decide most questions."""

NOT_LISTED: tuple[Column, ...] = (
    Column("metro", TEXT, "", "metro"),
    Column("reason", TEXT, "", "why this transit traffic is in no row"),
    Column("asns", INT, "ASNs", "networks behind the figure"),
    Column("out_bytes", INT, "bytes", "outbound, scaled"),
    Column("in_bytes", INT, "bytes", "inbound, scaled"),
    Column("bytes", INT, "bytes", "both, scaled"),
    Column(
        "unscaled_bytes",
        INT,
        "bytes as exported",
        "both directions without a known sampling rate; in no sum of scaled bytes",
    ),
    Column("asn", INT, "ASN", "the network, where it stands alone (the clique)"),
    Column("name", TEXT, "", "its name"),
)

CANDIDATE_TOTALS: tuple[Column, ...] = (
    Column("metro", TEXT, "", "metro; all: every metro together"),
    Column("slots", INT, "slots", "5-minute slots that rates are averaged over"),
    Column("transit_bps", REAL, "bit/s", "transit traffic of the chosen direction, average"),
    Column("candidates", INT, "parties", "candidates: listed, or in the row of the remaining ones"),
    Column("already_peered_bytes", INT, "bytes", "rows of rank 0: both directions"),
    Column("listed_bytes", INT, "bytes", "all other rows: both directions"),
    Column("not_listed_bytes", INT, "bytes", "everything else: both directions"),
    Column("out_bytes", INT, "bytes", "transit traffic, outbound"),
    Column("in_bytes", INT, "bytes", "transit traffic, inbound"),
    Column("unscaled_bytes", INT, "bytes as exported", "without a known sampling rate"),
)

PLACES: tuple[Column, ...] = (
    Column("metro", TEXT, "", "metro"),
    Column("rank", INT, "", "rank of the row in the metro's list"),
    Column("asn", INT, "ASN", "network to ask"),
    Column("option", INT, "", "order of preference; 1 is the row's `meet`"),
    Column("meet_rank", INT, "", "rung, as in the list"),
    Column("place", TEXT, "", "the place in words"),
    Column("ix_id", INT, "name", "PeeringDB id of the exchange"),
    Column("our_facility", INT, "name", "PeeringDB id of our facility"),
    Column("their_facility", INT, "name", "PeeringDB id of theirs"),
    Column("campus", INT, "name", "PeeringDB id of the campus"),
    Column("our_port_bps", INT, "bit/s", "our ports on the exchange"),
    Column("their_port_bps", INT, "bit/s", "their ports on the exchange, added up"),
    Column("route_servers", TEXT, "", "who is on the route servers: us, them, both, neither"),
    Column("carriers", LIST, "", "carriers that are in both facilities"),
    Column("note", TEXT, "", "what else is known; near misses"),
)
