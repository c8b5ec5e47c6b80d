"""Tables of answers: what a page keeps of an answer of the API, or of the tables beside it."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import polars as pl

from flowpeer.web.named import FILTERS, Named
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
        known = tuple(column.name for column in _COLUMNS.get(name, ()))
        if name == "imbalance_hours":
            known = _BY_HOUR
        named = Named(name, title, uses, whole.make, needs=needs, columns=known)
        parts.append(AnswerPart(named, whole, side, _SHAPES.get(name)))
    return parts


@cache
def parts() -> dict[str, AnswerPart]:
    """Tables of answers, by name."""
    return {part.named.name: part for part in _from_answers()}
