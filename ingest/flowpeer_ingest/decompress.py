"""Bounded streaming decompression, recognised by the first octets and never by the file's name.

A compressed file may unpack to anything, so what comes out is bounded twice: in octets, and in
proportion to what went in. Both bounds are far above real captures and routing tables.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import signal
import sys
import zlib
from pathlib import Path
from typing import BinaryIO, Protocol

import pyarrow as pa

from flowpeer_ingest.errors import IngestError

LIMIT_BYTES = 8 << 30
"""A day of one router's export; more than the bound is asked for by splitting the capture."""
RATIO = 200
"""Export packets and routing tables shrink 3 to 20 times; deflate's own limit is 1032."""
RATIO_FLOOR = 64 << 20
"""Small files may have any ratio: a few megabytes of zeros harm nobody."""
BUFFER = 1 << 18

_MAGIC = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\x28\xb5\x2f\xfd": "zstd"}
_UNSUPPORTED = {
    b"\xfd7zXZ\x00": "xz",
    b"PK\x03\x04": "zip",
    b"7z\xbc\xaf": "7z",
    b"\x04\x22\x4d\x18": "lz4",
}
_HEAD = 6


class _Readable(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


class CompressedFile(io.RawIOBase):
    """The file as it lies on disk: counts and digests each octet that passes."""

    def __init__(self, path: str | Path) -> None:
        self.name = str(path)
        self.offset = 0
        self._hash = hashlib.sha256()
        self._stdin = self.name == "-"
        # Polars has interrupted reads begin again, and one from an empty pipe never ends by itself.
        signal.siginterrupt(signal.SIGINT, True)
        try:
            self._file: _Readable = sys.stdin.buffer
            if not self._stdin:
                self._file = Path(path).open("rb")  # noqa: SIM115 (closed by close)
            self.head = self._take(_HEAD)
        except OSError as e:
            raise IngestError(
                f"cannot be read: {e.strerror or e}",
                path=self.name,
                advice="check the path and its permissions",
            ) from e
        self._held = self.head

    def _take(self, size: int) -> bytes:
        """`size` octets, fewer only at the end: pipes give what they have."""
        parts: list[bytes] = []
        while size > 0:
            part = self._file.read(size)
            if not part:
                break
            parts.append(part)
            size -= len(part)
        data = b"".join(parts)
        self.offset += len(data)
        self._hash.update(data)
        return data

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        """Up to `size` octets (all for -1)."""
        if self._held:
            data, self._held = self._held, b""
            if 0 <= size < len(data):
                data, self._held = data[:size], data[size:]
            return data
        return self._take(size if size >= 0 else sys.maxsize) if size else b""

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def digest(self) -> str:
        """sha256 of the whole file in hex; reads what nobody has read yet."""
        while self._take(BUFFER):
            pass
        return self._hash.hexdigest()

    def close(self) -> None:
        if not self.closed and not self._stdin and isinstance(self._file, io.IOBase):
            self._file.close()
        super().close()


class _Unpacker(io.RawIOBase):
    """What a decompressor gives, within bounds, with its faults named."""

    def __init__(
        self, source: CompressedFile, kind: str, limit_bytes: int, ratio: int, ratio_floor: int
    ) -> None:
        self.source = source
        self.kind = kind
        self._bounds = limit_bytes, ratio, ratio_floor
        self._out = 0
        self._stream = _decompressor(source, kind)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        try:
            data = self._stream.read(len(buffer))
        except (OSError, EOFError, zlib.error, pa.ArrowException) as e:
            short = isinstance(e, EOFError) or "runcated" in str(e)
            raise IngestError(
                f"{self.kind} data {'is cut short' if short else 'is damaged'}",
                path=self.source.name,
                offset=self.source.offset,
                advice="fetch the file again, or repair it with the tool that packed it",
            ) from e
        self._out += len(data)
        limit, ratio, floor = self._bounds
        if self._out > limit:
            self._refuse(f"unpacks to more than {limit} octets")
        if self._out > floor and self._out > ratio * self.source.offset:
            self._refuse(f"unpacks to more than {ratio} times its size")
        buffer[: len(data)] = data
        return len(data)

    def _refuse(self, what: str) -> None:
        raise IngestError(
            f"{self.kind} data {what}",
            path=self.source.name,
            offset=self.source.offset,
            advice="if it is genuine, unpack it yourself and give the plain file",
        )

    def close(self) -> None:
        self.source.close()
        super().close()


def _decompressor(source: CompressedFile, kind: str) -> _Readable:
    raw = io.BufferedReader(source, BUFFER)
    if kind == "gzip":
        return gzip.GzipFile(fileobj=raw, mode="rb")
    if kind == "bzip2":
        return bz2.BZ2File(raw, "rb")
    stream: _Readable = pa.CompressedInputStream(pa.PythonFile(raw, "r"), "zstd")
    return stream


def open_source(
    path: Path | str,
    *,
    limit_bytes: int = LIMIT_BYTES,
    ratio: int = RATIO,
    ratio_floor: int = RATIO_FLOOR,
) -> tuple[BinaryIO, CompressedFile]:
    """As `open_unpacked`, and the file on disk beside it for its digest and progress."""
    source = CompressedFile(path)
    for magic, name in _UNSUPPORTED.items():
        if source.head.startswith(magic):
            source.close()
            raise IngestError(
                f"{name} archives are not read",
                path=source.name,
                offset=0,
                advice="unpack it, or pack it with gzip, bzip2 or zstd",
            )
    kind = next((kind for magic, kind in _MAGIC.items() if source.head.startswith(magic)), "")
    if not kind:
        return io.BufferedReader(source, BUFFER), source
    unpacker = _Unpacker(source, kind, limit_bytes, ratio, ratio_floor)
    return io.BufferedReader(unpacker, BUFFER), source


def open_unpacked(
    path: Path | str,
    *,
    limit_bytes: int = LIMIT_BYTES,
    ratio: int = RATIO,
    ratio_floor: int = RATIO_FLOOR,
) -> BinaryIO:
    """The content of `path` as a buffered stream: plain, gzip, bzip2 or zstd; "-" is stdin.

    Reading raises `IngestError` where compressed data is damaged, is cut short, unpacks to more
    than `limit_bytes` octets, or to more than `ratio` times what was read once `ratio_floor`
    octets have come out. Opening raises it where the file cannot be opened.
    """
    return open_source(path, limit_bytes=limit_bytes, ratio=ratio, ratio_floor=ratio_floor)[0]
