"""What the decoder knew after a segment: the record that this segment is done.

`state-<n>.z`, n counting up, is written after the segment's files are published and before the
segment is removed. A start takes the newest good one: the segment that it names is done, all
others in the spool are decoded from there, with the same result as before a crash. The last two
are kept, so that one unreadable file costs nothing but doing a segment again.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flowpeer_ingest.decoder import Decoder
from flowpeer_ingest.spool import sync_folder
from flowpeer_ingest.wire.saved import restore, snapshot

KEPT = 2
UNREADABLE = (
    ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError
)  # fmt: skip
MAX_STATE_OCTETS = 1 << 30
_MAGIC = b"flowpeer state 1\n"
_PREFIX = "state-"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A decoder's memory, and the unit after which it was taken ("": none yet)."""

    serial: int
    unit: str
    document: bytes

    @classmethod
    def of(cls, decoder: Decoder, serial: int, unit: str) -> Checkpoint:
        """What `decoder` knows now."""
        document = {
            "unit": unit,
            "wire": snapshot(decoder.wire.state),
            "last_seen_us": decoder.last_seen_us,
        }
        text = json.dumps(document, separators=(",", ":"), default=_octets)
        return cls(serial, unit, text.encode())

    def apply(self, decoder: Decoder) -> None:
        """Make `decoder` know this, and nothing else.

        Raises one of UNREADABLE for a document that no `of` made.
        """
        document = json.loads(self.document, object_hook=_from_octets)
        state = restore(document["wire"], decoder.wire.state.configured)
        seen = document.get("last_seen_us", document.get("heard", {}))
        last_seen_us = {str(address): int(us) for address, us in seen.items()}
        decoder.wire.state = state
        decoder.last_seen_us = last_seen_us
        decoder.columns.clear()

    def save(self, folder: Path) -> None:
        """Write it atomically, and let go of older ones."""
        packed = zlib.compress(self.document, 1)
        target = folder / f"{_PREFIX}{self.serial:012d}.z"
        temporary = folder / f"{_PREFIX}new"
        with temporary.open("wb") as file:
            file.write(_MAGIC + zlib.crc32(packed).to_bytes(4, "big") + packed)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)  # noqa: PTH105
        sync_folder(folder)
        for old in _files(folder)[:-KEPT]:
            old.unlink(missing_ok=True)


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"{_PREFIX}*.z"))


def latest(
    folder: Path, decoder: Decoder, *, done: Callable[[str], bool] = lambda unit: True
) -> tuple[Checkpoint, list[Path]]:
    """The newest good checkpoint, applied to `decoder`, and the files that are not readable.

    One whose unit is not `done` was taken too early, and is removed. Where there is none the
    decoder starts empty.
    """
    bad: list[Path] = []
    (folder / f"{_PREFIX}new").unlink(missing_ok=True)
    for path in reversed(_files(folder)):
        try:
            checkpoint = _load(path)
            if not done(checkpoint.unit):
                path.unlink()
                continue
            checkpoint.apply(decoder)
        except (*UNREADABLE, OSError):
            bad.append(path)
            continue
        return checkpoint, bad
    return Checkpoint.of(decoder, len(bad) and _serial(bad[0]), ""), bad


def _load(path: Path) -> Checkpoint:
    octets = path.read_bytes()
    body = octets[len(_MAGIC) + 4 :]
    stated = int.from_bytes(octets[len(_MAGIC) : len(_MAGIC) + 4], "big")
    if not octets.startswith(_MAGIC) or zlib.crc32(body) != stated:
        raise ValueError("not a checkpoint")
    unpack = zlib.decompressobj()
    try:
        document = unpack.decompress(body, MAX_STATE_OCTETS)
    except zlib.error as error:
        raise ValueError(str(error)) from None
    if unpack.unconsumed_tail or not unpack.eof:
        raise ValueError("a checkpoint beyond its bound")
    return Checkpoint(_serial(path), str(json.loads(document)["unit"]), document)


def _serial(path: Path) -> int:
    return int(path.name.removeprefix(_PREFIX).removesuffix(".z"))


def _octets(value: object) -> dict[str, str]:
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    raise TypeError(type(value).__name__)


def _from_octets(document: dict[str, Any]) -> Any:
    if document.keys() == {"hex"}:
        return bytes.fromhex(document["hex"])
    return document
