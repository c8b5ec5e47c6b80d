"""The pages of docs/ as a site in build/site, and what must hold of it.

    python docs/site.py [FOLDER]

mkdocs builds it (mkdocs.yml) and ends on a page that is in no menu, or a link that leads nowhere.
Then every file of the site is read again: nothing may be fetched from elsewhere, and what a page
names must be there, with its anchor. It works from a folder, without a server and a network.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

REPOSITORY = Path(__file__).resolve().parents[1]
FETCHED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}


class Page(HTMLParser):
    """What a page fetches, where it leads, and which places in it can be led to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = {name: value or "" for name, value in attrs}
        self.anchors.update(said[key] for key in ("id", "name") if key in said)
        if FETCHED.get(tag, "") in said:
            self.fetched.append(said[FETCHED[tag]])
        if tag == "a" and "href" in said:
            self.links.append(said["href"])


def faults(site: Path) -> Iterator[str]:
    """What is wrong with a built site, a line each."""
    pages = {path.resolve(): Page(path.read_text("utf-8")) for path in site.rglob("*.html")}
    if not pages:
        yield f"{site}: no pages"
    for path, page in sorted(pages.items()):
        name = path.relative_to(site.resolve())
        for target in page.fetched:
            if urlsplit(target).netloc:
                yield f"{name}: fetches {target}"
        for target in (*page.fetched, *page.links):
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                continue
            there = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if there.is_dir():
                there /= "index.html"
            if not there.is_file():
                yield f"{name}: {target} is not there"
            elif parts.fragment and there in pages:
                # "#__…" are of the theme's own script.
                anchor = unquote(parts.fragment)
                if anchor not in pages[there].anchors and not anchor.startswith("__"):
                    yield f"{name}: {target} leads to no place of that page"
    for style in sorted(site.rglob("*.css")):
        if "url(http" in style.read_text("utf-8") or "url(//" in style.read_text("utf-8"):
            yield f"{style.relative_to(site)}: fetches from elsewhere"


def main(words: list[str]) -> int:
    """Build it and look at it."""
    site = Path(words[0]) if words else REPOSITORY / "build" / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", site]
    quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=REPOSITORY, env=quiet, check=False)
    if built.returncode:
        return built.returncode
    (site / "404.html").unlink(missing_ok=True)  # of a server, whose root it would need
    found = list(faults(site))
    for line in found:
        sys.stderr.write(f"{line}\n")
    if not found:
        sys.stdout.write(f"{site / 'index.html'}\n")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
