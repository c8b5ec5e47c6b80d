"""The sample network itself: metros, exporters, interfaces, providers. All names are invented.

Network numbers come from 500000–509999: a public range of which no registry had handed out a
number when this was written, so that no invented name sits on a real network.
"""

from __future__ import annotations

from dataclasses import dataclass

VERSION = "1"
SEED = 20260916
DAY = 1_789_516_800  # 2026-09-16T00:00:00Z
DAY_TEXT = "2026-09-16"
NEXT = 1
"""Number of the day after, of which the sample has the first hours."""
NEXT_TEXT = "2026-09-17"
NEXT_SECONDS = 8 * 3600
RIB_TIME = DAY - 2 * 3600
SAMPLING = 1000
FRAMING = 18
"""Octets of Ethernet around a packet, which a provider bills too."""

ASN = 64500
NAME = "Example Cloud"
OWN4 = "198.18.0.0/15"
OWN6 = "2001:db8::/32"

NA, EU = "NA", "EU"


@dataclass(frozen=True, slots=True)
class Provider:
    """A transit provider: `key` names its contracts."""

    asn: int
    name: str
    key: str


QUARTZ = Provider(500101, "Quartzheron Backbone", "quartzheron")
UMBRA = Provider(500202, "Umbraline Transit", "umbraline")
PELAGO = Provider(500303, "Pelagolink Carrier", "pelagolink")
PROVIDERS = (QUARTZ, UMBRA, PELAGO)

# Networks with a part of their own in the story. README.md tells it; answers.py proves it.
CONE = 500611  # worth most through its customers
OVERLAP_FIRST = 500622  # two carriers with the same customers
OVERLAP_SECOND = 500633
NIGHT = 500644  # awake when the rest sleeps
PEERED = 500655  # a session in London, and traffic on transit there
COVERING = 500666  # announces the covering prefix …
SPECIFIC = 500677  # … and this one a part of it
EXCLUDED = 500688
CUSTOMER = 500900
CUSTOMER_OF_CUSTOMER = 500901
PROVIDER_FREE = 500808  # has no provider, is not in the clique: an ordinary candidate
BIG_EYEBALL_NA = 500711
BIG_EYEBALL_EU = 500722
BIG_MOBILE = 500733
PRIVATE_ORIGIN = 64999


@dataclass(frozen=True, slots=True)
class Metro:
    """`utc_offset` in hours on the day of the sample; `gbps` the mean outbound volume."""

    id: str
    name: str
    region: str
    continent: str
    latitude: float
    longitude: float
    utc_offset: int
    facilities: tuple[int, ...]
    exchange: int | None
    route_servers: bool
    gbps: float


METROS = (
    Metro("nyc", "New York", "us-east", NA, 40.71, -74.01, -4, (101,), 201, True, 11.0),
    Metro("iad", "Ashburn", "us-east", NA, 39.04, -77.49, -4, (103,), 202, False, 11.9),
    Metro("chi", "Chicago", "us-central", NA, 41.88, -87.63, -5, (105,), None, False, 5.5),
    Metro("dfw", "Dallas", "us-central", NA, 32.78, -96.80, -5, (107,), None, False, 5.0),
    Metro("lax", "Los Angeles", "us-west", NA, 34.05, -118.24, -7, (109,), None, False, 7.0),
    Metro("ams", "Amsterdam", "eu-west", EU, 52.37, 4.90, 2, (111, 112), 206, True, 9.0),
    Metro("fra", "Frankfurt", "eu-central", EU, 50.11, 8.68, 2, (113,), 207, True, 9.5),
    Metro("lon", "London", "eu-west", EU, 51.51, -0.13, 1, (115,), 208, False, 8.0),
    Metro("par", "Paris", "eu-west", EU, 48.86, 2.35, 2, (117,), 209, False, 4.0),
)
METRO = {m.id: m for m in METROS}


@dataclass(frozen=True, slots=True)
class Exporter:
    """One edge router.

    `rate` says where its sampling rate is found: header, options, options-late, record, config
    or nowhere. `metering`: ingress (all interfaces), both (ingress on all, egress on external),
    split (ingress and egress on external interfaces only).
    """

    id: str
    metro: str
    address: str
    format: str
    rate: str
    metering: str
    domain: int
    records: int
    compressed: bool = False

    @property
    def file(self) -> str:
        """Name of its capture."""
        return f"{self.id}.pcap" + (".gz" if self.compressed else "")


EXPORTERS = (
    Exporter("edge1.nyc", "nyc", "192.0.2.11", "netflow9", "options-late", "ingress", 0, 52_000),
    Exporter("edge1.iad", "iad", "192.0.2.21", "ipfix", "config", "ingress", 1, 56_000),
    Exporter("edge1.chi", "chi", "192.0.2.31", "ipfix", "record", "ingress", 7, 32_000, True),
    Exporter("edge1.dfw", "dfw", "192.0.2.41", "netflow5", "header", "ingress", 256, 30_000, True),
    Exporter("edge1.lax", "lax", "192.0.2.51", "netflow5", "config", "ingress", 0, 38_000),
    Exporter("edge1.ams", "ams", "192.0.2.61", "netflow9", "options", "both", 513, 46_000),
    Exporter("edge1.fra", "fra", "2001:db8:ffff::71", "ipfix", "options", "ingress", 2, 48_000),
    Exporter("edge1.lon", "lon", "192.0.2.81", "netflow9", "options", "split", 1, 42_000),
    Exporter("edge1.par", "par", "192.0.2.91", "netflow9", "nowhere", "ingress", 0, 22_000, True),
)
EXPORTER = {e.metro: e for e in EXPORTERS}


@dataclass(frozen=True, slots=True)
class Interface:
    """One interface of the edge router of `metro`; `configured` false: not in flowpeer.toml."""

    metro: str
    index: int
    name: str
    role: str
    asn: int | None = None
    capacity: str = ""
    contract: str = ""
    configured: bool = True


SERVERS, BACKBONE, EXCHANGE, CUSTOMER_PORT, FORGOTTEN = 1, 2, 21, 41, 14
TRANSIT_INDEX = {QUARTZ.asn: 11, UMBRA.asn: 12, PELAGO.asn: 13}

# Weight of each provider in our outbound routing: deliberately far from the capacities.
TRANSIT_WEIGHT: dict[str, dict[int, int]] = {
    "nyc": {QUARTZ.asn: 50, UMBRA.asn: 30, PELAGO.asn: 20},
    "iad": {QUARTZ.asn: 30, UMBRA.asn: 52, PELAGO.asn: 18},
    "chi": {QUARTZ.asn: 60, UMBRA.asn: 40},
    "dfw": {QUARTZ.asn: 70, PELAGO.asn: 30},
    "lax": {QUARTZ.asn: 25, UMBRA.asn: 25, PELAGO.asn: 50},
    "ams": {QUARTZ.asn: 45, UMBRA.asn: 40, PELAGO.asn: 15},
    "fra": {QUARTZ.asn: 30, UMBRA.asn: 25, PELAGO.asn: 45},
    "lon": {QUARTZ.asn: 62, UMBRA.asn: 38},
    "par": {QUARTZ.asn: 65, PELAGO.asn: 35},
}
CAPACITY: dict[tuple[str, int], str] = {("nyc", QUARTZ.asn): "100G", ("fra", QUARTZ.asn): "20G"}
PNI: dict[str, tuple[int, ...]] = {
    "nyc": (BIG_EYEBALL_NA,),
    "chi": (BIG_EYEBALL_NA,),
    "dfw": (BIG_MOBILE,),
    "ams": (BIG_EYEBALL_EU,),
    "fra": (BIG_EYEBALL_EU,),
}


def _interfaces() -> tuple[Interface, ...]:
    made: list[Interface] = []
    for metro in METROS:
        m = metro.id
        made.append(Interface(m, SERVERS, "ae1", "internal", capacity="400G"))
        made.append(Interface(m, BACKBONE, "ae2", "internal", capacity="200G"))
        side = metro.continent.lower()
        for p in PROVIDERS:
            if p.asn in TRANSIT_WEIGHT[m]:
                index = TRANSIT_INDEX[p.asn]
                made.append(
                    Interface(
                        m, index, f"et-0/0/{index}", "transit", p.asn,
                        CAPACITY.get((m, p.asn), "10G"), f"{p.key}-{side}",
                    )
                )  # fmt: skip
        if m == "lon":
            made.append(
                Interface(m, FORGOTTEN, "et-0/0/14", "transit", PELAGO.asn, "10G", configured=False)
            )
        if metro.exchange is not None:
            made.append(Interface(m, EXCHANGE, "et-0/1/0", "ix", capacity="100G"))
        for k, asn in enumerate(PNI.get(m, ())):
            made.append(Interface(m, 31 + k, f"et-0/2/{k}", "peer", asn, "100G"))
        if m == "nyc":
            made.append(Interface(m, CUSTOMER_PORT, "xe-1/0/0", "customer", CUSTOMER, "10G"))
    return tuple(made)


INTERFACES = _interfaces()


QUARTZ_SCOPE = "64500:300"
"""Community that our border routers put on routes of Quartzheron, whose ports may carry what
another metro of the continent sends; all other routes are for their own metro."""


@dataclass(frozen=True, slots=True)
class Announcement:
    """An own prefix of a metro, its first one, and where else, or how far, it is announced."""

    prefix: str
    metros: tuple[str, ...]
    scope: str = "metro"


SECOND_HOME = {
    "nyc": "iad", "chi": "dfw", "dfw": "chi", "lax": "dfw", "fra": "ams", "par": "lon"
}  # fmt: skip
REGIONAL = "lon"
"""Announced by its scope in the whole region. Ashburn's prefixes are announced nowhere else: what
its lost link brought in comes in by the others there. Amsterdam is emptied in three steps."""


def _announcements() -> tuple[Announcement, ...]:
    made = []
    for index, m in enumerate(METROS):
        block = 32 * index
        four, six = f"198.{18 + block // 256}.{block % 256}.0", f"2001:db8:{index + 1}::/48"
        if m.id == "ams":
            made.append(Announcement(f"{four}/23", (m.id, "lon")))
            made.append(Announcement(f"198.18.{block + 2}.0/23", (m.id, "fra")))
            made.append(Announcement(six, (m.id, "fra", "lon")))
            continue
        where = (m.id, SECOND_HOME[m.id]) if m.id in SECOND_HOME else (m.id,)
        scope = "region" if m.id == REGIONAL else "metro"
        made += [Announcement(f"{four}/19", where, scope), Announcement(six, where, scope)]
    return tuple(made)


ANNOUNCEMENTS = _announcements()


@dataclass(frozen=True, slots=True)
class RiskGroup:
    """Interfaces of one metro's router that fail together."""

    id: str
    metro: str
    interfaces: tuple[int, ...]
    why: str


DUCT = RiskGroup("ams-canal-duct", "ams", (TRANSIT_INDEX[QUARTZ.asn], TRANSIT_INDEX[UMBRA.asn]),
                 "both fibres leave the building through one duct")  # fmt: skip
LOST = "ams"
EMPTIED = ("2001:db8:6::/48", "198.18.162.0/23", "198.18.160.0/23")
"""Its own prefixes in the order that fills the links which take them over least."""


@dataclass(frozen=True, slots=True)
class Outage:
    """A link that carries nothing on the day after; hours of it, half-open."""

    metro: str
    provider: int
    first_hour: int
    end_hour: int


OUTAGE = Outage("iad", PELAGO.asn, 1, 7)


@dataclass(frozen=True, slots=True)
class Contract:
    """What a provider is paid on one continent; prices in USD per Mbps and month.

    `ends` is its last day; `renewal` the price that is offered for the time after it.
    """

    id: str
    provider: str
    commit: str
    price: float
    overage: float
    billing: str
    ends: str
    notice_days: int
    renewal: float


CONTRACTS = (
    Contract("quartzheron-na", QUARTZ.name, "12G", 0.38, 0.44, "max_of_p95",
             "2027-03-31", 90, 0.30),
    Contract("quartzheron-eu", QUARTZ.name, "7G", 0.30, 0.36, "max_of_p95",
             "2027-03-31", 90, 0.24),
    Contract("umbraline-na", UMBRA.name, "9G", 0.42, 0.50, "max_of_p95",
             "2026-12-31", 60, 0.32),
    Contract("umbraline-eu", UMBRA.name, "5G", 0.32, 0.38, "p95_of_max",
             "2027-06-30", 60, 0.25),
    Contract("pelagolink-na", PELAGO.name, "12G", 0.40, 0.40, "max_of_p95",
             "2026-11-30", 30, 0.28),
    Contract("pelagolink-eu", PELAGO.name, "4G", 0.30, 0.35, "max_of_p95",
             "2027-09-30", 30, 0.24),
)  # fmt: skip
"""All are billed above their commits but Pelagolink's in North America, which carries less than
that: there an ask saves at the renewal only."""


@dataclass(frozen=True, slots=True)
class Asked:
    """An event of the log of asks."""

    date: str
    asn: int
    metro: str
    event: str
    note: str = ""


ASKS = (
    Asked("2026-04-20", BIG_EYEBALL_EU, "ams", "asked", "contract of their upstream ends in July"),
    Asked("2026-05-04", COVERING, "chi", "asked"),
    Asked("2026-05-29", COVERING, "chi", "declined", "ask again once we are on Lakeshore Meet"),
    Asked("2026-06-11", BIG_EYEBALL_EU, "ams", "answered_yes", "private interconnection"),
    Asked("2026-08-20", BIG_EYEBALL_EU, "ams", "live"),
)
LIVE = (BIG_EYEBALL_EU, "ams")
"""The ask that is live: its session stands in flowpeer.toml too."""

EXCHANGE_NAMES: dict[int, tuple[str, str]] = {
    201: ("nyc", "Gothamswitch"),
    202: ("iad", "Potomac Crosspoint"),
    203: ("chi", "Lakeshore Meet"),
    204: ("dfw", "Lonestar Crosspoint"),
    205: ("lax", "Palmswitch"),
    206: ("ams", "Canalpoint Exchange"),
    207: ("fra", "Mainpoint Exchange"),
    208: ("lon", "Thameswitch"),
    209: ("par", "Seinepoint"),
    210: ("nyc", "Hudsonmeet"),
    211: ("ams", "Polderswitch"),
    212: ("fra", "Taunusmeet"),
    213: ("lon", "Docklands Crosspoint"),
}
ROUTE_SERVER_ASN = {ix: 501000 + ix for ix in EXCHANGE_NAMES}
