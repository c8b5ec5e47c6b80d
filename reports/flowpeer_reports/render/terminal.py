"""A table for a terminal of a given width; a table too wide goes on below, nothing is dropped."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from flowpeer_reports.columns import Column
from flowpeer_reports.render.cells import clean, display_width, human, is_name, is_number

GAP = 2
MIN_TEXT = 12
"""Text cells shrink no further than this; then the table continues below."""
MAX_KEYS = 3
"""Leading columns that a continued table repeats, where they name its rows."""


def terminal(
    frame: pl.DataFrame,
    columns: Sequence[Column],
    *,
    width: int,
    title: str,
    notes: Sequence[str],
) -> str:
    """The table in aligned columns at most `width` wide, ending in a newline."""
    lines: list[str] = [clean(title), ""] if title else []
    if columns:
        cells = [[human(v, c) for v in frame[c.name].to_list()] for c in columns]
        heads = [clean(c.name) for c in columns]
        right = [is_number(frame.schema[c.name]) for c in columns]
        rigid = [not isinstance(frame.schema[c.name], (pl.String, pl.List)) for c in columns]
        names = [not r or is_name(c) for r, c in zip(right, columns, strict=True)]
        for number, block in enumerate(_blocks(heads, cells, rigid, names, width)):
            if number:
                lines.append("")
            lines += _block(block, heads, cells, right)
    if frame.is_empty():
        lines.append("(no rows)")
    if notes:
        lines.append("")
        lines += [f"- {clean(n)}" for n in notes]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _blocks(
    heads: list[str], cells: list[list[str]], rigid: list[bool], names: list[bool], width: int
) -> list[list[tuple[int, int]]]:
    """Columns and their widths, block by block; each later block repeats what names the rows."""
    natural = [
        max([display_width(head), *map(display_width, column)], default=1)
        for head, column in zip(heads, cells, strict=True)
    ]
    least = [
        n if is_rigid else min(n, max(MIN_TEXT, display_width(head)))
        for n, is_rigid, head in zip(natural, rigid, heads, strict=True)
    ]
    keys = [0]
    for i in range(1, min(MAX_KEYS, len(heads))):
        if not names[i] or _total([least[j] for j in [*keys, i]]) > width // (
            2 if width >= 80 else 3
        ):
            break
        keys.append(i)
    blocks: list[list[int]] = []
    for i in range(len(heads)):
        if blocks and _total([least[j] for j in [*blocks[-1], i]]) <= width:
            blocks[-1].append(i)
        else:
            blocks.append([*(k for k in keys if k < i), i])
    return [_fit(block, natural, least, width) for block in blocks]


def _fit(
    block: list[int], natural: list[int], least: list[int], width: int
) -> list[tuple[int, int]]:
    sizes = {i: natural[i] for i in block}
    while _total(list(sizes.values())) > width:
        widest = max(block, key=lambda i: sizes[i] - least[i])
        if sizes[widest] == least[widest]:
            break
        sizes[widest] -= 1
    return [(i, max(sizes[i], 1)) for i in block]


def _total(sizes: Sequence[int]) -> int:
    return sum(sizes) + GAP * (len(sizes) - 1)


def _block(
    block: list[tuple[int, int]], heads: list[str], cells: list[list[str]], right: list[bool]
) -> list[str]:
    gap = " " * GAP
    lines = [
        gap.join(_pad(heads[i], size, right[i]) for i, size in block),
        gap.join("─" * size for _, size in block),
    ]
    for row in range(len(cells[0])):
        lines.append(gap.join(_pad(cells[i][row], size, right[i]) for i, size in block))
    return lines


def _pad(text: str, size: int, right: bool) -> str:
    if display_width(text) > size:
        while text and display_width(text) > size - 1:
            text = text[: min(len(text) - 1, size - 1)]
        text += "…"
    space = " " * (size - display_width(text))
    return space + text if right else text + space
