"""One self-contained plain HTML page: no request, every foreign text escaped.

Its one script sorts and filters what is there; all is readable without it.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from html import escape

import polars as pl

from flowpeer_reports.columns import Column
from flowpeer_reports.render import svg
from flowpeer_reports.render.cells import is_number, texts
from flowpeer_reports.render.failures import STYLE as FAILURES
from flowpeer_reports.render.script import SCRIPT
from flowpeer_reports.render.svg import text

_STYLE = (
    """
:root{color-scheme:light dark;--ink:#1c2430;--soft:#5b6675;--line:#dde3ea;--band:#f6f8fa;
--accent:#0b5cad;--head:#eef2f6;--note:#fff8e6;--warn:#c0392b;--bar:#5b9bd5;--rail:#e6ebf1;
--paper:#fff}
@media (prefers-color-scheme:dark){:root{--ink:#e4e9ef;--soft:#9aa6b4;--line:#2d3743;--band:#171d25;
--accent:#6fb1f5;--head:#1e2731;--note:#2b2617;--warn:#f0776a;--bar:#4a8fd0;--rail:#2a333e;
--paper:#11161c}}
*{box-sizing:border-box}
body{margin:0 auto;padding:2rem 2rem 4rem;max-width:110rem;color:var(--ink);
background:var(--paper);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
h1{font-size:1.5rem;margin:0 0 .25rem}
h2{font-size:1.25rem;margin:2.5rem 0 .5rem;padding-top:.75rem;border-top:2px solid var(--accent)}
h3{font-size:1.05rem;margin:1.75rem 0 .5rem}
p,li{max-width:60rem}
p{margin:.4rem 0}
.soft{color:var(--soft)}
.notes{margin:1rem 0;padding:.6rem 1rem .6rem 2rem;background:var(--note);
border-left:4px solid #e0a100}
nav a{margin-right:1.25rem}
a{color:var(--accent)}
.figures{display:flex;flex-wrap:wrap;gap:.75rem;margin:1rem 0;padding:0;list-style:none}
.figures li{flex:1 1 11rem;padding:.6rem .9rem;border:1px solid var(--line);border-radius:6px;
background:var(--band)}
.figures b{display:block;font-size:1.45rem;line-height:1.25}
.scroll{overflow-x:auto;margin:.5rem 0 1rem;border:1px solid var(--line);border-radius:6px}
table{border-collapse:collapse;width:100%;font-size:.86rem}
th,td{padding:.32rem .55rem;text-align:left;vertical-align:top;border-bottom:1px solid var(--line)}
thead th{background:var(--head);white-space:nowrap;font-weight:600}
tbody tr:nth-child(even){background:var(--band)}
tbody tr:last-child td{border-bottom:0}
th button{all:unset;cursor:pointer}
th button:focus-visible{outline:2px solid var(--accent);outline-offset:2px}
th[aria-sort=ascending] button::after{content:" ▲"}
th[aria-sort=descending] button::after{content:" ▼"}
.filter{margin:.75rem 0 .25rem}
.filter input{font:inherit;font-size:.86rem;padding:.2rem .5rem;width:14rem;max-width:100%;
color:inherit;background:var(--paper);border:1px solid var(--line);border-radius:4px}
td.n,th.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
td.t{min-width:7rem}
td.l{white-space:nowrap}
td.m{min-width:11rem}
td.t,td.m,td.w,p,li,small,h4,.panel{overflow-wrap:anywhere}
td.w{min-width:11rem}
td.n svg{display:block;margin:.2rem 0 0 auto}
.rail{fill:var(--rail)}
.bar{fill:var(--bar)}
.full{fill:var(--warn)}
.mark{fill:var(--ink)}
.chart{display:block;width:100%;max-width:46rem;height:auto;margin:.75rem 0}
.chart text{fill:var(--soft);font-size:12px}
.chart path{fill:none;stroke-width:2}
.chart .axis{stroke:var(--line);stroke-width:1}
.chart .one{stroke:var(--accent)}
.chart .two{stroke:var(--soft);stroke-dasharray:5 4}
summary{cursor:pointer}
.rest>summary{padding:.3rem 0}
.paper{display:none}
details small{display:block;text-align:left;white-space:normal;min-width:18rem}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.2rem 1.25rem;font-size:.9rem}
dt{font-weight:600}
dd{margin:0;overflow-wrap:anywhere}
@media (max-width:700px){body{padding:1rem}.cards thead{display:none}
.cards tr,.cards td{display:block}.cards tr{padding:.5rem 0;border-bottom:1px solid var(--line)}
.cards td,.cards td.n{border:0;padding:.1rem .65rem;text-align:left;white-space:normal}
.cards td[data-h]::before{content:attr(data-h) ": ";color:var(--soft)}
.cards td.n svg{display:none}dl{grid-template-columns:1fr}}
@media print{@page{size:A4 landscape;margin:11mm}:root{--ink:#000;--paper:#fff;--band:#fff;
--head:#eee;--line:#bbb;--soft:#444;--note:#fff}body{padding:0;font-size:9.5px}nav,.filter{display:none}
.scroll{overflow:visible;border:0}table{font-size:8.5px}th,td{padding:.15rem .35rem}
thead th{white-space:normal}td.m,td.w,td.t{min-width:0}tr{break-inside:avoid}
th button{display:contents}td details{display:none}
.paper{display:block}h2,h3,h2+p{break-after:avoid}#definitions dl{display:block;columns:3}
h1{font-size:17px}h2{font-size:14px;margin:1.2rem 0 .3rem}h3{font-size:11px;margin:.7rem 0 .2rem}
.figures b{font-size:15px}dl{font-size:8px;line-height:1.25}
#provenance dl{font-size:6.5px;columns:2;display:block}
details.rest,.first-ten tbody tr:nth-child(n+11){display:none}#definitions dt{break-after:avoid}}
"""
    + svg.STYLE
    + FAILURES
)
FOLDED_AT = 10
"""Rows of a long table that are seen at once, and that stand on paper."""
_SHORT, _WIDE = 14, 60
"""A column with a cell longer than this gets room."""


def page(title: str, notes: Sequence[str], body: str) -> str:
    """A whole page; `body` is markup made by this module, `title` and `notes` are text."""
    policy = (
        f"default-src 'none'; style-src {_source(_STYLE)}; script-src {_source(SCRIPT)}; "
        "base-uri 'none'; form-action 'none'"
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{text(title)}</h1>\n{note_list(notes)}{body}<script>{SCRIPT}</script>\n"
        "</body>\n</html>\n"
    )


def _source(code: str) -> str:
    """The source expression that lets just this text in."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()}'"


def table_page(
    frame: pl.DataFrame, columns: Sequence[Column], *, title: str, notes: Sequence[str]
) -> str:
    """One table with the meaning of its columns, as a page."""
    return page(title, notes, table(frame, columns) + glossary(columns))


def note_list(notes: Sequence[str]) -> str:
    """Notes as a list; nothing where there are none."""
    if not notes:
        return ""
    return '<ul class="notes">' + "".join(f"<li>{text(n)}</li>" for n in notes) + "</ul>\n"


def table(frame: pl.DataFrame, columns: Sequence[Column], *, fold: bool = False) -> str:
    """One table; numbers at the right, meanings as tooltips of the heads.

    `fold`: what is beyond the first rows folds out.
    """
    if not columns:
        return ""
    number = [is_number(frame.schema[c.name]) for c in columns]
    cells = [texts(frame, c) for c in columns]
    kinds = [
        "n" if n else _kind(max(map(len, column), default=0))
        for n, column in zip(number, cells, strict=True)
    ]
    head = "".join(
        f'<th{" class=n" if n else ""} title="{text(_tooltip(c))}">{text(c.name)}</th>'
        for c, n in zip(columns, number, strict=True)
    )
    rows = [
        "".join(f"<td class={k}>{escape(v)}</td>" for k, v in zip(kinds, row, strict=True))
        for row in zip(*cells, strict=True)
    ]
    empty = f'<td colspan="{len(columns)}">no rows</td>'
    return table_of(head, rows or [empty], fold=fold)


def _kind(longest: int) -> str:
    """How a column of texts is set: short ones on one line, long ones in a wide column."""
    return "l" if longest <= _SHORT else "w" if longest > _WIDE else "t"


def table_of(head: str, rows: Sequence[str], *, kind: str = "", fold: bool = False) -> str:
    """A table of finished cells; with `fold` rows beyond the first fold out, without a script as a
    table of their own."""
    first = FOLDED_AT if fold and len(rows) > FOLDED_AT + 2 else len(rows)

    def made(some: Sequence[str]) -> str:
        body = "".join(f"<tr>{row}</tr>\n" for row in some)
        return (
            f'<div class="scroll"><table{kind}>\n<thead><tr>{head}</tr></thead>\n'
            f"<tbody>\n{body}</tbody>\n</table></div>\n"
        )

    if first == len(rows):
        return made(rows)
    return (
        f'{made(rows[:first])}<details class="rest"><summary>{len(rows) - first:,} more rows'
        f"</summary>\n{made(rows[first:])}</details>\n"
        f'<p class="paper soft">On paper stand the first {first} rows.</p>\n'
    )


def glossary(columns: Sequence[Column]) -> str:
    """What each stated column means, with its unit."""
    stated = [c for c in columns if c.meaning]
    if not stated:
        return ""
    items = "".join(
        f"<dt>{text(c.name)}</dt><dd>{text(c.meaning)}"
        + (f' <span class="soft">[{text(c.unit)}]</span>' if c.unit else "")
        + "</dd>\n"
        for c in stated
    )
    return f"<dl>\n{items}</dl>\n"


def _tooltip(column: Column) -> str:
    return f"{column.meaning} [{column.unit}]" if column.unit else column.meaning
