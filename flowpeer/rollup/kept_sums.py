"""Sums of a flow file that its decoder kept: what closing an hour takes instead of the records.

The decoder has the columns at hand, so it adds a file's records up by slot, side, route and own
prefix as a roll-up would (METHODS M1 to M4 and M6), and leaves the sums in the lake's cache under
the digest of the file. They hold where all that they follow from is still the same: the routes, own
prefixes and exchange ports by their digest (`HourContext.basis`), moments at which rates change,
and M1 and M2 for each combination of values that was met. Anything else, or a file that is damaged
or not there, and the records are read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from flowpeer.lake.manifest import folder_of
from flowpeer.rollup import sum_files
from flowpeer.rollup.attribute import CountingPoint
from flowpeer.rollup.codes import KINDS, Codes
from flowpeer.rollup.compiled import CompiledSums
from flowpeer.rollup.reading import Ints
from flowpeer.rollup.sums import Entries, HourFigures, SortedSums

VERSION = 2
"""Raised when the files change their meaning: those of another one are not looked at."""


def place(cache: Path, hour: datetime, sha256: str) -> Path:
    """Where the sums of a flow file are kept, by the hour of its receipt and its digest."""
    return (
        cache
        / "sums"
        / folder_of("flows", hour).partition("/")[2]
        / f"{sha256[:32]}-{VERSION}.sums"
    )


@dataclass(frozen=True)
class KeptSums:
    """The sums of one flow file, and what they hold for."""

    sha256: str
    basis: str
    moments: list[int]
    combined: list[list[Any]]
    """Distinct values of `COMBINED`."""
    kinds: list[int]
    """M1 and M2 of each, the integers of `KINDS` one behind the other, with numbers of `sides`."""
    sides: list[list[Any]]
    """The fields of a `CountingPoint` and the neighbour, by number."""
    order: list[int]
    """See `SortedSums`."""
    figures: dict[str, int]

    def numbers(self, codes: Codes, file: str) -> Ints | None:
        """The hour's numbers of `sides`, −2 where it is none of the sums; None where the sums do
        not hold any more."""
        context = codes.context
        if self.basis != context.basis or self.moments != context.moments(file).tolist():
            return None
        now = codes.kinds(file, [tuple(values) for values in self.combined])
        before = np.array(self.kinds, np.int64).view(KINDS)
        known = [codes.sides.get(_side(fields), -2) for fields in self.sides]
        numbers = np.array([*known, -1], np.int64)  # −1 stands for none in `kinds`
        if before["side"].size and not -1 <= before["side"].min() <= before["side"].max() < len(
            known
        ):
            return None
        before["side"] = numbers[before["side"]]
        return numbers[:-1] if before.tobytes() == now.tobytes() else None


def _side(fields: list[Any]) -> tuple[CountingPoint, int]:
    return CountingPoint(*fields[:-1]), fields[-1]


def write(
    path: Path, sums: CompiledSums, codes: Codes, file: str, sha256: str, figures: HourFigures
) -> bool:
    """Write the sums of a flow file (its path in the lake and its digest) to `path`; False where
    they cannot be kept.

    Raises:
        OSError: no room.
    """
    combined, found = sorted(sums.combined, key=repr), sums.kept()
    if found is None:
        return False
    header = KeptSums(
        sha256=sha256,
        basis=codes.context.basis,
        moments=codes.context.moments(file).tolist(),
        combined=[list(values) for values in combined],
        kinds=codes.kinds(file, combined).view(np.int64).tolist(),
        sides=[[*_fields(point), neighbour] for point, neighbour in codes.sides],
        order=found.order,
        figures=asdict(figures),
    )
    sum_files.write(path, found.entries, json.dumps(vars(header)).encode())
    return True


def _fields(point: CountingPoint) -> Iterable[Any]:
    return (
        point.metro, point.exporter, point.interface, point.role, point.provider_asn,
        point.direction,
    )  # fmt: skip


def read(path: Path, sha256: str) -> tuple[KeptSums, Entries] | None:
    """What `write` wrote for the flow file of a digest; None where there is nothing of use."""
    found = sum_files.read(path)
    if found is None:
        return None
    header = KeptSums(**json.loads(found.header))
    return (header, found.entries) if header.sha256 == sha256 else None


def agree(
    kept: tuple[KeptSums, Entries], numbers: Ints, codes: Codes,
    again: tuple[HourFigures, SortedSums | None],
) -> bool:  # fmt: skip
    """Whether sums are those that the records give again.

    numbers: as `KeptSums.numbers` gives them of what was kept.
    again: the figures of a file and its sums, with the numbers of `codes`.
    """
    header, entries = kept
    if again[1] is None or header.figures != asdict(again[0]):
        return False
    same = (
        _with_sides(entries, numbers[header.order], codes),
        _with_sides(again[1].entries, np.array(again[1].order, np.int64), codes),
    )
    return same[0] is not None and same[1] is not None and same[0].tobytes() == same[1].tobytes()


def _with_sides(entries: Entries, numbers: Ints, codes: Codes) -> Entries | None:
    """Sums in order, with other numbers of their sides; None where one of them is none."""
    keys, begin = entries["key"], codes.route_fields["side"][0]
    side = codes.route_part("side", keys)
    if side.size and (side.max() >= len(numbers) or numbers[side].min() < 0):
        return None
    found = entries.copy()
    found["key"] = keys - (side << begin).view(np.uint64) + (numbers[side] << begin).view(np.uint64)
    return found[np.argsort(found["key"])]
