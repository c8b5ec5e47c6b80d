"""One worksheet, through XlsxWriter (`report` extra): plain numbers, text never a formula."""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import polars as pl

from flowpeer_reports.columns import Column
from flowpeer_reports.errors import ReportError
from flowpeer_reports.render.cells import clean, plain

MAX_ROWS = 1_048_575
MAX_TEXT = 32_767


def xlsx(
    frame: pl.DataFrame, columns: Sequence[Column], *, title: str, notes: Sequence[str]
) -> bytes:
    """The frame on a sheet `data`; title, meaning of the columns and notes on a sheet `notes`."""
    try:
        import xlsxwriter
    except ImportError as error:
        raise ReportError(
            "XLSX needs XlsxWriter, which is not installed",
            advice='pip install "flowpeer[report]"',
        ) from error
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
    sheet = book.add_worksheet("data")
    if frame.columns:
        _sheet_of(frame).write_excel(
            book,
            sheet,
            table_style="Table Style Light 1",
            dtype_formats=_FORMATS,
            autofit=True,
            freeze_panes=(1, 0),
        )
    about = book.add_worksheet("notes")
    lines = [(clean(title), "", ""), ("column", "unit", "meaning")]
    lines += [(c.name, c.unit, c.meaning) for c in columns]
    lines += [(clean(n), "", "") for n in notes]
    for row, line in enumerate(lines):
        for col, text in enumerate(line):
            about.write_string(row, col, text[:MAX_TEXT])
    book.close()
    return sink.getvalue()


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
