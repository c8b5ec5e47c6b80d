"""A table by name: the filters it obeys, and how it is made; and those that are statements."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from datetime import UTC
from functools import partial

from flowpeer.errors import UsageError
from flowpeer.web.reader import Cancel, SharedReader, ShownTable
from flowpeer.web.view import Filters
from flowpeer_reports.render.cells import inferred

FILTERS = {
    "period": "2026Q3, 2026-07 or START/END; default: the last whole quarter with data, else all",
    "metro": "metros to keep, repeatable",
    "provider": "ASNs of transit providers to keep, repeatable",
    "direction": "out, in or both",
    "family": "4 or 6; default both",
    "asn": "the network",
    "find": "words to look for",
    "pick": "what is picked: METRO:ASN, or METRO:ixID for an exchange; repeatable",
}
ROWS = {
    "filter": "words that a row must have, each of them",
    "sort": "the column to sort by; -COLUMN: the largest first",
    "limit": "how many rows at most, 1 to 10000; default: all",
}
"""What every table obeys, of the rows it has."""


@dataclass(frozen=True, slots=True)
class NamedTable:
    """A table by name; `make` runs in a thread."""

    name: str
    title: str
    uses: tuple[str, ...]
    make: Callable[[SharedReader, Filters, Cancel], ShownTable]
    about: str = ""
    query: bool = False
    """It is one statement: it can be stopped, and runs beside others."""
    needs: tuple[str, ...] = ()
    """Filters without which there is no such table."""
    columns: tuple[str, ...] = ()
    """Those it may have; empty where its rows decide."""
    lasts_s: int = 0
    """How long it holds at most, as it hangs on the clock too; 0: until what it is of changes."""

    def narrowed(self, view: Filters) -> Filters:
        """The view as far as this table obeys it: what its URL and its place in the store need."""
        return Filters(
            period=view.period if "period" in self.uses else "",
            metros=view.metros if "metro" in self.uses else (),
            providers=view.providers if "provider" in self.uses else (),
            direction=view.direction if "direction" in self.uses else "both",
            family=view.family if "family" in self.uses else "",
            asn=view.asn if "asn" in self.uses else None,
            own={"find": view.own["find"]} if {"find"} & set(self.uses) & set(view.own) else {},
            picks=view.picks if "pick" in self.uses else (),
        )

    def passes_over(self, view: Filters) -> list[str]:
        """The filters of a page that are set, and that this table does not obey. What is picked
        may be of any metro."""
        metros = () if "pick" in self.uses else view.metros
        given = {"metro": metros, "provider": view.providers, "family": view.family,
                 "direction": view.direction != "both", "period": view.period}  # fmt: skip
        return [name for name, is_set in given.items() if is_set and name not in self.uses]

    def query_string(self, view: Filters, *parameters: str) -> str:
        """As `narrowed`, for a URL; with these own words of the page too."""
        narrow = self.narrowed(view)
        kept = {parameter: view.own.get(parameter, "") for parameter in parameters}
        where, _, column = kept.get("sort", "").partition(".")
        if "sort" in kept:
            kept["sort"] = column if where == self.name else ""
        return narrow.query(asn=narrow.asn, **kept)

    def key(self, view: Filters) -> Hashable:
        """Under which it is kept."""
        return self.name, self.query_string(view), spell(self.lasts_s)

    def kept(self, reader: SharedReader, view: Filters) -> ShownTable | None:
        """The table, where it needs no work."""
        return reader.kept(self.key(view), period=self._period(view))

    def _period(self, view: Filters) -> str | None:
        """Statements are quick, and some look at other times; answers do neither."""
        return None if self.query or "period" not in self.uses else view.period

    async def fetch(self, reader: SharedReader, view: Filters) -> ShownTable:
        """The table, made where it is not kept.

        Raises:
            UsageError: a filter that it needs is not given.
        """
        check_needs(self, view)
        made = partial(self.make, reader, self.narrowed(view))
        return await reader.table(self.key(view), made, query=self.query, period=self._period(view))


def spell(lasts_s: int) -> int:
    """The number of the present stretch of so many seconds; 0 where they are 0."""
    return int(time.time()) // lasts_s if lasts_s else 0


def check_needs(named: NamedTable, view: Filters) -> None:
    """Raises UsageError where a filter is not given that the table needs."""
    given = {"asn": view.asn, "provider": view.providers, "find": view.own.get("find"),
             "pick": view.picks}  # fmt: skip
    for name in named.needs:
        if given[name] in (None, "", ()):
            raise UsageError(f"{named.name} needs {name}", advice=f"add {name}=…")


def literal(value: object) -> str:
    """A bound value as SQL text."""
    if value is None:
        return "NULL"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, list):
        return f"[{', '.join(map(literal, value))}]"
    return "'" + str(value).replace("'", "''") + "'"


def with_values(sql: str, values: Mapping[str, object]) -> str:
    """A statement with its parameters written out, without its header."""
    body = re.sub(r"\A(?:--.*\n)+", "", sql)
    return re.sub(r"\$(\w+)", lambda m: literal(values[m[1]]), body).strip()


def _values(reader: SharedReader, view: Filters, names: set[str]) -> dict[str, object]:
    values: dict[str, object] = {
        "metros": list(view.metros) or None,
        "providers": list(view.providers) or None,
        "provider": view.providers[0] if view.providers else None,
        "direction": None if view.direction == "both" else view.direction,
        "family": int(view.family) if view.family else None,
        "asn": view.asn,
        "find": view.own.get("find", ""),
    }
    if names & {"period_start", "period_end"}:
        start, end = (f"{t.astimezone(UTC):%Y-%m-%d %H:%M:%S}" for t in reader.period(view.period))
        values |= {"period_start": start, "period_end": end}
    return {name: values[name] for name in sorted(names)}


def asking(sql: str, attached: str = "") -> str:
    """The command that asks a statement, with answers attached."""
    command = f"flowpeer sql --attach {attached}" if attached else "flowpeer sql"
    if any(line.strip() == "SQL" for line in sql.splitlines()):  # as words looked for may say
        return f"{command} {shlex.quote(sql)}"
    return f"{command} --file - <<'SQL'\n{sql}\nSQL"


def of_statement(sql: str, reader: SharedReader, view: Filters, cancel: Cancel) -> ShownTable:
    values = _values(reader, view, set(re.findall(r"\$(\w+)", sql)))
    rows = reader.ask(sql, values, cancel)
    text = with_values(sql, values)
    columns = tuple(inferred(n, t) for n, t in rows.schema.items())
    return ShownTable(rows, columns, statement=text, command=asking(text))
