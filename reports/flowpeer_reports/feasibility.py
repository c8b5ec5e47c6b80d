"""Will they: a score from the policy class and at most three hard factors (METHODS M10).

The numbers are starting points, not measurements: until they are calibrated on the outcome of
asks, the result is a score. What PeeringDB does not say is unknown, never zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import polars as pl

from flowpeer_reports.inputs import Inputs, pdb
from flowpeer_reports.meeting import ELSEWHERE, JOIN_IX, Places

BASE_RATES: dict[str, float] = {"Open": 0.8, "Selective": 0.5, "Restrictive": 0.2, "No": 0.05}
UNKNOWN_RATE = sum(BASE_RATES.values()) / len(BASE_RATES)
PLACE_JOIN, PLACE_ELSEWHERE, PLACE_NONE, PLACE_UNKNOWN = 0.5, 0.3, 0.1, 0.5
LOCATIONS_UNMET = 0.5
RATIO_UNMET = 0.5
BALANCED = (1 / 3, 2 / 3)
"""Share of what we send in the exchange of both directions that counts as balanced: 1:2 to 2:1."""
MIN_LOCATIONS = 2
_REGIONS = {"US": "NA", "EU": "EU"}


@dataclass(frozen=True, slots=True)
class Terms:
    """What a network says of its peering in PeeringDB; None is unknown."""

    policy: str | None = None
    locations: str | None = None
    ratio_required: bool | None = None
    ratio: str | None = None


class Feasibility:
    """Scores by network and metro."""

    def __init__(
        self,
        inputs: Inputs,
        places: Places,
        override: Callable[[int, str], float] | None = None,
    ) -> None:
        """`override` gives the score of (ASN, metro) from elsewhere; it wins."""
        self._places = places
        self._override = override
        self._continent = dict(inputs.metros.select("metro", "continent").iter_rows())
        self._terms: dict[int, Terms] = {}
        net = pdb(
            inputs.peeringdb,
            "net",
            {"asn": pl.Int64, "policy_general": pl.String, "policy_locations": pl.String,
             "policy_ratio": pl.Boolean, "info_ratio": pl.String},
        )  # fmt: skip
        for asn, policy, locations, required, ratio in net.iter_rows():
            known = policy.strip().title() if policy else None
            self._terms[asn] = Terms(
                known if known in BASE_RATES else None, locations, required, ratio
            )

    def policy(self, asn: int) -> str | None:
        """Its stated policy class, None where PeeringDB names none."""
        return self._terms.get(asn, Terms()).policy

    def score(self, asn: int, metro: str, out_bytes: int, in_bytes: int) -> float:
        """Acceptance from 0 to 1 for an ask in a metro; bytes of all it could take there."""
        score = 1.0
        for factor, _ in self._factors(asn, metro, out_bytes, in_bytes):
            score *= factor
        return score

    def reasons(self, asn: int, metro: str, out_bytes: int, in_bytes: int) -> list[str]:
        """The factors of `score` in words, each with its source."""
        return [
            f"{factor:.2f} {words}"
            for factor, words in self._factors(asn, metro, out_bytes, in_bytes)
        ]

    def _factors(
        self, asn: int, metro: str, out_bytes: int, in_bytes: int
    ) -> Sequence[tuple[float, str]]:
        if self._override is not None:
            return [(self._override(asn, metro), "as given, instead of a score")]
        terms = self._terms.get(asn)
        if terms is None:
            factors = [(UNKNOWN_RATE, "policy unknown: not in PeeringDB")]
            terms = Terms()
        elif terms.policy is None:
            factors = [(UNKNOWN_RATE, "policy unknown: PeeringDB policy_general is empty")]
        else:
            factors = [(BASE_RATES[terms.policy], f"policy {terms.policy} (PeeringDB)")]
        place = self._place(asn, metro)
        if place is not None:
            factors.append(place)
        locations = self._locations(asn, terms.locations)
        if locations is not None:
            factors.append(locations)
        ratio = _ratio(terms, out_bytes, in_bytes)
        if ratio is not None:
            factors.append(ratio)
        return factors

    def _place(self, asn: int, metro: str) -> tuple[float, str] | None:
        if not self._places.listed(asn):
            return PLACE_UNKNOWN, "no place known (PeeringDB has no port or facility of it)"
        reach = self._places.reach(asn, metro)
        if reach < JOIN_IX:
            return None
        if reach == JOIN_IX:
            return PLACE_JOIN, "meets only at an exchange we are not on (PeeringDB)"
        assert reach == ELSEWHERE
        if self._places.shared_metros(asn):
            return PLACE_ELSEWHERE, "no place in this metro, only in others (PeeringDB)"
        return PLACE_NONE, "no common place in any metro (PeeringDB)"

    def _locations(self, asn: int, stated: str | None) -> tuple[float, str] | None:
        if stated is None or not stated.startswith("Required"):
            return None
        region = stated.rpartition("-")[2].strip()
        shared = self._places.shared_metros(asn)
        continents = [self._continent.get(m) for m in shared]
        if region in _REGIONS:
            count = continents.count(_REGIONS[region])
            met, what = count >= MIN_LOCATIONS, f"{count} shared metros in {_REGIONS[region]}"
        else:
            count = len({c for c in continents if c is not None})
            met, what = count >= MIN_LOCATIONS, f"shared metros on {count} continents"
        words = f"locations “{stated}” (PeeringDB), {what}"
        return (1.0, f"{words}: met") if met else (LOCATIONS_UNMET, f"{words}: not met")


def _ratio(terms: Terms, out_bytes: int, in_bytes: int) -> tuple[float, str] | None:
    """Our outbound is their inbound: a sender and a mostly inbound network match."""
    if not terms.ratio_required or out_bytes + in_bytes == 0:
        return None
    sent = out_bytes / (out_bytes + in_bytes)
    ours = f"we send {sent:.0%} of it"
    stated = terms.ratio or ""
    if "Inbound" in stated:
        met = sent >= 0.5
    elif "Outbound" in stated:
        met = sent <= 0.5
    elif "Balanced" in stated:
        met = BALANCED[0] <= sent <= BALANCED[1]
    else:
        return 1.0, f"ratio required (PeeringDB), theirs not stated, {ours}"
    words = f"ratio required (PeeringDB), theirs {stated}, {ours}"
    return (1.0, f"{words}: match") if met else (RATIO_UNMET, f"{words}: no match")
