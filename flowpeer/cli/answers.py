"""`candidates` and `imbalance`: the two questions of a peering manager."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from flowpeer.cli.state import State, terminal_width

if TYPE_CHECKING:
    import polars as pl

    from flowpeer.lake.ledger import Ledger
    from flowpeer_reports.candidates import Candidates
    from flowpeer_reports.inputs import Inputs
    from flowpeer_reports.render import Format

Direction = Literal["out", "in", "both"]
FORMATS = ("csv", "parquet", "json", "xlsx", "html", "md")
SCREEN_COLUMNS = {
    "candidates": (
        "rank", "metro", "asn", "name", "own_bps", "cone_bps", "marginal_bps", "p95_bps",
        "cumulative_share", "meet", "policy", "feasibility",
    ),
    "imbalance": (
        "metro", "direction", "provider", "capacity_bps", "avg_bps", "p95_bps",
        "utilisation_p95", "share", "target_share", "excess_share", "d", "slots_over_80",
    ),
}  # fmt: skip
"""What a screen has room for; files have every column."""
TERMINAL_ASKS = 10
"""Rows a metro on a screen where --asks says nothing; files have all."""

PeriodOption = Annotated[
    str | None,
    typer.Option(
        "--period",
        help="2026Q3, 2026-07, 2026-07-01/2026-07-08; default: the last whole quarter with data, "
        "else all.",
    ),
]
MetroOption = Annotated[
    list[str] | None, typer.Option("--metro", help="Only these metros (repeatable).")
]
OutOption = Annotated[Path | None, typer.Option("--out", help="Folder to write files into.")]
FormatOption = Annotated[
    str | None,
    typer.Option(
        "--format", help=f"{','.join(FORMATS)}: several with --out, one on stdout without."
    ),
]


@dataclass(frozen=True)
class Answer:
    """One answer in the form every format is made from."""

    name: str
    title: str
    rows: pl.DataFrame
    columns: tuple[Any, ...]
    side_tables: dict[str, tuple[pl.DataFrame, tuple[Any, ...]]]
    notes: list[str]
    totals: dict[str, Any]
    found: Any
    """The object of the reports package that it was made from."""
    html: Callable[[], str]


def _title(inputs: Inputs, what: str) -> str:
    return (
        f"{inputs.name} (AS{inputs.asn}): {what}, {inputs.period_start:%Y-%m-%d %H:%M} to "
        f"{inputs.period_end:%Y-%m-%d %H:%M} UTC"
    )


def candidate_answer(
    inputs: Inputs, *, direction: Direction, metros: Sequence[str] | None, asks: int | None
) -> Answer:
    """The candidate list."""
    from flowpeer_reports.candidates import candidates
    from flowpeer_reports.columns import CANDIDATES, NOT_LISTED
    from flowpeer_reports.render import html_report
    from flowpeer_reports.render.report import Sections

    found = candidates(inputs, direction=direction, metros=metros or None, asks=asks)
    title = _title(inputs, f"peering candidates, {direction}bound" if direction != "both"
                   else "peering candidates, both directions")  # fmt: skip
    return Answer(
        "candidates", title, _with_estimates(found), CANDIDATES,
        {"not_listed": (found.not_listed, NOT_LISTED)},
        [*found.notes, *_next_asks(found.next_ask)],
        {"totals": found.totals, "next_ask": found.next_ask,
         "p95_estimates": found.p95_estimates},
        found,
        lambda: html_report(title=title, sections=Sections(candidates=found)),
    )  # fmt: skip


def _with_estimates(found: Candidates) -> pl.DataFrame:
    """The rows, and beside p95_bps whether it is an estimate, for those who read a table."""
    import polars as pl

    pairs = found.rows.select("metro", "asn").iter_rows()
    marks = [found.is_estimate(metro, asn) for metro, asn in pairs]
    return found.rows.with_columns(pl.Series("p95_estimate", marks, pl.Boolean))


def _next_asks(next_ask: dict[str, dict[str, Any] | None]) -> list[str]:
    return [
        f"{metro}: one more ask, {ask['name'] or 'unnamed'} (AS{ask['asn']}), would add "
        f"{ask['marginal_bps'] / 1e6:,.1f} Mbps"
        for metro, ask in next_ask.items()
        if ask and ask["marginal_bps"]
    ]


def imbalance_answer(
    inputs: Inputs, *, direction: Direction, metros: Sequence[str] | None
) -> Answer:
    """The transit imbalance."""
    from flowpeer_reports.columns import IMBALANCE
    from flowpeer_reports.imbalance import imbalance
    from flowpeer_reports.render import html_report
    from flowpeer_reports.render.report import Sections

    found = imbalance(inputs, direction=direction, metros=metros or None)
    title = _title(inputs, "transit imbalance")
    return Answer(
        "imbalance", title, found.rows, IMBALANCE, {}, list(found.notes),
        {"totals": found.totals},
        found,
        lambda: html_report(title=title, sections=Sections(imbalance=found)),
    )  # fmt: skip


def write_answer(
    answer: Answer, folder: Path, formats: Sequence[str], provenance: dict[str, Any]
) -> list[Path]:
    """Write an answer, its side tables and where it came from; each file whole or not at all."""
    from flowpeer import __version__
    from flowpeer_reports.render import render_table

    documents: dict[str, bytes] = {}
    for format_ in formats:
        if format_ == "html":
            documents[f"{answer.name}.html"] = answer.html().encode()
            continue
        tables = {answer.name: (answer.rows, answer.columns), **answer.side_tables}
        for name, (frame, columns) in tables.items():
            made = render_table(
                frame, columns, format=_known(format_), title=answer.title, notes=answer.notes
            )
            documents[f"{name}.{format_}"] = made.encode() if isinstance(made, str) else made
    meta = {"flowpeer": __version__, **provenance, **answer.totals, "notes": answer.notes}
    text = json.dumps(meta, indent=1, ensure_ascii=False, default=str) + "\n"
    documents[f"{answer.name}.meta.json"] = text.encode()
    return write_documents(folder, documents)


def write_documents(folder: Path, documents: dict[str, bytes]) -> list[Path]:
    """Write files into `folder`: each appears whole, and one that is right already stays."""
    from flowpeer.errors import naming

    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, content in documents.items():
        path = folder / name
        if not path.is_file() or path.read_bytes() != content:
            temporary = folder / f".{name}.part"
            with naming(temporary):
                temporary.write_bytes(content)
            temporary.replace(path)
        written.append(path)
    return written


def _warn_if_stale(state: State, ledger: Ledger, asked: str | None) -> None:
    """Say so where the roll-ups are behind the flows, the routes or the configuration."""
    from flowpeer.cli.gather import period_of
    from flowpeer.cli.period import parse_period
    from flowpeer.errors import FlowpeerError
    from flowpeer.rollup.hours import Rollup

    network = state.network()
    try:
        # Where no period is asked for, hours after the last one rolled up belong to it too.
        period = parse_period(asked) if asked else (period_of(network, ledger, None)[0], None)
        rollup = Rollup(ledger.lake, network, ledger=ledger, period=period)
        stale = sum(bool(hour.changed) for hour in rollup.plan(*period))
    except FlowpeerError:  # nothing to roll up: `gather` says what is missing
        return
    if stale:
        state.warn(f"{stale} hours are not up to date, and the answer is made from what they "
                   "were: run `flowpeer rollup`")  # fmt: skip


def _known(format_: str) -> Format:
    return cast("Format", format_)


def _formats(text: str | None, out: Path | None) -> list[str]:
    from flowpeer.errors import UsageError

    chosen = [f.strip() for f in text.split(",")] if text else (["csv"] if out else [])
    wrong = [f for f in chosen if f not in FORMATS]
    if wrong:
        raise UsageError(
            f"--format {','.join(wrong)}: unknown", advice=f"one of {', '.join(FORMATS)}"
        )
    if len(chosen) > 1 and out is None:
        raise UsageError("several formats need a folder", advice="add --out DIR")
    return chosen


def _check_words(state: State, metros: Sequence[str] | None, period: str | None) -> None:
    """Refuse what is misspelt before any work is done."""
    import difflib

    from flowpeer.cli.period import parse_period
    from flowpeer.errors import UsageError

    if period is not None:
        parse_period(period)
    known = [m.id for m in state.network().metros]
    for metro in metros or ():
        if metro not in (*known, "unknown"):
            near = difflib.get_close_matches(metro, known, n=1)
            raise UsageError(
                f"--metro {metro}: no such metro",
                advice=f"did you mean {near[0]}?" if near else f"one of {', '.join(known)}",
            )


def _deliver(
    state: State,
    answer: Answer,
    provenance: dict[str, Any],
    *,
    out: Path | None,
    formats: list[str],
) -> None:
    from flowpeer_reports.render import render_table

    if out is not None:
        paths = write_answer(answer, out, formats, provenance)
        if state.json:
            state.emit([str(p) for p in paths])
        else:
            for path in paths:
                state.tell(f"wrote {path}")
        return
    if not formats and not state.json:
        sys.stdout.write(on_screen(answer))
        return
    format_ = "json" if state.json else formats[0]
    if format_ in ("json", "csv", "parquet"):  # these have no place for them
        for note in answer.notes:
            state.say(f"note: {note}")
    made: str | bytes
    if format_ == "html":
        made = answer.html()
    else:
        made = render_table(
            answer.rows,
            answer.columns,
            format=_known(format_),
            title=answer.title,
            notes=answer.notes,
        )
    if isinstance(made, bytes):
        sys.stdout.buffer.write(made)
    else:
        sys.stdout.write(made)


def candidates(
    ctx: typer.Context,
    period: PeriodOption = None,
    metro: MetroOption = None,
    asks: Annotated[int | None, typer.Option(min=1, help="Rows a metro.")] = None,
    direction: Annotated[Direction, typer.Option(help="Which way the traffic goes.")] = "out",
    out: OutOption = None,
    format_: FormatOption = None,
) -> None:
    """Whom to ask for peering, where, and what it is worth."""
    from flowpeer.cli.gather import gather
    from flowpeer.lake.ledger import Ledger

    state: State = ctx.obj
    formats = _formats(format_, out)
    _check_words(state, metro, period)
    ledger = Ledger(state.lake())
    _warn_if_stale(state, ledger, period)
    gathered = gather(state.network(), ledger, period)
    screen = not formats and not state.json
    answer = candidate_answer(
        gathered.inputs, direction=direction, metros=metro,
        asks=asks or (TERMINAL_ASKS if screen else None),
    )  # fmt: skip
    _deliver(state, answer, gathered.provenance, out=out, formats=formats)


def imbalance(
    ctx: typer.Context,
    period: PeriodOption = None,
    metro: MetroOption = None,
    direction: Annotated[Direction, typer.Option(help="Which way the traffic goes.")] = "both",
    out: OutOption = None,
    format_: FormatOption = None,
) -> None:
    """Is transit balanced against what is paid for?"""
    from flowpeer.cli.gather import gather
    from flowpeer.lake.ledger import Ledger

    state: State = ctx.obj
    formats = _formats(format_, out)
    _check_words(state, metro, period)
    ledger = Ledger(state.lake())
    _warn_if_stale(state, ledger, period)
    gathered = gather(state.network(), ledger, period)
    answer = imbalance_answer(gathered.inputs, direction=direction, metros=metro)
    _deliver(state, answer, gathered.provenance, out=out, formats=formats)


@dataclass(frozen=True)
class Reports:
    """Both answers of the default directions, and the files they were written to."""

    candidates: Answer
    imbalance: Answer
    files: list[Path]
    page: Path


def write_reports(
    state: State,
    folder: Path,
    *,
    period: str | None = None,
    formats: Sequence[str] = ("csv",),
    ledger: Ledger | None = None,
) -> Reports:
    """Candidates and imbalance as files, and one HTML page of both."""
    from flowpeer.cli.gather import gather
    from flowpeer.lake.ledger import Ledger
    from flowpeer_reports.render import html_report
    from flowpeer_reports.render.report import Sections

    gathered = gather(state.network(), ledger or Ledger(state.lake()), period)
    inputs = gathered.inputs
    asks = candidate_answer(inputs, direction="out", metros=None, asks=None)
    balance = imbalance_answer(inputs, direction="both", metros=None)
    written: list[Path] = []
    for answer in (asks, balance):
        written += write_answer(answer, folder, formats, gathered.provenance)
    sections = Sections(
        candidates=asks.found,
        imbalance=balance.found,
        provenance=gathered.provenance,
        files=[f"candidates.{format_}" for format_ in formats],
    )
    page = html_report(title=_title(inputs, "peering report"), sections=sections)
    (path,) = write_documents(folder, {"report.html": page.encode()})
    return Reports(asks, balance, [*written, path], path)


def on_screen(answer: Answer, *, asks: int | None = None) -> str:
    """An answer as the terminal shows it; `asks` keeps the first rows of each metro."""
    import polars as pl

    from flowpeer_reports.render import render_table

    rows = answer.rows if asks is None else answer.rows.filter(pl.col("rank") <= asks)
    shown = SCREEN_COLUMNS.get(answer.name)
    return str(
        render_table(
            rows,
            [c for c in answer.columns if shown is None or c.name in shown],
            format="terminal",
            width=terminal_width(),
            title=answer.title,
            notes=answer.notes,
        )
    )


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(candidates)
    app.command()(imbalance)
