"""Every table that pages and the API show: its name, the filters it obeys, and how it is made.

A table is a statement in sql/, the table of an answer or beside it, or a call of the API. To add a
statement, put a file into sql/: its first line is the title, `Uses:` names the filters.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC
from functools import cache, partial
from importlib.resources import files
from typing import Any

import polars as pl

from flowpeer.errors import NoDataError, UsageError
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


@dataclass(frozen=True, slots=True)
class Named:
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

    def query_string(self, view: Filters) -> str:
        """As `narrowed`, for a URL."""
        narrow = self.narrowed(view)
        return narrow.query(asn=narrow.asn)

    def key(self, view: Filters) -> Hashable:
        """Under which it is kept."""
        return self.name, self.query_string(view)

    async def fetch(self, reader: SharedReader, view: Filters) -> ShownTable:
        """The table, made where it is not kept.

        Raises:
            UsageError: a filter that it needs is not given.
        """
        check_needs(self, view)
        made = partial(self.make, reader, self.narrowed(view))
        return await reader.table(self.key(view), made, query=self.query)


def check_needs(named: Named, view: Filters) -> None:
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


def _statement(sql: str, reader: SharedReader, view: Filters, cancel: Cancel) -> ShownTable:
    values = _values(reader, view, set(re.findall(r"\$(\w+)", sql)))
    rows = reader.ask(sql, values, cancel)
    text = with_values(sql, values)
    columns = tuple(inferred(n, t) for n, t in rows.schema.items())
    return ShownTable(rows, columns, statement=text, command=f"flowpeer sql {shlex.quote(text)}")


def _answer(name: str, reader: SharedReader, view: Filters, cancel: Cancel) -> ShownTable:
    """The tables of an answer, of all metros together."""
    found = _MAKERS[name](reader, view)
    command = f"flowpeer {name.replace('_', ' ')}" if name in COMMANDS else ""
    if view.asn is not None and name == "explain":
        command += f" {view.asn}"
    if view.period and command:
        command += f" --period {shlex.quote(view.period)}"
    if name in ("candidates", "exchanges", "imbalance", "capacity") and view.direction != "both":
        command += f" --direction {view.direction}"
    notes = tuple(found.notes)
    beside = {n: _shown(t, notes, command) for n, t in found.side_tables.items()}
    return replace(_shown(found, notes, command), beside=beside)


def _shown(table: Any, notes: tuple[str, ...], command: str) -> ShownTable:
    columns = tuple(c for c in table.columns if c.name in table.rows.columns)
    return ShownTable(table.rows, columns, notes, command=command)


def _of(view: Filters) -> Any:
    return view.period or None


def _direction(view: Filters) -> Any:
    return "out" if view.direction == "both" else view.direction


_MAKERS: Mapping[str, Callable[[SharedReader, Filters], Any]] = {
    "candidates": lambda r, v: r.network.candidates(_of(v), direction=_direction(v)),
    "imbalance": lambda r, v: r.network.imbalance(_of(v)),
    "exchanges": lambda r, v: r.network.exchanges(_of(v), direction=_direction(v)),
    "leaks": lambda r, v: r.network.leaks(_of(v)),
    "drill": lambda r, v: r.network.drill(_of(v), every=True),
    "capacity": lambda r, v: r.network.capacity(_of(v)),
    "bills": lambda r, v: r.network.bills(_of(v)),
    "explain": lambda r, v: r.network.explain(v.asn or 0, _of(v)),
    "asks": lambda r, v: r.network.asks(),
    "what_if": lambda r, v: r.what_ifs(v.period).answer(v.picks),
}
COMMANDS = frozenset(_MAKERS) - {"what_if"}
"""Answers that a command gives too."""


def _findings(reader: SharedReader, view: Filters, cancel: Cancel) -> ShownTable:
    rows = reader.network.check().filter(pl.col("level") != "ok")
    return ShownTable(rows, tuple(inferred(n, t) for n, t in rows.schema.items()),
                 command="flowpeer check")  # fmt: skip


def _snapshots(reader: SharedReader, view: Filters, cancel: Cancel) -> ShownTable:
    rows = reader.network.routes()
    return ShownTable(rows, tuple(inferred(n, t) for n, t in rows.schema.items()),
                 command="flowpeer rib list")  # fmt: skip


def _lookup(reader: SharedReader, view: Filters, cancel: Cancel) -> ShownTable:
    if reader.network.routes().is_empty():  # else they would be loaded: the explorer only reads
        raise NoDataError("no routing table is loaded", advice="load one: `flowpeer rib load FILE`")
    rows = reader.network.lookup(view.own["find"])
    return ShownTable(rows, tuple(inferred(n, t) for n, t in rows.schema.items()),
                 command=f"flowpeer lookup {shlex.quote(view.own['find'])}")  # fmt: skip


@dataclass(frozen=True, slots=True)
class AnswerPart:
    """What a table keeps of a whole answer, by the filters that the answer is not asked with."""

    named: Named
    whole: Named
    side: str = ""
    """Which of the tables beside the answer's own."""
    shape: Callable[[pl.DataFrame], pl.DataFrame] | None = None
    """What the rows are made into in the end."""

    def keep(self, table: ShownTable, view: Filters, reader: SharedReader) -> ShownTable:
        """Rows of the metros, the provider and the network of a view."""
        table = table.beside[self.side] if self.side else table
        rows = table.rows
        for column, wanted in (
            ("metro", list(view.metros)),
            ("provider_asn", list(view.providers)),
            ("direction", [] if view.direction == "both" else [view.direction]),
        ):
            used = {"provider_asn": "provider"}.get(column, column)
            if wanted and used in self.named.uses and column in rows.columns:
                rows = rows.filter(pl.col(column).is_in(wanted))
        if "provider" in self.named.uses and view.providers and "contract" in rows.columns:
            rows = rows.filter(pl.col("contract").is_in(contracts_of(reader, view.providers)))
        if "asn" in self.named.uses and view.asn is not None and self.named.name != "explain":
            mine = pl.col("asn") == view.asn
            if "asns" in rows.columns:
                mine |= pl.col("asns").list.contains(view.asn)
            rows = rows.filter(mine)
        if self.shape is None:
            return replace(table, rows=rows)
        rows = self.shape(rows)
        return replace(
            table, rows=rows, columns=tuple(inferred(n, t) for n, t in rows.schema.items())
        )


def matrix(drills: pl.DataFrame) -> pl.DataFrame:
    """One row per failure, one column per link: its highest utilisation while the other is down,
    in the fuller direction; empty where the link takes nothing over."""
    return (
        drills.with_columns(
            failure=pl.concat_str("kind", "removed", separator=" "),
            link=pl.concat_str("exporter", "interface", separator=" "),
        )
        .sort("exporter", "interface")
        .pivot("link", index="failure", values="max_utilisation", aggregate_function="max")
        .sort("failure")
    )


def by_hour(hours: pl.DataFrame) -> pl.DataFrame:
    """One row per metro, direction and hour of the week (UTC; day 1 is Monday): d of the metro, and
    the provider with the largest share."""
    return (
        hours.sort("share", descending=True, nulls_last=True, maintain_order=True)
        .group_by("metro", "direction", "hour_of_week", maintain_order=True)
        .agg(
            pl.col("slots").max(), pl.col("d").first(), pl.col("provider").first().alias("largest"),
            pl.col("share").first(), pl.col("utilisation_p95").max(),
        )
        .sort("metro", "direction", "hour_of_week", descending=[False, True, False])
        .select(
            "metro", "direction", (1 + pl.col("hour_of_week") // 24).alias("day"),
            (pl.col("hour_of_week") % 24).alias("hour_utc"), "hour_of_week", "d", "largest",
            "share", "utilisation_p95", "slots",
        )
    )  # fmt: skip


_SHAPES: Mapping[str, Callable[[pl.DataFrame], pl.DataFrame]] = {
    "drill_matrix": matrix, "imbalance_hours": by_hour,
}  # fmt: skip


def contracts_of(reader: SharedReader, providers: Sequence[int]) -> list[str]:
    """The contracts that interfaces to these providers are billed under."""
    table = reader.network.configuration.tables()["interfaces"]
    found = zip(table["asn"].to_pylist(), table["contract"].to_pylist(), strict=True)
    return sorted({contract for asn, contract in found if asn in providers and contract})


def _from_answers() -> list[AnswerPart]:
    stated = (
        ("candidates", "candidates", "", "Whom to ask for peering", ("metro",), ()),
        ("not_listed", "candidates", "not_listed", "What is in no row", ("metro",), ()),
        ("network_rows", "candidates", "", "Its row in every metro", ("metro", "asn"), ("asn",)),
        ("places", "candidates", "places", "Where to meet", ("metro", "asn"), ()),
        ("imbalance", "imbalance", "", "Is transit balanced?",
         ("metro", "provider", "direction"), ()),
        ("imbalance_hours", "imbalance", "hours_of_week", "Is it balanced, hour by hour?",
         ("metro", "direction"), ()),
        ("moves", "imbalance", "moves", "What to move", ("metro",), ()),
        ("exchanges", "exchanges", "", "What each exchange would take", ("metro",), ()),
        ("leaks", "leaks", "", "Peered already, and still on transit", ("metro", "asn"), ()),
        ("drill", "drill", "", "Every link when another one fails",
         ("metro", "provider", "direction"), ()),
        ("drill_summary", "drill", "drill_summary", "What each failure does", (), ()),
        ("capacity", "capacity", "", "When transit is full",
         ("metro", "provider", "direction"), ()),
        ("bills", "bills", "", "Bills so far, against the commit", ("provider",), ()),
        ("explain", "explain", "", "Why it is where it is", ("metro", "asn"), ("asn",)),
        ("asks", "asks", "", "The history of asks", ("asn",), ()),
        ("what_if", "what_if", "", "What leaves transit", (), ("pick",)),
        ("what_if_links", "what_if", "what_if_links", "The links then", (), ("pick",)),
        ("what_if_metros", "what_if", "what_if_metros", "The balance then", (), ("pick",)),
        ("what_if_asks", "what_if", "what_if_asks", "Lines for asks.csv", (), ("pick",)),
        ("drill_matrix", "drill", "", "Each link while another is down", ("metro",), ()),
    )  # fmt: skip
    parts = []
    for name, answer, side, title, narrows, needs in stated:
        asked: tuple[str, ...] = () if answer == "asks" else ("period",)
        if answer in ("candidates", "exchanges"):
            asked += ("direction",)
        more = {"explain": ("asn",), "what_if": ("pick",)}.get(answer, ())
        whole = Named(f"answer {answer}", title, asked + more, partial(_answer, answer))
        uses = tuple(f for f in FILTERS if f in {*asked, *narrows, *needs})
        named = Named(name, title, uses, whole.make, needs=needs)
        parts.append(AnswerPart(named, whole, side, _SHAPES.get(name)))
    return parts


@cache
def parts() -> dict[str, AnswerPart]:
    """Tables of answers, by name."""
    return {part.named.name: part for part in _from_answers()}


@cache
def tables() -> dict[str, Named]:
    """Every table by name."""
    found = {name: part.named for name, part in parts().items()}
    for path in sorted(files(__package__).joinpath("sql").iterdir(), key=lambda p: p.name):
        text = path.read_text(encoding="utf-8")
        head = [line[2:].strip() for line in re.findall(r"(?m)^--.*$", text)]
        uses = next(line[5:] for line in head if line.startswith("Uses:"))
        names = tuple(word.strip() for word in uses.split(","))
        name = path.name.removesuffix(".sql")
        needs = tuple(n for n in ("asn", "find") if n in names)
        if "$provider," in text or "$provider)" in text:
            needs += ("provider",)
        about = " ".join(line for line in head[1:] if not line.startswith("Uses:"))
        found[name] = Named(name, head[0], names, partial(_statement, text), about, True, needs)
    for named in (
        Named("findings", "What is wrong with the data", (), _findings),
        Named("snapshots", "Routing tables", (), _snapshots),
        Named("lookup", "The route of an address", ("find",), _lookup, needs=("find",)),
    ):
        found[named.name] = named
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
        return reader.kept(tables()[name].key(view))
    whole = reader.kept(part.whole.key(view))
    return None if whole is None else part.keep(whole, view, reader)


def named_table(name: str) -> Named:
    """Raises NoDataError where there is no table of that name."""
    if name not in tables():
        raise NoDataError(f"no table {name[:60]!r}", advice="/api/openapi.json lists them")
    return tables()[name]
