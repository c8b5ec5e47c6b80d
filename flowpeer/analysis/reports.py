"""All answers of a period in one folder, and one page of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from flowpeer import __version__
from flowpeer.analysis.answers import Answer, FileFormat, SideTable, title_of, write_documents
from flowpeer.analysis.bills import bills_answer
from flowpeer.analysis.candidates import candidate_answer
from flowpeer.analysis.capacity import capacity_answer
from flowpeer.analysis.counterfactual import counterfactual_answer
from flowpeer.analysis.drill import DrillRequest, drill_answer, drt_answer
from flowpeer.analysis.exchanges import exchanges_answer
from flowpeer.analysis.exits import exits_answer
from flowpeer.analysis.imbalance import HEADINGS, imbalance_answer
from flowpeer.analysis.inputs import Gathered, gather, gather_both
from flowpeer.analysis.leaks import leaks_answer
from flowpeer.analysis.periods import EARLY, data_span, period_before, period_of
from flowpeer.analysis.routing import exits_of
from flowpeer.analysis.signed import picks_signed
from flowpeer.lake.record import Record
from flowpeer.network import Configuration
from flowpeer.period import parse_period
from flowpeer_reports.capacity import FEWEST
from flowpeer_reports.columns import Column
from flowpeer_reports.columns.grades import CURVE, GRADES, TIMELINES
from flowpeer_reports.link_rows import whole_weeks
from flowpeer_reports.pictures import Pictures, pictures
from flowpeer_reports.render import failures, html_report, workbook
from flowpeer_reports.render.report import CHANGED, Sections


@dataclass(frozen=True)
class Reports:
    """Answers of the default directions, and the files they were written to."""

    candidates: Answer
    imbalance: Answer
    files: list[Path]
    page: Path


@dataclass(frozen=True)
class Pack:
    """The files of a whole report, its page among them."""

    files: list[Path]
    page: Path


def write_pack(
    network: Configuration,
    record: Record,
    period: str | None,
    folder: Path,
    *,
    formats: Sequence[FileFormat] = ("csv",),
    metros: Sequence[str] | None = None,
    advanced: Callable[[], None] = lambda: None,
    stating: Callable[[Gathered], Gathered] = lambda gathered: gathered,
) -> Pack:
    """Every answer of a period as files, and one page; in XLSX one workbook.

    The candidates are compared with the period before where the lake has all of it. `advanced` is
    called after each answer; `stating` adds to the notes what the figures hang on.
    """
    gathered, before = _with_before(network, record, period)
    gathered = stating(gathered)
    asks = candidate_answer(gathered, metros=metros, before=before)
    advanced()
    answers = [exchanges_answer(gathered, metros=metros, listed=asks.found), asks]
    exits = exits_of(gathered.inputs, network, record)
    long = len(whole_weeks(gathered.inputs)) >= FEWEST
    for make in (
        lambda: leaks_answer(gathered, metros=metros),
        lambda: imbalance_answer(
            gathered, metros=metros, network=network, record=record, exits=exits
        ),
        lambda: exits_answer(gathered, network, record, metros=metros, read=exits),
        lambda: drill_answer(
            gathered, network, record, DrillRequest(every=True), metros=metros, exits=exits
        ),
        lambda: drt_answer(gathered, network, record, metros or (), exits=exits),
        lambda: capacity_answer(
            gathered,
            metros=metros,
            network=network,
            record=record,
            exits=exits,
            asks=ASKS_OF_CAPACITY if long and not picks_signed(network) else None,
        ),
        *(
            (
                lambda: bills_answer(network, record, period),
                lambda: counterfactual_answer(gathered, network, record, exits=exits),
            )
            if network.contracts
            else ()
        ),
    ):
        answers.append(make())
        advanced()
    by_name = {answer.name: answer for answer in answers}
    drawn = pictures(gathered.inputs, asks.found, by_name["imbalance"].found)
    asks = answers[1] = replace(asks, side_tables={**asks.side_tables, **_tables(drawn)})
    title = title_of(gathered.inputs, "peering report")
    billed = by_name["bills"].notes if "bills" in by_name else ()
    notes = list(dict.fromkeys([*asks.found.notes, *asks.notes, *billed]))
    apart = [f for f in formats if f != "xlsx"]
    # Side tables of one name: the priced ones of the candidates are written last.
    written = dict.fromkeys(path for answer in answers for path in answer.write(folder, apart))
    if "xlsx" in formats:
        book = workbook(_sheets(asks, answers), title=title, notes=notes)
        written |= dict.fromkeys(write_documents(folder, {"report.xlsx": book}))
    changed = asks.side_tables.get("changes")
    shown: list[tuple[str, pl.DataFrame, Sequence[Column]]] = []
    if changed is not None:
        rest = [c for c in changed.columns if c.name not in WHO]
        who = [c for name in WHO for c in changed.columns if c.name == name]
        shown.append((CHANGED, changed.rows, [*who, *rest]))
    for name, wanted in OF_IMBALANCE.items():
        table = by_name["imbalance"].side_tables.get(name)
        if table is not None:
            rows = table.rows
            if name == "imbalance_causes":
                rows = rows.filter((pl.col("share") >= SHOWN_CAUSE) | pl.col("share").is_null())
            columns = [c for c in table.columns if c.name in (wanted or rows.columns)]
            shown.append((HEADINGS[name], rows, columns))
    for name, heading in PAGES:
        if name == "drill":
            summary = by_name[name].side_tables["drill_summary"]
            columns = [c for c in summary.columns if c.name in DRILL_COLUMNS]
            shown.append((heading, worst_first(summary.rows), columns))
        elif name in by_name:
            shown.append((heading, by_name[name].rows, _on_page(by_name[name])))
    sections = Sections(
        candidates=asks.found,
        imbalance=by_name["imbalance"].found,
        provenance={"flowpeer": __version__, **gathered.provenance},
        files=[f"candidates.{format_}" for format_ in formats],
        more=shown,
        pictures=drawn,
        drawn={
            "Transit by hour of the week": failures.hours(by_name["imbalance"].found.hours_of_week),
            "When others fail": failures.matrix(by_name["drill"].rows),
            "Growth and capacity": failures.growth(by_name["capacity"].found),
        },
    )
    page = html_report(title=title, notes=notes, sections=sections)
    (path,) = write_documents(folder, {"report.html": page.encode()})
    return Pack([*written, path], path)


PAGES = (
    ("exits", "Where traffic leaves, and where BGP says"),
    ("leaks", "Already peered, still on transit"),
    ("exchanges", "Exchanges"),
    ("bills", "Bills"),
    ("counterfactual", "Bills with the first ten asks and the moves"),
    ("drill", "When others fail"),
    ("drt", "Plans of disaster-recovery tests"),
    ("capacity", "Growth and capacity"),
)
OF_IMBALANCE: dict[str, tuple[str, ...]] = {
    "imbalance_areas": (
        "area", "metro", "direction", "provider", "capacity_bps", "avg_bps", "p95_bps",
        "utilisation_p95", "share", "target_share", "d", "slots_over_80",
    ),
    "imbalance_causes": (
        "metro", "direction", "provider", "excess_share", "cause", "share", "detail",
    ),
    "moves": (
        "metro", "rule", "prefix", "origin_asn", "origin", "from_provider", "to_provider", "knob",
        "path", "avg_bps", "d_after", "to_utilisation_after",
    ),
    "moves_effect": (
        "metro", "provider", "capacity_bps", "p95_before_bps", "p95_after_bps",
        "utilisation_before", "utilisation_after", "n1_utilisation_before", "n1_utilisation_after",
    ),
    "moves_bills": (),
    "links": (
        "metro", "direction", "provider", "exporter", "interface", "capacity_bps", "p95_bps",
        "peak_bps", "utilisation_p95", "slots_over_80", "share_of_provider",
    ),
}  # fmt: skip
"""Its side tables on the page, with the columns shown; none: all of them."""
WHO = ("metro", "asn", "name")
"""First on the page, of what changed."""
SHOWN_CAUSE = 0.05
"""Of a provider's bytes; smaller causes are in the files."""
DRILL_COLUMNS = (
    "kind", "removed", "first_bottleneck", "largest_growth", "worst_largest_growth",
    "slots_over_100", "ports_to_buy", "out_without_way_bytes", "in_without_way_bytes",
)  # fmt: skip
ASKS_OF_CAPACITY = 10
"""Asks that the lines of growth are drawn with and without, where none is signed."""


def worst_first(summary: pl.DataFrame) -> pl.DataFrame:
    """Drills that leave least room for growth first; without a way before all others."""
    lost = pl.col("out_without_way_bytes") + pl.col("in_without_way_bytes")
    return summary.sort(
        "largest_growth", lost, descending=[False, True], nulls_last=True, maintain_order=True
    )


def _tables(of: Pictures) -> dict[str, SideTable]:
    """What the pictures are made from."""
    made = {}
    if of.grades is not None:
        made["grades"] = SideTable(of.grades, GRADES)
    if of.curve is not None:
        made["curve"] = SideTable(of.curve, CURVE)
    if of.timelines is not None:
        made["transit_by_month"] = SideTable(of.timelines.rows, TIMELINES)
    return made


def _sheets(
    asks: Answer, answers: Sequence[Answer]
) -> list[tuple[str, pl.DataFrame, Sequence[Column]]]:
    """The organisations first, then a sheet a metro, what belongs to them, and the other answers,
    each with its side tables."""
    whole = asks.side_tables["organisations"]
    made: list[tuple[str, pl.DataFrame, Sequence[Column]]] = [
        ("organisations", whole.rows, whole.columns)
    ]
    for (metro,), rows in asks.rows.group_by(["metro"], maintain_order=True):
        made.append((str(metro), rows, asks.columns))
    beside = {name: asks.side_tables[name] for name in FIRST_SHEETS if name in asks.side_tables}
    tables = beside | dict(asks.side_tables)
    for answer in answers:
        if answer is not asks:
            tables |= {answer.name: SideTable(answer.rows, answer.columns)}
            tables |= {n: t for n, t in answer.side_tables.items() if n not in asks.side_tables}
    del tables["organisations"]
    return made + [(name, table.rows, table.columns) for name, table in tables.items()]


FIRST_SHEETS = ("scenarios", "commits", "changes", "grades", "curve", "transit_by_month")
"""Side tables of the candidates that come before the others."""


def _on_page(answer: Answer) -> list[Column]:
    """The columns that a screen has room for; the files have all."""
    shown = answer.screen_columns
    return [c for c in answer.columns if not shown or c.name in shown]


def _with_before(
    network: Configuration, record: Record, period: str | None
) -> tuple[Gathered, Gathered | None]:
    first, _ = data_span(network, record)
    start, end = parse_period(period) if period else period_of(network, record, None)
    if first < start and first <= period_before(start, end)[0] + EARLY:
        return gather_both(network, record, period, "before")
    return gather(network, record, period), None


def write_reports(
    gathered: Gathered, folder: Path, *, formats: Sequence[FileFormat] = ("csv",)
) -> Reports:
    """Candidates and imbalance as files, and one HTML page of both."""
    asks, balance = candidate_answer(gathered), imbalance_answer(gathered)
    written = [path for answer in (asks, balance) for path in answer.write(folder, formats)]
    sections = Sections(
        candidates=asks.found,
        imbalance=balance.found,
        provenance={"flowpeer": __version__, **gathered.provenance},
        files=[f"candidates.{format_}" for format_ in formats],
    )
    sections = replace(sections, pictures=pictures(gathered.inputs, asks.found, balance.found))
    page = html_report(title=title_of(gathered.inputs, "peering report"), sections=sections)
    (path,) = write_documents(folder, {"report.html": page.encode()})
    return Reports(asks, balance, [*written, path], path)
