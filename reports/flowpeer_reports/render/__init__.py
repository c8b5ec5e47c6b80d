"""Frames to documents. Width, title and notes are arguments; no clock, no locale.

Every text cell is foreign: each renderer escapes it for the place it ends up in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, get_args

from flowpeer_reports.errors import ReportError

if TYPE_CHECKING:
    import polars as pl

    from flowpeer_reports.columns import Column
    from flowpeer_reports.render.report import Sections

Format = Literal["terminal", "csv", "json", "parquet", "html", "md", "xlsx"]
FORMATS: tuple[str, ...] = get_args(Format)
BINARY_FORMATS = frozenset({"parquet", "xlsx"})


def render_table(
    frame: pl.DataFrame,
    columns: Sequence[Column] | Sequence[str] | None,
    *,
    format: Format,  # noqa: A002 - the name of the option it comes from
    width: int = 120,
    title: str = "",
    notes: Sequence[str] = (),
) -> str | bytes:
    """One table as a document.

    `columns` picks and orders the columns: stated ones (`flowpeer_reports.columns`), names, or
    None for all of the frame with units inferred from the names. Terminal and Markdown humanise
    numbers; CSV, JSON, Parquet and XLSX keep them plain, in the units of the column names.
    `title` and `notes` appear where people read (terminal, html, md, xlsx), never in csv, json or
    parquet. Text ends with a newline; parquet and xlsx are bytes.

    Raises:
        ReportError: an unknown format or column, or a library that is not installed.
    """
    chosen = _choose(frame, columns)
    view = frame.select(c.name for c in chosen)
    if format == "terminal":
        from flowpeer_reports.render.terminal import terminal

        return terminal(frame, chosen, width=width, title=title, notes=notes)
    if format == "csv":
        from flowpeer_reports.render.csv import csv

        return csv(view)
    if format == "json":
        from flowpeer_reports.render.json import json_rows

        return json_rows(view)
    if format == "parquet":
        from flowpeer_reports.render.parquet import parquet

        return parquet(view)
    if format == "html":
        from flowpeer_reports.render.html import table_page

        return table_page(frame, chosen, title=title, notes=notes)
    if format == "md":
        from flowpeer_reports.render.markdown import markdown

        return markdown(frame, chosen, title=title, notes=notes)
    if format == "xlsx":
        from flowpeer_reports.render.xlsx import xlsx

        return xlsx(view, chosen, title=title, notes=notes)
    raise ReportError(f"no such format: {format}", advice=f"use one of {', '.join(FORMATS)}")


def _choose(
    frame: pl.DataFrame, columns: Sequence[Column] | Sequence[str] | None
) -> tuple[Column, ...]:
    import polars as pl

    from flowpeer_reports.columns import Column
    from flowpeer_reports.render.cells import inferred

    if columns is None:
        columns = frame.columns
    chosen = tuple(
        c if isinstance(c, Column) else inferred(c, frame.schema.get(c, pl.Null())) for c in columns
    )
    missing = [c.name for c in chosen if c.name not in frame.schema]
    if missing:
        raise ReportError(
            f"no such column: {', '.join(missing)}",
            advice=f"the table has {', '.join(frame.columns)}",
        )
    return chosen


def table_page(
    frame: pl.DataFrame, columns: Sequence[Column], *, title: str = "", notes: Sequence[str] = ()
) -> str:
    """One table on a page of its own; see `render.html`."""
    from flowpeer_reports.render.html import table_page as make

    return make(frame, columns, title=title, notes=notes)


def workbook(
    sheets: Sequence[tuple[str, pl.DataFrame, Sequence[Column]]], *, title: str,
    notes: Sequence[str] = (),
) -> bytes:  # fmt: skip
    """Several tables, a sheet each, as one XLSX file; see `render.xlsx`."""
    from flowpeer_reports.render.xlsx import workbook as make

    picked = [(name, rows.select(c.name for c in of), of) for name, rows, of in sheets]
    return make(picked, title=title, notes=notes)


def html_report(*, title: str, notes: Sequence[str] = (), sections: Sections) -> str:
    """Candidates, imbalance and provenance on one self-contained page; see `render.report`."""
    from flowpeer_reports.render.report import html_report as make

    return make(title=title, notes=notes, sections=sections)
