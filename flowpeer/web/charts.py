"""Which columns of a table a chart draws."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from flowpeer_reports.render.cells import is_number, unit_of

MOST_BARS, MOST_SERIES = 60, 24


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart over a table: its columns, and how they are drawn."""

    x: str
    y: str
    series: tuple[str, ...] = ()
    unit: str = "bit/s"
    bounds: tuple[str, ...] = ()
    """Columns that are drawn as dashed lines, one a provider: hidden at first where there are
    several."""
    kind: str = "line"
    """line, over time, or bar."""


def chart_of(rows: pl.DataFrame) -> Chart | None:
    """A chart of rows that nobody described: the first figure over the first time, by the texts
    beside it; else bars by the first text. None where there is nothing to draw."""
    schema = rows.schema
    figures = [n for n, t in schema.items() if is_number(t) and unit_of(n) not in ("ASN", "name")]
    times = [n for n, t in schema.items() if isinstance(t, pl.Datetime) or t == pl.Date]
    words = [n for n, t in schema.items() if t == pl.String]
    if not figures or rows.is_empty():
        return None
    y = next((n for n in figures if unit_of(n) == "bit/s"), figures[0])
    if times:
        by: list[str] = []
        for name in words:
            if rows.select(*by, name).unique().height <= MOST_SERIES:
                by.append(name)
        return Chart(times[0], y, tuple(by), unit_of(y))
    if words and rows.height <= MOST_BARS:
        return Chart(words[0], y, (), unit_of(y), kind="bar")
    return None
