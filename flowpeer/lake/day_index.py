"""Headers of manifests packed by the day, so that a plan opens one document a day and table.

    cache/headers/<table>/date=YYYY-MM-DD.json
    cache/octets/<table>/date=YYYY-MM-DD.json

A line for each hour, with the mark that its manifest had when it was read (`Listed.mark`). Octets
are most of a header of flows and seldom asked for: they are packed by themselves. An hour
whose manifest has another mark by now is read from the manifest itself, so that the index is never
wrong, only out of date; it may be deleted at any time. Only headers all of whose entries are
complete are in it. `rollup`, also with --explain, and `compact` write it when they end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from flowpeer.errors import InputError
from flowpeer.lake import codec
from flowpeer.lake.manifest import Header, parse_hour

if TYPE_CHECKING:
    from flowpeer.lake.storage import Storage

VERSION = 2
"""Raised when headers say something that they did not say before."""
Marked = dict[datetime, tuple[str, Header]]
"""Mark and header by hour."""
Kind = Literal["headers", "octets"]
"""Headers without their octets, or with nothing else."""


@dataclass(frozen=True, slots=True)
class DayIndex:
    """The first line: the mark of each hour's manifest, in the order of the headers after it."""

    version: int = VERSION
    marks: tuple[str, ...] = field(default_factory=tuple)


def key_of_day(table: str, date: str, kind: Kind = "headers") -> str:
    """Where the index of a day (`YYYY-MM-DD`) is, below the lake."""
    return f"cache/{kind}/{table}/date={date}.json"


def read(storage: Storage, table: str, date: str, kind: Kind = "headers") -> Marked:
    """The index of a day; empty where there is none that can be used."""
    key = key_of_day(table, date, kind)
    try:
        held = storage.read(key)
        if held is None:
            return {}
        index, headers = codec.decode_lines(held.octets, key, DayIndex, Header)
    except (InputError, OSError):
        return {}
    if index.version != VERSION or len(index.marks) != len(headers):
        return {}
    return {
        parse_hour(header.hour): (mark, header)
        for mark, header in zip(index.marks, headers, strict=True)
    }


def write(
    storage: Storage,
    table: str,
    date: str,
    marked: Mapping[datetime, tuple[str, Header]],
    kind: Kind = "headers",
) -> None:
    """Replace the index of a day."""
    some = [marked[hour] for hour in sorted(marked)]
    octets = codec.encode_lines(
        DayIndex(marks=tuple(mark for mark, _ in some)),
        *(replace(header, pending={}) for _, header in some),
    )
    storage.cache(key_of_day(table, date, kind), octets)
