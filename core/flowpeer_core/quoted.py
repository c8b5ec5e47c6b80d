"""Words as SQL and spreadsheets take them."""

from __future__ import annotations

import re

FORMULA = r"\s*[=+\-@＝＋－＠﹦﹢﹣﹫]"
"""What a cell begins with that a spreadsheet takes for a formula: ASCII, full-width and small
forms, also after blanks."""


def literal(text: str) -> str:
    """`text` as SQL writes it."""
    return "'" + text.replace("'", "''") + "'"


def escape(path: str) -> str:
    """`path` as a glob pattern that matches it alone."""
    return re.sub(r"([*?\[])", r"[\1]", path)
