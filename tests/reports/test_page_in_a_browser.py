"""The report page in a real browser: it fits, it asks for nothing, and it folds out."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from test_render import small_world

from flowpeer_reports.candidates import candidates
from flowpeer_reports.imbalance import imbalance
from flowpeer_reports.render import html_report
from flowpeer_reports.render.report import Sections

BROWSER = shutil.which("chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking",
         "--disable-component-update"]  # fmt: skip


def test_it_fits_fetches_nothing_and_folds_out(tmp_path: Path) -> None:
    sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright here")
    if BROWSER is None:
        pytest.skip("no chromium here")
    inputs = small_world().inputs()
    page = tmp_path / "report.html"
    page.write_text(
        html_report(title="x", sections=Sections(candidates(inputs), imbalance(inputs))),
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
            tab.goto(page.as_uri())
            assert tab.evaluate("document.documentElement.scrollWidth") <= width
            over = "[...document.querySelectorAll('.cards')].map(t => t.scrollWidth)"
            assert max(tab.evaluate(over)) <= width
            fold = tab.locator("#candidates details").first
            assert not fold.locator("small").first.is_visible()
            fold.locator("summary").click()
            assert fold.locator("small").first.is_visible()
            paper = tab.evaluate("getComputedStyle(document.body).backgroundColor")
            assert paper == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(17, 22, 28)")
        browser.close()
    assert said == [page.as_uri()] * 2  # the page itself, and not a word in the console
