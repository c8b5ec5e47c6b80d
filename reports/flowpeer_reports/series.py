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
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from flowpeer_core.asns import FOLDED
from flowpeer_core.slots import HOUR, SLOT_SECONDS
from flowpeer_reports.hour_batches import ROWS_AT_ONCE, between, hours_at_once
from flowpeer_reports.inputs import Inputs, transit
from flowpeer_reports.offload import Cover
from flowpeer_reports.ranking import Cells
from flowpeer_reports.relations import Ints, Positions, Reals
from flowpeer_reports.store import Store

WAYS = ("out", "in")
_LINK = ["metro", "exporter", "interface", "direction"]
_ENTRY = [("node", np.int32), ("at", np.int32), ("bytes", np.int64), ("variance", np.float32)]
"""`at` = link × slots + slot; `packets` comes on top where asked for."""


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
        links: pl.DataFrame,
        store: Store,
        *,
        span: tuple[datetime, datetime] | None = None,
        packets: bool = False,
        since: pl.DataFrame | None = None,
    ) -> None:
        """
        Args:
            links: metro, exporter, interface, provider_asn, direction; `Flows.links`.
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
        self._period = inputs.period_start.astimezone(UTC), inputs.period_end.astimezone(UTC)
        inputs = replace(inputs, period_start=start, period_end=end)
        self._inputs, self._cover, self._cells, self._store = inputs, found, cells, store
        self.slots = inputs.period_slots
        self._packets = packets
        self._entry = np.dtype([*_ENTRY, ("packets", np.int64)] if packets else _ENTRY)
        self._keys: dict[tuple[Hashable, str], int] = {}
        self._wanted: list[tuple[npt.NDArray[np.int32], str]] = []
        links = links.select(*_LINK, "provider_asn").unique(_LINK).sort(_LINK)
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
        self._unrouted: dict[tuple[str, str], int] = {}
        self._held: dict[int, _Entries] = {}

    def want(self, key: Hashable, cells: Positions, direction: str) -> None:
        """Name a set: the traffic of these cells (places in `Cells`) in one direction."""
        self._keys[key, direction] = len(self._wanted)
        self._wanted.append((cells.astype(np.int32), direction))

    def wanted(self, key: Hashable) -> bool:
        """Whether a set of that name was asked for, in any direction."""
        return any((key, way) in self._keys for way in WAYS)

    def load(self) -> None:
        """Read the traffic of the period, a day or some hours at a time."""
        if not self._cells.metros:
            return  # no transit at all
        self._plan()
        table, end = self._inputs.traffic, self._inputs.period_end
        batch = min(24, hours_at_once(table, -(-(end - self.start) // HOUR), ROWS_AT_ONCE))
        batch = -(-24 // -(-24 // batch))  # batches of a day are alike
        for day in _days(self._inputs):
            for hour in range(0, 24, batch):
                self._hours(day, hour, min(hour + batch, 24))

    def carried(self) -> dict[tuple[str, str], int]:
        """Metro and direction → scaled bytes of the period, on links without routes too."""
        found = dict(self._unrouted)
        for metro, links, totals in zip(self._cells.metros, self.links, self._totals, strict=True):
            octets = totals[:, self.inside].sum(axis=1)
            for link, of in zip(links, octets.tolist(), strict=True):
                way = metro, link.direction
                found[way] = found.get(way, 0) + of
        return found

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
            stored = self._store.get(metro)
            held = _Entries.of(np.empty(0, self._entry) if stored is None else stored)
            while self._held and held.size + sum(h.size for h in self._held.values()) > KEPT:
                del self._held[next(iter(self._held))]
        self._held[metro] = held  # the latest last
        return held

    def _plan(self) -> None:
        """Nodes: what is whole goes by its signature, what is split by its label."""
        cells, found = self._cells, self._cover
        label = np.repeat(
            np.arange(len(self._wanted), dtype=np.int32), [len(c) for c, _ in self._wanted]
        )
        cell = np.concatenate([_NONE.astype(np.int32), *(c for c, _ in self._wanted)])
        order = np.argsort(cell, kind="stable")
        label, cell = label[order], cell[order]
        ways = np.array([WAYS.index(d) for _, d in self._wanted], dtype=np.int64)
        bounds = np.searchsorted(cell, cells.first)
        self._origins = np.unique(found.origins[found.origins > 0])
        # By metro and way, then by origin: its node where all of it is in the same sets.
        self._whole = np.full((len(cells.metros) * 2, len(self._origins)), -1, dtype=np.int32)
        self._signatures, split = 0, []
        self._nodes_of: dict[tuple[int, int], Ints] = {}
        for number, (begin, end) in enumerate(pairwise(bounds.tolist())):
            split.append(
                self._plan_metro(number, ways, label[begin:end], cell[begin:end].astype(np.int64))
            )
        self._nodes = self._signatures + len(self._wanted)
        self._base = self._number * self._nodes * self._width + self._place * self.slots
        """An entry is one number, which sorts as metro, node, place and slot do."""
        self._split = (
            pl.concat(split)
            .with_columns(node=pl.col("label") + pl.lit(self._signatures, pl.Int32))
            .join(found.units.drop("origin_asn"), on="atom")
            .select("number", "way", "remote_asn", "prefix", "node")
        )
        # Also where it is whole: a part of it may be kept by the hour.
        for (number, one), nodes in self._nodes_of.items():
            self._nodes_of[number, one] = np.append(nodes, self._signatures + one)

    def _plan_metro(self, number: int, ways: Ints, label: Positions, cell: Ints) -> pl.DataFrame:
        """Nodes of one metro; what is split: number, way, remote_asn, atom, label."""
        cells, origins = self._cells, self._cover.origins
        here = cells.of(number)
        carried = np.stack([cells.out[here], cells.in_[here]]) > 0
        of_cell = origins[cells.atom[here]]
        sizes = pl.concat(
            pl.DataFrame({"origin_asn": of_cell[some]}).group_by("origin_asn")
            .agg(size=pl.len()).with_columns(way=pl.lit(way, pl.Int64))
            for way, some in enumerate(carried)
        )  # fmt: skip
        cell = cell - here.start
        pairs = pl.DataFrame(
            {"way": ways[label], "origin_asn": of_cell[cell], "label": label,
             "atom": cells.atom[here][cell]}
        ).filter(
            pl.col("origin_asn") > 0, pl.Series(carried[ways[label], cell], dtype=pl.Boolean)
        )  # fmt: skip
        held = pairs.join(
            pairs.group_by("way", "origin_asn", "label").agg(here=pl.len())
            .join(sizes, on=["way", "origin_asn"])
            .select("way", "origin_asn", "label", whole=pl.col("here") == pl.col("size")),
            on=["way", "origin_asn", "label"],
        )  # fmt: skip
        whole = (
            held.filter("whole").unique(["way", "origin_asn", "label"])
            .group_by("way", "origin_asn").agg(labels=pl.col("label").sort())
        )  # fmt: skip
        kinds = whole.select("labels").unique().sort("labels").with_row_index("node")
        whole = whole.join(kinds, on="labels")
        self._whole[
            number * 2 + whole["way"].to_numpy(),
            np.searchsorted(self._origins, whole["origin_asn"].to_numpy()),
        ] = whole["node"].to_numpy().astype(np.int64) + self._signatures
        nodes: dict[int, list[int]] = {one: [] for one in pairs["label"].unique().to_list()}
        for node, labels in kinds.iter_rows():
            for one in labels:
                nodes[one].append(node + self._signatures)
        for one, of in nodes.items():
            self._nodes_of[number, one] = np.array(sorted(of), dtype=np.int64)
        self._signatures += kinds.height
        return held.filter(~pl.col("whole")).select(
            pl.lit(number, pl.Int32).alias("number"), pl.col("way").cast(pl.Int8),
            pl.col("origin_asn").alias("remote_asn"), "atom", pl.col("label").cast(pl.Int32),
        )  # fmt: skip

    def _node(self, number: Ints, way: Ints, asn: Ints) -> npt.NDArray[np.int32]:
        """The node of networks that are whole in a metro and a way; −1 none."""
        place = np.searchsorted(self._origins, asn)
        place[place == len(self._origins)] = 0
        if not len(self._origins):
            return np.full(len(asn), -1, dtype=np.int32)
        found: npt.NDArray[np.int32] = self._whole[number * 2 + way, place]
        found[self._origins[place] != asn] = -1
        return found

    def _hours(self, day: datetime, first: int, last: int) -> None:
        """Read some hours of a UTC day."""
        batch = (day + first * HOUR, day + last * HOUR)
        packets = ["packets"] if self._packets else []
        rows = self._linked(
            self._inputs.traffic, "slot", batch, "remote_asn", "bytes", "variance_high", *packets,
            slot=((pl.col("slot") - self.start).dt.total_seconds() // SLOT_SECONDS).cast(pl.Int32),
            hour=_hour_of("slot", day),
        )  # fmt: skip
        if (rows["link"] < 0).any():
            self._without_routes(batch)
            rows = rows.filter(pl.col("link") >= 0)
        every = rows.group_by("link", "slot").agg(pl.col("bytes").sum())
        for link, slot, octets in every.iter_rows():
            self._totals[self._number[link]][self._place[link], slot] += octets
        ways = sorted({WAYS.index(d) for _, d in self._wanted})
        rows = rows.filter(
            (pl.col("remote_asn") > 0) | (pl.col("remote_asn") == FOLDED),
            pl.Series(np.isin(self._way[rows["link"].to_numpy()], ways)),
        )
        rows = self._from_since(day, batch, rows)
        link = rows["link"].to_numpy()
        node = self._node(self._number[link], self._way[link], rows["remote_asn"].to_numpy())
        rows = rows.with_columns(base=pl.Series(self._base[link]) + pl.col("slot"))
        entry = pl.col("base") + pl.col("node").cast(pl.Int64) * self._width
        parts = [
            rows.lazy().with_columns(node=pl.Series(node)).filter(pl.col("node") >= 0)
            .select("bytes", *packets, entry=entry, variance="variance_high")
        ]  # fmt: skip
        shares = self._shares(day, batch, rows)
        if shares is not None:
            parts.append(
                rows.lazy()
                .with_columns(part=self._part())
                .join(shares.lazy(), on="part")
                # Rounded before summing: a sum of integers does not depend on its order.
                .select(
                    *((pl.col(c) * pl.col("share")).round().cast(pl.Int64)
                      for c in ("bytes", *packets)),
                    entry=entry,
                    variance=pl.col("variance_high") * pl.col("share"),
                )
            )  # fmt: skip
        summed = (
            pl.concat(parts, how="diagonal")
            .group_by("entry")
            .agg(pl.col("bytes", *packets, "variance").sum())
            .sort("entry")
            .collect()
        )
        number, at = np.divmod(summed["entry"].to_numpy(), self._width)
        metros, number = np.divmod(number, self._nodes)
        entries = np.empty(summed.height, self._entry)
        entries["node"], entries["at"] = number, at
        for name in self._entry.names[2:] if self._entry.names else ():
            entries[name] = summed[name].to_numpy()
        edges = np.searchsorted(metros, np.arange(len(self._cells.metros) + 1))
        for metro, (begin, end) in enumerate(pairwise(edges.tolist())):
            if end > begin:
                self._store.put(metro, entries[begin:end])

    def _linked(
        self, frame: pl.LazyFrame, time: str, batch: tuple[datetime, datetime], *columns: str,
        **made: pl.Expr,
    ) -> pl.DataFrame:  # fmt: skip
        """The scaled rows of some hours, each with its `link`, a row of `_links`, or −1.

        Rows of one link stand together in long runs: a link is looked up once a run.
        """
        rows = (
            between(transit(frame, self._inputs, time), time, *batch)
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
        ].cast(pl.Int32)
        lengths = np.diff(first, append=rows.height)
        return rows.drop(*_LINK, "run").with_columns(
            link=pl.Series(np.repeat(link.fill_null(-1).to_numpy(), lengths))
        )

    def _without_routes(self, batch: tuple[datetime, datetime]) -> None:
        """Count what is on no link that routes are of."""
        start, end = self._period
        rows = between(
            transit(self._inputs.traffic, self._inputs, "slot"),
            "slot", max(batch[0], start), min(batch[1], end),
        ).filter("scaled").join(self._links.lazy(), on=_LINK, how="anti")  # fmt: skip
        sums = rows.group_by("metro", "direction").agg(pl.col("bytes").sum()).collect()
        for metro, direction, octets in sums.iter_rows():
            of = self._unrouted.setdefault((metro, direction), 0)
            self._unrouted[metro, direction] = of + octets

    def _part(self) -> pl.Expr:
        """Hour of the day, link and network (`FOLDED` too) in one number."""
        asn = pl.col("remote_asn") - FOLDED
        return (asn * self._links.height + pl.col("link")) * 24 + pl.col("hour")

    def _from_since(
        self, day: datetime, batch: tuple[datetime, datetime], rows: pl.DataFrame
    ) -> pl.DataFrame:
        """Slots without routes before their session came up: by their shares of the hour."""
        if not (self._since["since"] > batch[0]).any():
            return rows
        routes = _with_folded(self._inputs.traffic_routes).filter(
            pl.col("folded") | pl.col("origin_asn").is_in(self._since["origin_asn"].implode())
        )
        early = (pl.col("hour_start") < pl.col("since")).fill_null(False)
        linked = self._linked(
            routes, "hour_start", batch, "hour_start", "prefix", "origin_asn", "bytes",
            hour=_hour_of("hour_start", day), remote_asn=_CODE,
        ).filter(pl.col("link") >= 0)  # fmt: skip
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
                *(
                    (pl.col(c) * kept_of).round().cast(pl.Int64)
                    for c in ("bytes", "packets")
                    if c in rows.columns
                ),
                variance_high=pl.col("variance_high") * kept_of,
            )
            .filter(pl.col("kept").is_null() | (pl.col("kept") > 0))
            .drop("kept")
        )

    def _shares(
        self, day: datetime, batch: tuple[datetime, datetime], rows: pl.DataFrame
    ) -> pl.DataFrame | None:
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
            routes, "hour_start", batch, "hour_start", "prefix", "origin_asn", "bytes", "folded",
            hour=_hour_of("hour_start", day), remote_asn=_CODE,
        ).filter(pl.col("link") >= 0)  # fmt: skip
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
        folded = by_route.filter("folded").collect()
        node = self._node(*(folded[c].cast(pl.Int64).fill_null(-1).to_numpy()
                            for c in ("number", "way", "origin_asn")))  # fmt: skip
        complete = (
            folded.lazy().with_columns(node=pl.Series(node, dtype=pl.Int32))
            .filter(pl.col("node") >= 0).select("part", "node", "bytes")
        )  # fmt: skip
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


def _hour_of(time: str, day: datetime) -> pl.Expr:
    """The hour of a day that a time is in."""
    return ((pl.col(time) - day).dt.total_seconds() // 3600).cast(pl.Int32)


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
