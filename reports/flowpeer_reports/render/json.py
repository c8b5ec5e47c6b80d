"""JSON: a list of objects, one a row; lists stay lists, times are ISO 8601 with an offset."""

from __future__ import annotations

import polars as pl

from flowpeer_reports.render.cells import plain


def json_rows(frame: pl.DataFrame) -> str:
    """The frame as a JSON list of objects, one a line."""
    if frame.is_empty() or not frame.columns:
        return "[]\n"
    lines = plain(frame).write_ndjson().rstrip("\n").split("\n")
    return "[\n" + ",\n".join(lines) + "\n]\n"
