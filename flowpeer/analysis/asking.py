"""Before an answer is made: does what is asked for exist, is what it is made from up to date?"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from flowpeer.analysis.inputs import stale_hours
from flowpeer.analysis.periods import parse_as_of, younger
from flowpeer.errors import UsageError, suggestion
from flowpeer.lake.record import Record
from flowpeer.network import Configuration
from flowpeer.period import parse_period


def asked(
    network: Configuration,
    record: Record,
    period: str | None,
    metros: Sequence[str] | None,
    as_of: str | None,
    warn: Callable[[str], None],
) -> None:
    """Look at a question; `record` then ends at `as_of`.

    Warns where the roll-ups are not up to date, or an input is younger than `as_of`.

    Raises:
        UsageError: a period, metro or time that is misspelt, before any work is done.
    """
    if period is not None:
        parse_period(period)
    known = [m.id for m in network.metros]
    for metro in metros or ():
        if metro not in (*known, "unknown"):
            raise UsageError(f"--metro {metro}: no such metro", advice=suggestion(metro, known))
    if as_of is not None:
        record.until = parse_as_of(as_of)
        for text in younger(record, record.until):
            warn(text)
    if stale := stale_hours(network, record, period):
        warn(
            f"{stale} hours are not up to date, and the answer is made from what they were: run "
            "`flowpeer rollup`"
        )
