"""What the operator decided about the ranking: weights, base rates, thresholds, single networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

CLASSES = ("open", "selective", "restrictive", "no")
"""Policy classes as PeeringDB's `policy_general` names them, in lower case."""
BASE_RATES: Mapping[str, float] = {"open": 0.8, "selective": 0.5, "restrictive": 0.15, "no": 0.02}
"""Share of asks that are accepted, by class: a prior, worth ten asks (METHODS M10)."""
MIN_EXPECTED_BPS = 1_000_000.0
PNI_FROM_BPS = 10_000_000_000.0
MAX_RATIO = 2.0


@dataclass(frozen=True, slots=True)
class Weights:
    """What evidence is worth in the ranking; observed counts 1. Printed volumes are unweighted."""

    inferred: float = 0.3
    declared: float = 0.3


@dataclass(frozen=True, slots=True)
class NetworkTerms:
    """What the operator knows of one network; None: nothing, so the general rule holds."""

    acceptance: float | None = None
    minimum_bps: float | None = None
    max_ratio: float | None = None
    pni_from_bps: float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Policy:
    """`[policy]` and `[[networks]]` of the configuration."""

    weights: Weights = Weights()
    base_rates: Mapping[str, float] = field(default_factory=lambda: dict(BASE_RATES))
    minimum_bps: Mapping[str, float] = field(default_factory=dict)
    """By policy class: volume below which an ask is likely to be refused."""
    min_expected_bps: float = MIN_EXPECTED_BPS
    """The list ends before the first row that is expected to bring less."""
    pni_from_bps: float = PNI_FROM_BPS
    """95th percentile above which a private interconnection comes before an exchange."""
    siblings: Literal["together", "apart"] = "together"
    sibling_groups: tuple[tuple[int, ...], ...] = ()
    """Networks that the operator knows to be one organisation."""
    networks: Mapping[int, NetworkTerms] = field(default_factory=dict)

    def of(self, asn: int) -> NetworkTerms:
        """The operator's terms of one network."""
        return self.networks.get(asn, _UNKNOWN)


_UNKNOWN = NetworkTerms()
