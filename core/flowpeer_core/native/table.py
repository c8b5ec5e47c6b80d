"""The interface of the shared object as ctypes sees it: one table, compared with the header."""

from __future__ import annotations

import ctypes
from ctypes import c_double, c_int32, c_int64, c_uint8, c_uint16, c_uint32, c_uint64, c_void_p
from typing import Any

NO_ROOM, ARGUMENT, OVERFLOW, VALUE, HEADER_ROOM = -1, -2, -3, -4, 64
LEVELS = 128

ARRIVALS, SPILL = 1_024, 65_536

BOOL, INT32, INT64, DOUBLE, FIXED16 = range(5)
PLAIN, DELTA, DICTIONARY, INDICES = range(4)
STORED, LZ4, BODIES = range(3)


class CChunk(ctypes.Structure):
    """`flowpeer_chunk`."""

    _fields_ = [
        ("type", c_int32),
        ("encoding", c_int32),
        ("nullable", c_int32),
        ("measured", c_int32),
        ("codec", c_int32),
        ("number", c_int32),
        ("fallback", c_int32),
        ("entries", c_void_p),
        ("places", c_void_p),
        ("index", c_void_p),
        ("scratch", c_void_p),
        ("pages", c_void_p),
        ("capacity", c_int64),
        ("place_count", c_int64),
        ("page_rows", c_int64),
        ("pages_room", c_int64),
        ("rows", c_int64),
        ("nulls", c_int64),
        ("distinct", c_int64),
        ("places_mask", c_int64),
        ("pages_used", c_int64),
        ("raw", c_int64),
        ("known", c_int32),
        ("same", c_int32),
        ("least", c_uint8 * 16),
        ("greatest", c_uint8 * 16),
    ]


KEYS = (
    "bytes_delta", "packets_delta", "bytes_total", "packets_total", "bytes_initiator",
    "packets_initiator", "bytes_responder", "packets_responder", "protocol", "tos", "tcp_flags",
    "src_port", "dst_port", "icmp4", "icmp6", "icmp4_type", "icmp4_code", "icmp6_type",
    "icmp6_code", "input_if", "output_if", "direction", "src_as", "dst_as", "src_mask4",
    "dst_mask4", "src_mask6", "dst_mask6", "min_length", "max_length", "src_mac", "dst_mac",
    "src4", "dst4", "next_hop4", "bgp_next_hop4", "src6", "dst6", "next_hop6", "bgp_next_hop6",
    "sampling_interval", "sampler_random_interval", "sampling_packet_interval",
    "sampling_packet_space", "sampling_size", "sampling_population", "sampler_id",
    "start_uptime", "end_uptime", "start_s", "end_s", "start_ms", "end_ms", "start_ntp",
    "end_ntp", "start_ntp_ns", "end_ntp_ns", "start_delta_us", "end_delta_us", "boot_ms",
    "duration_ms", "duration_us", "observed_s", "observed_ms", "reverse_bytes_delta",
    "reverse_packets_delta", "reverse_bytes_total", "reverse_packets_total", "reverse_tos",
    "reverse_tcp_flags", "reverse_start_uptime", "reverse_end_uptime", "reverse_start_s",
    "reverse_end_s", "reverse_start_ms", "reverse_end_ms", "reverse_start_ntp",
    "reverse_end_ntp", "reverse_start_ntp_ns", "reverse_end_ntp_ns",
)  # fmt: skip
"""`KEY_…` of the header."""
COLUMNS = (
    "received_at", "start_time", "end_time", "exporter_ip", "observation_domain", "format",
    "input_if", "output_if", "direction", "src_addr", "dst_addr", "src_port", "dst_port",
    "protocol", "tos", "tcp_flags", "bytes", "packets", "sampling_interval", "sampler_id",
    "min_length", "max_length", "next_hop", "bgp_next_hop", "src_as", "dst_as", "src_mask",
    "dst_mask", "src_mac", "dst_mac", "time_corrected", "export_time", "datagram_sequence",
    "session", "sampling_numerator", "sampling_denominator",
)  # fmt: skip
"""`COLUMN_…` of the header."""
FORMATS = ("netflow1", "netflow5", "netflow7", "netflow9", "ipfix", "sflow5")
"""`FORMAT_…` of the header."""
PART, STRIP, SCRATCH, SAMPLE_OCTETS = 1_024, 256, 1_048_576, 144
(
    IMPLAUSIBLE_BYTES, IMPLAUSIBLE_PACKETS, IMPLAUSIBLE_SMALL, IMPLAUSIBLE_BACKWARDS,
    IMPLAUSIBLE_LONG, IMPLAUSIBLE,
) = range(6)  # fmt: skip
IMPLAUSIBLE_EACH, IMPLAUSIBLE_ROOM = 2, 64
STOP_END, STOP_ODD, STOP_SESSION, STOP_TEMPLATE, STOP_FULL = range(5)
FACTS, FACTS_SPANS, FACTS_HOURS = 4_096, 256, 256
BLOCK, PARTS, LEAST_ROOM, KNOWN = 64, 12, 1536, 16384
SLOT_US, SLOT_BIT = 300_000_000, 60
WANTS_NOTHING, WANTS_PLACES, WANTS_ENTRIES = range(3)
AGAIN = 4
(
    TOTAL_FLOW, TOTAL_FLOW_UNSCALED, TOTAL_THROUGH, TOTAL_THROUGH_UNSCALED, TOTAL_DISCARDED,
    TOTAL_RECORDS, TOTAL_IMPLAUSIBLE, TOTALS,
) = range(8)  # fmt: skip
TOTAL_HALVES = 2 * TOTALS


class CLayout(ctypes.Structure):
    """`flowpeer_layout`."""

    _fields_ = [
        ("minimum", c_int32),
        ("flat_size", c_int32),
        ("variables", c_int32),
        ("unused", c_int32),
        ("runs", c_void_p),
        ("keeps", c_void_p),
        ("offset", c_int32 * len(KEYS)),
        ("length", c_int32 * len(KEYS)),
    ]


class CSession(ctypes.Structure):
    """`flowpeer_session`."""

    _fields_ = [
        ("exporter", c_uint32),
        ("port", c_uint16),
        ("version", c_uint16),
        ("domain", c_uint32),
        ("agent", c_uint8 * 16),
        ("unused", c_uint32),
        ("expected", c_int64),
        ("previous", c_int64),
        ("boot_ms", c_int64),
        ("number", c_int64),
        ("rates", c_int32),
        ("plain", c_int32),
        ("touched", c_int32),
        ("unsure", c_int32),
        ("again", c_void_p * AGAIN),
        ("again_size", c_int64 * AGAIN),
    ]


class CSet(ctypes.Structure):
    """`flowpeer_set`."""

    _fields_ = [
        ("at", c_int64),
        ("size", c_int64),
        ("count", c_int64),
        ("received_us", c_int64),
        ("export_ms", c_int64),
        ("uptime_ms", c_int64),
        ("domain", c_int64),
        ("session", c_int64),
        ("sequence", c_int64),
        ("sampling", c_int64),
        ("timeout_us", c_int64),
        ("mask", c_uint32),
        ("layout", c_int32),
        ("exporter", c_int32),
        ("format", c_int32),
        ("rates", c_int32),
        ("base", c_int32),
    ]


class CDatagram(ctypes.Structure):
    """`flowpeer_datagram`."""

    _fields_ = [
        ("at", c_int64),
        ("size", c_int64),
        ("received_us", c_int64),
        ("exporter", c_uint32),
        ("port", c_uint16),
        ("unused", c_uint16),
    ]


class CFound(ctypes.Structure):
    """`flowpeer_found`."""

    _fields_ = [
        ("sequence", c_int64),
        ("export_ms", c_int64),
        ("units", c_int64),
        ("session", c_int32),
        ("odd", c_int32),
    ]


class CBatch(ctypes.Structure):
    """`flowpeer_batch`."""

    _fields_ = [
        ("octets", c_void_p),
        ("size", c_int64),
        ("datagrams", c_void_p),
        ("found", c_void_p),
        ("count", c_int64),
        ("next", c_int64),
        ("layouts", c_void_p),
        ("layout_count", c_int64),
        ("sessions", c_void_p),
        ("session_count", c_int64),
        ("session_places", c_void_p),
        ("session_mask", c_int64),
        ("templates", c_void_p),
        ("codes", c_void_p),
        ("template_count", c_int64),
        ("template_places", c_void_p),
        ("template_mask", c_int64),
        ("sets", c_void_p),
        ("set_count", c_int64),
        ("set_room", c_int64),
        ("arena", c_void_p),
        ("arena_used", c_int64),
        ("arena_room", c_int64),
        ("timeouts_us", c_void_p),
        ("silent", c_int64),
        ("others", c_int64 * 4),
        ("netflow5", c_int32),
        ("stop", c_int32),
        ("wanted", c_int64),
        ("key", CSession),
    ]


class CRates(ctypes.Structure):
    """`flowpeer_rates`."""

    _fields_ = [
        ("samplers", c_void_p),
        ("interfaces", c_void_p),
        ("sampler_count", c_int64),
        ("interface_count", c_int64),
        ("wide", c_int64),
        ("only", c_int64),
    ]


class CColumn(ctypes.Structure):
    """`flowpeer_column`."""

    _fields_ = [
        ("values", c_void_p),
        ("valid", c_void_p),
        ("known", c_int64),
        ("alike", c_int64),
        ("one", c_int64),
        ("width", c_int64),
        ("bits", c_int64),
    ]


class CLimits(ctypes.Structure):
    """`flowpeer_limits`."""

    _fields_ = [
        ("clock_tolerance_us", c_int64),
        ("oldest_us", c_int64),
        ("newest_us", c_int64),
        ("slack_us", c_int64),
        ("future_ms", c_int64),
        ("latest_ms", c_int64),
        ("long_us", c_int64),
        ("most", c_int64),
        ("least_octets", c_int64),
        ("backwards_us", c_int64),
        ("longest_us", c_int64),
        ("most_sampling", c_int64),
        ("most_denominator", c_int64),
    ]


class CTally(ctypes.Structure):
    """`flowpeer_tally`."""

    _fields_ = [
        ("records", c_int64),
        ("corrected", c_int64),
        ("long_flows", c_int64),
        ("sampling_beyond", c_int64),
        ("octets", c_int64),
        ("implausible", c_int64 * IMPLAUSIBLE),
        ("implausible_octets", c_int64 * IMPLAUSIBLE),
        ("implausible_packets", c_int64 * IMPLAUSIBLE),
    ]


class CImplausible(ctypes.Structure):
    """`flowpeer_implausible`."""

    _fields_ = [
        ("exporter", c_int64),
        ("reason", c_int64),
        ("received_us", c_int64),
        ("domain", c_int64),
        ("input_if", c_int64),
        ("output_if", c_int64),
        ("octets", c_int64),
        ("packets", c_int64),
        ("start_us", c_int64),
        ("end_us", c_int64),
        ("src", c_uint8 * 16),
        ("dst", c_uint8 * 16),
    ]


class CMade(ctypes.Structure):
    """`flowpeer_made`."""

    _fields_ = [
        ("first_us", c_int64),
        ("last_us", c_int64),
        ("octets", c_int64),
        ("packets", c_int64),
        ("corrected", c_int64),
        ("exporters", c_int32 * 2),
        ("formats", c_int32 * 2),
    ]


class CRows(ctypes.Structure):
    """`flowpeer_rows`."""

    _fields_ = [
        ("base", c_void_p * 2),
        ("base_size", c_int64 * 2),
        ("layouts", c_void_p),
        ("layout_count", c_int64),
        ("rates", c_void_p),
        ("rates_count", c_int64),
        ("tallies", c_void_p),
        ("exporters", c_int64),
        ("columns", CColumn * len(COLUMNS)),
        ("rows", c_int64),
        ("room", c_int64),
        ("enough", c_int64),
        ("made", CMade),
        ("scratch", c_void_p),
        ("limits", CLimits),
        ("sampled", c_int64),
        ("sample", CImplausible * IMPLAUSIBLE_ROOM),
    ]


class CInput(ctypes.Structure):
    """`flowpeer_input`."""

    _fields_ = [
        ("values", c_void_p),
        ("valid", c_void_p),
        ("from", c_int64),
        ("null", c_int64),
        ("width", c_int64),
        ("same", c_int64),
    ]


class CFact(ctypes.Structure):
    """`flowpeer_fact`."""

    _fields_ = [
        ("interface", c_int64),
        ("exporter", c_int32),
        ("way", c_int32),
        ("records", c_int64),
        ("octets", c_int64),
        ("exported", c_int64),
    ]


class CSpan(ctypes.Structure):
    """`flowpeer_span`."""

    _fields_ = [
        ("exporter", c_int64),
        ("domain", c_int64),
        ("first", c_int64),
        ("last", c_int64),
        ("low", c_int64),
        ("high", c_int64),
    ]


class CFacts(ctypes.Structure):
    """`flowpeer_facts`."""

    _fields_ = [
        ("start", CInput),
        ("end", CInput),
        ("received", CInput),
        ("sent", CInput),
        ("exporter", CInput),
        ("domain", CInput),
        ("sequence", CInput),
        ("session", CInput),
        ("input_if", CInput),
        ("output_if", CInput),
        ("direction", CInput),
        ("bytes", CInput),
        ("interval", CInput),
        ("numerator", CInput),
        ("rows", c_int64),
        ("next", c_int64),
        ("exporters", c_int64),
        ("hour_us", c_int64),
        ("apart_us", c_int64),
        ("most_octets", c_int64),
        ("most_rate", c_int64),
        ("unrated", c_void_p),
        ("asking", c_void_p),
        ("places", c_void_p),
        ("facts", c_void_p),
        ("spans", c_void_p),
        ("hours", c_void_p),
        ("fact_count", c_int64),
        ("span_count", c_int64),
        ("hour_count", c_int64),
    ]


class CRoutes(ctypes.Structure):
    """`flowpeer_routes`."""

    _fields_ = [
        ("start4", c_void_p),
        ("owner4", c_void_p),
        ("index4", c_void_p),
        ("hi6", c_void_p),
        ("last6", c_void_p),
        ("cut6", c_void_p),
        ("first6", c_void_p),
        ("index6", c_void_p),
        ("lo6", c_void_p),
        ("owner6", c_void_p),
        ("count4", c_int64),
        ("groups6", c_int64),
        ("count6", c_int64),
        ("count", c_int64),
        ("shift4", c_int64),
        ("shift6", c_int64),
    ]


class CView(ctypes.Structure):
    """`flowpeer_view`."""

    _fields_ = [
        ("routes", CRoutes),
        ("offset", c_int64),
        ("near", c_void_p),
    ]


class CKind(ctypes.Structure):
    """`flowpeer_kind`."""

    _fields_ = [
        ("side", c_int64 * 2),
        ("view", c_int64 * 2),
        ("source", c_int64 * 2),
        ("discarded", c_int64),
        ("rate", c_int64),
        ("divisor", c_int64),
        ("largest", c_int64),
    ]


class CEntry(ctypes.Structure):
    """`flowpeer_entry`."""

    _fields_ = [
        ("key", c_uint64),
        ("bytes", c_int64),
        ("packets", c_int64),
        ("records", c_int64),
        ("low", c_uint64 * 2),
        ("high", c_uint64 * 2),
    ]


class CRecord(ctypes.Structure):
    """`flowpeer_record`."""

    _fields_ = [
        ("bytes", c_int64),
        ("packets", c_int64),
        ("records", c_int64),
        ("crossings", c_int64),
        ("route", c_uint64 * 2),
    ]


class CSums(ctypes.Structure):
    """`flowpeer_sums`."""

    _fields_ = [
        ("entries", c_void_p),
        ("room", c_int64),
        ("used", c_int64),
        ("places", c_void_p),
        ("bits", c_int64),
        ("seed", c_uint64),
        ("wants", c_int64),
    ]


class CField(ctypes.Structure):
    """`flowpeer_field`."""

    _fields_ = [
        ("begin", c_int64),
        ("bits", c_int64),
        ("to", c_int64),
        ("ranks", c_void_p),
        ("count", c_int64),
    ]


class CKnown(ctypes.Structure):
    """`flowpeer_known`."""

    _fields_ = [
        ("hi", c_uint64),
        ("lo", c_uint64),
        ("code", c_int64),
        ("view", c_int64),
    ]


class CSumState(ctypes.Structure):
    """`flowpeer_sum_state`."""

    _fields_ = [
        ("start", CInput),
        ("end", CInput),
        ("bytes", CInput),
        ("packets", CInput),
        ("shortest", CInput),
        ("longest", CInput),
        ("src", CInput),
        ("dst", CInput),
        ("numbers", c_void_p),
        ("kinds", c_void_p),
        ("kind_count", c_int64),
        ("rows", c_int64),
        ("next", c_int64),
        ("views", c_void_p),
        ("view_count", c_int64),
        ("known", c_void_p),
        ("own", CRoutes),
        ("route_bits", c_int64),
        ("local_bits", c_int64),
        ("each", c_void_p),
        ("sums", CSums),
        ("begin_us", c_int64),
        ("most_us", c_int64),
        ("most_scaled", c_double),
        ("most_variance", c_double),
        ("smallest_packet", c_double),
        ("longest_packet", c_double),
        ("totals", c_uint64 * TOTAL_HALVES),
    ]


class CFallState(ctypes.Structure):
    """`flowpeer_fall_state`."""

    _fields_ = [
        ("hour", c_void_p),
        ("question", c_void_p),
        ("group", c_void_p),
        ("bytes", c_void_p),
        ("rows", c_int64),
        ("answer", c_void_p),
        ("questions", c_int64),
        ("first", c_void_p),
        ("pool", c_void_p),
        ("answers", c_int64),
        ("place", c_void_p),
        ("link", c_void_p),
        ("weight", c_void_p),
        ("options", c_int64),
        ("edge", c_void_p),
        ("holder", c_void_p),
        ("held", c_void_p),
        ("groups", c_int64),
        ("holders", c_int64),
        ("targets", c_int64),
        ("hours", c_int64),
        ("table", c_void_p),
        ("asked", c_void_p),
        ("pooled", c_void_p),
        ("touched", c_void_p),
        ("scratch", c_void_p),
    ]


class CSpreadState(ctypes.Structure):
    """`flowpeer_spread_state`."""

    _fields_ = [
        ("load", c_void_p),
        ("slots", c_int64),
        ("into", c_int64),
        ("per_hour", c_int64),
        ("weights", c_void_p),
        ("may", c_void_p),
        ("targets", c_int64),
        ("hours", c_int64),
        ("spare", c_int64),
        ("row", c_void_p),
        ("pair", c_void_p),
        ("like", c_void_p),
        ("real", c_void_p),
        ("now", c_void_p),
        ("most", c_void_p),
        ("rows", c_int64),
        ("between", c_void_p),
        ("pairs", c_int64),
        ("sums", c_void_p),
        ("scratch", c_void_p),
    ]


class CFiguresState(ctypes.Structure):
    """`flowpeer_figures_state`."""

    _fields_ = [
        ("values", c_void_p),
        ("rows", c_int64),
        ("width", c_int64),
        ("counts", c_void_p),
        ("kind", c_void_p),
        ("kinds", c_int64),
        ("top", c_void_p),
        ("guess", c_void_p),
        ("borders", c_void_p),
        ("levels", c_int64),
        ("largest", c_void_p),
        ("ranked", c_void_p),
        ("above", c_void_p),
        ("scratch", c_void_p),
    ]


class CArrival(ctypes.Structure):
    """`flowpeer_arrival`."""

    _fields_ = [
        ("received_us", c_int64),
        ("address", c_uint8 * 16),
        ("source_port", c_uint16),
        ("local_port", c_uint16),
        ("length", c_uint32),
        ("offset", c_uint32),
        ("flags", c_uint32),
    ]


class CReceiving(ctypes.Structure):
    """`flowpeer_receiving`."""

    _fields_ = [
        ("memory", c_void_p),
        ("spill", c_void_p),
        ("arrivals", c_void_p),
        ("stride", c_int64),
        ("limit", c_int64),
        ("socket", c_int32),
        ("error", c_int32),
        ("truncated", c_int64),
        ("drops", c_int64),
    ]


STRUCTURES: dict[str, type[ctypes.Structure]] = {
    "flowpeer_chunk": CChunk,
    "flowpeer_arrival": CArrival,
    "flowpeer_receiving": CReceiving,
    "flowpeer_layout": CLayout,
    "flowpeer_session": CSession,
    "flowpeer_set": CSet,
    "flowpeer_datagram": CDatagram,
    "flowpeer_found": CFound,
    "flowpeer_batch": CBatch,
    "flowpeer_rates": CRates,
    "flowpeer_column": CColumn,
    "flowpeer_limits": CLimits,
    "flowpeer_tally": CTally,
    "flowpeer_implausible": CImplausible,
    "flowpeer_made": CMade,
    "flowpeer_rows": CRows,
    "flowpeer_input": CInput,
    "flowpeer_fact": CFact,
    "flowpeer_span": CSpan,
    "flowpeer_facts": CFacts,
    "flowpeer_routes": CRoutes,
    "flowpeer_view": CView,
    "flowpeer_kind": CKind,
    "flowpeer_entry": CEntry,
    "flowpeer_sums": CSums,
    "flowpeer_field": CField,
    "flowpeer_record": CRecord,
    "flowpeer_known": CKnown,
    "flowpeer_sum_state": CSumState,
    "flowpeer_fall_state": CFallState,
    "flowpeer_spread_state": CSpreadState,
    "flowpeer_figures_state": CFiguresState,
}

FUNCTIONS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "flowpeer_abi": (c_uint32, ()),
    "flowpeer_pages": (c_int64, (c_void_p, c_void_p, c_int64, c_int64, c_void_p, c_int64)),
    "flowpeer_dictionary_page": (c_int64, (c_void_p, c_void_p, c_int64, c_void_p, c_int64)),
    "flowpeer_texts": (c_int64, (c_void_p, c_void_p, c_int64, c_void_p, c_int64, c_void_p)),
    "flowpeer_page": (
        c_int64,
        (c_void_p, c_void_p, c_int64, c_void_p, c_int64, c_int64, c_void_p, c_int64),
    ),
    "flowpeer_page_header": (
        c_int64,
        (c_int32, c_int32, c_int64, c_int64, c_int64, c_uint32, c_void_p, c_int64),
    ),
    "flowpeer_crc32": (c_uint32, (c_uint32, c_void_p, c_int64)),
    "flowpeer_receive": (c_int64, (c_void_p,)),
    "flowpeer_addresses": (
        c_int64,
        (c_void_p, c_int64, c_void_p, c_int64, c_int64, c_void_p),
    ),
    "flowpeer_walk": (c_int64, (c_void_p,)),
    "flowpeer_put_session": (c_int64, (c_void_p, c_void_p, c_int64)),
    "flowpeer_put_template": (c_int64, (c_void_p, c_uint64, c_int32, c_int64)),
    "flowpeer_read": (c_int64, (c_void_p, c_void_p, c_int64)),
    "flowpeer_settle": (c_int64, (c_void_p, c_void_p)),
    "flowpeer_gather": (c_int64, (c_void_p,)),
    "flowpeer_combine": (
        c_int64,
        (c_void_p, c_int64, c_int64, c_uint64, c_void_p, c_int64, *(c_void_p,) * 3),
    ),
    "flowpeer_match": (c_int64, (c_void_p, c_void_p, c_void_p, c_int64, c_void_p)),
    "flowpeer_sum": (c_int64, (c_void_p,)),
    "flowpeer_grow": (c_int64, (c_void_p, c_void_p, c_int64)),
    "flowpeer_pairs": (c_int64, (c_void_p, c_int64, c_void_p, c_int64, c_void_p)),
    "flowpeer_order": (c_int64, (c_void_p, c_void_p, c_int64)),
    "flowpeer_summed": (c_int64, (c_void_p, c_int64, c_void_p, c_int64, *(c_void_p,) * 6)),
    "flowpeer_entries": (c_int64, (c_void_p, c_int64, c_void_p)),
    "flowpeer_segments": (
        c_int64,
        (c_void_p, c_int64, c_void_p, c_void_p, c_int64, c_void_p, c_void_p),
    ),
    "flowpeer_fall": (c_int64, (c_void_p,)),
    "flowpeer_spread": (c_int64, (c_void_p,)),
    "flowpeer_figures": (c_int64, (c_void_p,)),
}
"""Name → (result, arguments). Every pointer is an address: `c_void_p`."""
