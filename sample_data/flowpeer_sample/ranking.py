"""A plain, slow ranking by METHODS M7, from the ground truth: what the story's claims rest on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from flowpeer_sample import world as w
from flowpeer_sample.answers import crossings, is_session
from flowpeer_sample.mrt import as_path
from flowpeer_sample.networks import CLIQUE, Prefix, internet

INFERRED = 0.3
BASE_RATE = {"open": 0.8, "selective": 0.4, "restrictive": 0.15, "no": 0.02, "": 0.35}


@dataclass(frozen=True, slots=True)
class ExpectedRow:
    """One row: bytes of the day, outbound, all classes of evidence unweighted."""

    asn: int
    own: int
    cone: int
    marginal: int


@cache
def _takers(prefix: Prefix) -> dict[int, float]:
    """ASN → weight with which peering with it would take this route."""
    if not prefix.announced or prefix.origin_set or prefix.origin == w.PRIVATE_ORIGIN:
        takers: dict[int, float] = {}
        if not prefix.announced:
            return takers
    else:
        takers = dict.fromkeys(_above(prefix.origin), INFERRED)
    net = internet()
    for provider in w.PROVIDERS:
        sequence, _ = as_path(prefix, provider.asn)
        path = [a for k, a in enumerate(sequence) if k == 0 or sequence[k - 1] != a]
        for k in range(1, len(path)):
            links = zip(path[k:], path[k + 1 :], strict=False)
            if not prefix.origin_set and all(link in _links() for link in links):
                takers[path[k]] = 1.0
    return {a: v for a, v in takers.items() if a in net.networks}


@cache
def _links() -> frozenset[tuple[int, int]]:
    return frozenset(internet().links)


@cache
def _announcing() -> frozenset[tuple[int, int]]:
    """(a provider or peer, the network that tells it its customers' routes)."""
    peers = internet().peerings
    return _links() | frozenset(peers) | frozenset((b, a) for a, b in peers)


@cache
def _above(origin: int) -> frozenset[int]:
    """The networks whose provider/peer-observed cone holds an origin, itself included."""
    return frozenset({origin, *_cones().get(origin, ())})


@cache
def _cones() -> dict[int, set[int]]:
    """Network → those that it follows over links to customers, where the hop before these is
    their provider or peer."""
    found: dict[int, set[int]] = {}
    for prefix in internet().prefixes:
        for provider in w.PROVIDERS if prefix.announced else ():
            sequence, _ = as_path(prefix, provider.asn)
            path = [a for k, a in enumerate(sequence) if k == 0 or sequence[k - 1] != a]
            for k in range(1, len(path)):
                if (path[k - 1], path[k]) not in _announcing():
                    continue
                for j in range(k + 1, len(path)):
                    if (path[j - 1], path[j]) not in _links():
                        break
                    found.setdefault(path[j], set()).add(path[k])
    return found


def _never(metro: str) -> frozenset[int]:
    net = internet()
    here = {a for a in net.networks if is_session(a, metro)}
    return frozenset({w.ASN, w.EXCLUDED, *CLIQUE, *net.cone(w.CUSTOMER), *here})


def rank(metro: str, rows: int, accept: Callable[[int], float] | None = None) -> list[ExpectedRow]:
    """The first `rows` asks of a metro, greedy by expected marginal value (M7)."""
    net = internet()
    accept = accept or (lambda asn: BASE_RATE[net.networks[asn].policy])
    routes: dict[Prefix, int] = {}
    for c in crossings():
        if c.metro == metro and c.role == "transit" and c.direction == "out" and c.scaled:
            assert c.prefix is not None
            routes[c.prefix] = routes.get(c.prefix, 0) + c.bytes
    never = _never(metro)
    here = {a for a in net.networks if is_session(a, metro)}
    for prefix in list(routes):  # row 0: what existing sessions should carry
        if any(a in here and weight == 1.0 for a, weight in _takers(prefix).items()):
            del routes[prefix]
    left = dict.fromkeys(routes, 1.0)
    taken: set[Prefix] = set()
    reach: dict[int, dict[Prefix, float]] = {}
    for prefix in routes:
        for asn, weight in _takers(prefix).items():
            if asn not in never:
                reach.setdefault(asn, {})[prefix] = weight
    made: list[ExpectedRow] = []
    while reach and len(made) < rows:
        value = {
            asn: accept(asn) * sum(v * routes[p] * left[p] for p, v in of.items())
            for asn, of in reach.items()
        }
        best = max(sorted(value), key=value.__getitem__)
        of = reach.pop(best)
        own = sum(routes[p] for p in of if p.origin == best)
        marginal = sum(routes[p] for p in of if p not in taken)
        made.append(ExpectedRow(best, own, sum(routes[p] for p in of), marginal))
        taken |= set(of)
        for p, weight in of.items():
            left[p] *= 1 - accept(best) * weight
    return made
