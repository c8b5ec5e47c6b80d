"""One self-contained plain HTML page: no script, no request, every foreign text escaped."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from html import escape

import polars as pl

from flowpeer_reports.columns import Column
from flowpeer_reports.render.cells import clean, is_number, texts

_STYLE = """
:root{--ink:#1c2430;--soft:#5b6675;--line:#dde3ea;--band:#f6f8fa;--accent:#0b5cad}
*{box-sizing:border-box}
body{margin:0 auto;padding:2rem 2.5rem 4rem;max-width:110rem;color:var(--ink);background:#fff;
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
h1{font-size:1.7rem;margin:0 0 .25rem}
h2{font-size:1.25rem;margin:2.5rem 0 .5rem;padding-top:.75rem;border-top:2px solid var(--accent)}
h3{font-size:1.05rem;margin:1.75rem 0 .5rem}
p,li{max-width:60rem}
p{margin:.4rem 0}
.soft{color:var(--soft)}
.notes{margin:1rem 0;padding:.6rem 1rem .6rem 2rem;background:#fff8e6;border-left:4px solid #e0a100}
nav a{margin-right:1.25rem}
a{color:var(--accent)}
.scroll{overflow-x:auto;margin:.5rem 0 1rem;border:1px solid var(--line);border-radius:6px}
table{border-collapse:collapse;width:100%;font-size:.86rem}
th,td{padding:.32rem .65rem;text-align:left;vertical-align:top;border-bottom:1px solid var(--line)}
thead th{background:#eef2f6;white-space:nowrap;font-weight:600;border-bottom:1px solid #c5ced8}
tbody tr:nth-child(even){background:var(--band)}
tbody tr:last-child td{border-bottom:0}
td.n,th.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
td.t{min-width:7rem}
td.l{white-space:nowrap}
td.m{min-width:12rem}
td.w{min-width:13rem}
td.n svg{display:block;margin:.2rem 0 0 auto}
summary{cursor:pointer}
details small{display:block;text-align:left;white-space:normal;min-width:18rem}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.2rem 1.25rem;font-size:.9rem}
dt{font-weight:600}
dd{margin:0}
@media print{body{padding:0;font-size:10px}.scroll{overflow:visible;border:0}}
"""
_WIDE = 60
"""A column with a cell longer than this gets room."""


def page(title: str, notes: Sequence[str], body: str) -> str:
    """A whole page; `body` is markup made by this module, `title` and `notes` are text."""
    digest = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{text(title)}</h1>\n{note_list(notes)}{body}</body>\n</html>\n"
    )


def table_page(
    frame: pl.DataFrame, columns: Sequence[Column], *, title: str, notes: Sequence[str]
) -> str:
    """One table with the meaning of its columns, as a page."""
    return page(title, notes, table(frame, columns) + glossary(columns))


def text(value: str) -> str:
    """Foreign text, safe in element content and in quoted attributes."""
    return escape(clean(value), quote=True)


def note_list(notes: Sequence[str]) -> str:
    """Notes as a list; nothing where there are none."""
    if not notes:
        return ""
    return '<ul class="notes">' + "".join(f"<li>{text(n)}</li>" for n in notes) + "</ul>\n"


def table(frame: pl.DataFrame, columns: Sequence[Column]) -> str:
    """One table; numbers at the right, meanings as tooltips of the heads."""
    if not columns:
        return ""
    number = [is_number(frame.schema[c.name]) for c in columns]
    cells = [texts(frame, c) for c in columns]
    kinds = [
        "n" if n else "w" if any(len(v) > _WIDE for v in column) else "t"
        for n, column in zip(number, cells, strict=True)
    ]
    head = "".join(
        f'<th{" class=n" if n else ""} title="{text(_tooltip(c))}">{text(c.name)}</th>'
        for c, n in zip(columns, number, strict=True)
    )
    rows = "".join(
        "<tr>"
        + "".join(f"<td class={k}>{escape(v)}</td>" for k, v in zip(kinds, row, strict=True))
        + "</tr>\n"
        for row in zip(*cells, strict=True)
    )
    if not rows:
        rows = f'<tr><td colspan="{len(columns)}">no rows</td></tr>\n'
    return (
        f'<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody>\n'
        "</table></div>\n"
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
