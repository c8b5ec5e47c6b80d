"""Every table that pages and the API show, by name.

A table is a statement in sql/, the table of an answer or beside it, or a call of the API. To add a
statement, put a file into sql/: its first line is the title, `Uses:` names the filters, `Columns:`
the columns.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache, partial
from importlib.resources import files

from flowpeer.errors import NoDataError, UsageError
from flowpeer.web.answers import parts
from flowpeer.web.named import NamedTable, check_needs, of_statement
from flowpeer.web.reader import SharedReader, ShownTable
from flowpeer.web.view import Filters


@cache
def tables() -> dict[str, NamedTable]:
    """Every table by name."""
    found = {name: part.named for name, part in parts().items()}
    for path in sorted(files(__package__).joinpath("sql").iterdir(), key=lambda p: p.name):
        text = path.read_text(encoding="utf-8")
        head = [line[2:].strip() for line in re.findall(r"(?m)^--.*$", text)]
        names, columns = (
            tuple(word.strip() for line in head if line.startswith(key)
                  for word in line.removeprefix(key).split(","))
            for key in ("Uses:", "Columns:")
        )  # fmt: skip
        name = path.name.removesuffix(".sql")
        needs = tuple(n for n in ("asn", "find") if n in names)
        if "$provider," in text or "$provider)" in text:
            needs += ("provider",)
        about = " ".join(line for line in head[1:] if not line.startswith(("Uses:", "Columns:")))
        made = partial(of_statement, text)
        found[name] = NamedTable(name, head[0], names, made, about, True, needs, columns)
    return found


async def fetch(name: str, reader: SharedReader, view: Filters) -> ShownTable:
    """A table by name, as a view narrows it.

    Raises:
        NoDataError: there is no such table.
        UsageError: a filter that it needs is not given.
    """
    named = named_table(name)
    if name not in parts():
        return await named.fetch(reader, view)
    check_needs(named, view)
    part = parts()[name]
    return part.keep(await part.whole.fetch(reader, view), view, reader)


def kept(name: str, reader: SharedReader, view: Filters) -> ShownTable | None:
    """A table that needs no work."""
    part = parts().get(name)
    if part is None:
        return tables()[name].kept(reader, view)
    whole = part.whole.kept(reader, view)
    return None if whole is None else part.keep(whole, view, reader)


def check_sort(view: Filters, names: Sequence[str]) -> None:
    """Raises UsageError where a page of these tables has not what it is to be sorted by."""
    asked = view.own.get("sort", "")
    where, _, column = asked.partition(".")
    if not asked:
        return
    if where not in names:
        raise UsageError(f"sort {asked[:60]!r}: no such table here",
                         advice=f"write TABLE.COLUMN; tables are {', '.join(names)}")  # fmt: skip
    if where in tables():
        check_column(column, tables()[where].columns)


def check_column(column: str, known: Sequence[str]) -> None:
    """Raises UsageError where a table has no such column; any will do where none is known."""
    if known and column.removeprefix("-") not in known:
        raise UsageError(f"sort: no column {column.removeprefix('-')[:60]!r}",
                         advice=f"there are {', '.join(known)}")  # fmt: skip


def named_table(name: str) -> NamedTable:
    """Raises NoDataError where there is no table of that name."""
    if name not in tables():
        raise NoDataError(f"no table {name[:60]!r}", advice="/api/openapi.json lists them")
    return tables()[name]
