"""Rows out of CSV, JSON and Parquet files, in chunks whose size is bounded.

Cells of CSV and JSON come as text. Lines that are no rows are counted, with the first of them
named; a file that is none of these at all is an error.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

import polars as pl
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from flowpeer_ingest.errors import IngestError

BLOCK = 8 << 20
"""Octets read at a time: some 20,000 rows of JSON, 60,000 of CSV."""
MAX_LINE = 1 << 20
"""A row of 1 MiB is no flow."""
HEAD = 1 << 16
"""Octets looked at to tell what a file is; a header line with all columns has some hundreds."""
PARQUET_ROWS = 131_072
_NFDUMP_EMPTY = b"No matching flows"
_DELIMITERS = ",\t;|"
_BETWEEN = re.compile(rb"\}\s*,\s*\{")


@dataclass
class FileRows:
    """A file's rows: `names` of its columns, then `frames`; counters grow while they are read."""

    names: list[str]
    frames: Iterator[pl.DataFrame]
    lines: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    warnings: list[str] = field(default_factory=list)

    def bad(self, reason: str, line: int) -> None:
        """Count a line that is no row."""
        self.rejected[reason] += 1
        if self.rejected[reason] == 1:
            self.warnings.append(f"line {line}: {reason}")


def parquet_rows(path: str, wanted: set[str]) -> FileRows:
    """Rows of a Parquet file, only the columns whose names in lower case are `wanted`."""
    try:
        file = pq.ParquetFile(path)
        names = list(file.schema_arrow.names)
    except (OSError, pa.ArrowException) as error:
        raise IngestError(
            f"not a readable Parquet file: {str(error).splitlines()[0]}", path=path,
            advice="write the file again, or give it as CSV",
        ) from None  # fmt: skip

    def frames() -> Iterator[pl.DataFrame]:
        columns = _wanted(names, wanted, path)
        try:
            for batch in file.iter_batches(batch_size=PARQUET_ROWS, columns=columns):
                frame = pl.from_arrow(pa.Table.from_batches([batch]))
                assert isinstance(frame, pl.DataFrame)
                yield frame
        except (OSError, pa.ArrowException) as error:
            raise IngestError(
                f"damaged Parquet file: {str(error).splitlines()[0]}", path=path,
                advice="write the file again",
            ) from None  # fmt: skip
        finally:
            file.close()

    return FileRows(names, frames())


def delimited_names(head: bytes) -> tuple[list[str], str]:
    """(column names, delimiter) of the header line of a CSV file, ([], "") if it has none."""
    line = head.removeprefix(b"\xef\xbb\xbf").split(b"\n", 1)[0].rstrip(b"\r")
    try:
        text = line.decode()
    except UnicodeDecodeError:
        return [], ""
    delimiter = max(_DELIMITERS, key=text.count)
    if delimiter not in text:
        return [], ""
    try:
        # A carriage return alone ends no line: of the header it is a blank.
        names = next(csv.reader([text.replace("\r", " ")], delimiter=delimiter), [])
    except csv.Error:
        return [], ""
    return [n.strip().lstrip("#").strip() for n in names], delimiter


def _wanted(names: list[str], wanted: set[str], path: str) -> list[str]:
    """The columns to read. Raises IngestError where it is not clear which is meant."""
    columns = [n for n in names if n.lower() in wanted]
    for name, count in Counter(n.lower() for n in columns).items():
        if count > 1:
            raise IngestError(
                f"{count} columns are called {name!r}", path=path,
                advice="rename or leave out all but one of them",
            )  # fmt: skip
    return columns


class _Utf8:
    """A stream whose octets are UTF-8 whatever they were: the CSV reader has no other way."""

    closed = False

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode

    def read(self, size: int) -> bytes:
        """Not the end of the file unless empty; may be longer than `size` by what is replaced."""
        data = self._stream.read(max(size // 3, 1))
        return self._decode(data, final=not data).encode()

    def close(self) -> None:
        """The stream belongs to the caller."""


def delimited_rows(stream: BinaryIO, path: str, wanted: set[str]) -> FileRows:
    """Rows of a CSV file with a header line."""
    names, delimiter = delimited_names(stream.readline(HEAD))
    rows = FileRows(names, iter(()))
    columns = _wanted(names, wanted, path)

    ended = False

    def skip(row: pa.csv.InvalidRow) -> str:
        nonlocal ended
        # nfdump ends its CSV with a summary of another shape.
        ended = ended or row.text == "Summary"
        if not ended:
            rows.bad(
                f"{row.actual_columns} instead of {row.expected_columns} cells", row.number or 0
            )
        return "skip"

    def frames() -> Iterator[pl.DataFrame]:
        try:
            reader = pa.csv.open_csv(
                pa.PythonFile(_Utf8(stream), "r"),
                read_options=pa.csv.ReadOptions(
                    column_names=names, block_size=BLOCK, use_threads=False
                ),
                parse_options=pa.csv.ParseOptions(
                    delimiter=delimiter, invalid_row_handler=skip, newlines_in_values=False
                ),
                convert_options=pa.csv.ConvertOptions(
                    column_types=dict.fromkeys(columns, pa.string()),
                    include_columns=columns,
                    strings_can_be_null=False,
                ),
            )
            for batch in reader:
                frame = pl.from_arrow(pa.Table.from_batches([batch]))
                assert isinstance(frame, pl.DataFrame)
                rows.lines += len(frame)
                yield frame
        except pa.ArrowException as error:
            if "Empty CSV" in str(error):
                return
            raise IngestError(
                f"not readable as CSV: {str(error).splitlines()[0]}", path=path,
                advice="rows in UTF-8, one a line, with as many cells as the header",
            ) from None  # fmt: skip

    rows.frames = frames()
    return rows


def json_names(head: bytes) -> list[str]:
    """The keys of the first object of a JSON file (lines, or an array), [] if there is none."""
    start = head.find(b"{")
    if start < 0 or head[:start].removeprefix(b"\xef\xbb\xbf").strip() not in (b"", b"["):
        return []
    try:
        first, _ = json.JSONDecoder().raw_decode(head[start:].decode(errors="replace"))
    except (ValueError, RecursionError):
        return []
    return list(first) if isinstance(first, dict) else []


def json_rows(stream: BinaryIO, path: str, names: list[str], wanted: set[str]) -> FileRows:
    """Rows of JSON objects, one a line or in one array.

    `wanted`: the keys to read, in lower case; they are looked for as they stand in the first
    object (`names`), and as they are.
    """
    keys = {name.lower(): name for name in names}
    schema = pl.Schema({keys.get(w, w): pl.String() for w in sorted(wanted)})
    rows = FileRows(names, iter(()))

    def frames() -> Iterator[pl.DataFrame]:
        for block in _lines(stream, path):
            frame = _parsed(block, schema, rows)
            rows.lines += block.count(b"\n")
            if len(frame):
                yield frame

    rows.frames = frames()
    return rows


def _lines(stream: BinaryIO, path: str) -> Iterator[bytes]:
    """Blocks of whole lines, each one object, also out of an array of objects."""
    rest = stream.read(BLOCK).removeprefix(b"\xef\xbb\xbf")
    array = rest.lstrip()[:1] == b"["
    if array:
        rest = rest.lstrip()[1:]
    while more := stream.read(BLOCK):  # what one block holds is one frame
        block, rest = _cut(rest + more, array=array)
        if block:
            yield block
        if len(rest) > MAX_LINE + BLOCK:
            raise IngestError(
                f"a row of more than {MAX_LINE} octets", path=path, advice="give one object a line"
            )
    block, rest = _cut(rest, array=array)
    if array:
        rest = rest.rstrip().removesuffix(b"]").replace(b"\n", b" ")
    if rest.strip() not in (b"", _NFDUMP_EMPTY):
        block += rest.rstrip() + b"\n"
    if block:
        yield block


def _cut(data: bytes, *, array: bool) -> tuple[bytes, bytes]:
    """(objects as lines, what is behind the last that is whole)."""
    if array:
        return _objects(data)
    cut = data.rfind(b"\n") + 1
    return data[:cut], data[cut:]


def _objects(data: bytes) -> tuple[bytes, bytes]:
    """(whole objects of an array as lines, what is behind the last of them)."""
    parts = _BETWEEN.split(data)
    if len(parts) < 2:
        return b"", data
    whole = [p.replace(b"\n", b" ") for p in parts[:-1]]
    first = whole[0]
    lines = [first + b"}", *(b"{" + p + b"}" for p in whole[1:])]
    return b"\n".join(lines) + b"\n", b"{" + parts[-1]


def _parsed(block: bytes, schema: pl.Schema, rows: FileRows) -> pl.DataFrame:
    try:
        # Behind an empty line, or polars would unpack, without a bound, what begins like a zstd
        # or gzip file.
        return pl.read_ndjson(io.BytesIO(b"\n" + block), schema=schema)
    except pl.exceptions.PolarsError:
        good = list(_good(block.split(b"\n"), rows))
        if not good:
            return pl.DataFrame(schema=schema)
        return pl.read_ndjson(io.BytesIO(b"\n".join(good)), schema=schema)


def _number(text: str) -> float | int | str:
    """As text where another parser has no such number: 1e400, 400 digits."""
    number = float(text)
    if not math.isfinite(number) or len(text) > 300:
        return text
    return int(text) if text.lstrip("-").isdecimal() else number


_JSON = json.JSONDecoder(
    parse_float=_number, parse_int=_number, parse_constant=str,
    object_pairs_hook=lambda pairs: dict(reversed(pairs)),  # of a key twice the first holds
)  # fmt: skip


def _good(lines: Iterable[bytes], rows: FileRows) -> Iterator[bytes]:
    for number, line in enumerate(lines, rows.lines + 1):
        if not line.strip():
            continue
        try:
            value = _JSON.decode(line.decode())
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, dict):
            # Written again, without what Python reads and another parser does not: deep nesting,
            # half of a surrogate pair.
            flat = {k: v for k, v in value.items() if not isinstance(v, (dict, list))}
            yield json.dumps(flat, ensure_ascii=False).encode(errors="replace")
        else:
            rows.bad("not a JSON object", number)
