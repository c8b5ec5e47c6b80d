"""The SQL behind every table of every page gives the rows that the page has."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from html import unescape
from pathlib import Path
from typing import Any

import httpx
import pytest

from flowpeer.web import tables
from flowpeer.web.answers import parts
from flowpeer.web.pages import SECTIONS

GIVEN = {"asn": "502068", "provider": "500101", "pick": "nyc:502068", "find": "mossy"}
OTHERS = [("search", "search", "mossy"), ("search", "lookup", "26.144.160.1")]
PATIENT = 300
"""Seconds for an answer on a busy machine; nothing is timed."""


def behind(page: str) -> tuple[str, str]:
    """The query of the SQL page that a table leads to, and the statement that it shows."""
    link = re.search(r'<a href="/sql\?([^"]*)">open in SQL</a>\s*</p>', page)
    shown = re.search(r"The SQL behind it</summary>.*?<code>(.*?)</code>", page, re.S)
    assert link is not None
    assert shown is not None
    return unescape(link[1]), unescape(shown[1])


def plain(rows: list[dict[str, Any]]) -> list[str]:
    """Rows in an order of their own; lists as the result of a statement has them, which is text."""

    def cell(value: Any) -> Any:
        if isinstance(value, list):
            return f"[{', '.join(map(str, value))}]"
        return round(value, 9) if isinstance(value, float) else value

    return sorted(json.dumps({k: cell(v) for k, v in row.items()}, sort_keys=True) for row in rows)


def queries(name: str) -> list[str]:
    """A table as its page asks for it, and narrowed by what it obeys."""
    named = tables.tables()[name]
    needed = "&".join(f"{word}={GIVEN[word]}" for word in named.needs)
    narrow = {"metro": "nyc", "direction": "in", "provider": "500101", "period": "2026-09-16"}
    if name in parts():
        del narrow["period"]  # one answer is enough
    words = [f"{w}={v}" for w, v in narrow.items() if w in named.uses and w not in named.needs]
    if name in ("candidates", "exchanges", "network_rows", "places"):  # one answer is enough
        words = [word for word in words if not word.startswith("direction")]
    return list(dict.fromkeys((needed, "&".join(filter(None, [needed, *words])))))


@pytest.mark.slow
def test_the_sql_behind_each_table_gives_its_rows(served: str) -> None:
    seen: set[tuple[str, str]] = set()
    with httpx.Client(base_url=served, timeout=PATIENT) as client:

        def same(url: str, name: str, query: str) -> None:
            page = client.get(url)
            assert page.status_code == 200, (url, page.text)
            asked, statement = behind(page.text)
            assert dict(httpx.QueryParams(asked))["q"] == statement
            told = client.get(f"/api/{name}.json?{query}").json()
            found = client.get(f"/api/sql.json?{asked}")
            assert found.status_code == 200, (name, statement, found.text)
            assert plain(found.json()) == plain(told), (name, statement)

        for page, sections in SECTIONS.items():
            for section in sections:
                for query in queries(section.table):
                    if (section.table, query) not in seen:
                        seen.add((section.table, query))
                        same(f"/section/{page}/{section.table}?{query}", section.table, query)
        for page, name, find in OTHERS:
            same(f"/{page}?find={find}", name, f"find={find}")
        # The page opens with the tables of the answer in place.
        asked, _ = behind(client.get("/section/overview/bills").text)
        opened = client.get(f"/sql?{asked}").text
        assert "The tables of the answer bills are in place" in opened
        assert '<input type="hidden" name="answer" value="bills">' in opened
        assert "heading_for_total" in opened
        wrong = client.get("/api/sql.json?q=FROM+x&answer=nope")
        assert (wrong.status_code, wrong.json()["error"]) == (400, "no answer 'nope'")


@pytest.mark.slow
def test_the_commands_at_the_prompt_give_the_same(served: str, demo_copy: Path) -> None:
    """Of an answer that is written as Parquet, and of a call that is written as JSON."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for name, query in (("bills", "provider=500101"), ("findings", ""), ("freshness", "")):
        page = httpx.get(f"{served}/section/overview/{name}?{query}", timeout=PATIENT).text
        shown = re.search(r"At the prompt</summary>.*?<code>(.*?)</code>", page, re.S)
        assert shown is not None
        words = unescape(shown[1]).replace("flowpeer sql", "flowpeer sql --out rows.json")
        done = subprocess.run(
            ["bash", "-ec", words], cwd=demo_copy,
            env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        told = httpx.get(f"{served}/api/{name}.json?{query}", timeout=PATIENT).json()
        assert told, name
        assert done.returncode == 0, done.stderr
        rows = json.loads((demo_copy / "rows.json").read_text("utf-8"))
        assert plain(rows) == plain(told), (name, done.stderr)
