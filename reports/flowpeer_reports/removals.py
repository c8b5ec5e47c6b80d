"""What a drill takes away: links by what they have in common (METHODS M12)."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from flowpeer_reports.errors import ReportError

KINDS = ("link", "provider", "exporter", "exchange", "facility", "risk_group", "metro")
SHOWN = 8
"""Names of a kind in an error."""


@dataclass(frozen=True, slots=True)
class Removal:
    """Links that are taken away together.

    Attributes:
        kind: one of `KINDS`, or site.
        name: as in `--remove`, behind the kind.
        links: their numbers, rising.
        site: metro whose demand goes too (*site lost*); None: demand stays (*edge lost*).
        to: metro that the site's demand moves to; None: it is gone.
        prefixes: own prefixes whose demand at the site it is; None: all of it.
    """

    kind: str
    name: str
    links: tuple[int, ...]
    site: str | None = None
    to: str | None = None
    prefixes: frozenset[str] | None = None

    @property
    def what(self) -> tuple[Any, ...]:
        """What it takes away; two of a kind of failure, or more, may be the same."""
        return self.links, self.site, self.to, self.prefixes


def groups(links: pl.DataFrame, risk_groups: Mapping[str, Iterable[int]]) -> list[Removal]:
    """Every single thing that can fail, by kind and name.

    Args:
        links: exporter, interface, metro, role, provider_asn, and exchange and facility where
            known; the place is the link's number.
        risk_groups: name → numbers of links.
    """
    found: dict[tuple[str, str], list[int]] = {}
    for number, row in enumerate(links.iter_rows(named=True)):
        for kind, name in _names(row):
            found.setdefault((kind, name), []).append(number)
    for name, members in risk_groups.items():
        found[("risk_group", name)] = sorted(set(members))
    made = [Removal(kind, name, tuple(members)) for (kind, name), members in found.items()]
    return sorted(
        (r for r in made if r.links), key=lambda r: (KINDS.index(r.kind), r.links, r.name)
    )


def _names(row: Mapping[str, Any]) -> list[tuple[str, str]]:
    made = [("link", f"{row['exporter']}:{row['interface']}"), ("metro", row["metro"])]
    if not row.get("planned"):  # nobody knows yet on which router
        made.append(("exporter", row["exporter"]))
    if row["provider_asn"] is not None and row["role"] != "ix":
        made.append(("provider", str(row["provider_asn"])))
    made += [(k, str(row[k])) for k in ("exchange", "facility") if row.get(k) is not None]
    return made


def chosen(every: Sequence[Removal], asked: Sequence[str]) -> list[Removal]:
    """The removals named like `link:edge1.ams:11` or `provider:174`.

    Raises:
        ReportError: no such thing.
    """
    known = {f"{r.kind}:{r.name}": r for r in every}
    found = []
    for text in asked:
        if text not in known:
            raise _unknown(text, known)
        found.append(known[text])
    return found


def _unknown(text: str, known: Mapping[str, Removal]) -> ReportError:
    """What there is in place of what was asked for."""
    kind, colon, _ = text.partition(":")
    near = difflib.get_close_matches(text, known, n=1)
    if not colon or kind not in KINDS:
        kinds = ", ".join(f"{k}:…" for k in KINDS)
        advice = f"did you mean {near[0]}?" if near else f"write it like {kinds}"
        return ReportError(f"--remove {text}: {kind!r} is no kind of failure", advice=advice)
    names = [name for name, removal in known.items() if removal.kind == kind]
    if near:
        advice = f"did you mean {near[0]}?"
    elif names:
        advice = f"there are {', '.join(names[:SHOWN])}" + (", …" if names[SHOWN:] else "")
    elif kind == "risk_group":
        advice = "add [[risk_groups]]"
    else:
        more = ", or of their [[exporters]]," if kind == "facility" else ""
        advice = f"state `{kind}` of [[interfaces]]{more} to have some"
    return ReportError(f"--remove {text}: no external interface is that", advice=advice)


def together(removals: Sequence[Removal]) -> Removal:
    """Several removals at the same time, as one."""
    if len(removals) == 1:
        return removals[0]
    links = sorted({link for r in removals for link in r.links})
    name = " + ".join(f"{r.kind}:{r.name}" for r in removals)
    return Removal("several", name, tuple(links))


def site(links: pl.DataFrame, metro: str, to: str | None, metros: Sequence[str]) -> Removal:
    """A metro lost with its demand, which moves to another one or is gone.

    Raises:
        ReportError: no such metro.
    """
    for name in filter(None, (metro, to)):
        if name not in metros:
            raise ReportError(f"no such metro: {name}", advice=f"one of {', '.join(metros)}")
    if metro == to:
        raise ReportError(f"--to {to}: that is the metro that is lost", advice="give another one")
    numbers = links.with_row_index("n").filter(pl.col("metro") == metro)["n"].to_list()
    name = metro if to is None else f"{metro} to {to}"
    return Removal("site", name, tuple(numbers), metro, to)
