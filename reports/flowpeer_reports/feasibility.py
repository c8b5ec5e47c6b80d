"""Will they: acceptance from the policy class and hard factors (METHODS M10).

The base rates are a prior, updated by the outcomes of our own asks; until enough of these are
known the result is called a score. What PeeringDB does not say is unknown, and counts 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from flowpeer_reports.inputs import Inputs, pdb
from flowpeer_reports.meeting import ELSEWHERE, JOIN_IX, MeetingPlaces
from flowpeer_reports.policy import CLASSES, MAX_RATIO
from flowpeer_reports.relations import Flags, Ints, Reals

PRIOR_ASKS = 10
"""Asks that a base rate is worth against our own outcomes."""
CALIBRATED_FROM = 30
"""Answered asks from which acceptance is a probability and no mere score."""
BELOW_MINIMUM, LOCATIONS_UNMET, PLACE_JOIN, PLACE_ELSEWHERE, RATIO_EXCEEDED = (
    0.3,
    0.5,
    0.5,
    0.3,
    0.5,
)
MIN_LOCATIONS = 2
_REGIONS = {"US": "NA", "EU": "EU"}


@dataclass(frozen=True, slots=True)
class PeeringTerms:
    """What a network says of its peering in PeeringDB; None is unknown."""

    policy: str | None = None
    locations: str | None = None
    ratio_required: bool | None = None
    ratio: str | None = None


class Feasibility:
    """Acceptance by network and metro."""

    def __init__(
        self,
        inputs: Inputs,
        places: MeetingPlaces,
        override: Callable[[int, str], float] | None = None,
    ) -> None:
        """`override` gives the acceptance of (ASN, metro) from elsewhere; it wins."""
        self._places = places
        self._override = override
        self._policy = inputs.policy
        self._outcomes = inputs.outcomes
        rates = {c: self._calibrated(c) for c in CLASSES}
        unknown = self._policy.base_rates.get("unknown", sum(rates.values()) / len(rates))
        self.rates = {**rates, "": unknown}
        """Base rate of each class; "" is an unknown policy."""
        self.answered = sum(answered for _, answered in inputs.outcomes.values())
        self._continent = dict(inputs.metros.select("metro", "continent").iter_rows())
        self._terms: dict[int, PeeringTerms] = {}
        net = pdb(
            inputs.peeringdb,
            "net",
            {"asn": pl.Int64, "policy_general": pl.String, "policy_locations": pl.String,
             "policy_ratio": pl.Boolean, "info_ratio": pl.String},
        )  # fmt: skip
        for asn, policy, locations, required, ratio in net.iter_rows():
            known = policy.strip().lower() if policy else ""
            self._terms[asn] = PeeringTerms(
                known if known in CLASSES else None, locations, required, ratio
            )

        listed = map(places.party, places.registry.listed_networks())
        self._known = np.array(
            sorted({*self._terms, *self._policy.networks, *listed}), dtype=np.int64
        )
        """Networks of which there is more than nothing to say: most are not among them."""

    def _calibrated(self, policy: str) -> float:
        prior = self._policy.base_rates[policy]
        accepted, answered = self._outcomes.get(policy, (0, 0))
        return (prior * PRIOR_ASKS + accepted) / (PRIOR_ASKS + answered)

    @property
    def word(self) -> str:
        """What acceptance may be called."""
        return "probability" if self.answered >= CALIBRATED_FROM else "score"

    def policy(self, asn: int) -> str | None:
        """Its stated policy class as PeeringDB spells it, None where it names none."""
        policy = self._terms.get(asn, PeeringTerms()).policy
        return policy.title() if policy else None

    def refuses(self, asn: int) -> bool:
        """Whether its policy is *no* and the operator does not know better."""
        known = self._terms.get(asn)
        if known is None or known.policy != "no":
            return False
        return self._override is None and self._policy.of(asn).acceptance is None

    def scores(self, asns: Ints, metro: str, rates: Reals, both_ways: bool = True) -> Reals:
        """`score` of many networks in a metro; `rates`: bit/s out and in of each."""
        found = np.full(len(asns), self.rates[""])
        if self._places.registry.loaded:  # where nobody is at any place, nobody is met
            found *= PLACE_ELSEWHERE
        known = np.isin(asns, self._known) | (self._override is not None)
        for i in np.flatnonzero(known).tolist():
            out, into = rates[i].tolist()
            found[i] = self.score(int(asns[i]), metro, out, into, both_ways)
        return found

    def refusing(self, asns: Ints) -> Flags:
        """`refuses` of many networks."""
        found = np.isin(asns, self._known)
        for i in np.flatnonzero(found).tolist():
            found[i] = self.refuses(int(asns[i]))
        return found

    def score(
        self, asn: int, metro: str, out_bps: float, in_bps: float, both_ways: bool = True
    ) -> float:
        """Acceptance from 0 to 1 for an ask in a metro.

        `out_bps` and `in_bps`: averages of its own and observed routes there, standing alone;
        `both_ways`: whether both directions are metered in the metro.
        """
        score = 1.0
        for factor, _ in self._factors(asn, metro, out_bps, in_bps, both_ways):
            score *= factor
        return score

    def base_rate(self, policy: str) -> tuple[float, int, int]:
        """Of a class: the prior, and of our own asks how many were accepted and answered."""
        return self._policy.base_rates[policy], *self._outcomes.get(policy, (0, 0))

    def factors(
        self, asn: int, metro: str, out_bps: float, in_bps: float, both_ways: bool = True
    ) -> tuple[list[float], bool]:
        """What `score` multiplies, the base rate first; and whether that is the class's, not given
        by the operator."""
        found = [f for f, _ in self._factors(asn, metro, out_bps, in_bps, both_ways)]
        given = self._override is not None or self._policy.of(asn).acceptance is not None
        return found, not given

    def reasons(
        self, asn: int, metro: str, out_bps: float, in_bps: float, both_ways: bool = True
    ) -> list[str]:
        """The factors of `score` in words, each with its source."""
        return [
            f"{factor:.2f} {text}"
            for factor, text in self._factors(asn, metro, out_bps, in_bps, both_ways)
        ]

    def _factors(
        self, asn: int, metro: str, out_bps: float, in_bps: float, both_ways: bool
    ) -> Sequence[tuple[float, str]]:
        if self._override is not None:
            return [(self._override(asn, metro), "as given, instead of a score")]
        known = self._policy.of(asn)
        note = f": {known.note}" if known.note else ""
        if known.acceptance is not None:
            return [(known.acceptance, f"acceptance (configuration){note}")]
        terms = self._terms.get(asn)
        if terms is None:
            text = "policy unknown: not in PeeringDB"
            terms = PeeringTerms()
        elif terms.policy is None:
            text = "policy unknown: PeeringDB policy_general is empty"
        else:
            text = f"policy {terms.policy.title()} (PeeringDB)"
        accepted, answered = self._outcomes.get(terms.policy or "", (0, 0))
        if answered:
            text += f"; of our asks {accepted} of {answered} were accepted"
        factors = [(self.rates[terms.policy or ""], text + note)]
        more = (
            self._minimum(asn, terms, max(out_bps, in_bps)),
            self._place(asn, metro),
            self._locations(asn, terms.locations),
            self._ratio(asn, terms, out_bps, in_bps, both_ways),
        )
        return [*factors, *(f for f in more if f is not None)]

    def _minimum(self, asn: int, terms: PeeringTerms, volume: float) -> tuple[float, str] | None:
        least, source = self._policy.of(asn).minimum_bps, "configuration, [[networks]]"
        if least is None and terms.policy is not None:
            least, source = self._policy.minimum_bps.get(terms.policy), "configuration, [policy]"
        if not least:
            return None
        text = f"volume {volume / 1e6:,.0f} Mbps of at least {least / 1e6:,.0f} ({source})"
        if volume < least:
            return BELOW_MINIMUM, f"{text}: not met"
        return 1.0, f"{text}: met"

    def _place(self, asn: int, metro: str) -> tuple[float, str] | None:
        if not self._places.registry.loaded:
            return None
        reach = self._places.reach(asn, metro)
        if reach < JOIN_IX:
            return None
        if reach == JOIN_IX:
            return PLACE_JOIN, "meets only at an exchange we are not on (PeeringDB)"
        assert reach == ELSEWHERE
        if not self._places.listed(asn):
            return PLACE_ELSEWHERE, "no place known (PeeringDB has no port or facility of it)"
        if self._places.shared_metros(asn):
            return PLACE_ELSEWHERE, "no place in this metro, only in others (PeeringDB)"
        return PLACE_ELSEWHERE, "no common place in any metro (PeeringDB)"

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
        text = f"locations “{stated}” (PeeringDB), {what}"
        return (1.0, f"{text}: met") if met else (LOCATIONS_UNMET, f"{text}: not met")

    def _ratio(
        self, asn: int, terms: PeeringTerms, out_bps: float, in_bps: float, both_ways: bool
    ) -> tuple[float, str] | None:
        if not terms.ratio_required or out_bps + in_bps <= 0:
            return None
        most = self._policy.of(asn).max_ratio or MAX_RATIO
        own_words = f", it calls itself {terms.ratio}" if terms.ratio else ""
        text = f"ratio required (PeeringDB){own_words}"
        low, high = sorted((out_bps, in_bps))
        if not low and not both_ways:
            return 1.0, f"{text}; ours is unknown: one direction is not metered here"
        ours = f"ours is {high / low:.1f}:1" if low else "ours is one-way"
        way = "out:in" if out_bps >= in_bps else "in:out"
        text = f"{text}; {ours} {way}, at most {most:g}:1"
        if not low or high / low > most:
            return RATIO_EXCEEDED, f"{text}: exceeded"
        return 1.0, f"{text}: met"
