"""Record layouts: NetFlow v5 (Cisco's format), NetFlow v9 (RFC 3954) and IPFIX (RFC 7011)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowpeer_sample import world as w
from flowpeer_sample.records import SampledRecords

AS_TRANS = 23456  # RFC 6793: stands in for a four-octet number where two octets are all there is


@dataclass(frozen=True, slots=True)
class Field:
    """An information element: number, octets on the wire, column; `text` a fixed-size name in
    variable-length encoding (RFC 7011 section 7)."""

    element: int
    octets: int
    column: str
    variable: bool = False


@dataclass(frozen=True, slots=True)
class DataTemplate:
    """A data template and its fields."""

    template: int
    fields: tuple[Field, ...]

    @property
    def dtype(self) -> np.dtype[Any]:
        """The packed record on the wire."""
        parts: list[tuple[str, str]] = []
        for f in self.fields:
            if f.variable:
                parts += [(f"{f.column}.length", "u1"), (f.column, f"S{f.octets}")]
            elif f.octets == 16:
                parts += [(f"{f.column}.hi", ">u8"), (f"{f.column}.lo", ">u8")]
            else:
                parts.append((f.column, "u1" if f.octets == 1 else f">u{f.octets}"))
        return np.dtype(parts)

    def definition(self) -> bytes:
        """The template record."""
        made = struct.pack("!HH", self.template, len(self.fields))
        for f in self.fields:
            made += struct.pack("!HH", f.element, 65535 if f.variable else f.octets)
        return made


_V5 = np.dtype([
    ("src.lo", ">u4"), ("dst.lo", ">u4"), ("hop.lo", ">u4"), ("input", ">u2"), ("output", ">u2"),
    ("packets", ">u4"), ("bytes", ">u4"), ("first", ">u4"), ("last", ">u4"), ("sport", ">u2"),
    ("dport", ">u2"), ("pad1", "u1"), ("flags", "u1"), ("protocol", "u1"), ("tos", "u1"),
    ("sas", ">u2"), ("das", ">u2"), ("smask", "u1"), ("dmask", "u1"), ("pad2", ">u2"),
])  # fmt: skip

BOOT_MS = {  # sysUptime 0, in ms before midnight; the one in Dallas wraps at 10:00 (2^32 ms)
    m.id: (1 << 32) - 36_000_000 if m.id == "dfw" else 86_400_000 * (3 + k) + 123_000
    for k, m in enumerate(w.METROS)
}
SAMPLER_OCTETS = {"nyc": 4, "ams": 1, "lon": 2, "fra": 8}
SAMPLER_ID = {"nyc": 1, "ams": 2, "lon": 7, "fra": 15}


@cache
def layouts(metro: str) -> tuple[DataTemplate, ...]:
    """The data templates of a metro's exporter: IPv4, IPv6 and, in Chicago, one with a name."""
    exporter = w.EXPORTER[metro]
    if exporter.format == "netflow5":
        return ()
    ipfix = exporter.format == "ipfix"
    counter = 8 if ipfix else 4
    port = 2 if metro == "lon" else 4  # reduced size, as IOS XE sends it
    times = (Field(152, 8, "start_unix"), Field(153, 8, "end_unix")) if ipfix else (
        Field(22, 4, "first"), Field(21, 4, "last"))  # fmt: skip
    common: tuple[Field, ...] = (
        Field(10, port, "input"), Field(14, port, "output"), Field(2, counter, "packets"),
        Field(1, counter, "bytes"), *times, Field(7, 2, "sport"), Field(11, 2, "dport"),
        Field(4, 1, "protocol"), Field(5, 1, "tos"), Field(6, 1, "flags"),
        Field(16, 4, "sas"), Field(17, 4, "das"),
    )  # fmt: skip
    if metro in ("nyc", "ams", "lon", "chi"):
        common += (Field(61, 1, "direction"),)
    if exporter.rate.startswith("options"):
        common += (Field(302 if ipfix else 48, SAMPLER_OCTETS[metro], "sampler"),)
    if exporter.rate == "record":
        common += (Field(34, 4, "interval"),)
    four = (Field(8, 4, "src.lo"), Field(12, 4, "dst.lo"), Field(15, 4, "hop.lo"),
            Field(9, 1, "smask"), Field(13, 1, "dmask"))  # fmt: skip
    six = (Field(27, 16, "src"), Field(28, 16, "dst"), Field(62, 16, "hop"),
           Field(29, 1, "smask"), Field(30, 1, "dmask"))  # fmt: skip
    made = [DataTemplate(256, four + common), DataTemplate(257, six + common)]
    if metro == "chi":
        made.append(DataTemplate(258, four + common + (Field(82, 9, "name", variable=True),)))
    return tuple(made)


def choose(metro: str, rows: SampledRecords) -> NDArray[np.int64]:
    """The number of the layout of each record."""
    chosen = np.where(rows.family == 6, 1, 0)
    if metro == "chi":
        minute = rows.columns["minute"]
        assert not isinstance(minute, tuple)
        named = (minute % 20 == 7) & (rows.family == 4)  # one minute in twenty
        chosen = np.where(named, 2, chosen)
    return chosen


def encode(
    metro: str,
    rows: SampledRecords,
    at: NDArray[np.int64],
    layout: DataTemplate | None,
    day: int = 0,
) -> bytes:
    """The records numbered `at`, one after the other, in `layout` (None: NetFlow v5)."""
    passed = day * 86_400_000
    made = np.zeros(len(at), _V5 if layout is None else layout.dtype)
    names = made.dtype.names
    assert names is not None
    columns = rows.columns
    for name in names:
        base, _, half = name.partition(".")
        if base in columns:
            column = columns[base]
            if isinstance(column, tuple):
                made[name] = column[0 if half == "hi" else 1][at]
            elif layout is None and base in ("sas", "das"):
                made[name] = np.where(column > 65535, AS_TRANS, column)[at]
            else:
                made[name] = column[at]
        elif base in ("first", "last", "start_unix", "end_unix"):
            ms = columns["start" if base in ("first", "start_unix") else "end"]
            assert not isinstance(ms, tuple)
            if base.endswith("unix"):
                made[name] = ms[at] + w.DAY * 1000 + passed
            else:
                made[name] = (ms[at] + BOOT_MS[metro] + passed) % (1 << 32)
        elif base == "sampler":
            made[name] = SAMPLER_ID[metro]
        elif base == "interval":
            made[name] = w.SAMPLING
        elif base == "name":
            port = columns["input"]
            assert not isinstance(port, tuple)
            if half:
                made[name] = 9
            else:
                made[name] = np.array([f"et-0/0/{k:02d}".encode() for k in range(64)])[port[at]]
        else:
            assert base.startswith("pad"), name
    return made.tobytes()
