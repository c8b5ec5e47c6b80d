"""An answer: a table with its columns, side tables, notes, totals and where it came from.

Every format is made from it (flowpeer_reports.render). Each answer is made by a function in a
module of its own beside this one; to add one, write that function, a command in flowpeer/cli and a
method in flowpeer/api.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import polars as pl

from flowpeer import __version__
from flowpeer.errors import UsageError, naming
from flowpeer_reports.columns import Column
from flowpeer_reports.inputs import Inputs
from flowpeer_reports.render import render_table
from flowpeer_reports.render.terminal import narrowed

FileFormat = Literal["csv", "parquet", "json", "xlsx", "html", "md"]
FORMATS: tuple[FileFormat, ...] = ("csv", "parquet", "json", "xlsx", "html", "md")
Direction = Literal["out", "in", "both"]


def checked(direction: str) -> None:
    """Raises UsageError for what is no `Direction`."""
    if direction not in get_args(Direction):
        raise UsageError(f"direction {direction!r}", advice="one of out, in, both")


@dataclass(frozen=True)
class SideTable:
    """A table beside the answer's own, with a file of its own."""

    rows: pl.DataFrame
    columns: tuple[Column, ...]


@dataclass(frozen=True)
class Answer:
    """One answer in the form every format is made from."""

    name: str
    """Stem of its files."""
    title: str
    rows: pl.DataFrame
    columns: tuple[Column, ...]
    found: Any
    """The object of the reports package that it was made from."""
    html: Callable[[], str] = field(repr=False)
    """Makes its page."""
    side_tables: Mapping[str, SideTable] = field(default_factory=dict)
    pages: Mapping[str, Callable[[], str]] = field(default_factory=dict, repr=False)
    """Further pages beside its own, to be handed to others: stem of the file → what makes it."""
    notes: Sequence[str] = ()
    totals: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict, repr=False)
    screen_columns: tuple[str, ...] = ()
    """What a screen has room for; empty: all. Files have every column."""
    give_way: tuple[str, ...] = ()
    """What goes first where a screen is narrower than that."""

    def render(self, format_: FileFormat) -> str | bytes:
        """The answer's own table as one document."""
        if format_ == "html":
            return self.html()
        return render_table(
            self.rows, self.columns, format=format_, title=self.title, notes=self.notes
        )

    def on_screen(self, width: int, *, asks: int | None = None) -> str:
        """As a terminal of `width` columns shows it; `asks` keeps the first rows of each metro."""
        return on_screen(self.rows, self.columns, width, asks=asks, **self._shown())

    def _shown(self) -> dict[str, Any]:
        return {
            "title": self.title, "notes": list(self.notes), "screen": list(self.screen_columns),
            "give_way": list(self.give_way),
        }  # fmt: skip

    def shown(self) -> dict[str, Any]:
        """What `shown_again` needs beside the Parquet file of its rows."""
        columns = [
            c for c in self.columns if not self.screen_columns or c.name in self.screen_columns
        ]
        marks = {c.estimate for c in columns if c.estimate in self.rows.columns}
        return {
            "name": self.name, **self._shown(),
            "columns": [[c.name, c.unit, c.meaning, c.estimate] for c in columns],
            "marks": {name: self.rows[name].to_list() for name in sorted(marks)},
        }  # fmt: skip

    def write(self, folder: Path, formats: Sequence[FileFormat] = ("csv",)) -> list[Path]:
        """Write the answer, its side tables and where it came from; each file atomically."""
        documents: dict[str, bytes] = {}
        tables = {self.name: SideTable(self.rows, self.columns), **self.side_tables}
        for format_ in formats:
            if format_ == "html":
                pages = {self.name: self.html, **self.pages}
                documents |= {f"{stem}.html": make().encode() for stem, make in pages.items()}
                continue
            for name, table in tables.items():
                made = render_table(
                    table.rows, table.columns,
                    format=format_, title=self.title, notes=self.notes,
                )  # fmt: skip
                documents[f"{name}.{format_}"] = made.encode() if isinstance(made, str) else made
        meta = {
            "flowpeer": __version__, **self.provenance, **self.totals, "notes": list(self.notes),
        }  # fmt: skip
        text = json.dumps(meta, indent=1, ensure_ascii=False, default=str) + "\n"
        documents[f"{self.name}.meta.json"] = text.encode()
        return write_documents(folder, documents)


def on_screen(
    rows: pl.DataFrame,
    columns: Sequence[Column],
    width: int,
    *,
    title: str,
    notes: Sequence[str],
    screen: Sequence[str],
    give_way: Sequence[str],
    asks: int | None = None,
) -> str:
    """A table as a terminal shows it; see `Answer.on_screen`."""
    rows = (
        rows if asks is None or "rank" not in rows.columns else rows.filter(pl.col("rank") <= asks)
    )
    wanted = [c for c in columns if not screen or c.name in screen]
    kept = narrowed(rows, wanted, width, give_way)
    notes = list(notes)
    if len(kept) < len(wanted):
        gone = ", ".join(c.name for c in wanted if c not in kept)
        notes.append(f"left out here for want of width: {gone}; files have every column")
    return str(render_table(rows, kept, format="terminal", width=width, title=title, notes=notes))


def shown_again(
    folder: Path, facts: Mapping[str, Any], width: int, *, asks: int | None = None
) -> str:
    """An answer on a screen once more, from what was written of it (`Answer.shown`)."""
    rows = pl.read_parquet(folder / f"{facts['name']}.parquet", glob=False)
    rows = rows.with_columns(pl.Series(name, of) for name, of in facts["marks"].items())
    columns = [Column(name, rows.schema[name], *more) for name, *more in facts["columns"]]
    options = {name: facts[name] for name in ("title", "notes", "screen", "give_way")}
    return on_screen(rows, columns, width, asks=asks, **options)


def write_documents(folder: Path, documents: Mapping[str, bytes]) -> list[Path]:
    """Write files into `folder`, each atomically; one that is right already stays."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, content in documents.items():
        path = folder / name
        if not path.is_file() or path.read_bytes() != content:
            temporary = folder / f".{name}.part"
            with naming(temporary):
                temporary.write_bytes(content)
            temporary.replace(path)
        written.append(path)
    return written


def title_of(inputs: Inputs, what: str) -> str:
    """A title that names the network, the answer and the period."""
    return (
        f"{inputs.name} (AS{inputs.asn}): {what}, {inputs.period_start:%Y-%m-%d %H:%M} to "
        f"{inputs.period_end:%Y-%m-%d %H:%M} UTC"
    )
