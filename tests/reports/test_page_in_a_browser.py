"""The report page in a real browser: it fits, asks for nothing, folds out, sorts and filters."""

from __future__ import annotations

import shutil
from html import escape
from pathlib import Path

import pytest
from test_render import small_world

from flowpeer_reports.candidates import candidates
from flowpeer_reports.imbalance import imbalance
from flowpeer_reports.pictures import pictures
from flowpeer_reports.render import html_report
from flowpeer_reports.render.html import page, table_of
from flowpeer_reports.render.report import Sections

BROWSER = shutil.which("chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking",
         "--disable-component-update"]  # fmt: skip


def test_it_fits_fetches_nothing_and_folds_out(tmp_path: Path) -> None:
    sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright here")
    if BROWSER is None:
        pytest.skip("no chromium here")
    inputs = small_world().inputs()
    path = tmp_path / "report.html"
    found, spread = candidates(inputs), imbalance(inputs)
    path.write_text(
        html_report(
            title="x",
            sections=Sections(found, spread, pictures=pictures(inputs, found, spread)),
        ),
        encoding="utf-8",
    )
    said: list[str] = []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=FLAGS)
        for width, scheme in ((1280, "light"), (390, "dark")):
            tab = browser.new_context(
                viewport={"width": width, "height": 900}, color_scheme=scheme
            ).new_page()
            tab.on("console", lambda message: said.append(message.text))
            tab.on("request", lambda request: said.append(request.url))
            tab.goto(path.as_uri())
            assert tab.evaluate("document.documentElement.scrollWidth") <= width
            over = "[...document.querySelectorAll('.cards')].map(t => t.scrollWidth)"
            assert max(tab.evaluate(over)) <= width
            drawn = "[...document.querySelectorAll('.panel svg')].map(s => s.clientWidth)"
            assert all(100 < wide < width for wide in tab.evaluate(drawn))
            scale = "[...document.querySelectorAll('svg.plot text')].map(t => t.getBBox().x)"
            assert min(tab.evaluate(scale)) >= 0
            draft = tab.locator("#best pre.draft").first
            assert not draft.is_visible()
            tab.locator("#best td summary").first.click()
            assert draft.is_visible()
            assert tab.evaluate("document.documentElement.scrollWidth") <= width
            fold = tab.locator("#candidates details").first
            assert not fold.locator("small").first.is_visible()
            fold.locator("summary").click()
            assert fold.locator("small").first.is_visible()
            paper = tab.evaluate("getComputedStyle(document.body).backgroundColor")
            assert paper == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(17, 22, 28)")
        browser.close()
    assert said == [path.as_uri()] * 2  # the page itself, and not a word in the console


def test_its_tables_sort_and_filter_and_are_there_without_a_script(tmp_path: Path) -> None:
    sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright here")
    if BROWSER is None:
        pytest.skip("no chromium here")
    units = ["999 Mbps ± 1 bps", "1.20 Gbps", "", "~12.0 Gbps", "−3.00 Gbps", "950 kbps"]
    names = ["Net 10", "Net 9", "a <b>", "Émile", "net 9 too", "Zoo"]
    rows = "".join(
        f"<tr><td class=n>{u}</td><td>{escape(n)}</td></tr>"
        for u, n in zip(units, names, strict=True)
    )
    table = (
        "<table><thead><tr><th class=n>rate</th><th>name</th></tr></thead>"
        f"<tbody>{rows}</tbody></table>"
    )
    path = tmp_path / "page.html"
    path.write_text(page("x", (), f"<script>document.title = 'y'</script>{table}"), "utf-8")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=FLAGS)
        tab = browser.new_page()
        tab.goto(path.as_uri())
        assert tab.title() == "x"  # the policy lets no script but the page's own run

        def shown(column: int) -> list[str]:
            cells = tab.locator(f"tbody tr:visible td:nth-child({column})")
            return [text.strip() for text in cells.all_inner_texts()]

        head = tab.locator("thead button").first
        head.click()
        assert shown(1) == ["~12.0 Gbps", "1.20 Gbps", "999 Mbps ± 1 bps", "950 kbps",
                            "−3.00 Gbps", ""]  # fmt: skip
        head.click()
        assert shown(1) == ["−3.00 Gbps", "950 kbps", "999 Mbps ± 1 bps", "1.20 Gbps",
                            "~12.0 Gbps", ""]  # fmt: skip
        assert tab.locator("th").first.get_attribute("aria-sort") == "ascending"
        head.click()
        assert shown(1) == units
        tab.locator("thead button").nth(1).click()
        assert shown(2) == ["a <b>", "Émile", "Net 9", "net 9 too", "Net 10", "Zoo"]
        tab.get_by_label("filter the rows").fill("net GBPS")
        assert shown(2) == ["Net 9", "net 9 too"]
        assert tab.get_by_role("status").inner_text().strip() == "2 of 6 rows"
        plain = browser.new_context(java_script_enabled=False).new_page()
        plain.goto(path.as_uri())
        assert plain.locator("tbody tr:visible").count() == 6
        assert plain.locator("input").count() == 0
        browser.close()


def test_long_tables_fold_out_and_paper_has_what_it_says(tmp_path: Path) -> None:
    sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright here")
    if BROWSER is None:
        pytest.skip("no chromium here")
    rows = [f"<td class=n>{n}</td><td>name {n}</td>" for n in range(1, 16)]
    made = table_of("<th class=n>n</th><th>name</th>", rows, fold=True)
    path = tmp_path / "page.html"
    path.write_text(page("x", (), f'<div class="first-ten">{made}</div>'), "utf-8")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=FLAGS)
        for script in (False, True):
            tab = browser.new_context(java_script_enabled=script).new_page()
            tab.goto(path.as_uri())
            seen = tab.locator("tbody tr:visible")
            assert seen.count() == 10
            assert not tab.locator(".paper").is_visible()
            tab.get_by_text("5 more rows").click()
            # The page hears of an opened fold a moment later, and makes one table of both.
            expect = sync_api.expect
            expect(tab.locator("table:visible")).to_have_count(1 if script else 2)
            expect(seen).to_have_count(15)
            tab.emulate_media(media="print")
            assert seen.count() == 10
            assert tab.locator(".paper").inner_text() == "On paper stand the first 10 rows."
        for use in ("sort", "filter"):
            tab.emulate_media(media="screen")
            tab.reload()
            if use == "sort":
                tab.locator("thead button").first.click()
                assert tab.locator("tbody tr").first.inner_text().split()[0] == "15"
            else:
                tab.get_by_label("filter the rows").fill("name 14")
                assert tab.locator("tbody tr:visible").count() == 1
        browser.close()
    short = table_of("<th>n</th>", rows[:12], fold=True)
    assert "<details" not in short
