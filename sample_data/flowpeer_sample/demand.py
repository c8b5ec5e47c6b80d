"""Who sends how much to whom, through which interface: the ground truth before sampling."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

from flowpeer_sample import world as w
from flowpeer_sample.dice import one
from flowpeer_sample.networks import Internet, Prefix, internet, own_prefix, special_prefixes

OUT, IN, THROUGH, INSIDE = "out", "in", "through", "inside"

AFFINITY = {  # weight of a region in a metro
    "nyc": {"na-east": 60, "na-central": 8, "na-west": 3, "eu-west": 7, "eu-east": 3, "latam": 6},
    "iad": {"na-east": 60, "na-central": 8, "na-west": 2, "eu-west": 2, "latam": 16},
    "chi": {"na-central": 60, "na-east": 12, "na-west": 6},
    "dfw": {"na-central": 50, "latam": 22, "na-west": 8, "na-east": 4},
    "lax": {"na-west": 60, "asia": 22, "latam": 6, "na-central": 6},
    "ams": {"eu-west": 55, "eu-east": 10, "na-east": 2},
    "fra": {"eu-east": 55, "eu-west": 14, "asia": 3},
    "lon": {"eu-west": 60, "na-east": 4, "eu-east": 3, "asia": 3},
    "par": {"eu-west": 55, "eu-east": 4, "latam": 1},
}
BOOST = {  # per thousand of the usual volume: the story's networks where the story happens
    ("fra", "cone"): 2600, ("ams", "overlap"): 2600, ("nyc", w.NIGHT): 5200,
    ("lon", w.PEERED): 4500, ("chi", w.SPECIFIC): 6000, ("chi", w.COVERING): 3000,
}  # fmt: skip
IN_PERMILLE = 240  # inbound per outbound byte, on average


@dataclass(frozen=True, slots=True)
class Stream:
    """Traffic of one remote prefix over one pair of interfaces; `volume` in bytes of the day.

    For `out` and `in` the other end is ours; `through` goes from `source` (a customer's prefix or
    another's) to `prefix`; `inside` stays within our network.
    """

    kind: str
    prefix: Prefix | None
    input_if: int
    output_if: int
    volume: int
    cycle: str
    utc_offset: int
    source: Prefix | None = None


@cache
def sessions() -> tuple[tuple[int, str, str], ...]:
    """Existing peerings: (asn, metro, kind)."""
    net = internet()
    made = [(asn, m, "pni") for m, asns in w.PNI.items() for asn in asns]
    for metro in w.METROS:
        if metro.exchange is None:
            continue
        for asn in members(metro.exchange):
            taken = (asn, metro.id, "pni") in made
            willing = net.networks[asn].policy in ("open", "selective")
            story = asn in (w.CONE, w.OVERLAP_FIRST, w.OVERLAP_SECOND, w.NIGHT, w.EXCLUDED,
                            w.SPECIFIC, w.COVERING, w.PROVIDER_FREE, w.PEERED,
                            w.BIG_EYEBALL_NA, w.BIG_EYEBALL_EU)  # fmt: skip
            kind = net.networks[asn].kind
            odds = 30 if kind == "access" else 10 if kind == "carrier" else 34
            lucky = one(f"session/{metro.id}/{asn}", 100) < odds
            if (lucky and willing and not taken and not story) or (
                asn == w.PEERED and metro.id == "lon"
            ):
                made.append((asn, metro.id, "ix"))
    return tuple(sorted(made, key=lambda s: ([m.id for m in w.METROS].index(s[1]), s[2], s[0])))


_STORY_PORTS = (
    (w.PEERED, 208), (w.NIGHT, 201), (w.CONE, 207), (w.OVERLAP_FIRST, 206), (w.OVERLAP_SECOND, 206),
    (w.SPECIFIC, 203), (w.BIG_EYEBALL_EU, 206), (w.BIG_EYEBALL_EU, 208), (w.BIG_EYEBALL_NA, 202),
)  # fmt: skip


@cache
def members(ix: int) -> tuple[int, ...]:
    """The networks with a port at an exchange."""
    net = internet()
    metro = w.METRO[w.EXCHANGE_NAMES[ix][0]]
    first = ix < 210
    made = []
    for asn, n in net.networks.items():
        odds = 2 * AFFINITY[metro.id].get(n.region, 0) + {"carrier": 20, "access": 5}.get(n.kind, 0)
        if n.kind == "clique" or asn in (w.CUSTOMER, w.CUSTOMER_OF_CUSTOMER):
            continue
        if asn in net.cone_customers or asn in net.overlap_customers:
            continue  # small networks that are present nowhere: only their carrier can be met
        if one(f"member/{ix}/{asn}", 260) < (odds if first else odds // 3):
            made.append(asn)
    for asn, at in _STORY_PORTS:
        if at == ix and asn not in made:
            made.append(asn)
    return tuple(sorted(made))


@cache
def reach(metro: str) -> dict[int, tuple[int, int]]:
    """Origin → (interface, neighbour), for what the peers and customers of a metro give us."""
    net = internet()
    made: dict[int, tuple[int, int]] = {}
    index = {"ix": w.EXCHANGE, "pni": 31}
    for asn, where, kind in sessions():
        if where == metro:
            for below in net.cone(asn):
                if below not in made or made[below][0] != 31:
                    made[below] = (index[kind], asn)
    if metro == "nyc":
        made |= dict.fromkeys(net.cone(w.CUSTOMER), (w.CUSTOMER_PORT, w.CUSTOMER))
    return made


def transit_port(metro: str, key: str) -> int:
    """The transit interface that our routing (or, inbound, the sender's) happens to prefer."""
    weights = [(w.TRANSIT_INDEX[p], v) for p, v in w.TRANSIT_WEIGHT[metro].items()]
    if metro == "lon":
        weights.append((w.FORGOTTEN, 22))
    dice = one(f"transit/{metro}/{key}", sum(v for _, v in weights))
    for index, weight in weights:
        if dice < weight:
            return index
        dice -= weight
    raise AssertionError("the weights cover the dice")


def is_leaked(prefix: Prefix) -> bool:
    """Whether a prefix of the network with a session in London rides transit all the same."""
    return one(f"leak/{prefix.net}", 100) < 45


def _port(metro: str, prefix: Prefix, direction: str) -> int:
    asn = prefix.origin
    for p in w.PROVIDERS:
        if asn == p.asn and asn in w.TRANSIT_WEIGHT[metro]:
            return w.TRANSIT_INDEX[asn]
    port = reach(metro).get(asn, (None, 0))[0]
    if asn == w.PEERED and metro == "lon" and is_leaked(prefix):
        port = None  # a more specific announcement by transit beats the peer's aggregate
    return port if port is not None else transit_port(metro, f"{direction}/{prefix.net}")


def _split(metro: w.Metro, net: Internet) -> list[tuple[Prefix, int]]:
    """Each prefix's weight in the metro, in arbitrary units."""
    whole: dict[int, int] = {}
    for p in net.prefixes:
        whole[p.origin] = whole.get(p.origin, 0) + p.weight
    made = []
    for p in net.prefixes:
        n = net.networks[p.origin]
        near = AFFINITY[metro.id].get(n.region, 0)
        if not near:
            continue
        taste = 2 + one(f"taste/{metro.id}/{p.origin}", 7)
        boost = BOOST.get((metro.id, p.origin), 1000)
        if p.origin in net.cone_customers:
            boost = BOOST.get((metro.id, "cone"), 700)
            taste = 5
        if p.origin in net.overlap_customers:
            boost = BOOST.get((metro.id, "overlap"), 700)
            taste = 5
        six = 1 if p.net.version == 4 or w.EXPORTER[metro.id].format != "netflow5" else 0
        weight = n.size * near * taste * boost // 1000 * p.weight * six // whole[p.origin]
        if weight:
            made.append((p, weight))
    return made


@cache
def streams(metro: str) -> tuple[Stream, ...]:
    """All traffic of a metro's router."""
    m, net = w.METRO[metro], internet()
    day = int(m.gbps * 1000) * 10**6 // 8 * 86_400
    parts = _split(m, net)
    total = sum(v for _, v in parts)
    offsets = {"na-east": -4, "na-central": -5, "na-west": -7, "eu-west": 2, "eu-east": 3,
               "latam": -3, "asia": 8}  # fmt: skip
    made: list[Stream] = []
    for p, weight in parts:
        n = net.networks[p.origin]
        volume = weight * day // total
        inside = w.SERVERS if one(f"home/{metro}/{p.net}", 5) else w.BACKBONE
        at = (n.cycle, offsets[n.region])
        made.append(Stream(OUT, p, inside, _port(metro, p, OUT), volume, *at))
        back = volume * IN_PERMILLE * (4 + one(f"ratio/{p.origin}", 17)) // 12 // 1000
        made.append(Stream(IN, p, _port(metro, p, IN), inside, back, *at))
    made += _odd_ends(m, day)
    return tuple(s for s in made if s.volume >= 1_000_000)


def _odd_ends(m: w.Metro, day: int) -> list[Stream]:
    """What every real network has too: unrouted space, sets, private origins, drops, insides."""
    as_set, private, dark = special_prefixes()
    here = ("evening", m.utc_offset)
    port = transit_port(m.id, "odd")
    made = [
        Stream(OUT, as_set, w.SERVERS, port, day * 3 // 1000, *here),
        Stream(OUT, private, w.SERVERS, port, day * 2 // 1000, *here),
        Stream(OUT, dark, w.SERVERS, transit_port(m.id, "dark"), day // 1000, *here),
        Stream(IN, dark, transit_port(m.id, "scan"), w.SERVERS, day // 2000, "flat", 0),
        Stream(IN, dark, transit_port(m.id, "scan"), 0, day // 1000, "flat", 0),
    ]
    if m.id != "lon":  # the router in London meters its external interfaces only
        made.append(Stream(INSIDE, None, w.SERVERS, w.BACKBONE, day * 8 // 1000, *here))
        made.append(Stream(OUT, dark, w.SERVERS, 0, day // 2000, "flat", 0))
    if m.id in ("iad", "fra"):  # packets from outside with a source address of ours: spoofed
        port = transit_port(m.id, "spoof")
        made.append(Stream(IN, own_prefix(), port, w.SERVERS, day // 4000, "flat", 0))
    if m.id == "nyc":
        made += _through(day)
    return made


def _through(day: int) -> list[Stream]:
    """The customer's traffic to and from the rest of the world, from border to border."""
    net = internet()
    customers = [p for p in net.prefixes if p.origin in net.cone(w.CUSTOMER)]
    customers = [p for p in customers if p.net.version == 4]
    others = [p for p in net.prefixes if net.networks[p.origin].region == "na-east"
              and p.net.version == 4 and net.networks[p.origin].kind == "access"]  # fmt: skip
    made = []
    for k, p in enumerate(others[:60]):
        source = customers[k % len(customers)]
        port = _port("nyc", p, OUT)
        volume = day * 15 // 1000 // 60
        made.append(Stream(THROUGH, p, w.CUSTOMER_PORT, port, volume, "evening", -4, source))
        back = _port("nyc", p, IN)
        made.append(Stream(THROUGH, source, back, w.CUSTOMER_PORT, volume // 4, "evening", -4, p))
    return made


def records_of(all_streams: tuple[Stream, ...], budget: int) -> list[int]:
    """How many flow records each stream gives: two at least, the rest by volume and its root."""
    volumes = [s.volume for s in all_streams]
    roots = [math.isqrt(v) for v in volumes]
    rest = budget - 2 * len(all_streams)
    whole, root = sum(volumes), sum(roots)
    return [
        2 + (rest * 7 * v // whole + rest * 3 * r // root) // 10
        for v, r in zip(volumes, roots, strict=True)
    ]
