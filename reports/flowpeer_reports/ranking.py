"""The list of one metro: what sessions should carry already, then the asks in order (M7)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from flowpeer_core.asns import is_public
from flowpeer_core.slots import SLOT_SECONDS
from flowpeer_reports.cover import Cover
from flowpeer_reports.feasibility import Feasibility
from flowpeer_reports.greedy import Entries, Reals, select
from flowpeer_reports.inputs import Inputs
from flowpeer_reports.never import OWN, SIBLING, transits
from flowpeer_reports.relations import Flags, Ints


@dataclass(slots=True)
class Row:
    asn: int
    rank: int
    atoms: Ints
    observed: Flags
    own: int
    cone: int
    score: float
    expected: float
    """Bytes that it was ranked by: what it adds if the rows above say yes as likely as they may."""
    around: tuple[int, int]
    """Bytes out and in of all it could take standing alone."""
    note: str = ""
    tied: list[str] = field(default_factory=list)


@dataclass(slots=True)
class MetroList:
    """Bytes by atom of one metro, and its rows."""

    metro: str
    slots: int
    out: Ints
    in_: Ints
    chosen: Ints
    variance: Reals
    owner: Ints
    rows: list[Row] = field(default_factory=list)
    next_ask: dict[str, Any] | None = None


def _by_atom(flows: pl.DataFrame, column: str, size: int) -> Ints:
    values = np.zeros(size, dtype=flows.schema[column].to_python())
    np.add.at(values, flows["atom"].to_numpy(), flows[column].to_numpy())
    return values


def rank_metro(
    inputs: Inputs,
    found: Cover,
    flows: pl.DataFrame,
    metro: str,
    directions: Sequence[str],
    never: dict[int, str],
    feasibility: Feasibility,
    asks: int | None,
    inferred_weight: float,
    averaged: int,
) -> MetroList:
    """The list of `metro`; `flows`: metro, provider_asn, atom, direction, bytes, variance_high.

    Rank 0: what existing sessions should carry. Then `asks` candidates, default all that add
    anything, by expected marginal bytes in `directions`; `never` says who is none and why.
    """
    size = len(found.origins)
    here = flows.filter(pl.col("metro") == metro)
    counted = here.filter(pl.col("direction").is_in(list(directions)))
    m = MetroList(
        metro=metro,
        slots=averaged,
        out=_by_atom(here.filter(pl.col("direction") == "out"), "bytes", size),
        in_=_by_atom(here.filter(pl.col("direction") == "in"), "bytes", size),
        chosen=_by_atom(counted, "bytes", size),
        variance=_by_atom(counted, "variance_high", size).astype(np.float64),
        owner=np.full(size, -1, dtype=np.int64),
    )
    entries = Entries(found.asns, found.first, found.atom, found.observed)
    entries = entries.keep((m.out + m.in_ > 0)[entries.atom])
    peers = _peers(inputs, metro) - {a for a, why in never.items() if why in (OWN, SIBLING)}
    _already_peered(m, entries, found.origins, peers, transits(inputs))

    barred = np.array(sorted(peers | set(never)), dtype=np.int64)
    size_of = np.diff(entries.first)
    allowed = ~np.isin(entries.asns, barred)
    allowed &= is_public(entries.asns)
    entries = entries.keep(np.repeat(allowed, size_of) & (m.owner[entries.atom] < 0))
    out, in_, cone = (entries.totals(v) for v in (m.out, m.in_, m.chosen))
    around = list(zip(out.tolist(), in_.tolist(), strict=True))
    asns = entries.asns.tolist()
    acceptance = np.array(
        [feasibility.score(a, metro, *io) for a, io in zip(asns, around, strict=True)],
        dtype=np.float64,
    )
    limit = None if asks is None else asks + 1
    picks = select(entries, m.chosen, m.variance, acceptance, inferred_weight, limit)
    own = _own(m, found.origins)
    rank = 0
    for rank, pick in enumerate(picks, start=1):
        asn, span = asns[pick.network], entries.of(pick.network)
        free = m.owner[entries.atom[span]] < 0
        atoms = entries.atom[span][free].astype(np.int64)
        if pick.tied_with_above:  # said of the last row too, for a tie across the cut
            m.rows[-1].tied.append(f"AS{asn}")
        if asks is not None and rank > asks:
            m.next_ask = {
                "rank": rank,
                "asn": asn,
                "marginal_bps": bps(int(m.chosen[atoms].sum()), m.slots),
                "expected_bps": bps(pick.expected, m.slots),
            }
            break
        row = Row(
            asn,
            rank,
            atoms,
            entries.observed[span][free],
            own.get(asn, 0),
            int(cone[pick.network]),
            float(acceptance[pick.network]),
            pick.expected,
            around[pick.network],
        )
        if pick.tied_with_above:
            row.tied.append(f"AS{m.rows[-1].asn}")
        m.owner[atoms] = len(m.rows)
        m.rows.append(row)
    return m


def _peers(inputs: Inputs, metro: str) -> set[int]:
    """Networks with a session, or a private interconnection, in the metro."""
    sessions = inputs.sessions.filter(pl.col("metro") == metro)["asn"]
    ports = inputs.interfaces.filter(
        pl.col("metro") == metro, pl.col("role") == "peer", pl.col("asn").is_not_null()
    )["asn"]
    return {int(a) for a in (*sessions, *ports)}


def _already_peered(
    m: MetroList, entries: Entries, origins: Ints, peers: set[int], providers: set[int]
) -> None:
    """Rows of rank 0: what an existing session should carry by the paths we see, largest first.

    Of a peer that is our transit too only its own routes count: what it announces to its peers
    is less than what it sells.
    """
    held: list[tuple[int, int, int, Ints]] = []
    for i in np.flatnonzero(np.isin(entries.asns, np.array(sorted(peers), dtype=np.int64))):
        asn, span = int(entries.asns[i]), entries.of(int(i))
        atoms = entries.atom[span][entries.observed[span]].astype(np.int64)
        if asn in providers:
            atoms = atoms[origins[atoms] == asn]
        held.append((-int(m.chosen[atoms].sum()), -int((m.out + m.in_)[atoms].sum()), asn, atoms))
    own = _own(m, origins)
    for chosen, _, asn, every in sorted(held, key=lambda h: h[:3]):
        atoms = every[m.owner[every] < 0]
        if not len(atoms):
            continue
        note = "session exists in this metro"
        if asn in providers:
            note += "; also our transit: only its own routes are counted"
        m.owner[atoms] = len(m.rows)
        m.rows.append(
            Row(asn, 0, atoms, np.ones(len(atoms), np.bool_), own.get(asn, 0), -chosen, 1.0,
                 float(m.chosen[atoms].sum()),
                 (int(m.out[every].sum()), int(m.in_[every].sum())), note)
        )  # fmt: skip


def _own(m: MetroList, origins: Ints) -> dict[int, int]:
    """Bytes in the chosen directions by origin, of the routes that no row holds yet."""
    free = (m.owner < 0) & (m.chosen > 0)
    asns, at = np.unique(origins[free], return_inverse=True)
    sums = np.zeros(len(asns), dtype=np.int64)
    np.add.at(sums, at, m.chosen[free])
    return dict(zip(asns.tolist(), sums.tolist(), strict=True))


def bps(count: float, slots: int) -> float:
    """Bytes over that many slots as a rate; rounded, so that no sum's order shows."""
    return round(count * 8 / (slots * SLOT_SECONDS), 3)
