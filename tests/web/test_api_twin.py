"""Tables for programs: the same rows in each form, and a document that is true."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest
from explorer_client import Explorer

import flowpeer
from flowpeer.web import tables
from flowpeer.web.http_api import openapi
from flowpeer.web.named import ROWS
from flowpeer.web.pages import SECTIONS
from flowpeer.web.render import SHOWN

GIVEN = {"asn": "502068", "provider": "500101", "find": "mossy", "pick": "nyc:502068"}
EMPTY = ("changes", "asks", "leaks")
"""Tables that may have no rows on the sample network."""
PATIENT = 300
"""Seconds for an answer on a busy machine; nothing is timed."""


def query(name: str) -> dict[str, str]:
    return {need: GIVEN[need] for need in tables.tables()[name].needs} | (
        {"find": "26.144.160.1"} if name == "lookup" else {}
    )


@pytest.mark.slow
def test_json_csv_and_section_of_every_table_agree(served: str, demo_folder: Path) -> None:
    """In one test, so that each answer is made once. Figures are held against the report that the
    demo wrote, and bytes against the lake."""
    told: dict[str, list[dict[str, Any]]] = {}
    with httpx.Client(base_url=served, timeout=PATIENT) as client:
        for name in sorted(tables.tables()):
            response = client.get(f"/api/{name}.json", params=query(name))
            assert response.status_code == 200, (name, response.text)
            assert response.headers["content-type"] == "application/json"
            told[name] = rows = response.json()
            text = client.get(f"/api/{name}.csv", params=query(name))
            assert text.headers["content-disposition"] == f'attachment; filename="{name}.csv"'
            lines = list(csv.reader(io.StringIO(text.text)))
            assert len(lines) - 1 == len(rows), name
            assert rows or name in EMPTY, name
            if known := tables.tables()[name].columns:
                assert set(lines[0]) <= set(known), name
            for row in rows[:3]:
                assert list(row) == lines[0]
        for page, sections in SECTIONS.items():
            for section in sections:
                table = section.table
                shown = client.get(f"/section/{page}/{table}", params=query(table))
                assert shown.status_code == 200, table
                rows = told[table]
                if section.ticks == "asn":
                    rows = [r for r in rows if r["asn"] is not None and r["rank"] > 0]
                drawn = shown.text.count("<tr>") - 1  # the head
                assert drawn == max(1, min(SHOWN, len(rows))), table
                assert shown.text.count('type="checkbox"') == (drawn if section.ticks else 0)
    written = pl.read_parquet(demo_folder / "report" / "candidates.parquet")
    own = written.select("metro", "rank", "asn", "marginal_bps", "bill_saving_per_month")
    assert [tuple(r[c] for c in own.columns) for r in told["candidates"]] == own.rows()
    asn = int(GIVEN["asn"])
    assert told["network_rows"] == [
        r for r in told["candidates"] if r["asn"] == asn or asn in r["asns"]
    ]
    assert told["what_if"][0]["out_bps"] == next(
        r["observed_bps"] for r in told["network_rows"] if r["metro"] == "nyc"
    )
    # Two ways to the same bytes: hours summed by a statement here, slots by Polars there.
    net = flowpeer.open(demo_folder / "flowpeer.toml")
    traffic = net.scan("traffic").filter(pl.col("role") == "transit", "scaled")
    total = traffic.select("bytes").sum().collect().item()
    assert sum(row["bytes"] for row in told["provider_load"]) == total
    hours = sum(row["avg_bps"] * 3600 / 8 for row in told["traffic_over_time"])
    assert hours == pytest.approx(total, rel=1e-12)
    cells = {(r["failure"], link): v for r in told["drill_matrix"] for link, v in r.items()
             if link != "failure" and v is not None}  # fmt: skip
    highest: dict[tuple[str, str], float] = {}
    for row in told["drill"]:
        if row["max_utilisation"] is not None:
            key = (f"{row['kind']} {row['removed']}", f"{row['exporter']} {row['interface']}")
            highest[key] = max(highest.get(key, 0.0), row["max_utilisation"])
    assert cells == highest


def test_statements_have_a_twin(explorer: Explorer) -> None:
    told = explorer.get("/api/sql.json", params={"q": "SELECT 40 + 2 AS x, 'a' AS y"})
    assert told.json() == [{"x": 42, "y": "a"}]
    question = {"q": "p95_per_provider", "p.metro": "nyc"}
    assert {r["metro"] for r in explorer.get("/api/sql.json", params=question).json()} == {"nyc"}


def test_rows_are_filtered_sorted_and_cut(explorer: Explorer) -> None:
    url = "/api/provider_load.json"
    whole = explorer.get(url).json()
    largest = sorted(whole, key=lambda r: -r["bytes"])
    assert explorer.get(f"{url}?sort=-bytes&limit=2").json() == largest[:2]
    assert explorer.get(f"{url}?sort=provider_load.-bytes&limit=2").json() == largest[:2]
    assert explorer.get(f"{url}?filter=NYC+quartz&sort=-bytes").json() == [
        r for r in largest if (r["metro"], r["provider_asn"]) == ("nyc", 500101)
    ]
    few = {"q": "SELECT unnest([2, 3, 1]) AS n", "sort": "-n", "limit": "2"}
    assert explorer.get("/api/sql.json", params=few).json() == [{"n": 3}, {"n": 2}]
    assert explorer.get("/api/sql.json", params=few | {"sort": "m"}).status_code == 400


def test_rows_of_a_statement_are_bounded(explorer: Explorer) -> None:
    most = explorer.app._settings.query_rows
    told = explorer.get("/api/sql.json", params={"q": "FROM range(1_000_000_000) -- many"})
    assert len(told.json()) == most
    assert told.headers["x-flowpeer-notes"] == "1"


def test_text_that_a_spreadsheet_would_run_is_escaped(explorer: Explorer) -> None:
    told = explorer.get("/api/sql.csv", params={"q": "SELECT '=cmd()' AS a"}).text
    assert "\n=cmd" not in told


@pytest.mark.parametrize(
    ("url", "status", "said"),
    [
        ("/api/nope.json", 404, "/api/openapi.json lists them"),
        ("/api/bills.xml", 404, "end it in .json or .csv"),
        ("/api/explain.json", 400, "add asn="),
        ("/api/bills.json?period=2020Q1", 404, ""),
        ("/api/sql.json", 400, "give one as q="),
        ("/api/candidates.json?metro=zz", 400, "there are"),
        ("/api/what_if.json", 400, "add pick="),
        ("/api/candidates.csv?sort=nope", 400, "there are rank"),
        ("/api/bills%0d%0aset-cookie:%20a.json", 404, "lists them"),
        ("/api/sql.json?q={{7*7}}", 400, ""),
    ],
)
def test_an_error_is_an_object(explorer: Explorer, url: str, status: int, said: str) -> None:
    response = explorer.get(url)
    assert response.status_code == status
    assert set(response.json()) == {"error", "advice"}
    assert said in response.json()["advice"]


def test_the_document_names_every_table_and_its_filters() -> None:
    told = openapi()
    names = {path.removeprefix("/api/").rpartition(".")[0] for path in told["paths"]}
    assert names == {*tables.tables(), "sql"}
    for name, named in tables.tables().items():
        operation = told["paths"][f"/api/{name}.json"]["get"]
        assert {p["name"] for p in operation["parameters"]} == {*named.uses, *ROWS}
        assert {p["name"] for p in operation["parameters"] if p["required"]} == set(named.needs)
    ids = [path["get"]["operationId"] for path in told["paths"].values()]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("query", ["", "?family=6", "?direction=in&provider=500101&metro=nyc"])
def test_transit_by_metro_adds_up_to_transit_by_provider(explorer: Explorer, query: str) -> None:
    sums = []
    for name in ("metro_over_time", "traffic_over_time"):
        found: dict[tuple[str, str], float] = {}
        for row in explorer.get(f"/api/{name}.json{query}").json():
            key = row["start"], row["direction"]
            found[key] = found.get(key, 0) + row["avg_bps"]
        sums.append(found)
    assert sums[0]
    assert sums[0] == pytest.approx(sums[1])
