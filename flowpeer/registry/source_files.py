"""Reading the registries' files: any compression, bounded, with errors that name the file."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from flowpeer.errors import InputError
from flowpeer_ingest.decompress import open_unpacked
from flowpeer_ingest.errors import IngestError

MAX_OCTETS = 1 << 29
"""Unpacked. PeeringDB as a whole is some 150 MB, all AS names 6 MB."""


def read_all(path: Path) -> bytes:
    """The unpacked content of `path`.

    Raises:
        InputError: it cannot be read or unpacked, or is larger than `MAX_OCTETS`.
    """
    try:
        with open_unpacked(path) as stream:
            data = stream.read(MAX_OCTETS + 1)
    except IngestError as e:
        raise InputError(e.path or str(path), e.what, offset=e.offset, advice=e.advice) from e
    if len(data) > MAX_OCTETS:
        raise InputError(
            str(path),
            f"unpacks to more than {MAX_OCTETS} octets",
            advice="check that this is the file you mean",
        )
    return data


def time_of(path: Path) -> str:
    """When a file or folder was last changed, ISO 8601 in UTC."""
    return datetime.fromtimestamp(int(path.stat().st_mtime), UTC).isoformat()


def parse_json(data: bytes, name: str, *, advice: str = "") -> object:
    """A JSON document.

    Raises:
        InputError: it is none, or nested too deep.
    """

    def refuse(word: str) -> object:
        raise ValueError(f"{word} is not JSON")

    try:
        found: object = json.loads(data, parse_constant=refuse)
    except json.JSONDecodeError as error:
        raise InputError(
            name, f"not JSON: {error.msg}", offset=error.pos, line=error.lineno, advice=advice
        ) from None
    except (ValueError, RecursionError) as error:
        what = "nested too deep" if isinstance(error, RecursionError) else str(error)
        raise InputError(name, f"not JSON: {what[:200]}", advice=advice) from None
    return found
