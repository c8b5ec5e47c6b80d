"""Words as SQL writes them."""

from __future__ import annotations

import re


def literal(text: str) -> str:
    """`text` as SQL writes it."""
    return "'" + text.replace("'", "''") + "'"


def escape(path: str) -> str:
    """`path` as a glob pattern that matches it alone."""
    return re.sub(r"([*?\[])", r"[\1]", path)
