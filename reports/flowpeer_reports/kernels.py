"""The loops over every route and slot of a drill: the compiled core (flowpeer_core/native/src/
drill.c), else the same in plain Python and NumPy.

All arrays are of integers, C-contiguous, of the types that are named; those that are added to are
the caller's. Splits are to the byte: whole shares, then the largest remainders, of equal ones the
earlier (METHODS M12).
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from flowpeer_core.native import library
from flowpeer_core.native import table as native
from flowpeer_reports.errors import ReportError
from flowpeer_reports.relations import Flags, Ints
from flowpeer_reports.shares import scaled, split_columns_plain

Small = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class LinkRoutes:
    """Routes of one link, hours rising: hour, question, group (int32) and bytes."""

    hour: Small
    question: Small
    group: Small
    bytes: Ints


@dataclass(frozen=True, slots=True)
class SharedPrefixes:
    """What links carry of a prefix in an hour, where several do: group g has the links
    `link[edge[g] : edge[g + 1]]` (int32, rising) with these bytes."""

    edge: Ints
    link: Small
    bytes: Ints


@dataclass(frozen=True, slots=True)
class Options:
    """Where the bytes of each answer may go.

    Attributes:
        answer: of each question, int32; −1: not asked.
        first: answer a has the options `first[a] : first[a + 1]`, one or more.
        pool: of each answer, int32: the first one with the same options.
        link: of each option, int32; below 0: no link.
        weight: of each option: by which bytes are split that the links carry none of now.
    """

    answer: Small
    first: Ints
    pool: Small
    link: Small
    weight: Ints


def fill(
    rows: LinkRoutes, options: Options, place: Small, held: SharedPrefixes, table: Ints
) -> Ints:
    """Add a link's bytes to `table` (targets × hours); returns those of each answer.

    `place`: row of the table of each option.
    """
    asked = np.zeros(len(options.pool), dtype=np.int64)
    core = library()
    if core is None:
        _fill(rows, options, place, held, table, asked)
        return asked
    most = int(np.diff(options.first).max(initial=0))
    _run(
        core.flowpeer_fall, native.CFallState,
        hour=rows.hour, question=rows.question, group=rows.group, bytes=rows.bytes,
        rows=len(rows.hour), answer=options.answer, questions=len(options.answer),
        first=options.first, pool=options.pool, answers=len(options.pool), place=place,
        link=options.link, weight=options.weight, options=len(options.link), edge=held.edge,
        holder=held.link, held=held.bytes, groups=len(held.edge) - 1, holders=len(held.link),
        targets=table.shape[0], hours=table.shape[1], table=table, asked=asked,
        pooled=np.zeros_like(asked), touched=np.zeros(len(asked), dtype=np.int32),
        scratch=np.empty(5 * most, dtype=np.int64),
    )  # fmt: skip
    return asked


def _fill(
    rows: LinkRoutes, options: Options, place: Small, held: SharedPrefixes, table: Ints, asked: Ints
) -> None:  # fmt: skip
    first, links, weights = (x.tolist() for x in (options.first, options.link, options.weight))
    pools: dict[tuple[int, int], int] = {}
    for hour, question, group, size in zip(
        *(x.tolist() for x in (rows.hour, rows.question, rows.group, rows.bytes)), strict=True
    ):
        answer = int(options.answer[question])
        asked[answer] += size
        mine = range(first[answer], first[answer + 1])
        present = [0] * len(mine)
        if len(mine) > 1 and group >= 0:
            span = slice(int(held.edge[group]), int(held.edge[group + 1]))
            carried = dict(zip(held.link[span].tolist(), held.bytes[span].tolist(), strict=True))
            present = [carried.get(links[option], 0) for option in mine]
        if len(mine) == 1:
            table[place[mine[0]], hour] += size
        elif any(present):
            for option, part in zip(mine, largest_remainder(size, present), strict=True):
                table[place[option], hour] += part
        else:
            key = (hour, int(options.pool[answer]))
            pools[key] = pools.get(key, 0) + size
    for (hour, answer), size in pools.items():
        mine = range(first[answer], first[answer + 1])
        parts = largest_remainder(size, [weights[option] for option in mine])
        for option, part in zip(mine, parts, strict=True):
            table[place[option], hour] += part


def largest_remainder(amount: int, weights: list[int]) -> list[int]:
    """An amount split by weights, of which one is positive."""
    total = sum(weights)
    parts = [amount * weight // total for weight in weights]
    by_rest = sorted(range(len(weights)), key=lambda i: -(amount * weights[i] % total))
    for i in by_rest[: amount - sum(parts)]:
        parts[i] += 1
    return parts


@dataclass(frozen=True, slots=True)
class Spread:
    """How a link's slots go to targets, and what they are added to.

    Attributes:
        weights: targets × hours; the table of a failover.
        may: the same: what each alone may receive; None: nothing is added to `most`.
        spare: the target of hours whose weights are all 0.
        row: of each target, in `now` and `most` (rows × slots).
        pair: of each target, in `between` (pairs × slots); −1: none.
        real: of each target: it is a link.
    """

    weights: Ints
    may: Ints | None
    spare: int
    row: Ints
    pair: Ints
    real: Flags
    now: Ints
    most: Ints | None
    between: Ints


def spread(load: Ints, into: int, per_hour: int, how: Spread) -> Ints:
    """Add a link's slots; returns the bytes of each target.

    Args:
        into: slots of the first hour that lie before the first one.
    """
    count = len(how.row)
    sums, like = np.zeros(count, dtype=np.int64), np.arange(count)
    core = library()
    if core is None:
        _spread(load, into, per_hour, how, sums)
        return sums
    if how.may is not None:
        first: dict[bytes, int] = {}
        like[:] = [first.setdefault(line.tobytes(), n) for n, line in enumerate(how.may)]
    _run(
        core.flowpeer_spread, native.CSpreadState,
        load=load, slots=len(load), into=into, per_hour=per_hour, weights=how.weights, may=how.may,
        targets=how.weights.shape[0], hours=how.weights.shape[1], spare=how.spare, row=how.row,
        pair=how.pair, like=like, real=how.real.view(np.uint8), now=how.now, most=how.most,
        rows=len(how.now), between=how.between, pairs=len(how.between), sums=sums,
        scratch=np.empty(236 * count, dtype=np.int64),
    )  # fmt: skip
    return sums


def _spread(load: Ints, into: int, per_hour: int, how: Spread, sums: Ints) -> None:
    hour = (np.arange(len(load)) + into) // per_hour
    weights = how.weights[:, hour]
    total = weights.sum(axis=0)
    weights[how.spare, total == 0] = 1
    for target, part in enumerate(split_columns_plain(load, weights)):
        how.now[how.row[target]] += part
        sums[target] += part.sum()
        if how.pair[target] >= 0:
            how.between[how.pair[target]] += part
    if how.may is not None and how.most is not None:
        may = how.may[:, hour]
        safe = np.broadcast_to(np.maximum(total, 1), may.shape)
        alone, rest = scaled(load[None, :], may, safe)
        for target in np.flatnonzero(how.real).tolist():
            how.most[how.row[target]] += alone[target] + (rest[target] > 0)


def split_columns(amount: Ints, weights: Ints) -> Ints:
    """Each amount over its column of `weights` (parts × amounts); not all of one are 0."""
    count = len(weights)
    if count == 1:
        return amount[None, :].copy()
    now = np.zeros(weights.shape, dtype=np.int64)
    none = np.zeros((0, len(amount)), dtype=np.int64)
    how = Spread(
        np.ascontiguousarray(weights), None, 0, np.arange(count), np.full(count, -1),
        np.ones(count, dtype=np.bool_), now, None, none,
    )  # fmt: skip
    spread(np.ascontiguousarray(amount), 0, 1, how)
    return now


@dataclass(frozen=True, slots=True)
class SlotFigures:
    """Of each row of values: the largest, the ranked one, and how many are above each border."""

    largest: Ints
    ranked: Ints
    above: Ints


def figures(
    values: Ints, borders: Ints, top: Ints, kind: Small, counts: Flags, guess: Ints
) -> SlotFigures:
    """Figures of rows of values, none of them negative.

    Args:
        borders: rows × levels, rising.
        top: of each row: the how-maniest of the largest is asked for; 0: none.
        kind: of each row: those that `counts` (kinds × width) says count for it; −1: all.
        guess: of each row: a value that the ranked one is probably not below.
    """
    count, width = values.shape
    largest, ranked = np.zeros((2, count), dtype=np.int64)
    made = SlotFigures(largest, ranked, np.zeros(borders.shape, dtype=np.int64))
    if not count or not width:
        return made
    core = library()
    if core is None:
        _figures(values, borders, top, kind, counts, made)
        return made
    _run(
        core.flowpeer_figures, native.CFiguresState,
        values=values, rows=count, width=width, counts=counts.view(np.uint8), kind=kind,
        kinds=len(counts), top=top, guess=guess, borders=borders, levels=borders.shape[1],
        largest=made.largest, ranked=made.ranked, above=made.above,
        scratch=np.empty(width, dtype=np.int64),
    )  # fmt: skip
    return made


def _figures(
    values: Ints, borders: Ints, top: Ints, kind: Small, counts: Flags, made: SlotFigures
) -> None:  # fmt: skip
    for row, line in enumerate(values):
        rising = np.sort(line)
        made.largest[row] = rising[-1]
        made.above[row] = len(line) - np.searchsorted(rising, borders[row], "right")
        if top[row]:
            mine = rising if kind[row] < 0 else np.sort(line[counts[kind[row]]])
            made.ranked[row] = mine[-top[row]]


_SMALL = frozenset(
    ("hour", "question", "group", "answer", "pool", "place", "link", "holder", "touched", "kind")
)


def _run(function: Any, structure: type[ctypes.Structure], /, **members: Any) -> None:
    """Call a kernel; the arrays live until it is done."""
    state = structure()
    for name, value in members.items():
        if isinstance(value, np.ndarray):
            right = (
                np.int32 if name in _SMALL else np.uint8 if value.dtype == np.uint8 else np.int64
            )
            assert value.dtype == right, name
            assert value.flags.c_contiguous, name
            setattr(state, name, value.ctypes.data)
        else:
            setattr(state, name, value)
    done = function(ctypes.addressof(state))
    if done == native.OVERFLOW:
        raise ReportError(
            "more than 2^53 bytes in an hour of a link: nothing was computed",
            advice="look at the sampling rates (flowpeer check)",
        )
    if done < 0:
        raise ReportError(
            f"the compiled core refused its input ({done})",
            advice="this is a fault of flowpeer; please report it",
        )
