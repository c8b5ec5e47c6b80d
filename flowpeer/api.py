"""The public API: everything the command line does, as methods that return Polars frames.

    >>> net = open("flowpeer.toml")
    >>> answer = net.imbalance(metro="dfw", direction="out")
    >>> answer.rows.select("provider", "share", "target_share").rows()[0]
    ('Quartzheron Backbone', 0.8108..., 0.2222...)

Nothing here writes to the terminal or ends the process. What a command would say on stderr is in
`Network.notes` and `Network.warnings`; errors are those of flowpeer.errors, with the next step in
`advice`. A period is text (`2026Q3`, `2026-07`, `2026-07-01/2026-07-08`) or a pair of times.
Without one, answers are of the last whole quarter with data, else of everything.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import polars as pl

from flowpeer import __version__, catalog, schema
from flowpeer.analysis import inputs
from flowpeer.analysis.answers import Answer, Direction, FileFormat
from flowpeer.analysis.asking import asked
from flowpeer.analysis.asks import asks_answer, log_path
from flowpeer.analysis.bills import WEEKS_BEFORE, bills_answer
from flowpeer.analysis.candidates import ListOf, candidate_answer, compared
from flowpeer.analysis.capacity import capacity_answer
from flowpeer.analysis.counterfactual import counterfactual_answer
from flowpeer.analysis.drafts import ask_export_text, draft_answer
from flowpeer.analysis.drill import DrillRequest, drill_answer, drt_answer, replay_answer
from flowpeer.analysis.exchanges import exchanges_answer
from flowpeer.analysis.exits import exits_answer
from flowpeer.analysis.explain import explain_answer
from flowpeer.analysis.imbalance import MOST_RULES, imbalance_answer
from flowpeer.analysis.leaks import leaks_answer
from flowpeer.analysis.outcomes import outcomes_answer
from flowpeer.analysis.periods import period_of
from flowpeer.analysis.reports import write_pack
from flowpeer.analysis.signed import WithAsks
from flowpeer.analysis.what_if import WhatIfs as WhatIfs
from flowpeer.checks import integrity
from flowpeer.checks.findings import Finding
from flowpeer.checks.quality import findings
from flowpeer.checks.touching import stated, stated_on
from flowpeer.errors import from_leaf
from flowpeer.lake.store import Lake
from flowpeer.network import Configuration
from flowpeer.period import parse_period
from flowpeer.pipeline import day_sums, retention
from flowpeer.pipeline import ingest as ingesting
from flowpeer.pipeline import rollup as rolling
from flowpeer.pipeline.crossings import span_of, write_crossings
from flowpeer.query import QuerySession
from flowpeer.query.asked import resolve, view_names
from flowpeer.query.attach import parse_all
from flowpeer.reporter import Collected, Reporter
from flowpeer.routing.rib.lookup import lookup
from flowpeer.routing.rib.snapshot import snapshots
from flowpeer.sources import load_ribs, load_sources, rib_files
from flowpeer.workspace import Workspace
from flowpeer_reports.ask_exports import Tool
from flowpeer_reports.billing.order import RankBy
from flowpeer_sql import questions

__all__ = ["Network", "Period", "Verification", "open"]

Period = str | tuple[datetime, datetime]
PUBLISHING_S = 60
"""Seconds within which the files of a unit, and then its record, are published."""
Paths = str | Path | Iterable[str | Path]


def open(path: str | Path = "flowpeer.toml", *, reporter: Reporter | None = None) -> Network:  # noqa: A001
    """The network that a configuration file describes, and its lake.

    Args:
        reporter: is given notes, warnings and progress as they come; without one they are collected
            in `notes` and `warnings`.

    Raises:
        ConfigError: every mistake in the file.
    """
    return Network(path, reporter=reporter)


@dataclass(frozen=True)
class Verification:
    """What `verify` found."""

    files: int
    """Files whose digest was computed."""
    faults: pl.DataFrame
    """path, what, next_step: files that are not what was written."""
    identities: pl.DataFrame
    """identity, left, right, holds: sums that must be equal (METHODS M13)."""

    @property
    def good(self) -> bool:
        """No fault, and every identity holds."""
        return self.faults.is_empty() and bool(self.identities["holds"].all())


class Network:
    """One network: its configuration, its lake, and what can be asked of them."""

    def __init__(self, path: str | Path, *, reporter: Reporter | None = None) -> None:
        self._workspace = Workspace(Path(path))
        self._collected = Collected()
        self._reporter = self._collected if reporter is None else reporter
        self._workspace.network()

    def __repr__(self) -> str:
        identity = self.configuration.network
        return f"<Network {identity.name} (AS{identity.asn}) of {self._workspace.path}>"

    @property
    def configuration(self) -> Configuration:
        """What flowpeer.toml says."""
        return self._workspace.network()

    @property
    def lake(self) -> Lake:
        """The folder of tables."""
        return self._workspace.lake()

    @property
    def notes(self) -> tuple[str, ...]:
        """What was reported so far, in order."""
        return tuple(self._collected.notes)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was found wrong with the data so far, in order."""
        return tuple(self._collected.warnings)

    def ingest(self, paths: Paths, *, mapping: str | Path | None = None) -> pl.DataFrame:
        """Load captures and other tools' exports, each file once.

        Returns:
            path, added, rows, unit: one row a file.
        """
        files = ingesting.capture_files(_paths(paths))
        with _errors():
            done = ingesting.ingest_files(
                self.configuration, self.lake, files, self._reporter,
                mapping=None if mapping is None else Path(mapping),
            )  # fmt: skip
        self._workspace.reread()
        return _frame(map(asdict, done), path=pl.String, added=pl.Boolean, rows=pl.Int64,
                      unit=pl.String)  # fmt: skip

    def load_routes(self, paths: Paths, *, taken_at: datetime | None = None) -> pl.DataFrame:
        """Load RIBs, each file once; the rows of `routes` for them."""
        files = [file for path in _paths(paths) for file in rib_files(path)]
        options: dict[str, Any] = {} if taken_at is None else {"taken_at": taken_at}
        infos = load_ribs(
            self.lake, files, self._reporter.say, warn=self._reporter.warn,
            network=self.configuration, **options,
        )  # fmt: skip
        return self.routes().filter(pl.col("name").is_in([info.name for info in infos]))

    def routes(self) -> pl.DataFrame:
        """name, taken_at, vantage, kind, prefixes4, prefixes6, routes, source: each snapshot."""
        rows = [
            {"name": i.name, "taken_at": i.taken_at, "vantage": i.vantage, "kind": i.kind,
             "prefixes4": i.prefixes4, "prefixes6": i.prefixes6, "routes": i.rows,
             "source": i.source}
            for i in snapshots(self.lake)
        ]  # fmt: skip
        return _frame(
            rows, name=pl.String, taken_at=pl.Datetime("us", "UTC"), vantage=pl.String,
            kind=pl.String, prefixes4=pl.Int64, prefixes6=pl.Int64, routes=pl.Int64,
            source=pl.String,
        )  # fmt: skip

    def rollup(
        self, period: Period | None = None, *, jobs: int | None = None, on: str | None = None
    ) -> pl.DataFrame:
        """Roll up the hours whose inputs changed, of a period or of all.

        Args:
            jobs: cores to use; without it all.
            on: address of an engine that does the hours instead: `spark://HOST:PORT`, `yarn`,
                `dask://HOST:PORT` and the like.

        Returns:
            hour, reasons, records, bytes: one row an hour that was done.
        """
        start, end = _span(period)
        done = rolling.roll_up(
            self.configuration, self.lake, self._reporter, start=start, end=end, jobs=jobs, on=on
        )
        return _frame(map(asdict, done.done), hour=pl.Datetime("us", "UTC"),
                      reasons=pl.List(pl.String), records=pl.Int64, bytes=pl.Int64)  # fmt: skip

    def plan(self, period: Period | None = None) -> pl.DataFrame:
        """hour, units, reasons: every hour, and why it would be rolled up (empty: up to date)."""
        start, end = _span(period)
        hours = rolling.plan(self.configuration, self.lake, start=start, end=end)
        rows = [{"hour": h.start, "units": h.units, "reasons": h.changed} for h in hours]
        return _frame(rows, hour=pl.Datetime("us", "UTC"), units=pl.Int64,
                      reasons=pl.List(pl.String))  # fmt: skip

    def check(self) -> pl.DataFrame:
        """level (ok, note, warning), subject, text, next_step, code: one row a finding."""
        found = findings(self.configuration, self.lake.record())
        return _frame((f._asdict() for f in found), **dict.fromkeys(Finding._fields, pl.String))

    def verify(self, period: Period | None = None) -> Verification:
        """Digests of all files, and sums through every stage; of a period, or of all."""
        asked = None if period is None else parse_period(_text(period))
        done = integrity.verify(self.configuration, self.lake, self._reporter, asked)
        faults = [{"path": f.path, "what": f.what, "next_step": f.advice} for f in done.faults]
        sums = [
            {"identity": i.name, "left": i.left, "right": i.right, "holds": i.holds}
            for i in done.identities
        ]
        return Verification(
            done.files,
            _frame(faults, path=pl.String, what=pl.String, next_step=pl.String),
            _frame(sums, identity=pl.String, left=pl.Int64, right=pl.Int64, holds=pl.Boolean),
        )

    def gather(
        self,
        period: Period | None = None,
        *,
        metro: str | Sequence[str] | None = None,
        as_of: datetime | None = None,
    ) -> inputs.Gathered:
        """What answers of a period are made from, to make several of them or one of your own.

        Args:
            metro: whose warnings count.
            as_of: a full hour, in UTC where it has no zone: hours from then on are left out.
        """
        return self._gathered(period, metro, as_of)[0]

    def _gathered(
        self,
        period: Period | None,
        metro: str | Sequence[str] | None,
        as_of: datetime | None = None,
        compare: Period | None = None,
    ) -> tuple[inputs.Gathered, inputs.Gathered | None]:
        """The inputs of a period, and of the one that it is compared with."""
        text = None if period is None else _text(period)
        network, record = self.configuration, self.lake.record()
        then, before = None if as_of is None else as_of.isoformat(), None
        with _errors():
            asked(network, record, text, _list(metro), then, self._reporter.warn)
            if compare is None:
                gathered = inputs.gather(network, record, text)
            else:
                gathered, before = inputs.gather_both(network, record, text, _text(compare))
            return self._stated(gathered, _list(metro)), before

    def _stated(
        self, gathered: inputs.Gathered, metros: Sequence[str] | None = None
    ) -> inputs.Gathered:
        """With what its figures hang on among its notes; warnings are printed."""
        gathered, wrong = stated(gathered, self.configuration, self.lake.record(), metros)
        for text in wrong:
            self._reporter.warn(text)
        return gathered

    def candidates(
        self,
        period: Period | None = None,
        *,
        metro: str | Sequence[str] | None = None,
        asks: int | None = None,
        direction: Direction = "out",
        of: ListOf = "metros",
        apart: bool = False,
        join: Sequence[int] = (),
        compare: Period | None = None,
        rank_by: RankBy = "bytes",
        as_of: datetime | None = None,
    ) -> Answer:
        """Whom to ask for peering, where, and what it is worth: of each metro or `of` the
        organisations; with siblings `apart`; as if we were on the exchanges `join`; with what
        changed since the period `compare` (or `before`) in the side table `changes`; in the order
        of expected bytes, or `rank_by` "saving" or "renewal"; without what came `as_of` a full
        hour or later."""
        compared(compare, rank_by)
        gathered, before = self._gathered(period, metro, as_of, compare)
        with _errors():
            return candidate_answer(
                gathered, direction=direction, metros=_list(metro), asks=asks, of=of,
                apart=apart, join=join, before=before, rank_by=rank_by,
            )  # fmt: skip

    def explain(
        self,
        asn: int,
        period: Period | None = None,
        *,
        metro: str | Sequence[str] | None = None,
    ) -> Answer:
        """Why a network is where it is in the list, or not there: each number with its SQL."""
        gathered = self.gather(period, metro=metro)
        with _errors():
            return explain_answer(gathered, asn, metros=_list(metro))

    def exchanges(
        self,
        period: Period | None = None,
        *,
        metro: str | Sequence[str] | None = None,
        direction: Direction = "out",
    ) -> Answer:
        """What each exchange of our metros would take, joined or not."""
        gathered = self.gather(period, metro=metro)
        with _errors():
            return exchanges_answer(gathered, direction=direction, metros=_list(metro))

    def what_ifs(self, period: Period | None = None) -> WhatIfs:
        """For selections of asks: `net.what_ifs(period).answer(["ams:64510", "ams:ix26"])` is what
        leaves transit if these all say yes, and what bills, links and D are then."""
        with _errors():
            return WhatIfs(self.gather(period), self.configuration, self.lake)

    def leaks(
        self, period: Period | None = None, *, metro: str | Sequence[str] | None = None
    ) -> Answer:
        """What is peered already and still rides transit, by cause, with routes and money."""
        gathered = self.gather(period, metro=metro)
        with _errors():
            return leaks_answer(gathered, metros=_list(metro))

    def imbalance(
        self,
        period: Period | None = None,
        *,
        metro: str | Sequence[str] | None = None,
        direction: Direction = "both",
        rules: int = MOST_RULES,
    ) -> Answer:
        """Is transit balanced against what is paid for?

        Args:
            rules: most rules of a metro's move list.
        """
        gathered = self.gather(period, metro=metro)
        with _errors():
            return imbalance_answer(
                gathered, direction=direction, metros=_list(metro), network=self.configuration,
                record=self.lake.record(), rules=rules,
            )  # fmt: skip

    def exits(
        self, period: Period | None = None, *, metro: str | Sequence[str] | None = None
    ) -> Answer:
        """Does traffic leave where BGP says, and where the shortest path would be?"""
        gathered = self.gather(period, metro=metro)
        with _errors():
            return exits_answer(
                gathered, self.configuration, self.lake.record(), metros=_list(metro)
            )

    def drill(
        self,
        period: Period | None = None,
        *,
        metro: str | Sequence[str] | None = None,
        remove: str | Sequence[str] = (),
        every: bool = False,
        site_lost: str | None = None,
        to: str | None = None,
        growth: str = "1",
        slots: bool = False,
        asks: WithAsks | None = None,
    ) -> Answer:
        """What every link carries when others fail.

        Args:
            metro: whose links are shown.
            remove: like `link:edge1.ams:11` or `provider:174`, all at the same time.
            every: each link, provider, exporter, … by itself.
            growth: times the present traffic, `1` to `10`, or `1..10` for each.
            asks: as if the first so many of the list of organisations were peers, or `"signed"`:
                those that the log of asks says yes of.
        """
        gathered = self.gather(period, metro=metro)
        with _errors():
            request = DrillRequest(_list(remove) or (), every, site_lost, to, growth, slots, asks)
            return drill_answer(
                gathered, self.configuration, self.lake.record(), request, metros=_list(metro)
            )

    def drt(
        self,
        *metros: str,
        period: Period | None = None,
        to: str | None = None,
        growth: str = "1",
        asks: WithAsks | None = None,
    ) -> Answer:
        """Plan a disaster-recovery test of some metros, default of each: which own prefixes to
        withdraw, in which order, and what each step does to each link.

        Args:
            to: metro that the demand moves to; default the nearest that announces a prefix.
            growth: times the present traffic.
            asks: as if the first so many of the list of organisations were peers, or `"signed"`:
                those that the log of asks says yes of.
        """
        gathered = self.gather(period)
        with _errors():
            return drt_answer(
                gathered, self.configuration, self.lake.record(), metros, to=to, growth=growth,
                asks=asks,
            )  # fmt: skip

    def replay(self, window: str, *, metro: str | Sequence[str] | None = None) -> Answer:
        """An outage in START/END: predicted against measured."""
        with _errors():
            network, record, metros = self.configuration, self.lake.record(), _list(metro)
            asked(network, record, None, metros, None, self._reporter.warn)
            return replay_answer(network, record, window, metros=metros)

    def capacity(
        self,
        period: Period | None = None,
        *,
        metro: str | Sequence[str] | None = None,
        direction: Direction = "both",
        asks: WithAsks | None = None,
    ) -> Answer:
        """When transit is full at its growth, and what to buy; with `asks` also as if the first
        so many of the list of organisations were peers, or `"signed"`: those that the log of asks
        says yes of. Without, those where there are any and the history allows a forecast."""
        gathered = self.gather(period, metro=metro)
        with _errors():
            return capacity_answer(
                gathered, direction=direction, metros=_list(metro), network=self.configuration,
                record=self.lake.record(), asks=asks,
            )  # fmt: skip

    def bills(
        self,
        period: Period | None = None,
        *,
        contracts: Sequence[str] | None = None,
        invoices: Sequence[str] = (),
        forced: bool = False,
    ) -> Answer:
        """What each transit contract costs, by calendar month.

        Args:
            invoices: `[CONTRACT[:MONTH]=]AMOUNT`, to be compared with the bills.
            forced: figures also where too much data is missing.
        """
        text = None if period is None else _text(period)
        with _errors():
            network, record = self.configuration, self.lake.record()
            answer = bills_answer(
                network, record, text, contracts=contracts, invoices=invoices, forced=forced
            )
            for warning in stated_on(answer, network, record):
                self._reporter.warn(warning)
            return answer

    def counterfactual(
        self, period: Period | None = None, *, asks: int = 10, rules: int = MOST_RULES
    ) -> Answer:
        """The bills as if the first asks had been peers from day one and the move list applied,
        and the best split of tied routes that was found.

        Args:
            rules: most rules of a metro's move list.
        """
        gathered = self.gather(period)
        with _errors():
            return counterfactual_answer(
                gathered, self.configuration, self.lake.record(), asks=asks, rules=rules
            )

    def asks(self, *, as_of: date | None = None, statuses: Sequence[str] | None = None) -> Answer:
        """Every ask of the log with its present state, or as it stood on a day."""
        with _errors():
            return asks_answer(self.configuration, as_of=as_of, statuses=statuses)

    def drafts(
        self,
        asns: Sequence[int] = (),
        period: Period | None = None,
        *,
        metro: str | Sequence[str] | None = None,
        template: str | Path | None = None,
    ) -> Answer:
        """A draft of an e-mail for each ask of the organisations' list, or for some networks."""
        gathered = self.gather(period, metro=metro)
        with _errors():
            return draft_answer(
                gathered, asns, metros=_list(metro),
                template=None if template is None else Path(template),
            )  # fmt: skip

    def ask_export(
        self,
        tool: Tool,
        period: Period | None = None,
        *,
        metro: str | Sequence[str] | None = None,
        asks: int | None = None,
        rir: str = "",
    ) -> str:
        """The asks of the organisations' list as Peering Manager (JSON) or NetBox (CSV) imports
        them; NetBox needs `rir`, the name of its object."""
        gathered = self.gather(period, metro=metro)
        with _errors():
            return ask_export_text(gathered, tool, metros=_list(metro), asks=asks, rir=rir)

    def outcomes(self) -> Answer:
        """What live asks brought, against what was predicted."""
        with _errors():
            return outcomes_answer(self.configuration, self.lake.record())

    def report(
        self,
        folder: str | Path,
        period: Period | None = None,
        *,
        metro: str | Sequence[str] | None = None,
        formats: Sequence[FileFormat] = ("csv",),
        as_of: datetime | None = None,
    ) -> list[Path]:
        """Write every answer and one HTML page of them into a folder; the files.

        Args:
            as_of: a full hour, in UTC where it has no zone: hours from then on are left out, so
                that a report of that time is made again, to the byte.
        """
        text = None if period is None else _text(period)
        with _errors():
            network, record, metros = self.configuration, self.lake.record(), _list(metro)
            then = None if as_of is None else as_of.isoformat()
            asked(network, record, text, metros, then, self._reporter.warn)
            done = write_pack(
                network, record, text, Path(folder), formats=formats, metros=metros,
                stating=lambda gathered: self._stated(gathered, metros),
            )  # fmt: skip
        return done.files

    def period(self, period: Period | None = None) -> tuple[datetime, datetime]:
        """[start, end) in UTC that answers of a period are about: cut at the last slot rolled up.

        Raises:
            NoDataError: nothing rolled up, or not in the period.
        """
        text = None if period is None else _text(period)
        return period_of(self.configuration, self.lake.record(), text)

    def sum_days(self, *, stop: Callable[[], bool] = lambda: False) -> int:
        """Make the sums of days (`traffic_slots`, `asn_days`) that are not there, as `rollup` does
        at its end; how many files. None where the lake cannot be written.

        Args:
            stop: asked before each file; the rest is left where it says so.
        """
        return day_sums.renew(self.lake.record(), stop=stop)

    def generation(self, period: tuple[datetime, datetime] | None = None) -> str:
        """A word that changes when answers may: with the configuration, the lake or the asks.

        Of the lake it looks at the names, sizes and times of manifests (in an object store at their
        ETags), and reads none.

        Args:
            period: answers of [start, end) alone. What comes to hours away from it, and from what
                its bills are of, changes nothing.
        """
        network = self.configuration
        digest = hashlib.sha256(__version__.encode())
        if any(one.until for one in network.accepted):  # until a day
            digest.update(f"{datetime.now(UTC).date()}".encode())
        for path in (network.source, log_path(network)):
            digest.update(path.read_bytes() if path.is_file() else b"-")
        for name in ("interfaces", "counters", "as_cones"):
            source = network.source_path(name)
            digest.update(_mark(source.stat()).encode() if source and source.exists() else b"-")
        units, young, over = [], False, False
        opening, closing = ("", "~") if period is None else _billed_days(*period)
        for key, changed, changed_s in sorted(self._manifests()):
            _, table, *folders = key.split("/")
            if folders and folders[0].startswith("date="):
                over |= table == "traffic" and folders[0] > closing
                if not opening <= folders[0] <= closing:
                    continue
            mark = f"{key}:{changed};".encode()
            if period is not None and table == "units":
                units.append(mark)
                continue
            digest.update(mark)
            young |= changed_s > time.time() - PUBLISHING_S
        digest.update(b"over" if over else b"")  # the months are, and their bills no projection
        # Of a unit that is just being published the record comes last.
        for mark in units if young else ():
            digest.update(mark)
        return digest.hexdigest()[:32]

    def _manifests(self) -> Iterator[tuple[str, str, float]]:
        """Keys of manifests, what changes with each, and when it last did (seconds since 1970)."""
        if self.lake.remote is not None:
            for one in self.lake.storage.list("manifests"):
                yield one.key, one.mark, one.changed_s
            return
        for path in (self.lake.root / "manifests").rglob("*.json"):
            stat = path.stat()
            yield path.relative_to(self.lake.root).as_posix(), _mark(stat), stat.st_mtime

    def session(
        self, parameters: Mapping[str, object] | None = None, *, memory_bytes: int | None = None
    ) -> QuerySession:
        """Statements one after the other in one confined process: `with net.session() as s:`.

        Args:
            parameters: of the statement; `crossings` are made for their period.
            memory_bytes: what a statement may take; default a share of the machine's.
        """

        def crossings(folder: Path) -> list[Path]:
            start, end = span_of(parameters or {})
            return write_crossings(self.configuration, self.lake, folder, start=start, end=end)

        return QuerySession(
            self.lake.root, configured=self.configuration.tables, crossings=crossings,
            memory_bytes=memory_bytes,
        )  # fmt: skip

    def sql(
        self,
        query: str,
        /,
        *,
        attach: Mapping[str, str | Path] | None = None,
        **parameters: object,
    ) -> pl.DataFrame:
        """The rows of one reading statement, or of a question by its name.

        Args:
            attach: files of your own (CSV, Parquet, JSON, XLSX) as tables, by name; of a folder
                each Parquet file, as `name_file`.
            parameters: values of the statement's `$name`, or of the question: `metro`,
                `period="2026Q3"`, `provider="AS1299"`.

        >>> net = open("flowpeer.toml")
        >>> net.sql("SELECT count(*) AS n FROM metros WHERE continent = $c", c="EU").item()
        4
        """
        if isinstance(span := parameters.get("period"), tuple):
            parameters["period"] = _text(span)
        query, parameters = resolve(query, parameters)
        with self.session(parameters) as session:
            for name, path in (attach or {}).items():
                for one in parse_all(f"{name}={path}"):
                    session.attach(*one)
            return pl.DataFrame(pl.from_arrow(session.query(query, parameters)))

    def words(self) -> list[str]:
        """What a statement may name: tables, their columns, views, macros and questions."""
        tables = schema.SQL_TABLES
        columns = {column.name for table in tables.values() for column in table}
        return sorted({*tables, *view_names(), *columns, *(q.name for q in questions())})

    def scan(
        self, table: str, start: datetime | None = None, end: datetime | None = None
    ) -> pl.LazyFrame:
        """A table of the lake, lazily: the files of the hours of [start, end), rows not filtered.

        >>> net = open("flowpeer.toml")
        >>> net.scan("traffic").select(pl.col("metro").n_unique()).collect().item()
        9
        """
        return catalog.scan(self.lake.root, table, start=start, end=end)

    def lookup(self, *addresses: str, as_of: datetime | None = None) -> pl.DataFrame:
        """address, prefix, origin_asn, origins, origin_name, as_path, snapshot, vantage.

        >>> net = open("flowpeer.toml")
        >>> net.lookup("26.144.160.1", "26.144.0.1")["origin_name"].to_list()
        ['Saltpipit Hosting', 'Cindervole Telecom']
        """
        if not snapshots(self.lake):
            load_sources(
                self.lake, self.configuration, self._reporter.say, warn=self._reporter.warn
            )  # fmt: skip
        text = dict.fromkeys(("address", "prefix", "origin_name", "as_path", "snapshot",
                              "vantage"), pl.String)  # fmt: skip
        return _frame(
            lookup(self.lake, addresses, as_of=as_of),
            **{"address": text["address"], "prefix": text["prefix"], "origin_asn": pl.Int64,
               "origins": pl.List(pl.Int64), **text},
        )  # fmt: skip

    def export_iceberg(
        self,
        folder: str | Path,
        *,
        tables: Sequence[str] = ("traffic", "traffic_routes"),
        period: Period | None = None,
    ) -> dict[str, int]:
        """Write tables as Iceberg tables, a folder each; rows by table. Needs pyiceberg.

        A table that is there gets a new version with what is exported now.
        """
        from flowpeer.pipeline.iceberg import export

        start, end = _span(period)
        done = export(
            self.configuration, self.lake, Path(folder), tables, start=start, end=end
        )  # fmt: skip
        return {one.table: one.rows for one in done}

    def compact(self, *, ended_before: datetime | None = None) -> retention.Merged:
        """Merge the files of each closed hour into one; files and hours. Default: two hours ago."""
        before = ended_before or datetime.now(UTC) - timedelta(hours=2)
        return retention.merge(self.configuration, self.lake, before, self._reporter)

    def prune(
        self,
        before: datetime,
        *,
        routes: Literal["unused", "daily"] | None = None,
        delete: bool = False,
    ) -> retention.Pruned:
        """What would be deleted of flow records received before a time; `delete` deletes it."""
        return retention.prune(
            self.configuration, self.lake, before, self._reporter, routes=routes, delete=delete
        )  # fmt: skip


@contextmanager
def _errors() -> Iterator[None]:
    """Errors of the leaf packages as those of flowpeer.errors."""
    try:
        yield
    except Exception as error:
        known = from_leaf(error)
        if known is None:
            raise
        raise known from error


def _paths(paths: Paths) -> list[Path]:
    return [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]


def _list(names: str | Sequence[str] | None) -> Sequence[str] | None:
    return [names] if isinstance(names, str) else names


def _text(period: Period) -> str:
    return period if isinstance(period, str) else "/".join(time.isoformat() for time in period)


def _span(period: Period | None) -> tuple[datetime | None, datetime | None]:
    return (None, None) if period is None else parse_period(_text(period))


def _frame(rows: Iterable[Any], /, **columns: Any) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=columns)


def _mark(stat: os.stat_result) -> str:
    return f"{stat.st_ino}.{stat.st_mtime_ns}.{stat.st_size}"


def _billed_days(start: datetime, end: datetime) -> tuple[str, str]:
    """The first and the last folder that answers of a period hang on: of its calendar months, which
    are billed, of the weeks before that say where a month is heading, and a day around them, for
    time zones."""
    last = end.astimezone(UTC) - timedelta(microseconds=1)
    closing = (last.replace(day=1) + timedelta(days=32)).replace(day=1).date()
    first = start.astimezone(UTC).replace(day=1).date()
    opening = first - WEEKS_BEFORE - timedelta(days=1)
    return f"date={opening}", f"date={closing}"
