"""Tables of prefix and origin AS, recognised by their content.

    prefix/len ⇥ asn        pyasn
    prefix ⇥ len ⇥ asn      CAIDA pfx2as: `a_b` several origins, `a,b` or `{a,b}` a set
    start ⇥ end ⇥ asn …     address ranges (iptoasn); AS 0 there is "not routed"
    CSV with a header       prefix, asn — or start, end, asn — in any order

Lines that start with `#` or `;` are comments. Several origins of one prefix become one row each, in
the order of the file (CAIDA lists the most seen first); a set becomes one row without an origin.
Lines that cannot be read are counted; more than one in ten of them, and the file is refused.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import polars as pl
import pyarrow as pa

from flowpeer.errors import InputError
from flowpeer.routing.prefix_columns import halves_of
from flowpeer.routing.rib.ranges import Bools, from_ranges, prefix_texts
from flowpeer.routing.source import BLOCK, COLUMNS, Progress, RouteTally, opened

_PREFIX_NAMES = ("prefix", "network", "cidr", "route")
_START_NAMES, _END_NAMES = ("start", "range_start", "start_ip"), ("end", "range_end", "end_ip")
_ASN_NAMES = ("asn", "origin_asn", "origin", "as", "as_number", "origin_as")
_MAX_ASN = 0xFFFFFFFF
_ADVICE = "known are: prefix/len⇥asn, prefix⇥len⇥asn, start⇥end⇥asn, or CSV with a header"


@dataclass(frozen=True)
class _Layout:
    """Where the columns are: separator, and their positions; `length` or `end` may be absent."""

    separator: str
    start: int
    asn: int
    length: int | None = None
    end: int | None = None
    header: bool = False


class TableReader:
    """Iterates over the routes of one such table, as Arrow tables of `source.COLUMNS`.

    Raises:
        InputError: while iterated: not such a table, mostly unreadable, cut short, or empty.
    """

    def __init__(self, path: Path, *, vantage: str = "", progress: Progress | None = None) -> None:
        self.path = path
        self.tally = RouteTally()
        self.views = [vantage]
        self._vantage = vantage
        self._progress = progress

    def __iter__(self) -> Iterator[pa.Table]:
        rows = 0
        layout: _Layout | None = None
        with opened(self.path) as (stream, source):
            for first_line, text in _blocks(self.path, stream):
                lines = pl.Series("line", text.split("\n")).str.strip_chars()
                frame = pl.DataFrame({"line": lines}).with_row_index("number", first_line)
                frame = frame.filter(
                    (pl.col("line").str.len_bytes() > 0) & ~pl.col("line").str.contains(r"^[#;]")
                )
                if not frame.height:
                    continue
                if layout is None:
                    number, line = frame.row(0)
                    layout = _layout(self.path, line, int(number))
                    if layout.header:
                        frame = frame.slice(1)
                table = self._read(frame, layout)
                rows += table.num_rows
                self._check(at_end=False)
                if table.num_rows:
                    yield table
                if self._progress is not None:
                    self._progress(source.offset)
        self._check(at_end=True)
        if not rows:
            raise InputError(str(self.path), "no routes in it", advice=_ADVICE)

    def _check(self, *, at_end: bool) -> None:
        tally = self.tally
        if tally.mostly_broken(at_end=at_end):
            raise InputError(
                str(self.path),
                f"{tally.broken} of {tally.records} lines cannot be read, this is the first",
                line=tally.first_broken,
                advice=_ADVICE,
            )

    def _read(self, frame: pl.DataFrame, layout: _Layout) -> pa.Table:
        cells = _cells(frame["line"], layout)
        starts = cells[layout.start]
        origins = _Origins(cells[layout.asn])
        bad = origins.bad
        if layout.end is not None:
            ends = cells[layout.end]
            prefixes, families, of_line, faulty = from_ranges(starts, ends)
            reason = "not a range of addresses"
        else:
            if layout.length is None:
                halves = starts.str.split_exact("/", 1).struct.unnest()
                starts, lengths = halves.to_series(0), halves.to_series(1)
            else:
                lengths = cells[layout.length]
            prefixes, families, of_line, faulty = _from_prefixes(starts, lengths)
            reason = "not a prefix"
        self._count(frame["number"], faulty, reason)
        self._count(frame["number"], bad & ~faulty, "not an AS number")
        self.tally.records += frame.height
        keep = ~bad[of_line]
        if layout.end is not None:
            zero = origins.first == 0
            keep &= ~zero[of_line]
            if zero.any():
                self.tally.skipped["range without a route (AS 0)"] += int((zero & ~faulty).sum())
        return self._rows(prefixes, families, of_line, keep, origins)

    def _count(self, numbers: pl.Series, faulty: Bools, reason: str) -> None:
        if not faulty.any():
            return
        self.tally.skipped[reason] += int(faulty.sum())
        self.tally.broken += int(faulty.sum())
        if self.tally.first_broken is None:
            self.tally.first_broken = int(numbers[int(np.flatnonzero(faulty)[0])])

    def _rows(
        self,
        prefixes: pl.Series,
        families: np.ndarray[Any, Any],
        of_line: np.ndarray[Any, Any],
        keep: Bools,
        origins: _Origins,
    ) -> pa.Table:
        kept = np.flatnonzero(keep)
        lines = of_line[kept]
        times = origins.counts[lines]
        source = np.repeat(kept, times)
        where = np.repeat(origins.offsets[lines], times)
        where += np.arange(len(source)) - np.repeat(np.cumsum(times) - times, times)
        n = len(source)
        values = origins.values[where]
        columns = {
            "prefix": prefixes.gather(source).to_arrow().cast(pa.string()),
            "family": pa.array(families[source].astype(np.int32)),
            "vantage": pa.repeat(pa.scalar(self._vantage), n),
            "origin_asn": pa.array(values, mask=values < 0),
            "as_path": pa.array(origins.sets, pa.string()).take(
                pa.array(np.where(values < 0, -1 - values, 0), mask=values >= 0)
            ),
        }
        empty = {f.name: pa.nulls(n, f.type) for f in COLUMNS if f.name not in columns}
        columns |= empty
        return pa.Table.from_arrays([columns[f.name] for f in COLUMNS], schema=COLUMNS)


class _Origins:
    """Origins of each line: `values[offsets[i] : offsets[i] + counts[i]]`.

    A negative value −1 − k is the AS_SET `sets[k]`. `first` is the first plain origin, −1 where
    there is none.
    """

    def __init__(self, texts: pl.Series) -> None:
        n = len(texts)
        numbers = texts.cast(pl.Int64, strict=False)
        plain = texts.str.contains(r"^[0-9]{1,10}$").fill_null(False).to_numpy()
        values = numbers.fill_null(-1).to_numpy().copy()
        self.bad: Bools = (values < 0) | (values > _MAX_ASN) | ~plain
        self.counts = np.ones(n, dtype=np.int64)
        self.offsets = np.arange(n, dtype=np.int64)
        self.sets: list[str] = []
        self.first = np.where(self.bad, -1, values)
        extra: list[int] = []
        memo: dict[str, tuple[int, int] | None] = {}
        for i in np.flatnonzero(self.bad).tolist():
            text = texts[i] or ""
            if text not in memo:
                memo[text] = self._learn(text, extra, n)
            found = memo[text]
            if found is not None:
                self.offsets[i], self.counts[i] = found
                self.bad[i] = False
                first = extra[found[0] - n]
                self.first[i] = max(first, -1)
        self.values = np.concatenate([values, np.asarray(extra, dtype=np.int64)])

    def _learn(self, text: str, extra: list[int], n: int) -> tuple[int, int] | None:
        found: list[int] = []
        for word in re.sub(r"\}\s*,?\s*\{", "}_{", text.strip()).split("_"):
            members = [_asn(part) for part in word.strip("{} ").split(",")]
            if None in members:
                return None
            if len(members) == 1 and "{" not in word:
                found.append(members[0] or 0)
            else:
                self.sets.append("{" + ",".join(map(str, members)) + "}")
                found.append(-len(self.sets))
        place = n + len(extra), len(found)
        extra.extend(found)
        return place


def _asn(text: str) -> int | None:
    """`64500`, `AS64500` or `0.64500` (RFC 5396)."""
    match = re.fullmatch(r"(?:AS)?(\d{1,10})(?:\.(\d{1,5}))?", text.strip(), re.IGNORECASE)
    if match is None:
        return None
    number = int(match[1])
    if match[2] is not None:
        if number > 0xFFFF or int(match[2]) > 0xFFFF:
            return None
        number = number << 16 | int(match[2])
    return number if number <= _MAX_ASN else None


def _blocks(path: Path, stream: BinaryIO) -> Iterator[tuple[int, str]]:
    """Whole lines in blocks, with the number of the first (from 1)."""
    rest, number = b"", 1
    while True:
        data = stream.read(BLOCK)
        block = rest + data
        if data:
            cut = block.rfind(b"\n") + 1
            if not cut and len(block) < BLOCK:
                rest = block
                continue
            if not cut:
                raise InputError(str(path), "a line without an end", line=number, advice=_ADVICE)
            block, rest = block[:cut], block[cut:]
        if b"\0" in block:
            raise InputError(
                str(path),
                "neither an MRT table dump nor a table of prefixes",
                line=number + block.count(b"\n", 0, block.index(b"\0")),
                advice=_ADVICE,
            )
        text = block.decode("utf-8", "replace")
        if number == 1:
            text = text.removeprefix("\ufeff")
        if text:
            yield number, text
        number += block.count(b"\n")
        if not data:
            return


def _layout(path: Path, line: str, number: int) -> _Layout:
    if "\t" not in line and "," in line:
        return _csv_layout(path, line, number)
    separator = "\t" if "\t" in line else " "
    cells = line.split("\t") if "\t" in line else line.split()
    cells = [word.strip() for word in cells]
    if len(cells) >= 2 and "/" in cells[0] and not halves_of([cells[0].split("/")[0]])[2]:
        return _Layout(separator, 0, 1)
    if len(cells) >= 3 and not halves_of(cells[:1])[2]:
        if cells[1].isdigit():
            return _Layout(separator, 0, 2, length=1)
        if not halves_of(cells[1:2])[2]:
            return _Layout(separator, 0, 2, end=1)
    raise InputError(
        str(path),
        "neither an MRT table dump nor a table of prefixes",
        line=number,
        advice=_ADVICE,
    )


def _csv_layout(path: Path, line: str, number: int) -> _Layout:
    try:
        names = [name.strip().lower() for name in next(csv.reader([line]))]
    except csv.Error:  # a carriage return within it, a cell of a hundred kB
        raise InputError(
            str(path), "the header is no line of CSV", line=number, advice=_ADVICE
        ) from None

    def place(known: tuple[str, ...]) -> int | None:
        return next((names.index(name) for name in known if name in names), None)

    asn, prefix = place(_ASN_NAMES), place(_PREFIX_NAMES)
    start, end = place(_START_NAMES), place(_END_NAMES)
    if asn is not None and prefix is not None:
        length = place(("length", "len", "prefix_length", "mask"))
        return _Layout(",", prefix, asn, length=length, header=True)
    if asn is not None and start is not None and end is not None:
        return _Layout(",", start, asn, end=end, header=True)
    raise InputError(
        str(path),
        "the header names no columns prefix and asn, or start, end and asn",
        line=number,
        advice=_ADVICE,
    )


def _cells(lines: pl.Series, layout: _Layout) -> dict[int, pl.Series]:
    """The wanted cells of each line, stripped; null where the line is too short."""
    wanted = {layout.start, layout.asn, layout.length, layout.end} - {None}
    places = sorted(place for place in wanted if place is not None)
    last = places[-1]
    if layout.separator == ",":
        quoted = lines.str.contains('"', literal=True)
        if quoted.any():
            rows = [(_row(line) + [None] * (last + 1))[: last + 1] for line in lines.to_list()]
            return {
                place: pl.Series([row[place] for row in rows], dtype=pl.String).str.strip_chars()
                for place in places
            }
    elif layout.separator == " ":
        lines = lines.str.replace_all(r"\s+", " ")
    fields = lines.str.split_exact(layout.separator, last + 1).struct.unnest()
    return {place: fields.to_series(place).str.strip_chars() for place in places}


def _row(line: str) -> list[str | None]:
    """The cells of a line with quotes; none where it is no CSV, which counts as a broken line."""
    try:
        return list(next(csv.reader([line]), []))
    except csv.Error:  # a carriage return within it, a cell of a hundred kB
        return []


def _from_prefixes(
    addresses: pl.Series, lengths: pl.Series
) -> tuple[pl.Series, np.ndarray[Any, Any], np.ndarray[Any, Any], Bools]:
    """Canonical prefix texts, families, line of each, and the faulty lines."""
    hi, lo, bad = halves_of(addresses.to_list())
    is6 = addresses.str.contains(":", literal=True).fill_null(False).to_numpy()
    length = lengths.cast(pl.Int64, strict=False).fill_null(-1).to_numpy()
    faulty = (length < 0) | (length > np.where(is6, 128, 32))
    faulty[bad] = True
    kept = np.flatnonzero(~faulty)
    texts, families = prefix_texts(hi[kept], lo[kept], np.where(is6, length, length + 96)[kept])
    return texts, families, kept, faulty
