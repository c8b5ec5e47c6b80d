"""What was planted, and what a right program must report of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from flowpeer_sample import answers as a
from flowpeer_sample import world as w
from flowpeer_sample.failures import by_own_prefix, fall
from flowpeer_sample.networks import internet
from flowpeer_sample.ranking import ExpectedRow, rank

Figures = dict[str, int | float]


@dataclass(frozen=True, slots=True)
class Fact:
    """One planted fact: `key`, the network and metro it is about, the claim in words.

    `figures` are of the whole day, outbound where a direction applies: `_bytes` exact integers
    after scaling, `_bps` averages or percentiles, others plain ratios and ranks. `must` says
    which figures a program has to reproduce exactly, and which only in order.
    """

    key: str
    asn: int | None
    metro: str | None
    claim: str
    must: str
    figures: Figures


def day_bps(octets: int) -> float:
    """Bytes of the day as average bit/s."""
    return octets * 8 / 86_400


def _find(asks: list[ExpectedRow], asn: int) -> tuple[int, ExpectedRow]:
    return next((k, ask) for k, ask in enumerate(asks, 1) if ask.asn == asn)


def _cone() -> Fact:
    _, ask = _find(rank("fra", 1), w.CONE)
    next_best = rank("fra", 2)[1]
    return Fact(
        "cone", w.CONE, "fra",
        "Nearly nothing originates here, but nine networks buy transit from it and from nobody "
        "else: worth most through its cone.",
        "rank 1 in fra under any base rates of acceptance that favour open policies; own, cone "
        "and marginal exact, all evidence observed",
        {"rank": 1, "own_bytes": ask.own, "cone_bytes": ask.cone, "marginal_bytes": ask.marginal,
         "cone_bps": day_bps(ask.cone), "second_marginal_bytes": next_best.marginal},
    )  # fmt: skip


def _overlap() -> tuple[Fact, Fact]:
    asks = rank("ams", 400, lambda asn: 1.0)
    first_rank, first = _find(asks, w.OVERLAP_FIRST)
    second_rank, second = _find(asks, w.OVERLAP_SECOND)
    return (
        Fact(
            "overlap-first", w.OVERLAP_FIRST, "ams",
            "Eight customers buy from this carrier and from the next one too.",
            "rank 1 in ams; own, cone and marginal exact",
            {"rank": first_rank, "own_bytes": first.own, "cone_bytes": first.cone,
             "marginal_bytes": first.marginal},
        ),
        Fact(
            "overlap-second", w.OVERLAP_SECOND, "ams",
            "Standing alone it would take as much as the one before; after that one only its own "
            "two customers are left.",
            "below the first in ams; own and cone exact; marginal under a tenth of cone "
            "(the exact figure depends on who stands between them)",
            {"rank_if_all_accept": second_rank, "own_bytes": second.own,
             "cone_bytes": second.cone, "marginal_bytes": second.marginal},
        ),
    )  # fmt: skip


def _night() -> Fact:
    night = a.asn_slot_bytes("nyc", w.NIGHT)
    whole = sum(
        (a.slot_bytes("nyc", w.TRANSIT_INDEX[p], "out") for p in w.TRANSIT_WEIGHT["nyc"]),
        np.zeros(a.SLOTS, np.int64),
    )
    hours, all_hours = night.reshape(24, 12).sum(1), whole.reshape(24, 12).sum(1)
    return Fact(
        "night", w.NIGHT, "nyc",
        "Backups run from 02:00 to 05:00 in New York, when everybody else sleeps: a high p95 that "
        "adds nothing to the p95 of the transit bill.",
        "bytes exact; p95 to the byte where flows are spread by M3; its busiest hour lies in the "
        "quiet third of the day of all transit in nyc",
        {"out_bytes": int(night.sum()), "mean_bps": day_bps(int(night.sum())),
         "p95_bps": a.bps(a.p95(night)), "p95_over_mean": a.bps(a.p95(night))
         / day_bps(int(night.sum())), "busiest_hour_utc": int(hours.argmax()),
         "quietest_hour_of_all_transit_utc": int(all_hours.argmin())},
    )  # fmt: skip


def _leak() -> Fact:
    peering = sum(
        c.bytes
        for c in a.crossings()
        if (c.metro, c.origin, c.role, c.direction) == ("lon", w.PEERED, "ix", "out")
    )
    return Fact(
        "leak", w.PEERED, "lon",
        "A session at the exchange in London exists, and some of its prefixes still leave by "
        "transit there.",
        "no candidate in lon: its transit bytes are row 0 (exact), cause more specific: the view "
        f"of its session has no {a.leaked_routes()}, only what covers it; elsewhere it may be one",
        {"transit_out_bytes": a.leaked_bytes(), "exchange_out_bytes": peering,
         "transit_out_bps": day_bps(a.leaked_bytes())},
    )  # fmt: skip


def _overload() -> Fact:
    metro, asn = a.OVERLOADED
    slots = a.slot_bytes(metro, w.TRANSIT_INDEX[asn], "out")
    capacity = 10_000_000_000
    return Fact(
        "overload", asn, metro,
        "One provider carries half of the transit of Ashburn on a 10G port.",
        "p95 above 80 % of capacity, and in no other place; bytes, p95 and slots exact (M3)",
        {"out_bytes": int(slots.sum()), "capacity_bps": capacity, "p95_bps": a.bps(a.p95(slots)),
         "utilisation_p95": a.bps(a.p95(slots)) / capacity,
         "slots_over_80": int((slots * 8 * 10 > capacity * 300 * 8).sum())},
    )  # fmt: skip


def _specific() -> Fact:
    covering, specific = a.moved_prefixes()
    mine = [c for c in a.crossings() if c.metro == "chi" and c.direction == "out"]
    return Fact(
        "more-specific", w.SPECIFIC, "chi",
        f"{specific.net} lies inside {covering.net} of AS{w.COVERING} and has another origin: "
        f"longest-prefix match gives its traffic to AS{w.SPECIFIC}.",
        "bytes of both origins exact; without the more-specific route all would be the other's",
        {"specific_out_bytes": sum(c.bytes for c in mine if c.origin == w.SPECIFIC),
         "covering_out_bytes": sum(c.bytes for c in mine if c.origin == w.COVERING)},
    )  # fmt: skip


def _forgotten() -> Fact:
    here = [c for c in a.crossings() if c.metro == "lon"]
    total = sum(c.bytes for c in here)
    return Fact(
        "unconfigured", None, "lon",
        "ifIndex 14 of edge1.lon, a new port of a transit provider, is missing from flowpeer.toml.",
        "bytes exact, role unknown, and `check` says so",
        {"unknown_bytes": a.unconfigured_bytes(), "share_of_exporter": a.unconfigured_bytes()
         / total},
    )  # fmt: skip


def _unscaled() -> Fact:
    return Fact(
        "no-rate", None, "par",
        "edge1.par says its sampling rate nowhere, and flowpeer.toml does not either.",
        "its bytes stay as exported, in a figure of their own (exact), never added to scaled ones",
        {"unscaled_bytes": a.unscaled_bytes()},
    )  # fmt: skip


def _live() -> Fact:
    asn, metro = w.LIVE
    return Fact(
        "live-ask", asn, metro,
        "Asked in April, live since 2026-08-20: the log of asks has what was predicted.",
        "carried exact; `asks outcomes` shows it against the prediction, on one day of data",
        {"carried_out_bytes": a.live_bytes(), "carried_bps": day_bps(a.live_bytes()),
         "predicted_bps": a.predicted_bps()},
    )  # fmt: skip


def commit_bps(contract: w.Contract) -> int:
    """The commit in bit/s."""
    return int(contract.commit.removesuffix("G")) * 10**9


def month_bill(contract: w.Contract) -> float:
    """What a month like the day costs: the commit, and what is above it."""
    over = max(0.0, a.billed_bps(contract.id) - commit_bps(contract))
    return (commit_bps(contract) * contract.price + over * contract.overage) / 1e6


def _commits() -> Fact:
    below = [c for c in w.CONTRACTS if a.billed_bps(c.id) < commit_bps(c)]
    (one,) = below
    return Fact(
        "commits", None, None,
        f"Every contract is billed above its commit, so that asks save at once, but {one.id}: what "
        f"leaves it saves nothing before it ends on {one.ends}.",
        "billed rates and bills of `bills` exact, the day taken for the month; `saving_note` names "
        f"{one.id} where a row saves nothing",
        {"billed_bps": a.billed_bps(one.id), "commit_bps": commit_bps(one),
         "month": sum(month_bill(c) for c in w.CONTRACTS)},
    )  # fmt: skip


def _outage() -> Fact:
    out = w.OUTAGE
    others = [p for p in w.PROVIDERS if p.asn != out.provider]
    return Fact(
        "outage", out.provider, out.metro,
        f"On the next day its link is silent from {out.first_hour:02d}:00 to {out.end_hour:02d}:00 "
        "UTC; what it carried leaves by the shortest path of the others, one of them where they "
        "tie.",
        "after `flowpeer ingest next-day` and `rollup` the link is the one that `drill --replay "
        f"{w.NEXT_TEXT}T{out.first_hour:02d}:00/{w.NEXT_TEXT}T{out.end_hour:02d}:00` finds; "
        "observed bytes exact",
        {"silent_bytes": a.outage_bytes(out.provider, "out", w.NEXT),
         "day_before_bytes": a.outage_bytes(out.provider, "out", 0),
         **{f"{p.key}_out_bytes": a.outage_bytes(p.asn, "out", w.NEXT) for p in others},
         **{f"{p.key}_in_bytes": a.outage_bytes(p.asn, "in", w.NEXT) for p in others}},
    )  # fmt: skip


def _duct() -> Fact:
    group = w.DUCT
    after = fall(group.metro, group.interfaces)
    here = (group.metro, w.TRANSIT_INDEX[w.PELAGO.asn])
    (there,) = set(after.moved) - {here}
    return Fact(
        "duct", None, group.metro,
        f"Two of three providers leave by one duct, risk group {group.id}. What they carry leaves "
        f"by {w.PELAGO.name} here, or by {w.QUARTZ.name} in {w.METRO[there[0]].name} where that "
        "path is shorter: routes of that provider alone may be used in other metros.",
        f"`drill --remove risk_group:{group.id}`: outbound bytes exact by the hour, "
        f"{w.PELAGO.name}'s port in {w.METRO[group.metro].name} is the bottleneck, above 100 %",
        {"pelagolink_here_bytes": after.moved[here],
         f"quartzheron_{there[0]}_bytes": after.moved[there],
         "without_way_bytes": after.without_way, "pelagolink_here_peak_bps": after.peak_bps[here],
         f"quartzheron_{there[0]}_peak_bps": after.peak_bps[there]},
    )  # fmt: skip


def _lost() -> Fact:
    links = tuple(i.index for i in w.INTERFACES if i.metro == w.LOST and i.role != "internal")
    after = fall(w.LOST, links)
    ((there, octets),) = after.moved.items()
    return Fact(
        "metro-lost", w.QUARTZ.asn, w.LOST,
        f"All links of a metro are lost and its servers are not: what has a route leaves by this "
        f"provider in {w.METRO[there[0]].name}, the nearest, and nowhere else.",
        f"`drill --remove metro:{w.LOST}`: outbound bytes exact by the hour; that port is the "
        "bottleneck at nearly twice its capacity. Inbound comes in where the prefixes of the metro "
        "are announced too",
        {f"quartzheron_{there[0]}_bytes": octets, "without_way_bytes": after.without_way,
         f"quartzheron_{there[0]}_peak_bps": after.peak_bps[there]},
    )  # fmt: skip


def _emptied() -> Fact:
    sizes = by_own_prefix(w.LOST)
    named: Figures = {
        f"step_{n}_{way}_bytes": sizes[own][k]
        for n, own in enumerate(w.EMPTIED, 1)
        for k, way in enumerate(("out", "in"))
    }
    return Fact(
        "emptied", None, w.LOST,
        "A disaster-recovery test: its own prefixes are announced in London or Frankfurt too, so "
        f"that their demand can go there one by one: {', '.join(w.EMPTIED)}.",
        f"`drill --plan {w.LOST}` withdraws them in this order, to lon, fra and lon; bytes of each "
        "exact; no link comes above 100 %, the last step one above 80 %",
        named,
    )  # fmt: skip


@cache
def facts() -> tuple[Fact, ...]:
    """All planted facts."""
    return (_cone(), *_overlap(), _night(), _leak(), _overload(), _specific(), _forgotten(),
            _unscaled(), _live(), _outage(), _commits(), _duct(), _lost(), _emptied())  # fmt: skip


def name_of(asn: int) -> str:
    """The invented name of a network."""
    return internet().networks[asn].name
