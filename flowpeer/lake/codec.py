"""Documents of the record as octets: lines of JSON, the last one the digest of all before it.

A document can be read with any tool that reads JSON lines. The header is parsed alone where only
that is asked for; the digest is always compared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from threading import Lock
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from flowpeer.errors import InputError
from flowpeer.lake.manifest import File, Header, Manifest
from flowpeer.lake.units import UnitRecord

T = TypeVar("T")
S = TypeVar("S")
_SEAL = b'{"sha256":"'
MOST_WRITTEN = 8
"""Manifests that are remembered once they are written: of the tables of an hour and the next."""
_WRITTEN: dict[str, tuple[str, Manifest]] = {}
_WRITING = Lock()
_SEAL_OCTETS = len(_SEAL) + 64 + len(b'"}\n')


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def prepare() -> None:
    """Make everything that reading needs, for a process that can import nothing afterwards."""
    for kind in (Header, File, UnitRecord):
        _adapter(kind)


def _line(value: object) -> bytes:
    kind: Any = type(value)
    return _adapter(kind).dump_json(value, exclude_defaults=True) + b"\n"


def encode(header: Header, lines: Iterable[File] | Iterable[UnitRecord]) -> bytes:
    """A manifest or a bucket."""
    return encode_lines(header, *lines)


def encode_next(before: Manifest, made: Manifest, where: str) -> bytes:
    """The generation behind `before`, of which the lines of files that stay are known where this
    process wrote it. What is written is remembered, for `decode` of the same document."""
    known = before.lines or {}
    lines = {id(file): known.get(id(file)) or _line(file) for file in made.files}
    octets = _sealed(b"".join([_line(made.header), *lines.values()]))
    with _WRITING:
        _WRITTEN.pop(where, None)
        _WRITTEN[where] = version_of(octets), replace(made, lines=lines)
        if len(_WRITTEN) > MOST_WRITTEN:
            del _WRITTEN[next(iter(_WRITTEN))]
    return octets


def encode_lines(*values: object) -> bytes:
    """A document with a line for each of some dataclasses."""
    return _sealed(b"".join(map(_line, values)))


def _sealed(body: bytes) -> bytes:
    return body + _SEAL + hashlib.sha256(body).hexdigest().encode() + b'"}\n'


def version_of(octets: bytes) -> str:
    """What tells this content of a document from another: the digest that it carries."""
    return octets[-_SEAL_OCTETS:].decode("ascii", "replace")


def decode_header(octets: bytes, where: str) -> Header:
    """The header of a manifest. Raises as `decode_line`."""
    return decode_line(Header, octets, where)


def decode_line(kind: type[T], octets: bytes, where: str) -> T:
    """The first line of a document.

    Raises:
        InputError: the document is not what was written.
    """
    return cast("T", _parse(kind, _body(octets, where).split(b"\n", 1)[0], where))


def decode(octets: bytes, where: str) -> Manifest:
    """A manifest. Raises as `decode_line`."""
    version, written = _WRITTEN.get(where, ("", None))
    if written is not None and version == version_of(octets):
        _body(octets, where)
        return written
    header, files = decode_lines(octets, where, Header, File)
    return Manifest(header, tuple(files))


def decode_lines(octets: bytes, where: str, first: type[T], rest: type[S]) -> tuple[T, list[S]]:
    """A document whose first line is of another kind than the others. Raises as `decode_line`."""
    header, *lines = _body(octets, where).splitlines()
    return _parse(first, header, where), [_parse(rest, line, where) for line in lines]


def decode_units(octets: bytes, where: str) -> tuple[Header, dict[str, UnitRecord]]:
    """A bucket of `units`, by name. Raises as `decode_line`."""
    header, units = decode_lines(octets, where, Header, UnitRecord)
    return header, {unit.name: unit for unit in units}


def _body(octets: bytes, where: str) -> bytes:
    body, seal = octets[:-_SEAL_OCTETS], octets[-_SEAL_OCTETS:]
    stated = seal.removeprefix(_SEAL)[:64]
    if not body.endswith(b"\n") or hashlib.sha256(body).hexdigest().encode() != stated:
        raise _damaged(where)
    return body


def _parse(kind: Any, line: bytes, where: str) -> Any:
    try:
        return _adapter(kind).validate_json(line)
    except ValidationError:
        raise _damaged(where) from None


def _damaged(where: str) -> InputError:
    return InputError(
        where, "this manifest is not what was written",
        advice="`flowpeer adopt` makes it again from the files beside it",
    )  # fmt: skip
