"""The transit traffic that lists are made over, and who could carry it.

A **link** is a transit interface with the provider behind it, in one direction; a **unit** a route
with its origin. Their sums are held by metro, on disk where the caller says so: no more than some
hours of all metros, or the period of one, is in memory at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from flowpeer_reports.hour_batches import hour_batches
from flowpeer_reports.inputs import Inputs, transit
from flowpeer_reports.offload import Cover
from flowpeer_reports.parties import Parties
from flowpeer_reports.relations import AsGraph
from flowpeer_reports.store import Store, Stores

ROUTES_AT_ONCE = 5_000_000
"""Rows that are grouped together: the more, the fewer sums are left."""
LINK = ["metro", "exporter", "interface", "provider_asn", "direction"]
UNIT = ["prefix", "origin_asn"]
SUMS = ["bytes", "variance_high", "folded"]
_SUM = np.dtype([("link", np.int32), ("unit", np.int32), ("bytes", np.int64),
                 ("variance_high", np.float64), ("folded", np.int64)])  # fmt: skip
_NAMES = ["link", "unit", *SUMS]
_FLOW = np.dtype([("atom" if n == "unit" else n, _SUM[n]) for n in _NAMES])


@dataclass(frozen=True, slots=True)
class Routes:
    """The transit traffic of a period by link and unit, unscaled bytes too."""

    links: pl.DataFrame
    """link (their position), metro, exporter, interface, provider_asn, direction, scaled."""
    units: pl.DataFrame
    """unit (their position), prefix, origin_asn."""
    metros: list[str]
    """Those with traffic."""
    store: Store
    """By the position of the metro: each link and unit once."""

    def sums(self, metro: str) -> pl.DataFrame:
        """link, unit, bytes, variance_high and folded (bytes that are kept by the hour only)."""
        held = self.store.get(self.metros.index(metro)) if metro in self.metros else None
        return _frame(np.empty(0, _SUM) if held is None else held)

    def of(self, metro: str) -> pl.DataFrame:
        """`sums` by what the numbers stand for."""
        return (
            self.sums(metro)
            .join(self.links, on="link")
            .join(self.units, on="unit")
            .select(*LINK, "scaled", *UNIT, *SUMS)
        )

    def octets(self, by: str) -> npt.NDArray[np.int64]:
        """Scaled bytes of all metros by `link` or `unit`; those of links are unscaled ones too."""
        found = np.zeros((self.links if by == "link" else self.units).height, dtype=np.int64)
        scaled = self.links["scaled"].to_numpy()
        for metro in self.metros:
            of = self.sums(metro)
            mine = slice(None) if by == "link" else scaled[of["link"].to_numpy()]
            np.add.at(found, of[by].to_numpy()[mine], of["bytes"].to_numpy()[mine])
        return found

    def scaled_units(self, metros: Sequence[str]) -> pl.DataFrame:
        """prefix, origin_asn: the routes with scaled bytes in these metros."""
        scaled = self.links["scaled"].to_numpy()
        seen = np.zeros(self.units.height, dtype=np.bool_)
        for metro in metros:
            of = self.sums(metro)
            seen[of["unit"].to_numpy()[scaled[of["link"].to_numpy()]]] = True
        return self.units.filter(pl.Series(seen)).select(UNIT)

    def less(self, early: pl.DataFrame, stores: Stores) -> Routes:
        """Without the sums of `early` (see `Universe`); what is all early is gone."""
        gone = (
            early.join(self.links, on=[*LINK, "scaled"], nulls_equal=True)
            .join(self.units, on=UNIT, nulls_equal=True)
            .group_by("metro", "link", "unit")
            .agg(pl.col(SUMS).sum().name.suffix("_gone"))
        )
        remaining = stores()
        for number, metro in enumerate(self.metros):
            here = gone.filter(pl.col("metro") == metro).drop("metro")
            kept = (
                self.sums(metro)
                .join(here, on=["link", "unit"], how="left", maintain_order="left")
                .with_columns(pl.col(c) - pl.col(f"{c}_gone").fill_null(0) for c in SUMS)
                .filter(pl.col("bytes_gone").is_null() | (pl.col("bytes") > 0))
            )
            remaining.put(number, _array(kept))
        return Routes(self.links, self.units, self.metros, remaining)


@dataclass(frozen=True, slots=True)
class Flows:
    """The scaled transit traffic of some metros by link and atom."""

    metros: Sequence[str]
    links: pl.DataFrame
    """link (their position), metro, exporter, interface, provider_asn, direction; in the order of
    these, metros as they were asked for."""
    folded: bool
    """Whether some of it is kept by the hour only."""
    store: Store
    """By the position of the metro."""

    def of(self, metro: str) -> pl.DataFrame:
        """link, atom, bytes, variance_high and folded (bytes kept by the hour only) of one metro,
        in the order of links and atoms."""
        held = self.store.get(self.metros.index(metro))
        return _frame(np.empty(0, _FLOW) if held is None else held)


@dataclass(frozen=True, slots=True)
class Universe:
    """The transit traffic of some metros by route, and who could carry it."""

    metros: list[str]
    routes: Routes
    """Without `early`; of all metros."""
    early: pl.DataFrame
    """metro, exporter, interface, provider_asn, direction, scaled, prefix, origin_asn, bytes,
    variance_high, folded, asn and since of what rode transit before a session for it came up: in
    no list (M14)."""
    since: pl.DataFrame
    """Those routes; see `live_since.SINCE`."""
    parties: Parties
    graph: AsGraph
    never: Mapping[int, str]
    """ASN → why it is never a candidate."""
    cover: Cover
    flows: Flows
    octets: pl.DataFrame
    """metro, direction, scaled, bytes: all the transit traffic there is, with `early`."""

    def whole(self, metro: str) -> pl.DataFrame:
        """The routes of a metro with those of `early`."""
        routes = self.routes.of(metro)
        early = self.early.filter(pl.col("metro") == metro)
        return pl.concat([routes, early.select(routes.columns)])


def gathered(inputs: Inputs, stores: Stores) -> Routes:
    """The sums of the period: of some hours at a time, then of each metro."""
    numbers = _Numbers()
    parts, count = stores(), 0
    for batch in hour_batches(
        inputs.traffic_routes, hourly(inputs), inputs, "hour_start", ROUTES_AT_ONCE
    ):
        for number, part in numbers.by_metro(_grouped(batch)):
            parts.put(number, part)
        count += 1
    found = numbers.routes(parts)
    if count < 2:
        return found
    once = stores()
    for number, metro in enumerate(found.metros):
        sums = found.sums(metro).group_by("link", "unit").agg(pl.col(SUMS).sum())
        once.put(number, _array(sums))
    return numbers.routes(once)


def hourly(inputs: Inputs) -> pl.LazyFrame:
    """The transit rows of `traffic_routes` in the period, with `folded`."""
    routes = transit(inputs.traffic_routes, inputs, "hour_start")
    if "folded" not in routes.collect_schema():
        routes = routes.with_columns(folded=pl.lit(False))
    return routes


def summed(rows: pl.LazyFrame, *more: str) -> pl.LazyFrame:
    """Rows of `hourly` by link, unit and `more`."""
    return rows.group_by(*LINK, "scaled", *UNIT, *more).agg(
        pl.col("bytes").sum(),
        pl.col("variance_high").sum(),
        folded=pl.col("bytes").filter(pl.col("folded")).sum(),
    )


def flows_of(routes: Routes, metros: Sequence[str], units: pl.DataFrame, stores: Stores) -> Flows:
    """The scaled traffic by link and atom; `units`: prefix, origin_asn, atom."""
    atoms = routes.units.join(units, on=UNIT, how="left", nulls_equal=True, maintain_order="left")
    atom = atoms["atom"].fill_null(-1).to_numpy()
    place = pl.DataFrame({"metro": metros}, schema={"metro": pl.String}).with_row_index("place")
    links = (
        routes.links.filter("scaled")
        .join(place, on="metro")
        .sort("place", *LINK)
        .select(was="link", link=pl.int_range(pl.len(), dtype=pl.Int32), **{c: c for c in LINK})
    )
    folded, store = False, stores()
    for number, sums in enumerate(map(routes.sums, metros)):
        rows = (
            sums.with_columns(atom=pl.Series(atom[sums["unit"].to_numpy()]))
            .join(links.select("was", number="link"), left_on="link", right_on="was")
            .group_by(link="number", atom="atom")
            .agg(pl.col(SUMS).sum())
            .sort("link", "atom")
        )
        folded |= bool(rows["folded"].sum())
        store.put(number, _array(rows, _FLOW))
    return Flows(metros, links.drop("was"), folded, store)


class _Numbers:
    """Numbers links, units and metros as they come."""

    def __init__(self) -> None:
        self._links: dict[tuple[Any, ...], int] = {}
        self._metros: dict[str, int] = {}
        self._schema = pl.Schema({c: pl.String() for c in (*LINK, "scaled")})
        self._units = pl.DataFrame(
            schema={"prefix": pl.Categorical, "origin_asn": pl.Int64, "unit": pl.Int32}
        )

    def by_metro(self, sums: pl.DataFrame) -> Iterator[tuple[int, npt.NDArray[Any]]]:
        """The number of each metro in rows of `_grouped`, and its sums."""
        key = [*LINK, "scaled"]
        links = sums.select(key).unique()
        named = links.with_columns(pl.col("metro", "exporter", "direction").cast(pl.String))
        self._schema = named.schema
        number = [self._links.setdefault(row, len(self._links)) for row in named.iter_rows()]
        links = links.with_columns(link=pl.Series(number, dtype=pl.Int32))
        new = sums.select(UNIT).unique().join(self._units, on=UNIT, how="anti", nulls_equal=True)
        first = self._units.height
        new = new.with_columns(unit=pl.int_range(first, first + new.height, dtype=pl.Int32))
        self._units = pl.concat([self._units, new])
        numbered = (
            sums.join(links, on=key, nulls_equal=True)
            .join(self._units, on=UNIT, nulls_equal=True)
            .select(pl.col("metro").cast(pl.String), *_NAMES)
        )
        for (metro,), of in numbered.partition_by("metro", as_dict=True, include_key=False).items():
            yield self._metros.setdefault(str(metro), len(self._metros)), _array(of)

    def routes(self, store: Store) -> Routes:
        """What was numbered, with its sums."""
        links = pl.DataFrame(list(self._links), orient="row", schema=self._schema)
        links = links.select(pl.int_range(pl.len(), dtype=pl.Int32).alias("link"), pl.all())
        units = self._units.select("unit", pl.col("prefix").cast(pl.String), "origin_asn")
        return Routes(links, units, list(self._metros), store)


def _grouped(rows: pl.LazyFrame) -> pl.DataFrame:
    """`summed`, with texts as categories, which take less room and time to group by."""
    key = (*LINK, *UNIT)
    texts = [n for n, k in rows.collect_schema().items() if k == pl.String and n in key]
    return summed(rows.with_columns(pl.col(texts).cast(pl.Categorical))).collect()


def _array(sums: pl.DataFrame, of: np.dtype[Any] = _SUM) -> npt.NDArray[Any]:
    made = np.empty(sums.height, of)
    for name in of.names or ():
        made[name] = sums[name].to_numpy()
    return made


def _frame(sums: npt.NDArray[Any]) -> pl.DataFrame:
    return pl.DataFrame({n: np.ascontiguousarray(sums[n]) for n in sums.dtype.names or ()})
