"""What changed in the metro lists against another period, and why (METHODS M17).

The marginal volume of a row is Σ rate of the routes that it is known for and that no row above
takes, if it may be asked at all. One thing after the other is put in place of the old one, and
each difference goes to its cause: rates of routers that one period lacks, all rates, evidence,
the rows above, eligibility. So the differences add up to the change.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl

from flowpeer_core.asns import is_public
from flowpeer_core.slots import SLOT_SECONDS
from flowpeer_reports.candidates import Candidates
from flowpeer_reports.columns.changes import CHANGES
from flowpeer_reports.columns.column import schema
from flowpeer_reports.demand import CoveringPrefixes
from flowpeer_reports.exclusions import OWN, SIBLING, transits
from flowpeer_reports.inputs import Inputs
from flowpeer_reports.offload import OBSERVED, Cover, cover
from flowpeer_reports.parties import Parties
from flowpeer_reports.ranking import Listing, peers_in
from flowpeer_reports.relations import AsGraph, Flags, Ints

CAUSES = ("inputs", "demand", "routing", "overlap", "eligibility")
STEP, RANKS = 0.2, 3
"""From which a marginal volume, or a rank, has moved."""
GONE_SHOWN = 5
"""Networks that are gone, by metro, that the notes name."""
_UNIT = ["prefix", "origin_asn"]


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two periods. Its inputs know the paths, and what sessions announce, of the
    prefixes of both."""

    inputs: Inputs
    found: Candidates


def changes(before: Side, after: Side) -> pl.DataFrame:
    """One row a metro and network that either list has, in the columns CHANGES.

    The lists are of the same direction, and of parties that go by the same ASNs.
    """
    parties = after.found.ranking.parties
    units = (
        pl.concat([_units(side) for side in (before, after)])
        .unique()
        .sort(_UNIT, nulls_last=True)
        .with_row_index("unit")
    )
    old = _Evidence(before, after, units, parties)
    new = _Evidence(after, before, units, parties)
    rows: list[dict[str, Any]] = []
    lists = {m.name: m for m in before.found.ranking.metros}
    for listing in after.found.ranking.metros:
        was = lists.get(listing.name)
        if was is not None:
            rows += _metro(before, after, was, listing, old, new, units, parties)
    return pl.DataFrame(rows, schema=schema(CHANGES), orient="row")


def _metro(
    before: Side, after: Side, was: Listing, now: Listing, old: _Evidence, new: _Evidence,
    units: pl.DataFrame, parties: Parties,
) -> list[dict[str, Any]]:  # fmt: skip
    metro = now.name
    common = _exporters(before, metro) & _exporters(after, metro)
    r0 = _rates(before, metro, units)
    r1 = _rates(after, metro, units)
    mixed = _rates(before, metro, units, common) + _rates(after, metro, units, None, common)
    rank_before, rank = _ranks(was), _ranks(now)
    wanted = list(dict.fromkeys([*rank, *rank_before]))
    asked = {asn: np.array([asn], dtype=np.int64) for asn in wanted}
    then = {a: _may(before, metro, a, parties) and bool(is_public(asked[a])[0]) for a in wanted}
    may = {a: _may(after, metro, a, parties) and bool(is_public(asked[a])[0]) for a in wanted}
    old_old = old.free(before, was, wanted, len(units))
    new_old = new.free(before, was, wanted, len(units))
    new_new = new.free(after, now, wanted, len(units))
    made, names = [], after.inputs.names()
    for asn in wanted:
        steps = [
            r0[old_old[asn]].sum(), mixed[old_old[asn]].sum(), r1[old_old[asn]].sum(),
            r1[new_old[asn]].sum(), r1[new_new[asn]].sum(),
        ]  # fmt: skip
        values = [s if then[asn] else 0.0 for s in steps] + [steps[-1] if may[asn] else 0.0]
        milli = [round(float(v) * 1000) for v in values]
        parts = [b - a for a, b in pairwise(milli)]
        made.append(
            {
                "metro": metro, "asn": asn, "rank_before": rank_before.get(asn),
                "rank": rank.get(asn),
                "status": _status(rank_before.get(asn), rank.get(asn), milli[0], milli[-1]),
                "marginal_bps_before": milli[0] / 1000, "marginal_bps": milli[-1] / 1000,
                **{f"{c}_bps": part / 1000 for c, part in zip(CAUSES, parts, strict=True)},
                "name": names.get(asn),
            }
        )  # fmt: skip
    return made


def _ranks(listing: Listing) -> dict[int, int]:
    return {row.asn: row.rank for row in listing.rows if row.rank and row.asn is not None}


def _status(rank_before: int | None, rank: int | None, before: int, now: int) -> str:
    if rank_before is None:
        return "new"
    if rank is None:
        return "gone"
    if abs(now - before) >= STEP * before and now != before:
        return "up" if now > before else "down"
    if abs(rank - rank_before) >= RANKS:
        return "up" if rank < rank_before else "down"
    return "same"


def _may(side: Side, metro: str, asn: int, parties: Parties) -> bool:
    """Whether a party may be asked in a metro: none of its members is barred or has a session."""
    never = side.found.ranking.never
    members = parties.members(asn)
    return not any(m in never for m in members) and asn not in _peers(side, metro, parties)


def _peers(side: Side, metro: str, parties: Parties) -> set[int]:
    ours = {a for a, why in side.found.ranking.never.items() if why in (OWN, SIBLING)}
    return {parties.of(a) for a in peers_in(side.inputs, metro) - ours}


def _units(side: Side) -> pl.DataFrame:
    """The routes with scaled transit traffic."""
    universe = side.found.universe
    return universe.routes.scaled_units(universe.metros)


def _exporters(side: Side, metro: str) -> set[str]:
    """Those that the period has scaled transit traffic of."""
    routes = side.found.universe.routes.of(metro).filter("scaled")
    return set(routes["exporter"].to_list())


def _rates(
    side: Side, metro: str, units: pl.DataFrame, only: set[str] | None = None,
    but: set[str] | None = None,
) -> np.ndarray[Any, np.dtype[np.float64]]:  # fmt: skip
    """bit/s of each unit in the directions that rank, of some exporters of a metro."""
    routes = side.found.universe.routes.of(metro).filter(
        "scaled", pl.col("direction").is_in(side.found.ranking.directions)
    )
    if only is not None:
        routes = routes.filter(pl.col("exporter").is_in(sorted(only)))
    if but is not None:
        routes = routes.filter(~pl.col("exporter").is_in(sorted(but)))
    sums = (
        routes.join(side.inputs.silence(), on=["metro", "exporter"], how="left")
        .with_columns(rate=pl.col("bytes") * pl.col("weight").fill_null(1.0))
        .group_by(_UNIT)
        .agg(pl.col("rate").sum())
        .join(units, on=_UNIT, nulls_equal=True)
    )
    made = np.zeros(units.height)
    scale = 8 / (side.inputs.period_slots * SLOT_SECONDS)
    made[sums["unit"].to_numpy()] = sums["rate"].to_numpy() * scale
    return made


class _Evidence:
    """Who takes which units by the tables of one period."""

    def __init__(self, side: Side, other: Side, units: pl.DataFrame, parties: Parties) -> None:
        inputs = side.inputs
        self.parties = parties
        self.cover: Cover = cover(
            inputs, units.select(_UNIT), AsGraph(inputs.relationships), parties,
            paths=_known_paths(side, other.inputs.paths, units),
        )  # fmt: skip
        atoms = units.join(self.cover.units, on=_UNIT, nulls_equal=True).sort("unit")["atom"]
        self.atom_of = atoms.to_numpy().astype(np.int64)
        self.order = np.argsort(self.atom_of, kind="stable")
        self.run = np.searchsorted(self.atom_of[self.order], np.arange(len(self.cover.origins) + 1))
        self.index = {int(a): i for i, a in enumerate(self.cover.asns)}
        origins = self.cover.origins
        self.origin_party = parties.named(np.where(origins > 0, origins, 0))[self.atom_of]

    def units(self, atoms: Ints) -> Ints:
        """The units of some atoms."""
        pieces = [self.order[self.run[a] : self.run[a + 1]] for a in atoms.tolist()]
        return np.concatenate([np.zeros(0, dtype=np.int64), *pieces])

    def takes(self, asn: int, *, observed: bool = False) -> Ints:
        """The units that a party is known for by any evidence, or is observed for."""
        at = self.index.get(asn)
        if at is None:
            return np.zeros(0, dtype=np.int64)
        span = self.cover.entries(at)
        atoms = self.cover.atom[span].astype(np.int64)
        return self.units(atoms[self.cover.kind[span] == OBSERVED] if observed else atoms)

    def holds(self, asn: int, metro: str, providers: set[int]) -> Ints:
        """The units that a session of the party in the metro should carry."""
        offered = self.cover.announced.filter(pl.col("asn") == asn, pl.col("metro") == metro)
        lacking = self.units(offered.filter("withheld")["atom"].to_numpy())
        more = self.units(offered.filter(~pl.col("withheld"))["atom"].to_numpy())
        part = np.union1d(np.setdiff1d(self.takes(asn, observed=True), lacking), more)
        return part[self.origin_party[part] == asn] if asn in providers else part

    def free(
        self, side: Side, listing: Listing, wanted: Sequence[int], size: int
    ) -> dict[int, Ints]:
        """Units of each network that no row above it takes: of one that is not listed, no row at
        all. Row 0 is a row above, less what only the network itself holds."""
        providers = {self.parties.of(a) for a in transits(side.inputs)}
        held = {
            asn: self.holds(asn, listing.name, providers)
            for asn in _peers(side, listing.name, self.parties)
        }
        count = np.zeros(size, dtype=np.int64)
        for part in held.values():
            count[part] += 1
        taken: Flags = np.zeros(size, dtype=np.bool_)
        found: dict[int, Ints] = {}
        open_ = set(wanted)

        def left(asn: int) -> Ints:
            mine = self.takes(asn)
            own = np.isin(mine, held[asn]) if asn in held else np.zeros(len(mine), dtype=np.bool_)
            open_here: Ints = mine[(count[mine] - own == 0) & ~taken[mine]]
            return open_here

        for row in listing.rows:
            if not row.rank or row.asn is None:
                continue
            if row.asn in open_:
                found[row.asn] = left(row.asn)
            taken[self.takes(row.asn)] = True
        for asn in open_ - set(found):
            found[asn] = left(asn)
        return found


def _known_paths(side: Side, others: pl.DataFrame, units: pl.DataFrame) -> pl.DataFrame:
    """Paths of one period's tables to all units: of a prefix that they lack, those of the longest
    route over it, else those of its origin's other routes, else what the other period shows."""
    paths = side.inputs.paths
    own = _units(side)
    lacking = units.drop_nulls("prefix").join(paths, on="prefix", how="anti")
    lacking = lacking.join(own, on="prefix", how="anti")
    if lacking.is_empty():
        return paths
    over = CoveringPrefixes(paths["prefix"].unique().to_list())
    pairs = [(p, next(iter(over.of(p)), None)) for p in lacking["prefix"].unique().to_list()]
    covered = pl.DataFrame(
        [(p, o) for p, o in pairs if o is not None],
        schema={"prefix": pl.String, "over": pl.String}, orient="row",
    )  # fmt: skip
    by_cover = covered.join(paths, left_on="over", right_on="prefix").select("prefix", "as_path")
    rest = lacking.join(covered, on="prefix", how="anti").filter(pl.col("origin_asn") > 0)
    of_origin = own.join(paths, on="prefix").select("origin_asn", "as_path").unique()
    by_origin = rest.join(of_origin, on="origin_asn").select("prefix", "as_path")
    remaining = rest.join(by_origin, on="prefix", how="anti")
    by_other = remaining.join(others, on="prefix").select("prefix", "as_path")
    return pl.concat([paths.select("prefix", "as_path"), by_cover, by_origin, by_other]).unique()


def with_changes(rows: pl.DataFrame, changed: pl.DataFrame, start: Any) -> pl.DataFrame:
    """The list with `first_seen`, `change` and `change_causes` filled; `start`: of the compared
    period, UTC."""
    causes = [_phrases(row) for row in changed.iter_rows(named=True)]
    known = changed.select(
        "metro", "asn",
        first_seen=pl.when(pl.col("rank_before").is_not_null()).then(pl.lit(start.date())),
        change="status",
        change_causes=pl.Series(causes, dtype=pl.List(pl.String)),
    )  # fmt: skip
    listed = pl.col("rank") > 0
    joined = rows.drop("first_seen", "change", "change_causes").join(
        known, on=["metro", "asn"], how="left", maintain_order="left"
    )
    return joined.with_columns(
        pl.when(listed).then(c).alias(c) for c in ("first_seen", "change", "change_causes")
    ).select(rows.columns)


def _phrases(row: dict[str, Any]) -> list[str]:
    """The causes that moved something, the largest first."""
    parts = [(cause, row[f"{cause}_bps"]) for cause in CAUSES if row[f"{cause}_bps"]]
    parts.sort(key=lambda p: -abs(p[1]))
    return [f"{cause} {value / 1e6:+,.2f} Mbps" for cause, value in parts]


def within(changed: pl.DataFrame, asks: int | None) -> pl.DataFrame:
    """What changed among the first rows of either list; None: among all."""
    if asks is None:
        return changed
    return changed.filter((pl.col("rank") <= asks) | (pl.col("rank_before") <= asks))


def summary(changed: pl.DataFrame) -> Iterable[str]:
    """How many rows have which status, in words, by metro; and which are gone: the list has them
    no longer."""
    for (metro,), part in changed.group_by(["metro"], maintain_order=True):
        counts = dict(part.group_by("status").len().iter_rows())
        parts = [f"{counts[s]} {s}" for s in ("new", "gone", "up", "down", "same") if s in counts]
        yield f"{metro}: {', '.join(parts)} against the compared period"
        gone = part.filter(pl.col("status") == "gone").sort(
            "marginal_bps_before", descending=True, maintain_order=True
        )
        if gone.height:
            shown = [_gone(row) for row in gone.head(GONE_SHOWN).iter_rows(named=True)]
            more = gone.height - len(shown)
            yield f"{metro}: gone: {'; '.join(shown)}" + (f"; and {more} more" if more else "")


def _gone(row: dict[str, Any]) -> str:
    who = f"{row['name']} (AS{row['asn']})" if row["name"] else f"AS{row['asn']}"
    was = f"{who}, rank {row['rank_before']}, {row['marginal_bps_before'] / 1e6:,.2f} Mbps"
    return ", ".join([was, *_phrases(row)])
