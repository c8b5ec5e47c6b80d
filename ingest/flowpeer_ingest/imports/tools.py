"""What other tools call the columns of `flows`.

One `Tool` each: `marks` are names that together appear in its exports and in nobody else's, in
the order in which tools are tried. `columns` gives for each column of `flows` the names that may
hold it, the most preferred first: the first of them that has a value in a row is used. Names are
compared without regard to case. Some names are no columns of `flows` and filled from others:
`in_if_name`, `out_if_name` (looked up in the configuration), `icmp_type`, `icmp_code`,
`already_scaled` (bytes were multiplied by the sampling rate), `kind` (what a row is).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from flowpeer_ingest.schema import FLOWS

COLUMNS = frozenset(c.name for c in FLOWS) - {"time_corrected"}
EXTRA = frozenset({"in_if_name", "out_if_name", "icmp_type", "icmp_code", "already_scaled", "kind"})


@dataclass(frozen=True, slots=True)
class Tool:
    """How one tool writes flows. `wanted` lists the values of `kind` that are flows."""

    name: str
    marks: tuple[frozenset[str], ...]
    columns: Mapping[str, tuple[str, ...]]
    wanted: frozenset[str] = frozenset()
    constants: Mapping[str, str] = field(default_factory=dict)


def _marks(*sets: str) -> tuple[frozenset[str], ...]:
    return tuple(frozenset(s.split()) for s in sets)


def _columns(**names: str) -> dict[str, tuple[str, ...]]:
    return {column: tuple(listed.split()) for column, listed in names.items()}


NFDUMP_JSON = Tool(
    "nfdump",
    _marks("type first last in_bytes in_packets", "type t_first t_last in_bytes"),
    _columns(
        received_at="received t_received", start_time="first t_first", end_time="last t_last",
        exporter_ip="ip4_router ip6_router", input_if="input_snmp", output_if="output_snmp",
        direction="direction", src_addr="src4_addr src6_addr", dst_addr="dst4_addr dst6_addr",
        src_port="src_port", dst_port="dst_port", protocol="proto", tos="src_tos",
        tcp_flags="tcp_flags", bytes="in_bytes", packets="in_packets", src_as="src_as",
        dst_as="dst_as", src_mask="src_mask", dst_mask="dst_mask",
        next_hop="ip4_next_hop ip6_next_hop", bgp_next_hop="bgp4_next_hop bgp6_next_hop",
        src_mac="in_src_mac", dst_mac="in_dst_mac", icmp_type="icmp_type", icmp_code="icmp_code",
        already_scaled="sampled", kind="type",
    ),
    wanted=frozenset({"flow"}),
)  # fmt: skip

NFDUMP_CSV = Tool(
    "nfdump",
    _marks("ts te sa da ipkt ibyt"),
    _columns(
        received_at="tr", start_time="ts", end_time="te", exporter_ip="ra", input_if="in",
        output_if="out", direction="dir", src_addr="sa", dst_addr="da", src_port="sp",
        dst_port="dp", protocol="pr", tos="stos", tcp_flags="flg", bytes="ibyt", packets="ipkt",
        src_as="sas", dst_as="das", src_mask="smk", dst_mask="dmk", next_hop="nh",
        bgp_next_hop="nhb", src_mac="ismc", dst_mac="idmc",
    ),
)  # fmt: skip

GOFLOW2 = Tool(
    "goflow2",
    _marks("type sampler_address time_received_ns", "type sampler_address time_received",
           "type sampleraddress timereceived"),
    _columns(
        format="type", received_at="time_received_ns time_received timereceived",
        start_time="time_flow_start_ns time_flow_start_ms time_flow_start timeflowstart",
        end_time="time_flow_end_ns time_flow_end_ms time_flow_end timeflowend",
        exporter_ip="sampler_address sampleraddress",
        observation_domain="observation_domain_id observationdomainid",
        input_if="in_if inif", output_if="out_if outif",
        direction="flow_direction flowdirection",
        src_addr="src_addr srcaddr", dst_addr="dst_addr dstaddr", src_port="src_port srcport",
        dst_port="dst_port dstport", protocol="proto", tos="ip_tos iptos",
        tcp_flags="tcp_flags tcpflags", bytes="bytes", packets="packets",
        sampling_interval="sampling_rate samplingrate", src_as="src_as srcas",
        dst_as="dst_as dstas", src_mask="src_net srcnet", dst_mask="dst_net dstnet",
        next_hop="next_hop nexthop", bgp_next_hop="bgp_next_hop bgpnexthop",
        src_mac="src_mac srcmac", dst_mac="dst_mac dstmac",
    ),
)  # fmt: skip

PMACCT = Tool(
    "pmacct",
    _marks("event_type ip_src ip_dst bytes packets", "src_ip dst_ip bytes packets"),
    _columns(
        received_at="timestamp_arrival", start_time="timestamp_start timestamp_min stamp_inserted",
        end_time="timestamp_end timestamp_max stamp_updated stamp_inserted",
        exporter_ip="peer_ip_src peer_src_ip", observation_domain="export_proto_sysid",
        input_if="iface_in in_iface", output_if="iface_out out_iface", direction="flow_direction",
        src_addr="ip_src src_ip", dst_addr="ip_dst dst_ip", src_port="port_src src_port",
        dst_port="port_dst dst_port", protocol="ip_proto protocol proto", tos="tos",
        tcp_flags="tcp_flags", bytes="bytes", packets="packets",
        sampling_interval="sampling_rate", src_as="as_src src_as", dst_as="as_dst dst_as",
        src_mask="mask_src src_mask", dst_mask="mask_dst dst_mask",
        bgp_next_hop="peer_ip_dst peer_dst_ip", src_mac="mac_src src_mac",
        dst_mac="mac_dst dst_mac", kind="event_type",
    ),
    wanted=frozenset({"purge", "log", "", "flow"}),
)  # fmt: skip

AKVORADO = Tool(
    "akvorado",
    _marks("timereceived exporteraddress srcaddr dstaddr bytes"),
    _columns(
        received_at="timereceived", exporter_ip="exporteraddress", direction="flowdirection",
        src_addr="srcaddr", dst_addr="dstaddr", src_port="srcport", dst_port="dstport",
        protocol="proto", tos="iptos", tcp_flags="tcpflags", bytes="bytes", packets="packets",
        sampling_interval="samplingrate", src_as="srcas", dst_as="dstas", src_mask="srcnetmask",
        dst_mask="dstnetmask", next_hop="nexthop", src_mac="srcmac", dst_mac="dstmac",
        in_if_name="inifname", out_if_name="outifname",
    ),
)  # fmt: skip

GENERIC = Tool(
    "table",
    _marks("src_addr dst_addr bytes"),
    {name: (name,) for name in sorted(COLUMNS | {"in_if_name", "out_if_name"})},
)

TOOLS = (NFDUMP_JSON, NFDUMP_CSV, GOFLOW2, PMACCT, AKVORADO, GENERIC)


def tool_of(names: list[str]) -> Tool | None:
    """The tool that writes columns of these names, None if it is none of these."""
    lower = {n.lower() for n in names}
    for tool in TOOLS:
        if any(marks <= lower for marks in tool.marks):
            return tool
    return None
