"""What pages read: tables made once for all who ask, and kept until what they are of changes.

A table is made in a thread and awaited by every reader of it. When the last of them has left, the
statement behind it is stopped. An answer of `flowpeer.api` cannot be stopped half way: it is
finished and kept, one at a time.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl

from flowpeer import api
from flowpeer.errors import FlowpeerError, NoDataError, UsageError
from flowpeer.web.settings import ServerSettings
from flowpeer.web.view import Filters, view_of
from flowpeer_reports.columns import Column

LOOK_S = 2.0
"""How often the lake is looked at for a change."""
RESULT_BYTES = 64 << 20
"""Of the result of a statement, as text."""
KEPT_BYTES = 256 << 20
"""Of tables that are kept, as Polars estimates them."""

_log = logging.getLogger("flowpeer.web")


class NoLakeError(NoDataError):
    """The folder of the lake is not there, or empty: as of a disk that is not mounted."""


@dataclass(frozen=True, slots=True)
class ShownTable:
    """A table as pages and the API show it."""

    rows: pl.DataFrame
    columns: tuple[Column, ...]
    notes: tuple[str, ...] = ()
    statement: str = ""
    """The SQL behind it, to be run as it stands."""
    answer: str = ""
    """The answer whose tables the statement is over; empty where it is over the lake alone."""
    command: str = ""
    """The commands that give the same."""
    beside: Mapping[str, ShownTable] = field(default_factory=dict)
    """Tables that the same work gave."""

    def size(self) -> int:
        """Octets, as Polars estimates them."""
        return int(self.rows.estimated_size()) + sum(t.size() for t in self.beside.values())


class Cancel:
    """A request to stop, from whoever waits to whatever runs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stop: Callable[[], None] | None = None
        self.requested = False

    def on(self, stop: Callable[[], None] | None) -> None:
        """What is called when a stop is requested; at once where it was."""
        with self._lock:
            self._stop = stop
            if self.requested and stop is not None:
                stop()

    def request(self) -> None:
        """Stop it."""
        with self._lock:
            self.requested = True
            if self._stop is not None:
                self._stop()


@dataclass(slots=True)
class _Flight:
    work: Future[ShownTable]
    future: asyncio.Future[ShownTable]
    cancel: Cancel
    waiting: int = 0


@dataclass
class _Kept:
    """Tables by what they were made from and their key, the least recently used first."""

    tables: OrderedDict[Hashable, ShownTable] = field(default_factory=OrderedDict)
    size: int = 0

    def get(self, key: Hashable) -> ShownTable | None:
        table = self.tables.get(key)
        if table is not None:
            self.tables.move_to_end(key)
        return table

    def put(self, key: Hashable, table: ShownTable) -> None:
        size = table.size()
        if size > KEPT_BYTES // 4 or key in self.tables:
            return
        self.tables[key] = table
        self.size += size
        while self.size > KEPT_BYTES:
            _, old = self.tables.popitem(last=False)
            self.size -= old.size()


@dataclass
class _Known:
    """What is known of the lake as it is."""

    generation: str = ""
    fingerprints: dict[str, str] = field(default_factory=dict)
    """Period, as it is asked for → what changes when answers of it may."""
    periods: dict[str, tuple[datetime, datetime]] = field(default_factory=dict)
    networks: dict[int, bool] = field(default_factory=dict)
    """Whether a network is in any table."""


class CachingNetwork(api.Network):
    """A network that gathers the inputs of a period once for the answers that follow each other.
    It is made again when the lake changes."""

    _last: tuple[tuple[api.Period | None, datetime | None], Any] | None = None

    def gather(
        self,
        period: api.Period | None = None,
        *,
        metro: str | Sequence[str] | None = None,
        as_of: datetime | None = None,
    ) -> Any:
        """As `Network.gather` (from the thread of answers), with the warnings of all metros."""
        key = period, as_of
        if self._last is None or self._last[0] != key:
            self._last = (key, super().gather(period, as_of=as_of))
        return self._last[1]


class SharedReader:
    """One network, for all readers. Its methods run on the event loop unless they say otherwise."""

    def __init__(self, settings: ServerSettings) -> None:
        self.settings = settings
        self.network: api.Network = CachingNetwork(settings.config)
        self._kept, self._known = _Kept(), _Known(self.network.generation())
        self._looked = time.monotonic()
        self._looking = asyncio.Lock()
        self._flights: dict[Hashable, _Flight] = {}
        self._answers = ThreadPoolExecutor(1, "answers")
        self._queries = ThreadPoolExecutor(settings.queries, "queries")
        self._closing = threading.Event()
        self._sums = ThreadPoolExecutor(1, "sums")
        self._sums.submit(self._sum_days)
        self._what_ifs: tuple[Hashable, api.WhatIfs] | None = None
        self._providers: tuple[api.Network, dict[int, str]] | None = None

    def close(self) -> None:
        """Stop what runs."""
        self._closing.set()
        for flight in self._flights.values():
            flight.cancel.request()
        self._answers.shutdown(wait=False, cancel_futures=True)
        self._queries.shutdown(wait=False, cancel_futures=True)
        self._sums.shutdown(wait=False, cancel_futures=True)

    async def look(self) -> str:
        """The generation of the lake. Where it is new, what was kept of the old one counts no more,
        but for answers of periods that nothing came to, and the configuration is read again.

        Raises:
            NoLakeError: there is none; what is kept stays, should it come back.
        """
        await asyncio.to_thread(self.require_lake)
        async with self._looking:
            if time.monotonic() - self._looked >= LOOK_S:
                generation = await asyncio.to_thread(self.network.generation)
                if generation != self._known.generation:
                    self.network = await asyncio.to_thread(CachingNetwork, self.settings.config)
                    periods, self._known = list(self._known.fingerprints), _Known(generation)
                    for period in periods:
                        await asyncio.to_thread(self.fingerprint, period)
                    self._sums.submit(self._sum_days)
                self._looked = time.monotonic()
            return self._known.generation

    def fingerprint(self, period: str) -> str:
        """Changes when answers of a period may (from a thread)."""
        known = self._known
        if period not in known.fingerprints:
            try:
                span = self.network.period(period or None)
            except FlowpeerError:  # the answer says what is wrong
                return known.generation
            fingerprint = f"{span} {self.network.generation(span)}"
            if self.network.generation() != known.generation:  # it is of a lake not looked at yet
                return known.generation
            known.fingerprints[period] = fingerprint
        return known.fingerprints[period]

    def _sum_days(self) -> None:
        """What statements over many days are quick by, where `rollup` has not left it (from a
        thread); without it they are right too."""
        try:
            self.network.sum_days(stop=self._closing.is_set)
        except FlowpeerError as error:
            _log.warning("days are not summed: %s", error.what)

    def require_lake(self) -> None:
        """Whoever reads a lake may keep derived files in it: where there is none, nothing is read
        (from a thread).

        Raises:
            NoLakeError: its folder is gone, or was never made.
        """
        lake = self.network.lake
        if lake.remote is not None:
            return
        try:
            there = any(lake.root.iterdir())
        except (FileNotFoundError, NotADirectoryError):
            there = False
        if not there:
            raise NoLakeError(
                f"{lake}: there is no lake",
                advice="mount or restore the folder, or correct `path` under [lake]; a new lake "
                "begins with `flowpeer ingest` and `flowpeer rollup`",
            )

    def kept(self, key: Hashable, *, period: str | None = None) -> ShownTable | None:
        """A table that needs no work; see `table`."""
        known = self._known
        fingerprint = known.generation if period is None else known.fingerprints.get(period)
        return self._kept.get((fingerprint, key))

    async def table(
        self, key: Hashable, make: Callable[[Cancel], ShownTable], *, query: bool,
        period: str | None = None,
    ) -> ShownTable:  # fmt: skip
        """The table of a key, made by `make` in a thread where it is not kept.

        Args:
            query: it is one statement, which runs beside others and can be stopped.
            period: it is an answer that hangs on no other time.
        """
        fingerprint = self._known.generation if period is None else await asyncio.to_thread(
            self.fingerprint, period
        )  # fmt: skip
        name = fingerprint, key
        if (table := self._kept.get(name)) is not None:
            return table
        flight = self._flights.get(name)
        if flight is None:
            cancel = Cancel()
            pool = self._queries if query else self._answers
            work = pool.submit(make, cancel)
            flight = _Flight(work, asyncio.wrap_future(work), cancel)
            self._flights[name] = flight
            flight.future.add_done_callback(partial(self._landed, name, flight))
        flight.waiting += 1
        try:
            return await asyncio.shield(flight.future)
        finally:
            flight.waiting -= 1
            if not flight.waiting and not flight.future.done():
                self._abandon(name, flight, query)

    def _abandon(self, name: Hashable, flight: _Flight, query: bool) -> None:
        """Nobody waits any more: a statement is stopped, and what has not begun never will. An
        answer that is being made is finished and kept."""
        if flight.work.cancel() or query:
            self._flights.pop(name, None)
            flight.cancel.request()
            flight.future.cancel()

    def _landed(self, name: Hashable, flight: _Flight, _: object) -> None:
        if self._flights.get(name) is flight:
            del self._flights[name]
        if not flight.future.cancelled() and flight.future.exception() is None:
            self._kept.put(name, flight.future.result())

    def ask(
        self,
        sql: str,
        values: Mapping[str, object],
        cancel: Cancel,
        *,
        attached: Mapping[str, ShownTable] | None = None,
    ) -> pl.DataFrame:
        """The rows of one statement (from a thread).

        Args:
            attached: tables that it may name beside those of the lake.

        Raises:
            UsageError: it was stopped, or what `Session.query` says of it.
        """
        settings = self.settings
        with self.network.session(values, memory_bytes=settings.query_memory_bytes) as session:
            cancel.on(session.cancel)
            try:
                if cancel.requested:
                    raise UsageError("the reader has left")
                _attach(session, attached or {})
                found = session.query(
                    sql,
                    values,
                    timeout_seconds=settings.query_seconds,
                    flat=True,
                    most=RESULT_BYTES,
                )
            finally:
                cancel.on(None)
        return _frame(found)

    def what_ifs(self, period: str) -> api.WhatIfs:
        """What selections of a period are judged against, the last one kept (from the thread of
        answers)."""
        name = self.fingerprint(period)
        if self._what_ifs is None or self._what_ifs[0] != name:
            self._what_ifs = (name, self.network.what_ifs(period or None))
        return self._what_ifs[1]

    async def view(self, pairs: Iterable[tuple[str, str]]) -> Filters:
        """The view that a query string asks for, of what there is.

        Raises:
            UsageError: a parameter or a value that there is not.
            NoDataError: a period without data, a network that is in no table.
        """
        view = view_of(
            pairs, known_metros=(metro.id for metro in self.network.configuration.metros),
            known_providers=self.providers(),
        )  # fmt: skip
        if view.period:
            await asyncio.to_thread(self.period, view.period)
        if view.asn is not None and not await asyncio.to_thread(self._knows, view.asn):
            raise NoDataError(
                f"AS{view.asn} is in no table: no name, route or byte is of it",
                advice="check the number, or look for a part of the name at /search",
            )
        return view

    def providers(self) -> dict[int, str]:
        """Our transit providers: ASN and name, by ASN."""
        network = self.network
        if self._providers is None or self._providers[0] is not network:
            given = network.configuration.tables()
            contracts = given["contracts"].to_pylist()
            names = {c["contract"]: c["provider"] for c in contracts}
            found: dict[int, str] = {}
            for row in given["interfaces"].to_pylist():
                if row["role"] == "transit" and row["asn"] is not None:
                    found.setdefault(row["asn"], names.get(row["contract"]) or f"AS{row['asn']}")
            self._providers = (network, dict(sorted(found.items())))
        return self._providers[1]

    def _knows(self, asn: int) -> bool:
        """Whether any table has a network; true of codes, and where nothing is rolled up yet."""
        known = self._known.networks
        if asn not in known:
            try:
                known[asn] = asn < 0 or bool(self.name_of(asn)) or self._is_seen(asn)
            except NoDataError:
                return True
        return known[asn]

    def _is_seen(self, asn: int) -> bool:
        """Whether traffic or routes have a network, or the configuration."""
        self.period("")
        network = self.network
        if asn == network.configuration.network.asn or asn in self.providers():
            return True
        path = pl.col("as_path").str.contains(rf"\b{asn}\b")
        return any(
            network.scan(table).filter(is_it).head(1).select(pl.len()).collect().item() > 0
            for table, is_it in (
                ("routes", (pl.col("origin_asn") == asn) | path),
                ("traffic", pl.col("remote_asn") == asn),  # last: it is by far the longest
            )
        )

    def name_of(self, asn: int) -> str:
        """What the tables call a network; empty where none does (from a thread)."""
        for table in ("asns", "peeringdb_net"):
            rows = self.network.scan(table).filter(pl.col("asn") == asn).select("name")
            if names := rows.drop_nulls().head(1).collect()["name"].to_list():
                return str(names[0])
        return ""

    def period(self, asked: str) -> tuple[datetime, datetime]:
        """[start, end) of a period; empty is the default (from a thread)."""
        periods = self._known.periods
        if asked not in periods:
            periods[asked] = self.network.period(asked or None)
        return periods[asked]


def _attach(session: Any, tables: Mapping[str, ShownTable]) -> None:
    """Tables of answers, as their Parquet files have them."""
    with TemporaryDirectory(prefix="flowpeer-answer-") as folder:
        for name, table in tables.items():
            file = Path(folder, f"{name}.parquet")
            rows = table.rows.select(column.name for column in table.columns)
            if rows.width:
                rows.write_parquet(file)
                session.attach(name, file)


def _frame(table: object) -> pl.DataFrame:
    """Rows with each name once, and octets as text."""
    import pyarrow as pa

    assert isinstance(table, pa.Table)
    names: list[str] = []
    for name in table.column_names:
        unique, count = name, 1
        while unique in names:
            unique, count = f"{name}_{count}", count + 1
        names.append(unique)
    frame = pl.from_arrow(table.rename_columns(names))
    assert isinstance(frame, pl.DataFrame)
    return frame
