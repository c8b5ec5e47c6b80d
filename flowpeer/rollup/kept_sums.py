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
import pyarrow as pa

from flowpeer.lake.manifest import folder_of
from flowpeer.rollup.attribute import CountingPoint
from flowpeer.rollup.codes import KINDS, Codes
from flowpeer.rollup.compiled import KEPT, CompiledSums
from flowpeer.rollup.reading import Ints
from flowpeer.rollup.sums import HourFigures
from flowpeer_core.native.checksum import crc32
from flowpeer_core.native.table import SLOT_BIT

VERSION = 1
"""Raised when the files change their meaning."""
_HEADER, _CRC = b"flowpeer", b"crc32"
"""Metadata of the schema: `KeptSums`, and the checksum of that and of the columns."""
_OPTIONS = pa.ipc.IpcWriteOptions(compression="lz4")


def place(cache: Path, hour: datetime, sha256: str) -> Path:
    """Where the sums of a flow file are kept, by the hour of its receipt and its digest."""
    return cache / "sums" / folder_of("flows", hour).partition("/")[2] / f"{sha256[:32]}.arrow"


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


def _crc(header: bytes, rows: pa.RecordBatch) -> bytes:
    crc = crc32(np.frombuffer(header, np.uint8))
    for column in rows.columns:
        crc = crc32(column.to_numpy().view(np.uint8), crc)
    return b"%08x" % crc


def write(
    path: Path, sums: CompiledSums, codes: Codes, file: str, sha256: str, figures: HourFigures
) -> bool:
    """Write the sums of a flow file (its path in the lake and its digest) to `path`; False where
    they cannot be kept. `sums` is empty then.

    Raises:
        OSError: no room.
    """
    combined, rows = sorted(sums.combined, key=repr), sums.kept()
    if rows is None:
        return False
    header = KeptSums(
        sha256=sha256,
        basis=codes.context.basis,
        moments=codes.context.moments(file).tolist(),
        combined=[list(values) for values in combined],
        kinds=codes.kinds(file, combined).view(np.int64).tolist(),
        sides=[[*_fields(point), neighbour] for point, neighbour in codes.sides],
        figures=asdict(figures),
    )
    document = json.dumps({"version": VERSION, **vars(header)}).encode()
    schema = KEPT.with_metadata({_HEADER: document, _CRC: _crc(document, rows)})
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema, options=_OPTIONS) as to:
        to.write(rows)
    return True


def _fields(point: CountingPoint) -> Iterable[Any]:
    return (
        point.metro, point.exporter, point.interface, point.role, point.provider_asn,
        point.direction,
    )  # fmt: skip


def read(path: Path, sha256: str) -> tuple[KeptSums, pa.RecordBatch] | None:
    """What `write` wrote for the flow file of a digest; None where there is nothing of use."""
    try:
        with pa.memory_map(str(path)) as source, pa.ipc.open_file(source) as file:
            metadata, rows = file.schema.metadata, file.get_batch(0)
            rows.validate(full=True)
        if not rows.schema.equals(KEPT) or metadata[_CRC] != _crc(metadata[_HEADER], rows):
            return None
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException):
        return None
    document = json.loads(metadata[_HEADER])
    if document.pop("version") != VERSION or document["sha256"] != sha256:
        return None
    return KeptSums(**document), rows


def agree(
    kept: tuple[KeptSums, pa.RecordBatch], numbers: Ints, codes: Codes,
    again: tuple[HourFigures, pa.RecordBatch | None],
) -> bool:  # fmt: skip
    """Whether sums are those that the records give again.

    numbers: as `KeptSums.numbers` gives them of what was kept.
    again: the figures of a file and its `KEPT` columns, with the numbers of `codes`.
    """
    header, rows = kept
    bits = np.uint64(codes.route_bits + codes.local_bits + 1)
    keys = rows.column("key").to_numpy()
    side = (keys & np.uint64((1 << SLOT_BIT) - 1)) >> bits
    if again[1] is None or (side.size and side.max() >= len(numbers)):
        return False
    keys = keys - (side << bits) + (numbers.view(np.uint64)[side] << bits)
    found = rows.set_column(0, KEPT.field("key"), pa.array(keys))
    return header.figures == asdict(again[0]) and found.sort_by("key").equals(
        again[1].sort_by("key")
    )
