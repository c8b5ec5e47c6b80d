"""The reference of what is decoded, made from the tables that the decoders themselves read."""

from __future__ import annotations

from flowpeer_ingest.wire import netflow1, netflow5, netflow7
from flowpeer_ingest.wire.frames import LENGTHS

FORMATS = (
    ("netflow1", "NetFlow v1", "addresses, ports, interfaces, counters, times; no ASes, no losses"),
    ("netflow5", "NetFlow v5", "all 20 fields; sampling from the header (14 bits)"),
    ("netflow7", "NetFlow v7", "as v5, without sampling"),
    ("netflow9", "NetFlow v9", "RFC 3954, options data, variable-length fields as H3C sends them"),
    ("ipfix", "IPFIX", ("RFC 7011 with variable length, reduced sizes, enterprise elements, "
     "withdrawals; RFC 5103 biflows as two flows; RFC 6313 lists skipped; RFC 7133 frames read")),
    ("sflow5", "sFlow v5", ("flow and expanded flow samples: raw header (Ethernet, VLAN, MPLS, "
     "IPv4, IPv6), sampled IPv4/IPv6/Ethernet, extended router and gateway")),
)  # fmt: skip
NOT_DECODED = (
    ("NetFlow v8", "sums by AS, port or prefix, without addresses; counted by name"),
    ("sFlow v2, v4", "superseded in 2004; counted by name"),
    ("sFlow counter and discarded packet samples", "no flows; counted by name"),
    ("IE 23, 24", "v9 outgoing, IPFIX post counters: they count the same packets again"),
    ("IE 352 and other layer 2 octets", "they include the link's header"),
    ("NTP fractions in microseconds (NetScaler, IE 154 to 157)", "not distinguished from RFC 7011"),
)

_RATE = "sampling_interval, sampling_numerator, sampling_denominator"
_COLUMNS = {
    "bytes_delta": "bytes", "bytes_total": "bytes", "bytes_initiator": "bytes",
    "bytes_responder": "bytes of a second flow", "packets_delta": "packets",
    "packets_total": "packets", "packets_initiator": "packets",
    "packets_responder": "packets of a second flow", "icmp4": "dst_port", "icmp6": "dst_port",
    "icmp4_type": "dst_port", "icmp4_code": "dst_port", "icmp6_type": "dst_port",
    "icmp6_code": "dst_port", "src4": "src_addr", "src6": "src_addr", "dst4": "dst_addr",
    "dst6": "dst_addr", "next_hop4": "next_hop", "next_hop6": "next_hop",
    "bgp_next_hop4": "bgp_next_hop", "bgp_next_hop6": "bgp_next_hop", "src_mask4": "src_mask",
    "src_mask6": "src_mask", "dst_mask4": "dst_mask", "dst_mask6": "dst_mask",
    "sampling_interval": _RATE, "sampler_random_interval": _RATE,
    "sampling_packet_interval": _RATE, "sampling_packet_space": _RATE, "sampling_size": _RATE,
    "sampling_population": _RATE,
    "boot_ms": "start_time, end_time", "duration_ms": "start_time, end_time",
    "duration_us": "start_time, end_time", "observed_s": "start_time, end_time",
    "observed_ms": "start_time, end_time",
}  # fmt: skip


def column_of(key: str) -> str:
    """The column (or columns) of `flows` that an element read as `key` fills."""
    for side in ("start", "end"):
        if key.startswith(side + "_"):
            return side + "_time"
    return _COLUMNS.get(key, key)


def also_in(number: int) -> list[str]:
    """The formats of fixed records that say what this element says."""
    fixed = {"v1": netflow1.LAYOUT, "v5": netflow5.LAYOUT, "v7": netflow7.LAYOUT}
    found = [name for name, layout in fixed.items() if number in {f.number for f in layout.fields}]
    return [*found, "sFlow"] if number in LENGTHS else found
