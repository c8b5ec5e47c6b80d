"""The report of a period: candidates, imbalance and where they come from, on one plain page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import polars as pl

from flowpeer_reports.candidates import Candidates
from flowpeer_reports.columns import (
    CANDIDATES,
    IMBALANCE,
    NOT_LISTED,
    ORGANISATIONS,
    Column,
    pick,
)
from flowpeer_reports.imbalance import FULL, Imbalance
from flowpeer_reports.pictures import BEST_OVERALL, ROWS_PER_METRO, Pictures
from flowpeer_reports.render import pack
from flowpeer_reports.render.cells import clean, human, is_number
from flowpeer_reports.render.cells import rate as rate_text
from flowpeer_reports.render.html import glossary, note_list, page, table, table_of
from flowpeer_reports.render.svg import text

HEADLINE = 12
MOST_ROWS = 50
CHANGED = "What changed"
"""Heading of the answer that the figures on top speak of."""
_BAR = 64
_LABELS = {
    "marginal_bps": "marginal", "expected_bps": "expected", "observed_bps": "observed",
    "p95_bps": "p95", "cumulative_share": "so far", "cumulative_expected_share": "so far, expected",
    "saving_per_month": "saves / month", "saving_at_renewal_per_month": "at renewal",
    "capacity_bps": "capacity", "avg_bps": "average", "peak_bps": "peak",
    "utilisation_p95": "p95 / capacity", "target_share": "target", "excess_share": "excess",
    "slots_over_80": "slots > 80 %",
}  # fmt: skip
"""What a head says on the page; the name of the column stands in its tooltip."""
_MONEY = ("saving_per_month", "saving_at_renewal_per_month")
_RIGHT = frozenset(
    {c.name for c in (*CANDIDATES, *IMBALANCE) if is_number(c.type)}
    | {c.name for c in ORGANISATIONS if is_number(c.type)}
    | {"already peered", "top 10 asks take", "asks", "must move, out", "must move, in"}
    | {"transit, out", "transit, in", "transit, in + out"}
)
_NOT_LISTED_SHOWN = ("metro", "reason", "asns", "out_bytes", "in_bytes", "unscaled_bytes")


@dataclass(frozen=True, slots=True)
class Sections:
    """What the page shows; a part that is None is left out."""

    candidates: Candidates | None = None
    imbalance: Imbalance | None = None
    provenance: Mapping[str, object] = field(default_factory=dict)
    """Shown at the end as it is: period, sources, snapshots, version …"""
    rows_per_metro: int = ROWS_PER_METRO
    files: Sequence[str] = ()
    """Names of the files that hold the full tables."""
    more: Sequence[tuple[str, pl.DataFrame, Sequence[Column]]] = ()
    """Further answers: heading, rows, columns."""
    whole: bool = False
    """All rows of these are shown, for a page without files beside it."""
    pictures: Pictures = field(default_factory=Pictures)
    drawn: Mapping[str, str] = field(default_factory=dict)
    """Heading → markup of a chart: above the table of that heading in `more`, else by itself."""


def html_report(*, title: str, notes: Sequence[str] = (), sections: Sections) -> str:
    """One self-contained page without request; all foreign text escaped."""
    parts: list[tuple[str, str, str]] = []
    found, spread = sections.candidates, sections.imbalance
    every = dict.fromkeys(
        [*notes, *(found.notes if found else ()), *(spread.notes if spread else ())]
    )
    if found is not None or spread is not None:
        shown = (
            pack.words(found, spread, sections.pictures)
            + _figures(found, spread, sections)
            + pack.overview(sections.pictures, found)
            + _summary(found, spread, pack.grades_of(sections.pictures))
        )
        parts.append(("summary", "At a glance", shown))
    if sections.pictures.grades is not None:
        parts.append(("quality", "How good the data are", pack.quality(sections.pictures)))
    if found is not None:
        parts.append(("best", "Whom to ask, over all metros", _best(found, sections.pictures)))
        parts.append(("candidates", "Candidates by metro", _candidates(found, sections)))
        parts.append(("rest", "Transit traffic in no row", _rest(found)))
    if over_time := pack.providers(sections.pictures):
        parts.append(("providers", "Transit by provider, over time", over_time))
    if spread is not None:
        parts.append(("imbalance", "Transit imbalance", _imbalance(spread)))
    tables = {heading for heading, _, _ in sections.more}
    alone = [(h, markup) for h, markup in sections.drawn.items() if h not in tables and markup]
    parts += [(_key(heading), heading, markup) for heading, markup in alone]
    for heading, rows, columns in sections.more:
        above = sections.drawn.get(heading, "")
        parts.append((_key(heading), heading, above + _further(rows, columns, sections.whole)))
    if every:
        parts.append(("notes", "What to know before quoting", note_list(tuple(every))))
    parts.append(("definitions", "What the figures mean", _definitions(found, spread)))
    if sections.provenance:
        parts.append(("provenance", "Where this comes from", _provenance(sections.provenance)))
    nav = "<nav>" + "".join(f'<a href="#{key}">{text(name)}</a>' for key, name, _ in parts)
    body = (
        nav
        + "</nav>\n"
        + "".join(
            f'<section id="{key}"><h2>{text(name)}</h2>\n{markup}</section>\n'
            for key, name, markup in parts
        )
    )
    return page(title, (), body)


def _key(heading: str) -> str:
    return heading.lower().replace(" ", "-").replace(",", "")


def _summary(found: Candidates | None, spread: Imbalance | None, grades: Mapping[str, str]) -> str:
    heads = ["metro", *(["data"] if grades else [])]
    if found is not None:
        way = "in + out" if found.direction == "both" else found.direction
        heads += [f"transit, {way}", "already peered", "top 10 asks take", "asks", "first ask"]
    ways = sorted(set(spread.rows["direction"]), reverse=True) if spread else []
    heads += [f"must move, {w}" for w in ways] + (["fullest provider at p95"] if ways else [])
    metros = list(
        dict.fromkeys(
            [*(m for m in (found.totals if found else ()) if m != "all"),
             *(spread.rows["metro"].to_list() if spread else ())]
        )
    )  # fmt: skip
    rows = []
    for metro in metros:
        cells = [f"<td class=t><b>{text(metro)}</b></td>"]
        if grades:
            cells.append(f"<td>{pack.badge(grades[metro]) if metro in grades else ''}</td>")
        if found is not None:
            cells += _summary_of_candidates(found, metro)
        if spread is not None:
            cells += _summary_of_imbalance(spread, metro, ways)
        rows.append("".join(cells))
    return _table(heads, rows)


def _summary_of_candidates(found: Candidates, metro: str) -> list[str]:
    total = found.totals.get(metro)
    if total is None:
        return ["<td></td>"] * 5
    rows = found.rows.filter(pl.col("metro") == metro)
    asks = rows.filter(pl.col("rank") > 0)
    peered = rows.filter(pl.col("rank") == 0)["marginal_bps"].sum()
    base = float(peered) / total["transit_bps"] if total["transit_bps"] else 0.0
    top = asks.filter(pl.col("rank") <= 10)["cumulative_share"].max()
    share = float(top) if isinstance(top, float) else 0.0
    first = asks.row(0, named=True) if asks.height else None
    unknown = not total["transit_bps"] and total["unscaled_bytes"]
    return [
        _number("rate unknown" if unknown else rate_text(total["transit_bps"])),
        _share(base),
        _share(share),
        _number(f"{total['candidates']:,}"),
        f"<td class=t>{_network(first['asn'], first['name']) if first else ''}</td>",
    ]


def _summary_of_imbalance(spread: Imbalance, metro: str, ways: Sequence[str]) -> list[str]:
    cells = []
    worst: tuple[float, str] = (-1.0, "")
    for way in ways:
        rows = spread.rows.filter(pl.col("metro") == metro, pl.col("direction") == way)
        d = rows["d"].max()
        cells.append(_share(float(d)) if isinstance(d, float) else "<td></td>")
        for row in rows.iter_rows(named=True):
            used = row["utilisation_p95"]
            if used is not None:
                worst = max(worst, (used, f"{row['provider']}, {way}"))
    if worst[0] < 0:
        return [*cells, "<td></td>"]
    return [*cells, f"<td class=t>{_bar(worst[0], FULL)} {worst[0]:.0%} {text(worst[1])}</td>"]


def _figures(found: Candidates | None, spread: Imbalance | None, sections: Sections) -> str:
    """The answer in four or five figures."""
    made: list[tuple[str, str]] = []
    if found is not None:
        made.append((rate_text(found.totals["all"]["transit_bps"]), "transit, on average"))
        asks = found.organisations.filter(pl.col("rank") > 0).head(HEADLINE)
        if asks.height:
            share = asks["cumulative_expected_share"].max()
            seen = asks["cumulative_observed_share"].max()
            first = "the first ask is" if asks.height == 1 else f"the first {asks.height} asks are"
            if isinstance(share, float) and isinstance(seen, float):
                label = (
                    f"of it {first} expected to take; "
                    f"{seen:.0%} if all say yes, by the paths we see"
                )
                made.append((f"{share:.0%}", label))
            saved = asks["saving_per_month"].drop_nulls()
            if saved.len():
                now = float(saved.sum())
                later = float(asks["saving_at_renewal_per_month"].drop_nulls().sum())
                currency = str(asks["currency"].drop_nulls().first() or "")
                what = "they save now if all say yes, net of what peering costs"
                if now < 0:
                    what = "is what peering costs now beyond what they save if all say yes"
                label = f"a month {what}; they save {pack.amount(later)} at the prices of renewal"
                made.append((f"{pack.amount(abs(now))} {currency}", label))
    if spread is not None:
        full = spread.rows.filter(pl.col("utilisation_p95") > FULL)
        names = ", ".join(
            f"{r['provider'] or r['provider_asn']} in {r['metro']}"
            for r in full.sort("utilisation_p95", descending=True).head(3).iter_rows(named=True)
        )
        made.append((str(full.height), f"overloaded: {names}" if names else "links overloaded"))
    for heading, rows, _ in sections.more:
        if heading == CHANGED and rows.height:
            counts = dict(rows.group_by("status").len().iter_rows())
            rest = ", ".join(f"{counts.get(s, 0)} {s}" for s in ("gone", "up", "down"))
            made.append((f"{counts.get('new', 0)} new", f"{rest} in the lists of the metros"))
    items = "".join(f"<li><b>{text(value)}</b>{text(label)}</li>\n" for value, label in made)
    return f'<ul class="figures">\n{items}</ul>\n'


def _best(found: Candidates, pictures: Pictures) -> str:
    asks = found.organisations.filter(pl.col("rank") > 0)
    head = (
        '<p class="soft">One row an ask: a network, its siblings with it, in all metros where it '
        "takes anything. Each counts only what those above it leave.</p>\n"
    )
    stated = {c.name: c for c in ORGANISATIONS}
    names = ("marginal_bps", "observed_bps", "expected_bps", "saving_per_month",
             "saving_at_renewal_per_month")  # fmt: skip
    shown = [n for n in names if asks[n].count()]
    lines = []
    for row in asks.head(BEST_OVERALL).iter_rows(named=True):
        cells = [_number(str(row["rank"])),
                 f"<td class=m>{_network(row['asn'], row['name'])}{_fold(row, '', pictures)}</td>",
                 f"<td>{text(', '.join(row['metros'] or ()))}</td>"]  # fmt: skip
        cells += [_human(row, stated[n]) for n in shown]
        cells.append(_share(row["cumulative_expected_share"] or 0.0))
        cells.append(f"<td>{text(row['policy'] or 'unknown')}</td>")
        lines.append("".join(cells))
    heads = ("rank", "network", "metros", *shown, "cumulative_expected_share", "policy")
    meanings = {c.name: c.meaning for c in ORGANISATIONS}
    return head + pack.curves(pictures) + _table(heads, lines, meanings)


def _candidates(found: Candidates, sections: Sections) -> str:
    parts = [
        (
            '<p class="soft">The order is the order in which to ask; each row counts only what the '
            "rows above it in the metro leave. Rank 0: a session exists, yet the traffic rides "
            "transit. On paper stand the first ten rows of each metro.</p>\n"
        )
    ]
    grades = pack.grades_of(sections.pictures)
    for metro in (m for m in found.totals if m != "all"):
        rows = found.rows.filter(pl.col("metro") == metro)
        total = found.totals[metro]
        grade = f" {pack.badge(grades[metro])}" if metro in grades else ""
        parts.append(f'<h3 id="{text("metro-" + metro)}">{text(metro)}{grade}</h3>\n')
        parts.append(
            f'<p class="soft">{rate_text(total["transit_bps"])} of transit over '
            f"{total['slots']:,} slots of 5 minutes.</p>\n"
        )
        asks = _asks(found, rows.head(sections.rows_per_metro), sections.pictures)
        parts.append(f'<div class="first-ten">\n{asks}</div>\n')
        more = rows.height - sections.rows_per_metro
        if more > 0:
            where = f" in {text(', '.join(sections.files))}" if sections.files else ""
            parts.append(f'<p class="soft">{more:,} more rows{where}.</p>\n')
        after = found.next_ask.get(metro)
        if after:
            parts.append(
                f'<p class="soft">Ask {after["rank"]} would be AS{after["asn"]}, another '
                f"{rate_text(after['marginal_bps'])}.</p>\n"
            )
    return "".join(parts)


_ASK_HEADS = (
    "rank", "network", "marginal_bps", "expected_bps", "p95_bps", "cumulative_share", "meet",
    "policy", "feasibility",
)  # fmt: skip


def _asks(found: Candidates, rows: pl.DataFrame, pictures: Pictures) -> str:
    meanings = {c.name: c.meaning for c in CANDIDATES}
    saves = bool(found.rows["saving_per_month"].count())
    heads = [*_ASK_HEADS[:6], *(["saving_per_month"] if saves else []), *_ASK_HEADS[6:]]
    stated = {c.name: c for c in CANDIDATES}
    lines = []
    for row in rows.iter_rows(named=True):
        fold = _fold(row, row["metro"], pictures)
        p95 = row["p95_bps"]
        mark = "~" if found.is_estimate(row["metro"], row["asn"]) else ""
        ties = ", ".join(row["tied_with"] or ())
        tied = f"<br><small class=soft>tied with {text(ties)}</small>" if ties else ""
        inferred = row["inferred_bps"] / (row["marginal_bps"] or 1.0)
        beyond = (
            f"<br><small>{inferred:.0%} inferred: ± is sampling alone</small>"
            if inferred > 0.5
            else ""
        )
        cells = [
            _number("" if row["rank"] is None else str(row["rank"])),
            f"<td class=m>{_network(row['asn'], row['name'])}{tied}{fold}</td>",
            _number(f"{rate_text(row['marginal_bps'])} <span class=soft>± "
                    f"{rate_text(row['ci95_bps'])}</span>{beyond}"),
            _number(rate_text(row["expected_bps"])),
            _number("" if p95 is None else mark + rate_text(p95)),
            _share(row["cumulative_share"] or 0.0),
            *([_human(row, stated["saving_per_month"])] if saves else []),
            f"<td class=w>{text(row['meet'] or '')}</td>",
            f"<td>{text(row['policy'] or 'unknown')}</td>",
            _number("" if row["feasibility"] is None else f"{row['feasibility']:.2f}"),
        ]  # fmt: skip
        lines.append("".join(cells))
    return _table(heads, lines, meanings, fold=True)


def _fold(row: Mapping[str, Any], metro: str, pictures: Pictures) -> str:
    """The fold-out of a row; `metro` is "" in the organisations' list."""
    why = "".join(f"<small>{text(r)}</small>" for r in _behind(row))
    more = pack.fold_out(row, metro, pictures)
    return f"<details><summary class=soft>more</summary>{why}{more}</details>"


def _behind(row: Mapping[str, Any]) -> Iterable[str]:
    """What stands behind a row: the fold-out."""
    yield f"own {rate_text(row['own_bps'])}, standing alone {rate_text(row['cone_bps'])}"
    for name in ("evidence", "transits", "change_causes"):
        if row[name]:
            yield f"{name.replace('_', ' ')}: {', '.join(row[name])}"
    if row["saving_note"]:
        yield f"saving: {row['saving_note']}"
    if row["feasibility_reasons"]:
        yield "feasibility: " + "; ".join(row["feasibility_reasons"])


def _rest(found: Candidates) -> str:
    totals = found.totals["all"]
    listed = totals["already_peered_bytes"] + totals["listed_bytes"]
    check = (
        f"<p>{totals['out_bytes'] + totals['in_bytes']:,} transit bytes = {listed:,} in rows + "
        f"{totals['not_listed_bytes']:,} here.</p>\n"
    )
    columns = pick(NOT_LISTED, _NOT_LISTED_SHOWN)
    return check + table(found.not_listed.select(_NOT_LISTED_SHOWN), columns)


def _imbalance(spread: Imbalance) -> str:
    meanings = {c.name: c.meaning for c in IMBALANCE}
    heads = ("metro", "direction", "provider", "capacity_bps", "avg_bps", "p95_bps", "peak_bps",
             "utilisation_p95", "share", "target_share", "excess_share", "d", "jain",
             "slots_over_80")  # fmt: skip
    stated = {c.name: c for c in IMBALANCE}
    lines = []
    for row in spread.rows.iter_rows(named=True):
        used, share = row["utilisation_p95"], row["share"]
        cells = [f"<td>{text(row[c])}</td>" for c in ("metro", "direction")]
        cells.append(f"<td class=t>{_network(row['provider_asn'], row['provider'])}</td>")
        cells += [_human(row, stated[c]) for c in ("capacity_bps", "avg_bps", "p95_bps",
                                                   "peak_bps")]  # fmt: skip
        cells.append("<td></td>" if used is None else _share(used, FULL))
        cells.append("<td></td>" if share is None else _share(share, row["target_share"]))
        cells += [_human(row, stated[c]) for c in ("target_share", "excess_share", "d", "jain",
                                                   "slots_over_80")]  # fmt: skip
        lines.append("".join(cells))
    head = (
        '<p class="soft">d is the least part of the traffic that would have to change provider '
        "to be spread as capacity is. The mark in a bar is 80 % of capacity, or the target "
        "share.</p>\n"
    )
    return head + _table(heads, lines, meanings)


def _further(rows: pl.DataFrame, columns: Sequence[Column], whole: bool) -> str:
    """Another answer: its columns that hold anything, and its first rows, or the whole of it."""
    held = [c for c in columns if rows[c.name].count()]
    if whole:
        return table(rows.select(c.name for c in held), held)
    shown = rows.head(MOST_ROWS).select(c.name for c in held)
    more = rows.height - shown.height
    note = f'<p class="soft">{more:,} more rows are in the files.</p>\n' if more > 0 else ""
    return f'<div class="first-ten">\n{table(shown, held, fold=True)}</div>\n{note}'


def _definitions(found: Candidates | None, spread: Imbalance | None) -> str:
    parts = [
        (
            "<p>Bytes are octets of the IP layer after scaling by the sampling rate; rates are "
            "bits per second (1 Mbps = 1,000,000 bit/s); times are UTC; shares are fractions of "
            "1. A slot is 5 minutes. A 95th percentile is the value at rank ⌈0.95 n⌉ of the n "
            "covered slots, without interpolation. ± is sampling error alone.</p>\n"
        )
    ]
    if found is not None:
        parts.append("<h3>Candidates</h3>\n" + glossary(CANDIDATES))
    if spread is not None:
        parts.append("<h3>Imbalance</h3>\n" + glossary(IMBALANCE))
    return "".join(parts)


def _provenance(facts: Mapping[str, object]) -> str:
    return "<dl>\n" + "".join(
        f"<dt>{text(str(key))}</dt><dd>{_fact(value)}</dd>\n" for key, value in facts.items()
    ) + "</dl>\n"  # fmt: skip


def _fact(value: object) -> str:
    if isinstance(value, Mapping):
        return "<br>".join(f"{text(str(k))}: {_fact(v)}" for k, v in value.items())
    if isinstance(value, (list, tuple)):
        return "<br>".join(_fact(v) for v in value)
    return text("" if value is None else str(value))


def _table(
    heads: Sequence[str], rows: Iterable[str], meanings: Mapping[str, str] | None = None,
    *, fold: bool = False,
) -> str:  # fmt: skip
    head = "".join(
        f'<th{" class=n" if h in _RIGHT else ""} title="{text(_tip(h, meanings or {}))}">'
        f"{text(_LABELS.get(h, h))}</th>"
        for h in heads
    )
    body = [_named(r, heads) for r in rows]
    empty = f'<td colspan="{len(heads)}">none</td>'
    return table_of(head, body or [empty], kind=' class="cards"', fold=fold)


def _tip(head: str, meanings: Mapping[str, str]) -> str:
    meaning = meanings.get(head, "")
    return f"{head}: {meaning}" if head in _LABELS and meaning else meaning


def _named(cells: str, heads: Sequence[str]) -> str:
    """Cells with the head of each, for screens too narrow for a table."""
    first, *rest = cells.split("<td")
    named = (
        f'<td data-h="{text(_LABELS.get(head, head))}"{cell}'
        for head, cell in zip(heads, rest, strict=True)
    )
    return first + "".join(named)


def _network(asn: int | None, name: str | None) -> str:
    number = "" if asn is None else f"AS{asn}"
    label = clean(name or "")
    if not label or label == number:
        return f"<b>{escape(number or 'unknown')}</b>"
    return f"<b>{escape(label)}</b> <span class=soft>{escape(number)}</span>"


def _human(row: Mapping[str, Any], column: Column) -> str:
    value = row[column.name]
    if column.name in _MONEY and value is not None:
        return _number(f"{value:,.2f}")
    return _number(escape(human(value, column)))


def _number(markup: str) -> str:
    return f"<td class=n>{markup}</td>"


def _list(values: Sequence[str] | None) -> str:
    return "<td class=l>" + "<br>".join(text(v) for v in values or ()) + "</td>"


def _share(value: float, mark: float | None = None) -> str:
    return f"<td class=n>{value:.3f}{_bar(value, mark)}</td>"


def _bar(value: float, mark: float | None = None) -> str:
    """A bar of a fraction, with a mark; attributes alone, as the page's policy has no styles."""
    size = _BAR * min(max(value, 0.0), 1.0)
    kind = "full" if mark == FULL and value > FULL else "bar"
    line = ""
    if mark is not None:
        at = _BAR * min(max(mark, 0.0), 1.0)
        line = f'<rect x="{at - 1:.1f}" width="2" height="7" class="mark"/>'
    return (
        f'<svg width="{_BAR}" height="7" viewBox="0 0 {_BAR} 7" role="img" '
        f'aria-label="{value:.1%}"><rect width="{_BAR}" height="7" class="rail"/>'
        f'<rect width="{size:.1f}" height="7" class="{kind}"/>{line}</svg>'
    )
