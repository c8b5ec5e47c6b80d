"""95th percentiles of every remote network in every metro over a long time, at the pace of a scan.

A quarter of a large network has some hundred million rows, too many to be grouped by slot and
sorted by group. Each hour is read once, its rows of a metro, ASN and slot are added up, and what is
left is packed into one integer, (metro, ASN) above and bytes below: one sort of plain integers
then orders all series at once, and a percentile is a place in it. Slots without traffic are not
there: they are zeros that sort before everything (METHODS M5, nearest rank).

The hours in which a network was folded (flowpeer.rollup.tail) have its bytes and no slots. They are
left out of the series, so that a percentile is a lower bound, and none is given where they are
more than 5 % of the bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from threading import Lock
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from flowpeer.lake.store import Lake
from flowpeer_core import p95
from flowpeer_core.asns import FOLDED
from flowpeer_core.slots import SLOT_US

U64 = npt.NDArray[np.uint64]
THREADS = 2
SMALL_ASNS = 1 << 20
"""ASNs below are numbered by themselves; the others (32-bit ones, codes of no network) as seen."""
_COLUMNS = ("slot", "metro", "role", "direction", "remote_asn", "scaled", "bytes")
_FOLDED = ("metro", "role", "direction", "origin_asn", "folded", "bytes")
_TEXTS = ["metro", "role", "direction"]
_RESULT = {"metro": pl.String, "remote_asn": pl.Int64, "slots": pl.Int64, "bytes": pl.Int64,
           "folded_bytes": pl.Int64, "p95_bytes": pl.Int64}  # fmt: skip


@dataclass
class _Numbers:
    """Numbers of metros and of (metro, ASN), given as they turn up by all threads together."""

    metros: dict[str, int] = field(default_factory=dict)
    large: dict[int, int] = field(default_factory=dict)
    lock: Lock = field(default_factory=Lock)

    def metro(self, name: str) -> int:
        with self.lock:
            return self.metros.setdefault(name, len(self.metros))

    def asns(self, asn: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Numbers of ASNs: themselves, or from SMALL_ASNS on."""
        odd = (asn < 0) | (asn >= SMALL_ASNS)
        if not odd.any():
            return asn
        values, place = np.unique(asn[odd], return_inverse=True)
        with self.lock:
            codes = [self.large.setdefault(v, len(self.large)) for v in values.tolist()]
        asn = asn.copy()
        asn[odd] = SMALL_ASNS + np.array(codes, dtype=np.int64)[place]
        return asn

    def asns_of(self, number: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The ASNs of numbers that `asns` gave."""
        odd = number >= SMALL_ASNS
        asn = number.copy()
        asn[odd] = np.array([*self.large, 0], dtype=np.int64)[number[odd] - SMALL_ASNS]
        return asn

    def pairs(
        self, asn: npt.NDArray[np.int64], metros: pa.DictionaryArray, at: npt.NDArray[np.intp]
    ) -> npt.NDArray[np.int64]:
        """ASN number × 256 + metro, of ASNs and of the places `at` of a column of metros.

        Raises:
            OverflowError: more than 256 metros.
        """
        names = metros.dictionary.to_pylist()
        metro = np.array([self.metro(name) for name in names], dtype=np.int64)
        if len(self.metros) > 256:
            raise OverflowError("more than 256 metros")
        pair = self.asns(asn) << 8
        pair |= metro[metros.indices.to_numpy()[at]]
        return pair


@dataclass(frozen=True, slots=True)
class _Hour:
    """Sums of one hour: bytes of a metro, ASN and slot; `pair` is ASN number × 256 + metro."""

    pair: npt.NDArray[np.uint32]
    bytes: npt.NDArray[np.int64]


def p95_per_asn(
    lake: Lake,
    start: datetime,
    end: datetime,
    *,
    n_slots: Mapping[str, int],
    direction: Literal["in", "out"] = "out",
    roles: Sequence[str] = ("transit",),
    uncovered: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """The 95th percentile of each metro and remote ASN over the slots of [start, end).

    Args:
        n_slots: covered slots of each metro; a metro that is not in it has no rows.
        uncovered: metro and slot of those that do not count.

    Returns:
        metro, remote_asn, slots (with traffic), bytes, folded_bytes (those of them of which the
        slots are not known; whole hours, also where the period has a part of one), p95_bytes (of
        5 minutes; exact where folded_bytes is 0, else a lower bound, null where they are over
        5 %), sorted.

    Raises:
        OverflowError: a slot with more bytes than fit beside the numbers of the series.
    """
    first = start.replace(minute=0, second=0, microsecond=0)
    record = lake.record()
    headers = record.headers("traffic", start=first, end=end)
    files = [lake.path(path) for header in headers.values() for path in header.paths]
    numbers = _Numbers()
    span = tuple((t - _EPOCH) // timedelta(microseconds=1) for t in (start, end))
    missing = _missing(uncovered)

    def read(path: Path) -> _Hour:
        return _hour(path, numbers, span, direction, roles, missing)

    def read_folded(path: Path) -> _Hour:
        return _folded_hour(path, numbers, direction, roles)

    hours = [hour for hour in _in_threads(read, files) if hour.bytes.size]
    exact = _ranked(hours, numbers, n_slots) if hours else pl.DataFrame(schema=_RESULT)
    by_hour = [
        lake.path(path)
        for hour, header in headers.items()
        if header.rollup is not None and (header.rollup.folded or {}).get("bytes")
        for routes in (record.header("traffic_routes", hour),)
        for path in (routes.paths if routes is not None else ())
    ]
    folded = _folded_sums(list(_in_threads(read_folded, by_hour)), numbers)
    return _together(exact, folded.filter(pl.col("metro").is_in(list(n_slots))))


_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


def _missing(uncovered: pl.DataFrame | None) -> dict[int, set[str]]:
    found: dict[int, set[str]] = {}
    if uncovered is not None:
        slots = uncovered["slot"].dt.epoch("us").to_list()
        for metro, slot in zip(uncovered["metro"].to_list(), slots, strict=True):
            found.setdefault(slot, set()).add(metro)
    return found


def _in_threads(work: Any, items: Sequence[Path]) -> Iterator[_Hour]:
    with ThreadPoolExecutor(THREADS) as pool:
        running: list[Future[_Hour]] = []
        for item in items:
            running.append(pool.submit(work, item))
            if len(running) > 2 * THREADS:
                yield running.pop(0).result()
        yield from (one.result() for one in running)


def _chosen(column: pa.DictionaryArray, wanted: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Which rows of a dictionary column hold one of some texts."""
    table = np.array([text in wanted for text in column.dictionary.to_pylist()], dtype=bool)
    flags: npt.NDArray[np.bool_] = table[column.indices.to_numpy()]
    return flags


def _folded_hour(path: Path, numbers: _Numbers, direction: str, roles: Sequence[str]) -> _Hour:
    """Bytes of an hour of `traffic_routes` that were folded; `pair` may occur more than once."""
    with pq.ParquetFile(path, read_dictionary=_TEXTS, page_checksum_verification=True) as file:
        table = file.read(columns=list(_FOLDED), use_threads=False)
    table = table.filter(table["folded"]).unify_dictionaries().combine_chunks()
    if not table.num_rows:
        return _Hour(np.empty(0, np.uint32), np.empty(0, np.int64))
    column = {name: table[name].chunk(0) for name in table.column_names}
    at = np.flatnonzero(_chosen(column["direction"], [direction]) & _chosen(column["role"], roles))
    pair = numbers.pairs(column["origin_asn"].to_numpy()[at], column["metro"], at)
    return _Hour(pair.astype(np.uint32), column["bytes"].to_numpy()[at])


def _folded_sums(hours: list[_Hour], numbers: _Numbers) -> pl.DataFrame:
    """metro, remote_asn, folded_bytes."""
    hours = [hour for hour in hours if hour.bytes.size]
    empty = np.empty(0, np.int64)
    pair, place = np.unique(
        np.concatenate([empty, *(hour.pair for hour in hours)]), return_inverse=True
    )
    sums = np.zeros(pair.size, dtype=np.int64)
    np.add.at(sums, place, np.concatenate([empty, *(hour.bytes for hour in hours)]))
    metro, asn = (pair & 255).astype(np.int64), (pair >> 8).astype(np.int64)
    return pl.DataFrame(
        {
            "metro": pl.Series(list(numbers.metros), dtype=pl.String).gather(metro),
            "remote_asn": numbers.asns_of(asn),
            "folded_bytes": sums,
        }
    )


def _together(exact: pl.DataFrame, folded: pl.DataFrame) -> pl.DataFrame:
    both = exact.drop("folded_bytes").join(
        folded, on=["metro", "remote_asn"], how="full", coalesce=True
    )
    both = both.with_columns(
        pl.col("slots", "folded_bytes", "p95_bytes").fill_null(0),
        bytes=pl.col("bytes").fill_null(0) + pl.col("folded_bytes").fill_null(0),
    )
    refused = 20 * pl.col("folded_bytes") > pl.col("bytes")
    return (
        both.with_columns(p95_bytes=pl.when(~refused).then("p95_bytes"))
        .select(*_RESULT)
        .sort("metro", "remote_asn")
    )


def _hour(
    path: Path,
    numbers: _Numbers,
    span: tuple[int, ...],
    direction: str,
    roles: Sequence[str],
    missing: Mapping[int, set[str]],
) -> _Hour:
    with pq.ParquetFile(path, read_dictionary=_TEXTS, page_checksum_verification=True) as file:
        table = file.read(columns=list(_COLUMNS), use_threads=False)
    table = table.unify_dictionaries().combine_chunks()
    if not table.num_rows:
        return _Hour(np.empty(0, np.uint32), np.empty(0, np.int64))
    column = {name: table[name].chunk(0) for name in table.column_names}
    slot = column["slot"].cast(pa.int64()).to_numpy()
    keep = _chosen(column["direction"], [direction]) & _chosen(column["role"], roles)
    keep &= column["scaled"].to_numpy(zero_copy_only=False)
    keep &= column["remote_asn"].to_numpy() != FOLDED
    if slot.min() < span[0] or slot.max() >= span[1]:
        keep &= (slot >= span[0]) & (slot < span[1])
    for time in missing.keys() & set(range(int(slot.min()), int(slot.max()) + 1, SLOT_US)):
        keep &= (slot != time) | ~_chosen(column["metro"], list(missing[time]))
    at = np.flatnonzero(keep)
    pair = numbers.pairs(column["remote_asn"].to_numpy()[at], column["metro"], at)
    octets = column["bytes"].to_numpy()[at]
    # Of one hour: slot, pair and the row's number in one integer, whose sort brings rows together.
    bits = max(1, int(at.size).bit_length())
    packed = ((slot[at] // SLOT_US) % 12 << 40 | pair) << bits | np.arange(at.size)
    packed.sort()
    order = packed & ((1 << bits) - 1)
    packed >>= bits
    starts = np.flatnonzero(np.diff(packed, prepend=-1))
    if not starts.size:
        return _Hour(np.empty(0, np.uint32), np.empty(0, np.int64))
    sums = np.add.reduceat(octets[order], starts)
    return _Hour((packed[starts] & ((1 << 40) - 1)).astype(np.uint32), sums)


def _ranked(hours: list[_Hour], numbers: _Numbers, n_slots: Mapping[str, int]) -> pl.DataFrame:
    """All series sorted at once: number of the ASN × metros + metro above, bytes below."""
    seen = np.zeros(SMALL_ASNS + len(numbers.large), dtype=bool)
    largest = 0
    for hour in hours:
        seen[hour.pair >> np.uint32(8)] = True
        largest = max(largest, int(hour.bytes.max()))
    asns = np.flatnonzero(seen)
    width = len(numbers.metros)
    number = np.zeros(seen.size, dtype=np.uint64)
    number[asns] = np.arange(asns.size, dtype=np.uint64) * np.uint64(width)
    bits = largest.bit_length()
    if bits + int(asns.size * width).bit_length() > 64:
        raise OverflowError(f"{largest:,} bytes in a slot of one network cannot be traffic")
    packed = np.empty(sum(hour.bytes.size for hour in hours), dtype=np.uint64)
    at = 0
    while hours:  # each is let go as it is packed
        hour = hours.pop()
        part = packed[at : at + hour.bytes.size]
        number.take(hour.pair >> np.uint32(8), out=part, mode="wrap")
        part += hour.pair & np.uint32(255)
        part <<= np.uint64(bits)
        part |= hour.bytes.view(np.uint64)
        at += part.size
    packed.sort()
    borders = np.arange(asns.size * width + 1, dtype=np.uint64) << np.uint64(bits)
    edges = np.searchsorted(packed, borders[:-1])
    every = np.append(edges, packed.size)
    series = np.flatnonzero(np.diff(every))
    edges = np.append(edges[series], packed.size)
    asn, metro = asns[series // width], series % width
    mask = np.uint64((1 << bits) - 1)
    held = np.diff(edges)
    names = list(numbers.metros)
    covered = np.array([n_slots.get(name, 0) for name in names], dtype=np.int64)
    n = np.maximum(covered[metro], held)
    place = p95.rank(n) - 1 - (n - held)
    found = (packed[edges[:-1] + np.maximum(place, 0)] & mask).view(np.int64)
    frame = pl.DataFrame(
        {
            "metro": pl.Series(names).gather(metro),
            "remote_asn": numbers.asns_of(asn),
            "slots": held,
            "bytes": _sums(packed, edges, mask),
            "folded_bytes": np.zeros(held.size, dtype=np.int64),
            "p95_bytes": np.where(place < 0, 0, found),
        },
        schema=_RESULT,
    )
    return frame.filter(pl.col("metro").is_in(list(n_slots))).sort("metro", "remote_asn")


def _sums(packed: U64, edges: npt.NDArray[np.intp], mask: np.uint64) -> npt.NDArray[np.int64]:
    """Bytes of each series, some at a time: the masked copy is as large as what it is made of."""
    sums = np.zeros(edges.size - 1, dtype=np.int64)
    step = 1 << 14
    for first in range(0, sums.size, step):
        last = min(first + step, sums.size)
        part = packed[edges[first] : edges[last]] & mask
        sums[first:last] = np.add.reduceat(part, edges[first:last] - edges[first]).view(np.int64)
    return sums
