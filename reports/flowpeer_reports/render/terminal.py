"""A table for a terminal of a given width; a table too wide goes on below, nothing is dropped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from flowpeer_reports.render.cells import (
    clean,
    display_width,
    human,
    is_name,
    is_number,
    texts,
    unit_of,
)

if TYPE_CHECKING:
    import polars as pl

    from flowpeer_reports.columns import Column

GAP = 2
MIN_TEXT, MIN_LONG_TEXT = 12, 32
"""Text cells keep room for half of the longest, between these, where the rest then fits beside
them; else they shrink to the first, no further: the table continues below."""
MAX_KEYS = 3
"""Leading columns that a continued table repeats, where they name its rows."""


@dataclass(frozen=True, slots=True)
class Heading:
    """A column of `plain_terminal`: what kind its cells are decides how they are written."""

    name: str
    kind: Literal["number", "text", "other"]

    @property
    def unit(self) -> str:
        """As the name says it."""
        return unit_of(self.name)


@dataclass(frozen=True, slots=True)
class _Column:
    head: str
    cells: list[str]
    right: bool
    rigid: bool
    names_rows: bool


def terminal(
    frame: pl.DataFrame,
    columns: Sequence[Column],
    *,
    width: int,
    title: str,
    notes: Sequence[str],
) -> str:
    """The table in aligned columns at most `width` wide, ending in a newline."""
    import polars as pl

    ready = []
    for c in columns:
        type_ = frame.schema[c.name]
        right, rigid = is_number(type_), not isinstance(type_, (pl.String, pl.List))
        names_rows = not right or is_name(c)
        ready.append(_Column(clean(c.name), texts(frame, c), right, rigid, names_rows))
    return _page(ready, frame.height, width=width, title=title, notes=notes)


def narrowed(
    frame: pl.DataFrame, columns: Sequence[Column], width: int, give_way: Sequence[str]
) -> list[Column]:
    """The columns that stand side by side in `width`: those of `give_way` go, the first ones first,
    until the rest fits; all of them where even that is too wide."""
    import polars as pl

    def least(column: Column, most: int) -> int:
        head = display_width(clean(column.name))
        wide = max([head, *map(display_width, texts(frame, column))])
        flexible = isinstance(frame.schema[column.name], (pl.String, pl.List))
        return _least(wide, head, most) if flexible else wide

    for most in (MIN_LONG_TEXT, MIN_TEXT):
        sizes = {c.name: least(c, most) for c in columns}
        kept = list(columns)
        for name in [None, *give_way]:
            kept = [c for c in kept if c.name != name]
            if _total([sizes[c.name] for c in kept]) <= width:
                return kept
    return list(columns)


def plain_terminal(columns: Sequence[Heading], rows: Sequence[Sequence[Any]], *, width: int) -> str:
    """Rows as `terminal` writes those of a frame, without a library of frames: for few rows."""
    ready = []
    for i, c in enumerate(columns):
        right = c.kind == "number"
        cells = [human(row[i], c) for row in rows]
        ready.append(
            _Column(clean(c.name), cells, right, c.kind != "text", not right or is_name(c))
        )
    return _page(ready, len(rows), width=width, title="", notes=())


def _page(
    columns: Sequence[_Column], rows: int, *, width: int, title: str, notes: Sequence[str]
) -> str:
    lines: list[str] = [clean(title), ""] if title else []
    if columns:
        cells = [c.cells for c in columns]
        heads = [c.head for c in columns]
        right = [c.right for c in columns]
        rigid = [c.rigid for c in columns]
        names = [c.names_rows for c in columns]
        for number, block in enumerate(_blocks(heads, cells, rigid, names, width)):
            if number:
                lines.append("")
            lines += _block(block, heads, cells, right)
    if not rows:
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
    roomy, least = (
        [
            n if is_rigid else _least(n, display_width(head), most)
            for n, is_rigid, head in zip(natural, rigid, heads, strict=True)
        ]
        for most in (MIN_LONG_TEXT, MIN_TEXT)
    )
    if _total(roomy) <= width:
        least = roomy
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


def _least(natural: int, head: int, most: int) -> int:
    """Columns that a text of a natural width is given at least, with its head."""
    return min(natural, max(MIN_TEXT, min(natural // 2, most), head))


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
