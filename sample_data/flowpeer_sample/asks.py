"""asks.csv of the sample network: whom it asked for peering, and what came of it."""

from __future__ import annotations

from flowpeer_sample import answers as a
from flowpeer_sample import world as w
from flowpeer_sample.networks import internet

_HEADER = (
    "date,organisation,asn,metros,event,until,owner,note,"
    "predicted_bps,predicted_ci95_bps,predicted_saving"
)


def asks_csv() -> str:
    """One event a line, in the order of their days."""
    lines = [_HEADER]
    for one in w.ASKS:
        name = internet().networks[one.asn].name
        predicted = ",,"
        if one.event == "asked" and (one.asn, one.metro) == w.LIVE:
            bps = a.predicted_bps()
            predicted = f"{bps},{bps // 50},"
        lines.append(
            f"{one.date},{name},{one.asn},{one.metro},{one.event},,noc,{one.note},{predicted}"
        )
    return "\n".join(lines) + "\n"
