"""Bytes by link, direction and slot, dense: what imbalance, drills and capacity are made from.

A link is an interface in a role with a neighbour. Slots without records are zeros; whether a slot
was covered is kept apart (METHODS M5).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt
import polars as pl

from flowpeer_core.p95 import rank as p95_rank
from flowpeer_core.slots import HOUR_SLOTS, SLOT_SECONDS
from flowpeer_reports.coverage import Coverage, Quality, bridged
from flowpeer_reports.inputs import Inputs
from flowpeer_reports.relations import Flags, Ints

EXTERNAL = ("transit", "peer", "ix", "customer")
KEY = ["exporter", "interface", "metro", "role", "provider_asn"]
_MORE = ("name", "capacity_bps", "contract", "exchange", "facility", "full_table", "med")


@dataclass(frozen=True, slots=True)
class Loads:
    """Links in rows, slots of the period in columns.

    Attributes:
        links: metro, exporter, interface, role, provider_asn, name, capacity_bps, contract and
            what else the configuration says of an interface; sorted by exporter and interface. The
            place of a row is the number of the link.
        start: of the first slot, UTC.
        out, into: scaled bytes (links × slots, int64).
        unscaled: metro, direction, bytes: without a known sampling rate, in no other figure.
        filled_out, filled_into: the same, gaps of exporters that were due bridged (METHODS M5):
            for percentiles and D only.
    """

    links: pl.DataFrame
    start: datetime
    out: Ints
    into: Ints
    unscaled: pl.DataFrame
    filled_out: Ints | None = None
    filled_into: Ints | None = None

    def way(self, direction: str) -> Ints:
        """The bytes of `out` or `in`."""
        return self.out if direction == "out" else self.into

    def filled(self, direction: str) -> Ints:
        """The bytes of `filled_out` or `filled_into`."""
        made = self.filled_out if direction == "out" else self.filled_into
        return self.way(direction) if made is None else made

    @property
    def slots(self) -> int:
        """Slots of the period."""
        return int(self.out.shape[1])

    @property
    def into_hour(self) -> int:
        """Slots of the hour that the period begins in that lie before it."""
        return (self.start.minute * 60 + self.start.second) // SLOT_SECONDS

    @property
    def absent(self) -> Flags:
        """Links × hours: it was not there as it is described, by `valid_from` and `valid_until` of
        its sections. A section holds where it does as an hour begins."""
        hours = int(self.hour_of_slot[-1]) + 1 if self.slots else 0
        found = np.zeros((self.links.height, hours), dtype=np.bool_)
        if {"valid_from", "valid_until"} <= set(self.links.columns):
            first = self.start - timedelta(seconds=self.into_hour * SLOT_SECONDS)
            begins = [first + timedelta(hours=n) for n in range(hours)]
            for link, since, until in (
                self.links.with_row_index("n").select("n", "valid_from", "valid_until")
                .filter(pl.any_horizontal(pl.col("valid_from", "valid_until").is_not_null()))
                .iter_rows()
            ):  # fmt: skip
                found[link] = [
                    (since is not None and at < since) or (until is not None and at >= until)
                    for at in begins
                ]
        return found

    @property
    def ended(self) -> Flags:
        """Of each link: it was not there any more as the last hour began."""
        absent = self.absent
        found: Flags = absent[:, -1] if absent.shape[1] else np.zeros(len(absent), dtype=np.bool_)
        return found

    @property
    def hour_of_slot(self) -> npt.NDArray[np.int64]:
        """Number of each slot's hour, counted from the hour that the period begins in."""
        return (np.arange(self.slots) + self.into_hour) // HOUR_SLOTS


def loads(inputs: Inputs, roles: Sequence[str] = EXTERNAL) -> Loads:
    """The links of `roles`: those configured, silent ones too, and others seen in traffic."""
    start, end = (t.astimezone(UTC) for t in (inputs.period_start, inputs.period_end))
    traffic = inputs.traffic if inputs.traffic_slots is None else inputs.traffic_slots
    seen = (
        traffic.filter(
            pl.col("role").is_in(list(roles)), pl.col("direction").is_in(["in", "out"]),
            pl.col("slot") >= start, pl.col("slot") < end,
        )
        .group_by(*KEY, "direction", "scaled", "slot")
        .agg(pl.col("bytes").sum())
        .collect()
    )  # fmt: skip
    configured = inputs.interfaces.filter(pl.col("role").is_in(list(roles)))
    terms = [c for c in _MORE if c in configured.columns]
    links = (
        pl.concat([
            configured.rename({"asn": "provider_asn"}).select(KEY),
            seen.select(KEY),
        ])
        .unique()
        .sort(*KEY, nulls_last=True)
    )  # fmt: skip
    links = _described(links, configured.rename({"asn": "provider_asn"}), terms)
    number = links.select(KEY).with_row_index("link")
    placed = seen.join(number, on=KEY, nulls_equal=True).with_columns(
        place=(pl.col("slot") - start).dt.total_seconds() // SLOT_SECONDS
    )
    found = {}
    for direction in ("out", "in"):
        mine = placed.filter(pl.col("direction") == direction, pl.col("scaled"))
        dense = np.zeros((links.height, inputs.period_slots), dtype=np.int64)
        dense[mine["link"].to_numpy(), mine["place"].to_numpy()] = mine["bytes"].to_numpy()
        found[direction] = dense
    unscaled = (
        seen.filter(~pl.col("scaled")).group_by("metro", "direction").agg(pl.col("bytes").sum())
    )
    exporters = links["exporter"].to_list()
    filled = {way: _filled(inputs.coverage, exporters, dense) for way, dense in found.items()}
    return Loads(links, start, found["out"], found["in"], unscaled, filled["out"], filled["in"])


def _described(links: pl.DataFrame, sections: pl.DataFrame, terms: list[str]) -> pl.DataFrame:
    """Links with what is configured of them: the last section with their neighbour, else (members
    of an exchange have no section of their own) the last of the interface in that role; and the
    time from its first such section to its last."""
    own, port = ["exporter", "interface", "role", "provider_asn"], ["exporter", "interface", "role"]
    times = [t for t in ("valid_from", "valid_until") if t in sections.columns]
    exact, loose = (
        sections.group_by(key, maintain_order=True).agg(
            pl.col(terms).last(),
            *(pl.when(pl.col(t).is_null().any()).then(None)
              .otherwise(pl.col(t).min() if t == "valid_from" else pl.col(t).max()).alias(t)
              for t in times),
        )
        for key in (own, port)
    )  # fmt: skip
    exact = exact.with_columns(known=pl.lit(True))
    joined = links.join(exact, on=own, how="left", nulls_equal=True, maintain_order="left").join(
        loose, on=port, how="left", nulls_equal=True, maintain_order="left", suffix="_of_port"
    )
    return joined.select(
        *links.columns,
        *(
            pl.when("known").then(pl.col(name)).otherwise(pl.col(f"{name}_of_port")).alias(name)
            for name in (*terms, *times)
        ),
    )


def _filled(coverage: Coverage | None, exporters: Sequence[str], dense: Ints) -> Ints:
    if coverage is None or not any(map(coverage.missing, coverage.row)):
        return dense
    out = dense.copy()
    for link, exporter in enumerate(exporters):
        due, covered = coverage.flags(exporter, dense[link])
        hole = due & ~covered
        if hole.any():
            out[link] = bridged(dense[link], due & covered, hole)
    return out


@dataclass(frozen=True, slots=True)
class LinkCoverage:
    """Which slots of some links count (METHODS M5), and how good a percentile over them is."""

    flags: Flags
    filled: int
    missing: int
    quality: Quality
    silent: frozenset[int] = frozenset()
    """Links of exporters that were covered in less than half of their slots: left out."""

    @property
    def slots(self) -> int:
        """How many count."""
        return int(self.flags.sum())

    @property
    def refused(self) -> bool:
        """No percentile and no D is given."""
        return self.quality == "refused" or not self.slots

    def lines(self, found: Loads, way: str, links: Sequence[int]) -> Ints:
        """Bytes of these links (rows) with gaps filled; zeros for those left out."""
        made: Ints = found.filled(way)[list(links)].copy()
        for row, link in enumerate(links):
            if link in self.silent:
                made[row] = 0
        return made


def counted(inputs: Inputs, found: Loads, links: Sequence[int], way: str) -> LinkCoverage:
    """Which slots count of an object that is made of these links, in one direction."""
    if inputs.coverage is None:
        metros = set(found.links["metro"].gather(list(links)).to_list())
        flags = _covered(inputs, metros)
        missing = max([len(flags) - int(flags.sum())]
                      + [inputs.missing_slots.get(m, 0) for m in metros])  # fmt: skip
        share: Quality = "exact"
        if 20 * missing > len(flags):
            share = "refused"
        elif 100 * missing > len(flags):
            share = "estimate"
        return LinkCoverage(flags, 0, missing, share)
    exporters = found.links["exporter"].to_list()
    series: dict[str, Ints] = {}
    for link in links:
        line = found.way(way)[link]
        of = exporters[link]
        series[of] = series[of] + line if of in series else line
    judged = inputs.coverage.judge(series)
    flags = np.zeros(found.slots, dtype=np.bool_)
    flags[judged.places] = True
    silent = frozenset(link for link in links if exporters[link] in judged.left_out)
    return LinkCoverage(flags, judged.filled, judged.missing, judged.quality, silent)


def of_metro(
    inputs: Inputs, found: Loads, metro: str, way: str, role: str = "transit"
) -> LinkCoverage:
    """`counted` of a metro's links of one role."""
    here = found.links.with_row_index("link").filter(
        pl.col("metro") == metro, pl.col("role") == role
    )
    return counted(inputs, found, here["link"].to_list(), way)


def covered_links(inputs: Inputs, found: Loads) -> dict[int | str, Flags]:
    """Metro, and number of a link whose exporter was not covered throughout → the slots that count
    for percentiles of single links (METHODS M5)."""
    every: dict[int | str, Flags] = {}
    if inputs.coverage is None:
        return {m: _covered(inputs, [m]) for m in found.links["metro"].unique().to_list()}
    for link, exporter in enumerate(found.links["exporter"].to_list()):
        due, covered = inputs.coverage.flags(exporter, found.out[link])
        if (due & ~covered).any():
            every[link] = covered | ~due
    return every


def _covered(inputs: Inputs, metros: Collection[str]) -> Flags:
    start = inputs.period_start.astimezone(UTC)
    gaps = inputs.uncovered.filter(pl.col("metro").is_in(list(metros)))
    places = ((gaps["slot"] - start).dt.total_seconds() // SLOT_SECONDS).to_numpy()
    flags = np.ones(inputs.period_slots, dtype=np.bool_)
    flags[places[(places >= 0) & (places < len(flags))]] = False
    return flags


def percentiles(series: Ints, n: int, *, half: bool = False) -> Ints:
    """Nearest-rank p95 (or p50) of each row of non-negative values, as of `n` of them.

    Where `n` is not the number of columns, zeros are left out or added.
    """
    width = series.shape[1]
    rank = -(-n // 2) if half else p95_rank(n)
    place = width - n + rank - 1
    if not width or n <= 0 or place < 0:
        return np.zeros(len(series), dtype=np.int64)
    found: Ints = np.partition(series, place, axis=1)[:, place]
    return found
