"""Make the pictures of the explorer again: `python docs/screenshots.py DEMO [NAME…]`, of a finished
demo: all of them, or those named.

Needs playwright and a chromium (`CHROMIUM`, default what `chromium` on the path is). They go to
docs/explorer/; look at them before committing.
"""

from __future__ import annotations

import os
import re
import select
import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import expect, sync_playwright

FOLDER = Path(__file__).with_name("explorer")
PATIENT_MS = 240_000
SHOTS = [  # name, address, width, height, scheme, element that is brought to the top
    ("overview", "/", 1280, 900, "light", ""),
    ("metro", "/metro/nyc", 1280, 900, "light", "#candidates"),
    ("network", "/network/502068", 1280, 900, "light", ""),
    ("provider", "/provider/500101", 1280, 900, "light", ""),
    ("what-if", "/what-if?metro=nyc&pick=nyc:502068&pick=nyc:503273&pick=nyc:ix201", 1280, 900,
     "light", ""),
    ("sql", "/sql?q=transit_share&p.metro=nyc", 1280, 900, "light", "#result"),
    ("search", "/search?find=mossy", 1280, 500, "light", ""),
    ("narrow-dark", "/metro/nyc", 390, 844, "dark", ""),
]  # fmt: skip


def main(demo: Path, names: list[str]) -> None:
    words = [sys.executable, "-m", "flowpeer", "serve", "--listen", "127.0.0.1:0"]
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    FOLDER.mkdir(exist_ok=True)
    with subprocess.Popen(words, cwd=demo, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            assert select.select([server.stderr], [], [], 60)[0], "the server says nothing"
            told = re.search(r"http://[\d.:]+", server.stderr.readline())
            assert told is not None
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(
                    executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
                )
                for name, url, width, height, scheme, top in SHOTS:
                    if names and name not in names:
                        continue
                    context = browser.new_context(
                        viewport={"width": width, "height": height},
                        color_scheme="dark" if scheme == "dark" else "light",
                    )
                    page = context.new_page()
                    page.goto(told[0] + url)
                    for unfinished in (".pending", "figure.chart:not([data-drawn=done])"):
                        expect(page.locator(unfinished)).to_have_count(0, timeout=PATIENT_MS)
                    if top:
                        page.locator(top).evaluate("element => element.scrollIntoView()")
                    page.screenshot(path=FOLDER / f"{name}.png")
                    context.close()
                browser.close()
        finally:
            server.terminate()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
