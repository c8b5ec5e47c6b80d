"""Which crossing of which interface a record is counted on: METHODS M1.

A record names two interfaces and the side it was metered on. Counted is the crossing of an
external interface, once: which of several records of the same crossing counts is chosen for each
interface from what was seen of it during the day. Everything else gets a row of its own (unknown,
internal, discarded, set aside), so that sums always add up.

Where no text decides: a record that crosses a configured external interface is counted there, and
the interface on its other side needs no entry in the configuration. `unknown` is what crosses no
configured external interface and at least one that the configuration does not name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from flowpeer.network import Configuration, Interface
from flowpeer_core.roles import EXTERNAL_ROLES
from flowpeer_ingest.parts import EGRESS_IN, EGRESS_OUT, INGRESS_IN, INGRESS_OUT

UNKNOWN_METRO = "unknown"
Remote = Literal["src", "dst"]


@dataclass(frozen=True, slots=True)
class CountingPoint:
    """Where bytes are counted: the part of a `traffic` row that the record's interfaces decide."""

    metro: str
    exporter: str
    interface: int | None
    role: str
    provider_asn: int | None
    direction: str


@dataclass(frozen=True, slots=True)
class Crossing:
    """One counting of a record, and which of its addresses is the remote end."""

    side: CountingPoint
    remote: Remote


@dataclass(frozen=True, slots=True)
class Attribution:
    """Where a record is counted: once, or twice where it passes from external to external."""

    crossings: tuple[Crossing, ...]
    discarded: bool
    """Counted inbound although it left by no interface (M1: it was billed, and is flagged)."""


Seen = Mapping[str, Mapping[int, int]]
"""exporter (configured id, else IP) → ifIndex → bits of flowpeer.lake.publish."""
Octets = Mapping[str, Mapping[int, tuple[int, int, int, int]]]
"""exporter → ifIndex → scaled bytes of each way, in the order of flowpeer_ingest.parts.WAYS."""
DEFAULT_RATE = 1_000
"""N of a sampling error where the configuration has no rate."""


@dataclass(frozen=True, slots=True)
class MeteringConflict:
    """An interface and direction that is metered both ways, of which neither is the whole (M1)."""

    natural: int
    other: int
    chosen: Literal["ingress", "egress"]


def both_ways(bits: int) -> bool:
    """Whether an interface was metered both ways in a direction: only then do its bytes decide."""
    return bits & (INGRESS_IN | EGRESS_IN) == INGRESS_IN | EGRESS_IN or (
        bits & (INGRESS_OUT | EGRESS_OUT) == INGRESS_OUT | EGRESS_OUT
    )


@dataclass(frozen=True)
class Attributor:
    """M1 for one network and one day's metering.

    octets: scaled bytes by way, which may be left out where nothing was metered both ways.
    """

    network: Configuration
    seen: Seen
    octets: Octets = field(default_factory=dict)
    interfaces: Mapping[tuple[str, int], Interface] = field(default_factory=dict)
    """As they are at the time of what is counted."""
    _memory: dict[tuple[str, int, int, bool], Attribution] = field(default_factory=dict)

    def exporter(self, exporter_ip: str) -> tuple[str, str]:
        """(id, metro) of an exporter; its address and `unknown` where it is not configured."""
        configured = self.network.exporter_by_address.get(exporter_ip)
        if configured is None:
            return exporter_ip, UNKNOWN_METRO
        return configured.id, configured.metro

    def counts(self, exporter: str, index: int, *, inbound: bool) -> Literal["ingress", "egress"]:
        """Which records of an interface count for one direction (M1)."""
        forced = self.network.metering_by_exporter.get(exporter, "auto")
        if forced != "auto":
            return forced
        natural, other = self._ways(exporter, index, inbound=inbound)
        if natural or other:
            fits = 10 * natural >= 9 * other
            if not fits and 2 * natural >= other:  # short by no more than chance
                fits = (other - natural) ** 2 < 4 * self._variance(exporter, natural + other)
            return "ingress" if fits == inbound else "egress"
        bits = self.seen.get(exporter, {}).get(index, 0)
        if inbound:
            return "ingress" if bits & INGRESS_IN or not bits & EGRESS_IN else "egress"
        return "egress" if bits & EGRESS_OUT or not bits & INGRESS_OUT else "ingress"

    def conflict(self, exporter: str, index: int, *, inbound: bool) -> MeteringConflict | None:
        """The bytes of both ways where the smaller holds more than 1 % and less than 90 % of the
        larger; None where the operator says which one counts."""
        if self.network.metering_by_exporter.get(exporter, "auto") != "auto":
            return None
        ways = self._ways(exporter, index, inbound=inbound)
        low, high = sorted(ways)
        if not (100 * low > high and 10 * low < 9 * high):
            return None
        return MeteringConflict(*ways, self.counts(exporter, index, inbound=inbound))

    def _ways(self, exporter: str, index: int, *, inbound: bool) -> tuple[int, int]:
        """Bytes of the natural way and of the other one: ingress is natural inbound."""
        ingress_in, egress_in, ingress_out, egress_out = self.octets.get(exporter, {}).get(
            index, (0, 0, 0, 0)
        )
        return (ingress_in, egress_in) if inbound else (egress_out, ingress_out)

    def _variance(self, exporter: str, octets: int) -> int:
        """An upper bound of the sampling variance of scaled bytes: N · M · T (METHODS M6)."""
        found = next((e for e in self.network.exporters if e.id == exporter), None)
        if found is None:
            return DEFAULT_RATE * 1_500 * octets
        rate = found.sampling_override or found.sampling or DEFAULT_RATE
        return rate * found.mtu * octets

    def attribute(
        self, exporter_ip: str, input_if: int, output_if: int, *, egress: bool
    ) -> Attribution:
        """Where a record with these interfaces is counted; 0 stands for no or unknown interface."""
        key = (exporter_ip, input_if, output_if, egress)
        if key not in self._memory:
            self._memory[key] = self._attribute(*key)
        return self._memory[key]

    def _attribute(
        self, exporter_ip: str, input_if: int, output_if: int, egress: bool
    ) -> Attribution:
        exporter, metro = self.exporter(exporter_ip)
        metered = "egress" if egress else "ingress"

        def side(index: int, role: str, asn: int | None, direction: str) -> CountingPoint:
            return CountingPoint(metro, exporter, index or None, role, asn, direction)

        def configured(index: int) -> Interface | None:
            return self.interfaces.get((exporter, index)) if index else None

        source, destination = configured(input_if), configured(output_if)
        crossings: list[Crossing] = []
        external = False
        for inbound, interface, index in (
            (True, source, input_if),
            (False, destination, output_if),
        ):
            if interface is None or interface.role not in EXTERNAL_ROLES:
                continue
            external = True
            if self.counts(exporter, index, inbound=inbound) == metered:
                # On an exchange the neighbour is found by next hop, never by the interface.
                asn = None if interface.role == "ix" else interface.asn
                crossings.append(
                    Crossing(
                        side(index, interface.role, asn, "in" if inbound else "out"),
                        "src" if inbound else "dst",
                    )
                )
        if crossings:
            return Attribution(tuple(crossings), not output_if)
        if external:
            index = input_if if source is not None and source.role in EXTERNAL_ROLES else output_if
            return Attribution((Crossing(side(index, "set_aside", None, "none"), "dst"),), False)
        if input_if and source is None:
            only = Crossing(side(input_if, "unknown", None, "in"), "src")
        elif output_if and destination is None:
            only = Crossing(side(output_if, "unknown", None, "out"), "dst")
        elif not output_if:
            only = Crossing(side(input_if, "discarded", None, "none"), "dst")
        else:
            only = Crossing(side(input_if, "internal", None, "none"), "dst")
        return Attribution((only,), False)
