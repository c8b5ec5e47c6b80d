"""The tables this package makes: every column stated once, with unit, meaning and source.

Parquet files, SQL views and the reference page are made from these tuples. The types are the
ones that DuckDB, Polars, Spark, ClickHouse, Iceberg and Delta read alike: signed integers,
microsecond UTC timestamps, 16-octet addresses, plain strings.
"""

from __future__ import annotations

from flowpeer_core.columns import ADDRESS, FLAG, INT, SMALL, TEXT, TIME, TableColumn
from flowpeer_core.columns import column as _c

FLOWS: tuple[TableColumn, ...] = (
    _c("received_at", TIME, "UTC", "when the datagram arrived", "capture or socket", required=True),
    _c(
        "start_time",
        TIME,
        "UTC",
        "first packet, exporter's clock error removed (M3)",
        "22, 150, 152, 154, 156, 158",
        required=True,
    ),
    _c(
        "end_time",
        TIME,
        "UTC",
        "last packet, exporter's clock error removed (M3)",
        "21, 151, 153, 155, 157, 159",
        required=True,
    ),
    _c(
        "exporter_ip",
        TEXT,
        "",
        "source address of the datagram, canonical text",
        "IP header",
        required=True,
    ),
    _c(
        "observation_domain",
        INT,
        "",
        "source id (v9), observation domain (IPFIX), "
        "engine type × 256 + engine id (v5), sub-agent (sFlow)",
        "message header",
        required=True,
    ),
    _c(
        "format",
        TEXT,
        "",
        "netflow1, netflow5, netflow7, netflow9, ipfix or sflow5; or the tool's name",
        "message header",
        required=True,
    ),
    _c(
        "input_if",
        INT,
        "ifIndex",
        "interface the packets came in on; 0 is local or unknown",
        "10, 252",
    ),
    _c(
        "output_if",
        INT,
        "ifIndex",
        "interface they left by; 0 is dropped or local",
        "14, 253",
    ),
    _c("direction", SMALL, "", "0 metered at ingress, 1 at egress, null not stated", "61"),
    _c("src_addr", ADDRESS, "", "source address, IPv4 mapped into IPv6", "8, 27"),
    _c("dst_addr", ADDRESS, "", "destination address, IPv4 mapped into IPv6", "12, 28"),
    _c("src_port", SMALL, "", "transport source port", "7, 180, 182"),
    _c(
        "dst_port",
        SMALL,
        "",
        "transport destination port; ICMP type × 256 + code",
        "11, 181, 183, 32, 139",
    ),
    _c("protocol", SMALL, "", "IP protocol number", "4"),
    _c("tos", SMALL, "", "type of service or traffic class octet", "5"),
    _c("tcp_flags", SMALL, "", "TCP flags seen, or-ed", "6"),
    _c(
        "bytes",
        INT,
        "bytes",
        "IP octets as exported, unscaled: delta counter, else total; multiplied by "
        "`sampling_interval` they do not add up to traffic: use `crossings`",
        "1, else 85, 231",
    ),
    _c(
        "packets",
        INT,
        "packets",
        "packets as exported, unscaled: delta counter, else total",
        "2, else 86, 298",
    ),
    _c(
        "sampling_interval",
        INT,
        "1:N",
        "the N that the exporter announced; null: it did not say",
        "34, 50, 305/306, 309/310, options, v5 header",
    ),
    _c("sampler_id", INT, "", "sampler or selector of this record", "48, 302"),
    _c("min_length", SMALL, "bytes", "smallest packet of the flow", "25"),
    _c("max_length", SMALL, "bytes", "largest packet of the flow", "26"),
    _c("next_hop", ADDRESS, "", "IP next hop", "15, 62"),
    _c("bgp_next_hop", ADDRESS, "", "BGP next hop", "18, 63"),
    _c("src_as", INT, "ASN", "the router's own claim of the source AS", "16"),
    _c("dst_as", INT, "ASN", "the router's own claim of the destination AS", "17"),
    _c("src_mask", SMALL, "bits", "the router's source prefix length", "9, 29"),
    _c("dst_mask", SMALL, "bits", "the router's destination prefix length", "13, 30"),
    _c("src_mac", INT, "", "source MAC address as a 48-bit number", "56, 81"),
    _c("dst_mac", INT, "", "destination MAC address as a 48-bit number", "80, 57"),
    _c(
        "time_corrected",
        FLAG,
        "",
        "the exporter's times were unusable and replaced by "
        "[received − active timeout, received] (M3)",
        "METHODS M3",
        required=True,
    ),
    _c("export_time", TIME, "UTC", "when the datagram was sent, by its header", "message header"),
    _c(
        "datagram_sequence",
        INT,
        "",
        "sequence number of the datagram, as sent: with `export_time` it tells a datagram",
        "message header",
    ),
    _c(
        "session",
        INT,
        "",
        "transport session: the exporter's source port; of sFlow with the agent's 32 bits above "
        "its 16",
        "UDP header",
    ),
    _c(
        "sampling_numerator",
        INT,
        "",
        "the exact rate that the record or its v5 header states itself; null where "
        "`sampling_interval` came from options data, which the roll-up looks up again (M2)",
        "34, 50, 305/306, 309/310, v5 header",
    ),
    _c(
        "sampling_denominator",
        INT,
        "",
        "packets or flows taken of `sampling_numerator`",
        "34, 50, 305/306, 309/310, v5 header",
    ),
)

SAMPLING: tuple[TableColumn, ...] = (
    _c("exporter_ip", TEXT, "", "source address of the datagram", "IP header", required=True),
    _c(
        "observation_domain",
        INT,
        "",
        "domain of the options data",
        "message header",
        required=True,
    ),
    _c(
        "sampler_id",
        INT,
        "",
        "sampler or selector the rate belongs to; null: any",
        "48, 302",
    ),
    _c(
        "interface",
        INT,
        "ifIndex",
        "interface the rate belongs to; null: any",
        "scope interface, 10",
    ),
    _c("interval", INT, "1:N", "the N of 1:N", "34, 50, 305/306, 309/310", required=True),
    _c("first_seen", TIME, "UTC", "first datagram that announced it", "", required=True),
    _c("last_seen", TIME, "UTC", "last datagram that announced it", "", required=True),
    _c("numerator", INT, "", "the rate as stated: numerator / denominator (M2)", ""),
    _c("denominator", INT, "", "packets or flows taken of `numerator`", ""),
    _c(
        "session",
        INT,
        "",
        "transport session that the rate was announced in, as in `flows`; null: not distinguished",
        "UDP header",
    ),
)

COVERAGE: tuple[TableColumn, ...] = (
    _c("slot", TIME, "UTC", "start of the 5-minute slot, by time received", "", required=True),
    _c(
        "exporter_ip",
        TEXT,
        "",
        "source address of the datagrams",
        "IP header",
        required=True,
    ),
    _c(
        "session",
        INT,
        "",
        "transport session that the sequence numbers belong to; null: not distinguished",
        "source port",
    ),
    _c(
        "domain",
        INT,
        "",
        "observation domain that they belong to; null: not distinguished",
        "message header",
    ),
    _c(
        "datagrams",
        INT,
        "datagrams",
        "export datagrams received in the slot",
        "",
        required=True,
    ),
    _c(
        "received",
        INT,
        "datagrams or records",
        "what came of that which the exporter's sequence numbers count",
        "sequence numbers",
        required=True,
    ),
    _c(
        "lost",
        INT,
        "datagrams or records",
        "sequence gaps, in the unit of `received`: datagrams (v9, sFlow) or records (v5, IPFIX)",
        "sequence numbers",
        required=True,
    ),
    _c(
        "first_sequence",
        INT,
        "",
        "sequence number of the first datagram in the slot; null: none is known",
        "sequence numbers",
    ),
    _c(
        "last_sequence",
        INT,
        "",
        "the number expected next after the last datagram in the slot; null: none is known",
        "sequence numbers",
    ),
    _c("seen", FLAG, "", "the exporter was seen in the slot (M5)", "", required=True),
)

TABLES: dict[str, tuple[TableColumn, ...]] = {
    "flows": FLOWS,
    "sampling": SAMPLING,
    "coverage": COVERAGE,
}
