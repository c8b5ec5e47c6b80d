"""Transit imbalance by METHODS M11, slot by slot in plain Python, from the ground truth."""

from __future__ import annotations

from dataclasses import dataclass

from flowpeer_sample import answers as a
from flowpeer_sample import world as w


@dataclass(frozen=True, slots=True)
class ProviderBalance:
    """One provider in one metro and direction; volumes in bit/s, shares and utilisation 0 to 1."""

    provider_asn: int
    capacity_bps: int
    avg_bps: float
    p95_bps: float
    peak_bps: float
    share: float
    target_share: float
    slots_over_80: int


@dataclass(frozen=True, slots=True)
class Balance:
    """`d`: byte-weighted mean over slots of ½ Σ |share − target share|."""

    d: float
    links: tuple[ProviderBalance, ...]


def capacity_bps(metro: str, provider: int) -> int:
    """Capacity of the provider's interface; here always whole gigabits."""
    port = next(i for i in w.INTERFACES if (i.metro, i.asn, i.role) == (metro, provider, "transit"))
    return int(port.capacity.removesuffix("G")) * 10**9


def target_shares(metro: str) -> dict[int, float]:
    """Provider → its part of the commits, each split over the contract's ports by capacity."""
    ports = [i for i in w.INTERFACES if i.contract and i.configured]
    whole: dict[str, int] = {}
    for port in ports:
        assert port.asn is not None
        size = capacity_bps(port.metro, port.asn)
        whole[port.contract] = whole.get(port.contract, 0) + size
    commit = {c.id: int(c.commit.removesuffix("G")) for c in w.CONTRACTS}
    part = {
        port.asn: commit[port.contract] * capacity_bps(metro, port.asn) / whole[port.contract]
        for port in ports
        if port.metro == metro and port.asn is not None
    }
    return {asn: size / sum(part.values()) for asn, size in part.items()}


def balance(metro: str, direction: str) -> Balance:
    """The imbalance of a metro's transit in one direction, targets by commit."""
    providers = sorted(w.TRANSIT_WEIGHT[metro])
    series = {p: a.slot_bytes(metro, w.TRANSIT_INDEX[p], direction).tolist() for p in providers}
    capacity = {p: capacity_bps(metro, p) for p in providers}
    target = target_shares(metro)
    whole = sum(sum(of) for of in series.values())
    distance = 0.0
    for slot in range(a.SLOTS):
        total = sum(series[p][slot] for p in providers)
        if total:
            apart = sum(abs(series[p][slot] / total - target[p]) for p in providers) / 2
            distance += apart * total
    links = []
    for p in providers:
        slots = a.slot_bytes(metro, w.TRANSIT_INDEX[p], direction)
        links.append(ProviderBalance(
            p, capacity[p], sum(series[p]) * 8 / 86_400, a.bps(a.p95(slots)),
            a.bps(int(slots.max())), sum(series[p]) / whole, target[p],
            sum(v * 8 * 10 > capacity[p] * 300 * 8 for v in series[p]),
        ))  # fmt: skip
    return Balance(distance / whole, tuple(links))
