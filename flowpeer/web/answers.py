"""Tables of answers: what a page keeps of an answer of the API, or of the tables beside it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import polars as pl

from flowpeer.errors import NoDataError, UsageError
from flowpeer.web.named import FILTERS, NamedTable, asking, literal
from flowpeer.web.reader import Cancel, SharedReader, ShownTable
from flowpeer.web.view import Filters
from flowpeer_reports import columns
from flowpeer_reports.columns import candidates, leaks, moves, what_if
from flowpeer_reports.columns.asks import ASKS
from flowpeer_reports.columns.bills import BILLS
from flowpeer_reports.columns.capacity import CAPACITY
from flowpeer_reports.columns.drill import DRILL, DRILL_SUMMARY
from flowpeer_reports.columns.exchanges import EXCHANGES
from flowpeer_reports.columns.explain import EXPLAIN
from flowpeer_reports.render.cells import inferred


def _answer(name: str, reader: SharedReader, view: Filters, cancel: Cancel) -> ShownTable:
    """The tables of an answer, of all metros together."""
    found = _MAKERS[name](reader, view)
    notes, command = tuple(found.notes), _written_by(name, view)
    beside = {n: _shown(t, notes, command) for n, t in found.side_tables.items()}
    return replace(_shown(found, notes, command), beside=beside)


def _written_by(name: str, view: Filters) -> str:
    """The command that writes the tables of an answer into the folder `answers`."""
    if name == "what_if":
        period = f'"{view.period}"' if view.period else ""
        return (
            "python3 - <<'PY'\nimport flowpeer, pathlib\n"
            f"found = flowpeer.open().what_ifs({period}).answer({json.dumps(view.picks)})\n"
            "found.write(pathlib.Path('answers'), ['parquet'])\nPY"
        )
    commands = {"drill": "drill --all", "asks": "asks list", "explain": f"explain {view.asn}"}
    command = f"flowpeer {commands.get(name, name)}"
    if view.period:
        command += f" --period {shlex.quote(view.period)}"
    if name in ("candidates", "exchanges") and view.direction != "both":
        command += f" --direction {view.direction}"
    return f"{command} --out answers --format parquet"


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


def _findings(reader: SharedReader, view: Filters, cancel: Cancel) -> ShownTable:
    return _called(reader.network.check(), "flowpeer --json check > findings.json")


def _snapshots(reader: SharedReader, view: Filters, cancel: Cancel) -> ShownTable:
    return _called(reader.network.routes(), "flowpeer --json rib list > snapshots.json")


def _lookup(reader: SharedReader, view: Filters, cancel: Cancel) -> ShownTable:
    if reader.network.routes().is_empty():  # else they would be loaded: the explorer only reads
        raise NoDataError("no routing table is loaded", advice="load one: `flowpeer rib load FILE`")
    looked = view.own["find"]
    return _called(reader.network.lookup(looked),
                   f"flowpeer --json lookup {shlex.quote(looked)} > lookup.json")  # fmt: skip


def _called(rows: pl.DataFrame, command: str) -> ShownTable:
    return ShownTable(rows, tuple(inferred(n, t) for n, t in rows.schema.items()), command=command)


@dataclass(frozen=True, slots=True)
class AnswerPart:
    """What a table keeps of a whole answer, by the filters that the answer is not asked with."""

    named: NamedTable
    whole: NamedTable
    side: str = ""
    """Which of the tables beside the answer's own."""
    shape: Shape | None = None
    """What the rows are made into in the end."""
    only: tuple[pl.Expr, str] | None = None
    """Rows that it is about, as Polars and as SQL."""

    @property
    def answer(self) -> str:
        """The name of the answer."""
        return self.whole.name.removeprefix("answer ")

    def keep(self, table: ShownTable, view: Filters, reader: SharedReader) -> ShownTable:
        """Rows of the metros, the provider and the network of a view, and the SQL over the tables
        of the answer that gives the same."""
        table = table.beside[self.side] if self.side else table
        rows, conditions = table.rows, list(self._conditions(table.rows, view, reader))
        for is_kept, _ in conditions:
            rows = rows.filter(is_kept)
        name = self.side or self.answer
        sql = f"FROM {name}" if name != "explain" else 'FROM "explain"'
        if conditions:
            sql += "\nWHERE " + "\n    AND ".join(text for _, text in conditions)
        columns = table.columns
        if self.shape is not None:
            rows, sql = (
                self.shape.rows(rows),
                self.shape.sql.replace("{rows}", " ".join(sql.split("\n"))),
            )
            columns = tuple(inferred(n, t) for n, t in rows.schema.items())
        attach = f"{self.answer}.json" if self.answer in _CALLS else "answers"
        command = f"{table.command}\n{asking(sql, attach)}"
        return replace(table, rows=rows, columns=columns, statement=sql, answer=self.answer,
                       command=command)  # fmt: skip

    def _conditions(
        self, rows: pl.DataFrame, view: Filters, reader: SharedReader
    ) -> Iterator[tuple[pl.Expr, str]]:
        if self.only is not None:
            yield self.only
        uses, columns = self.named.uses, rows.columns
        for column, filter_, wanted in (
            ("metro", "metro", list(view.metros)),
            ("provider_asn", "provider", list(view.providers)),
            ("direction", "direction", [] if view.direction == "both" else [view.direction]),
        ):
            if wanted and filter_ in uses and column in columns:
                yield pl.col(column).is_in(wanted), _in(column, wanted)
        if "provider" in uses and view.providers and "contract" in columns:
            contracts = contracts_of(reader, view.providers)
            yield pl.col("contract").is_in(contracts), _in("contract", contracts)
        if "asn" in uses and view.asn is not None and self.answer != "explain":
            mine, text = pl.col("asn") == view.asn, f"asn = {view.asn}"
            if "asns" in columns:
                mine |= pl.col("asns").list.contains(view.asn)
                text = f"({text} OR list_contains(asns, {view.asn}))"
            yield mine, text


def _in(column: str, wanted: Sequence[object]) -> str:
    if not wanted:
        return "false"
    return f"{column} IN ({', '.join(map(literal, wanted))})"


@dataclass(frozen=True, slots=True)
class Shape:
    """What rows are made into: by Polars, and the same in SQL over {rows}."""

    rows: Callable[[pl.DataFrame], pl.DataFrame]
    sql: str


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
        hours.sort("share", "provider", descending=[True, False], nulls_last=True)
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


_BY_HOUR = ("metro", "direction", "day", "hour_utc", "hour_of_week", "d", "largest", "share",
            "utilisation_p95", "slots")  # fmt: skip
_COLUMNS: Mapping[str, Sequence[columns.Column]] = {
    "candidates": candidates.CANDIDATES, "not_listed": candidates.NOT_LISTED,
    "network_rows": candidates.CANDIDATES, "places": candidates.PLACES,
    "imbalance": columns.IMBALANCE, "moves": moves.MOVES, "exchanges": EXCHANGES,
    "leaks": leaks.LEAKS, "drill": DRILL, "drill_summary": DRILL_SUMMARY, "capacity": CAPACITY,
    "bills": BILLS, "explain": EXPLAIN, "asks": ASKS, "what_if": what_if.WHAT_IF,
    "what_if_links": what_if.WHAT_IF_LINKS, "what_if_metros": what_if.WHAT_IF_METROS,
    "what_if_asks": what_if.WHAT_IF_ASKS,
}  # fmt: skip
"""What tables of answers may have."""
_SHAPES: Mapping[str, Shape] = {
    "drill_matrix": Shape(matrix, """\
PIVOT (
    SELECT kind || ' ' || removed AS failure, exporter || ' ' || interface AS link, max_utilisation
    FROM ({rows})
) ON link USING max(max_utilisation) GROUP BY failure ORDER BY failure"""),
    "imbalance_hours": Shape(by_hour, """\
SELECT metro, direction, 1 + hour_of_week // 24 AS day, hour_of_week % 24 AS hour_utc, hour_of_week,
    first(d ORDER BY share DESC NULLS LAST, provider) AS d,
    first(provider ORDER BY share DESC NULLS LAST, provider) AS largest,
    first(share ORDER BY share DESC NULLS LAST, provider) AS share,
    max(utilisation_p95) AS utilisation_p95, max(slots) AS slots
FROM ({rows})
GROUP BY metro, direction, hour_of_week
ORDER BY metro, direction DESC, hour_of_week"""),
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
        ("what_if_links", "what_if", "what_if_links", "The links then", ("provider",), ("pick",)),
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
        whole = NamedTable(
            f"answer {answer}", title, asked + more, partial(_answer, answer), needs=more,
            lasts_s=_LASTS_S.get(answer, 0),
        )  # fmt: skip
        uses = tuple(f for f in FILTERS if f in {*asked, *narrows, *needs})
        known = tuple(column.name for column in _COLUMNS.get(name, ()))
        if name == "imbalance_hours":
            known = _BY_HOUR
        named = NamedTable(name, title, uses, whole.make, needs=needs, columns=known)
        parts.append(AnswerPart(named, whole, side, _SHAPES.get(name)))
    return [*parts, *_from_calls()]


_LASTS_S = {"findings": 120, "what_if": 86400}
"""A collector stops and tables grow old though nothing comes; lines for asks.csv are of today."""
_CALLS = ("findings", "snapshots", "lookup")
"""Answers that a command gives as JSON."""


def _from_calls() -> Iterator[AnswerPart]:
    wrong = (pl.col("level") != "ok", "level <> 'ok'")
    for name, title, uses, make, only, known in (
        ("findings", "What is wrong with the data", (), _findings, wrong,
         ("level", "subject", "text", "next_step", "code")),
        ("snapshots", "Routing tables", (), _snapshots, None,
         ("name", "taken_at", "vantage", "kind", "prefixes4", "prefixes6", "routes", "source")),
        ("lookup", "The route of an address", ("find",), _lookup, None,
         ("address", "prefix", "origin_asn", "origins", "origin_name", "as_path", "snapshot",
          "vantage")),
    ):  # fmt: skip
        named = NamedTable(name, title, uses, make, needs=uses, columns=known,
                      lasts_s=_LASTS_S.get(name, 0))  # fmt: skip
        yield AnswerPart(named, replace(named, name=f"answer {name}"), only=only)


@cache
def parts() -> dict[str, AnswerPart]:
    """Tables of answers, by name."""
    return {part.named.name: part for part in _from_answers()}


def names() -> set[str]:
    """Of all answers."""
    return {part.answer for part in parts().values()}


def whole_of(answer: str) -> NamedTable:
    """Raises UsageError where there is no answer of that name."""
    for part in parts().values():
        if part.answer == answer:
            return part.whole
    raise UsageError(f"no answer {answer[:40]!r}", advice=f"there are {', '.join(sorted(names()))}")
