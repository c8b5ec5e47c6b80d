"""Who is never asked, and why (METHODS M7)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date

import polars as pl

from flowpeer_core.asns import PRIVATE, SPECIAL_ASNS, is_public
from flowpeer_reports.inputs import Inputs, pdb
from flowpeer_reports.parties import Parties
from flowpeer_reports.relations import AsGraph

OWN = "own network"
SIBLING = "own sibling"
TRANSIT = "our transit"
TRANSIT_SIBLING = "sibling of our transit"
CLIQUE = "commercial or paid peering"
CUSTOMER = "customer cone"
EXCHANGE = "exchange"
_OF_SIBLINGS = {OWN: SIBLING, TRANSIT: TRANSIT_SIBLING}
RESERVED = SPECIAL_ASNS[PRIVATE]

SHORTEST_NAME, LARGEST_FAMILY = 3, 200
"""Organisation names that tie networks together: "-" or "n/a", or one that hundreds of networks
share, is a placeholder and no organisation."""
_PLACEHOLDERS = frozenset({"n/a", "none", "null", "unknown", "private", "not disclosed"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ExclusionInputs:
    """What decides who is never asked, whatever the traffic; the fields are those of `Inputs`."""

    asn: int
    siblings: frozenset[int]
    interfaces: pl.DataFrame
    relationships: pl.DataFrame
    clique: frozenset[int]
    asns: pl.DataFrame
    peeringdb: Mapping[str, pl.DataFrame]
    exclusions: pl.DataFrame


def transits(inputs: Inputs | ExclusionInputs) -> set[int]:
    """The networks on the other side of transit interfaces."""
    rows = inputs.interfaces.filter(pl.col("role") == "transit")["asn"].drop_nulls()
    return {int(a) for a in rows}


def never_candidates(
    inputs: Inputs | ExclusionInputs, graph: AsGraph, parties: Parties, day: date
) -> dict[int, str]:
    """ASN → why it is never a candidate in any metro on that day. Where several hold, the first
    above.

    If one member of a party is none, no other is.
    """
    ours = {inputs.asn, *inputs.siblings}
    organisations = _organisations(inputs)
    providers = transits(inputs)
    customers = set(inputs.interfaces.filter(pl.col("role") == "customer")["asn"].drop_nulls())
    customers |= set(
        inputs.relationships.filter(
            pl.col("relationship") == -1, pl.col("asn").is_in(sorted(ours))
        )["other_asn"]
    )
    # A wrong inference that makes a transit our customer would take its whole cone off the list.
    customers -= providers
    rs = pdb(inputs.peeringdb, "ixlan", {"rs_asn": pl.Int64})["rs_asn"].drop_nulls()
    kinds = pdb(inputs.peeringdb, "net", {"asn": pl.Int64, "info_type": pl.String})
    exchanges = {int(a) for a in rs if a > 0} | set(
        kinds.filter(pl.col("info_type").is_in(["Route Server", "Route Collector"]))["asn"]
    )
    reasons: dict[int, str] = {}
    groups: list[tuple[str, Iterable[int]]] = [
        (OWN, [inputs.asn]),
        (SIBLING, _siblings(ours, graph, organisations)),
        (TRANSIT, providers),
        (TRANSIT_SIBLING, _siblings(providers, graph, organisations)),
        (CLIQUE, inputs.clique),
        (CUSTOMER, graph.cone(int(c) for c in customers) - ours if customers else ()),
        (EXCHANGE, exchanges),
    ]
    groups += [(reason, [asn]) for asn, reason in _exclusions(inputs, day)]
    for reason, asns in groups:
        for asn in asns:
            reasons.setdefault(int(asn), reason)
            for sibling in parties.members(parties.of(int(asn))):
                reasons.setdefault(sibling, _OF_SIBLINGS.get(reason, reason))
    return reasons


def origin_reason(origin: int, never: Mapping[int, str]) -> str | None:
    """Why traffic of this origin stands for no candidate; None: it could be one."""
    if origin in SPECIAL_ASNS:
        return SPECIAL_ASNS[origin]
    if origin not in never and not is_public(origin):
        return RESERVED
    return never.get(origin)


def _exclusions(inputs: Inputs | ExclusionInputs, today: date) -> Iterable[tuple[int, str]]:
    """Exclusions in force on that day."""
    for asn, reason, until in inputs.exclusions.select("asn", "reason", "until").iter_rows():
        if until is None or until >= today:
            text = f"excluded: {reason}" if reason else "excluded"
            yield asn, f"{text} (until {until})" if until else text


def _organisations(inputs: Inputs | ExclusionInputs) -> dict[int, set[str]]:
    found: dict[int, set[str]] = {}
    net = pdb(inputs.peeringdb, "net", {"asn": pl.Int64, "org_id": pl.Int64}).drop_nulls()
    for asn, org in net.iter_rows():
        found.setdefault(asn, set()).add(f"peeringdb {org}")
    names = inputs.asns.select("asn", pl.col("organisation").cast(pl.String)).drop_nulls()
    shared = dict(names.group_by(pl.col("organisation").str.strip_chars()).len().iter_rows())
    for asn, name in names.iter_rows():
        plain = name.strip()
        if len(plain) < SHORTEST_NAME or plain.casefold() in _PLACEHOLDERS:
            continue
        if shared[plain] <= LARGEST_FAMILY:
            found.setdefault(asn, set()).add(f"name {plain.casefold()}")
    return found


def _siblings(asns: set[int], graph: AsGraph, organisations: dict[int, set[str]]) -> set[int]:
    """Networks tied to `asns` by sibling links or by one organisation."""
    family = graph.siblings(asns)
    wanted = set().union(*(organisations.get(a, set()) for a in family))
    if wanted:
        family |= {a for a, orgs in organisations.items() if orgs & wanted}
    return family - {a for a in asns if a < 0}
