"""CSV: header first, plain numbers, empty for null, text escaped against formulas.

Control characters become blanks: CSV is read in terminals, and one row stays one line.
"""

from __future__ import annotations

import polars as pl

from flowpeer_core.quoted import FORMULA
from flowpeer_reports.render.cells import CONTROL_PATTERN, plain


def csv(frame: pl.DataFrame) -> str:
    """The frame as CSV (RFC 4180, LF). Lists become `a;b`; times are ISO 8601 with Z."""
    if not frame.columns:
        return ""
    texts = plain(frame)
    changed: list[pl.Series] = []
    for name, type_ in texts.schema.items():
        if isinstance(type_, pl.List):
            items = pl.col(name).list.eval(_escaped(pl.element().cast(pl.String)))
            joined = pl.when(pl.col(name).list.len() > 0).then(
                items.list.join(";", ignore_nulls=True)
            )
            changed.append(texts.select(joined.alias(name))[name])
        elif isinstance(type_, pl.String):
            changed.append(texts.select(_escaped(pl.col(name)).alias(name))[name])
    texts = texts.with_columns(changed)
    header = (
        pl.Series(texts.columns)
        .to_frame("h")
        .select(_escaped(pl.col("h")).alias("h"))["h"]
        .to_list()
    )
    texts.columns = _unique(header)
    return texts.write_csv(datetime_format="%Y-%m-%dT%H:%M:%S%.fZ", float_scientific=False)


def _escaped(text: pl.Expr) -> pl.Expr:
    text = text.str.replace_all(CONTROL_PATTERN, " ")
    return pl.when(text.str.contains(f"^{FORMULA}")).then("'" + text).otherwise(text)


def _unique(names: list[str]) -> list[str]:
    seen: set[str] = set()
    for i, name in enumerate(names):
        while names[i] in seen:
            names[i] = f"{names[i]}_"
        seen.add(name)
        seen.add(names[i])
    return names
