"""Small charts as SVG: attributes and classes alone, since the page's policy has no styles.

A chart says what it shows in its `aria-label`; the figures stand in a table beside it. Lines differ
by dashes as well as by colour.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from flowpeer_reports.render.cells import clean

Values = Sequence[float | None]
LEFT, TOP, BOTTOM = 4, 14, 16
"""Room around the plot, in units of the view box; at the left the scale stands in more of it."""
LETTER = 7.0
"""Width of a character of the scale, on average."""

STYLE = """
.panels{display:grid;grid-template-columns:repeat(auto-fill,minmax(17rem,1fr));gap:1rem;
margin:.75rem 0 1.25rem;padding:0}
.panel{margin:0;padding:.5rem .7rem;border:1px solid var(--line);border-radius:6px;
break-inside:avoid;min-width:0}
.panel h4{margin:0;font-size:.95rem}
.panel p{margin:.15rem 0;font-size:.82rem;color:var(--soft)}
.panel svg,td svg.plot{display:block;width:100%;height:auto}
td svg.plot{max-width:22rem;margin:.3rem 0}
.plot text{fill:var(--soft);font-size:11px;paint-order:stroke;stroke:var(--paper);stroke-width:3px;
stroke-linejoin:round}
.plot path{fill:none;stroke-width:1.6;stroke-linejoin:round}
.plot .axis{stroke:var(--line);stroke-width:1}
.plot .one{stroke:var(--accent)}
.plot .two{stroke:var(--ink);stroke-dasharray:4 3}
.plot .limit{stroke:var(--warn);stroke-width:1.6}
.plot .area{fill:var(--accent);fill-opacity:.16;stroke:none}
.plot .bars{fill:var(--bar);stroke:none}
.words{font-size:1.05rem}
.grade{display:inline-block;min-width:1.5em;padding:0 .35em;border:1px solid currentColor;
border-radius:4px;font-weight:700;font-size:.85em;text-align:center}
.gradeC,.gradeD{color:var(--warn)}
.two-up{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(20rem,100%),1fr));gap:1rem}
pre.draft{white-space:pre-wrap;overflow-wrap:anywhere;font-size:.8rem;max-width:38rem;
padding:.5rem .75rem;background:var(--paper);border:1px solid var(--line);border-radius:6px}
@media print{.panels{grid-template-columns:repeat(4,1fr);gap:.4rem}.panel{padding:.25rem .4rem}
.panel h4{font-size:9.5px}.panel p{font-size:8px}.words{font-size:11px}
.plot text{font-size:10px}}
"""
ROUND = (1, 1.2, 1.6, 2, 2.5, 3, 4, 5, 6, 8, 10)
"""Ends of a scale: their halves are round too."""
LEAST = 1e-12
"""What is not above it is nothing on any scale; powers of ten far below it are not exact."""


@dataclass(frozen=True, slots=True)
class Line:
    """Values at equal steps; None is a gap. `kind` is `one` (solid) or `two` (dashed)."""

    values: Values
    kind: str


def nice(top: float) -> float:
    """The least of `ROUND` times a power of ten that is not below `top`; 1 for nothing."""
    if not LEAST < top < math.inf:
        return 1.0
    power = 10.0 ** math.floor(math.log10(top))
    return next(power * k for k in ROUND if power * k >= top * (1 - 1e-12))


def lines(
    drawn: Sequence[Line],
    *,
    caption: str,
    ends: tuple[str, str],
    label: Callable[[float], str],
    limit: float | None = None,
    bands: Sequence[tuple[Values, Values]] = (),
    wide: int = 320,
    high: int = 130,
) -> str:
    """Lines over one scale, which holds 0, all of them and the limit.

    Args:
        caption: what the chart shows.
        ends: labels of the first and the last value.
        label: a value of the scale as text.
        limit: a level that is drawn across, as a capacity.
        bands: areas between two lines of values.
    """
    held = [v for line in drawn for v in line.values if v is not None]
    held += [v for band in bands for side in band for v in side if v is not None]
    highest, lowest = max([*held, limit or 0.0]), min([*held, 0.0])
    top = nice(highest) if highest > 0 or lowest >= 0 else 0.0
    bottom = -nice(-lowest) if lowest < 0 else 0.0
    count = max((len(line.values) for line in drawn), default=0)
    base = high - BOTTOM

    def y(value: float) -> float:
        return TOP + (base - TOP) * (top - value) / (top - bottom)

    marks = sorted({bottom, bottom / 2, 0.0, top / 2, top})
    if bottom < 0 < top:  # halves of the shorter side would stand too close
        near = 0.15 * (top - bottom)
        marks = [m for m in marks if not m or (m in (bottom, top) and abs(m) > near)]
    named = {mark: label(mark) for mark in marks if mark or bottom < 0}
    longest = max((len(name) + name.count("%") / 2 for name in named.values()), default=0)
    left = round(2 * LEFT + LETTER * longest, 1)

    def x(place: int) -> float:
        return left + (wide - LEFT - left) * (place / (count - 1) if count > 1 else 0.5)

    parts = []
    for mark in marks:
        at = y(mark)
        parts.append(f'<path class="axis" d="M{left} {at:.1f}H{wide - LEFT}"></path>')
    for low, up in bands:
        points = [
            (x(n), y(a), y(b))
            for n, (a, b) in enumerate(zip(low, up, strict=True))
            if a is not None and b is not None
        ]
        if len(points) > 1:
            there = "L".join(f"{at:.1f} {b:.1f}" for at, _, b in points)
            back = "L".join(f"{at:.1f} {a:.1f}" for at, a, _ in reversed(points))
            parts.append(f'<path class="area" d="M{there}L{back}Z"></path>')
    if limit is not None:
        parts.append(f'<path class="limit" d="M{left} {y(limit):.1f}H{wide - LEFT}"></path>')
    for line in drawn:
        for run in _runs(line.values):
            way = "L".join(f"{x(n):.1f} {y(v):.1f}" for n, v in run)
            if len(run) == 1:
                way += "h.1"
            parts.append(f'<path class="{line.kind}" d="M{way}"></path>')
    for mark, name in named.items():
        at = y(mark) + 4
        parts.append(f'<text x="{left - LEFT}" y="{at:.1f}" text-anchor="end">{text(name)}</text>')
    first, last = ends
    parts.append(f'<text x="{left}" y="{high - 3}">{text(first)}</text>')
    parts.append(f'<text x="{wide - LEFT}" y="{high - 3}" text-anchor="end">{text(last)}</text>')
    return (
        f'<svg class="plot" viewBox="0 0 {wide} {high}" role="img" aria-label="{text(caption)}">'
        f"{''.join(parts)}</svg>\n"
    )


def bars(values: Sequence[float], *, caption: str, names: Sequence[tuple[int, str]], label: str,
         wide: int = 320, high: int = 76) -> str:  # fmt: skip
    """Bars from 0; `names`: labels below some of them by place, `label`: of the highest."""
    top = max(values, default=0.0)
    base, step = high - BOTTOM, wide / max(len(values), 1)
    outline = "".join(
        f"V{base - ((base - TOP) * value / top if top > 0 else 0.0):.1f}H{(n + 1) * step:.1f}"
        for n, value in enumerate(values)
    )
    drawn = [f'<path class="bars" d="M0 {base}{outline}V{base}Z"></path>']
    drawn += [
        f'<text x="{place * step:.1f}" y="{high - 3}">{text(name)}</text>' for place, name in names
    ]
    drawn.append(f'<text x="0" y="{TOP - 3}">{text(label)}</text>')
    return (
        f'<svg class="plot" viewBox="0 0 {wide} {high}" role="img" aria-label="{text(caption)}">'
        f"{''.join(drawn)}</svg>"
    )


def text(value: str) -> str:
    """Foreign text, safe in element content and in quoted attributes."""
    return escape(clean(value), quote=True)


def _runs(values: Values) -> list[list[tuple[int, float]]]:
    """Stretches without a gap."""
    found: list[list[tuple[int, float]]] = [[]]
    for n, value in enumerate(values):
        if value is None:
            found.append([])
        else:
            found[-1].append((n, value))
    return [run for run in found if run]
