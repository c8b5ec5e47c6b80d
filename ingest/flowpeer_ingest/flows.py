"""Elements → the values of a flow's columns: addresses, counters, times, sampling.

Every array has one entry per record; −1 in an int64 array means that the record does not say.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flowpeer_ingest.reading import MAX_INT, Arrays, Ints
from flowpeer_ingest.sampling import Rates
from flowpeer_ingest.wire.events import MAX_SAMPLING

CLOCK_TOLERANCE_US = 2_000_000
"""Header seconds and the network's delay stay below this; more is the exporter's clock (M3)."""
OLDEST_US = 24 * 3_600_000_000
NEWEST_US = 5 * 60_000_000
SLACK_US = 60_000_000
FUTURE_MS = 3_600_000
"""A switch time up to this much after sysUptime is an exporter's rounding, not a wrap."""
MAX_BYTES = 1 << 40
"""Per record: 1 TiB in one active timeout is beyond any link; a wrong template decodes to it."""
_UPTIME_MASK = 0xFFFFFFFF
_LATEST_MS = 1 << 42  # the year 2109
_ICMP, _ICMP6 = 1, 58


@dataclass(slots=True)
class Context:
    """What the message around each record says; arrays of one entry per record."""

    received_us: Ints
    export_ms: Ints
    uptime_ms: Ints
    active_timeout_us: Ints
    header_sampling: Ints
    rates: list[tuple[Rates, int, int]]  # known rates for the records [start, stop)


def first_known(*candidates: Ints | None) -> Ints | None:
    """Entry by entry the first value that is said (≥ 0)."""
    out: Ints | None = None
    for c in candidates:
        if c is not None:
            out = c if out is None else np.where(out < 0, c, out)
    return out


def addresses(raw: Arrays) -> Arrays:
    """src_addr, dst_addr, next hops and masks of the family that a record carries.

    A record with IPv4 and IPv6 slots is IPv4 where an IPv4 slot is not all zero: the unused
    family is zero-filled, and in a tunnel over IPv6 the IPv4 packet is the inner one.
    """
    out: Arrays = {}
    four = [raw[k] for k in ("src4", "dst4") if k in raw]
    six = [raw[k] for k in ("src6", "dst6") if k in raw]
    is4: NDArray[np.bool_] | None = None
    if four and six:
        some4 = np.logical_or.reduce([a[:, 12:].any(axis=1) for a in four])
        some6 = np.logical_or.reduce([a.any(axis=1) for a in six])
        is4 = some4 | ~some6
    for name in ("src", "dst"):
        a4, a6 = raw.get(name + "4"), raw.get(name + "6")
        if a4 is not None and a6 is not None and is4 is not None:
            out[name + "_addr"] = np.where(is4[:, None], a4, a6)
        elif a4 is not None or a6 is not None:
            out[name + "_addr"] = a4 if a4 is not None else a6  # type: ignore[assignment]
        m4, m6 = raw.get(f"{name}_mask4"), raw.get(f"{name}_mask6")
        if m4 is not None and m6 is not None:
            use4 = is4 if is4 is not None else np.full(len(m4), bool(four))
            out[name + "_mask"] = np.where(use4, m4, m6)
        elif m4 is not None or m6 is not None:
            out[name + "_mask"] = m4 if m4 is not None else m6  # type: ignore[assignment]
    for name in ("next_hop", "bgp_next_hop"):
        a4, a6 = raw.get(name + "4"), raw.get(name + "6")
        if a4 is not None and a6 is not None:
            some4, some6 = a4[:, 12:].any(axis=1), a6.any(axis=1)
            prefer4 = is4 if is4 is not None else np.full(len(a4), bool(four))
            use4 = np.where(prefer4, some4 | ~some6, some4 & ~some6)
            out[name] = np.where(use4[:, None], a4, a6)
        elif a4 is not None or a6 is not None:
            out[name] = a4 if a4 is not None else a6  # type: ignore[assignment]
    return out


def ports(raw: Arrays) -> Arrays:
    """src_port and dst_port; for ICMP the destination port is type × 256 + code."""
    out: Arrays = {}
    if "src_port" in raw:
        out["src_port"] = raw["src_port"]
    port: Ints | None = raw.get("dst_port")
    protocol = raw.get("protocol")
    for number, family in ((_ICMP, "icmp4"), (_ICMP6, "icmp6")):
        code: Ints | None = raw.get(family)
        kind = raw.get(family + "_type")
        if kind is not None:
            both = kind * 256 + raw.get(family + "_code", np.zeros_like(kind))
            code = both if code is None else np.where(code > 0, code, both)
        if code is None:
            continue
        mine = np.ones(len(code), bool) if protocol is None else protocol == number
        if port is None:
            port = np.full(len(code), -1, np.int64)
        port = np.where(mine & (port <= 0), code, port)
    if port is not None:
        out["dst_port"] = port
    return out


def counters(raw: Arrays) -> Arrays:
    """bytes and packets: deltas, else totals, else the initiator's (firewall events).

    Reverse counters are RFC 5103's; the responder's only beside the initiator's, since some
    exporters add both to the deltas of a plain flow.
    """
    out: Arrays = {}
    plain = any(k in raw for k in ("bytes_delta", "packets_delta", "bytes_total", "packets_total"))
    event = not plain and ("bytes_initiator" in raw or "packets_initiator" in raw)
    for name in ("bytes", "packets"):
        for kind in ("delta", "total", "initiator"):
            if f"{name}_{kind}" in raw:
                out[name] = raw[f"{name}_{kind}"]
                break
        for key in (f"reverse_{name}_delta", f"reverse_{name}_total"):
            if key in raw:
                out["reverse_" + name] = raw[key]
                break
        if event and f"{name}_responder" in raw:
            out.setdefault("reverse_" + name, raw[f"{name}_responder"])
    return out


def _instant(raw: Arrays, context: Context, which: str) -> Ints | None:
    """Start or end in µs since the epoch from the finest element that is set, −1 unknown."""
    found: list[Ints] = []
    for key in (f"{which}_ntp_ns", f"{which}_ntp"):
        if key in raw:
            found.append(np.where(raw[key] > 0, raw[key], -1))
    for key, unit_us in ((f"{which}_ms", 1_000), (f"{which}_s", 1_000_000)):
        if key in raw:
            v = raw[key]
            usable = (v > 0) & (v < _LATEST_MS * 1_000 // unit_us)
            found.append(np.where(usable, np.where(usable, v, 0) * unit_us, -1))
    key = f"{which}_delta_us"
    if key in raw:
        v = raw[key]
        usable = (v <= _UPTIME_MASK) & (context.export_ms >= 0)
        found.append(np.where(usable, context.export_ms * 1_000 - np.where(usable, v, 0), -1))
    key = f"{which}_uptime"
    if key in raw:
        uptime = context.uptime_ms
        if "boot_ms" in raw:
            boot = raw["boot_ms"]
            usable = (boot > 0) & (boot < _LATEST_MS)
            derived = (context.export_ms - np.where(usable, boot, 0)) & _UPTIME_MASK
            uptime = np.where(usable, derived, uptime)
        ago = (uptime - raw[key]) & _UPTIME_MASK
        ago = np.where(ago > _UPTIME_MASK - FUTURE_MS, ago - _UPTIME_MASK - 1, ago)
        usable = (uptime >= 0) & (context.export_ms >= 0) & (raw[key] <= _UPTIME_MASK)
        found.append(np.where(usable, (context.export_ms - ago) * 1_000, -1))
    return first_known(*found)


def times(raw: Arrays, context: Context, prefix: str = "") -> tuple[Ints, Ints]:
    """(start, end) in µs since the epoch by the exporter's clock, −1 where it does not say."""
    unknown = np.full(len(context.received_us), -1, np.int64)
    start = _instant(raw, context, prefix + "start")
    end = _instant(raw, context, prefix + "end")
    start = unknown if start is None else start
    end = unknown if end is None else end
    for key, unit_us in (("duration_us", 1), ("duration_ms", 1_000)):
        if key in raw:
            v = np.where(raw[key] < _UPTIME_MASK, raw[key], 0) * unit_us
            start, end = (
                np.where((start < 0) & (end >= 0), end - v, start),
                np.where((end < 0) & (start >= 0), start + v, end),
            )
    for key, unit_us in (("observed_ms", 1_000), ("observed_s", 1_000_000)):
        if key in raw:
            v = raw[key]
            usable = (v > 0) & (v < _LATEST_MS * 1_000 // unit_us)
            seen = np.where(usable, np.where(usable, v, 0) * unit_us, -1)
            end = np.where(end < 0, seen, end)
    start, end = np.where(start < 0, end, start), np.where(end < 0, start, end)
    return start, end


def placed(start: Ints, end: Ints, context: Context) -> tuple[Ints, Ints, NDArray[np.bool_]]:
    """METHODS M3: (start, end, corrected) on the receiver's clock, always usable."""
    received = context.received_us
    error = np.where(context.export_ms >= 0, received - context.export_ms * 1_000, 0)
    error[np.abs(error) <= CLOCK_TOLERANCE_US] = 0
    known = (start >= 0) & (end >= 0)
    start, end = start + error, end + error
    usable = (
        known
        & (start <= end)
        & (start >= received - OLDEST_US)
        & (end <= received + NEWEST_US)
        & (end - start <= 2 * context.active_timeout_us + SLACK_US)
    )
    return (
        np.where(usable, start, received - context.active_timeout_us),
        np.where(usable, end, received),
        ~usable,
    )


def own_rate(raw: Arrays, n: int) -> Ints:
    """The N that the record itself states, 0 if it does not (the order of `options.interval`)."""
    zero = np.zeros(n, np.int64)
    out: Ints = raw.get("sampling_interval", zero)
    if "sampler_random_interval" in raw:
        out = np.where(raw["sampler_random_interval"] > 0, raw["sampler_random_interval"], out)
    if "sampling_packet_interval" in raw:
        taken = raw["sampling_packet_interval"]
        rate = taken
        if "sampling_packet_space" in raw:
            a = np.clip(taken, 1, MAX_INT >> 3)
            b = np.minimum(raw["sampling_packet_space"], MAX_INT >> 3)
            rate = (2 * (a + b) + a) // (2 * a)
        out = np.where(taken > 0, rate, out)
    if "sampling_size" in raw and "sampling_population" in raw:
        size, population = raw["sampling_size"], raw["sampling_population"]
        usable = (size > 0) & (population > 0)
        a = np.where(usable, np.minimum(size, MAX_INT >> 2), 1)
        b = np.where(usable, np.minimum(population, MAX_INT >> 3), 0)
        out = np.where(usable, (2 * b + a) // (2 * a), out)
    return out


def sampling(raw: Arrays, context: Context, n: int) -> tuple[Ints, int]:
    """METHODS M2: (N for each record, −1 unknown; how many stated a rate beyond 2^24)."""
    rate = own_rate(raw, n).copy()
    unsaid = np.full(n, -1, np.int64)
    sampler: Ints = raw.get("sampler_id", unsaid)
    interface: Ints = raw.get("input_if", unsaid)
    if "direction" in raw and "output_if" in raw:
        interface = np.where(raw["direction"] == 1, raw["output_if"], interface)
    for rates, start, stop in context.rates:
        some = rate[start:stop] <= 0
        if some.any():
            found = rates.lookup(sampler[start:stop], interface[start:stop])
            rate[start:stop] = np.where(some, found, rate[start:stop])
    rate = np.where(rate <= 0, context.header_sampling, rate)
    beyond = rate > MAX_SAMPLING
    return np.where((rate <= 0) | beyond, -1, rate), int(np.count_nonzero(beyond))
