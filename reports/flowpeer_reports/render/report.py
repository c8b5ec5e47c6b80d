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
    Column,
    pick,
)
from flowpeer_reports.imbalance import FULL, Imbalance
from flowpeer_reports.render.cells import clean, human, is_number
from flowpeer_reports.render.cells import rate as rate_text
from flowpeer_reports.render.html import glossary, page, table, text

BEST_OVERALL = 15
MOST_ROWS = 50
_BAR = 64
_RIGHT = frozenset(
    {c.name for c in (*CANDIDATES, *IMBALANCE) if is_number(c.type)}
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
    rows_per_metro: int = 25
    files: Sequence[str] = ()
    """Names of the files that hold the full tables."""
    organisations: pl.DataFrame | None = None
    """The asks over all metros, in the columns of organisations."""
    more: Sequence[tuple[str, pl.DataFrame, Sequence[Column]]] = ()
    """Further answers: heading, rows, columns."""


def html_report(*, title: str, notes: Sequence[str] = (), sections: Sections) -> str:
    """One self-contained page without script or request; all foreign text escaped."""
    parts: list[tuple[str, str, str]] = []
    found, spread = sections.candidates, sections.imbalance
    every = dict.fromkeys(
        [*notes, *(found.notes if found else ()), *(spread.notes if spread else ())]
    )
    if found is not None or spread is not None:
        parts.append(("summary", "At a glance", _summary(found, spread)))
    if found is not None:
        parts.append(("best", "Best asks of all metros", _best(found)))
        parts.append(("candidates", "Candidates by metro", _candidates(found, sections)))
        parts.append(("rest", "Transit traffic in no row", _rest(found)))
    if spread is not None:
        parts.append(("imbalance", "Transit imbalance", _imbalance(spread)))
    for heading, rows, columns in sections.more:
        key = heading.lower().replace(" ", "-").replace(",", "")
        parts.append((key, heading, _further(rows, columns)))
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
    return page(title, tuple(every), body)


def _summary(found: Candidates | None, spread: Imbalance | None) -> str:
    heads = ["metro"]
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
    peered = rows.filter(pl.col("rank") == 0)["cumulative_share"].max()
    top = asks.filter(pl.col("rank") <= 10)["cumulative_share"].max()
    base = float(peered) if isinstance(peered, float) else 0.0
    share = float(top) - base if isinstance(top, float) else 0.0
    first = asks.row(0, named=True) if asks.height else None
    return [
        _number(rate_text(total["transit_bps"])),
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
    return [*cells, f"<td class=l>{_bar(worst[0], FULL)} {worst[0]:.0%} {text(worst[1])}</td>"]


def _best(found: Candidates) -> str:
    best = found.rows.filter(pl.col("rank") > 0, pl.col("expected_value") > 0).sort(
        "expected_value", "metro", "rank", descending=[True, False, False]
    )
    head = (
        f'<p class="soft">The {BEST_OVERALL} rows with the highest expected value: feasibility × '
        "marginal traffic.</p>\n"
    )
    return head + _asks(found, best.head(BEST_OVERALL), with_metro=True)


def _candidates(found: Candidates, sections: Sections) -> str:
    parts = [
        (
            '<p class="soft">The order is the order in which to ask; each row counts only what the '
            "rows above it in the metro leave. Rank 0: a session exists, yet the traffic rides "
            "transit.</p>\n"
        )
    ]
    for metro in (m for m in found.totals if m != "all"):
        rows = found.rows.filter(pl.col("metro") == metro)
        total = found.totals[metro]
        parts.append(f'<h3 id="{text("metro-" + metro)}">{text(metro)}</h3>\n')
        parts.append(
            f'<p class="soft">{rate_text(total["transit_bps"])} of transit over '
            f"{total['slots']:,} slots of 5 minutes.</p>\n"
        )
        parts.append(_asks(found, rows.head(sections.rows_per_metro), with_metro=False))
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
    "rank", "network", "marginal_bps", "p95_bps", "cumulative_share", "meet", "policy",
    "feasibility", "own_bps", "cone_bps", "evidence", "transits",
)  # fmt: skip


def _asks(found: Candidates, rows: pl.DataFrame, *, with_metro: bool) -> str:
    meanings = {c.name: c.meaning for c in CANDIDATES}
    heads = [*(["metro"] if with_metro else []), *_ASK_HEADS]
    lines = []
    for row in rows.iter_rows(named=True):
        cells = [f"<td>{text(row['metro'])}</td>"] if with_metro else []
        why = "".join(f"<br>{text(r)}" for r in row["feasibility_reasons"] or ())
        p95 = row["p95_bps"]
        mark = "~" if found.is_estimate(row["metro"], row["asn"]) else ""
        ties = ", ".join(row["tied_with"] or ())
        tied = f"<br><small class=soft>tied with {text(ties)}</small>" if ties else ""
        cells += [
            _number("" if row["rank"] is None else str(row["rank"])),
            f"<td class=m>{_network(row['asn'], row['name'])}{tied}</td>",
            _number(f"{rate_text(row['marginal_bps'])} <span class=soft>± "
                    f"{rate_text(row['ci95_bps'])}</span>"),
            _number("" if p95 is None else mark + rate_text(p95)),
            _share(row["cumulative_share"] or 0.0),
            f"<td class=w>{text(row['meet'] or '')}</td>",
            f"<td>{text(row['policy'] or 'unknown')}</td>",
            (
                "<td></td>"
                if row["feasibility"] is None
                else f"<td class=n><details><summary>{row['feasibility']:.2f}</summary>"
                f"<small>{why.removeprefix('<br>')}</small></details></td>"
            ),
            _number(rate_text(row["own_bps"])),
            _number(rate_text(row["cone_bps"])),
            _list(row["evidence"]),
            _list(row["transits"]),
        ]  # fmt: skip
        lines.append("".join(cells))
    return _table(heads, lines, meanings)


def _rest(found: Candidates) -> str:
    whole = found.totals["all"]
    listed = whole["already_peered_bytes"] + whole["listed_bytes"]
    check = (
        f"<p>{whole['out_bytes'] + whole['in_bytes']:,} transit bytes = {listed:,} in rows + "
        f"{whole['not_listed_bytes']:,} here.</p>\n"
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


def _further(rows: pl.DataFrame, columns: Sequence[Column]) -> str:
    """Another answer: its columns that hold anything, and its first rows."""
    held = [c for c in columns if rows[c.name].count()]
    shown = rows.head(MOST_ROWS).select(c.name for c in held)
    more = rows.height - shown.height
    left = f'<p class="soft">{more:,} more rows are in the files.</p>\n' if more > 0 else ""
    return table(shown, held) + left


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
    heads: Sequence[str], rows: Iterable[str], meanings: Mapping[str, str] | None = None
) -> str:
    head = "".join(
        f'<th{" class=n" if h in _RIGHT else ""} title="{text((meanings or {}).get(h, ""))}">'
        f"{text(h)}</th>"
        for h in heads
    )
    body = "".join(f"<tr>{r}</tr>\n" for r in rows)
    body = body or f'<tr><td colspan="{len(heads)}">none</td></tr>\n'
    return (
        f'<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n'
        "</table></div>\n"
    )


def _network(asn: int | None, name: str | None) -> str:
    number = "" if asn is None else f"AS{asn}"
    label = clean(name or "")
    if not label or label == number:
        return f"<b>{escape(number or 'unknown')}</b>"
    return f"<b>{escape(label)}</b> <span class=soft>{escape(number)}</span>"


def _human(row: Mapping[str, Any], column: Column) -> str:
    return _number(escape(human(row[column.name], column)))


def _number(markup: str) -> str:
    return f"<td class=n>{markup}</td>"


def _list(values: Sequence[str] | None) -> str:
    return "<td class=l>" + "<br>".join(text(v) for v in values or ()) + "</td>"


def _share(value: float, mark: float | None = None) -> str:
    return f"<td class=n>{value:.3f}{_bar(value, mark)}</td>"


def _bar(value: float, mark: float | None = None) -> str:
    """A bar of a fraction, with a mark; attributes alone, as the page's policy has no styles."""
    size = _BAR * min(max(value, 0.0), 1.0)
    colour = "#c0392b" if mark == FULL and value > FULL else "#5b9bd5"
    line = ""
    if mark is not None:
        at = _BAR * min(max(mark, 0.0), 1.0)
        line = f'<rect x="{at - 1:.1f}" width="2" height="7" fill="#1c2430"/>'
    return (
        f'<svg width="{_BAR}" height="7" viewBox="0 0 {_BAR} 7" role="img" '
        f'aria-label="{value:.1%}"><rect width="{_BAR}" height="7" fill="#e6ebf1"/>'
        f'<rect width="{size:.1f}" height="7" fill="{colour}"/>{line}</svg>'
    )
