"""Make docs/pictures/*.png and docs/explorer/*.png again, in chromium: the report of the sample
network, and the pages of the explorer (`screenshots`).

python docs/pictures.py [DEMO]     a finished demo, else one is made
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking",
         "--disable-component-update"]  # fmt: skip
WIDTH, HEIGHT = 1_280, 1_000


def main(words: list[str]) -> int:
    """Raises where there is no browser, or the page does not open."""
    import screenshots
    from playwright.sync_api import sync_playwright

    browser = shutil.which("chromium")
    if browser is None:
        sys.stderr.write("error: no chromium\ntry: apt-get install chromium\n")
        return 3
    with tempfile.TemporaryDirectory() as folder:
        demo = Path(words[0]).resolve() if words else Path(folder) / "demo"
        if not words:
            command = [sys.executable, "-m", "flowpeer", "-q", "demo", demo]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        (HERE / "pictures").mkdir(exist_ok=True)
        with sync_playwright() as playwright:
            chromium = playwright.chromium.launch(executable_path=browser, args=FLAGS)
            tab = chromium.new_page(viewport={"width": WIDTH, "height": HEIGHT})
            tab.goto((demo / "report" / "report.html").as_uri())
            tab.screenshot(path=HERE / "pictures" / "report.png")
            chromium.close()
        screenshots.main(demo, [])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
