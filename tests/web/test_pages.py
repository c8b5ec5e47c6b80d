"""Every page over the demo, and over a lake with nothing in it."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import polars as pl
import pytest
from explorer_client import Explorer

from flowpeer.web.pages import SECTIONS
from flowpeer.web.reader import ShownTable
from flowpeer.web.render import SHOWN, arranged, table_markup
from flowpeer.web.view import Filters
from flowpeer_reports.render.cells import inferred

ASN = 502068  # Mossytern Carrier of the sample network: on transit in every metro


class Markup(HTMLParser):
    """Elements with their attributes, and the text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def pages() -> list[str]:
    return ["/", "/metro/nyc", f"/network/{ASN}", "/provider/500101", "/sql", "/search"]


@pytest.mark.parametrize("url", pages())
def test_a_page_loads_without_inline_script_or_foreign_address(
    explorer: Explorer, url: str
) -> None:
    response = explorer.get(url)
    assert response.status_code == 200
    found = Markup(response.text)
    for tag, attributes in found.elements:
        assert tag != "style"
        assert tag != "script" or (attributes["src"] or "").startswith("/static/")
        assert not any(name.startswith("on") or name == "style" for name in attributes)
        for name in ("href", "src", "action", "hx-get", "data-src"):
            target = attributes.get(name)
            assert target is None or re.match(r"/(?!/)|#", target), target
    labelled = {a.get("id") for t, a in found.elements if t in ("input", "textarea")}
    assert len([t for t, _ in found.elements if t == "h1"]) == 1
    assert labelled


@pytest.mark.parametrize(
    ("asn", "title"), [(ASN, f"Mossytern Carrier (AS{ASN})"), (-1, "unrouted (AS-1)")]
)
def test_the_page_of_a_network_is_called_by_its_name(
    explorer: Explorer, asn: int, title: str
) -> None:
    assert f"<h1>{title}</h1>" in explorer.get(f"/network/{asn}").text


def test_a_page_keeps_its_state_in_its_links(explorer: Explorer) -> None:
    page = explorer.get("/metro/nyc?period=2026-09-16&direction=out&family=4").text
    links = [a["hx-get"] or "" for _, a in Markup(page).elements if "hx-get" in a]
    assert links
    for link in links:
        assert "period=2026-09-16" in link
        assert "direction=out" in link
        assert "metro=nyc" in link


def test_a_section_comes_for_an_open_page_and_by_itself(explorer: Explorer) -> None:
    link = "/section/metro/provider_load?metro=nyc&page=/metro/nyc"
    part = explorer.get(link, headers={"hx-request": "true"}).text
    alone = explorer.get(link).text
    assert "<html" not in part
    assert "<html" in alone
    assert "Quartzheron Backbone" in part
    assert part.strip() in alone
    assert 'href="/metro/nyc?sort=provider_load.-bytes#provider_load"' in part
    # What is kept stands in the page at once.
    assert "Quartzheron Backbone" in explorer.get("/metro/nyc").text


def test_rows_are_narrowed_sorted_and_filtered(explorer: Explorer) -> None:
    def column(query: str, name: str) -> list[str]:
        page = explorer.get(f"/section/overview/provider_load?{query}").text
        heads = re.findall(r"<th [^>]*><a [^>]*>([^<]*)</a>", page)
        rows = re.findall(r"<tr>(<td.*?)</tr>", page, re.S)
        cells = [re.findall(r"<td class=\w>(?:<a [^>]*>)?([^<]*)", row) for row in rows]
        return [row[heads.index(name)] for row in cells]

    assert set(column("metro=nyc", "metro")) == {"nyc"}
    assert set(column("direction=in", "direction")) == {"in"}
    assert set(column("provider=500101&provider=500202", "provider_asn")) == {"500101", "500202"}
    sizes = [int(c.replace(",", "")) for c in column("sort=provider_load.-bytes", "bytes")]
    assert len(sizes) > 10
    assert sizes == sorted(sizes, reverse=True)
    assert set(column("filter=UMBRALINE+nyc", "provider_asn")) == {"500202"}
    assert (
        column("sort=provider_load.-bytes&limit=3", "bytes")
        == column("sort=provider_load.-bytes", "bytes")[:3]
    )


@pytest.mark.parametrize(
    ("url", "status", "said"),
    [
        ("/metro/xx", 404, "there are nyc"),
        ("/provider/64511", 404, "none of our transit providers"),
        ("/network/abc", 400, "no AS number"),
        ("/nope", 404, "there is no such page"),
        ("/?direction=up", 400, "out, in"),
        ("/section/metro/nope", 404, "no section"),
        ("/section/overview/provider_load?page=//evil.example", 400, "no page of the explorer"),
        ("/section/overview/provider_load?period=2020Q1", 404, "no data in 2020Q1"),
        ("/section/overview/provider_load?period=yesterday", 400, "is no period"),
        ("/section/network/network", 400, "needs asn"),
        ("/section/overview/provider_load?page=/%09/evil.example", 400, "no page of the explorer"),
        ("/provider/99?period=2026Q3", 404, "there are 500101"),
        ("/sql?sort=nope.x", 400, "no such table here"),
        ("/search?sort=search.nope", 400, "there are asn, name"),
        ("/what-if?pick=zz:1", 400, "METRO:ASN"),
        ("/?sort=drill.max_bps", 400, "no such table here"),
    ],
)
def test_an_error_says_what_to_do(explorer: Explorer, url: str, status: int, said: str) -> None:
    response = explorer.get(url)
    assert response.status_code == status
    assert said in Markup(response.text).text
    part = explorer.get(url, headers={"hx-request": "true"})
    assert part.status_code == status
    assert "<html" not in part.text


@pytest.mark.parametrize(
    ("words", "status", "said", "next_step"),
    [
        ("period=yesterday", 400, "'yesterday' is no period", "2026Q3"),
        ("period=2026-13", 400, "'2026-13' is no period", "2026Q3"),
        ("period=2020Q1", 404, "no data in 2020Q1", "ask for a period inside that"),
        ("metro=zz", 400, "no metro 'zz'", "there are nyc"),
        ("provider=99", 400, "AS99 is none of our transit providers", "there are 500101"),
        ("provider=x", 400, "'x' is no AS number", "write it like 15169"),
        ("asn=4294967296", 400, "is no AS number", "write it like 15169"),
        ("asn=7", 404, "AS7 is in no table", "/search"),
        ("direction=up", 400, "direction 'up' is none", "both, out, in"),
        ("family=5", 400, "family '5' is none", "4, 6"),
        ("sort=provider_load.nope", 400, "no column 'nope'", "there are metro, provider_asn"),
        ("limit=many", 400, "limit 'many' is no number of rows", "1 to 10,000"),
        ("nope=1", 400, "no parameter 'nope'", "use period"),
    ],
)
def test_what_is_off_is_said_alike_everywhere(
    explorer: Explorer, words: str, status: int, said: str, next_step: str
) -> None:
    """As a page, a part of one, JSON and CSV, before any table is made."""
    told = explorer.get(f"/api/provider_load.json?{words}")
    assert told.status_code == status
    assert said in told.json()["error"]
    assert next_step in told.json()["advice"]
    assert explorer.get(f"/api/provider_load.csv?{words}").json() == told.json()
    for url in ("/", "/metro/nyc", "/provider/500101", "/section/overview/provider_load"):
        page = explorer.get(f"{url}?{words}")
        assert page.status_code == status, url
        for text in told.json().values():
            assert text in Markup(page.text).text, url


def test_a_network_without_a_name_has_a_page_where_routes_have_it(explorer: Explorer) -> None:
    """The numbers of paths need not be in any registry."""
    reader = explorer.app._app.state.reader
    told = reader.network.scan("routes").select("as_path").collect()["as_path"]
    asns = {int(word) for path in told.unique() for word in path.split() if word.isdigit()}
    for asn in sorted(asns)[:3]:
        assert reader._is_seen(asn)
    assert not reader._is_seen(7)


def test_statements(explorer: Explorer) -> None:
    found = explorer.get("/sql", params={"q": "SELECT '<b>x</b>' AS \"<i>\""}).text
    assert "&lt;b&gt;x&lt;/b&gt;" in found
    assert "&lt;i&gt;" in found
    form = explorer.get("/sql", params={"q": "p95_per_provider", "p.metro": "nyc"}).text
    assert 'name="p.metro" value="nyc"' in form
    assert "Umbraline Transit" in form
    assert "line 2" in explorer.get("/sql", params={"q": "SELECT 1,\n  nope"}).text
    for statement in ("SELEC 1", "DROP TABLE traffic", "COPY traffic TO '/tmp/x'",
                      "SELECT * FROM read_csv('/etc/passwd')", "SELECT 1; SELECT 2",
                      "SELECT 1) LIMIT 1; COPY (SELECT 1"):  # fmt: skip
        response = explorer.get("/sql", params={"q": statement})
        assert response.status_code == 400, statement
        assert 'role="alert"' in response.text
        assert "root:" not in response.text
    unknown = explorer.get("/sql", params={"q": "p95_per_provider", "p.nope": "1"})
    assert "has no parameter nope" in unknown.text


def test_search(explorer: Explorer) -> None:
    assert f"/network/{ASN}" in explorer.get("/search?find=mossyTERN").text
    assert explorer.get(f"/search?find=AS{ASN}").headers["location"] == f"/network/{ASN}"
    assert "Saltpipit Hosting" in explorer.get("/search?find=26.144.160.1").text
    assert "Saltpipit Hosting" in explorer.get("/search?find=26.144.160.1/32").text
    assert "nothing is called" in explorer.get("/search?find=%3Cscript%3E").text
    assert "<script>" not in explorer.get("/search?find=%3Cscript%3E").text
    assert "nothing is called" in explorer.get("/search?find=%27+OR+1%3D1").text


def test_over_nothing_every_page_says_what_to_do(
    explore: Callable[..., Explorer], bare: Path
) -> None:
    explorer = explore(config=bare)
    for url in ("/", "/metro/ams", "/network/15169", "/sql", "/search"):
        response = explorer.get(url)
        assert response.status_code == 200
        assert "<img" not in response.text
        assert "<script>" not in response.text
        assert "49" not in Markup(response.text).text
        assert "&lt;img src=x" in response.text
    section = explorer.get("/section/overview/provider_load", headers={"hx-request": "true"})
    assert "flowpeer rollup" in section.text


def test_a_table_says_what_it_is_not_narrowed_by_and_why_it_is_empty(explorer: Explorer) -> None:
    loads = "/section/metro/provider_load?page=/metro/nyc&metro=nyc&direction=in"
    assert "Not narrowed by" not in explorer.get(loads).text
    assert "Not narrowed by family." in explorer.get(f"{loads}&family=6").text
    ports = explorer.get("/section/overview/freshness?provider=500101&direction=out").text
    assert "Not narrowed by provider, direction." in ports
    # What is ticked is there whatever metro is looked at; its links are narrowed by provider.
    links = "/section/what-if/what_if_links?page=/what-if&metro=ams&pick=nyc:502068"
    assert "Not narrowed by" not in explorer.get(f"{links}&provider=500101").text
    assert "Not narrowed by family." in explorer.get(f"{links}&family=6").text
    table = "/api/what_if_links.json?pick=nyc:502068"
    every = {row["provider_asn"] for row in explorer.get(table).json()}
    assert len(every) > 1
    assert 500101 in every
    narrowed = explorer.get(f"{table}&provider=500101").json()
    assert {row["provider_asn"] for row in narrowed} == {500101}
    asks = explorer.get(f"/section/network/asks?asn={ASN}").text
    assert "nobody was asked yet: `flowpeer asks add`" in asks
    assert "no row has these words" in explorer.get(f"{loads}&filter=zzzz").text
    # A metro whose only router states no sampling rate.
    unscaled = "?page=/metro/par&metro=par"
    load = explorer.get(f"/section/metro/provider_load{unscaled}").text
    assert "see the overview, under What is wrong with the data" in load
    hours = explorer.get(f"/section/metro/imbalance_hours{unscaled}").text
    assert "<figure" not in hours  # it would be empty
    assert "hour_utc" in hours


def test_the_form_shows_every_metro_and_provider_of_the_address(explorer: Explorer) -> None:
    for page in ("/?", "/what-if?"):
        form = explorer.get(f"{page}metro=ams&metro=fra").text
        assert re.search(r'<select name="metro" multiple>', form)
        chosen = re.findall(r'<option value="(\w+)" selected>', form)
        assert chosen == ["ams", "fra"]
    assert "multiple" not in explorer.get("/?metro=ams").text
    both = explorer.get("/?provider=500101&provider=500202").text
    assert '<select name="provider" multiple>' in both


HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "{{7*7}}{% raw %}",
    "' OR 1=1 --",
    "\u202egnp.exe",
    "a\x00b\x1b[31m",
    "]]>",
    "&lt;b&gt;",
    "javascript:alert(1)",
    "../../etc/passwd",
]


def test_hostile_names_are_text() -> None:
    names = [f"{name} {n}" for n in range(50) for name in HOSTILE]
    rows = pl.DataFrame({"metro": names, "name": names, "<b onclick=x>": names})
    table = ShownTable(rows, tuple(inferred(n, t) for n, t in rows.schema.items()))
    marked = ""
    for start in range(0, len(names), SHOWN):
        part = ShownTable(rows.slice(start, SHOWN), table.columns)
        marked += str(table_markup(part, "x", Filters(), "/"))
    found = Markup(marked)
    assert {tag for tag, _ in found.elements} == {
        "div", "table", "thead", "tbody", "tr", "th", "td", "a"
    }  # fmt: skip
    assert all(a["href"].startswith(("/metro/", "/?sort=")) for t, a in found.elements if t == "a")
    assert found.text.count("<script>alert(1)</script>") == 3 * 50
    assert "\u202e" not in marked
    assert "\x1b" not in marked


def test_a_filter_is_words_and_no_pattern() -> None:
    rows = pl.DataFrame({"name": ["a.c", "abc", "A.C d", None]})
    table = ShownTable(rows, tuple(inferred(n, t) for n, t in rows.schema.items()))
    kept = arranged(table, "x", Filters(own={"filter": "a.c"}))
    assert kept["name"].to_list() == ["a.c", "A.C d"]
    assert arranged(table, "x", Filters(own={"filter": "D a.c"}))["name"].to_list() == ["A.C d"]
    assert arranged(table, "x", Filters(own={"sort": "x.-name"}))["name"].to_list()[-1] is None


def test_every_section_names_a_table_and_its_columns_are_known(explorer: Explorer) -> None:
    from flowpeer.web.tables import tables

    for sections in SECTIONS.values():
        assert len({s.table for s in sections}) == len(sections)
        assert {s.table for s in sections} <= set(tables())


@pytest.mark.parametrize("url", ["/search", "/sql", "/what-if", "/", "/provider/500101"])
def test_filters_go_along_to_every_other_page(explorer: Explorer, url: str) -> None:
    """By its links, and by the forms that are sent from it."""
    given = {"period": "2026-09-16", "metro": "nyc", "direction": "in", "family": "4"}
    query = "&".join(f"{name}={value}" for name, value in given.items())
    page = explorer.get(f"{url}?{query}").text
    for path in ("/", "/search", "/sql", "/what-if"):
        assert f'href="{path}?{query.replace("&", "&amp;")}"' in page
    for form in re.findall(r"<form.*?</form>", page, re.S):
        set_ = {a.get("name"): a.get("value") for t, a in Markup(form).elements if t == "input"}
        option = r'<option(?: value="([^"]*)")? selected>([^<]*)'
        chosen = re.findall(rf'name="(\w+)">(?:(?!</select>).)*?{option}', form, re.S)
        set_ |= {name: value or text for name, value, text in chosen}
        assert given.items() <= set_.items(), form


def test_a_result_has_a_chart_or_the_reason_why_not(explorer: Explorer) -> None:
    drawn = explorer.get("/sql?q=FROM+bills&answer=bills").text
    figure = next(a for t, a in Markup(drawn).elements if t == "figure")
    assert (figure["data-kind"], figure["data-x"]) == ("bar", "contract")
    assert "No chart" not in drawn
    plain = explorer.get("/sql?q=SELECT+metro+FROM+traffic+LIMIT+2").text
    assert "No chart: there is no figure to draw." in plain
    assert "<figure" not in plain
