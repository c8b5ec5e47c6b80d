"""What share of a metro's transit each provider should carry (METHODS M11).

By what is committed where every transit interface of the metro names a contract with a commit,
else by capacity, else equally; or as the operator says. A contract's commit is split over all its
interfaces, in whatever metro, by their capacity, equally where one is unknown. Where an interface's
capacity, contract or neighbour changes within the period, the mean over its time counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from itertools import pairwise

import polars as pl

from flowpeer_reports.errors import ReportError

Chosen = str | Mapping[str, float]
"""`commit`, `capacity`, or shares by ASN as text."""


@dataclass(frozen=True, slots=True)
class Targets:
    """Of one metro: the rule, weights by provider (adding up to 1), bit/s where known, a remark."""

    rule: str
    """commit, capacity, given or equal."""
    share: dict[int | None, Fraction]
    amount: dict[int | None, int] | None
    """bit/s behind the shares, by which metros are added up; None where there is none."""
    note: str = ""


def targets(
    interfaces: pl.DataFrame,
    contracts: pl.DataFrame,
    metro: str,
    providers: Sequence[int | None],
    chosen: Chosen | None = None,
    between: tuple[datetime, datetime] | None = None,
) -> Targets:
    """The targets of a metro's `providers`.

    Args:
        interfaces: exporter, interface, metro, role, asn, capacity_bps, contract, and valid_from
            and valid_until where sections change.
        between: the period; None: all sections hold throughout.
        contracts: contract, commit_bps.
        chosen: the configuration's word, None for the default.

    Raises:
        ReportError: given shares that name no provider of the metro.
    """
    spans = _spans(interfaces.filter(pl.col("role") == "transit"), metro, between)
    if isinstance(chosen, Mapping):
        return _given(chosen, metro, providers)
    note = ""
    if chosen in (None, "commit"):
        parts, lacking = _mean_commits(spans, contracts, metro)
        if parts is not None and set(providers) <= set(parts) and any(parts.values()):
            return _by("commit", parts, providers)
        if chosen == "commit":
            note = f"targets by commit are asked for, but {lacking} has none: by capacity"
    sizes = _mean_capacities(spans, metro)
    unknown = [f"AS{p}" if p is not None else "unknown" for p in providers if not sizes.get(p)]
    if unknown or not providers:
        even = {p: Fraction(1, len(providers)) for p in providers}
        text = f"targets are equal shares: no capacity known of {', '.join(unknown)}"
        return Targets("equal", even, None, "; ".join(filter(None, (note, text))))
    known = {p: sizes[p] or Fraction(0) for p in providers}
    return _by("capacity", known, providers, note)


_Spans = list[tuple[Fraction, pl.DataFrame]]


def _spans(links: pl.DataFrame, metro: str, between: tuple[datetime, datetime] | None) -> _Spans:
    """Parts of the period in which the same sections hold, by their share of the time in which the
    metro has any, each with its sections."""
    if between is None or not {"valid_from", "valid_until"} <= set(links.columns):
        return [(Fraction(1), links)]
    start, end = between
    changes = {t for name in ("valid_from", "valid_until") for t in links[name].drop_nulls()}
    edges = sorted({start, end, *(t for t in changes if start < t < end)})
    found = []
    for since, until in pairwise(edges):
        held = links.filter(
            (pl.col("valid_from") <= since).fill_null(True),
            (pl.col("valid_until") > since).fill_null(True),
        )
        if (held["metro"] == metro).any():
            found.append(((until - since) // timedelta(microseconds=1), held))
    total = sum(size for size, _ in found)
    return [(Fraction(size, total), held) for size, held in found]


def _mean_capacities(spans: _Spans, metro: str) -> dict[int | None, Fraction | None]:
    """bit/s by provider of the metro; None where one of its links' is unknown."""
    sizes: dict[int | None, Fraction | None] = {}
    for share, links in spans:
        for (asn,), group in links.filter(pl.col("metro") == metro).group_by("asn"):
            known, had = group["capacity_bps"].to_list(), sizes.get(asn, Fraction(0))
            full = None not in known and 0 not in known and had is not None
            sizes[asn] = had + share * sum(known) if full and had is not None else None
    return sizes


def _mean_commits(
    spans: _Spans, contracts: pl.DataFrame, metro: str
) -> tuple[dict[int | None, Fraction] | None, str]:
    """As `_commits`, over the whole period."""
    parts: dict[int | None, Fraction] = {}
    for share, links in spans:
        found, lacking = _commits(links, contracts, metro)
        if found is None:
            return None, lacking
        for asn, size in found.items():
            parts[asn] = parts.get(asn, Fraction(0)) + share * size
    return (parts or None), "no transit interface there"


def _by(
    rule: str, parts: Mapping[int | None, int | Fraction], providers: Sequence[int | None],
    note: str = "",
) -> Targets:  # fmt: skip
    total = sum(Fraction(parts[p]) for p in providers)
    share = {p: Fraction(parts[p]) / total for p in providers}
    return Targets(rule, share, {p: int(parts[p]) for p in providers}, note)


def _given(given: Mapping[str, float], metro: str, providers: Sequence[int | None]) -> Targets:
    wanted = {int(asn): Fraction(str(share)) for asn, share in given.items()}
    strangers = sorted(set(wanted) - set(providers))
    total = sum(wanted.values())
    if strangers or not total:
        raise ReportError(
            f"metro {metro}: targets name "
            + (f"AS{strangers[0]}, no transit provider there" if strangers else "no share above 0"),
            advice=f"its providers are {', '.join(f'AS{p}' for p in providers if p)}",
        )
    share = {p: wanted.get(p or 0, Fraction(0)) / total for p in providers}
    note = (
        "" if total == 1 else f"the given targets add up to {float(total):g}: taken in proportion"
    )
    return Targets("given", share, None, note)


def _commits(
    links: pl.DataFrame, contracts: pl.DataFrame, metro: str
) -> tuple[dict[int | None, Fraction] | None, str]:
    """Committed bit/s by provider of the metro, or None and the interface that lacks one."""
    commit = {
        c: b for c, b in contracts.select("contract", "commit_bps").iter_rows() if b is not None
    }
    parts: dict[int | None, Fraction] = {}
    of: dict[str, list[int | None]] = {}
    for terms, size in links.select("contract", "capacity_bps").iter_rows():
        of.setdefault(terms, []).append(size)
    rows = links.filter(pl.col("metro") == metro)
    for exporter, interface, asn, size, terms in rows.select(
        "exporter", "interface", "asn", "capacity_bps", "contract"
    ).iter_rows():
        if terms not in commit:
            return None, f"{exporter} {interface}"
        sizes = of[terms]
        total = sum(s for s in sizes if s)
        part = Fraction(size, total) if all(sizes) else Fraction(1, len(sizes))
        parts[asn] = parts.get(asn, Fraction(0)) + commit[terms] * part
    return (parts or None), "no transit interface there"
