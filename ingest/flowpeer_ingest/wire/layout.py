"""How the octets of a record are laid out, and records of variable length made fixed."""

from __future__ import annotations

from dataclasses import dataclass, field

from flowpeer_ingest.wire.elements import (
    BOOT_TIME,
    FRAME_SECTION,
    INTERFACE_DESCRIPTION,
    INTERFACE_NAME,
    SAMPLING,
    key_of,
)

VARIABLE = 65535
"""RFC 7011 section 7: a field of this length carries its own; H3C does so in v9 too."""

SLOT = 16
"""Octets that a variable-length field which fills a column gets in the flat form."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a template; `enterprise` 0 is IANA's registry."""

    number: int
    length: int
    enterprise: int = 0


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Layout:
    """The fields of a record in order. One object for equal layouts, compared by identity.

    `minimum`: octets of the smallest record (a variable field takes one at least). `flat`: each
    field that is kept in the flat form, with its offset there; `flat_size` its record size.
    """

    fields: tuple[Field, ...]
    minimum: int
    variable: bool
    flat: tuple[tuple[Field, int], ...]
    flat_size: int
    runs: tuple[int, ...]
    keeps: tuple[bool, ...]
    says_sampling: bool
    says_boot_time: bool
    says_names: bool
    framed: bool


@dataclass(frozen=True, slots=True)
class Template:
    """A template as an exporter announced it; `scopes` > 0: options template."""

    number: int
    layout: Layout = field(repr=False)
    scopes: int = 0
    options: bool = False


def make_layout(fields: tuple[Field, ...]) -> Layout:
    """The layout of `fields`: offsets, sizes, and where the variable fields cut it."""
    flat: list[tuple[Field, int]] = []
    runs: list[int] = []
    keeps: list[bool] = []
    offset = run = minimum = 0
    for f in fields:
        if f.length != VARIABLE:
            flat.append((f, offset))
            offset += f.length
            run += f.length
            minimum += f.length
            continue
        keep = bool(key_of(f.number, f.enterprise))
        runs.append(run)
        keeps.append(keep)
        run = 0
        minimum += 1
        if keep:
            flat.append((Field(f.number, SLOT, f.enterprise), offset))
            offset += SLOT
    numbers = {f.number for f in fields if f.enterprise == 0}
    return Layout(
        fields=fields,
        minimum=minimum,
        variable=bool(keeps),
        flat=tuple(flat),
        flat_size=offset,
        runs=(*runs, run),
        keeps=tuple(keeps),
        says_sampling=bool(numbers & SAMPLING),
        says_boot_time=BOOT_TIME in numbers,
        says_names=bool(numbers & {INTERFACE_NAME, INTERFACE_DESCRIPTION}),
        framed=FRAME_SECTION in numbers,
    )


def flatten(layout: Layout, data: bytes) -> tuple[bytes, int, int, bool]:
    """Records of variable length at a fixed size: (flat octets, count, octets used, broken).

    Fields of variable length that fill no column are left out, the others are right-aligned in
    a slot of 16 octets (the last 16 if longer). `broken`: a record ran past the end (RFC 7011
    section 7); the records before it are good.
    """
    out: list[bytes] = []
    add = out.append
    pos = count = 0
    end = len(data)
    minimum = layout.minimum
    last = layout.runs[-1]
    steps = tuple(zip(layout.runs, layout.keeps, strict=False))
    while end - pos >= minimum:
        at = pos
        parts = len(out)
        for run, keep in steps:
            if run:
                add(data[at : at + run])
                at += run
            if at >= end:
                break
            size = data[at]
            at += 1
            if size == 255:
                size = int.from_bytes(data[at : at + 2], "big")
                at += 2
            if keep:
                add(data[at : at + size][-SLOT:].rjust(SLOT, b"\0"))
            at += size
        else:
            if at + last <= end:
                if last:
                    add(data[at : at + last])
                pos = at + last
                count += 1
                continue
        del out[parts:]
        return b"".join(out), count, pos, True
    return b"".join(out), count, pos, False


def split(layout: Layout, data: bytes, limit: int) -> tuple[list[list[bytes]], int, bool]:
    """The first `limit` records as lists of field octets: (records, octets used, broken).

    The general path: one field after another, for options data and as the vectorised path's
    counterpart.
    """
    records: list[list[bytes]] = []
    pos = 0
    end = len(data)
    while end - pos >= layout.minimum and len(records) < limit:
        at = pos
        values: list[bytes] = []
        for f in layout.fields:
            size = f.length
            if size == VARIABLE:
                if at >= end:
                    return records, pos, True
                size = data[at]
                at += 1
                if size == 255:
                    size = int.from_bytes(data[at : at + 2], "big")
                    at += 2
            values.append(data[at : at + size])
            at += size
        if at > end:
            return records, pos, True
        records.append(values)
        pos = at
    return records, pos, False
