"""The networks around the sample: who they are, whose customers, which prefixes.

A clique of eight provider-free carriers (our three transits among them), regional carriers,
access networks and edge networks below them, so that customer cones nest and overlap.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from functools import cache

from flowpeer_sample import world as w
from flowpeer_sample.dice import one

CLIQUE = (*(p.asn for p in w.PROVIDERS), 500404, 500505, 500606, 500707, 500818)

REGIONS = ("na-east", "na-central", "na-west", "eu-west", "eu-east", "latam", "asia")
UTC_OFFSET = {"na-east": -4, "na-central": -5, "na-west": -7, "eu-west": 2, "eu-east": 3,
              "latam": -3, "asia": 8}  # fmt: skip
COUNTRIES = {"na-east": ("US", "CA"), "na-central": ("US", "CA"), "na-west": ("US", "CA"),
             "eu-west": ("NL", "GB", "FR", "ES", "BE"), "eu-east": ("DE", "PL", "CZ", "AT", "SE"),
             "latam": ("BR", "MX", "CL"), "asia": ("JP", "SG", "KR")}  # fmt: skip

CARRIERS, ACCESS, EDGE = 27, 70, 290
CONE_CUSTOMERS, OVERLAP_CUSTOMERS, FIRST_ONLY, SECOND_ONLY = 9, 8, 3, 2

_FIRST = ("Amber", "Basil", "Birch", "Brindle", "Cedar", "Clover", "Copper", "Dapple", "Ember",
          "Fennel", "Flint", "Garnet", "Ginger", "Hazel", "Indigo", "Juniper", "Larch", "Linden",
          "Maple", "Mossy", "Nettle", "Ochre", "Pepper", "Rowan", "Rusty", "Saffron", "Thistle",
          "Umber", "Walnut", "Willow")  # fmt: skip
_SECOND = ("badger", "bittern", "curlew", "dormouse", "finch", "gannet", "hedgehog", "ibis",
           "jackdaw", "lapwing", "marten", "newt", "otter", "pipit", "puffin", "shrew", "stoat",
           "tern", "warbler", "wren")  # fmt: skip
_KIND = {
    "carrier": ("Carrier", "Backbone", "Transit"),
    "access": ("Broadband", "Fibre", "Mobile", "Cable"),
    "edge": ("Hosting", "Broadband", "University", "Games", "Video", "Bank", "Clinic", "Rural Net",
             "Media", "Cloud"),
}  # fmt: skip
_KNOWN = {
    w.QUARTZ.asn: (w.QUARTZ.name, "na-east"),
    w.UMBRA.asn: (w.UMBRA.name, "eu-west"),
    w.PELAGO.asn: (w.PELAGO.name, "na-west"),
    500404: ("Gravelgull Backbone", "eu-east"),
    500505: ("Tinderplover Backbone", "asia"),
    500606: ("Frostmoth Carrier", "na-central"),
    500707: ("Siltsparrow Carrier", "eu-west"),
    500818: ("Ravelbeetle Backbone", "latam"),
    w.CONE: ("Hollowspire Carrier", "eu-east"),
    w.OVERLAP_FIRST: ("Fjordlantern Carrier", "eu-west"),
    w.OVERLAP_SECOND: ("Harbourquill Carrier", "eu-west"),
    w.NIGHT: ("Nightmoth Backup", "na-east"),
    w.PEERED: ("Driftlark Broadband", "eu-west"),
    w.COVERING: ("Cindervole Telecom", "na-central"),
    w.SPECIFIC: ("Saltpipit Hosting", "na-central"),
    w.EXCLUDED: ("Grudgeheron Cable", "na-east"),
    w.CUSTOMER: ("Cobaltwren Hosting", "na-east"),
    w.CUSTOMER_OF_CUSTOMER: ("Pebblewren Shops", "na-east"),
    w.PROVIDER_FREE: ("Loftyheron Content", "na-west"),
    w.BIG_EYEBALL_NA: ("Prairiemoth Broadband", "na-east"),
    w.BIG_EYEBALL_EU: ("Polderstork Broadband", "eu-west"),
    w.BIG_MOBILE: ("Mesahare Mobile", "na-central"),
}


@dataclass(slots=True)
class SampleNetwork:
    """One network; `size` is its weight in demand, `cycle` the shape of its day."""

    asn: int
    name: str
    kind: str
    region: str
    country: str
    size: int
    cycle: str = "evening"
    providers: list[int] = field(default_factory=list)
    policy: str = ""


@dataclass(frozen=True, slots=True)
class Prefix:
    """An announced prefix. Hosts are drawn from the first 2^`host_bits` addresses at `hosts`."""

    net: ipaddress.IPv4Network | ipaddress.IPv6Network
    origin: int
    weight: int
    hosts: int
    host_bits: int
    origin_set: tuple[int, ...] = ()
    announced: bool = True

    def __hash__(self) -> int:
        return self.hosts  # no other prefix has hosts there


@dataclass(frozen=True, slots=True)
class Internet:
    """All networks, links (provider, customer), (peer, peer) and prefixes."""

    networks: dict[int, SampleNetwork]
    links: tuple[tuple[int, int], ...]
    peerings: tuple[tuple[int, int], ...]
    prefixes: tuple[Prefix, ...]
    cone_customers: tuple[int, ...]
    overlap_customers: tuple[int, ...]

    def cone(self, asn: int) -> frozenset[int]:
        """`asn` and all that is reached from it by provider → customer links."""
        below: dict[int, list[int]] = {}
        for provider, customer in self.links:
            below.setdefault(provider, []).append(customer)
        seen, todo = {asn}, [asn]
        while todo:
            for customer in below.get(todo.pop(), ()):
                if customer not in seen:
                    seen.add(customer)
                    todo.append(customer)
        return frozenset(seen)


def _pick(key: str, among: list[int], n: int) -> list[int]:
    return sorted(among, key=lambda a: one(f"{key}/{a}", 1 << 40))[:n]


def _people() -> dict[int, SampleNetwork]:
    made: dict[int, SampleNetwork] = {}
    names = [f"{a}{b}" for a in _FIRST for b in _SECOND]
    names.sort(key=lambda n: one(f"name/{n}", 1 << 40))
    regions = ("na-east",) * 6 + ("na-central",) * 4 + ("na-west",) * 4 + ("eu-west",) * 6 + (
        "eu-east",) * 5 + ("latam",) * 3 + ("asia",) * 2  # fmt: skip

    def add(asn: int, kind: str) -> None:
        if asn in _KNOWN:
            name, region = _KNOWN[asn]
        else:
            words = _KIND["carrier" if kind == "clique" else kind]
            name = f"{names.pop()} {words[one(f'kind/{asn}', len(words))]}"
            region = regions[one(f"region/{asn}", len(regions))]
        countries = COUNTRIES[region]
        country = countries[one(f"country/{asn}", len(countries))]
        cycle = "office" if name.endswith(("Bank", "Clinic", "University")) else "evening"
        made[asn] = SampleNetwork(asn, name, kind, region, country, 0, cycle)

    for asn in CLIQUE:
        add(asn, "clique")
    for asn in (w.CONE, w.OVERLAP_FIRST, w.OVERLAP_SECOND, w.PROVIDER_FREE):
        add(asn, "carrier")
    for k in range(CARRIERS):
        add(502000 + 17 * k, "carrier")
    for asn in (w.BIG_EYEBALL_NA, w.BIG_EYEBALL_EU, w.BIG_MOBILE, w.PEERED, w.COVERING, w.EXCLUDED):
        add(asn, "access")
    for k in range(ACCESS):
        add(503000 + 13 * k, "access")
    for asn in (w.NIGHT, w.SPECIFIC, w.CUSTOMER, w.CUSTOMER_OF_CUSTOMER):
        add(asn, "edge")
    for k in range(EDGE):
        add(505000 + 11 * k, "edge")
    made[w.NIGHT].cycle = "night"
    return made


def _sizes(networks: dict[int, SampleNetwork]) -> None:
    """Zipf: the network of rank r weighs 1/(r + 4); access networks come early in the order."""
    head = [w.BIG_EYEBALL_NA, w.BIG_EYEBALL_EU, w.BIG_MOBILE]
    shift = {"access": 0, "edge": 250, "carrier": 110, "clique": 700}
    rest = sorted(
        (a for a in networks if a not in head),
        key=lambda a: one(f"size/{a}", 600) + shift[networks[a].kind],
    )
    for rank, asn in enumerate([*head, *rest]):
        networks[asn].size = 1_000_000 // (rank + 4)
    for asn, size in ((w.CONE, 450), (w.OVERLAP_FIRST, 900), (w.OVERLAP_SECOND, 800),
                      (w.NIGHT, 24_000), (w.PEERED, 30_000), (w.COVERING, 16_000),
                      (w.SPECIFIC, 18_000), (w.EXCLUDED, 40_000), (w.CUSTOMER, 9_000),
                      (w.CUSTOMER_OF_CUSTOMER, 2_500), (w.PROVIDER_FREE, 14_000)):  # fmt: skip
        networks[asn].size = size


def _hierarchy(networks: dict[int, SampleNetwork]) -> tuple[list[int], list[int]]:
    """Gives every network its providers; returns the planted customers of the story."""
    by = {k: [a for a, n in networks.items() if n.kind == k] for k in ("carrier", "access", "edge")}
    planted = (w.CONE, w.OVERLAP_FIRST, w.OVERLAP_SECOND, w.PROVIDER_FREE)
    open_carriers = [a for a in by["carrier"] if a not in planted]
    for asn in open_carriers:
        networks[asn].providers = _pick(f"up/{asn}", list(CLIQUE), 1 + one(f"homes/{asn}", 3))
    networks[w.CONE].providers = [w.QUARTZ.asn, w.UMBRA.asn, w.PELAGO.asn]
    networks[w.OVERLAP_FIRST].providers = [w.QUARTZ.asn]
    networks[w.OVERLAP_SECOND].providers = [w.UMBRA.asn]

    def near(asn: int, among: list[int]) -> list[int]:
        side = networks[asn].region.split("-")[0]
        same = [a for a in among if networks[a].region.split("-")[0] == side]
        return same if len(same) > 3 else among

    for asn in by["access"]:
        ups = near(asn, open_carriers) + list(CLIQUE[3:])
        networks[asn].providers = _pick(f"up/{asn}", ups, 1 + one(f"homes/{asn}", 2))
    networks[w.BIG_EYEBALL_NA].providers = [w.QUARTZ.asn, w.UMBRA.asn, CLIQUE[4]]
    networks[w.BIG_EYEBALL_EU].providers = [w.UMBRA.asn, w.PELAGO.asn, CLIQUE[3]]
    networks[w.BIG_MOBILE].providers = [w.QUARTZ.asn, CLIQUE[5]]
    unplanted = [a for a in by["access"] if a > 503_000 or a == w.BIG_EYEBALL_NA]
    for asn in by["edge"]:
        ups = near(asn, unplanted) + 2 * near(asn, open_carriers)
        networks[asn].providers = _pick(f"up/{asn}", sorted(set(ups)), 1 + one(f"homes/{asn}", 2))
    plain = [a for a in by["edge"] if a > 505_000 and networks[a].cycle == "evening"]
    east = _pick("cone", [a for a in plain if networks[a].region == "eu-east"], CONE_CUSTOMERS)
    west = _pick(
        "lap",
        [a for a in plain if networks[a].region == "eu-west"],
        OVERLAP_CUSTOMERS + FIRST_ONLY + SECOND_ONLY,
    )
    west, alone = west[:OVERLAP_CUSTOMERS], west[OVERLAP_CUSTOMERS:]
    for k, asn in enumerate(alone):  # each of the two has a few customers of its own
        networks[asn].providers = [w.OVERLAP_FIRST if k < FIRST_ONLY else w.OVERLAP_SECOND]
        networks[asn].size = 5_000 if k < FIRST_ONLY else 3_500
    for k, asn in enumerate(east):
        networks[asn].providers = [w.CONE]
        networks[asn].size = 16_000 - 1_000 * k
    for k, asn in enumerate(west):
        networks[asn].providers = [w.OVERLAP_FIRST, w.OVERLAP_SECOND]
        networks[asn].size = 12_000 - 700 * k
    networks[w.NIGHT].providers = [open_carriers[0], open_carriers[1]]
    networks[w.CUSTOMER].providers = [w.ASN, w.UMBRA.asn]
    networks[w.CUSTOMER_OF_CUSTOMER].providers = [w.CUSTOMER]
    for asn in _pick("free", [a for a in plain if a not in (*east, *west, *alone)], 3):
        networks[asn].providers.append(w.PROVIDER_FREE)
    return east, west


def _peerings(networks: dict[int, SampleNetwork]) -> list[tuple[int, int]]:
    pairs = [(a, b) for i, a in enumerate(CLIQUE) for b in CLIQUE[i + 1 :]]
    pairs += [(a, w.PROVIDER_FREE) for a in CLIQUE]
    carriers = [a for a, n in networks.items() if n.kind == "carrier" and a > 502_000]
    for i, a in enumerate(carriers):
        for b in carriers[i + 1 :]:
            linked = a in networks[b].providers or b in networks[a].providers
            if not linked and one(f"peer/{a}/{b}", 5) == 0:
                pairs.append((a, b))
    return sorted(pairs)


class _Space:
    """Hands out aligned prefixes, one after the other."""

    def __init__(self) -> None:
        self.next4 = int(ipaddress.IPv4Address("26.0.0.0"))
        self.next6 = 0x2E00

    def four(self, length: int) -> ipaddress.IPv4Network:
        step = 1 << (32 - length)
        base = -(-self.next4 // step) * step
        self.next4 = base + step
        return ipaddress.IPv4Network((base, length))

    def six(self, length: int) -> ipaddress.IPv6Network:
        base = (0x2E00 << 112) + (self.next6 << 96)
        self.next6 += 1
        return ipaddress.IPv6Network((base, length))


def _own_prefixes(networks: dict[int, SampleNetwork]) -> list[Prefix]:
    space = _Space()
    made: list[Prefix] = []
    for asn, n in networks.items():
        if asn in (w.COVERING, w.SPECIFIC):
            continue
        count = 1 + min(5, n.size // 4_000) + one(f"prefixes/{asn}", 2)
        for k in range(count):
            longest = 17 if n.size > 20_000 else 20 if n.size > 3_000 else 22
            length = longest + one(f"length/{asn}/{k}", 3)
            four = space.four(length)
            weight = 2 * (count - k)
            made.append(Prefix(four, asn, weight, int(four.network_address), 32 - length))
        if one(f"six/{asn}", 10) < 7:
            six = space.six((32, 40, 48)[one(f"sixlen/{asn}", 3)])
            weight = max(1, count * (count + 1) // 5)
            made.append(Prefix(six, asn, weight, int(six.network_address) + 1, 20))
    covering = space.four(16)
    base = int(covering.network_address)
    made.append(Prefix(covering, w.COVERING, 1, base, 15))  # hosts in the lower half only
    part = ipaddress.IPv4Network((base + (0xA0 << 8), 20))
    made.append(Prefix(part, w.SPECIFIC, 1, base + (0xA0 << 8), 12))
    return made


def special_prefixes() -> tuple[Prefix, ...]:
    """An AS_SET origin, a private origin, and space that nobody announces."""
    edge = (505000, 505011)
    made = []
    for text, origin, members, announced in (
        ("33.40.0.0/19", 0, edge, True),
        ("33.41.0.0/20", w.PRIVATE_ORIGIN, (), True),
        ("33.60.0.0/16", 0, (), False),
    ):
        net = ipaddress.IPv4Network(text)
        bits = 32 - net.prefixlen
        made.append(Prefix(net, origin, 1, int(net.network_address), bits, members, announced))
    return tuple(made)


def own_prefix() -> Prefix:
    """Our own space, which no provider announces to us."""
    net = ipaddress.IPv4Network(w.OWN4)
    return Prefix(net, w.ASN, 1, int(net.network_address), 17, announced=False)


@cache
def internet() -> Internet:
    """The whole of it; the same object at every call."""
    networks = _people()
    _sizes(networks)
    east, west = _hierarchy(networks)
    _policies(networks)
    links = sorted((p, n.asn) for n in networks.values() for p in n.providers)
    return Internet(
        networks, tuple(links), tuple(_peerings(networks)), tuple(_own_prefixes(networks)),
        tuple(east), tuple(west),
    )  # fmt: skip


def _policies(networks: dict[int, SampleNetwork]) -> None:
    for asn, n in networks.items():
        dice = one(f"policy/{asn}", 100)
        if n.kind == "clique":
            n.policy = "restrictive"
        elif n.kind == "carrier":
            n.policy = "open" if dice < 30 else "selective" if dice < 85 else "restrictive"
        elif n.kind == "access":
            n.policy = "open" if dice < 45 else "selective" if dice < 85 else "restrictive"
        else:
            n.policy = "open" if dice < 65 else "selective" if dice < 80 else "" if dice < 95 \
                else "no"  # fmt: skip
    for asn in (w.CONE, w.OVERLAP_FIRST, w.OVERLAP_SECOND, w.NIGHT, w.PEERED):
        networks[asn].policy = "open"
    networks[w.BIG_EYEBALL_NA].policy = "selective"
    networks[w.BIG_MOBILE].policy = "restrictive"
