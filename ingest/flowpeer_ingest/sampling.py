"""The rates that hold for the records of a session as they are decoded (METHODS M2).

The rule is `flowpeer_core.sampling_rates.rate_of`; here its answers of one moment are laid out so
that a record finds its own at once. What a record received before its rate was announced has is
for the roll-up, which asks the same rule with all announcements.
"""

from __future__ import annotations

from collections.abc import Sequence

from flowpeer_core.sampling_rates import AnnouncedRates, rounded


class Rates:
    """The rates that hold at one moment; never changed. Rates are N of 1:N, rounded."""

    __slots__ = ("__weakref__", "interfaces", "only", "samplers", "wide")

    def __init__(
        self, samplers: dict[int, int], interfaces: dict[int, int], wide: int, only: int
    ) -> None:
        self.samplers = samplers
        self.interfaces = interfaces
        self.wide = wide
        self.only = only

    def lookup(self, sampler: int, interface: int) -> int:
        """N for a record, 0 unknown; −1 in the arguments: the record does not say."""
        return (
            self.samplers.get(sampler)
            or self.interfaces.get(interface)
            or self.wide
            or (self.only if sampler < 0 else 0)
        )


NO_RATES = Rates({}, {}, 0, 0)


def rates_now(tables: Sequence[AnnouncedRates]) -> Rates:
    """What was announced last in these tables, the first of them before the others."""
    samplers: dict[int, int] = {}
    interfaces: dict[int, int] = {}
    wide = only = 0
    for table in reversed(tables):
        for sampler, interface, rate in table.latest():
            if sampler is not None and interface is None:
                samplers[sampler] = rounded(rate)
            elif sampler is None and interface is not None:
                interfaces[interface] = rounded(rate)
            elif sampler is None:
                wide = rounded(rate)
        single = table.only()
        only = rounded(single) if single is not None else only
    return Rates(samplers, interfaces, wide, only)
