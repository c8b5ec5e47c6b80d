"""Which exits tie with the one in use, and how even that could make a metro (METHODS M11).

Tied: the same LOCAL_PREF, AS_PATH length and ORIGIN as the offer at the actual exit, on transit
links of the metro whose own view is loaded. MED is not looked at: it decides between them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from flowpeer_reports.feasible import least_d
from flowpeer_reports.imbalance import d_of
from flowpeer_reports.loads import Loads
from flowpeer_reports.offers import TRANSIT_RANK, Choice, Offers
from flowpeer_reports.relations import Ints, Reals


@dataclass(frozen=True, slots=True)
class Alternates:
    """Links that a route could use as well as, or one hop longer than, the one that it uses."""

    tied: tuple[int, ...]
    longer: tuple[int, ...]


class Ties:
    """Alternates of each class of offers and link, found once."""

    def __init__(self, choice: Choice, offers: Offers) -> None:
        self._choice = choice
        self._loaded = offers.loaded
        self._known: dict[tuple[int, int], Alternates] = {}

    def of(self, class_: int, link: int) -> Alternates:
        """Alternates of a route of `class_` that leaves by `link`, itself left out."""
        found = self._known.get((class_, link))
        if found is None:
            found = self._known[class_, link] = self._find(class_, link)
        return found

    def _find(self, class_: int, link: int) -> Alternates:
        first, places = self._choice.first, self._choice.places
        rows = self._choice.offers[first[class_] : first[class_ + 1]]
        own = rows[rows[:, 0] == link]
        if not self._loaded[link] or not len(own):
            return Alternates((), ())
        by_role = bool((rows[:, 2] < 0).any())
        alike = bool((rows[:, 4] < 0).any())
        own_row = min(own.tolist(), key=lambda r: (-r[2], r[3], r[4]))
        tied, longer = set(), set()
        for row in rows.tolist():
            other = row[0]
            if (
                other == link
                or not self._loaded[other]
                or places.role_rank[other] != TRANSIT_RANK
                or places.metro_of_link[other] != places.metro_of_link[link]
                or not (by_role or row[2] == own_row[2])
                or not (alike or row[4] == own_row[4])
            ):
                continue
            if row[3] == own_row[3]:
                tied.add(other)
            elif row[3] == own_row[3] + 1:
                longer.add(other)
        return Alternates(tuple(sorted(tied)), tuple(sorted(longer - tied)))


@dataclass(frozen=True, slots=True)
class TiedTraffic:
    """What leaves, by hour and route, and by which other links it could.

    Args:
        parts: makes the frames of hour, link, direction, prefix, origin_asn, bytes.
        unstable: (prefix, link) that are not moved.
    """

    parts: Callable[[], Iterable[pl.DataFrame]]
    found: Loads
    offers: Offers
    ties: Ties
    epoch_of_hour: Ints
    unstable: frozenset[tuple[str, int]] = frozenset()

    def transit_of(self, metro: str, providers: Sequence[int | None]) -> dict[int, int]:
        """Transit link of a metro → place of its provider among these."""
        row_of = {asn: i for i, asn in enumerate(providers)}
        links = self.found.links.select("metro", "role", "provider_asn").rows()
        return {
            n: row_of[asn]
            for n, (m, role, asn) in enumerate(links)
            if m == metro and role == "transit"
        }

    def alternates(self, epoch: int, prefix: str | None, link: int) -> Alternates:
        """Where a route that leaves by a link could leave as well, by the tables of an epoch."""
        return self.ties.of(self.offers.of_prefix[epoch].get(prefix or "", 0), link)


@dataclass(frozen=True, slots=True)
class Feasible:
    """Of one metro: D by the hour as it is and at its least, byte-weighted over hours."""

    d_hourly: float
    d_feasible: float
    by_hour: Reals
    tied_share: float
    """Share of the bytes that could use another provider as well."""


def feasible(
    outbound: TiedTraffic, metro: str, providers: Sequence[int | None], weights: Reals
) -> Feasible | None:
    """D_feasible of a metro; None without outbound transit there.

    Args:
        providers, weights: of the metro, in one order.
    """
    provider = outbound.transit_of(metro, providers)
    hours = len(outbound.epoch_of_hour)
    actual = np.zeros((len(providers), hours), dtype=np.int64)
    by_options, by_link = free_bytes(outbound, provider)
    for link, line in by_link.items():
        actual[provider[link]] += line
    fixed = actual.copy()
    free: dict[tuple[int, ...], Ints] = {}
    for (link, options), line in by_options.items():
        able = tuple(sorted({provider[x] for x in options}))
        if len(able) > 1:
            fixed[provider[link]] -= line
            free[able] = free[able] + line if able in free else line
    whole = actual.sum(axis=0)
    total = int(whole.sum())
    if not total:
        return None
    sets = sorted(free)
    table = np.stack([free[x] for x in sets]) if sets else np.zeros((0, hours), dtype=np.int64)
    least, _ = least_d(fixed, sets, table, weights)
    hourly = d_of(actual, weights)
    return Feasible(
        float((hourly * whole).sum() / total),
        float((least * whole).sum() / total),
        least,
        int(table.sum()) / total,
    )


def free_bytes(
    outbound: TiedTraffic, able: Iterable[int]
) -> tuple[dict[tuple[int, tuple[int, ...]], Ints], dict[int, Ints]]:
    """What could leave by several links, by the hour.

    Args:
        able: links that may give and take.

    Returns:
        (link, the links that it could use, itself among them) → outbound bytes by the hour, and
        all outbound bytes of each of these links by the hour.
    """
    epoch_of_hour = outbound.epoch_of_hour
    links = sorted(able)
    options: dict[tuple[int, ...], int] = {}
    free: dict[tuple[int, tuple[int, ...]], Ints] = {}
    totals: dict[int, Ints] = {}
    hours = len(epoch_of_hour)
    for part in outbound.parts():
        rows = part.filter(pl.col("direction") == "out", pl.col("link").is_in(links))
        epochs = pl.Series(epoch_of_hour[rows["hour"].to_numpy()], dtype=pl.Int64)
        rows = rows.with_columns(epoch=epochs)
        asked = rows.select("epoch", "link", "prefix").unique()
        numbers = []
        for epoch, link, prefix in asked.iter_rows():
            tied = outbound.alternates(epoch, prefix, link).tied if prefix else ()
            mine = tuple(sorted({link, *(t for t in tied if t in links)}))
            numbers.append(options.setdefault(mine, len(options)))
        known = asked.with_columns(options=pl.Series(numbers, dtype=pl.Int64))
        summed = (
            rows.join(known, on=["epoch", "link", "prefix"], nulls_equal=True)
            .group_by("hour", "link", "options")
            .agg(pl.col("bytes").sum())
        )
        sets = list(options)
        for hour, link, number, size in summed.iter_rows():
            totals.setdefault(link, np.zeros(hours, dtype=np.int64))[hour] += size
            if len(sets[number]) > 1:
                key = (link, sets[number])
                free.setdefault(key, np.zeros(hours, dtype=np.int64))[hour] += size
    return free, totals
