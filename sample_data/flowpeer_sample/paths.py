"""AS paths as each transit provider sees them: valley-free, customer before peer, then shortest."""

from __future__ import annotations

from functools import cache

from flowpeer_sample import world as w
from flowpeer_sample.dice import one
from flowpeer_sample.networks import CLIQUE, internet


@cache
def downhill(top: int) -> dict[int, tuple[int, ...]]:
    """For each network in the cone of `top` the shortest chain of customers from it, both ends."""
    net = internet()
    below: dict[int, list[int]] = {}
    for provider, customer in net.links:
        below.setdefault(provider, []).append(customer)
    found: dict[int, tuple[int, ...]] = {top: (top,)}
    ring = [top]
    while ring:
        reached: dict[int, list[int]] = {}
        for asn in ring:
            for customer in below.get(asn, ()):
                if customer not in found:
                    reached.setdefault(customer, []).append(asn)
        for customer, ups in reached.items():
            best = min(ups, key=lambda up: one(f"path/{top}/{up}/{customer}", 1 << 40))
            found[customer] = (*found[best], customer)
        ring = sorted(reached)
    return found


@cache
def seen_from(provider: int) -> dict[int, tuple[int, ...]]:
    """The path to every network as `provider` announces it to us, from it to the origin.

    Our own customers are reached through us and are left out where no other way exists.
    """
    best = dict(downhill(provider))
    peers = [a for a in (*CLIQUE, w.PROVIDER_FREE) if a != provider]
    for origin in internet().networks:
        if origin in best:
            continue
        ways = [downhill(p)[origin] for p in peers if origin in downhill(p)]
        if ways:
            best[origin] = (provider, *min(
                ways, key=lambda p: (len(p), one(f"via/{provider}/{p[0]}/{origin}", 1 << 40))
            ))  # fmt: skip
    return best
