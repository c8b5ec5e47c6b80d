"""Hours of the week, drills and growth as people look at them: coloured tables, and lines.

A coloured cell says its figure too, and a darker one is a fuller one, so that neither colour nor a
screen is needed to read it. The bands of colour are the same everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import polars as pl

from flowpeer_reports.capacity import Capacity
from flowpeer_reports.render import svg
from flowpeer_reports.render.cells import rate
from flowpeer_reports.render.svg import text

BANDS = (0.25, 0.5, 0.65, 0.8, 1.0)
"""Upper ends of the bands; what is above the last is over capacity."""
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MOST_DRILLS, MOST_LINKS = 40, 18
FULL_ENOUGH = 0.5
"""Utilisation below which nobody looks at a link or a drill."""
MOST_LINES = 24
STYLE = """
.heat{width:auto;font-size:.72rem}
.heat td,.heat th{padding:.12rem .19rem;border:1px solid var(--line)}
.heat td.v{text-align:right;font-variant-numeric:tabular-nums;print-color-adjust:exact;
-webkit-print-color-adjust:exact}
.heat th.d{white-space:normal;min-width:9rem;max-width:20rem}
.heat thead th{font-weight:400;white-space:normal;overflow-wrap:normal}
.b0{background:#f7fbff;color:#10202f}.b1{background:#d2e3f3;color:#10202f}
.b2{background:#9ac8e0;color:#10202f}.b3{background:#4f9bcb;color:#04131f}
.b4{background:#1764ab;color:#fff}.b5{background:#08234a;color:#fff;font-weight:700}
.key span{display:inline-block;padding:0 .5em;margin-right:.4em;border:1px solid var(--line);
print-color-adjust:exact;-webkit-print-color-adjust:exact}
@media screen and (prefers-color-scheme:dark){.b0{background:#16202c;color:#c6d2df}
.b1{background:#1d3a57;color:#e4e9ef}.b2{background:#23567f;color:#fff}
.b3{background:#2c72a9;color:#fff}.b4{background:#8cc4ee;color:#0b1620}
.b5{background:#fff;color:#08234a}}
.weeks{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(36rem,100%),1fr));
gap:0 1.5rem}
.weeks>div{min-width:0;break-inside:avoid}
@media print{.heat{font-size:6px}.heat td,.heat th{padding:.05rem .09rem}
.weeks{display:block;columns:3}}
"""


def _band(value: float) -> int:
    return sum(value > end for end in BANDS)


def _cell(value: float | None) -> str:
    if value is None:
        return "<td></td>"
    mark = "!" if value > 1 else ""
    return f'<td class="v b{_band(value)}">{100 * value:.0f}{mark}</td>'


def key() -> str:
    """What the bands mean."""
    ends = ["0", *(f"{100 * end:.0f}" for end in BANDS)]
    items = [f"<span class=b{n}>{a} to {b}</span>" for n, (a, b) in enumerate(pairwise(ends))]
    items.append(f"<span class=b{len(BANDS)}>above {ends[-1]} !</span>")
    return f'<p class="key soft">Per cent of capacity: {"".join(items)}</p>\n'


def hours(rows: pl.DataFrame) -> str:
    """The fullest provider of each metro and direction, by day and hour of the week (UTC).

    `rows`: the columns of `columns.imbalance.HOURS_OF_WEEK`; "" where no capacity is known.
    """
    fullest = (
        rows.drop_nulls("utilisation_p95")
        .sort("utilisation_p95", "provider", descending=[True, False])
        .unique(["metro", "direction", "hour_of_week"], keep="first", maintain_order=True)
    )
    parts = []
    for (metro, way), mine in fullest.group_by("metro", "direction", maintain_order=True):
        values = dict(mine.select("hour_of_week", "utilisation_p95").iter_rows())
        names = mine.group_by("provider").len().sort("len", "provider", descending=[True, False])
        who = ", ".join(str(n) for n in names["provider"].head(3))
        head = "".join(f"<th>{hour:02}</th>" for hour in range(24))
        lines = []
        for day, name in enumerate(DAYS):
            cells = [values.get(24 * day + hour) for hour in range(24)]
            if any(c is not None for c in cells):
                lines.append(f"<tr><th>{name}</th>{''.join(map(_cell, cells))}</tr>")
        table = (
            f"<div><h3>{text(str(metro))}, {text(str(way))}</h3>\n"
            f'<p class="soft">Fullest: {text(who)}.</p>\n<div class="scroll">'
            f'<table class="heat"><thead><tr><th>UTC</th>{head}</tr></thead>\n<tbody>'
            f"{''.join(lines)}</tbody></table></div></div>\n"
        )
        parts.append(
            (
                list(dict.fromkeys(rows["metro"])).index(str(metro)),
                way == "in",
                table,
            )
        )  # fmt: skip
    if not parts:
        return ""
    summary = (
        '<p class="soft">95th percentile of each hour of the week at the provider that is fullest '
        "then. The file hours_of_week has every provider.</p>\n"
    )
    weeks = "".join(markup for *_, markup in sorted(parts))
    return f'{summary}{key()}<div class="weeks">\n{weeks}</div>\n'


def matrix(rows: pl.DataFrame) -> str:
    """Drills × links: the largest slot of a link in either direction while another is down.

    What takes the same away, as a router and its metro, is one row.

    `rows`: the columns of `columns.drill.DRILL`; the drills and links that get fullest, without
    growth.
    """
    link = pl.concat_str("exporter", "interface", separator=":")
    used = (
        rows.filter(pl.col("growth") == pl.col("growth").min())
        .drop_nulls("max_utilisation")
        .with_columns(link=link)
        .group_by("kind", "removed", "link", maintain_order=True)
        .agg(pl.col("max_utilisation").max())
    )
    busy = used.filter(pl.col("max_utilisation") >= FULL_ENOUGH)
    if busy.is_empty():
        return ""
    order = ["worst", "kind", "removed"]
    drills = (
        busy.group_by("kind", "removed")
        .agg(worst=pl.col("max_utilisation").max())
        .sort(order, descending=[True, False, False])
    )
    links = (
        busy.group_by("link")
        .agg(worst=pl.col("max_utilisation").max())
        .sort("worst", "link", descending=[True, False])
        .head(MOST_LINKS)["link"]
        .to_list()
    )
    values = {(k, r, x): v for k, r, x, v in used.iter_rows()}
    head = "".join(f"<th>{_broken(name)}</th>" for name in links)
    alike: dict[tuple[float | None, ...], list[str]] = {}
    every = used["link"].unique().sort().to_list()
    for kind, name in drills.select("kind", "removed").iter_rows():
        row = tuple(values.get((kind, name, x)) for x in (*links, *every))
        alike.setdefault(row, []).append(f"{kind} {name}")
    lines = [
        f"<tr><th class=d>{text(', '.join(names))}</th>"
        + "".join(map(_cell, row[: len(links)]))
        + "</tr>"
        for row, names in list(alike.items())[:MOST_DRILLS]
    ]
    left = len(alike) - MOST_DRILLS
    more = f" {left:,} more drills are in the file drill." if left > 0 else ""
    return (
        '<p class="soft">What is down, and the largest slot of each link then, in either '
        f"direction; links and drills that stay below {FULL_ENOUGH:.0%} are left out.{more}</p>\n"
        f'{key()}<div class="scroll"><table class="heat"><thead><tr><th class=d>down</th>{head}'
        f"</tr></thead>\n<tbody>{''.join(lines)}</tbody></table></div>\n"
    )


def _broken(name: str) -> str:
    """The name of a link, which may be broken after its dots and its colon."""
    return text(name).replace(".", ".<wbr>").replace(":", ":<wbr>")


def growth(found: Capacity) -> str:
    """Weekly 95th percentiles of each provider against 80 % of its capacity, and with the asks."""
    panels = []
    fullest = {
        (r["metro"], r["provider_asn"], r["direction"]): r for r in found.rows.to_dicts()
    }  # fmt: skip
    for (metro, asn, way), mine in found.weekly.group_by(
        "metro", "provider_asn", "direction", maintain_order=True
    ):
        row: dict[str, Any] | None = fullest.get((str(metro), asn, str(way)))
        if row is None or mine.height < 2:
            continue
        size = row["capacity_bps"]
        drawn = [svg.Line(mine["p95_bps"].to_list(), "one")]
        after = mine["p95_after_asks_bps"].to_list()
        if any(v is not None for v in after):
            drawn.append(svg.Line(after, "two"))
        top = float(mine["p95_bps"].max() or 0)  # type: ignore[arg-type]
        fill = top / size if size else 0.0
        panels.append((-fill, str(metro), str(way), _panel(row, mine, drawn)))
    if not panels:
        return ""
    shown = "".join(markup for *_, markup in sorted(panels)[:MOST_LINES])
    dashed = any("two" in markup for *_, markup in panels)
    more = len(panels) - MOST_LINES
    return (
        '<p class="soft">95th percentile of each week (solid)'
        + (", less what the asks are seen on (dashed)" if dashed else "")
        + ", and 80 % of the capacity (across); the fullest first"
        + (f", {more} more in the file capacity_weekly" if more > 0 else "")
        + f'.</p>\n<div class="panels">{shown}</div>\n'
    )


def _panel(row: dict[str, Any], weeks: pl.DataFrame, drawn: Sequence[svg.Line]) -> str:
    size = row["capacity_bps"]
    name = f"{row['metro']}, {row['provider'] or row['provider_asn']}, {row['direction']}"
    months = [("80 %", row["month_80"]), ("with the asks", row["month_80_after_asks"])]
    summary = "; ".join(f"{what} in {month}" for what, month in months if month)
    ends = (f"{weeks['week'][0]}", f"{weeks['week'][-1]}")
    chart = svg.lines(
        drawn, caption=f"{name}: 95th percentile by week", ends=ends, label=lambda v: rate(v),
        limit=0.8 * size if size else None,
    )  # fmt: skip
    return (
        f'<div class="panel"><h4>{text(name)}</h4>\n{chart}'
        f"<p>{text(summary or row['status'] or '')}</p></div>\n"
    )


__all__ = ["STYLE", "growth", "hours", "key", "matrix"]
