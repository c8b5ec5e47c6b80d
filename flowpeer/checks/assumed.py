"""What drills, plans, exits and moves have to assume, because the configuration does not say it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from flowpeer.checks.findings import Finding
from flowpeer.network import Configuration
from flowpeer.routing.rib.snapshot import SnapshotInfo
from flowpeer_core.roles import EXTERNAL_ROLES
from flowpeer_reports.moves import TABLES

SHOWN = 3


def assumed(network: Configuration, infos: Sequence[SnapshotInfo]) -> Iterator[Finding]:
    """One line for each answer that rests on something nobody stated; none without transit."""
    links = [i for i in network.interfaces if i.role in EXTERNAL_ROLES]
    transit = [i for i in links if i.role == "transit"]
    if not transit:
        return
    home = _missing(
        (not network.announcements, ("[[announcements]]: our prefixes count as announced, their "
         "demand as at home, where traffic leaves or comes in")),
        (not network.routing.route_scope, ("route_scope of [routing]: a learned route may be used "
         f"in its {network.routing.default_scope} alone (default_scope)")),
    )  # fmt: skip
    places = _missing(
        (not network.risk_groups, ("[[risk_groups]]: nothing fails together but what shares a "
         "router, exchange, facility or metro")),
        *_unsized([f"{i.index} of {i.exporter}" for i in links if i.capacity is None]),
        *_nowhere([m.id for m in network.metros if m.region is None], "region"),
        *_nowhere([m.id for m in network.metros if m.continent is None], "continent"),
    )  # fmt: skip
    full = [i for i in transit if i.full_table is None]
    tables = _missing(
        (bool(full), (f"full_table of {len(full)} transit interfaces: each is taken to offer every "
         "route where no view of it is loaded")),
    )  # fmt: skip
    yield from _finding("drill", [*home, *places, *tables], "the answers of drill rest on that")
    yield from _finding("exits", [*home, *tables], "the audit of exits rests on that")
    bare = [i for i in transit if i.med is None]
    yield from _finding(
        "imbalance",
        _missing(
            (network.routing.always_compare_med and bool(bare), (f"med of {len(bare)} transit "
             "interfaces: MEDs of the tables are compared, which our import policy may rewrite")),
            (0 < len(infos) < TABLES, (f"{TABLES} tables of routes ({len(infos)} loaded): whether "
             "a route that moves is stable is not known")),
        ),
        "its causes and moves rest on that",
    )  # fmt: skip


def _missing(*asked: tuple[bool, str]) -> list[str]:
    return [text for absent, text in asked if absent]


def _unsized(names: Sequence[str]) -> list[tuple[bool, str]]:
    shown = ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" * (len(names) > SHOWN))
    return [(bool(names), f"capacity of {shown}: in no growth and no bottleneck")]


def _nowhere(names: Sequence[str], what: str) -> list[tuple[bool, str]]:
    shown = ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" * (len(names) > SHOWN))
    return [(bool(names), f"{what} of {shown}: its scope is the metro alone")]


def _finding(answer: str, texts: Sequence[str], rests: str) -> Iterator[Finding]:
    if texts:
        yield Finding("note", answer, f"not stated: {'; '.join(texts)}",
                      f"{rests}: state them where they differ")  # fmt: skip
