"""A lake that goes while the explorer runs: every answer says so, and nothing is made there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from explorer_client import Explorer, serving

from flowpeer.lake.store import Lake
from flowpeer.web.reader import SharedReader

PAGES = [
    "/", "/metro/nyc", "/network/502068", "/provider/500101", "/what-if", "/sql",
    "/sql?q=p95_per_provider", "/search?find=mossy", "/search?find=26.144.160.1",
    "/section/overview/provider_load", "/section/overview/snapshots",
    "/section/metro/candidates?metro=nyc",
]  # fmt: skip
TABLES = [
    "/api/provider_load.json", "/api/candidates.csv", "/api/lookup.json?find=26.144.160.1",
    "/api/snapshots.json", "/api/findings.csv", "/api/sql.json?q=FROM+metros",
]  # fmt: skip


def everything_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.slow
def test_a_lake_that_vanishes_is_said_and_not_made_again(demo_folder: Path, tmp_path: Path) -> None:
    """Deleted, or unmounted (an empty folder). When it is back, so is the explorer."""
    ours = tmp_path / "network"
    shutil.copytree(demo_folder, ours, copy_function=os.link)
    with serving(ours) as address, httpx.Client(base_url=address, timeout=300) as client:
        for url in ("/", "/api/snapshots.json", "/api/sql.json?q=FROM+metros"):
            assert client.get(url).status_code == 200, url
        (ours / "lake").rename(tmp_path / "away")
        for empty in (False, True):
            if empty:
                (ours / "lake").mkdir()
            before = everything_below(ours)
            for url in PAGES:
                page = client.get(url)
                assert page.status_code == 503, url
                assert "there is no lake" in page.text
                assert "mount or restore the folder" in page.text
            for url in TABLES:
                told = client.get(url)
                assert told.status_code == 503, url
                assert "there is no lake" in told.json()["error"]
                assert "flowpeer ingest" in told.json()["advice"]
            assert client.get("/static/explorer.css").status_code == 200
            assert client.get("/api/openapi.json").status_code == 200
            assert everything_below(ours) == before
        (ours / "lake").rmdir()
        (tmp_path / "away").rename(ours / "lake")
        for url in ("/", "/api/snapshots.json", "/api/lookup.json?find=26.144.160.1"):
            assert client.get(url).status_code == 200, url


def test_work_that_fails_because_the_lake_goes_says_so(
    explore: Callable[..., Explorer], bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(self: SharedReader, *_: object, **__: object) -> None:
        shutil.rmtree(bare.with_name("lake"))
        raise FileNotFoundError(2, "No such file or directory", "flows")

    monkeypatch.setattr(SharedReader, "ask", ask)
    told = explore(config=bare).get("/api/sql.json?q=FROM+metros")
    assert told.status_code == 503
    assert "there is no lake" in told.json()["error"]


def test_a_file_that_cannot_be_read_is_named(
    explore: Callable[..., Explorer], bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(self: SharedReader, *_: object, **__: object) -> None:
        raise OSError(5, "Input/output error", "/lake/flows")

    monkeypatch.setattr(SharedReader, "ask", ask)
    told = explore(config=bare).get("/api/sql.json?q=FROM+metros")
    assert told.status_code == 503
    assert told.json()["error"] == "/lake/flows: Input/output error"


def test_looking_loads_no_sources(
    explore: Callable[..., Explorer], demo_folder: Path, tmp_path: Path
) -> None:
    """A configuration names routing tables that no command has loaded yet."""
    ours = tmp_path / "network"
    shutil.copytree(
        demo_folder, ours, copy_function=os.link, ignore=shutil.ignore_patterns("lake", "report")
    )
    Lake(ours / "lake").mark()
    before = everything_below(ours)
    told = explore(config=ours / "flowpeer.toml").get("/api/lookup.json?find=26.144.160.1")
    assert told.status_code == 404
    assert "flowpeer rib load" in told.json()["advice"]
    assert everything_below(ours) == before
