"""What if these asks all said yes: what leaves transit, and what bills, links and D are then.

What moves is what a saving counts (METHODS M8): the observed routes of a pick, outbound, less
those that a pick above has taken. Everything else stays as it was in the period, also what
sessions should carry and do not. A pick is a network in a metro, or an exchange: the members that
its route servers reach or whose policy is open, as far as they are candidates.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import polars as pl

from flowpeer_core.slots import SLOT_SECONDS
from flowpeer_reports.billing.rows import BilledPeriod, parts
from flowpeer_reports.billing.savings import Key, Moved, Savings
from flowpeer_reports.billing.terms import printed
from flowpeer_reports.candidates import series_of, universe
from flowpeer_reports.columns.column import schema
from flowpeer_reports.columns.what_if import WHAT_IF, WHAT_IF_LINKS, WHAT_IF_METROS
from flowpeer_reports.errors import ReportError
from flowpeer_reports.exchanges import easy_members
from flowpeer_reports.feasibility import Feasibility
from flowpeer_reports.imbalance import d_of, factors_of, mean_d, measure, providers_of
from flowpeer_reports.inputs import Inputs
from flowpeer_reports.loads import counted, loads, percentiles
from flowpeer_reports.meeting import MeetingPlaces
from flowpeer_reports.offload import OBSERVED
from flowpeer_reports.ranking import Ranking, bps, rank
from flowpeer_reports.relations import Flags, Ints
from flowpeer_reports.series import Series
from flowpeer_reports.store import MemoryStore
from flowpeer_reports.targets import Chosen, targets

MOST = 200
"""Picks of one selection: more than anybody asks in a year."""


NOTES = (
    "only observed routes move, outbound: inbound moves if the other side's best path changes",
    "savings are of transit bills alone: ports and cross-connects are in the candidate list",
)


@dataclass(frozen=True, slots=True)
class SelectedAsk:
    """A network, or an exchange, in a metro."""

    metro: str
    asn: int | None = None
    ix: int | None = None

    @property
    def text(self) -> str:
        """As it is written."""
        return f"{self.metro}:{self.asn}" if self.ix is None else f"{self.metro}:ix{self.ix}"


def pick_of(text: str) -> SelectedAsk:
    """`METRO:ASN` or `METRO:ixID`.

    Raises:
        ReportError: it is neither.
    """
    metro, _, what = text.strip().rpartition(":")
    found = re.fullmatch(r"(ix|AS|as)?([0-9]{1,10})", what, re.ASCII)
    if not metro or found is None or int(found[2]) >= 2**32:
        raise ReportError(f"{text[:60]!r} is no pick", advice="write METRO:ASN or METRO:ixID")
    number = int(found[2])
    return SelectedAsk(metro, ix=number) if found[1] == "ix" else SelectedAsk(metro, asn=number)


def taken_cells(
    ranking: Ranking, metro: int, members: Sequence[int], taken: Flags, *, every: bool = False
) -> Ints:
    """Cells that parties take first, marked in `taken`: the observed ones, or by any evidence."""
    entries, base = ranking.eligible[metro], ranking.cells.of(metro).start
    mask = np.zeros(len(taken), dtype=np.bool_)
    for asn in members:
        at = int(np.searchsorted(entries.asns, asn))
        if at < len(entries.asns) and entries.asns[at] == asn:
            span = entries.of(at)
            mask[entries.atom[span][every | (entries.kind[span] == OBSERVED)] + base] = True
    mask &= ~taken
    taken |= mask
    return np.flatnonzero(mask)


@dataclass(slots=True)
class WhatIf:
    """The answer; frames have the columns of `flowpeer_reports.columns.what_if`."""

    rows: pl.DataFrame
    links: pl.DataFrame
    metros: pl.DataFrame
    notes: list[str]


class Baseline:
    """What any selection of one period is judged against, made once."""

    def __init__(
        self,
        inputs: Inputs,
        billed: BilledPeriod | None = None,
        chosen: Mapping[str, Chosen | None] | None = None,
    ) -> None:
        """`chosen`: metro → its configured targets."""
        self._inputs, self._billed, self._chosen = inputs, billed, chosen or {}
        world = universe(inputs, None)
        self._world = world
        self._places = MeetingPlaces(inputs, world.parties)
        feasibility = Feasibility(inputs, self._places, None)
        self._ranking = rank(inputs, world, ("out",), feasibility, asks=1)
        self._easy = [
            easy_members(self._ranking, number, self._places, feasibility)
            for number in range(len(world.metros))
        ]
        self._loads = loads(inputs, ["transit"])
        self._names = inputs.names()

    def selection(self, picks: Sequence[SelectedAsk]) -> WhatIf:
        """What these bring, in their order.

        Raises:
            ReportError: an unknown metro or exchange, or too many picks.
        """
        if len(picks) > MOST:
            raise ReportError(f"{len(picks)} picks", advice=f"take at most {MOST}")
        ranking, cells = self._ranking, self._ranking.cells
        series = series_of(
            self._inputs,
            self._billed,
            self._world.cover,
            cells,
            self._world.flows,
            MemoryStore(),
            self._world.since,
        )
        unique = list(dict.fromkeys(picks))
        taken = {kind: np.zeros(len(cells.atom), dtype=np.bool_) for kind in ("seen", "any")}
        rows: list[dict[str, Any]] = []
        totals = {name: self._outbound(n) for n, name in enumerate(self._world.metros)}
        sums = dict.fromkeys(totals, 0.0)
        total = 0.0
        for number, pick in enumerate(unique):
            metro = self._number(pick.metro)
            members = self._members(pick, metro)
            mine = {
                kind: taken_cells(ranking, metro, members, taken[kind], every=kind == "any")
                for kind in taken
            }
            series.want(number, mine["seen"], "out")
            rate = float(cells.rate_out[mine["seen"]].sum())
            total += rate
            sums[pick.metro] += rate
            slots = self._inputs.period_slots
            rows.append(
                {
                    "pick": pick.text, "metro": pick.metro, "asn": pick.asn,
                    "name": self._names.get(pick.asn or 0) if pick.ix is None
                    else self._places.registry.exchange(pick.ix),
                    "members": len(members),
                    "out_bytes": int(cells.out[mine["seen"]].sum()),
                    "out_bps": bps(rate, slots), "cumulative_bps": bps(total, slots),
                    "cumulative_share": sums[pick.metro] / totals[pick.metro]
                    if totals[pick.metro] else None,
                    "with_inferred_bps": bps(float(cells.rate_out[mine["any"]].sum()), slots),
                    "currency": self._inputs.currency,
                    "note": self._note(pick, members, len(mine["seen"]), len(mine["any"])),
                }
            )  # fmt: skip
        series.load()
        self._money(series, ranking.cells.metros, unique, rows)
        gone = self._gone(series, unique)
        metros = list(dict.fromkeys(p.metro for p in unique))
        return WhatIf(
            pl.DataFrame(rows, schema=schema(WHAT_IF)),
            pl.DataFrame([r for m in metros for r in self._links(m, gone)],
                         schema=schema(WHAT_IF_LINKS)),
            pl.DataFrame([self._metro(m, gone) for m in metros], schema=schema(WHAT_IF_METROS)),
            [
                *self._inputs.notes,
                *NOTES,
            ],
        )  # fmt: skip

    def _number(self, metro: str) -> int:
        if metro not in self._world.metros:
            raise ReportError(
                f"no transit in metro {metro[:40]!r}",
                advice=f"there is in {', '.join(self._world.metros)}",
            )
        return self._world.metros.index(metro)

    def _outbound(self, metro: int) -> float:
        return float(self._ranking.cells.rate_out[self._ranking.cells.of(metro)].sum())

    def _members(self, pick: SelectedAsk, metro: int) -> list[int]:
        """The parties that a pick stands for."""
        if pick.ix is None:
            return [self._ranking.parties.of(pick.asn or 0)]
        if pick.ix not in self._easy[metro]:
            raise ReportError(
                f"exchange {pick.ix} is not in {pick.metro}",
                advice="`flowpeer exchanges` lists those that are",
            )
        return self._easy[metro][pick.ix]

    def _note(self, pick: SelectedAsk, members: Sequence[int], seen: int, every: int) -> str | None:
        if seen:
            return None
        if pick.ix is not None and not members:
            return "none of its members is a candidate that is easily won"
        if every:
            return "only inferred routes are left of it"
        entries = self._ranking.eligible[self._number(pick.metro)]
        if not set(members) & set(entries.asns.tolist()):
            return "no candidate here: `flowpeer explain` says why"
        return "the picks above take all of it"

    def _money(
        self, series: Series, metros: Sequence[str], picks: Sequence[SelectedAsk],
        rows: Sequence[dict[str, Any]],
    ) -> None:  # fmt: skip
        """Fill in what each row saves after those above it."""
        if self._billed is None:
            return
        savings = Savings(self._billed.months, self._billed.convert)
        total: Fraction | None = Fraction(0)
        for number, (pick, row) in enumerate(zip(picks, rows, strict=True)):
            moved = Moved(series.start, parts(series, number, "out", metros.index(pick.metro)))
            money = savings.row(moved)
            saved = money.bill_saving
            total = None if saved is None or total is None else total + saved
            row["bill_saving_per_month"] = printed(saved)
            row["cumulative_saving_per_month"] = printed(total)
            row["note"] = "; ".join(filter(None, (row["note"], *money.notes))) or None

    def _gone(self, series: Series, picks: Sequence[SelectedAsk]) -> dict[tuple[str, Key], Ints]:
        """(metro, link) → bytes outbound that leave it, by slot of the period."""
        gone: dict[tuple[str, Key], Ints] = {}
        for number, pick in enumerate(picks):
            metro = self._number(pick.metro)
            found = series.get(number, "out", metro)
            for link, octets in zip(found.links, found.octets, strict=True):
                if link.direction == "out":
                    key = (pick.metro, (link.exporter, link.interface))
                    here = octets[series.inside]
                    gone[key] = gone[key] + here if key in gone else here
        return gone

    def _here(self, metro: str) -> pl.DataFrame:
        return self._loads.links.with_row_index("link").filter(pl.col("metro") == metro)

    def _links(self, metro: str, gone: Mapping[tuple[str, Key], Ints]) -> list[dict[str, Any]]:
        called = {
            p.asn: p.name for p in providers_of(self._inputs, self._loads, metro, self._names)
        }
        made = []
        for row in self._here(metro).iter_rows(named=True):
            judged = counted(self._inputs, self._loads, [row["link"]], "out")
            before = judged.lines(self._loads, "out", [row["link"]])
            after = before - np.minimum(
                gone.get((metro, (row["exporter"], row["interface"])), 0), before
            )
            rates = [
                None if judged.refused
                else int(percentiles(line[:, judged.flags], judged.slots)[0]) * 8 / SLOT_SECONDS
                for line in (before, after)
            ]  # fmt: skip
            was, now = rates
            size = row.get("capacity_bps")
            made.append(
                {
                    "metro": metro, "provider_asn": row["provider_asn"],
                    "provider": called.get(row["provider_asn"]), "exporter": row["exporter"],
                    "interface": row["interface"], "capacity_bps": size,
                    "p95_before_bps": was, "p95_bps": now,
                    "change_bps": None if was is None or now is None else now - was,
                    "utilisation_before": was / size if size and was is not None else None,
                    "utilisation": now / size if size and now is not None else None,
                }
            )  # fmt: skip
        return sorted(made, key=lambda r: (r["change_bps"] or 0.0, r["exporter"], r["interface"]))

    def _metro(self, metro: str, gone: Mapping[tuple[str, Key], Ints]) -> dict[str, Any]:
        """D of the metro's outbound transit, as it was and as it is then."""
        inputs, found = self._inputs, self._loads
        providers = providers_of(inputs, found, metro, self._names)
        aims = targets(
            inputs.interfaces, inputs.contracts, metro, [p.asn for p in providers],
            self._chosen.get(metro), (inputs.period_start, inputs.period_end),
        )  # fmt: skip
        factors = factors_of(inputs, found)
        measured = measure(inputs, found, metro, "out", providers, aims, factors)
        place = {p.asn: i for i, p in enumerate(providers)}
        remaining, average = measured.filled.copy(), measured.average.copy()
        for link, exporter, interface, asn in (
            self._here(metro).select("link", "exporter", "interface", "provider_asn").iter_rows()
        ):
            octets = gone.get((metro, (exporter, interface)))
            if octets is None:
                continue
            at = place[asn]
            if link not in measured.counted.silent:
                remaining[at] -= np.minimum(octets, remaining[at])
            average[at] -= int(octets.sum()) * factors[link]
        judged = measured.counted
        flags = judged.flags
        was, now = (
            None if judged.refused
            else mean_d(octets[:, flags], d_of(octets[:, flags], measured.weights))
            for octets in (measured.filled, remaining)
        )  # fmt: skip
        slots = inputs.period_slots
        return {
            "metro": metro, "avg_before_bps": bps(float(measured.average.sum()), slots),
            "avg_bps": bps(float(average.sum()), slots), "d_before": was, "d": now,
            "d_change": None if was is None or now is None else now - was, "target": aims.rule,
        }  # fmt: skip
