"""Tables and pages as markup. Every foreign text is escaped: by Jinja, or by `escape` here."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import jinja2
import polars as pl
from markupsafe import Markup

from flowpeer.web.reader import ShownTable
from flowpeer.web.tables import check_column
from flowpeer.web.view import Filters
from flowpeer_reports.columns import Column
from flowpeer_reports.render.cells import clean, is_number, texts

STATIC = Path(__file__).with_name("static")
LONGEST = 12_000
"""Characters of a statement that a link carries."""
_NOT_COUNTED = (
    "no transit of this is in a figure: where there should be some, see the overview, under What "
    "is wrong with the data"
)
EMPTY = {
    **dict.fromkeys(
        ("candidates", "hours_of_week", "metro_over_time", "provider_load", "traffic_over_time"),
        _NOT_COUNTED,
    ),
    "asks": "nobody was asked yet: `flowpeer asks add` writes to the log of asks",
    "findings": "nothing is wrong",
    "network_ports": "it is on no exchange that PeeringDB knows",
    "network_rows": "it is in no list: the explanation below says why",
    "snapshots": "no routing table is loaded: `flowpeer rib load FILE` loads one",
    "places": "no place to meet is known: see the explanation below",
}
"""What to say of tables without rows."""
SHOWN = 200
"""Rows of a table on a page; the files have all."""


def environment() -> jinja2.Environment:
    """Templates, with everything escaped and a missing name an error."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("flowpeer.web"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["clean"] = clean
    return made


_LINKS: dict[str, Callable[[Filters, Any], str]] = {
    "asn": lambda view, value: view.to(f"/network/{value}"),
    "remote_asn": lambda view, value: view.to(f"/network/{value}"),
    "origin_asn": lambda view, value: view.to(f"/network/{value}"),
    "next_asn": lambda view, value: view.to(f"/network/{value}"),
    "provider_asn": lambda view, value: view.to(f"/provider/{value}", provider=()),
    "metro": lambda view, value: view.to(f"/metro/{quote(str(value), safe='')}", metro=()),
}
"""Where the cells of a column lead."""


def arranged(table: ShownTable, name: str, view: Filters) -> pl.DataFrame:
    """Rows that hold the words looked for, in the order asked for: `sort=TABLE.COLUMN`, or with a
    minus before the column for the largest first.

    Raises:
        UsageError: it is this table's, which has no such column, or one that has no order.
    """
    rows = table.rows
    if terms := view.own.get("filter", "").casefold().split():
        line = pl.concat_str(
            [pl.lit(" "), *(pl.Series(texts(rows, c)) for c in table.columns)], separator=" "
        )
        text = rows.select(line.str.to_lowercase()).to_series()
        for term in terms:
            rows = rows.filter(text.str.contains(term, literal=True))
            text = text.filter(text.str.contains(term, literal=True))
    where, _, column = view.own.get("sort", "").partition(".")
    if where == name:
        check_column(column, [c for c, t in rows.schema.items() if not t.is_nested()])
        down, column = column.startswith("-"), column.removeprefix("-")
        rows = rows.sort(column, descending=down, nulls_last=True, maintain_order=True)
    return rows


def table_markup(
    table: ShownTable,
    name: str,
    view: Filters,
    page: str,
    *,
    columns: tuple[str, ...] = (),
    ticks: str = "",
    more: bool = False,
) -> Markup:
    """A table with links in its cells and in its heads.

    Args:
        columns: those shown, else all.
        ticks: the column (`asn` or `ix_id`) that a box to pick the row goes by. Rows that nobody
            is asked for have none, and what is picked and not shown has its box below.
        more: rows of networks open into their explanation.
    """
    shown = [c for c in table.columns if not columns or c.name in columns]
    rows = arranged(table, name, view)
    if ticks == "asn":
        rows = rows.filter(pl.col("asn").is_not_null(), pl.col("rank") > 0)
    shown_rows = rows.head(int(view.own.get("limit", SHOWN)))
    heads = "".join(_head(c, table, name, view, page) for c in shown)
    cells = [_cells(shown_rows, c, view) for c in shown]
    below = ""
    if ticks:
        heads = '<th scope="col">pick</th>' + heads
        picks = [
            _pick(metro, ticks, of) for metro, of in shown_rows.select("metro", ticks).iter_rows()
        ]
        cells.insert(0, [f"<td>{_box(pick, pick in view.picks)}</td>" for pick in picks])
        kind = ":ix" if ticks == "ix_id" else ":"
        others = [
            p for p in view.picks
            if p not in picks and (":ix" in p) == (kind == ":ix")
        ]  # fmt: skip
        below = "".join(f'<label class="pick">{_box(p, True)} {_text(p)}</label>\n' for p in others)
    if more and {"metro", "asn"} <= set(shown_rows.columns):
        heads = '<th scope="col">why</th>' + heads
        cells.insert(0, [
            "<td></td>" if asn is None or asn <= 0 else
            f'<td><a class="more" href="{_text(_why(view, metro, asn))}" '
            f'aria-label="why AS{asn}">why</a></td>'
            for metro, asn in shown_rows.select("metro", "asn").iter_rows()
        ])  # fmt: skip
    body = "".join(f"<tr>{''.join(row)}</tr>\n" for row in zip(*cells, strict=True))
    if not body:
        reason = EMPTY.get(name, "no rows") if table.rows.is_empty() else "no row has these words"
        empty = f'<p class="empty">{_text(reason)}</p>'
        body = f'<tr><td colspan="{max(1, len(cells))}">{empty}</td></tr>\n'
    rest = rows.height - shown_rows.height
    note = f"<p>{rest:,} more rows are in the files.</p>\n" if rest > 0 else ""
    return Markup(  # noqa: S704 - each part is escaped above
        f'<div class="scroll" tabindex="0" role="region" aria-label="{_text(name)}"><table>\n'
        f"<thead><tr>{heads}</tr></thead>\n<tbody>\n{body}</tbody>\n</table></div>\n{note}{below}"
    )


def _pick(metro: str, column: str, of: int) -> str:
    return f"{metro}:ix{of}" if column == "ix_id" else f"{metro}:{of}"


def _box(pick: str, picked: bool) -> str:
    word = _text(pick)
    state = " checked" if picked else ""
    return f'<input type="checkbox" name="pick" value="{word}" aria-label="pick {word}"{state}>'


def _why(view: Filters, metro: str, asn: int) -> str:
    parameters = view.query(metro=(metro,), provider=(), asn=asn, page=f"/network/{asn}",
                       **dict.fromkeys(("pick", *view.own), ""))  # fmt: skip
    return f"/section/network/explain?{parameters}"


def _text(value: str) -> str:
    return escape(clean(value), quote=True)


def _head(column: Column, table: ShownTable, name: str, view: Filters, page: str) -> str:
    number = is_number(table.rows.schema[column.name])
    now = view.own.get("sort", "")
    down, up = f"{name}.-{column.name}", f"{name}.{column.name}"
    state = "descending" if now == down else "ascending" if now == up else "none"
    # The page of a network says it by its address.
    asn = view.asn if page == "/sql" else None
    link = f"{page}?{view.query(sort=up if now == down else down, asn=asn)}#{name}"
    title = f"{column.meaning} [{column.unit}]" if column.unit else column.meaning
    kind = " class=n" if number else ""
    if table.rows.schema[column.name].is_nested():
        return f'<th scope="col"{kind} title="{_text(title)}">{_text(column.name)}</th>'
    return (
        f'<th scope="col" aria-sort="{state}"{kind} title="{_text(title)}">'
        f'<a href="{_text(link)}">{_text(column.name)}</a></th>'
    )


def _cells(rows: pl.DataFrame, column: Column, view: Filters) -> list[str]:
    number = is_number(rows.schema[column.name])
    shown = texts(rows, column)
    kind = "n" if number else "t"
    if column.name == "sql":
        return [
            f'<td><a href="/sql?{escape(urlencode({"q": text}))}">open in SQL</a></td>'
            if 0 < len(text) <= LONGEST else "<td></td>"
            for text in rows["sql"].cast(pl.String).fill_null("").to_list()
        ]  # fmt: skip
    to = _LINKS.get(column.name)
    if to is None:
        return [f"<td class={kind}>{escape(text)}</td>" for text in shown]
    values = rows[column.name].to_list()
    return [
        f"<td class={kind}>{escape(text)}</td>"
        if value is None or (isinstance(value, int) and value < 0)
        else f'<td class={kind}><a href="{escape(to(view, value))}">{escape(text)}</a></td>'
        for text, value in zip(shown, values, strict=True)
    ]
