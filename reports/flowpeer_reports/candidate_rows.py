"""The rows of the candidate lists: every figure of the ranking in its column."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from flowpeer_reports.ask_log import Ask, standing
from flowpeer_reports.columns import CANDIDATES, ORGANISATIONS, PLACES, Column
from flowpeer_reports.error_bars import MTU_BYTES, interval
from flowpeer_reports.feasibility import Feasibility
from flowpeer_reports.inputs import Inputs, pdb
from flowpeer_reports.meeting import BILATERAL, EXISTS, ROUTE_SERVERS, MeetingPlace, MeetingPlaces
from flowpeer_reports.offload import DECLARED, INFERRED, OBSERVED
from flowpeer_reports.percentiles import (
    Percentile,
    counted,
    everywhere,
    percentile,
    seed_of,
)
from flowpeer_reports.ranking import Listing, Ranking, Row, bps
from flowpeer_reports.relations import Ints, Reals
from flowpeer_reports.series import Series

NAMED = 10
"""Networks that a note names; all of them stand beside the answer."""
KINDS = ((OBSERVED, "observed"), (INFERRED, "inferred"), (DECLARED, "declared"))
PEAK = 20
"""A 95th percentile is at most this many times the average of what is not negative."""


@dataclass(slots=True)
class Figures:
    """What the series of the rows say, by list and row."""

    percentiles: dict[tuple[str, int], Percentile] = field(default_factory=dict)
    """(list, number of the row) → percentile of its marginal part."""
    alone_p95: dict[tuple[str, int], float] = field(default_factory=dict)
    """The same of own and observed routes, standing alone, the larger direction; only where it
    could reach the threshold of a private interconnection."""


@dataclass(slots=True)
class CandidateFrames:
    """The lists as frames."""

    rows: pl.DataFrame
    organisations: pl.DataFrame
    places: pl.DataFrame
    estimates: dict[str, list[int]]
    notes: list[str]
    rooms: dict[tuple[str, int], float]
    """(list, number of the row) → what the exchange in between can carry, where it is limited."""


def wants(ranking: Ranking, series: Series, inputs: Inputs, places: MeetingPlaces) -> None:
    """Name the sets whose slots the lists need; rows go by (list, what, number of the row)."""
    cells = ranking.cells
    for listing in (*ranking.metros, ranking.organisations):
        for number, row in enumerate(listing.rows):
            for way in ranking.directions:
                series.want((listing.name, "marginal", number), row.cells + listing.base, way)
    for i, listing in enumerate(ranking.metros):
        base = cells.of(i).start
        for number, row in enumerate(listing.rows):
            if row.asn is None or row.rank == 0:
                continue
            if PEAK * bps(max(row.alone), listing.slots) < places.pni_from(row.asn):
                continue
            for way in ("out", "in"):
                series.want((listing.name, "alone", number), _alone(ranking, i, row) + base, way)


def _alone(ranking: Ranking, metro: int, row: Row) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Cells of the metro with what the row is observed for, whoever stands above it."""
    found, cells = ranking.cover, ranking.cells
    assert row.asn is not None
    at = int(np.searchsorted(found.asns, row.asn))
    span = found.entries(at)
    atoms = found.atom[span][found.kind[span] == OBSERVED]
    here = cells.atom[cells.of(metro)]
    return np.flatnonzero(np.isin(here, atoms))


def figures(
    inputs: Inputs, ranking: Ranking, series: Series, folded: Mapping[str, set[int]]
) -> Figures:
    """Percentiles of all rows. `folded`: list → numbers of rows with bytes kept by the hour."""
    made = Figures()
    organisations = ranking.organisations
    slots = inputs.period_slots
    sums: dict[tuple[int, str], Ints] = {}
    spread: dict[tuple[int, str], Reals] = {}
    shaped = np.zeros(len(organisations.rows), dtype=np.bool_)
    parts = []
    for i, listing in enumerate(ranking.metros):
        counts = counted(inputs, series, i, listing.name, ranking.directions)
        parts.append(counts)
        both = None
        for number, row in enumerate(listing.rows):
            key: Hashable = (listing.name, "marginal", number)
            values, variance, by_hour = counts.line(series, key, i, ranking.directions)
            made.percentiles[listing.name, number] = percentile(
                counts, values, variance, folded=number in folded.get(listing.name, ()),
                shaped=by_hour, seed=seed_of(listing.name, row.asn),
            )  # fmt: skip
            key = (listing.name, "alone", number)
            if series.wanted(key):
                both = both or counted(inputs, series, i, listing.name, ("out", "in"))
                values, variance, _ = both.line(series, key, i, ("out", "in"))
                found = percentile(both, values, np.zeros(len(values)))
                made.alone_p95[listing.name, number] = found.p95_bps or 0.0
        for number, row in enumerate(organisations.rows):
            for way in ranking.directions if i in row.metros else ():
                values, variance, by_hour = counts.line(series, ("", "marginal", number), i, (way,))
                line = sums.setdefault((number, way), np.zeros(slots, dtype=np.int64))
                noise = spread.setdefault((number, way), np.zeros(slots))
                line[counts.places] += values
                noise[counts.places] += variance
                shaped[number] |= by_hour
    if not parts:
        return made
    counts = everywhere(parts)
    for number, row in enumerate(organisations.rows):
        ways = [way for way in ranking.directions if (number, way) in sums]
        if ways:
            lines = np.stack([sums[number, way][counts.places] for way in ways])
            top = lines.argmax(axis=0)[None]
            noise = np.stack([spread[number, way][counts.places] for way in ways])
            made.percentiles["", number] = percentile(
                counts, np.take_along_axis(lines, top, 0)[0],
                np.take_along_axis(noise, top, 0)[0], folded=number in folded.get("", ()),
                shaped=bool(shaped[number]), seed=seed_of("", row.asn),
            )  # fmt: skip
    return made


def folded_rows(inputs: Inputs, ranking: Ranking) -> dict[str, set[int]]:
    """List → numbers of the rows that hold bytes kept by the hour only."""
    if not ranking.flows.folded:
        return {}
    cells = ranking.cells
    parts = []
    for number, metro in enumerate(cells.metros):
        atoms = ranking.flows.of(metro).filter(pl.col("folded") > 0)["atom"].to_numpy()
        here = cells.of(number)
        parts.append(here.start + np.flatnonzero(np.isin(cells.atom[here], atoms)))
    place = np.concatenate(parts)
    found: dict[str, set[int]] = {}
    for listing in (*ranking.metros, ranking.organisations):
        mine = place[(place >= listing.base) & (place < listing.base + len(listing.owner))]
        owner = listing.owner[mine - listing.base]
        found[listing.name] = {int(n) for n in owner[owner >= 0]}
    return found


class _Shared:
    """What every row is described by."""

    def __init__(self, inputs: Inputs, ranking: Ranking, feasibility: Feasibility) -> None:
        self.inputs, self.ranking, self.feasibility = inputs, ranking, feasibility
        self.names = inputs.names()
        self.organisations = organisation_names(inputs)
        self.extend = _peered_elsewhere(inputs, ranking)
        self.asks: dict[int, list[Ask]] = {}
        for ask in inputs.asks:
            self.asks.setdefault(ask.asn, []).append(ask)
        self.sampling: dict[tuple[str, int | None], tuple[float, int]] = {
            (exporter, interface): (rate, mtu)
            for exporter, interface, rate, mtu in inputs.sampling.select(
                "exporter", "interface", "rate", "mtu"
            ).iter_rows()
        }

    def error(
        self, row: Row, by_interface: Mapping[tuple[str, int], int], slots: int
    ) -> dict[str, float]:
        """The interval of the marginal part."""
        if not row.marginal:
            return dict.fromkeys(("ci95_bps", "ci95_low_bps", "ci95_high_bps"), 0.0)
        inputs, default = self.inputs, (float(self.inputs.default_sampling), MTU_BYTES)
        parts = [
            (self.sampling.get(key) or self.sampling.get((key[0], None), default), octets)
            for key, octets in by_interface.items()
        ]
        total = sum(octets for _, octets in parts)
        rate = sum(n * octets for (n, _), octets in parts) / total if total else default[0]
        largest = max((m for (_, m), _ in parts), default=MTU_BYTES)
        variance = self.variance(row)
        scale = row.marginal_rate / row.marginal
        found = interval(row.marginal, variance, rate or inputs.default_sampling, largest)
        names = ("ci95_bps", "ci95_low_bps", "ci95_high_bps")
        return {n: bps(v * scale, slots) for n, v in zip(names, found, strict=True)}

    base = 0

    def variance(self, row: Row) -> float:
        """Summed variance of the marginal part."""
        return float(self.ranking.cells.variance[row.cells + self.base].sum())


def candidate_rows(
    inputs: Inputs,
    ranking: Ranking,
    made: Figures,
    places: MeetingPlaces,
    feasibility: Feasibility,
    port_p95: Mapping[tuple[str, int], float],
) -> CandidateFrames:
    """All lists as frames, metros in their order, rows in that of their ranks.

    `port_p95`: (metro, exchange) → 95th percentile of our own ports there.
    """
    shared = _Shared(inputs, ranking, feasibility)
    columns: dict[str, list[Any]] = {c.name: [] for c in CANDIDATES}
    options: dict[str, list[Any]] = {c.name: [] for c in PLACES}
    estimates: dict[str, list[int]] = {}
    notes: list[str] = []
    rooms: dict[tuple[str, int], float] = {}
    for listing in ranking.metros:
        shared.base = listing.base
        carried = _carried(ranking, listing)
        ports = Headroom(places, listing.name, port_p95)
        both_ways = _both_ways(ranking, listing)
        shaped = 0
        for number, (row, figures_) in enumerate(
            zip(listing.rows, _figures(shared, listing, carried), strict=True)
        ):
            found = made.percentiles[listing.name, number]
            if found.quality in ("estimate", "folded", "noisy") and row.asn is not None:
                estimates.setdefault(listing.name, []).append(row.asn)
            shaped += found.shaped
            figures_ |= {"metro": listing.name, **_percentile(found)}
            alone = made.alone_p95.get((listing.name, number), 0.0)
            figures_ |= _meeting(shared, listing, row, places, alone, found, ports, both_ways)
            if (room := figures_.get("room_bps")) is not None:
                rooms[listing.name, number] = room
            if row.asn is not None and row.rank:
                _options(options, places, listing.name, row, alone)
            for name, values in columns.items():
                values.append(figures_.get(name))
        if shaped:
            notes.append(
                f"{listing.name}: {shaped:,} rows have networks only in part: their slots are "
                "shaped by the hours of their routes"
            )
    every: dict[str, list[Any]] = {c.name: [] for c in ORGANISATIONS}
    listing = ranking.organisations
    shared.base = 0
    for number, (row, figures_) in enumerate(
        zip(listing.rows, _figures(shared, listing, _carried(ranking, listing)), strict=True)
    ):
        figures_ |= _percentile(made.percentiles.get(("", number), Percentile()))
        figures_ |= _meeting_anywhere(shared, row, places)
        for name, values in every.items():
            values.append(figures_.get(name))
    return CandidateFrames(
        _frame(CANDIDATES, columns), _frame(ORGANISATIONS, every), _frame(PLACES, options),
        estimates, notes, rooms,
    )  # fmt: skip


def _frame(columns: Sequence[Column], values: Mapping[str, list[Any]]) -> pl.DataFrame:
    return pl.DataFrame({c.name: _series(c, values[c.name]) for c in columns})


def _series(column: Column, values: list[Any]) -> pl.Series:
    # By way of Arrow: Polars makes a Series of every list on its own.
    if isinstance(column.type, pl.List):
        inner = pa.int64() if column.type.inner == pl.Int64 else pa.large_string()
        return pl.Series(column.name, pa.array(values, pa.large_list(inner)))
    return pl.Series(column.name, values, column.type)


def _percentile(found: Percentile) -> dict[str, Any]:
    present = [w for w in found.weeks if w > 0]
    return {
        "p95_bps": found.p95_bps,
        "p95_corrected_bps": found.corrected_bps,
        "p95_quality": found.quality,
        "slots_counted": found.counted,
        "slots_filled": found.filled,
        "slots_missing": found.missing,
        "weeks_present": len(present),
        "weekly_min_bps": min(found.weeks, default=None),
        "weekly_max_bps": max(found.weeks, default=None),
    }


def _figures(
    shared: _Shared, listing: Listing, carried: Mapping[int, _Carried]
) -> Iterable[dict[str, Any]]:
    """What follows from the ranking alone, row by row."""
    inputs, ranking = shared.inputs, shared.ranking
    taken = seen = expected = 0.0
    by_money = any(row.value is not None for row in listing.rows)
    for number, row in enumerate(listing.rows):
        if row.rank != 0:
            taken += row.marginal
            if not row.refuses:
                seen, expected = seen + row.observed, expected + row.expected
        by = carried.get(number, _NOTHING)
        cells = row.cells + listing.base
        asn = row.asn
        members = list(ranking.parties.members(asn)) if asn is not None else []
        metros = [ranking.cells.metros[m] for m in row.metros] or [listing.name]
        chosen = ranking.cells.chosen[cells]
        yield {
            "rank": row.rank,
            "asn": asn,
            "asns": members,
            "metros": [ranking.cells.metros[m] for m in row.metros],
            "name": _name(shared, row),
            "organisation": None if asn is None else shared.organisations.get(asn),
            "status": _status(
                row,
                standing([a for m in members for a in shared.asks.get(m, ())], metros)
                if row.rank
                else None,
            ),
            "transits": by.transits,
            "own_bps": bps(row.own_rate, listing.slots),
            "cone_bps": bps(row.cone_rate, listing.slots),
            "marginal_bps": bps(row.marginal_rate, listing.slots),
            "observed_bps": bps(row.observed_rate, listing.slots),
            "inferred_bps": bps(row.inferred_rate, listing.slots),
            **shared.error(row, by.interfaces, listing.slots),
            "expected_bps": bps(row.expected_rate, listing.slots),
            "out_bytes": int(ranking.cells.out[cells].sum()),
            "in_bytes": int(ranking.cells.in_[cells].sum()),
            "cumulative_share": taken / listing.total if listing.total else None,
            "cumulative_observed_share": seen / listing.total if listing.total else None,
            "cumulative_expected_share": expected / listing.total if listing.total else None,
            "evidence": [
                f"{word} {part / row.marginal:.2f}"
                for kind, word in KINDS
                if (part := int(chosen[row.kinds == kind].sum()))
            ],
            "currency": inputs.currency,
            "feasibility": None if asn is None else row.acceptance,
            "expected_value": row.value if by_money else bps(row.expected_rate, listing.slots),
            "tied_with": row.tied,
        }


def _name(shared: _Shared, row: Row) -> str | None:
    if row.asn is not None:
        return shared.names.get(row.asn)
    what = "more with sessions" if row.rank == 0 else "more candidates"
    return f"{row.parties:,} {what}"


def _status(row: Row, asked: str | None) -> str | None:
    """Where an ask stands, and that the rows above take all its routes."""
    shown = [f"#{rank}" for rank in row.behind[:3] if rank]
    if not shown:
        return asked
    more = " and others" if len(row.behind) > len(shown) else ""
    verb = "say" if more or len(shown) > 1 else "says"
    behind = f"if {' and '.join(shown)}{more} {verb} no"
    return behind if asked is None else f"{asked}; {behind}"


@dataclass(slots=True)
class _Carried:
    """How the marginal part of a row is carried, in the directions that rank."""

    transits: list[str] = field(default_factory=list)
    interfaces: dict[tuple[str, int], int] = field(default_factory=dict)


_NOTHING = _Carried()


def _carried(ranking: Ranking, listing: Listing) -> dict[int, _Carried]:
    """By row: providers that carry it, largest first (`AS1299 0.62`), and bytes by interface."""
    ranked = pl.col("direction").is_in(ranking.directions)
    links = ranking.flows.links.filter(ranked).drop("direction")
    sums = []
    for number, metro in enumerate(ranking.cells.metros):
        span = ranking.cells.of(number)
        if not listing.base <= span.start < listing.base + len(listing.owner):
            continue
        flows = ranking.flows.of(metro).filter(pl.col("bytes") > 0)
        place = np.searchsorted(ranking.cells.atom[span], flows["atom"].to_numpy())
        row = pl.Series(listing.owner[span.start - listing.base + place])
        sums.append(
            flows.with_columns(row=row).filter(pl.col("row") >= 0)
            .group_by("row", "link").agg(pl.col("bytes").sum())
            .join(links, on="link")
        )  # fmt: skip
    if not sums:
        return {}
    parts = pl.concat(sums)
    found: dict[int, _Carried] = {}
    for row, exporter, interface, octets in (
        parts.group_by("row", "exporter", "interface")
        .agg(pl.col("bytes").sum())
        .sort("row", "exporter", "interface")
        .iter_rows()
    ):
        found.setdefault(row, _Carried()).interfaces[exporter, interface] = octets
    shares = (
        parts.group_by("row", "provider_asn")
        .agg(pl.col("bytes").sum())
        .with_columns(share=pl.col("bytes") / pl.col("bytes").sum().over("row"))
        .sort("row", "bytes", "provider_asn", descending=[False, True, False])
    )
    for row, provider, share in shares.select("row", "provider_asn", "share").iter_rows():
        who = "unknown" if provider is None else f"AS{provider}"
        found[row].transits.append(f"{who} {share:.2f}")
    return found


def _both_ways(ranking: Ranking, listing: Listing) -> bool:
    part = slice(listing.base, listing.base + len(listing.owner))
    return bool(ranking.cells.out[part].any() and ranking.cells.in_[part].any())


class Headroom:
    """What the rows so far leave of our own ports on the exchanges of a metro (M9)."""

    def __init__(
        self, places: MeetingPlaces, metro: str, p95: Mapping[tuple[str, int], float]
    ) -> None:
        here = places.here.get(metro)
        self._left = {
            ix: 0.8 * speed - p95.get((metro, ix), 0.0)
            for ix, (_, speed) in (here.exchanges.items() if here else ())
            if speed
        }

    def room(self, place: MeetingPlace, p95_bps: float | None) -> float | None:
        """What this place can carry of a row; takes the row's part of our port. None: no limit."""
        if place.rank not in (ROUTE_SERVERS, BILATERAL) or place.ix is None or p95_bps is None:
            return None
        limits = [float(place.their_bps)] if place.their_bps else []
        if place.ix in self._left:
            limits.append(max(0.0, self._left[place.ix]))
            self._left[place.ix] -= p95_bps
        return min(limits) if limits else None


def _meeting(
    shared: _Shared,
    listing: Listing,
    row: Row,
    places: MeetingPlaces,
    alone_p95: float,
    found: Percentile,
    ports: Headroom,
    both_ways: bool,
) -> dict[str, Any]:
    asn, metro = row.asn, listing.name
    if row.rank == 0:
        return {"meet": "session exists", "meet_rank": EXISTS, "policy": _policy(shared, asn),
                "feasibility_reasons": [f"1.00 {row.note}"]}  # fmt: skip
    if asn is None:
        return {"feasibility_reasons": []}
    place = places.meet(asn, metro, alone_p95)
    room = ports.room(place, found.p95_bps)
    alone = [bps(volume, listing.slots) for volume in row.alone]
    reasons = shared.feasibility.reasons(asn, metro, alone[0], alone[1], both_ways)
    if asn in shared.extend:
        reasons.append(f"extend: peers with us in {', '.join(shared.extend[asn])}")
    return {
        "meet": place.text,
        "meet_rank": place.rank,
        "room_bps": room,
        "over_port_bps": (
            None
            if room is None or found.p95_bps is None
            else round(max(0.0, found.p95_bps - room), 3)
        ),
        "policy": _policy(shared, asn),
        "feasibility_reasons": reasons,
    }


def _policy(shared: _Shared, asn: int | None) -> str | None:
    return None if asn is None else shared.feasibility.policy(asn)


def _meeting_anywhere(shared: _Shared, row: Row, places: MeetingPlaces) -> dict[str, Any]:
    """Of an ask over several metros: the best place of each."""
    if row.asn is None or row.rank == 0:
        return {"meet_rank": EXISTS if row.rank == 0 else None, "policy": _policy(shared, row.asn),
                "meet": "session exists" if row.rank == 0 else None}  # fmt: skip
    names = [shared.ranking.cells.metros[m] for m in row.metros]
    found = [(places.meet(row.asn, metro), metro) for metro in names]
    reasons = (
        [f"extend: peers with us in {', '.join(shared.extend[row.asn])}"]
        if row.asn in shared.extend
        else []
    )
    return {
        "meet": "; ".join(f"{metro}: {place.text}" for place, metro in found),
        "meet_rank": min((place.rank for place, _ in found), default=None),
        "policy": _policy(shared, row.asn),
        "feasibility_reasons": reasons,
    }


def _options(
    columns: dict[str, list[Any]], places: MeetingPlaces, metro: str, row: Row, alone_p95: float
) -> None:
    """The rungs of one row, for the table of places."""
    assert row.asn is not None
    misses = places.near_misses(row.asn, metro)
    for option, place in enumerate(places.options(row.asn, metro, alone_p95), start=1):
        values = {
            "metro": metro, "rank": row.rank, "asn": row.asn, "option": option,
            "meet_rank": place.rank, "place": place.text, "ix_id": place.ix,
            "our_facility": place.our_facility, "their_facility": place.facility,
            "campus": place.campus, "our_port_bps": place.our_bps,
            "their_port_bps": place.their_bps, "route_servers": place.route_servers or None,
            "carriers": list(place.carriers),
            "note": "; ".join([*([place.note] if place.note else []),
                               *(misses if option == 1 else [])]) or None,
        }  # fmt: skip
        for name, cells in columns.items():
            cells.append(values[name])


def organisation_names(inputs: Inputs) -> dict[int, str]:
    """ASN → its organisation: PeeringDB's, else that of the table of names."""
    known = dict(
        inputs.asns.select("asn", pl.col("organisation").cast(pl.String)).drop_nulls().iter_rows()
    )
    org = pdb(inputs.peeringdb, "org", {"id": pl.Int64, "name": pl.String}).drop_nulls()
    net = pdb(inputs.peeringdb, "net", {"asn": pl.Int64, "org_id": pl.Int64}).drop_nulls()
    joined = net.join(org, left_on="org_id", right_on="id")
    return known | dict(joined.select("asn", "name").iter_rows())


def _peered_elsewhere(inputs: Inputs, ranking: Ranking) -> dict[int, list[str]]:
    pairs = set(inputs.sessions.select("asn", "metro").iter_rows())
    pairs |= set(
        inputs.interfaces.filter(pl.col("role") == "peer", pl.col("asn").is_not_null())
        .select("asn", "metro")
        .iter_rows()
    )
    found: dict[int, list[str]] = {}
    for asn, metro in sorted(pairs):
        at = found.setdefault(ranking.parties.of(asn), [])
        if metro not in at:
            at.append(metro)
    return found
