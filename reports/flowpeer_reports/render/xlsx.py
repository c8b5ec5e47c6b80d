"""Workbooks, through XlsxWriter (`report` extra): plain numbers, text never a formula."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import polars as pl

from flowpeer_reports.columns import Column
from flowpeer_reports.errors import ReportError
from flowpeer_reports.render.cells import clean, plain

MAX_ROWS = 1_048_575
MAX_TEXT = 32_767
WIDEST_PIXELS = 320
"""Of a column, some 45 digits; longer text is read in the cell."""
COLUMNS_ON_A_PAGE = 14


Sheet = tuple[str, pl.DataFrame, Sequence[Column]]
"""Its name, its rows, its columns."""
_UNFIT = re.compile(r"[\[\]:*?/\\\\']")
LONGEST_NAME = 31


def xlsx(
    frame: pl.DataFrame, columns: Sequence[Column], *, title: str, notes: Sequence[str]
) -> bytes:
    """The frame on a sheet `data`; title, meaning of the columns and notes on a sheet `notes`."""
    return workbook([("data", frame, columns)], title=title, notes=notes)


def workbook(sheets: Sequence[Sheet], *, title: str, notes: Sequence[str]) -> bytes:
    """Frames on a sheet each; title, meaning of the columns and notes on a last sheet `notes`.

    Heads stay in sight, numbers have the format of their unit, no column is wider than a part of
    the screen. A sheet prints on as many pages as it is long, and on one across or as many as it
    takes to be read, each with what its rows are of.

    Raises:
        ReportError: XlsxWriter is not installed, or a frame is longer than a worksheet.
    """
    try:
        import xlsxwriter
    except ImportError as error:
        raise ReportError(
            "XLSX needs XlsxWriter, which is not installed",
            advice='pip install "flowpeer[report]"',
        ) from error
    for _, frame, _ in sheets:
        if frame.height > MAX_ROWS:
            raise ReportError(
                f"{frame.height:,} rows do not fit a worksheet ({MAX_ROWS:,})",
                advice="use csv or parquet",
            )
    sink = io.BytesIO()
    book = xlsxwriter.Workbook(
        sink,
        {
            "in_memory": True,
            "strings_to_formulas": False,
            "strings_to_urls": False,
            "strings_to_numbers": False,
        },
    )
    # The creation time would make two runs differ.
    book.set_properties({"title": clean(title), "created": datetime(2000, 1, 1, tzinfo=UTC)})
    taken = {"notes"}
    lines = [(clean(title), "", ""), ("column", "unit", "meaning")]
    for name, frame, columns in sheets:
        sheet = book.add_worksheet(_name(name, taken))
        if frame.columns:
            _sheet_of(frame).write_excel(
                book,
                sheet,
                table_style="Table Style Light 1",
                dtype_formats=_FORMATS,
                column_formats={c.name: f for c in columns if (f := _format(c, frame)) is not None},
                freeze_panes=(1, 0),
            )
            sheet.autofit(WIDEST_PIXELS)
        sheet.set_landscape()
        sheet.fit_to_pages(-(-len(frame.columns) // COLUMNS_ON_A_PAGE) or 1, 0)
        sheet.repeat_rows(0)
        if len(frame.columns) > COLUMNS_ON_A_PAGE and "name" in frame.columns[:6]:
            sheet.repeat_columns(0, frame.columns.index("name"))
        lines += [line for c in columns if (line := (c.name, c.unit, c.meaning)) not in lines]
    about = book.add_worksheet("notes")
    lines += [(clean(n), "", "") for n in notes]
    for row, line in enumerate(lines):
        for col, text in enumerate(line):
            about.write_string(row, col, text[:MAX_TEXT])
    book.close()
    return sink.getvalue()


def _name(text: str, taken: set[str]) -> str:
    """A name that a worksheet may have, and no other one has."""
    plain_name = _UNFIT.sub("_", clean(text))[:LONGEST_NAME] or "sheet"
    name, count = plain_name, 1
    while name.casefold() in taken or name.casefold() == "history":  # which Excel keeps for itself
        count += 1
        name = f"{plain_name[: LONGEST_NAME - 4]} {count}"
    taken.add(name.casefold())
    return name


def _format(column: Column, frame: pl.DataFrame) -> str | None:
    """How the numbers of a unit are shown; the values stay plain."""
    if column.name not in frame.columns or not frame.schema[column.name].is_numeric():
        return None
    if column.unit in ("bit/s", "bytes", "slots", "prefixes"):
        return "#,##0"
    if column.unit == "fraction":
        return "0.0%"
    return "#,##0.00" if column.unit.startswith("currency") else None


_FORMATS: Any = {pl.Int64: "0", pl.Float64: "General", pl.Date: "yyyy-mm-dd"}


def _sheet_of(frame: pl.DataFrame) -> pl.DataFrame:
    """Text clean and short enough for a cell; times without their zone, which XLSX lacks."""
    flat = plain(frame)
    changes: list[pl.Series] = []
    for name, type_ in flat.schema.items():
        column = flat[name]
        if isinstance(type_, pl.List):
            column = flat.select(
                pl.col(name).list.eval(pl.element().cast(pl.String)).list.join("; ")
            )[name]
        if isinstance(type_, pl.Datetime):
            column = column.dt.replace_time_zone(None)
        if isinstance(column.dtype, pl.String):
            column = pl.Series(
                name, [None if v is None else clean(v)[:MAX_TEXT] for v in column], pl.String
            )
        changes.append(column)
    return flat.with_columns(changes)
