"""Tables of the lake as SQL reads them: the SELECT of each over the files that are there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path

from flowpeer.lake import older_layouts
from flowpeer.lake.listing import Groups, files_by_layout
from flowpeer.lake.record import Record
from flowpeer.mirror import ON_DEMAND
from flowpeer.schema import CROSSINGS, FORMAT, PARTITIONED, SUMS, TABLES
from flowpeer_core.asns import FOLDED
from flowpeer_core.columns import (
    ADDRESS,
    DAY,
    FLAG,
    INT,
    REAL,
    SMALL,
    TEXT,
    TIME,
    Kind,
    TableColumn,
)
from flowpeer_core.quoted import escape, literal

FILED_BY = {
    "flows": "received_at", "coverage": "slot", "traffic": "slot", "traffic_routes": "hour_start",
}  # fmt: skip
"""Tables with the time whose day (UTC) is that of their file's folder."""


def kinds(name: str) -> dict[str, str]:
    """The columns of a table with their types in SQL."""
    return {c.name: _sql_type(c) for c in TABLES[name]}


def relation(record: Record, name: str, *, by_week: bool = False) -> str:
    """The SELECT of a table over the files that are there now.

    With `by_week` it is a union of weeks, each with the bounds of its times: so a filter of times
    (`FILED_BY`), of which DuckDB derives no `date`, opens the files of its weeks alone.

    A pattern will not do: files that were merged or rolled up again lie beside the new ones until
    the grace is over, and would be counted twice; and DuckDB passes over what goes between listing
    and opening, so that an hour would be missing.

    Files of an object store that are not on this machine are brought when DuckDB opens them
    (`flowpeer.query.on_demand`).

    Raises:
        InputError: a manifest that cannot be read.
    """
    groups = files_by_layout(record, name, fetch=False)
    if by_week and name in FILED_BY:
        return _listed_by_week(name, groups)
    return _listed(name, _on_demand(record, groups))


def sums(record: Record, name: str, kept: Mapping[date, Path]) -> str:
    """The SELECT of a table of sums (`schema.SUMS`): the files of some days, which are `kept`, and
    the hours of all others.

    Raises:
        InputError: a manifest that cannot be read.
    """
    hours = to_sum(record, name, without=kept, fetch=False)
    if not kept:
        return hours
    paths = ", ".join(literal(escape(str(path))) for path in kept.values())
    options = "hive_partitioning = true, hive_types = {'date': DATE}"
    cells = ", ".join(_cells_of_sums(name).values())
    return f"{hours} UNION ALL SELECT {cells} FROM read_parquet([{paths}], {options}) AS r"  # noqa: S608


def to_sum(
    record: Record,
    name: str,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    without: Collection[date] = (),
    by_week: bool = False,
    fetch: bool = True,
) -> str:
    """As `sums` over the hours alone; arguments as of `files_by_layout` and `relation`."""
    listed = _listed_by_week if by_week else _listed

    def of(table: str) -> str:
        groups = files_by_layout(record, table, start=start, end=end, without=without, fetch=fetch)
        return listed(table, groups) if fetch else _listed(table, _on_demand(record, groups))

    cells = _cells_of_sums(name)
    if name == "route_days":
        cells |= {"since": "r.hour_start AS since", "hours": "1::BIGINT << r.hour AS hours"}
        return f"SELECT {', '.join(cells.values())} FROM ({of('traffic_routes')}) AS r"  # noqa: S608
    traffic = f"SELECT {', '.join(cells.values())} FROM ({of('traffic')}) AS r"  # noqa: S608
    if name == "traffic_slots":
        return traffic
    cells |= {
        "family": "CASE WHEN contains(r.prefix, ':') THEN 6 ELSE 4 END::INTEGER AS family",
        "remote_asn": "r.origin_asn AS remote_asn",
    }
    routes = f"SELECT {', '.join(cells.values())} FROM ({of('traffic_routes')}) AS r"  # noqa: S608
    return f"{traffic} WHERE r.remote_asn <> {FOLDED} UNION ALL {routes} WHERE r.folded"


def _cells_of_sums(name: str) -> dict[str, str]:
    """The columns of a table of sums, with the day of their folder."""
    cells = {c.name: f"r.{c.name}" for c in SUMS[name]}
    if name != "traffic_slots":
        return {**cells, "day": "r.date AS day"}
    return {**cells, "date": "r.date"}


def no_crossings(reason: str) -> str:
    """The SELECT of `crossings` that ends with an error for whoever reads of it."""
    error = f"error({literal(reason)})"
    cells = ", ".join(f"{error}::{_sql_type(c)} AS {c.name}" for c in CROSSINGS)
    return f"SELECT {cells} WHERE {error}::BOOLEAN"


def crossings(files: Sequence[Path]) -> str:
    """The SELECT of `crossings` over files of them."""
    if not files:
        empty = ", ".join(f"NULL::{_sql_type(c)} AS {c.name}" for c in CROSSINGS)
        return f"SELECT {empty} WHERE false"
    names = ", ".join(literal(escape(str(file))) for file in files)
    cells = ", ".join(f"r.{c.name}" for c in CROSSINGS)
    return f"SELECT {cells} FROM read_parquet([{names}], hive_partitioning = false) AS r"  # noqa: S608


_Listed = Sequence[tuple[int, Sequence[Path | str]]]
"""Files by layout, as DuckDB is to open them."""


def _on_demand(record: Record, groups: Groups) -> _Listed:
    """Files, those of an object store that are not here as such that are brought when opened."""
    if record.lake.remote is None:
        return groups
    return [
        (number, [file if file.exists() else f"{ON_DEMAND}{file}" for file in files])
        for number, files in groups
    ]


def _listed(name: str, groups: _Listed) -> str:
    """The SELECT of a table over some files."""
    if groups:
        parts = (
            _reading(name, number, f"[{', '.join(literal(escape(str(f))) for f in files)}]")
            for number, files in groups
        )
        return " UNION ALL ".join(parts)
    return empty(name)


def _listed_by_week(name: str, groups: Groups) -> str:
    """As `_listed`, with the bounds of each week."""
    parts = []
    for number, files in groups:
        time = _names_in_files(name, number)[FILED_BY[name]]
        weeks: dict[date, list[Path]] = defaultdict(list)
        for file in files:
            day = date.fromisoformat(file.parts[-3].removeprefix("date="))
            weeks[day - timedelta(days=day.weekday())].append(file)
        parts += [
            f"{_listed(name, [(number, weeks[week])])} WHERE r.{time} >= TIMESTAMPTZ"
            f" '{week} 00:00:00+00' AND r.{time} < TIMESTAMPTZ"
            f" '{week + timedelta(days=7)} 00:00:00+00'"
            for week in sorted(weeks)
        ]  # fmt: skip
    return " UNION ALL ".join(parts) if parts else empty(name)


def empty(name: str) -> str:
    """The SELECT of a table that has no rows."""
    cells = [f"NULL::{_sql_type(c)} AS {c.name}" for c in TABLES[name]]
    if name in PARTITIONED:
        cells += ["NULL::DATE AS date", "NULL::INTEGER AS hour"]
    return f"SELECT {', '.join(cells)} WHERE false"


def _reading(name: str, number: int, files: str) -> str:
    stands = _names_in_files(name, number)
    # Qualified: a macro that reads the table may have a parameter of a column's name.
    cells = [f"r.{stands[c.name]} AS {c.name}" for c in TABLES[name]]
    options = "hive_partitioning = false"
    if name in PARTITIONED:
        options = "hive_partitioning = true, hive_types = {'date': DATE, 'hour': INTEGER}"
        cells += ["r.date", "r.hour"]
    source = f"read_parquet({files}, {options})"
    if number < FORMAT:  # columns added since are null
        nulls = (f"NULL::{_sql_type(c)} AS {stands[c.name]}" for c in TABLES[name])
        source = (
            f"(SELECT {', '.join(nulls)} WHERE false UNION ALL BY NAME "  # noqa: S608
            f"SELECT * FROM read_parquet({files}, {options}, union_by_name = true))"
        )
    return f"SELECT {', '.join(cells)} FROM {source} AS r"  # noqa: S608


def _names_in_files(name: str, number: int) -> dict[str, str]:
    """The columns of a table with their names in files of that layout."""
    old = older_layouts.RENAMED.get(name, {}) if number < FORMAT else {}
    return {c.name: old.get(c.name, c.name) for c in TABLES[name]}


def _sql_type(column: TableColumn) -> str:
    return _SQL_TYPES[column.kind]


_SQL_TYPES: dict[Kind, str] = {
    TEXT: "VARCHAR",
    INT: "BIGINT",
    SMALL: "INTEGER",
    REAL: "DOUBLE",
    FLAG: "BOOLEAN",
    TIME: "TIMESTAMP WITH TIME ZONE",
    DAY: "DATE",
    ADDRESS: "BLOB",
}
