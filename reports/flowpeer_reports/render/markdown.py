"""A Markdown table (GitHub's), every cell escaped."""

from __future__ import annotations

import re
from collections.abc import Sequence

import polars as pl

from flowpeer_reports.columns import Column
from flowpeer_reports.render.cells import clean, is_number, texts

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#+!|~&@:$-])")


def markdown(
    frame: pl.DataFrame, columns: Sequence[Column], *, title: str, notes: Sequence[str]
) -> str:
    """Title, table and notes as Markdown; text cannot become markup or a link."""
    lines = [f"# {escaped(title)}", ""] if title else []
    if columns:
        lines.append("| " + " | ".join(escaped(c.name) for c in columns) + " |")
        lines.append(
            "|"
            + "|".join("---:" if is_number(frame.schema[c.name]) else "---" for c in columns)
            + "|"
        )
        cells = [[escaped(cell) for cell in texts(frame, c)] for c in columns]
        lines += ["| " + " | ".join(row) + " |" for row in zip(*cells, strict=True)]
    if notes:
        lines.append("")
        lines += [f"- {escaped(n)}" for n in notes]
    return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    """Text with a backslash before whatever Markdown gives a meaning."""
    return _SPECIAL.sub(r"\\\1", clean(text))
