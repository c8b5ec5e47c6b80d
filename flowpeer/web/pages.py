"""The pages: what each shows, in its order.

A page is a list of sections, each a table by name. The page itself needs no table: a section that
is kept already stands in it, any other is fetched when the page is open (or by its link, where the
reader's browser runs no script).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qsl, urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from flowpeer.errors import NoDataError, UsageError
from flowpeer.web import statements, tables
from flowpeer.web.answers import whole_of
from flowpeer.web.charts import Chart, chart_of
from flowpeer.web.reader import SharedReader, ShownTable
from flowpeer.web.render import LONGEST, table_markup
from flowpeer.web.view import Filters, asn_of
from flowpeer_reports.columns import CANDIDATES_SHORT
from flowpeer_sql import questions


@dataclass(frozen=True, slots=True)
class PageSection:
    """A table on a page."""

    table: str
    columns: tuple[str, ...] = ()
    """Those that are shown; empty: all."""
    chart: Chart | None = None
    ticks: str = ""
    """The column that a box to pick a row goes by."""
    more: bool = False
    """Rows open into their explanation."""


_OVER_TIME = Chart(
    "start", "avg_bps", ("provider", "direction"), bounds=("capacity_bps", "commit_bps")
)
_BY_METRO = Chart("start", "avg_bps", ("metro", "direction"), bounds=("capacity_bps",))
_IMBALANCE = ("metro", "direction", "provider_asn", "provider", "capacity_bps", "avg_bps",
              "p95_bps", "utilisation_p95", "share", "target_share", "excess_share", "d",
              "target")  # fmt: skip
_BRINGS = ("pick", "name", "out_bps", "cumulative_bps", "cumulative_share",
           "with_inferred_bps", "bill_saving_per_month", "cumulative_saving_per_month",
           "currency", "note")  # fmt: skip
_CHOICE = ("rank", "metro", "asn", "name", "observed_bps", "marginal_bps", "p95_bps", "meet",
           "policy", "feasibility", "bill_saving_per_month")  # fmt: skip
_BILLS = ("contract", "provider", "month", "status", "quality", "billed_bps", "commit_bps",
          "overage_bps", "total", "heading_for_total", "currency", "burst_slots_allowed",
          "burst_slots_used_in", "burst_slots_used_out")  # fmt: skip
_DRILL = ("kind", "removed", "metro", "exporter", "interface", "provider_asn", "direction",
          "capacity_bps", "max_before_bps", "max_bps", "max_utilisation", "slots_over_100",
          "short_bps", "ports_to_buy")  # fmt: skip
_D_BY_HOUR = Chart("hour_of_week", "d", ("direction",), "fraction", kind="bar")
SECTIONS: Mapping[str, tuple[PageSection, ...]] = {
    "overview": (
        PageSection("traffic_over_time", chart=_OVER_TIME),
        PageSection("metro_over_time", chart=_BY_METRO),
        PageSection("provider_load"),
        PageSection("bills", _BILLS),
        PageSection("changes"),
        PageSection("findings"),
        PageSection("freshness"),
        PageSection("snapshots"),
    ),
    "metro": (
        PageSection("traffic_over_time", chart=_OVER_TIME),
        PageSection("provider_load"),
        PageSection("candidates", CANDIDATES_SHORT, more=True),
        PageSection("imbalance", _IMBALANCE),
        PageSection("imbalance_hours", chart=_D_BY_HOUR),
        PageSection("moves"),
        PageSection("hours_of_week"),
        PageSection("exchanges"),
        PageSection("drill", _DRILL),
    ),
    "network": (
        PageSection("network"),
        PageSection("network_over_time", chart=Chart("start", "avg_bps", ("direction",))),
        PageSection("network_crossings"),
        PageSection("network_rows", CANDIDATES_SHORT),
        PageSection("places"),
        PageSection("network_ports"),
        PageSection("network_paths"),
        PageSection("network_prefixes"),
        PageSection("explain"),
        PageSection("asks"),
    ),
    "provider": (
        PageSection("traffic_over_time", chart=_OVER_TIME),
        PageSection("provider_load"),
        PageSection("bills", _BILLS),
        PageSection("provider_networks"),
        PageSection("provider_next"),
    ),
    "what-if": (
        PageSection("what_if", _BRINGS),
        PageSection("what_if_metros"),
        PageSection("what_if_links"),
        PageSection("what_if_asks"),
        PageSection("candidates", _CHOICE, ticks="asn"),
        PageSection("exchanges", ticks="ix_id"),
        PageSection("drill_matrix"),
    ),
}
_HOME = re.compile(r"/(?:what-if|sql|search|(?:metro|network|provider)/[\w.~%-]+)?", re.ASCII)
"""Pages that a section may lead back to."""
OUTCOME = frozenset({"what_if", "what_if_metros", "what_if_links", "what_if_asks"})
"""Sections that a pick changes."""


class Pages:
    """The endpoints of pages."""

    def __init__(self, reader: SharedReader, templates: Any) -> None:
        self._reader = reader
        self._templates = templates

    async def view(self, request: Request, *pairs: tuple[str, str]) -> Filters:
        """The view of a request, with these words beside its own."""
        return await self._reader.view([*request.query_params.multi_items(), *pairs])

    async def overview(self, request: Request) -> Response:
        """Transit by metro and provider, what changed, data quality, freshness."""
        view = await self.view(request)
        return self._page("overview", "Overview", "/", view, view)

    async def metro(self, request: Request) -> Response:
        """One metro."""
        metro = request.path_params["metro"]
        known = {m.id: m.name for m in self._reader.network.configuration.metros}
        if metro not in known:
            raise NoDataError(f"no metro {metro[:40]!r}", advice=f"there are {', '.join(known)}")
        view = await self.view(request)
        inner = replace(view, metros=(metro,))
        return self._page("metro", f"Metro {known[metro]}", request.url.path, view, inner)

    async def network(self, request: Request) -> Response:
        """One network."""
        asn = asn_of(request.path_params["asn"])
        view = await self.view(request, ("asn", str(asn)))
        name = await asyncio.to_thread(self._reader.name_of, asn)
        title = f"{name} (AS{asn})" if name else f"AS{asn}"
        return self._page("network", title, request.url.path, view, replace(view, asn=asn))

    async def provider(self, request: Request) -> Response:
        """One transit provider."""
        asn = asn_of(request.path_params["asn"])
        providers = self._reader.providers()
        if asn not in providers:
            raise NoDataError(
                f"AS{asn} is none of our transit providers",
                advice=f"see /network/{asn}; there are {', '.join(map(str, providers)) or 'none'}",
            )
        view = await self.view(request)
        inner = replace(view, providers=(asn,))
        title = f"Provider {providers[asn]} (AS{asn})"
        return self._page("provider", title, request.url.path, view, inner)

    async def what_if(self, request: Request) -> Response:
        """Asks to tick, and what they bring together."""
        view = await self.view(request)
        page = request.url.path
        sections = self._sections("what-if", page, view)
        return self._html(
            "what_if.html", title="What if", view=view, page=page,
            outcome=[s for s in sections if s["name"] in OUTCOME] if view.picks else [],
            choice=[s for s in sections if s["name"] in ("candidates", "exchanges")],
            rest=[s for s in sections if s["name"] == "drill_matrix"],
        )  # fmt: skip

    async def section(self, request: Request) -> Response:
        """One section of a page: for a page that is open, or as a page of its own."""
        page, name = request.path_params["page"], request.path_params["table"]
        section = next((s for s in SECTIONS.get(page, ()) if s.table == name), None)
        if section is None:
            raise NoDataError(f"no section {name[:40]!r}", advice="go back to the page it is on")
        pairs = request.query_params.multi_items()
        home = dict(pairs).get("page", "/")
        if not _HOME.fullmatch(home):
            raise UsageError(f"page {home[:60]!r} is no page of the explorer",
                             advice="open the section from the page it is on")  # fmt: skip
        inner = await self._reader.view([pair for pair in pairs if pair[0] != "page"])
        tables.check_sort(inner, [s.table for s in SECTIONS[page]])
        table = await tables.fetch(name, self._reader, inner)
        body = self._filled(section, table, inner, home)
        if request.headers.get("hx-request") == "true":
            return HTMLResponse(body)
        title = tables.named_table(name).title
        return self._html("section.html", title=title, view=inner, body=body, page=home)

    async def sql(self, request: Request) -> Response:
        """A statement and its rows."""
        view = await self.view(request)
        tables.check_sort(view, ["result"])
        question = statements.question_of(view.own.get("q", "").strip())
        table, problem, status = None, None, 200
        if view.own.get("q"):
            try:
                table = await statements.run(self._reader, view)
            except (UsageError, NoDataError) as error:
                problem, status = error, 404 if isinstance(error, NoDataError) else 400
        body = ""
        if table is not None:
            body = table_markup(table, "result", view, "/sql")
        about = _about(view)
        export = urlencode([("q", view.own.get("q", "")), *about,
                            *((f"p.{n}", v) for n, v in view.parameters.items())])  # fmt: skip
        words = [*self._reader.network.words(), *self._words_of_answer(view)]
        chart = None if table is None else chart_of(table.rows)
        return self._html(
            "sql.html", status, title="SQL", view=view, page="/sql", question=question,
            questions=questions(), table=table, body=body, problem=problem, export=export,
            fields=[] if question is None else statements.fields(question),
            chart=chart if isinstance(chart, Chart) else None,
            no_chart=chart if isinstance(chart, str) else "",
            words=" ".join(dict.fromkeys(words)), about=about,
        )  # fmt: skip

    async def search(self, request: Request) -> Response:
        """Networks by name, number, prefix or address."""
        view = await self.view(request)
        tables.check_sort(view, ["search", "lookup"])
        found = view.own.get("find", "")
        parts: list[tuple[str, str]] = []
        problem = None
        if found:
            looked = found.partition("/")[0]
            if _is_address(looked):
                at = replace(view, own={"find": looked})
                table = await tables.fetch("lookup", self._reader, at)
                body = self._filled(PageSection("lookup"), table, view, "/search")
                parts.append(("The route of the address", body))
            else:
                table = await tables.fetch("search", self._reader, view)
                if table.rows.height == 1 and found.lower().removeprefix("as").isdigit():
                    asn = table.rows["asn"].item()
                    return RedirectResponse(view.to(f"/network/{asn}"), 303)
                body = self._filled(PageSection("search"), table, view, "/search")
                parts.append(("Networks", body))
                if table.rows.is_empty():
                    problem = f"nothing is called {found}"
        return self._html("search.html", title="Search", view=view, page="/search", parts=parts,
                          found=found, problem=problem)  # fmt: skip

    def _page(self, name: str, title: str, path: str, view: Filters, inner: Filters) -> Response:
        sections = self._sections(name, path, inner)
        return self._html("page.html", title=title, view=view, page=path, sections=sections)

    def _sections(self, name: str, path: str, inner: Filters) -> list[dict[str, Any]]:
        """The sections of a page: with their body where the table is kept."""
        tables.check_sort(inner, [section.table for section in SECTIONS[name]])
        sections = []
        for section in SECTIONS[name]:
            table = tables.kept(section.table, self._reader, inner)
            named = tables.named_table(section.table)
            query = inner.query(page=path, asn=inner.asn)
            link = f"/section/{name}/{section.table}?{query}"
            body = None if table is None else self._filled(section, table, inner, path)
            sections.append({"name": named.name, "title": named.title, "body": body, "link": link})
        return sections

    def _filled(self, section: PageSection, table: ShownTable, view: Filters, page: str) -> str:
        named = tables.named_table(section.table)
        # The page says the metro, provider or network by its address already.
        outer = view
        if page.startswith("/metro/"):
            outer = replace(view, metros=())
        elif page.startswith("/provider/"):
            outer = replace(view, providers=())
        text = self._templates.get_template("filled.html").render(
            named=named, table=table, chart=section.chart, over=named.passes_over(view),
            query=named.query_string(view, "filter", "sort", "limit"),
            drawn=named.query_string(view, "filter"),
            markup=table_markup(
                table, section.table, outer, page, columns=section.columns, ticks=section.ticks,
                more=section.more,
            ),
            ask=_asked(table, view) if len(table.statement) <= LONGEST else "",
            glossary=[c for c in table.columns if c.meaning],
        )  # fmt: skip
        return str(text)

    def _words_of_answer(self, view: Filters) -> list[str]:
        """Names of the tables of an answer that is made, and of their columns."""
        name = view.own.get("answer", "")
        kept = whole_of(name).kept(self._reader, view) if name else None
        if kept is None:
            return []
        found = {name: kept, **kept.beside}
        return [*found, *(column.name for table in found.values() for column in table.columns)]

    def _html(self, template: str, status: int = 200, **values: Any) -> HTMLResponse:
        configuration = self._reader.network.configuration
        text = self._templates.get_template(template).render(
            network=configuration.network, metros=configuration.metros,
            providers=list(self._reader.providers().items()), **values,
        )  # fmt: skip
        return HTMLResponse(text, status)


def _asked(table: ShownTable, view: Filters) -> str:
    """The query of the SQL page that asks the statement behind a table."""
    own = {"q": table.statement}
    if table.answer:
        own["answer"] = table.answer
    return urlencode([*own.items(), *_about(replace(view, own={**view.own, **own}))[1:]])


def _about(view: Filters) -> list[tuple[str, str]]:
    """What says which answer a statement is over: its name, and what it is asked with."""
    name = view.own.get("answer", "")
    if not name:
        return []
    return [("answer", name), *parse_qsl(whole_of(name).query_string(view))]


def _is_address(text: str) -> bool:
    import ipaddress

    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
