"""What a record says → the columns of its flow, one record at a time: the rules in words.

The compiled core (flowpeer_core/native/src/records.c) does the same for many records at once, and
a test holds both equal: a rule that changes here changes there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from flowpeer_core import sampling_rates
from flowpeer_core.sampling_rates import Rate
from flowpeer_ingest.parts import NEWEST_US, OLDEST_US
from flowpeer_ingest.sampling import Rates
from flowpeer_ingest.wire.events import SFLOW5, Message
from flowpeer_ingest.wire.values import MAX_INT, Values

CLOCK_TOLERANCE_US = 2_000_000
"""Header seconds and the network's delay stay below this; more is the exporter's clock (M3)."""
SLACK_US = 60_000_000
FUTURE_MS = 3_600_000
"""A switch time up to this much after sysUptime is an exporter's rounding, not a wrap."""
LONG_US = 300_000_000
"""A flow beyond one slot smooths the 95th percentile (METHODS M3)."""
LATEST_MS = 1 << 42  # the year 2109
_UPTIME_MASK = 0xFFFFFFFF
_ICMP, _ICMP6 = 1, 58
_MAPPED = 0xFFFF << 32

Row: TypeAlias = dict[str, int | bytes]
"""Column → value; what is not stated is not there."""


@dataclass(frozen=True, slots=True)
class RecordContext:
    """What holds for a record beside its own octets."""

    message: Message
    rates: Rates
    active_timeout_us: int


def is_four(raw: Values) -> bool:
    """Is a record one of IPv4?

    One with fields of both families is where an IPv4 field is not zero: the unused family is
    zero-filled, and in a tunnel over IPv6 the IPv4 packet is the inner one.
    """
    four = [raw[k] for k in ("src4", "dst4") if k in raw]
    six = [raw[k] for k in ("src6", "dst6") if k in raw]
    if not four or not six:
        return bool(four)
    return any(four) or not any(six)


def address(raw: Values, name: str, *, four: bool) -> bytes | None:
    """`name`, src or dst, next_hop or bgp_next_hop, in its 16 octets; None where not stated."""
    a4, a6 = raw.get(name + "4"), raw.get(name + "6")
    if a4 is not None and (a6 is None or four):
        return (_MAPPED | a4).to_bytes(16, "big")
    return None if a6 is None else a6.to_bytes(16, "big")


def hop(raw: Values, name: str, *, four: bool) -> bytes | None:
    """A next hop: of the record's family, unless only the other one is set."""
    some4, some6 = bool(raw.get(name + "4")), bool(raw.get(name + "6"))
    return address(raw, name, four=(some4 or not some6) if four else (some4 and not some6))


def destination_port(raw: Values) -> int | None:
    """The port; for ICMP type × 256 + code."""
    port, protocol = raw.get("dst_port"), raw.get("protocol")
    for number, family in ((_ICMP, "icmp4"), (_ICMP6, "icmp6")):
        both, kind = raw.get(family), raw.get(family + "_type")
        if kind is not None and (both or 0) <= 0:
            both = kind * 256 + raw.get(family + "_code", 0)
        if both is not None and protocol in (None, number) and (port or 0) <= 0:
            port = both
    return port


def counter(raw: Values, name: str) -> int | None:
    """bytes or packets: the delta, else the total, else the initiator's (firewall events)."""
    for kind in ("delta", "total", "initiator"):
        if f"{name}_{kind}" in raw:
            return raw[f"{name}_{kind}"]
    return None


def reverse_counter(raw: Values, name: str) -> int | None:
    """RFC 5103's; the responder's only beside the initiator's, since some exporters add both to
    the deltas of a plain flow."""
    for key in (f"reverse_{name}_delta", f"reverse_{name}_total"):
        if key in raw:
            return raw[key]
    plain = any(k in raw for k in ("bytes_delta", "packets_delta", "bytes_total", "packets_total"))
    event = "bytes_initiator" in raw or "packets_initiator" in raw
    return raw.get(f"{name}_responder") if event and not plain else None


def instant(raw: Values, message: Message, which: str) -> int:
    """Start or end in µs since the epoch from the finest element that is set, −1 unknown."""
    for key in (f"{which}_ntp_ns", f"{which}_ntp"):
        if raw.get(key, 0) > 0:
            return raw[key]
    for key, unit_us in ((f"{which}_ms", 1_000), (f"{which}_s", 1_000_000)):
        if 0 < raw.get(key, 0) < LATEST_MS * 1_000 // unit_us:
            return raw[key] * unit_us
    export_ms = message.export_ms
    if export_ms < 0:
        return -1
    ago = raw.get(f"{which}_delta_us")
    if ago is not None and ago <= _UPTIME_MASK and export_ms * 1_000 >= ago:
        return export_ms * 1_000 - ago
    switched = raw.get(f"{which}_uptime")
    if switched is None or switched > _UPTIME_MASK:
        return -1
    uptime = message.uptime_ms
    if 0 < raw.get("boot_ms", 0) < LATEST_MS:
        uptime = (export_ms - raw["boot_ms"]) & _UPTIME_MASK
    if uptime < 0:
        return -1
    ago = (uptime - switched) & _UPTIME_MASK
    if ago > _UPTIME_MASK - FUTURE_MS:
        ago -= _UPTIME_MASK + 1
    return max((export_ms - ago) * 1_000, -1)


def times(raw: Values, message: Message, prefix: str = "") -> tuple[int, int]:
    """(start, end) in µs since the epoch by the exporter's clock, −1 where it does not say."""
    if message.version == SFLOW5:  # a sample is one packet, seen when its datagram was sent
        return message.received_us, message.received_us
    start, end = instant(raw, message, prefix + "start"), instant(raw, message, prefix + "end")
    for key, unit_us in (("duration_us", 1), ("duration_ms", 1_000)):
        if key in raw:
            lasted = raw[key] * unit_us if raw[key] < _UPTIME_MASK else 0
            start, end = (
                max(end - lasted, -1) if start < 0 <= end else start,
                start + lasted if end < 0 <= start else end,
            )
    for key, unit_us in (("observed_ms", 1_000), ("observed_s", 1_000_000)):
        if end < 0 < raw.get(key, 0) < LATEST_MS * 1_000 // unit_us:
            end = raw[key] * unit_us
    return (end, end) if start < 0 else (start, start) if end < 0 else (start, end)


def reverse_times(raw: Values, message: Message) -> tuple[int, int]:
    """`times` of the reverse flow: its own, else those of the forward one."""
    start, end = times(raw, message)
    back_start, back_end = times(raw, message, "reverse_")
    return start if back_start < 0 else back_start, end if back_end < 0 else back_end


def placed(start: int, end: int, context: RecordContext) -> tuple[int, int, bool]:
    """METHODS M3: (start, end, corrected) on the receiver's clock, always usable."""
    message, timeout = context.message, context.active_timeout_us
    received = message.received_us
    error = received - message.export_ms * 1_000 if message.export_ms >= 0 else 0
    if abs(error) <= CLOCK_TOLERANCE_US:
        error = 0
    if (
        start >= 0
        and end >= 0
        and start <= end
        and start + error >= received - OLDEST_US
        and end + error <= received + NEWEST_US
        and end - start <= 2 * timeout + SLACK_US
    ):
        return start + error, end + error, False
    return received - timeout, received, True


_RATE_ELEMENTS = {
    34: "sampling_interval", 50: "sampler_random_interval", 305: "sampling_packet_interval",
    306: "sampling_packet_space", 309: "sampling_size", 310: "sampling_population",
}  # fmt: skip
_MOST_PACKETS = MAX_INT >> 1
"""Of 305 and 306 each, so that their sum fits."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """METHODS M2 of a record: `own` is what it or its header states itself, `interval` the N that
    holds, None unknown, `beyond`: it states one that no router has."""

    own: Rate | None
    interval: int | None
    beyond: bool


def sampling(raw: Values, context: RecordContext) -> Sampling:
    """The rate of a record: its own, then the announced ones, then the v5 header's."""
    values = {n: raw[key] for n, key in _RATE_ELEMENTS.items() if key in raw}
    for number in (305, 306):
        if number in values:
            values[number] = min(values[number], _MOST_PACKETS)
    if sampling_rates.beyond(values):
        return Sampling(None, None, beyond=True)
    own = sampling_rates.stated(values)
    if own is None and context.message.sampling > 0:
        own = (context.message.sampling, 1)
    if own is not None:
        return Sampling(own, sampling_rates.rounded(own), beyond=False)
    interface = raw.get("input_if", -1)
    if raw.get("direction") == 1 and "output_if" in raw:
        interface = raw["output_if"]
    announced = context.rates.lookup(raw.get("sampler_id", -1), interface)
    return Sampling(None, announced or None, beyond=False)


_PLAIN = (
    "input_if", "output_if", "protocol", "tos", "tcp_flags", "min_length", "max_length",
    "src_as", "dst_as", "src_mac", "dst_mac", "sampler_id", "src_port",
)  # fmt: skip
_SWAPPED = (
    ("src_addr", "dst_addr"),
    ("src_port", "dst_port"),
    ("src_as", "dst_as"),
    ("src_mask", "dst_mask"),
    ("src_mac", "dst_mac"),
    ("input_if", "output_if"),
)
_OF_ONE_WAY = (
    "bytes", "packets", "tcp_flags", "min_length", "max_length", "direction", "next_hop",
    "bgp_next_hop",
)  # fmt: skip


def forward(raw: Values, context: RecordContext) -> Row:
    """The columns of the flow that a record describes, in the types of the schema but for
    numbers that do not fit into them."""
    message = context.message
    four = is_four(raw)
    row: dict[str, int | bytes | None] = {key: raw.get(key) for key in _PLAIN}
    for name in ("src", "dst"):
        row[name + "_addr"] = address(raw, name, four=four)
        mask4, mask6 = raw.get(name + "_mask4"), raw.get(name + "_mask6")
        row[name + "_mask"] = mask4 if mask6 is None or (four and mask4 is not None) else mask6
    for name in ("next_hop", "bgp_next_hop"):
        row[name] = hop(raw, name, four=four)
    row["dst_port"] = destination_port(raw)
    row["bytes"], row["packets"] = counter(raw, "bytes"), counter(raw, "packets")
    row["direction"] = raw.get("direction") if raw.get("direction", 2) <= 1 else None
    rate = sampling(raw, context)
    row["sampling_interval"] = rate.interval
    row["sampling_numerator"], row["sampling_denominator"] = rate.own or (None, None)
    row["start_time"], row["end_time"], row["time_corrected"] = placed(
        *times(raw, message), context
    )
    row["received_at"] = message.received_us
    row["observation_domain"] = message.domain
    row["session"] = message.session
    row["export_time"] = message.export_ms * 1_000 if message.export_ms >= 0 else None
    row["datagram_sequence"] = message.sequence if message.sequence >= 0 else None
    return {name: value for name, value in row.items() if value is not None}


def reverse(raw: Values, row: Row, context: RecordContext) -> Row | None:
    """RFC 5103: the other half of a biflow record that counted something, None if it did not.

    The reverse flow has the ends, ports, interfaces and ASes swapped; its metering direction is
    not stated.
    """
    counts = {name: reverse_counter(raw, name) for name in ("bytes", "packets")}
    if not any(counts.values()):
        return None
    out = {name: value for name, value in row.items() if name not in _OF_ONE_WAY}
    for one, other in _SWAPPED:
        a, b = out.pop(one, None), out.pop(other, None)
        if b is not None:
            out[one] = b
        if a is not None:
            out[other] = a
    out |= {name: value for name, value in counts.items() if value is not None}
    for name in ("tcp_flags", "tos"):
        if "reverse_" + name in raw:
            out[name] = raw["reverse_" + name]
    out["start_time"], out["end_time"], out["time_corrected"] = placed(
        *reverse_times(raw, context.message), context
    )
    return out
