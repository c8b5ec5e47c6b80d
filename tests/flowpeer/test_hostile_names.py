"""Hundreds of names made to hurt, through the whole pipeline into every format."""

from __future__ import annotations

import csv
import json
import re
import shutil
import zipfile
from collections.abc import Callable
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import polars as pl
import pytest

BROWSER = shutil.which("chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking",
         "--disable-component-update"]  # fmt: skip
EVIL = (
    "=HYPERLINK(\"http://evil.example\",\"x\")", "+cmd|' /C calc'!A0", "-2+3", "@SUM(1)", "\t=1",
    "＝1+1", "<script>window.evil=1</script>", "<img src=x onerror=window.evil=1>",
    "\"><svg/onload=window.evil=1>", "' onmouseover='window.evil=1", "</td></table></div><h1>",
    "<style>*{display:none}</style>", "&lt;b&gt;&#60;", "javascript:window.evil=1",
    "[x](javascript:evil)", "| a | b |", "`rm -rf /`", "\x1b[2J\x1b]0;owned\x07", "\u202egnp.exe",
    "../../../etc/passwd", "C:\\CON", "$(reboot)", "%s%n{0}", "a\nb\r\nc", "\u2028x\u200b",
    "W" * 250, "日本語" * 40, "a\u0301" * 60, "]]>", "{{7*7}}", "'; DROP TABLE flows; --",
)  # fmt: skip
MARKED = ("name", "aka", "irr_as_set", "policy_url", "notes", "city", "policy_locations")
FORMULA = re.compile(r"\s*[=+\-@＝]")


class Names:
    """One after the other, each once."""

    def __init__(self) -> None:
        self.made = 0

    def next(self) -> str:
        self.made += 1
        return f"{EVIL[self.made % len(EVIL)]}{self.made}"


@pytest.fixture(scope="module")
def hostile(
    demo_folder: Path, tmp_path_factory: pytest.TempPathFactory, run: Callable[..., Any]
) -> Path:
    """The sample network with such names, rolled up again."""
    folder = Path(shutil.copytree(demo_folder, tmp_path_factory.mktemp("hostile") / "demo"))
    names = Names()
    with (folder / "asns.csv").open(encoding="utf-8", newline="") as file:
        head, *rows = list(csv.reader(file))
    with (folder / "asns.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(head)
        for asn, *_, country in rows:
            writer.writerow([asn, names.next(), names.next(), country])
    registry = json.loads((folder / "peeringdb.json").read_text("utf-8"))
    for kind, held in registry.items():
        for row in held["data"] if kind != "meta" else ():
            row.update({key: names.next() for key in MARKED if isinstance(row.get(key), str)})
            if kind == "poc":
                row["email"] = f"{names.next()}@example.net"
    (folder / "peeringdb.json").write_text(json.dumps(registry), "utf-8")
    config = (folder / "flowpeer.toml").read_text("utf-8")
    config = config.replace('name = "Amsterdam"', 'name = "<img src=x onerror=window.evil=1>"')
    (folder / "flowpeer.toml").write_text(config, "utf-8")
    assert names.made > 1000
    done = run("rollup", cwd=folder)
    assert done.returncode in (0, 1), done.stderr
    return folder


def _harmless(text: str) -> None:
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\x9b\u2028\u202a-\u202e\u200b]", text)


def test_tables_of_every_format_hold_them_as_text(
    hostile: Path, tmp_path: Path, run: Callable[..., Any]
) -> None:
    done = run("candidates", "--metro", "ams", "--out", tmp_path,
               "--format", "csv,json,parquet,md,xlsx", cwd=hostile)  # fmt: skip
    assert done.returncode in (0, 1), done.stderr
    assert len(list(tmp_path.iterdir())) > 10
    rows = pl.read_parquet(tmp_path / "candidates.parquet", glob=False)
    assert rows.height > 50
    for path in sorted(tmp_path.glob("*.csv")):
        text = path.read_text("utf-8")
        _harmless(text)
        for line in csv.reader(StringIO(text)):
            for cell in line:
                number = re.fullmatch(r"-?\d+(\.\d+)?", cell)
                assert number or not FORMULA.match(cell), (path.name, cell)
    for path in sorted(tmp_path.glob("*.md")):
        text = path.read_text("utf-8")
        _harmless(text)
        assert not re.search(r"(?<!\\)[<`\[]", text)
        table = [line for line in text.splitlines() if line.startswith("| ")]
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1
    made = json.loads((tmp_path / "candidates.json").read_text("utf-8"))
    assert [row["asn"] for row in made] == rows["asn"].to_list()
    for path in sorted(tmp_path.glob("*.xlsx")):
        _as_text(path.read_bytes())
    shown = pl.read_excel(tmp_path / "candidates.xlsx", engine="calamine", has_header=False)
    assert shown.height >= rows.height
    for words in (
        ("candidates", "--metro", "ams"), ("asks", "draft", "--metro", "ams"),
        ("asks", "export", "peering-manager"), ("asks", "export", "netbox", "--rir", "=1"),
    ):  # fmt: skip
        done = run(*words, cwd=hostile)
        assert done.returncode in (0, 1), done.stderr
        assert done.stdout
        _harmless(done.stdout)
        assert not re.search(r"(?m)^(to|cc|bcc):.*\n(to|cc|bcc):", done.stdout.lower())


def _as_text(workbook: bytes) -> None:
    """No formula, link or macro in a workbook."""
    with zipfile.ZipFile(BytesIO(workbook)) as book:
        for name in book.namelist():
            assert not re.search(r"(?i)macro|vba|externallink", name)
            if name.startswith("xl/worksheets/"):
                sheet = book.read(name).decode()
                assert "<f>" not in sheet
                assert "<f " not in sheet
                assert "hyperlink" not in sheet


def test_the_page_runs_nothing_asks_for_nothing_and_keeps_its_width(
    hostile: Path, tmp_path: Path, run: Callable[..., Any]
) -> None:
    sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright here")
    if BROWSER is None:
        pytest.skip("no chromium here")
    done = run("report", tmp_path, "--metro", "ams", "--format", "xlsx", cwd=hostile)
    assert done.returncode in (0, 1), done.stderr
    _as_text((tmp_path / "report.xlsx").read_bytes())
    page = tmp_path / "report.html"
    _harmless(page.read_text("utf-8"))
    said: list[str] = []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=FLAGS)
        for width in (1280, 390):
            tab = browser.new_page(viewport={"width": width, "height": 900})
            tab.on("console", lambda message: said.append(message.text))
            tab.on("dialog", lambda dialog: said.append(dialog.message))
            tab.on("request", lambda request: said.append(request.url))
            tab.goto(page.as_uri())
            tab.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
            assert tab.evaluate("window.evil === undefined")
            assert tab.evaluate("document.documentElement.scrollWidth") <= width
            wide = "[...document.querySelectorAll('.cards,.panel')].map(t => t.scrollWidth)"
            assert max(tab.evaluate(wide)) <= width
            assert tab.locator("h1").count() == 1
            assert tab.locator("img, iframe, object, link, form").count() == 0
        browser.close()
    assert said == [page.as_uri()] * 2
