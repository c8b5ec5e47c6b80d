"""Files of the operator's own as tables: CSV, Parquet, JSON (a list or a line each) and XLSX."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from flowpeer.errors import InputError, UsageError

if TYPE_CHECKING:
    import polars as pl

ENDINGS = (".csv", ".tsv", ".parquet", ".json", ".jsonl", ".ndjson", ".xlsx")


def parse(word: str) -> tuple[str, Path]:
    """`name=FILE`, or a file whose name is the table's.

    Raises:
        UsageError: no name of a table, or no ending that is known.
    """
    name, separator, file = word.partition("=")
    path = Path(file if separator else word)
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
    path = Path(folder)
    if not path.is_dir():
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
        if not path.is_file():
            path.open("rb").close()  # says why
        frame = _READERS[path.suffix.lower()](path)
        columns = [
            pl.col(name).cast(pl.String) if dtype in (pl.Null, pl.Object) else pl.col(name)
            for name, dtype in frame.schema.items()
        ]
        frame.select(columns).write_parquet(into)
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
        raise InputError(str(path), f"cannot be read as a table: {reason}") from error
    except Exception as error:  # fastexcel has errors of its own, and no common base with ours
        if type(error).__module__.split(".")[0] not in ("fastexcel", "_fastexcel", "builtins"):
            raise
        reason = (str(error).strip().splitlines() or ["no table"])[0]
        raise InputError(str(path), f"cannot be read as a table: {reason}") from error


def _separated(separator: str) -> Callable[[Path], pl.DataFrame]:
    def read(path: Path) -> pl.DataFrame:
        import polars as pl

        return pl.read_csv(
            path, separator=separator, try_parse_dates=True, infer_schema_length=None, glob=False
        )

    return read


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
    ".csv": _separated(","), ".tsv": _separated("\t"), ".parquet": _parquet, ".json": _json,
    ".jsonl": _json, ".ndjson": _json, ".xlsx": _xlsx,
}  # fmt: skip
