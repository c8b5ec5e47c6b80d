"""Was the drill right? An outage that happened, predicted and measured (METHODS M12).

Interfaces without a byte in the window that had some in the same slots a day (else a week) earlier
are taken as removed. The demand of then is scaled, by metro and direction, to the window's total,
and falls as the tables of then say.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
import polars as pl

from flowpeer_core.slots import SLOT_SECONDS
from flowpeer_reports.columns import schema
from flowpeer_reports.columns.drill import REPLAY
from flowpeer_reports.drill import WAYS, after
from flowpeer_reports.errors import ReportError
from flowpeer_reports.failover import FailoverCompiler
from flowpeer_reports.relations import Ints
from flowpeer_reports.removals import Removal

DAY, WEEK = 288, 7 * 288


@dataclass(slots=True)
class Replay:
    """The answer; `rows` has the columns of `flowpeer_reports.columns.drill.REPLAY`."""

    rows: pl.DataFrame
    error: dict[str, float | None]
    """direction, and `metro/direction`: Σ |predicted − observed| / Σ observed, by slot."""
    window_error: dict[str, float | None]
    """The same keys: by link over the whole window."""
    removed: list[str]
    shift: int
    """Slots that the demand is taken from before the window."""
    notes: list[str] = field(default_factory=list)


def replay(compiler: FailoverCompiler, window: slice) -> Replay:
    """Predict a window from the day (else the week) before it.

    Args:
        window: slots of the compiler's period, which reaches back to the demand.

    Raises:
        ReportError: no traffic in the window or before it, or no link that fell silent.
    """
    found, ports = compiler.found, compiler.ports
    every = np.arange(found.links.height)
    both = found.out + found.into
    if not both[:, window].any():
        raise ReportError("no traffic in the window to replay", advice="give one that is rolled up")
    shift = next(
        (
            s
            for s in (DAY, WEEK)
            if window.start >= s and both[:, window.start - s : window.stop - s].any()
        ),
        None,
    )
    if shift is None:
        raise ReportError(
            "no traffic a day or a week before the window, to take the demand from",
            advice="replay a window that lies later",
        )
    before = slice(window.start - shift, window.stop - shift)
    at, port_bytes = ports.sums(every, both, both)
    quiet = np.flatnonzero(
        ~np.any(port_bytes[:, window], axis=1) & np.any(port_bytes[:, before], axis=1)
    )
    silent = np.flatnonzero(np.isin(ports.first, at[quiet]))
    if not len(silent):
        raise ReportError(
            "no link fell silent in the window: each that had traffic before has some",
            advice="give the window of the outage, START/END in UTC",
        )
    removal = Removal("replay", "window", tuple(silent.tolist()))
    failovers = compiler.compile(removal)
    places = compiler.choice.places
    rows: list[dict[str, Any]] = []
    sums: dict[str, list[int]] = {}
    """By key of the errors: of slots, of the window, observed bytes."""
    lost: list[str] = []
    for way, failover in zip(WAYS, failovers, strict=True):
        state = after(compiler, removal, failover, way, before)
        dense = found.way(way)
        predicted = dense[:, before].copy()
        predicted[state.links] = state.bytes
        _, predicted = ports.sums(every, predicted, predicted)
        _, observed = ports.sums(every, dense[:, window], dense)
        nowhere = int(state.without_way.sum())
        if nowhere:
            lost.append(f"{way}: {nowhere:,} bytes of the demand have no way in the prediction")
        for metro, name in enumerate(places.metros):
            mine = np.flatnonzero(np.equal(places.metro_of_link, metro))
            here = np.flatnonzero(np.isin(at, mine))
            factor = Fraction(int(observed[here].sum()), max(int(dense[mine, before].sum()), 1))
            for port in np.setdiff1d(here, quiet).tolist():
                guess = _times(predicted[port], factor)
                seen = observed[port]
                if not guess.any() and not seen.any():
                    continue
                error = int(np.abs(guess - seen).sum())
                total = int(seen.sum())
                of_window = abs(int(guess.sum()) - total)
                for key in (way, f"{name}/{way}"):
                    was = sums.get(key, [0, 0, 0])
                    sums[key] = [a + b for a, b in zip(was, (error, of_window, total), strict=True)]
                row = found.links.row(int(at[port]), named=True)
                rows.append(
                    {
                        "exporter": row["exporter"],
                        "interface": row["interface"],
                        "direction": way,
                        "predicted_bytes": int(guess.sum()),
                        "observed_bytes": total,
                        "predicted_max_bps": int(guess.max()) * 8 / SLOT_SECONDS,
                        "observed_max_bps": int(seen.max()) * 8 / SLOT_SECONDS,
                        "error_share": error / total if total else None,
                        "window_error_share": of_window / total if total else None,
                    }
                )
    names = [
        f"{e}:{i}"
        for e, i in found.links[at[quiet].tolist()].select("exporter", "interface").iter_rows()
    ]
    errors, whole = (
        {key: of[n] / of[2] if of[2] else None for key, of in sums.items()} for n in (0, 1)
    )
    ago = "a day" if shift == DAY else "a week"
    head = f"silent in the window: {', '.join(names)}; demand is that of {ago} earlier, scaled by "
    notes = [
        head + "metro and direction to the window's total",
        *(
            f"error {way}: {errors[way]:.1%} of the bytes (Σ |predicted − observed| by link and "
            f"slot), {whole[way]:.1%} by link over the window"
            for way in WAYS
            if errors.get(way) is not None
        ),
        *lost,
    ]
    return Replay(pl.DataFrame(rows, schema=schema(REPLAY)), errors, whole, names, shift, notes)


def _times(values: Ints, factor: Fraction) -> Ints:
    """Each value times a fraction, rounded half up, in Python's integers where they are large."""
    n, d = factor.numerator, factor.denominator
    return np.array([(2 * v * n + d) // (2 * d) for v in values.tolist()], dtype=np.int64)
