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


def chart_of(rows: pl.DataFrame) -> Chart | str:
    """A chart of rows that nobody described: the first rate, else octets, else the first figure,
    over the first time, by the names that tell rows apart; without a time bars by the first name.
    Why there is none, where rows do not say what a point of it would be."""
    numbers = [n for n, t in rows.schema.items() if is_number(t)]
    figures = [n for n in numbers if unit_of(n) not in ("ASN", "name")]
    names = [n for n, t in rows.schema.items() if t == pl.String]
    names += [n for n in numbers if n not in figures]
    times = [n for n, t in rows.schema.items() if isinstance(t, pl.Datetime) or t == pl.Date]
    if rows.is_empty() or not figures:
        return "there is no figure to draw"
    if not (times or names):
        return "there is no time and no name to draw the figures by"
    if names:  # a time behind the figures is one of them, like the end of a contract
        times = [n for n in times if rows.columns.index(n) < rows.columns.index(figures[0])]
    x, *others = [*times, *names]
    y = min(figures, key=_rank)
    kind = "line" if times else "bar"
    if kind == "bar" and rows[x].n_unique() > MOST_BARS:
        return f"more than {MOST_BARS} bars: narrow it, or add LIMIT"
    series = _series(rows, x, [n for n in others if n not in times])
    if isinstance(series, str):
        return series
    return Chart(x, y, series, unit_of(y), kind=kind)


def _rank(figure: str) -> int:
    """Of rates, octets, and all others, which are in the order of the columns."""
    kinds = [unit_of(figure) == "bit/s", figure.endswith("mbps"), unit_of(figure) == "bytes", True]
    return kinds.index(True)


def _series(rows: pl.DataFrame, x: str, names: list[str]) -> tuple[str, ...] | str:
    """As few of the names as tell rows of the same `x` apart, the first that do; why none do."""
    chosen: list[str] = []
    distinct = rows[x].n_unique()
    for name in names:
        if distinct == rows.height:
            break
        more = rows.select(x, *chosen, name).n_unique()
        if more > distinct:
            chosen.append(name)
            distinct = more
    if distinct < rows.height:
        return f"several rows have the same {', '.join((x, *chosen))}: sum them with GROUP BY"
    if chosen and rows.select(chosen).n_unique() > MOST_SERIES:
        return f"more than {MOST_SERIES} lines, one for each {', '.join(chosen)}: narrow it"
    return tuple(chosen)
