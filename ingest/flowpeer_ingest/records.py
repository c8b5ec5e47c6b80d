"""The `decode` view: each flow record of a capture as a plain dictionary, as on the wire."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flowpeer_core.addresses import text_of
from flowpeer_ingest import flow_rules
from flowpeer_ingest.captures import Capture
from flowpeer_ingest.decoder import Decoder
from flowpeer_ingest.decompress import open_unpacked
from flowpeer_ingest.sampling import NO_RATES, Rates
from flowpeer_ingest.wire.elements import (
    BY_NUMBER,
    INTERFACE_DESCRIPTION,
    INTERFACE_NAME,
    SCOPE_V9,
    V9_SCOPES,
)
from flowpeer_ingest.wire.events import (
    SFLOW5,
    Malformed,
    Message,
    OptionsRecords,
    Records,
    Rejected,
    SequenceGap,
    Unsupported,
)
from flowpeer_ingest.wire.layout import split
from flowpeer_ingest.wire.options import text
from flowpeer_ingest.wire.values import Values, read_all

_ADDRESSES = ("src_addr", "dst_addr", "next_hop", "bgp_next_hop")
_NUMBERS = (
    "src_port", "protocol", "tcp_flags", "tos",
    "input_if", "output_if", "src_as", "dst_as", "src_mask", "dst_mask",
    "min_length", "max_length", "sampler_id", "sampling_interval",
)  # fmt: skip
_AS_EXPORTED = (
    ("direction", "direction"),
    ("dst_port", "dst_port"),
    ("reverse_tcp_flags", "reverse_tcp_flags"),
    ("reverse_tos", "reverse_tos"),
    *(
        (f"reverse_{name}_{kind}", f"reverse_{name}" + ("_total" if kind == "total" else ""))
        for name in ("bytes", "packets")
        for kind in ("delta", "total")
    ),
)
_REVERSE_TIMES = ("reverse_start_", "reverse_end_")
_TEXTS = {INTERFACE_NAME: "interfaceName", INTERFACE_DESCRIPTION: "interfaceDescription"}


@dataclass
class DecodeSummary:
    """Counters of one decode run; complete once its records have been read."""

    packets: int = 0
    datagrams: int = 0
    records: int = 0
    options_records: int = 0
    lost: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    rejected: Counter[str] = field(default_factory=Counter)
    malformed: Counter[str] = field(default_factory=Counter)
    unsupported: Counter[str] = field(default_factory=Counter)
    pending: dict[str, int] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


class DecodeRun:
    """One capture shown record by record; `summary` has the counters afterwards."""

    def __init__(self, path: str | Path, *, options: bool = False) -> None:
        self.path = path
        self.options = options
        self.summary = DecodeSummary()

    def records(self) -> Iterator[dict[str, Any]]:
        """Flow records in the order of the wire, a record that waited for its template where
        that came. Keys that do not apply are absent. Raises `IngestError` as `ingest_capture`.
        """
        summary = self.summary
        decoder = Decoder(plain=True)
        wire = decoder.wire
        with open_unpacked(self.path) as stream:
            capture = Capture(stream, str(self.path))
            for number, d in enumerate(capture.datagrams(), 1):
                record = 0
                events = wire.decode(d.payload, d.exporter, d.port, d.received_us)
                for event in events:
                    if isinstance(event, Records):
                        for row in _rows(event, _rates(decoder, event.message)):
                            record += 1
                            summary.records += 1
                            yield {"datagram": number, "record": record, **row}
                    elif isinstance(event, OptionsRecords):
                        summary.options_records += event.count
                        if self.options:
                            for row in _options(event):
                                yield {"datagram": number, **row}
                    else:
                        self._count(event)
            summary.packets = capture.packets
            summary.datagrams = capture.datagrams_seen
            summary.skipped = dict(capture.skipped)
            summary.warnings = capture.warnings
        summary.pending = {
            f"{address} {domain} {template}": sets
            for (address, _, domain, template), sets in sorted(wire.state.pending().items())
        }

    def _count(self, event: Any) -> None:
        summary = self.summary
        if isinstance(event, Malformed):
            summary.malformed[event.reason] += 1
        elif isinstance(event, Rejected):
            summary.rejected[event.reason] += 1
        elif isinstance(event, Unsupported):
            summary.unsupported[event.name] += 1
        elif isinstance(event, SequenceGap):
            summary.lost += event.lost


def decode_records(path: str | Path, *, options: bool = False) -> Iterator[dict[str, Any]]:
    """One dictionary per flow record of a capture; with `options` also one per options record
    (marked `"options": true`). Values as on the wire, addresses as text, `start` and `end` in
    milliseconds since the epoch by the exporter's clock. See `DecodeRun` for counters.
    """
    return DecodeRun(path, options=options).records()


def _rates(decoder: Decoder, message: Message) -> Rates:
    state = decoder.wire.state
    session = state.known(message.exporter, message.port, message.version, message.domain)
    return NO_RATES if session is None else decoder.rates(session)


def _head(message: Message) -> dict[str, Any]:
    out: dict[str, Any] = {"exporter": message.exporter}
    if message.version == SFLOW5:
        out |= {
            "version": 5, "format": message.format, "agent": message.agent,
            "sub_agent_id": message.domain, "sample_seq": message.sample,
        }  # fmt: skip
        return out
    out |= {"version": message.version, "format": message.format}
    if message.version == 5:
        out |= {"engine_type": message.domain >> 8, "engine_id": message.domain & 255}
    elif message.version in (9, 10):
        out["observation_domain"] = message.domain
    return out


def _rows(event: Records, rates: Rates) -> Iterator[dict[str, Any]]:
    """Rows of the view; a biflow stays one row, its other direction under `reverse_` keys."""
    message = event.message
    head = _head(message)
    if message.version in (9, 10):
        head["template_id"] = event.template.number
    context = flow_rules.RecordContext(message, rates, 60_000_000)
    for raw in read_all(event.template.layout, event.flat, event.count):
        row = flow_rules.forward(raw, context)
        shown = dict(head)
        for name in _ADDRESSES:
            if name in row:
                shown[name] = text_of(bytes(row[name]))
        for name in ("bytes", "packets"):
            total = raw.get(name + "_total")
            if name in row and (total is None or name + "_delta" in raw):
                shown[name] = row[name]
            if total is not None:
                shown[name + "_total"] = total
        shown |= {name: row[name] for name in _NUMBERS if name in row}
        shown |= {name: raw[key] for key, name in _AS_EXPORTED if key in raw}
        for name in ("src_mac", "dst_mac"):
            if name in raw:
                shown[name] = (raw[name] & 0xFFFFFFFFFFFF).to_bytes(6, "big").hex(":")
        shown |= _icmp(raw)
        for side in ("", "reverse_"):
            times = flow_rules.times(raw, message, side)
            there = not side or any(key.startswith(_REVERSE_TIMES) for key in raw)
            for name, at_us in zip(("start", "end"), times, strict=True):
                if there and at_us >= 0:
                    shown[side + name] = at_us // 1_000
        yield shown


def _icmp(raw: Values) -> dict[str, int]:
    """Type and code of ICMP, where the record has elements for them and is, or may be, ICMP."""
    for number, family in ((1, "icmp4"), (58, "icmp6")):
        both, kind = raw.get(family), raw.get(family + "_type")
        if both is None and kind is None:
            continue
        if not both and kind is not None:
            both = kind << 8 | raw.get(family + "_code", 0)
        assert both is not None
        if both or raw.get("protocol", number) == number:
            return {"icmp_type": both >> 8, "icmp_code": both & 255}
    return {}


def _options(event: OptionsRecords) -> Iterator[dict[str, Any]]:
    layout = event.template.layout
    rows, _, _ = split(layout, event.octets, event.count)
    for row in rows:
        values: dict[str, Any] = {}
        for f, octets in zip(layout.fields, row, strict=True):
            if f.enterprise == 0 and f.number in _TEXTS:
                values[_TEXTS[f.number]] = text(octets)
                continue
            if f.enterprise == SCOPE_V9:
                name = "scope_" + V9_SCOPES.get(f.number, str(f.number))
            elif f.enterprise:
                name = f"{f.enterprise}/{f.number}"
            else:
                known = BY_NUMBER.get(f.number)
                name = known.name if known else str(f.number)
            small = len(octets) <= 8
            values[name] = int.from_bytes(octets, "big") if small else octets.hex()
        yield {
            "options": True,
            **_head(event.message),
            "template_id": event.template.number,
            "values": values,
        }
