"""Records of variable length (RFC 7011 section 7) made fixed, the sets of a batch side by side.

The n-th record of every set is read at the same time, so that the number of array operations
grows with the records of the longest set and not with all records. `layout.flatten` is the same
for one set, one record after another.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from flowpeer_ingest.reading import Ints
from flowpeer_ingest.wire.layout import SLOT, Layout


@dataclass(slots=True)
class Unrolled:
    """Where the records of some sets lie.

    One entry per record: `owner` (its set's place), `runs` (the start of each run of fixed
    fields), `slots` (start and size of each variable field that is kept). Records of a set
    are in their order, sets ascending. By set: `counts` and `broken` (a record ran past the end).
    """

    owner: Ints
    runs: list[Ints]
    slots: list[tuple[Ints, Ints]]
    counts: Ints
    broken: NDArray[np.bool_]


def unroll(layout: Layout, octets: bytes, begin: Ints, size: Ints) -> Unrolled:
    """Find the records of the sets of `size` octets at `begin`.

    Behind the last set `octets` must have three octets more, of any value.
    """
    data = np.frombuffer(octets, np.uint8)
    end = begin + size
    pos = begin.copy()
    counts = np.zeros(len(begin), np.int64)
    broken = np.zeros(len(begin), bool)
    kept = sum(layout.keeps)
    owners: list[Ints] = []
    runs: list[list[Ints]] = [[] for _ in layout.runs]
    slots: list[tuple[list[Ints], list[Ints]]] = [([], []) for _ in range(kept)]
    active = np.arange(len(begin))
    last = len(data) - 3
    while True:
        active = active[end[active] - pos[active] >= layout.minimum]
        if not len(active):
            break
        at, stop = pos[active], end[active]
        fine = np.ones(len(active), bool)
        places: list[Ints] = []
        fields: list[tuple[Ints, Ints]] = []
        for run, keep in zip(layout.runs, layout.keeps, strict=False):
            places.append(at)
            at = np.minimum(at + run, last)
            fine &= at < stop
            length = data[at].astype(np.int64)
            at = at + 1
            long = length == 255
            if long.any():
                length = np.where(long, data[at].astype(np.int64) << 8 | data[at + 1], length)
                at = at + 2 * long
            if keep:
                fields.append((at, length))
            at = np.minimum(at + length, last)
        places.append(at)
        at = at + layout.runs[-1]
        fine &= at <= stop
        if not fine.all():
            broken[active[~fine]] = True
            active, at = active[fine], at[fine]
            places = [x[fine] for x in places]
            fields = [(x[fine], y[fine]) for x, y in fields]
        owners.append(active)
        for all_, x in zip(runs, places, strict=True):
            all_.append(x)
        for (starts, lengths), (x, y) in zip(slots, fields, strict=True):
            starts.append(x)
            lengths.append(y)
        counts[active] += 1
        pos[active] = at
    none = np.zeros(0, np.int64)
    owner = np.concatenate([none, *owners])
    order = np.argsort(owner, kind="stable")

    def ordered(parts: list[Ints]) -> Ints:
        return np.concatenate([none, *parts])[order]

    return Unrolled(
        owner[order],
        [ordered(x) for x in runs],
        [(ordered(x), ordered(y)) for x, y in slots],
        counts,
        broken,
    )


def gathered(layout: Layout, octets: bytes, found: Unrolled, chosen: NDArray[np.bool_]) -> bytes:
    """The records of the sets `chosen` (by set), each `layout.flat_size` octets."""
    mine = chosen[found.owner]
    n = int(np.count_nonzero(mine))
    out = np.zeros((n, layout.flat_size), np.uint8)
    data = np.frombuffer(octets, np.uint8)
    slots = iter(found.slots)
    at = 0
    for i, (run, starts) in enumerate(zip(layout.runs, found.runs, strict=True)):
        if run:
            windows = as_strided(data, (len(data) - run + 1, run), (1, 1), writeable=False)
            out[:, at : at + run] = windows[starts[mine]]
            at += run
        if i < len(layout.keeps) and layout.keeps[i]:
            start, size = next(slots)
            _slot(data, start[mine], size[mine], out[:, at : at + SLOT])
            at += SLOT
    return out.tobytes()


def _slot(data: NDArray[np.uint8], start: Ints, size: Ints, out: NDArray[np.uint8]) -> None:
    """The last `SLOT` octets of each field, right-aligned."""
    place = np.arange(SLOT) - SLOT
    at = (start + size)[:, None] + place
    inside = at >= start[:, None]
    out[:] = np.where(inside, data[np.maximum(at, 0)], 0)
