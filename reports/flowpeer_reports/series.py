"""Slots of sets of routes: bytes by link and slot of whatever cells a row stands for (METHODS M8).

A slot's traffic of a network on an interface goes to a set by the share of that network's bytes on
that interface in that hour which is the set's: exact for whole networks, else *hour-shaped*.
Networks that are kept by the hour only take the shape of their interface's folded traffic.

Networks that are in the same sets with all their routes are one **node**, so the traffic is read
once and split once, however many sets overlap; a set's series is the sum of its nodes. What was
split is held by metro, in a store that the caller may keep on disk.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import polars as pl

from flowpeer_core.asns import FOLDED
from flowpeer_core.slots import SLOT_SECONDS
from flowpeer_reports.inputs import Inputs, transit
from flowpeer_reports.offload import Cover
from flowpeer_reports.ranking import Cells
from flowpeer_reports.relations import Ints

Reals = npt.NDArray[np.float64]
WAYS = ("out", "in")
_LINK = ["metro", "exporter", "interface", "direction"]
_ENTRY = [("node", np.int32), ("at", np.int32), ("bytes", np.int64), ("variance", np.float32)]
"""`at` = link × slots + slot; `packets` comes on top where asked for."""


class Store(Protocol):
    """Where entries wait, by metro."""

    def put(self, metro: int, entries: npt.NDArray[Any]) -> None:
        """Add entries of a metro."""

    def get(self, metro: int) -> npt.NDArray[Any]:
        """All entries of a metro, in the order in which they were put."""


class MemoryStore:
    """A store in memory."""

    def __init__(self) -> None:
        self._parts: dict[int, list[npt.NDArray[Any]]] = {}

    def put(self, metro: int, entries: npt.NDArray[Any]) -> None:
        """See `Store`."""
        self._parts.setdefault(metro, []).append(entries)

    def get(self, metro: int) -> npt.NDArray[Any]:
        """See `Store`."""
        parts = self._parts.get(metro, [])
        if len(parts) > 1:
            parts[:] = [np.concatenate(parts)]
        return parts[0] if parts else np.empty(0, [*_ENTRY, ("packets", np.int64)])


@dataclass(frozen=True, slots=True)
class Link:
    """A transit interface of a metro in one direction."""

    exporter: str
    interface: int
    provider_asn: int | None
    direction: str


@dataclass(frozen=True, slots=True)
class SetSeries:
    """One set in one metro: `octets[i]`, `packets[i]` and `variance[i]` are the slots of
    `links[i]`."""

    links: tuple[Link, ...]
    octets: Ints
    packets: Ints
    """Zeros where packets were not asked for."""
    variance: Reals
    shaped: bool
    """Some of it has the shape of the hours or of folded traffic, not of its own slots."""

    def total(self) -> Ints:
        """Bytes by slot over all links."""
        total: Ints = self.octets.sum(axis=0)
        return total


@dataclass(frozen=True, slots=True)
class _Entries:
    """Entries of a metro by column, in the order of their nodes: those of node n are
    `first[n]:first[n + 1]`."""

    first: Ints
    at: npt.NDArray[np.int32]
    bytes: Ints
    variance: npt.NDArray[np.float32]
    packets: Ints | None

    @classmethod
    def of(cls, entries: npt.NDArray[Any]) -> _Entries:
        """From what a store gives."""
        order = np.argsort(entries["node"], kind="stable")
        nodes = entries["node"][order]
        size = int(nodes[-1]) + 2 if len(nodes) else 1
        with_packets = "packets" in (entries.dtype.names or ())
        return cls(
            np.searchsorted(nodes, np.arange(size)), entries["at"][order], entries["bytes"][order],
            entries["variance"][order], entries["packets"][order] if with_packets else None,
        )  # fmt: skip

    @property
    def size(self) -> int:
        """How many entries."""
        return len(self.at)


MOST_METROS = 1 << 16
KEPT = 4_000_000
"""Entries that are kept of metros asked for before: lists over several ask for each again."""


class Series:
    """The slots of many sets, from one reading of the traffic.

    Name the sets with `want`, then `load`, then ask with `get`, best metro by metro.
    """

    def __init__(
        self,
        inputs: Inputs,
        found: Cover,
        cells: Cells,
        flows: pl.DataFrame,
        store: Store,
        *,
        span: tuple[datetime, datetime] | None = None,
        packets: bool = False,
        since: pl.DataFrame | None = None,
    ) -> None:
        """
        Args:
            since: routes whose slots count from a time on (`live_since.SINCE`).
            span: the slots wanted, where they are more than the period's: a contract's month begins
                at another hour. The routes of a set are those of the period.
            packets: hold packets too.
        """
        start, end = span or (inputs.period_start, inputs.period_end)
        start, end = min(start, inputs.period_start), max(end, inputs.period_end)
        self.start = start.astimezone(UTC)
        before = int((inputs.period_start - start).total_seconds()) // SLOT_SECONDS
        self.inside = slice(before, before + inputs.period_slots)
        """The slots of the period among those held."""
        inputs = replace(inputs, period_start=start, period_end=end)
        self._inputs, self._cover, self._cells, self._store = inputs, found, cells, store
        self.slots = inputs.period_slots
        self._packets = packets
        self._entry = np.dtype([*_ENTRY, ("packets", np.int64)] if packets else _ENTRY)
        self._keys: dict[tuple[Hashable, str], int] = {}
        self._wanted: list[tuple[Ints, str]] = []
        links = flows.select(*_LINK, "provider_asn").unique(_LINK).sort(_LINK)
        number = {m: i for i, m in enumerate(cells.metros)}
        links = links.filter(pl.col("metro").is_in(list(number))).with_columns(
            place=pl.int_range(pl.len()).over("metro").cast(pl.Int32),
            number=pl.col("metro").replace_strict(number, return_dtype=pl.Int32),
        )
        self._links = links
        since = pl.DataFrame(schema=NEVER) if since is None else since
        self._since = since.select(
            *_UNIT, "since", number=pl.col("metro").replace_strict(
                number, default=None, return_dtype=pl.Int32)
        ).drop_nulls("number")  # fmt: skip
        self.links: list[tuple[Link, ...]] = [
            tuple(
                Link(e, i, p, d)
                for e, i, d, p in links.filter(pl.col("number") == n)
                .select("exporter", "interface", "direction", "provider_asn")
                .iter_rows()
            )
            for n in range(len(cells.metros))
        ]
        self._number, self._place = (
            links[name].cast(pl.Int64).to_numpy() for name in ("number", "place")
        )
        self._way = np.array([WAYS.index(d) for d in links["direction"]], dtype=np.int64)
        self._width = max([1, *(len(of) for of in self.links)]) * self.slots
        """Of the places of a metro's links, each with all slots."""
        self._totals = [np.zeros((len(of), self.slots), np.int64) for of in self.links]
        self._held: dict[int, _Entries] = {}

    def want(self, key: Hashable, cells: Ints, direction: str) -> None:
        """Name a set: the traffic of these cells (places in `Cells`) in one direction."""
        self._keys[key, direction] = len(self._wanted)
        self._wanted.append((cells, direction))

    def wanted(self, key: Hashable) -> bool:
        """Whether a set of that name was asked for, in any direction."""
        return any((key, way) in self._keys for way in WAYS)

    def load(self) -> None:
        """Read the traffic of the period, a day at a time."""
        self._plan()
        for day in _days(self._inputs):
            self._day(day)

    def totals(self, metro: int) -> Ints:
        """Slots of each of `links`: all of its scaled traffic, whoever it is of or for."""
        return self._totals[metro]

    def get(self, key: Hashable, direction: str, metro: int) -> SetSeries:
        """The slots of one set in one metro."""
        links = self.links[metro]
        label = self._keys[key, direction]
        nodes = self._nodes_of.get((metro, label), _NONE)
        held = self._of(metro)
        octets = np.zeros(len(links) * self.slots, dtype=np.int64)
        packets, variance = octets.copy(), np.zeros(len(links) * self.slots)
        nodes = nodes[nodes < len(held.first) - 1]
        first, last = held.first[nodes], held.first[nodes + 1]
        entry = _ranges(first, last)
        at = held.at[entry]
        np.add.at(octets, at, held.bytes[entry])
        np.add.at(variance, at, held.variance[entry])
        if held.packets is not None:
            np.add.at(packets, at, held.packets[entry])
        shaped = bool(((last > first) & (nodes >= self._signatures)).any())
        return SetSeries(
            links,
            octets.reshape(len(links), self.slots),
            packets.reshape(len(links), self.slots),
            variance.reshape(len(links), self.slots),
            shaped,
        )

    def _of(self, metro: int) -> _Entries:
        held = self._held.pop(metro, None)
        if held is None:
            held = _Entries.of(self._store.get(metro))
            while self._held and held.size + sum(h.size for h in self._held.values()) > KEPT:
                del self._held[next(iter(self._held))]
        self._held[metro] = held  # the latest last
        return held

    def _plan(self) -> None:
        """Nodes: what is whole goes by its signature, what is split by its label."""
        cells = self._cells
        metro = cells.metro_of()
        origin = self._cover.origins[cells.atom]
        label = np.concatenate(
            [_NONE, *(np.full(len(c), n) for n, (c, _) in enumerate(self._wanted))]
        )
        cell = np.concatenate([_NONE, *(c for c, _ in self._wanted)])
        way = np.array([WAYS.index(d) for _, d in self._wanted], dtype=np.int64)[label]
        pairs = pl.DataFrame(
            {"number": metro[cell], "way": way, "origin_asn": origin[cell], "label": label,
             "cell": cell}
        )  # fmt: skip
        pairs = pairs.filter(pl.col("origin_asn") > 0)
        sizes = (
            pl.DataFrame({"number": metro, "origin_asn": origin, "out": cells.out, "in": cells.in_})
            .unpivot(["out", "in"], index=["number", "origin_asn"], variable_name="direction")
            .filter(pl.col("value") > 0)
            .with_columns(
                way=pl.col("direction").replace_strict({"out": 0, "in": 1}, return_dtype=pl.Int64)
            )
            .group_by("number", "way", "origin_asn")
            .agg(size=pl.len())
        )  # fmt: skip
        carried = np.stack([cells.out, cells.in_])
        pairs = pairs.filter(
            pl.Series(carried[pairs["way"].to_numpy(), pairs["cell"].to_numpy()] > 0)
        )
        held = pairs.group_by("number", "way", "origin_asn", "label").agg(
            here=pl.len(), cell=pl.col("cell")
        )
        held = held.join(sizes, on=["number", "way", "origin_asn"])
        whole = (
            held.filter(pl.col("here") == pl.col("size"))
            .group_by("number", "way", "origin_asn")
            .agg(labels=pl.col("label").sort())
        )
        kinds = (
            whole.select("number", "labels").unique(maintain_order=False).sort("number", "labels")
        )
        kinds = kinds.with_row_index("node").with_columns(pl.col("node").cast(pl.Int32))
        self._signatures = kinds.height
        self._whole = whole.join(kinds, on=["number", "labels"]).select(
            "node", group=_group(pl.col("number"), pl.col("way"), pl.col("origin_asn"))
        )
        self._nodes = kinds.height + len(self._wanted)
        self._base = self._number * self._nodes * self._width + self._place * self.slots
        """An entry is one number, which sorts as metro, node, place and slot do."""
        split = held.filter(pl.col("here") < pl.col("size")).explode("cell")
        split = split.with_columns(
            atom=pl.Series("atom", cells.atom[split["cell"].to_numpy()].astype(np.int32))
        )
        self._split = split.join(self._cover.units.drop("origin_asn"), on="atom").select(
            pl.col("number").cast(pl.Int32),
            pl.col("way").cast(pl.Int8),
            pl.col("origin_asn").alias("remote_asn"),
            "prefix",
            node=(pl.col("label") + self._signatures).cast(pl.Int32),
        )
        nodes: dict[tuple[int, int], list[int]] = {}
        for node, number, labels in kinds.select("node", "number", "labels").iter_rows():
            for one in labels:
                nodes.setdefault((number, one), []).append(node)
        # Also where it is whole: a part of it may be kept by the hour.
        for number, one in pairs.select("number", "label").unique().iter_rows():
            nodes.setdefault((number, one), []).append(self._signatures + one)
        self._nodes_of = {k: np.array(sorted(v), dtype=np.int64) for k, v in nodes.items()}

    def _day(self, day: datetime) -> None:
        ways = sorted({WAYS.index(d) for _, d in self._wanted})
        rows = self._linked(
            self._inputs.traffic, "slot", day,
            "remote_asn", "bytes", "variance_high", "packets",
            slot=((pl.col("slot") - self.start).dt.total_seconds() // SLOT_SECONDS).cast(pl.Int64),
            hour=_hour_of("slot", day),
        )  # fmt: skip
        every = rows.group_by("link", "slot").agg(pl.col("bytes").sum())
        for link, slot, octets in every.iter_rows():
            self._totals[self._number[link]][self._place[link], slot] += octets
        rows = rows.filter(
            (pl.col("remote_asn") > 0) | (pl.col("remote_asn") == FOLDED),
            pl.Series(np.isin(self._way[rows["link"].to_numpy()], ways)),
        )
        rows = self._from_since(day, rows)
        link = rows["link"].to_numpy()
        rows = rows.with_columns(base=pl.Series(self._base[link]))
        entry = pl.col("base") + pl.col("node") * self._width + pl.col("slot")
        number, way = pl.Series(self._number[link]), pl.Series(self._way[link])
        parts = [
            rows.lazy()
            .with_columns(group=_group(number, way, pl.col("remote_asn")))
            .join(self._whole.lazy(), on="group")
            .select("bytes", "packets", entry=entry, variance="variance_high")
        ]
        shares = self._shares(day, rows)
        if shares is not None:
            parts.append(
                rows.lazy()
                .with_columns(part=self._part())
                .join(shares.lazy(), on="part")
                # Rounded before summing: a sum of integers does not depend on its order.
                .select(
                    entry=entry,
                    bytes=(pl.col("bytes") * pl.col("share")).round().cast(pl.Int64),
                    packets=(pl.col("packets") * pl.col("share")).round().cast(pl.Int64),
                    variance=pl.col("variance_high") * pl.col("share"),
                )
            )
        summed = (
            pl.concat(parts, how="diagonal")
            .group_by("entry")
            .agg(pl.col("bytes", "packets", "variance").sum())
            .sort("entry")
            .collect()
        )
        node, at = np.divmod(summed["entry"].to_numpy(), self._width)
        metros, node = np.divmod(node, self._nodes)
        entries = np.empty(summed.height, self._entry)
        entries["node"], entries["at"] = node, at
        for name in self._entry.names[2:] if self._entry.names else ():
            entries[name] = summed[name].to_numpy()
        edges = np.searchsorted(metros, np.arange(len(self._cells.metros) + 1))
        for metro, (begin, end) in enumerate(pairwise(edges.tolist())):
            if end > begin:
                self._store.put(metro, entries[begin:end])

    def _linked(
        self, frame: pl.LazyFrame, time: str, day: datetime, *columns: str, **made: pl.Expr
    ) -> pl.DataFrame:
        """The scaled rows of a day on `_links`, each with its `link`, a row of those.

        Rows of one link stand together in long runs: a link is looked up once a run.
        """
        rows = (
            _on(transit(frame, self._inputs, time), time, day)
            .filter(pl.col("scaled"))
            .with_columns(
                run=pl.any_horizontal(pl.col(c).ne_missing(pl.col(c).shift(1)) for c in _LINK)
            )
            .select(*_LINK, "run", *columns, **made)
            .collect()
        )
        begins = rows["run"].to_numpy().copy()
        begins[:1] = True
        first = np.flatnonzero(begins)
        links = self._links.select(*_LINK).with_row_index("link")
        link = (rows[first].select(_LINK).join(links, on=_LINK, how="left", maintain_order="left"))[
            "link"
        ].cast(pl.Int64)
        lengths = np.diff(first, append=rows.height)
        rows = rows.drop(*_LINK, "run").with_columns(
            link=pl.Series(np.repeat(link.fill_null(-1).to_numpy(), lengths))
        )
        return rows.filter(pl.col("link") >= 0) if link.null_count() else rows

    def _part(self) -> pl.Expr:
        """Hour of the day, link and network (`FOLDED` too) in one number."""
        asn = pl.col("remote_asn") - FOLDED
        return (asn * self._links.height + pl.col("link")) * 24 + pl.col("hour")

    def _from_since(self, day: datetime, rows: pl.DataFrame) -> pl.DataFrame:
        """Slots without routes before their session came up: by their shares of the hour."""
        if not (self._since["since"] > day).any():
            return rows
        routes = _with_folded(self._inputs.traffic_routes).filter(
            pl.col("folded") | pl.col("origin_asn").is_in(self._since["origin_asn"].implode())
        )
        early = (pl.col("hour_start") < pl.col("since")).fill_null(False)
        linked = self._linked(
            routes, "hour_start", day, "hour_start", "prefix", "origin_asn", "bytes",
            hour=_hour_of("hour_start", day), remote_asn=_CODE,
        )  # fmt: skip
        kept = (
            linked.lazy()
            .with_columns(number=pl.Series(self._number[linked["link"].to_numpy()]).cast(pl.Int32))
            .join(self._since.lazy(), on=["number", *_UNIT], how="left", nulls_equal=True)
            .group_by("hour", "link", "remote_asn")
            .agg(
                left=pl.col("bytes").filter(~early).sum(), whole=pl.col("bytes").sum(),
            )
            .filter(pl.col("left") < pl.col("whole"))
            .select("hour", "link", "remote_asn", kept=pl.col("left") / pl.col("whole"))
            .collect()
        )  # fmt: skip
        kept_of = pl.col("kept").fill_null(1.0)
        return (
            rows.join(kept, on=["hour", "link", "remote_asn"], how="left")
            .with_columns(
                *((pl.col(c) * kept_of).round().cast(pl.Int64) for c in ("bytes", "packets")),
                variance_high=pl.col("variance_high") * kept_of,
            )
            .filter(pl.col("kept").is_null() | (pl.col("kept") > 0))
            .drop("kept")
        )

    def _shares(self, day: datetime, rows: pl.DataFrame) -> pl.DataFrame | None:
        """part, node, share: of networks that are split, and of what is kept by the hour only
        (`remote_asn` is then the code of folded traffic)."""
        routes = _with_folded(self._inputs.traffic_routes)
        has_folded = bool((rows["remote_asn"] == FOLDED).any())
        if not self._split.height and not has_folded:
            return None
        if not has_folded:
            routes = routes.filter(
                pl.col("origin_asn").is_in(self._split["remote_asn"].unique().implode())
            ).with_columns(folded=pl.lit(False))
        linked = self._linked(
            routes, "hour_start", day, "hour_start", "prefix", "origin_asn", "bytes", "folded",
            hour=_hour_of("hour_start", day), remote_asn=_CODE,
        )  # fmt: skip
        link = linked["link"].to_numpy()
        by_route = linked.lazy().with_columns(
            part=self._part(),
            number=pl.Series(self._number[link]).cast(pl.Int32),
            way=pl.Series(self._way[link]).cast(pl.Int8),
        )
        if self._since.height:
            by_route = by_route.join(
                self._since.lazy(), on=["number", *_UNIT], how="left", nulls_equal=True
            ).filter((pl.col("hour_start") >= pl.col("since")).fill_null(True))
        by_route = by_route.collect().lazy()
        whole = by_route.group_by("part").agg(all=pl.col("bytes").sum())
        split = by_route.join(
            self._split.lazy(),
            left_on=["number", "way", "origin_asn", "prefix"],
            right_on=["number", "way", "remote_asn", "prefix"],
        ).select("part", "node", "bytes")
        folded = by_route.filter("folded")
        complete = (
            folded.with_columns(group=_group(pl.col("number"), pl.col("way"), pl.col("origin_asn")))
            .join(self._whole.lazy(), on="group")
            .select("part", "node", "bytes")
        )
        shares: pl.DataFrame = (
            pl.concat([split, complete])
            .group_by("part", "node")
            .agg(pl.col("bytes").sum())
            .filter(pl.col("bytes") > 0)
            .join(whole, on="part")
            .select("part", "node", share=pl.col("bytes") / pl.col("all"))
            .collect()
        )
        return shares


_NONE = np.zeros(0, dtype=np.int64)
_UNIT = ["prefix", "origin_asn"]
_CODE = pl.when(pl.col("folded")).then(FOLDED).otherwise(pl.col("origin_asn"))
NEVER = pl.Schema([
    ("metro", pl.String()), ("prefix", pl.String()), ("origin_asn", pl.Int64()),
    ("since", pl.Datetime("us", "UTC")),
])  # fmt: skip


def _group(number: Any, way: Any, asn: Any) -> Any:
    """Metro, direction and network in one number."""
    return (asn * 2 + way) * MOST_METROS + number


def _hour_of(time: str, day: datetime) -> pl.Expr:
    """The hour of a day that a time is in."""
    return ((pl.col(time) - day).dt.total_seconds() // 3600).cast(pl.Int64)


def _ranges(first: Ints, last: Ints) -> Ints:
    """The numbers of several runs, one run after the other."""
    sizes = last - first
    begin = np.repeat(first - np.cumsum(sizes) + sizes, sizes)
    made: Ints = begin + np.arange(len(begin))
    return made


def _with_folded(routes: pl.LazyFrame) -> pl.LazyFrame:
    if "folded" in routes.collect_schema():
        return routes
    return routes.with_columns(folded=pl.lit(False))


def _days(inputs: Inputs) -> Iterator[datetime]:
    """The UTC days of the period; a quarter at once would not fit into memory."""
    day = inputs.period_start.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    while day < inputs.period_end:
        yield day
        day += timedelta(days=1)


def _on(frame: pl.LazyFrame, time: str, day: datetime) -> pl.LazyFrame:
    if "date" in frame.collect_schema():  # of the files' folders: others are not opened
        frame = frame.filter(pl.col("date") == day.date())
    return frame.filter(pl.col(time) >= day, pl.col(time) < day + timedelta(days=1))
