"""Ranges of addresses as the fewest prefixes that make them up, and prefixes as texts."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from flowpeer.routing.prefix_columns import MAPPED, U64, halves_of, high_mask, unpack4, unpack6

Bools = np.ndarray[Any, np.dtype[np.bool_]]


def prefix_texts(
    hi: U64, lo: U64, lengths: np.ndarray[Any, Any]
) -> tuple[pl.Series, np.ndarray[Any, Any]]:
    """Canonical texts and families of prefixes of the 128-bit space: host bits are cleared, and
    what lies inside ::ffff:0:0/96 is IPv4 (METHODS M4).
    """
    hi, lo = hi & high_mask(lengths), lo & high_mask(lengths - 64)
    is4 = (hi == 0) & (lo >> np.uint64(32) == MAPPED) & (lengths >= 96)
    addresses = np.empty(len(hi), dtype=object)
    addresses[is4] = unpack4((lo[is4] & np.uint64(0xFFFFFFFF)).astype(np.uint32))
    addresses[~is4] = unpack6(hi[~is4], lo[~is4])
    shown = np.where(is4, lengths - 96, lengths)
    texts = pl.select(
        pl.concat_str(
            pl.lit(pl.Series(addresses.tolist(), dtype=pl.String)),
            pl.lit("/"),
            pl.lit(pl.Series(shown.astype(np.int64)).cast(pl.String)),
        )
    ).to_series()
    return texts, np.where(is4, 4, 6)


def from_ranges(
    starts: pl.Series, ends: pl.Series
) -> tuple[pl.Series, np.ndarray[Any, Any], np.ndarray[Any, Any], Bools]:
    """The fewest prefixes that make up each range of addresses.

    Returns:
        Canonical texts, families, number of the range of each, and which ranges are faulty.
    """
    s_hi, s_lo, bad_s = halves_of(starts.to_list())
    e_hi, e_lo, bad_e = halves_of(ends.to_list())
    six = starts.str.contains(":", literal=True) == ends.str.contains(":", literal=True)
    faulty = ~six.fill_null(False).to_numpy()
    faulty |= (s_hi > e_hi) | ((s_hi == e_hi) & (s_lo > e_lo))
    faulty[bad_s + bad_e] = True
    low = s_hi == e_hi  # both ends in one upper half: numbers of 64 bits are enough
    low &= (e_lo - s_lo) != np.uint64(0xFFFFFFFFFFFFFFFF)
    lines = np.flatnonzero(~faulty & low)
    los, lengths, of = _cover(s_lo[lines], e_lo[lines])
    his, of_line = s_hi[lines][of], lines[of]
    wide = _cover_wide(np.flatnonzero(~faulty & ~low), s_hi, s_lo, e_hi, e_lo)
    his = np.concatenate([his, wide[0]])
    los = np.concatenate([los, wide[1]])
    lengths = np.concatenate([lengths + 64, wide[2]])
    of_line = np.concatenate([of_line, wide[3]])
    order = np.lexsort((los, his, of_line))
    texts, families = prefix_texts(his[order], los[order], lengths[order])
    return texts, families, of_line[order], faulty


def _cover(start: U64, end: U64) -> tuple[U64, np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Blocks that cover start…end, inclusive: their starts, lengths (of 64 bits), range numbers."""
    one = np.uint64(1)
    found: list[tuple[U64, Any, Any]] = []
    index = np.arange(len(start))
    start = start.copy()
    while len(index):
        span = end - start + one
        aligned = np.where(start == 0, np.uint64(1 << 63), start & (~start + one))
        # The largest power of two in span: frexp would round, so by bit length of the halves.
        high = (span >> np.uint64(32)).astype(np.float64)
        bits = np.where(high > 0, np.frexp(high)[1] + 32, np.frexp(span.astype(np.float64))[1])
        size = np.minimum(aligned, one << (bits - 1).astype(np.uint64))
        found.append((start.copy(), 64 - np.log2(size.astype(np.float64)).astype(np.int64), index))
        last = start + (size - one)
        more = last < end
        start, end, index = last[more] + one, end[more], index[more]
    if not found:
        return np.zeros(0, np.uint64), np.zeros(0, np.int64), np.zeros(0, np.int64)
    starts, lengths, indices = zip(*found, strict=True)
    return np.concatenate(starts), np.concatenate(lengths), np.concatenate(indices)


def _cover_wide(
    lines: np.ndarray[Any, Any], s_hi: U64, s_lo: U64, e_hi: U64, e_lo: U64
) -> tuple[U64, U64, np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """As `_cover` for the few ranges that span several upper halves."""
    his: list[int] = []
    los: list[int] = []
    lengths: list[int] = []
    of: list[int] = []
    for line in lines.tolist():
        start = int(s_hi[line]) << 64 | int(s_lo[line])
        end = int(e_hi[line]) << 64 | int(e_lo[line])
        while start <= end:
            free = (start & -start).bit_length() - 1 if start else 128
            bits = min(free, (end - start + 1).bit_length() - 1)
            his.append(start >> 64)
            los.append(start & 0xFFFFFFFFFFFFFFFF)
            lengths.append(128 - bits)
            of.append(line)
            start += 1 << bits
    return (
        np.asarray(his, dtype=np.uint64),
        np.asarray(los, dtype=np.uint64),
        np.asarray(lengths, dtype=np.int64),
        np.asarray(of, dtype=np.int64),
    )
