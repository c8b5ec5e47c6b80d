"""Files of the operator's own as tables: CSV, Parquet, JSON (a list or a line each) and XLSX."""

from __future__ import annotations

import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowpeer.errors import FlowpeerError, InputError, UsageError

if TYPE_CHECKING:
    import polars as pl

ENDINGS = (".csv", ".tsv", ".parquet", ".json", ".jsonl", ".ndjson", ".xlsx")


def parse(word: str) -> tuple[str, Path]:
    """`name=FILE`, or a file whose name is the table's.

    Raises:
        UsageError: no name of a table, or no ending that is known.
    """
    name, separator, file = word.partition("=")
    path = Path(file if separator else word).expanduser()
    name = name if separator else path.stem
    if not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII):
        raise UsageError(
            f"--attach {word!r}: {name!r} is no name of a table",
            advice="write it like --attach accounts=accounts.csv",
        )
    if path.suffix.lower() not in ENDINGS:
        raise UsageError(
            f"--attach {word!r}: {path.name} ends in none of {', '.join(ENDINGS)}",
            advice="save it as CSV, Parquet, JSON or XLSX",
        )
    return name, path


def parse_all(word: str) -> list[tuple[str, Path]]:
    """As `parse`; of a folder every Parquet file by its name, behind `name_` where one is given:
    the answers that `--out FOLDER --format parquet` wrote there.

    Raises:
        UsageError: as `parse`, or a folder without any.
    """
    name, separator, folder = word.rpartition("=")
    path = Path(folder).expanduser()
    if not folder or not path.is_dir():
        return [parse(word)]
    files = sorted(f for f in path.glob("*.parquet") if f.is_file())
    if not files:
        raise UsageError(
            f"--attach {word!r}: no Parquet file in that folder",
            advice=f"`flowpeer report {folder} --format parquet` writes answers there",
        )
    return [parse(f"{name}_{f.stem}={f}" if separator else f"{f.stem}={f}") for f in files]


def to_parquet(path: Path, into: Path) -> None:
    """Write the table in `path` as a Parquet file.

    Raises:
        InputError: a file that cannot be read, or a library that reads it is not installed.
    """
    import polars as pl

    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise InputError(str(path), "is no file", advice="save what it gives as a file")
        frame = _READERS[path.suffix.lower()](path)
        if not frame.width:
            raise InputError(str(path), "has no columns", advice="give it one, by its name")
        lengths = pl.selectors.duration().dt.total_microseconds().cast(pl.String)
        frame = frame.with_columns(lengths + " microseconds")
        frame.cast({n: _readable(dtype) for n, dtype in frame.schema.items()}).write_parquet(into)
    except FlowpeerError:
        raise
    except OSError as error:
        raise InputError(str(path), error.strerror or str(error).splitlines()[0]) from error
    except ImportError as error:
        raise InputError(
            str(path),
            f"{error.name or error} is not installed",
            advice="pip install flowpeer[report]",
        ) from error
    except (pl.exceptions.PolarsError, ValueError, TypeError) as error:
        reason = (str(error).strip().splitlines() or ["no table"])[0]
        advice = "save it in UTF-8" if "utf-8" in reason else ""
        raise InputError(
            str(path), f"cannot be read as a table: {reason}", advice=advice
        ) from error
    except Exception as error:  # fastexcel has errors of its own, and no common base with ours
        if type(error).__module__.split(".")[0] not in ("fastexcel", "_fastexcel", "builtins"):
            raise
        reason = (str(error).strip().splitlines() or ["no table"])[0]
        raise InputError(str(path), f"cannot be read as a table: {reason}") from error


def _readable(dtype: Any) -> Any:
    """The type that DuckDB reads from Parquet as the same values: integers beyond 64 bits would
    come as octets."""
    import polars as pl

    if dtype in (pl.Null, pl.Object, pl.Int128, pl.UInt128):
        return pl.String()
    if isinstance(dtype, pl.List):
        return pl.List(_readable(dtype.inner))
    if isinstance(dtype, pl.Array):
        return pl.List(_readable(dtype.inner))
    if isinstance(dtype, pl.Struct):
        return pl.Struct({field.name: _readable(field.dtype) for field in dtype.fields})
    return dtype


def _separated(path: Path) -> pl.DataFrame:
    """Comma or tab by the ending; where the first line has no comma, what else it has."""
    import polars as pl

    with path.open("rb") as file:
        first = file.read(1 << 16).split(b"\n")[0]
    if first.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InputError(str(path), "is UTF-16", advice="save it as CSV in UTF-8")
    separator = "\t" if path.suffix.lower() == ".tsv" else ","
    if separator == "," and b"," not in first:
        separator = next((s for s in (";", "\t") if s.encode() in first), ",")
    frame = pl.read_csv(
        path, separator=separator, try_parse_dates=True, infer_schema_length=None, glob=False
    )
    # Polars leaves the quotation marks of a heading doubled.
    return frame.rename({n: n.replace('""', '"') for n in frame.columns if '""' in n})


def _json(path: Path) -> pl.DataFrame:
    import polars as pl

    with path.open("rb") as file:
        start = file.read(4096).lstrip(b"\xef\xbb\xbf \t\r\n")
    if start.startswith(b"["):
        return pl.read_json(path, infer_schema_length=None)
    return pl.read_ndjson(path, infer_schema_length=None)


def _xlsx(path: Path) -> pl.DataFrame:
    import polars as pl

    return pl.read_excel(path, engine="calamine", infer_schema_length=None)


def _parquet(path: Path) -> pl.DataFrame:
    import polars as pl

    return pl.read_parquet(path, glob=False)


_READERS: dict[str, Callable[[Path], pl.DataFrame]] = {
    ".csv": _separated, ".tsv": _separated, ".parquet": _parquet, ".json": _json,
    ".jsonl": _json, ".ndjson": _json, ".xlsx": _xlsx,
}  # fmt: skip
