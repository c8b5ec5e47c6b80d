"""The explorer in a real browser: it loads, filters, sorts, goes back, and asks nobody else."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlencode

import pytest

from flowpeer_reports.render.cells import clean

BROWSER = shutil.which("chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking",
         "--disable-component-update"]  # fmt: skip
AXE = Path(__file__).with_name("vendor") / "axe.min.js"
PATIENT = 120_000
"""Milliseconds for the answers of a busy machine; nothing is timed."""
PAGES = ["/", "/metro/nyc", "/network/502068", "/provider/500101", "/search?find=mossy",
         "/what-if?metro=nyc&pick=nyc:502068", "/sql?q=p95_per_provider"]  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright here")
    if BROWSER is None:
        pytest.skip("no chromium here")
    sync_api.expect.set_options(timeout=PATIENT)
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=BROWSER, args=FLAGS)
        try:
            yield opened
        finally:
            opened.close()


class Tab:
    """A tab that remembers what went wrong in it."""

    def __init__(self, browser: Any, address: str) -> None:
        self.address = address
        self.context = browser.new_context(viewport={"width": 1280, "height": 900})
        self.page = self.context.new_page()
        self.page.set_default_timeout(PATIENT)
        self.said: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", self._asked)

    def _asked(self, request: Any) -> None:
        if not request.url.startswith((self.address, "data:")):
            self.said.append(request.url)

    def open(self, url: str) -> None:
        self.page.goto(self.address + url)
        self.settle()

    def __enter__(self) -> Tab:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()

    def settle(self) -> None:
        """Until every section is there and every chart drawn."""
        from playwright.sync_api import expect

        # By locators: a function that is polled in the page is an eval, which its policy forbids.
        for unfinished in (".pending", "figure.chart:not([data-drawn=done])"):
            expect(self.page.locator(unfinished)).to_have_count(0)


HOSTILE = [
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "'\"><svg onload=alert(1)>",
    "{{7*7}}", "javascript:alert(1)", "<b>bold</b>", "&lt;i&gt;", "</td></tr></table><h1>x",
    "\u202egnp.exe", "<style>*{display:none}</style>",
]  # fmt: skip


@pytest.mark.slow
def test_pages_are_whole_accessible_and_keep_to_themselves(browser: Any, served: str) -> None:
    """Loads, fits 1280 and 390 px, asks nobody else, says nothing in the console, and axe finds
    nothing serious; in the dark other colours are all that there is."""
    axe = AXE.read_text("utf-8")
    for url in PAGES:
        with Tab(browser, served) as tab:
            # Charts follow a new width one frame later: until then they must not widen the page.
            tab.page.add_init_script(
                "addEventListener('resize', e => e.stopImmediatePropagation(), true)"
            )
            tab.open(url)
            assert tab.page.locator(".problem").all_inner_texts() == [], url
            for width in (1280, 390):
                tab.page.set_viewport_size({"width": width, "height": 900})
                assert tab.page.evaluate("document.documentElement.scrollWidth") <= width, url
            assert tab.said == [], url
            # The rows of a table are alike; axe looks at each cell.
            tab.page.evaluate(
                "document.querySelectorAll('tbody tr:nth-child(n+5)').forEach(r => r.remove())"
            )
            # By the debugger, so that the page's policy stays as it is.
            tab.page.evaluate(axe)
            for scheme, rules in (("light", ""), ("dark", "runOnly: ['color-contrast'], ")):
                tab.page.emulate_media(color_scheme=scheme)
                found = tab.page.evaluate(
                    f"axe.run(document, {{{rules}resultTypes: ['violations']}})"
                )
                serious = [
                    (v["id"], v["nodes"][0]["html"][:200])
                    for v in found["violations"]
                    if v["impact"] in ("serious", "critical")
                ]
                assert serious == [], url


@pytest.mark.slow
def test_it_filters_sorts_drills_in_goes_back_and_downloads(browser: Any, served: str) -> None:
    from playwright.sync_api import expect

    with Tab(browser, served) as tab:
        tab.open("/")
        page = tab.page
        page.get_by_label("Direction").select_option("in")
        page.get_by_role("button", name="Show").click()
        page.wait_for_url("**direction=in**")
        tab.settle()
        page.go_back()
        tab.settle()
        expect(page.get_by_label("Direction")).to_have_value("both")  # as the tables are again
        page.go_forward()
        page.wait_for_url("**direction=in**")
        tab.settle()
        load = page.locator("#provider_load")
        directions = load.locator("tbody tr td:nth-child(4)").all_inner_texts()
        assert set(directions) == {"in"}
        load.get_by_role("link", name="bytes", exact=True).click()
        page.wait_for_url("**sort=provider_load.-bytes**")
        tab.settle()
        expect(load.locator("th[aria-sort=descending]")).to_contain_text("bytes")
        with page.expect_download() as download:
            load.get_by_role("link", name="CSV").click()
        assert Path(download.value.path()).read_text("utf-8").startswith("metro,")
        load.locator("tbody a[href^='/metro/']").first.click()
        page.wait_for_url("**/metro/**")
        tab.settle()
        assert "direction=in" in page.url
        page.go_back()
        page.wait_for_url("**sort=provider_load.-bytes**")
        tab.settle()
        # A row of a network opens into its explanation, and closes.
        page.goto(served + "/metro/nyc")
        tab.settle()
        why = page.locator("#candidates a.more").first
        why.click()
        expect(page.locator("tr.opened table").first).to_be_visible(timeout=PATIENT)
        why.click()
        expect(page.locator("tr.opened")).to_have_count(0)
        assert tab.said == []


@pytest.mark.slow
def test_a_tick_shows_what_it_brings_and_back_takes_it_away(browser: Any, served: str) -> None:
    from playwright.sync_api import expect

    with Tab(browser, served) as tab:
        tab.open("/what-if?metro=nyc")
        page, rows = tab.page, tab.page.locator("#what_if tbody tr")
        expect(page.locator("#outcome")).to_contain_text("Nothing is ticked")
        for number, pick in enumerate(("nyc:502068", "nyc:ix201"), start=1):
            page.get_by_label(f"pick {pick}", exact=True).check()
            expect(rows).to_have_count(number)
            tab.settle()
            page.wait_for_url(lambda url, pick=pick: pick in unquote(url))
        expect(page.locator("#what_if_asks tbody")).to_contain_text("planned")
        page.go_back()
        expect(rows).to_have_count(1)
        tab.settle()
        expect(page.get_by_label("pick nyc:502068", exact=True)).to_be_checked()
        expect(page.get_by_label("pick nyc:ix201", exact=True)).not_to_be_checked()
        # Without a script the form does the same.
        page.get_by_label("pick nyc:ix210", exact=True).check()
        page.get_by_role("button", name="Show").click()
        page.wait_for_url("**ix210**")
        expect(rows).to_have_count(2)
        tab.settle()
        assert tab.said == []


@pytest.mark.slow
def test_statements_are_completed_charted_and_hostile_names_are_text(
    browser: Any, served: str
) -> None:
    from playwright.sync_api import expect

    with Tab(browser, served) as tab:
        page = tab.page
        tab.open("/sql")
        page.keyboard.press("/")
        expect(page.locator("#find")).to_be_focused()
        area = page.get_by_label("Statement")
        area.press_sequentially("FROM provider_na")
        expect(page.get_by_role("option")).to_have_text(["provider_names"])
        area.press("Enter")
        assert area.input_value() == "FROM provider_names"
        area.press("Control+Enter")
        expect(page.locator("#result tbody tr")).to_have_count(3)
        names = ", ".join("('" + name.replace("'", "''") + "')" for name in HOSTILE)
        statement = (
            f"SELECT n || i AS name, i AS bytes FROM (VALUES {names}) t(n), range(50) r(i) "
            "ORDER BY i, n"
        )
        seen: list[str] = []
        for start in (0, 200, 400):
            page.goto(f"{served}/sql?" + urlencode({"q": f"{statement} OFFSET {start}"}))
            tab.settle()
            seen += page.locator("#result tbody td:first-child").all_inner_texts()
        expected = sorted((i, name) for name in HOSTILE for i in range(50))
        assert len(seen) == len(expected) == 500
        assert sorted(seen) == sorted(f"{clean(name)}{i}" for i, name in expected)
        assert tab.said == []
