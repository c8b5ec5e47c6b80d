"""Files of sums by slot and route, which are read where they lie: the sums as the compiled core has
them in memory, in the order of their keys, then a header, its length and a checksum."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from flowpeer.errors import naming
from flowpeer.rollup.sums import ENTRIES, Entries
from flowpeer_core.native.checksum import crc32

_LENGTH, _CRC = 8, 4
"""Octets of the header's length and of the CRC-32 of all before, at the end."""


@dataclass(frozen=True, slots=True)
class SumFile:
    """Sums that lie in a file, and the header that was written with them."""

    entries: Entries
    header: bytes


def write(path: Path, entries: Entries, header: bytes = b"") -> None:
    """Write sums, and `header` with them.

    Raises:
        OSError: no room.
    """
    octets, after = entries.view(np.uint8), header + len(header).to_bytes(_LENGTH)
    crc = crc32(np.frombuffer(after, np.uint8), crc32(octets))
    with naming(path), path.open("wb") as file:
        file.write(octets.data)
        file.write(after + crc.to_bytes(_CRC))


def read(path: Path) -> SumFile | None:
    """What was written; None where it is not there, or is something else."""
    try:
        with pa.memory_map(str(path)) as file:
            octets = np.frombuffer(file.read_buffer(), np.uint8)
    except (OSError, ValueError, pa.ArrowException):
        return None
    body, crc = octets[:-_CRC], octets[-_CRC:].tobytes()
    if len(body) < _LENGTH or crc32(body).to_bytes(_CRC) != crc:
        return None
    sums, length = body[:-_LENGTH], int.from_bytes(body[-_LENGTH:].tobytes())
    if length > len(sums) or (len(sums) - length) % ENTRIES.itemsize:
        return None
    at = len(sums) - length
    return SumFile(sums[:at].view(ENTRIES), sums[at:].tobytes())
