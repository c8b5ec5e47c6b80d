"""The columns of `openings`: exchanges that are not joined yet, as bundles of asks."""

from __future__ import annotations

from flowpeer_reports.columns.column import ASNS, INT, REAL, TEXT, Column

_MONEY = "currency a month"

OPENINGS: tuple[Column, ...] = (
    Column("metro", TEXT, "", "metro"),
    Column("ix_id", INT, "", "PeeringDB id of an exchange that we are not on"),
    Column("exchange", TEXT, "", "its name"),
    Column("asns", ASNS, "ASN", "networks of the list that would be met there"),
    Column("peering_cost_per_month", REAL, _MONEY, "port, membership and set-up"),
    Column("bill_saving_per_month", REAL, _MONEY, "what the transit bills fall by"),
    Column("saving_per_month", REAL, _MONEY, "the same less peering_cost_per_month"),
    Column("saving_at_renewal_per_month", REAL, _MONEY, "at the prices of the contracts' renewal"),
    Column("break_even_bps", REAL, "bit/s", "volume from which the exchange pays for itself"),
)
