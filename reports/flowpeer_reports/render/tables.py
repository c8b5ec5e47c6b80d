"""A page of one answer: its notes, its tables, what their columns mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from flowpeer_reports.columns import Column
from flowpeer_reports.render.html import glossary, page, table
from flowpeer_reports.render.svg import text

SHOWN = 500
"""Rows of a table on a page; the files have all."""


def tables_page(
    title: str,
    tables: Mapping[str, tuple[pl.DataFrame, Sequence[Column]]],
    notes: Sequence[str] = (),
) -> str:
    """One self-contained page; `tables` in their order, by heading."""
    parts = []
    for heading, (rows, columns) in tables.items():
        parts.append(f"<h2>{text(heading)}</h2>\n")
        parts.append(table(rows.head(SHOWN).select([c.name for c in columns]), columns))
        if rows.height > SHOWN:
            parts.append(f"<p>{rows.height - SHOWN:,} more rows are in the files.</p>\n")
    parts.append("<h2>What the columns mean</h2>\n")
    for heading, (_, columns) in tables.items():
        parts.append(f"<h3>{text(heading)}</h3>\n{glossary(columns)}")
    return page(title, notes, "".join(parts))
