"""What each exchange would take (METHODS M18)."""

from __future__ import annotations

from flowpeer_reports.columns.column import ASNS, FLAG, INT, REAL, TEXT, Column

_MONEY = "currency a month"

EXCHANGES: tuple[Column, ...] = (
    Column("rank", INT, "", "order by what it adds through open policies to those above it"),
    Column("metro", TEXT, "", "metro"),
    Column("ix_id", INT, "name", "PeeringDB id of the exchange"),
    Column("exchange", TEXT, "", "its name"),
    Column("joined", FLAG, "", "whether we are on it"),
    Column("members", INT, "parties", "candidates of the metro with an operational port there"),
    Column("rs_bps", REAL, "bit/s", "what its route servers alone would reach, any evidence"),
    Column("open_bps", REAL, "bit/s", "with bilateral sessions of members of open policy"),
    Column("selective_bps", REAL, "bit/s", "with those of selective policy"),
    Column("all_bps", REAL, "bit/s", "with those of restrictive or unknown policy; never of *no*"),
    Column("observed_bps", REAL, "bit/s", "the part of all_bps that members are seen on"),
    Column("marginal_bps", REAL, "bit/s", "open_bps less what the exchanges above it take"),
    Column("marginal_all_bps", REAL, "bit/s", "all_bps less what the exchanges above it take"),
    Column("over_port_bps", REAL, "bit/s", "what of it is beyond the headroom of our port there"),
    Column("bill_saving_per_month", REAL, _MONEY, "what the transit bills fall by"),
    Column("saving_per_month", REAL, _MONEY, "the same less peering_cost_per_month"),
    Column("saving_at_renewal_per_month", REAL, _MONEY, "at the prices of the contracts' renewal"),
    Column("peering_cost_per_month", REAL, _MONEY, "port, membership and set-up"),
    Column("break_even_bps", REAL, "bit/s", "volume from which joining pays for itself"),
    Column("currency", TEXT, "", "currency of the amounts"),
)

OPENINGS: tuple[Column, ...] = (
    Column("metro", TEXT, "", "metro"),
    Column("ix_id", INT, "name", "PeeringDB id of an exchange that we are not on"),
    Column("exchange", TEXT, "", "its name"),
    Column("asns", ASNS, "ASN", "rows of the candidate list that would be met there"),
    Column("peering_cost_per_month", REAL, _MONEY, "port, membership and set-up"),
    Column("bill_saving_per_month", REAL, _MONEY, "what the transit bills fall by"),
    Column("saving_per_month", REAL, _MONEY, "the same less peering_cost_per_month"),
    Column("saving_at_renewal_per_month", REAL, _MONEY, "at the prices of the contracts' renewal"),
    Column("break_even_bps", REAL, "bit/s", "volume from which joining pays for itself"),
)
