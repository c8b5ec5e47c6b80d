"""Information elements that fill a column (IANA IPFIX registry; RFC 7011, 5102, 5103, 5477).

What is not in this table is skipped by its length. A key names what is read from the wire;
several elements may share a key (their order here is the order of preference where a template
carries more than one of them) and several keys may fill one column: `columns` states how.
"""

from __future__ import annotations

from dataclasses import dataclass

REVERSE_PEN = 29305
"""RFC 5103 section 6.1: an element of the reverse direction carries this enterprise number."""

SCOPE_V9 = -1
"""RFC 3954 section 6.1 numbers scope types on their own; they are kept under this mark."""


@dataclass(frozen=True, slots=True)
class Element:
    """One element: its number, its registered name, the key it is read as and how."""

    number: int
    name: str
    key: str
    kind: str = "unsigned"  # unsigned, address4, address6


def _unsigned(number: int, name: str, key: str) -> Element:
    return Element(number, name, key)


ELEMENTS: tuple[Element, ...] = (
    _unsigned(1, "octetDeltaCount", "bytes_delta"),
    _unsigned(2, "packetDeltaCount", "packets_delta"),
    _unsigned(85, "octetTotalCount", "bytes_total"),
    _unsigned(86, "packetTotalCount", "packets_total"),
    _unsigned(231, "initiatorOctets", "bytes_initiator"),
    _unsigned(298, "initiatorPackets", "packets_initiator"),
    _unsigned(232, "responderOctets", "bytes_responder"),
    _unsigned(299, "responderPackets", "packets_responder"),
    _unsigned(4, "protocolIdentifier", "protocol"),
    _unsigned(5, "ipClassOfService", "tos"),
    _unsigned(6, "tcpControlBits", "tcp_flags"),
    _unsigned(7, "sourceTransportPort", "src_port"),
    _unsigned(180, "udpSourcePort", "src_port"),
    _unsigned(182, "tcpSourcePort", "src_port"),
    _unsigned(11, "destinationTransportPort", "dst_port"),
    _unsigned(181, "udpDestinationPort", "dst_port"),
    _unsigned(183, "tcpDestinationPort", "dst_port"),
    _unsigned(32, "icmpTypeCodeIPv4", "icmp4"),
    _unsigned(139, "icmpTypeCodeIPv6", "icmp6"),
    _unsigned(176, "icmpTypeIPv4", "icmp4_type"),
    _unsigned(177, "icmpCodeIPv4", "icmp4_code"),
    _unsigned(178, "icmpTypeIPv6", "icmp6_type"),
    _unsigned(179, "icmpCodeIPv6", "icmp6_code"),
    _unsigned(10, "ingressInterface", "input_if"),
    _unsigned(252, "ingressPhysicalInterface", "input_if"),
    _unsigned(14, "egressInterface", "output_if"),
    _unsigned(253, "egressPhysicalInterface", "output_if"),
    _unsigned(61, "flowDirection", "direction"),
    _unsigned(16, "bgpSourceAsNumber", "src_as"),
    _unsigned(17, "bgpDestinationAsNumber", "dst_as"),
    _unsigned(9, "sourceIPv4PrefixLength", "src_mask4"),
    _unsigned(13, "destinationIPv4PrefixLength", "dst_mask4"),
    _unsigned(29, "sourceIPv6PrefixLength", "src_mask6"),
    _unsigned(30, "destinationIPv6PrefixLength", "dst_mask6"),
    _unsigned(25, "minimumIpTotalLength", "min_length"),
    _unsigned(26, "maximumIpTotalLength", "max_length"),
    _unsigned(56, "sourceMacAddress", "src_mac"),
    _unsigned(81, "postSourceMacAddress", "src_mac"),
    _unsigned(80, "destinationMacAddress", "dst_mac"),
    _unsigned(57, "postDestinationMacAddress", "dst_mac"),
    Element(8, "sourceIPv4Address", "src4", "address4"),
    Element(12, "destinationIPv4Address", "dst4", "address4"),
    Element(15, "ipNextHopIPv4Address", "next_hop4", "address4"),
    Element(18, "bgpNextHopIPv4Address", "bgp_next_hop4", "address4"),
    Element(27, "sourceIPv6Address", "src6", "address6"),
    Element(28, "destinationIPv6Address", "dst6", "address6"),
    Element(62, "ipNextHopIPv6Address", "next_hop6", "address6"),
    Element(63, "bgpNextHopIPv6Address", "bgp_next_hop6", "address6"),
    _unsigned(34, "samplingInterval", "sampling_interval"),
    _unsigned(50, "samplerRandomInterval", "sampler_random_interval"),
    _unsigned(305, "samplingPacketInterval", "sampling_packet_interval"),
    _unsigned(306, "samplingPacketSpace", "sampling_packet_space"),
    _unsigned(309, "samplingSize", "sampling_size"),
    _unsigned(310, "samplingPopulation", "sampling_population"),
    _unsigned(48, "samplerId", "sampler_id"),
    _unsigned(302, "selectorId", "sampler_id"),
    _unsigned(22, "flowStartSysUpTime", "start_uptime"),
    _unsigned(21, "flowEndSysUpTime", "end_uptime"),
    _unsigned(150, "flowStartSeconds", "start_s"),
    _unsigned(151, "flowEndSeconds", "end_s"),
    _unsigned(152, "flowStartMilliseconds", "start_ms"),
    _unsigned(153, "flowEndMilliseconds", "end_ms"),
    _unsigned(154, "flowStartMicroseconds", "start_ntp"),
    _unsigned(155, "flowEndMicroseconds", "end_ntp"),
    _unsigned(156, "flowStartNanoseconds", "start_ntp_ns"),
    _unsigned(157, "flowEndNanoseconds", "end_ntp_ns"),
    _unsigned(158, "flowStartDeltaMicroseconds", "start_delta_us"),
    _unsigned(159, "flowEndDeltaMicroseconds", "end_delta_us"),
    _unsigned(160, "systemInitTimeMilliseconds", "boot_ms"),
    _unsigned(161, "flowDurationMilliseconds", "duration_ms"),
    _unsigned(162, "flowDurationMicroseconds", "duration_us"),
    _unsigned(322, "observationTimeSeconds", "observed_s"),
    _unsigned(323, "observationTimeMilliseconds", "observed_ms"),
)

BY_NUMBER: dict[int, Element] = {e.number: e for e in ELEMENTS}
PREFERENCE: dict[int, int] = {e.number: i for i, e in enumerate(ELEMENTS)}

REVERSIBLE = frozenset({1, 2, 85, 86, 5, 6, 150, 151, 152, 153, 154, 155, 156, 157, 21, 22})
"""Elements read for the reverse direction of a biflow; their keys get the prefix `reverse_`."""

SAMPLING = frozenset({34, 50, 305, 306, 309, 310})
BOOT_TIME = 160
INTERFACE_NAME, INTERFACE_DESCRIPTION = 82, 83
"""Read in options data only: the exporter's table of interfaces."""
INTERFACES = (10, 14, 252, 253)
"""Elements that say which interface options data is about, in the order they are asked."""
FRAME_SECTION = 315

V9_SCOPES = {1: "system", 2: "interface", 3: "lineCard", 4: "cache", 5: "template"}


def key_of(number: int, enterprise: int) -> str:
    """The key an element is read as, "" for one that fills no column."""
    if enterprise == 0:
        element = BY_NUMBER.get(number)
        return element.key if element else ""
    if enterprise == REVERSE_PEN and number in REVERSIBLE:
        return "reverse_" + BY_NUMBER[number].key
    return ""
