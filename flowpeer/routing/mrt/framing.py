"""Records of an MRT file (RFC 6396 section 2), found again after a wrong length."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from flowpeer.errors import InputError
from flowpeer.routing.source import BLOCK, RouteTally

TABLE_DUMP, TABLE_DUMP_V2, BGP4MP, BGP4MP_ET = 12, 13, 16, 17
TYPES = (11, TABLE_DUMP, TABLE_DUMP_V2, BGP4MP, BGP4MP_ET, 32, 33, 48, 49)
HEADER = struct.Struct(">IHHI")
MAX_RECORD = 16 << 20
"""A prefix seen by a thousand peers with long paths stays below 4 MiB."""
ADVICE = "fetch the file again; the snapshots already loaded are untouched"

_MAX_TYPE = 64
_RESYNC_SECONDS = 7 * 86400
_CODE = re.compile(
    rb"\x00\x0d\x00[\x01-\x0c]|\x00\x0c\x00[\x01\x02]|\x00[\x10\x11]\x00[\x00-\x0b]", re.DOTALL
)
"""Type and subtype of records with routes: table dumps and updates."""


class RecordReader(Protocol):
    """Who reads the records, and says of each whether it could be understood."""

    path: Path
    tally: RouteTally
    doubtful: bool
    """The record just read could not be understood."""

    def break_(self, reason: str) -> None:
        """Count a broken record; raises InputError when they have become too many."""


def looks_like_mrt(head: bytes) -> bool:
    """Whether the first 12 octets of a file are an MRT header and not text."""
    if len(head) < HEADER.size:
        return False
    _, kind, subtype, length = HEADER.unpack_from(head)
    return bool(0 < kind <= _MAX_TYPE and subtype < 64 and length <= MAX_RECORD)


def time_of(head: bytes) -> datetime:
    """When the first record was written."""
    return datetime.fromtimestamp(HEADER.unpack_from(head)[0], UTC)


def records(
    reader: RecordReader, stream: Any, many: Callable[[bytes, int], int] | None = None
) -> Iterator[tuple[bytes, int, int]]:
    """Records as (buffer, start, end).

    Args:
        many: asked where a record begins whether it takes that and others, all at once; it gives
            where the first begins that it did not take. What it took comes as one empty record.

    Where a record was doubtful and what follows it is no header, or what stands in place of a
    header cannot be one, the next header is looked for, within a bound: a wrong length costs the
    record it stands in, not the rest of the file.
    """
    tally, name = reader.tally, str(reader.path)
    header, size = HEADER.unpack_from, HEADER.size
    buffer, at, base, ended = b"", 0, 0, False  # base: offset of the buffer in the file
    first_time: int | None = None
    doubtful = -1  # start of the record before, if it could not be understood
    while True:
        if many is not None and first_time is not None and doubtful < base:
            after = many(buffer, at)
            if after > at:
                at = after
                yield buffer, at, at
        have, need, lost = len(buffer) - at, size, False
        if have >= size:
            when, kind, _, length = header(buffer, at)
            need = size + length
            lost = length > MAX_RECORD or kind > _MAX_TYPE
            if doubtful >= base and first_time is not None:
                lost = lost or not _is_header(buffer, at, first_time)
        if have < need and not lost:
            if not ended:
                more = stream.read(max(BLOCK, need - have))
                ended = not more
                buffer, base, at = buffer[at:] + more, base + at, 0
                continue
            if not have:
                return
            lost = True
        if lost:
            start = doubtful - base + 1 if doubtful >= base else at + 1
            if start > BLOCK:
                buffer, base, at, start = buffer[start:], base + start, at - start, 0
            found = -1
            while first_time is not None:
                found = _next_header(buffer, start, first_time)
                if found >= 0 or ended or len(buffer) - start > MAX_RECORD:
                    break
                more = stream.read(BLOCK)
                ended = not more
                buffer += more
            if found < 0:
                what = "not an MRT record"
                if ended and len(buffer) - at < need:
                    what = f"ends inside a record ({len(buffer) - at} of {need} octets)"
                raise InputError(name, what, offset=base + at, advice=ADVICE)
            tally.records += 1
            reader.break_("octets between records")
            at, doubtful = found, -1
            continue
        if first_time is None:
            first_time = when
        reader.doubtful = False
        yield buffer, at, at + need
        doubtful = base + at if reader.doubtful else -1
        at += need


def _next_header(buffer: bytes, start: int, when: int) -> int:
    """The first place that can be a header of a record with routes, with its successor."""
    at = start
    while (match := _CODE.search(buffer, at + 4)) is not None:
        at = match.start() - 4
        if _is_header(buffer, at, when):
            after = at + HEADER.size + HEADER.unpack_from(buffer, at)[3]
            if after == len(buffer) or _is_header(buffer, after, when):
                return at
        at += 1
    return -1


def _is_header(buffer: bytes, at: int, when: int) -> bool:
    if at + HEADER.size > len(buffer):
        return False
    time, kind, subtype, length = HEADER.unpack_from(buffer, at)
    return (
        kind in TYPES
        and subtype <= 12
        and length <= MAX_RECORD
        and abs(time - when) <= _RESYNC_SECONDS
    )
