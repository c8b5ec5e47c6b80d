"""What the configuration says of the ranking, as the reports take it."""

from __future__ import annotations

from flowpeer.network import Configuration
from flowpeer_reports.policy import BASE_RATES, NetworkTerms, Policy, Weights


def policy_of(network: Configuration) -> Policy:
    """`[policy]` and `[[networks]]`."""
    stated = network.policy
    return Policy(
        weights=Weights(stated.weights.inferred, stated.weights.declared),
        base_rates={**BASE_RATES, **{str(c): rate for c, rate in stated.base_rates.items()}},
        minimum_bps={policy: float(bps) for policy, bps in stated.minimum.items()},
        min_expected_bps=float(stated.min_expected),
        pni_from_bps=float(stated.pni_from),
        sibling_groups=stated.siblings,
        networks={
            n.asn: NetworkTerms(
                n.acceptance,
                None if n.minimum is None else float(n.minimum),
                n.max_ratio,
                None if n.pni_from is None else float(n.pni_from),
                n.note or "",
            )
            for n in network.networks
        },
    )
