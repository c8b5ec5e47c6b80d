"""Documents: golden at a fixed width, read back by other readers, safe for hostile text."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import re
import zipfile
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from html.parser import HTMLParser
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from reports_world import Flow, World

from flowpeer_reports.candidates import candidates
from flowpeer_reports.columns import (
    CANDIDATES,
    CANDIDATES_SHORT,
    IMBALANCE,
    Column,
    pick,
    schema,
)
from flowpeer_reports.errors import ReportError
from flowpeer_reports.imbalance import imbalance
from flowpeer_reports.pictures import pictures
from flowpeer_reports.render import html_report, render_table, workbook
from flowpeer_reports.render.cells import clean, display_width, human, rate
from flowpeer_reports.render.report import Sections
from flowpeer_reports.render.script import SCRIPT
from flowpeer_reports.render.terminal import narrowed

EVIL = (
    "=1+1",
    '+cmd|"/c calc"!A0',
    "-2",
    "@SUM(A1)",
    "\t=1",
    " =1",
    "＝1",
    "﹦1",
    "</td><script>alert(1)</script>",
    '" onmouseover="x',
    "a\nb\r\nc",
    "\x1b[31mred\x1b]0;title\x07",
    "\u202egnp.exe",
    "a|b`c`[x](javascript:y)",
    "日本語",
    "",
)
FRAME = pl.DataFrame(
    {
        "name": list(EVIL),
        "asn": range(64000, 64000 + len(EVIL)),
        "avg_bps": [1.5e9 * i for i in range(len(EVIL))],
        "bytes": [10**15 + i for i in range(len(EVIL))],
        "share": [0.5, None, float("nan"), float("inf"), *[0.25] * (len(EVIL) - 4)],
        "seen": [datetime(2026, 9, 16, 1, 2, 3, tzinfo=UTC)] * len(EVIL),
        "day": [date(2026, 9, 16)] * len(EVIL),
        "up": [True, None, *[False] * (len(EVIL) - 2)],
        "list": [["a", "=b"], [], None, *[[e] for e in EVIL[3:]]],
        "octets": [b"\x00\xff"] * len(EVIL),
    },
    strict=False,
)


def small_world() -> World:
    flows = [
        Flow(i % 12, 2001 + i % 4, 10**10 * (i + 1), f"10.{i % 5}.0.0/16", (1299, 174)[i % 2],
             variance=10**16, direction=("out", "out", "in")[i % 3])
        for i in range(24)
    ]  # fmt: skip
    return World(
        [*flows, Flow(0, -1, 10**10, ""), Flow(0, 2004, 10**9, scaled=False)],
        paths=[("10.1.0.0/16", "1299 2001 2002")],
        links=[(2001, 2002, -1), (2003, 2004, -1)],
        sessions=[(2003, "ams", "ix")],
        names={2001: "Alpha & Söhne", 2002: EVIL[7], 2003: "Gamma\x1b[2J", 1299: "One", 174: "Two"},
        notes=["synthetic"],
    )


@pytest.mark.parametrize("format_", ["terminal", "csv", "json", "md", "html"])
def test_candidates_document(format_: Any, golden: Callable[[str, str], None]) -> None:
    found = candidates(small_world().inputs())
    columns = pick(CANDIDATES, CANDIDATES_SHORT) if format_ == "terminal" else CANDIDATES
    made = render_table(
        found.rows, columns, format=format_, width=140, title="Candidates", notes=found.notes
    )
    assert isinstance(made, str)
    golden(f"candidates.{format_}.txt", without_code(made) if format_ == "html" else made)


def test_columns_give_way_until_the_table_fits_and_only_if_it_then_does() -> None:
    found = candidates(small_world().inputs())
    columns = pick(CANDIDATES, CANDIDATES_SHORT)
    order = ("own_bps", "policy", "cone_bps", "p95_bps", "observed_bps")
    wide = narrowed(found.rows, columns, 10**6, order)
    assert wide == list(columns)
    widths = {}
    for width in (150, 130, 110):
        kept = narrowed(found.rows, columns, width, order)
        page = str(render_table(found.rows, kept, format="terminal", width=width))
        assert max(map(len, page.splitlines())) <= width
        assert page.count("rank") == 1  # one block
        widths[width] = [c.name for c in columns if c not in kept]
    assert len(widths[110]) > len(widths[150])
    assert set(widths[110]) == set(order[: len(widths[110])])
    assert narrowed(found.rows, columns, 40, order) == list(columns)


def test_a_long_text_keeps_room_and_what_gives_way_goes_for_it() -> None:
    frame = pl.DataFrame({"rank": [1], "status": ["s" * 16], "meet": ["m" * 200]})
    columns = [Column(name, kind, "", "") for name, kind in frame.schema.items()]
    assert narrowed(frame, columns, 4 + 2 + 12 + 2 + 32, ["status"]) == columns
    kept = narrowed(frame, columns, 50, ["status"])
    assert [c.name for c in kept] == ["rank", "meet"]
    page = str(render_table(frame, kept, format="terminal", width=50))
    assert f"1  {'m' * 43}…" in page
    # Where there is no room for that, it shrinks before the table is broken.
    kept = narrowed(frame, columns, 30, ["status"])
    assert [c.name for c in kept] == ["rank", "meet"]
    page = str(render_table(frame, columns, format="terminal", width=4 + 2 + 12 + 2 + 12))
    assert page.count("rank") == 1


def test_imbalance_document(golden: Callable[[str, str], None]) -> None:
    found = imbalance(small_world().inputs())
    golden(
        "imbalance.terminal.txt",
        str(render_table(found.rows, IMBALANCE, format="terminal", width=100, notes=found.notes)),
    )


def test_report_document(golden: Callable[[str, str], None]) -> None:
    inputs = small_world().inputs()
    found, spread = candidates(inputs, asks=1), imbalance(inputs)
    page = html_report(
        title="Report <b>",
        sections=Sections(
            found, spread, {"a": ["<b>", 1]}, pictures=pictures(inputs, found, spread)
        ),
    )
    golden("report.html.txt", without_code(page))
    check_page(page)


def test_an_interval_says_that_it_is_not_of_what_is_inferred() -> None:
    inputs = small_world().inputs()
    found = candidates(inputs)
    asked = found.rows.filter(pl.col("rank") > 0, pl.col("marginal_bps") > 0)
    for share, told in ((0.4, 0), (0.75, asked.height)):
        some = found.rows.with_columns(inferred_bps=pl.col("marginal_bps") * share)
        page = html_report(
            title="x",
            sections=Sections(replace(found, rows=some.filter(pl.col("asn").is_in(asked["asn"])))),
        )
        assert page.count("75% inferred: ± is sampling alone") == told


def test_the_page_begins_with_the_answer_and_ends_with_its_sources() -> None:
    world = small_world()
    unscaled = Flow(0, 2004, 10**9, metro="par", scaled=False)
    world = replace(world, flows=[*world.flows, unscaled], metros=("ams", "par"))
    inputs = world.inputs()
    page = html_report(
        title="x", sections=Sections(candidates(inputs), imbalance(inputs), {"version": "1"})
    )
    tags = check_page(page)
    places = [page.index(f'<section id="{key}">') for key in (
        "summary", "best", "candidates", "imbalance", "notes", "definitions", "provenance",
    )]  # fmt: skip
    assert places == sorted(places)
    assert page.index('<ul class="figures">') < page.index("<table")
    assert "rate unknown" in tags.text
    # Over all metros a network is named once.
    best = page[places[1] : places[2]]
    assert best.count("AS2001<") == 1


def without_code(page: str) -> str:
    """A page less its style, its script and their digests, which other tests are about."""
    page = re.sub(r"(?s)<(style|script)>.*?</\1>", r"<\1></\1>", page)
    return re.sub(r"'sha256-[^']*'", "'sha256-…'", page)


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.attributes: set[str] = set()
        self.open: list[str] = []
        self.scripts: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in ("meta", "br", "rect"):
            self.open.append(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag != "rect":
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] == ["script"]:
            self.scripts[-1] += data
        else:
            self.text += data


def check_page(page: str) -> Tags:
    """Well formed, nothing active but the page's own script, nothing fetched."""
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    assert tags.scripts == [SCRIPT]
    allowed = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    assert page.count(f"script-src 'sha256-{allowed}';") == 1
    assert not tags.names & {"img", "iframe", "link", "object", "form", "base", "b>"}
    assert not [a for a in tags.attributes if a.startswith("on") or a in ("style", "src")]
    assert "default-src 'none'" in page
    return tags


def test_hostile_text_stays_text_in_html() -> None:
    made = render_table(FRAME, None, format="html", title=EVIL[7], notes=EVIL)
    assert isinstance(made, str)
    tags = check_page(made)
    assert EVIL[7] in tags.text
    assert "\x1b" not in made
    assert "\u202e" not in made


def test_csv_reads_back_with_plain_numbers_and_no_formula() -> None:
    made = render_table(FRAME, None, format="csv")
    assert isinstance(made, str)
    assert not any(ord(c) < 32 and c != "\n" for c in made)
    rows = list(csv.DictReader(io.StringIO(made)))
    assert len(rows) == FRAME.height
    assert made.count("\n") == FRAME.height + 1
    for row, evil in zip(rows, EVIL, strict=True):
        assert not row["name"].lstrip().startswith(("=", "+", "-", "@", "＝", "﹦"))
        assert row["name"].lstrip("'").strip() == clean(evil)
        for item in row["list"].split(";"):
            assert not item.lstrip().startswith(("=", "+", "-", "@", "＝", "﹦"))
    assert [r["bytes"] for r in rows] == [str(10**15 + i) for i in range(len(EVIL))]
    assert [r["share"] for r in rows[:4]] == ["0.5", "", "", ""]
    assert (rows[1]["up"], rows[1]["list"], rows[0]["list"]) == ("", "", "a;'=b")
    assert rows[0]["seen"] == "2026-09-16T01:02:03Z"


def test_json_reads_back_as_a_list_of_objects() -> None:
    made = json.loads(str(render_table(FRAME, None, format="json")))
    assert [r["name"] for r in made] == list(EVIL)
    assert [r["bytes"] for r in made] == FRAME["bytes"].to_list()
    assert [r["share"] for r in made[:4]] == [0.5, None, None, None]
    assert (made[0]["list"], made[1]["list"], made[2]["list"]) == (["a", "=b"], [], None)
    assert json.loads(str(render_table(FRAME.clear(), None, format="json"))) == []


def test_parquet_has_the_stated_types_and_keeps_lists() -> None:
    found = candidates(small_world().inputs())
    made = render_table(found.rows, CANDIDATES, format="parquet")
    assert isinstance(made, bytes)
    table = pq.read_table(io.BytesIO(made))
    kinds = {f.name: str(f.type) for f in table.schema}
    assert list(kinds) == [c.name for c in CANDIDATES]
    assert set(kinds.values()) == {
        "int64", "string", "double", "date32[day]", "list<element: string>", "list<element: int64>",
    }  # fmt: skip
    assert pl.from_arrow(table).equals(found.rows)  # type: ignore[union-attr]


def test_a_workbook_has_a_sheet_each_under_names_that_it_may_have() -> None:
    pytest.importorskip("xlsxwriter", reason="the report extra is not installed")
    found = candidates(small_world().inputs())
    names = ["ams", "AMS", "a/b:c*[d]?", "x" * 40, "notes", "History", ""]
    made = workbook([(name, found.rows, CANDIDATES) for name in names], title="T", notes=EVIL)
    assert made == workbook(
        [(name, found.rows, CANDIDATES) for name in names], title="T", notes=EVIL
    )
    sheets = pl.read_excel(io.BytesIO(made), sheet_id=0)
    assert len(sheets) == len(names) + 1
    assert all(len(name) <= 31 and not set(name) & set("[]:*?/\\'") for name in sheets)
    for name, rows in sheets.items():
        if name != list(sheets)[-1]:
            assert rows["asn"].to_list() == found.rows["asn"].to_list()
            assert rows["out_bytes"].to_list() == found.rows["out_bytes"].to_list()
    with zipfile.ZipFile(io.BytesIO(made)) as book:
        styles = book.read("xl/styles.xml").decode()
        first = book.read("xl/worksheets/sheet1.xml").decode()
    assert "#,##0.00" in styles
    assert "0.0%" in styles
    assert "<f>" not in first
    assert 'orientation="landscape"' in first
    assert 'state="frozen"' in first


@pytest.mark.parametrize("unit", ["currency", "currency a month"])
@pytest.mark.parametrize(
    ("amount", "shown"),
    [(8612.561, "8,612.56"), (387.4, "387.40"), (-1234.5, "-1,234.50"), (-0.001, "0.00"),
     (0, "0.00"), (1e7, "10,000,000.00")],
)  # fmt: skip
def test_money_is_shown_to_the_cent(unit: str, amount: float, shown: str) -> None:
    """Whatever the column is called: `per_month` ends like the number of a month."""
    for name in ("total", "saving_per_month"):
        assert human(amount, Column(name, pl.Float64, unit, "")) == shown


def test_a_workbook_is_read_on_a_screen_and_on_paper() -> None:
    pytest.importorskip("xlsxwriter", reason="the report extra is not installed")
    wide = pl.DataFrame({f"c{n}": [n] for n in range(30)} | {"reasons": ["long text " * 50]})
    wide = wide.select(pl.lit("ams").alias("metro"), pl.lit("N").alias("name"), pl.all())
    columns = [Column(name, kind, "", "") for name, kind in wide.schema.items()]
    narrow = [columns[0], columns[-1]]
    made = workbook([("wide", wide, columns), ("narrow", wide, narrow)], title="T", notes=())
    with zipfile.ZipFile(io.BytesIO(made)) as book:
        sheets = [book.read(f"xl/worksheets/sheet{n}.xml").decode() for n in (1, 2)]
        names = book.read("xl/workbook.xml").decode()
    for sheet in sheets:
        assert max(map(float, re.findall(r' width="([0-9.]+)"', sheet))) < 50
    assert 'fitToWidth="3"' in sheets[0]
    assert "fitToWidth" not in sheets[1]  # one page wide
    assert ">wide!$A:$B,wide!$1:$1<" in names
    assert ">narrow!$1:$1<" in names


def test_xlsx_holds_text_as_text() -> None:
    zipfile = pytest.importorskip("zipfile")
    pytest.importorskip("xlsxwriter", reason="the report extra is not installed")
    made = render_table(FRAME, None, format="xlsx", title="T", notes=EVIL)
    again = render_table(FRAME, None, format="xlsx", title="T", notes=EVIL)
    assert isinstance(made, bytes)
    assert made == again
    sheet = zipfile.ZipFile(io.BytesIO(made)).read("xl/worksheets/sheet1.xml").decode()
    assert "<f>" not in sheet
    assert "hyperlink" not in sheet


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_terminal_lines_fit_and_lose_no_column(width: int) -> None:
    made = str(render_table(FRAME, None, format="terminal", width=width))
    assert not any(ord(c) < 32 and c != "\n" for c in made)
    assert all(name in made for name in FRAME.columns)
    if width >= 40:  # the widest unbreakable pair of columns
        assert max(map(display_width, made.splitlines())) <= width


@settings(max_examples=examples(60))
@given(st.lists(st.text(max_size=30), min_size=1, max_size=5), st.integers(30, 120))
def test_any_text_renders_in_every_text_format(values: list[str], width: int) -> None:
    values = [v.encode("utf-8", "replace").decode() for v in values]
    frame = pl.DataFrame({"a": values, "n": range(len(values))})
    lines = str(render_table(frame, None, format="terminal", width=width)).splitlines()
    assert len(lines) == len(values) + 2
    assert all(display_width(line) <= width for line in lines)
    assert len(list(csv.reader(io.StringIO(str(render_table(frame, None, format="csv")))))) == (
        len(values) + 1
    )
    rows = json.loads(str(render_table(frame, None, format="json")))
    assert [r["a"] for r in rows] == values
    assert str(render_table(frame, None, format="md")).count("\n") == len(values) + 2
    check_page(str(render_table(frame, None, format="html")))


@pytest.mark.parametrize("format_", ["terminal", "csv", "json", "parquet", "html", "md"])
def test_empty_tables_and_odd_types_render(format_: Any) -> None:
    render_table(pl.DataFrame(), None, format=format_)
    render_table(pl.DataFrame(schema=schema(CANDIDATES)), CANDIDATES, format=format_)
    odd = pl.DataFrame(
        {
            "null": [None, None],
            "u64": pl.Series([1, 2**63 - 1], dtype=pl.UInt64),
            "dec": pl.Series(["12", "9007199254740993"]).cast(pl.Decimal(38, 0)),
            "struct": [{"a": 1}, None],
            "cat": pl.Series(["x", None], dtype=pl.Categorical),
            "span": pl.Series([1, 2], dtype=pl.Duration("us")),
        }
    )
    made = render_table(odd, None, format=format_)
    if format_ == "json":
        assert [r["dec"] for r in json.loads(str(made))] == [12, 9007199254740993]


def test_wrong_columns_and_formats_are_refused_by_name() -> None:
    with pytest.raises(ReportError, match="no such column: x") as error:
        render_table(FRAME, ["x"], format="csv")
    assert "name" in error.value.advice
    with pytest.raises(ReportError, match="no such format: pdf"):
        render_table(FRAME, None, format="pdf")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("bps", "said"),
    [(0, "0 bps"), (999.4, "999 bps"), (999.6, "1.00 kbps"), (1234567, "1.23 Mbps"),
     (99.96e9, "100 Gbps"), (-5e9, "−5.00 Gbps"), (12.34e9, "12.3 Gbps")],
)  # fmt: skip
def test_rates_have_three_digits(bps: float, said: str) -> None:
    assert rate(bps) == said


def test_a_growth_per_year_is_a_number_and_a_year_is_a_name() -> None:
    growth = Column("slope_per_year", pl.Float64, "fraction a year", "growth")
    assert human(1.8102481887540756, growth) == "1.81"
    assert human(2026, Column("year", pl.Int64, "", "a year")) == "2026"
