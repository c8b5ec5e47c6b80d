"""The parts of the report's page that people look at: summary in words, metros, providers, curves.

Every chart has its table; every figure of a summary stands in a table further down.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from flowpeer_reports.candidates import Candidates
from flowpeer_reports.columns.grades import CURVE, GRADES, TIMELINES
from flowpeer_reports.drafts import message
from flowpeer_reports.imbalance import FULL, Imbalance
from flowpeer_reports.pictures import Pictures
from flowpeer_reports.profiles import busiest, ratio
from flowpeer_reports.render import svg
from flowpeer_reports.render.cells import rate
from flowpeer_reports.render.html import table
from flowpeer_reports.render.svg import text
from flowpeer_reports.timelines import Timeline, Timelines

DRAWN = 60
"""Asks of a curve: beyond, each adds less than a line is thick."""


def badge(grade: str) -> str:
    """The grade of a metro's data."""
    return f'<span class="grade grade{text(grade)}" title="grade of its data">{text(grade)}</span>'


def grades_of(pictures: Pictures) -> dict[str, str]:
    """Metro → grade."""
    if pictures.grades is None:
        return {}
    return dict(pictures.grades.select("metro", "grade").iter_rows())


def words(found: Candidates | None, spread: Imbalance | None, pictures: Pictures) -> str:
    """The summary in sentences."""
    parts: list[str] = []
    if found is not None:
        parts += _offload(found, pictures)
    if spread is not None:
        full = spread.rows.filter(pl.col("utilisation_p95") > FULL).sort(
            "utilisation_p95", descending=True
        )
        if full.height:
            names = [
                f"{r['provider'] or r['provider_asn']} in {r['metro']} ({r['direction']}, "
                f"{r['utilisation_p95']:.0%} of {rate(r['capacity_bps'])})"
                for r in full.head(3).iter_rows(named=True)
            ]
            more = f" and {full.height - 3} more" if full.height > 3 else ""
            parts.append(
                f"Above {FULL:.0%} of capacity at the 95th percentile: {_list(names)}{more}."
            )
        elif spread.rows["utilisation_p95"].count():
            parts.append(f"No provider is above {FULL:.0%} of capacity at the 95th percentile.")
    parts += _sure(pictures)
    return f'<p class="words">{text(" ".join(parts))}</p>\n' if parts else ""


def _offload(found: Candidates, pictures: Pictures) -> list[str]:
    whole = found.totals["all"]["transit_bps"]
    way = {"out": "outbound ", "in": "inbound "}.get(found.direction, "")
    parts = [f"Transit carries {rate(whole)} {way}on average{_by_month(found, pictures)}."]
    curve = pictures.curve
    if curve is None or not curve.height:
        return parts
    last = curve.row(min(12, curve.height) - 1, named=True)
    asks = "The first ask is" if last["rank"] == 1 else f"The first {last['rank']} asks are"
    parts.append(
        f"{asks} expected to take {last['expected_share']:.0%} of it, in four of five outcomes "
        f"{last['low_share']:.0%} to {last['high_share']:.0%}{_money(last)}."
    )
    if curve.height > 12:
        after = curve.row(12, named=True)["expected_share"] - last["expected_share"]
        parts.append(f"The 13th would add {after:.1%}.")
    return parts


def _money(row: Mapping[str, Any]) -> str:
    """What a row of the curve saves; what it costs where peering costs more than it saves."""
    if row["expected_saving"] is None:
        return ""
    expected, low, high = (row[f"{w}_saving"] for w in ("expected", "low", "high"))
    what = "to save"
    if expected < 0:
        what, expected, low, high = "to cost beyond what they save", -expected, -high, -low
    return (
        f", and {what} {amount(expected)} {row['currency'] or ''} a month".replace("  ", " ")
        + f" ({amount(low)} to {amount(high)})"
    )


def amount(value: float) -> str:
    """Money without its fraction."""
    return f"{'−' if value <= -0.5 else ''}{abs(value):,.0f}"


def _by_month(found: Candidates, pictures: Pictures) -> str:
    """`: 40 Gbps in 2026-07, …`, where the period has several months."""
    lines = pictures.timelines
    if lines is None or found.direction == "both" or lines.rows["month"].n_unique() < 2:
        return ""
    months = (
        lines.rows.filter(pl.col("direction") == found.direction)
        .group_by("month").agg(pl.col("avg_bps").sum()).sort("month")
    )  # fmt: skip
    return ": " + _list([f"{rate(v)} in {m}" for m, v in months.iter_rows()])


def _sure(pictures: Pictures) -> list[str]:
    if pictures.grades is None or not pictures.grades.height:
        return []
    poor = pictures.grades.filter(pl.col("grade").is_in(["C", "D"]))
    if not poor.height:
        return ["The data of every metro are of grade A or B."]
    names = [f"{m} {g} ({', '.join(why)})" for m, g, why in
             poor.select("metro", "grade", "set_by").head(4).iter_rows()]  # fmt: skip
    more = f" and {poor.height - 4} more metros" if poor.height > 4 else ""
    return [f"Data to be careful with: {_list(names)}{more}."]


def _list(items: Sequence[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def overview(pictures: Pictures, found: Candidates | None) -> str:
    """A panel a metro: transit over time against capacity, its grade, what the list takes."""
    lines = pictures.timelines
    if lines is None or not lines.metros:
        return ""
    grades, bare = grades_of(pictures), _bare(pictures)
    panels = []
    for one in lines.metros:
        grade = badge(grades[one.metro]) if one.metro in grades else ""
        name = f'<a href="#{text("metro-" + one.metro)}">{text(one.metro)}</a>'
        body = _panel(lines, one, f"transit of {one.metro}", bare)
        panels.append(
            f'<figure class="panel"><h4>{name} {grade}</h4>{body}'
            f"<p>{text(_takes(found, one.metro))}</p></figure>\n"
        )
    return f'<div class="panels">\n{"".join(panels)}</div>\n{_legend(lines)}'


def _takes(found: Candidates | None, metro: str) -> str:
    if found is None:
        return ""
    asks = found.rows.filter(pl.col("metro") == metro, pl.col("rank").is_between(1, 10))
    share = asks["cumulative_share"].max()
    if not asks.height or not isinstance(share, float):
        return "no ask is expected to bring enough"
    first = asks.row(0, named=True)
    count = "one ask takes" if asks.height == 1 else f"{asks.height} asks take"
    return (
        f"{count} {share:.0%}; first "
        f"{first['name'] or 'AS' + str(first['asn'])}, {rate(first['marginal_bps'])}"
    )


def providers(pictures: Pictures) -> str:
    """Transit by provider over time against capacity, a panel each, and the table by month."""
    lines = pictures.timelines
    if lines is None or not lines.providers:
        return ""
    bare = _bare(pictures)
    parts = [
        (
            '<p class="soft">Where the line of capacity is far above the traffic it sets the '
            "scale; what matters is the distance.</p>\n"
        )
    ]
    for metro in dict.fromkeys(one.metro for one in lines.providers):
        panels = "".join(
            f'<figure class="panel"><h4>{text(one.provider or "unknown")}</h4>'
            f"{_panel(lines, one, f'{one.provider} in {metro}', bare)}</figure>\n"
            for one in lines.providers
            if one.metro == metro
        )
        parts.append(f'<h3>{text(metro)}</h3>\n<div class="panels">\n{panels}</div>\n')
    return "".join(
        [
            *parts,
            _legend(lines),
            '<div class="first-ten">\n',
            table(lines.rows, TIMELINES, fold=True),
            "</div>\n",
        ]
    )


def _bare(pictures: Pictures) -> set[str]:
    """Metros with traffic of which no sampling rate is known."""
    if pictures.grades is None:
        return set()
    return set(pictures.grades.filter(pl.col("unscaled_bytes") > 0)["metro"])


def _panel(lines: Timelines, one: Timeline, caption: str, bare: set[str]) -> str:
    drawn = [svg.Line(one.steps["out"], "one"), svg.Line(one.steps["in"], "two")]
    values = [v for line in drawn for v in line.values if v is not None]
    if one.metro in bare and not any(values):
        return "<p>sampling rate unknown: its bytes are in no figure</p>"
    if not values:
        return "<p>nothing that counts in this period</p>"
    size = one.capacity_bps
    return svg.lines(
        drawn, caption=f"{caption}: outbound and inbound over time, against capacity",
        ends=(_day(lines.start, lines.step), _day(lines.end, lines.step)), label=rate,
        limit=float(size) if size else None,
    )  # fmt: skip


def _day(time: datetime, step: timedelta) -> str:
    return f"{time:%Y-%m-%d}" if step >= timedelta(days=1) else f"{time:%m-%d %H:%M}"


def _legend(lines: Timelines) -> str:
    hours = int(lines.step.total_seconds()) // 3600
    step = "hour" if hours == 1 else f"{hours} hours" if hours < 24 else "day"
    step = "week" if hours > 24 else step
    return (
        '<p class="soft">95th percentile of the 5-minute slots of each '
        f"{step}: outbound (solid), inbound (dashed), capacity of the transit links (level "
        "line). Gaps: slots that do not count. Times are UTC.</p>\n"
    )


def quality(pictures: Pictures) -> str:
    """The grades and what sets them."""
    if pictures.grades is None:
        return ""
    head = (
        '<p class="soft">A metro is as good as the worst of its factors. B: percentiles and shares '
        "hold roughly; C: read them with care; D: do not quote them alone.</p>\n"
    )
    return head + table(pictures.grades, GRADES)


def curves(pictures: Pictures) -> str:
    """Offload and saving against the number of asks, each with its interval, and their table."""
    rows = pictures.curve
    if rows is None or rows.height < 2:
        return ""
    shown = rows.head(DRAWN)
    ends = ("0 asks", f"{shown.height} asks")
    charts = [
        _curve(shown, "share", "Share of the transit traffic that the first asks take", ends,
               lambda v: f"{v:.0%}" if v >= 0.02 or not v else f"{v:.1%}")
    ]  # fmt: skip
    currency = str(rows["currency"].drop_nulls().first() or "")
    if rows["expected_saving"].count():
        charts.append(
            _curve(shown, "saving", f"{currency} a month that the first asks save", ends,
                   lambda v: f"{amount(v)} {currency}")
        )  # fmt: skip
    held = [c for c in CURVE if rows[c.name].count()]
    return (
        f'<div class="two-up">\n{"".join(charts)}</div>\n'
        '<p class="soft">Solid: expected; shaded: where four of five outcomes lie, answers taken '
        "as independent; dashed: if all say yes, by the paths we see.</p>\n"
        f"<details><summary>the figures of the curve</summary>\n{table(shown, held)}</details>\n"
    )


def _curve(rows: pl.DataFrame, what: str, caption: str, ends: tuple[str, str], label: Any) -> str:
    def of(name: str) -> list[float | None]:
        return [0.0, *(v or 0.0 for v in rows[f"{name}_{what}"].to_list())]

    drawn = svg.lines(
        [svg.Line(of("expected"), "one"), svg.Line(of("if_all_yes"), "two")], caption=caption,
        ends=ends, label=label, bands=[(of("low"), of("high"))], wide=420, high=190,
    )  # fmt: skip
    return f'<figure class="panel"><h4>{text(caption)}</h4>{drawn}</figure>\n'


def fold_out(row: Mapping[str, Any], metro: str, pictures: Pictures) -> str:
    """What a fold-out adds to the words behind a row: its day, its ratio, contacts and a draft."""
    parts = []
    share = ratio(row)
    if share is not None:
        parts.append(f"<small>in : out {share:.2f}</small>")
    day = (pictures.profiles or {}).get((metro, row["asn"]))
    if day is not None and max(day) > 0:
        hour = busiest(day)
        caption = f"its day: busiest from {hour:02d}:00 UTC, {rate(max(day))}"
        parts.append(
            f"<small>{caption}</small>"
            + svg.bars(day, caption=f"average by hour of day, {caption}", label=rate(max(day)),
                       names=[(0, "0"), (6, "6"), (12, "12"), (18, "18 UTC")])
        )  # fmt: skip
    if pictures.drafts is not None and not metro:
        mine = pictures.drafts.filter(pl.col("asn") == row["asn"])
        for draft in mine.iter_rows(named=True):
            who = "; ".join(draft["contacts"]) or "PeeringDB names nobody"
            written = "\n".join(svg.text(line) for line in message(draft).splitlines())
            parts.append(f'<small>contacts: {text(who)}</small><pre class="draft">{written}</pre>')
    return "".join(parts)
