"""Records that no router can have meant: set aside, in no total, in a figure of their own (M13).

The compiled core (flowpeer_core/native/src/records.c) decides the same by the same limits.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from flowpeer_core.addresses import text_of
from flowpeer_core.native.table import IMPLAUSIBLE_EACH, IMPLAUSIBLE_ROOM

MAX_COUNTER = 1 << 48
"""Bytes or packets of one record: 256 TiB is beyond any link; a wrong template decodes to it."""
LEAST_OCTETS = 20
"""Of a packet: its IPv4 header."""
BACKWARDS_US = 60_000_000
"""A record may end so much before it starts: two clocks, or an exporter's rounding."""
LONGEST_US = 30 * 86_400 * 1_000_000

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
REASONS = (
    "bytes beyond 2^48", "packets beyond 2^48", "fewer than 20 bytes a packet",
    "ends before it starts", "lasts more than 30 days",
)  # fmt: skip
"""In the order in which they are looked for: `IMPLAUSIBLE_…` of the compiled core."""

Amounts = tuple[int, int, int]
"""Records, bytes, packets; bytes and packets of one record count up to `MAX_COUNTER`."""


@dataclass(frozen=True, slots=True)
class Implausible:
    """One record that was set aside, as exported. Times are of the exporter's clock, µs since the
    epoch; None and "" where the record does not say."""

    exporter_ip: str
    reason: str
    received_us: int
    domain: int = 0
    input_if: int | None = None
    output_if: int | None = None
    bytes: int | None = None
    packets: int | None = None
    start_us: int | None = None
    end_us: int | None = None
    src_addr: str = ""
    dst_addr: str = ""


@dataclass(slots=True)
class SetAside:
    """What was set aside of each exporter, and a sample of it."""

    amounts: dict[str, dict[str, Amounts]] = field(default_factory=dict)
    sample: list[Implausible] = field(default_factory=list)

    def add(self, exporter: str, reason: str, records: int, octets: int, packets: int) -> None:
        """Count records of an exporter."""
        of = self.amounts.setdefault(exporter, {})
        a, b, c = of.get(reason, (0, 0, 0))
        of[reason] = a + records, b + octets, c + packets

    def keep(self, one: Implausible) -> None:
        """Add to the sample, if there are few of this exporter and reason."""
        alike = sum((s.exporter_ip, s.reason) == (one.exporter_ip, one.reason) for s in self.sample)
        if alike < IMPLAUSIBLE_EACH and len(self.sample) < IMPLAUSIBLE_ROOM:
            self.sample.append(one)

    def records(self) -> int:
        """All of them."""
        return sum(records for of in self.amounts.values() for records, _, _ in of.values())


def reason_of(octets: int | None, packets: int | None, start_us: int, end_us: int) -> str | None:
    """Why a record is set aside, None if it is not; times −1 where it does not say."""
    if octets is not None and octets > MAX_COUNTER:
        return REASONS[0]
    if packets is not None and packets > MAX_COUNTER:
        return REASONS[1]
    if octets is not None and packets is not None and octets < LEAST_OCTETS * packets:
        return REASONS[2]
    if start_us >= 0 and end_us >= 0:
        if end_us < start_us - BACKWARDS_US:
            return REASONS[3]
        if end_us - start_us > LONGEST_US:
            return REASONS[4]
    return None


def address_text(octets: bytes | None) -> str:
    """An address of 16 octets as text; "" where it is none."""
    return text_of(octets) if octets and any(octets) else ""


def described(one: Implausible) -> str:
    """One of them in words."""
    return (
        f"{one.src_addr or '?'} → {one.dst_addr or '?'}, interface {_or(one.input_if)} to "
        f"{_or(one.output_if)}, {_or(one.bytes)} bytes in {_or(one.packets)} packets, "
        f"from {_instant(one.start_us)} to {_instant(one.end_us)}"
    )


def _instant(us: int | None) -> str:
    if us is None:
        return "?"
    try:
        return f"{EPOCH + timedelta(microseconds=us):%Y-%m-%d %H:%M:%S}"
    except OverflowError:
        return f"{us // 1_000_000:,} s"


def _or(value: int | None) -> str:
    return "?" if value is None else f"{value:,}"
