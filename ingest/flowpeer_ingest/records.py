"""The `decode` view: each flow record of a capture as a plain dictionary, as on the wire."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowpeer_core.addresses import MAPPED
from flowpeer_ingest.blocks import Group
from flowpeer_ingest.captures import Capture
from flowpeer_ingest.columns import REVERSE_KEYS, Values, decode
from flowpeer_ingest.decompress import open_unpacked
from flowpeer_ingest.sampling import Sampling
from flowpeer_ingest.wire.dispatch import Wire
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
    SamplingLearned,
    SequenceGap,
    Unsupported,
)
from flowpeer_ingest.wire.layout import split
from flowpeer_ingest.wire.options import text

_ADDRESSES = ("src_addr", "dst_addr", "next_hop", "bgp_next_hop")
_NUMBERS = (
    "src_port", "dst_port", "protocol", "tcp_flags", "tos",
    "input_if", "output_if", "src_as", "dst_as", "src_mask", "dst_mask",
    "min_length", "max_length", "sampler_id", "sampling_interval",
)  # fmt: skip
_AS_EXPORTED = (
    ("direction", "direction"),
    *((key, key.removesuffix("_delta")) for key in REVERSE_KEYS),
)
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
        wire, sampling = Wire(), Sampling()
        with open_unpacked(self.path) as stream:
            capture = Capture(stream, str(self.path))
            for number, d in enumerate(capture.datagrams(), 1):
                record = 0
                events = wire.decode(d.payload, d.exporter, d.port, d.received_us)
                for event in events:
                    if isinstance(event, SamplingLearned):
                        sampling.learn(event)
                for event in events:
                    if isinstance(event, Records):
                        rates = sampling.rates(d.exporter, event.message.domain)
                        layout = event.template.layout
                        group = Group(
                            event.message.version, layout, [event.flat], [event.count],
                            [event.message], [rates],
                        )  # fmt: skip
                        for row in _rows(event, group):
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


def _head(message: Message) -> dict[str, Any]:
    out: dict[str, Any] = {"exporter": message.exporter}
    if message.version == SFLOW5:
        out |= {
            "version": 5, "format": message.format, "agent": message.agent,
            "sub_agent_id": message.domain, "sample_seq": message.sequence,
        }  # fmt: skip
        return out
    out |= {"version": message.version, "format": message.format}
    if message.version == 5:
        out |= {"engine_type": message.domain >> 8, "engine_id": message.domain & 255}
    elif message.version in (9, 10):
        out["observation_domain"] = message.domain
    return out


def _rows(event: Records, group: Group) -> Iterator[dict[str, Any]]:
    head = _head(event.message)
    if event.message.version in (9, 10):
        head["template_id"] = event.template.number
    yield from _dicts(decode(group.version, group.layout, group.block(), lambda _: 60), head)


def _dicts(values: Values, head: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Rows of the view; a biflow stays one row, its other direction under `reverse_` keys."""
    columns = values.columns
    named: list[tuple[str, list[Any]]] = []
    for name in _ADDRESSES:
        if name in columns:
            named.append((name, _texts(columns[name])))
    for name in ("bytes", "packets"):
        total = columns.get(f"exported_{name}_total")
        if name in columns and columns[name] is not total:
            named.append((name, columns[name].tolist()))
        if total is not None:
            named.append((name + "_total", total.tolist()))
    named.extend((name, columns[name].tolist()) for name in _NUMBERS if name in columns)
    named.extend(
        (shown, columns["exported_" + key].tolist())
        for key, shown in _AS_EXPORTED
        if "exported_" + key in columns
    )
    named.extend(
        (name, [_mac(v) if v >= 0 else -1 for v in columns[name].tolist()])
        for name in ("src_mac", "dst_mac")
        if name in columns
    )
    for name in ("start", "end"):
        exported = columns["exported_" + name]
        named.append((name, np.where(exported >= 0, exported // 1_000, -1).tolist()))
    for i in range(len(values.received_us)):
        row = dict(head)
        for name, column in named:
            value = column[i]
            if value != -1:
                row[name] = value
        yield row


def _mac(value: int) -> str:
    return (value & 0xFFFFFFFFFFFF).to_bytes(6, "big").hex(":")


def _texts(octets: NDArray[Any]) -> list[str]:
    data = octets.tobytes()
    out = []
    for at in range(0, len(data), 16):
        one = data[at : at + 16]
        four = one[:12] == MAPPED
        out.append(str(IPv4Address(one[12:])) if four else str(IPv6Address(one)))
    return out


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
