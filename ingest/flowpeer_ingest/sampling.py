"""Rates from options data: which N holds for a record (METHODS M2).

The key of a rate is (exporter, domain, sampler, interface). A record asks, in this order: its
sampler in its own domain; its interface; the domain-wide rate; then the same in the exporter's
other domains where they agree; last, a record without a sampler takes the only rate its
exporter ever named.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from flowpeer_ingest.wire.events import SamplingLearned

MAX_RATES = 16_384
"""Rates kept per exporter; one per interface of the largest chassis is some thousands."""


class Rates:
    """The rates that hold for one domain of one exporter at one moment; never changed."""

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

_Key = tuple[int, int | None, int | None]  # domain, sampler, interface


@dataclass(slots=True)
class Known:
    """One exporter's rates and, per rate, when it was said: [first, last] received, in µs."""

    rates: dict[_Key, int] = field(default_factory=dict)
    views: dict[int, Rates] = field(default_factory=dict)


class Sampling:
    """All rates of a run."""

    def __init__(self) -> None:
        self._exporters: dict[str, Known] = {}
        self.changes = 0

    def learn(self, event: SamplingLearned) -> None:
        """Take in one options record; a later one for the same key replaces it."""
        known = self._exporters.setdefault(event.message.exporter, Known())
        key = (event.message.domain, event.sampler_id, event.interface)
        if known.rates.get(key) == event.interval:
            return
        if key not in known.rates and len(known.rates) >= MAX_RATES:
            del known.rates[next(iter(known.rates))]
        known.rates[key] = event.interval
        known.views.clear()
        self.changes += 1

    def snapshot(self) -> dict[str, list[tuple[int, int | None, int | None, int]]]:
        """Every rate by exporter: (domain, sampler, interface, N), the oldest first."""
        return {
            address: [(*key, rate) for key, rate in known.rates.items()]
            for address, known in self._exporters.items()
        }

    def restore(self, saved: dict[str, list[tuple[int, int | None, int | None, int]]]) -> None:
        """Know what `snapshot` gave, and nothing else."""
        self.changes += 1
        self._exporters = {
            address: Known({(d, s, i): rate for d, s, i, rate in rates})
            for address, rates in saved.items()
        }

    def forget(self, exporter: str) -> Known | None:
        """Forget all rates of an exporter; what was known."""
        known = self._exporters.pop(exporter, None)
        self.changes += known is not None
        return known

    def take_back(self, exporter: str, known: Known) -> None:
        """Know again what `forget` gave."""
        self._exporters[exporter] = known
        self.changes += 1

    def rates(self, exporter: str, domain: int) -> Rates:
        """What is known at this moment for records of this domain."""
        known = self._exporters.get(exporter)
        if known is None:
            return NO_RATES
        view = known.views.get(domain)
        if view is None:
            view = known.views[domain] = _view(known.rates, domain)
        return view


def _view(rates: dict[_Key, int], domain: int) -> Rates:
    samplers: dict[int, int] = {}
    interfaces: dict[int, int] = {}
    wide = 0
    said: dict[tuple[int | None, int | None], set[int]] = {}
    for (where, sampler, interface), rate in rates.items():
        if where != domain:
            said.setdefault((sampler, None if sampler is not None else interface), set()).add(rate)
        elif sampler is not None:
            samplers[sampler] = rate
        elif interface is not None:
            interfaces[interface] = rate
        else:
            wide = rate
    own = bool(samplers or interfaces or wide)
    for (sampler, interface), values in said.items():
        if len(values) != 1:
            continue
        (rate,) = values
        if sampler is not None:
            samplers.setdefault(sampler, rate)
        elif interface is not None:
            interfaces.setdefault(interface, rate)
        elif not own:
            wide = wide or rate
    every = {
        rate
        for (where, sampler, interface), rate in rates.items()
        if (where == domain or not own) and (sampler is not None or interface is None)
    }
    return Rates(samplers, interfaces, wide, every.pop() if len(every) == 1 else 0)
