"""DuckDB as it is used here: kept to the folders that it may read, and its errors as ours.

The process that runs queries imports this, so nothing but DuckDB is imported by it; and of DuckDB
its compiled module alone, since that of the same name in Python takes twice as long to start.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from flowpeer.errors import FlowpeerError, InputError, UsageError, is_interrupt
from flowpeer_core.quoted import escape, literal

if TYPE_CHECKING:
    import duckdb
else:
    try:
        import _duckdb as duckdb
    except ImportError:  # a release that calls it otherwise
        import duckdb

__all__ = ["MEMORY_SHARE", "begin", "duckdb", "lock", "named_errors"]

MEMORY_SHARE = "'60%'"
"""Of the machine's memory for one connection: a query shares it with what runs beside it."""

_NO_SETTINGS: Mapping[str, int | str] = MappingProxyType({})


def begin(con: duckdb.DuckDBPyConnection) -> None:
    """What holds for every connection: times are UTC, and no name is a variable of Python's."""
    con.execute("SET python_enable_replacements = false")
    con.execute("SET TimeZone = 'UTC'")


def lock(
    con: duckdb.DuckDBPyConnection,
    root: Path,
    private: Path,
    settings: Mapping[str, int | str] = _NO_SETTINGS,
    schemes: Collection[str] = (),
) -> None:
    """Reading below `root` alone, writing below `private` alone, and no setting changes any more;
    `settings` are DuckDB's, and `schemes` other ways to name what is below `root`."""
    # The escaped form is allowed too: DuckDB checks a pattern as if it were a path.
    places = {str(root), str(root.resolve()), escape(str(root)), str(private)}
    places |= {f"{scheme}{root}" for scheme in schemes}
    con.execute(f"SET allowed_directories = [{', '.join(map(literal, sorted(places)))}]")
    con.execute(f"SET temp_directory = {literal(str(private))}")
    for name, value in settings.items():
        con.execute(f"SET {name} = '{value}'")
    con.execute("SET autoinstall_known_extensions = false")
    con.execute("SET autoload_known_extensions = false")
    con.execute("SET enable_external_access = false")
    con.execute("SET lock_configuration = true")


@contextlib.contextmanager
def named_errors(sql: str, *, offset: int = 0, where: Path | None = None) -> Iterator[None]:
    """DuckDB's errors as ours: one line, with the place in the text `sql`, of which the statement
    starts at `offset`."""
    try:
        yield
    except FlowpeerError:
        raise
    except duckdb.InterruptException:
        raise KeyboardInterrupt from None
    except RuntimeError as error:
        if is_interrupt(error):
            raise KeyboardInterrupt from None
        raise
    except duckdb.OutOfMemoryException as error:
        raise UsageError(
            "the query needs more memory than it is allowed",
            advice="narrow it to fewer days or columns",
        ) from error
    except duckdb.PermissionException as error:
        raise UsageError(
            f"not allowed here: {_first_line(error)}", advice="only the lake can be read"
        ) from error
    except (duckdb.IOException, duckdb.InvalidInputException) as error:
        if where is None and not re.search(r"\.parquet\b|[Pp]arquet file", str(error)):
            raise UsageError(f"SQL{_place(error, sql, offset)}: {_first_line(error)}") from error
        raise InputError(
            str(where or "lake"), _first_line(error), advice="run `flowpeer verify`"
        ) from error
    except duckdb.Error as error:
        named = isinstance(error, (duckdb.BinderException, duckdb.CatalogException))
        raise UsageError(
            f"SQL{_place(error, sql, offset)}: {_first_line(error)}",
            advice="`flowpeer sql --list` names the tables and views" if named else "",
        ) from error


def _first_line(error: Exception) -> str:
    """The message without its class and without the echo of the statement, on one line."""
    text = str(error).split("\n\nLINE ")[0]
    text = re.sub(r"^[A-Z][A-Za-z ]* Error: ", "", text)
    # Macros refuse a value by a cast that fails, with the fault in its text (addresses.sql).
    text = re.sub(r"^Could not convert string '(.*\b(?:no|not an?) .*)' to INT\d+", r"\1", text)
    return " ".join(text.split())


def _place(error: Exception, sql: str, offset: int) -> str:
    """`, line 2, column 8` from DuckDB's echo of the line with a caret below it."""
    found = re.search(r"^(LINE (\d+): )(.*)\n( *)\^", str(error), re.MULTILINE)
    if found is None:
        return ""
    shift = len(found[4]) - len(found[1])
    echoed, number = found[3], int(found[2])
    lines = sql[offset:].splitlines()
    if echoed.startswith("...") and number <= len(lines):  # a long line is echoed from its middle
        at = lines[number - 1].find(echoed.strip(".")[:40])
        shift = shift - 3 + at if at >= 0 else -1
    if number == 1 and shift >= 0:
        shift += offset - (sql.rfind("\n", 0, offset) + 1)
    number += sql.count("\n", 0, offset)
    return f", line {number}" + (f", column {shift + 1}" if shift >= 0 else "")
