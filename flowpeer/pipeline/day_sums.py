"""Keeping the sums of days that questions over a quarter read (flowpeer.lake.day_sums)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from time import time as clock

from flowpeer.errors import InputError
from flowpeer.lake import day_sums
from flowpeer.lake.record import Record
from flowpeer.lake.relation import to_sum
from flowpeer.lake.staging import make_folder
from flowpeer.schema import SUMS
from flowpeer_core.quoted import literal

_ORDER = {"traffic_slots": "slot", "asn_days": "remote_asn", "route_days": "origin_asn"}
"""Whoever asks for one network opens a part of a file."""
ROW_GROUP = 20_480
MEMORY = "1GB"
GRACE_S = 3600
"""What was replaced stays so long: an answer that has begun still reads it."""


def renew(record: Record, *, stop: Callable[[], bool] = lambda: False) -> int:
    """Sum the days whose hours have changed since, or that were never summed; how many files. The
    day that goes on is read by its hours: each of them would have it summed again.

    Nothing happens where the lake cannot be changed, has no room or a damaged document. Days that
    others change meanwhile, or of which a file cannot be read, are left for later; of a lake on an
    object store, those too of which not every file is on this machine.

    Args:
        stop: asked before each file; the rest is left where it says so.
    """
    lake = record.lake
    made = 0
    with suppress(OSError, InputError):
        for name in SUMS:
            wanted = day_sums.files(record, name)
            for day, path in wanted.items():
                if stop() or not lake.writable:
                    return made
                over = clock() >= datetime.combine(day + timedelta(days=1), time(), UTC).timestamp()
                if over and not path.is_file() and _is_here(record, name, day):
                    made += _make(record, name, day, path)
            keep = set(wanted.values())
            for path in (lake.root / "cache" / name).glob("date=*/*.parquet"):
                if path not in keep and path.stat().st_mtime < clock() - GRACE_S:
                    path.unlink(missing_ok=True)
    return made


def _is_here(record: Record, name: str, day: date) -> bool:
    """Whether a day can be summed without bringing files of an object store."""
    start = datetime.combine(day, time(), UTC)
    return record.lake.remote is None or all(
        (record.lake.root / path).is_file()
        for table in day_sums.MADE_OF[name]
        for header in record.headers(table, start=start, end=start + timedelta(days=1)).values()
        for path in header.paths
    )


def _make(record: Record, name: str, day: date, path: Path) -> bool:
    """Sum one day; whether its hours were there."""
    import duckdb

    from flowpeer.engine import begin

    start = datetime.combine(day, time(), UTC)
    end = start + timedelta(days=1)
    columns = [c.name for c in SUMS[name] if c.name != "day"]
    sums = {c: f"sum({c})::BIGINT AS {c}" for c in ("bytes", "packets", "records")}
    sums["hours"] = "bit_or(hours) AS hours"
    keys = [c for c in columns if c not in sums]
    cells = [sums.get(c, c) for c in columns]
    order = [_ORDER[name], *(k for k in keys if k != _ORDER[name])]
    source = to_sum(record, name, start=start, end=end)
    if name == "route_days":
        parts = [start, *(at for at in day_sums.borders(record) if start < at < end)]
        cases = " ".join(f"WHEN since >= {_moment(at)} THEN {_moment(at)}" for at in parts[::-1])
        source = f"SELECT * REPLACE (CASE {cases} END AS since) FROM ({source})"  # noqa: S608
    staged = record.lake.staging.path(path.name)
    with duckdb.connect() as con:
        begin(con)
        con.execute("SET enable_progress_bar = false")
        con.execute(f"SET memory_limit = '{MEMORY}'")
        con.execute(f"SET temp_directory = {literal(str(staged.parent))}")
        try:
            con.execute(
                f"COPY (SELECT {', '.join(cells)} FROM"  # noqa: S608 (text of ours)
                f" ({source}) GROUP BY {', '.join(keys)} ORDER BY {', '.join(order)})"
                f" TO {literal(str(staged))}"
                f" (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {ROW_GROUP})"
            )
            make_folder(path.parent)
            staged.replace(path)
            return True
        except duckdb.InterruptException:
            raise KeyboardInterrupt from None
        except duckdb.Error:
            pass
        finally:
            staged.unlink(missing_ok=True)
    return False


def _moment(at: datetime) -> str:
    return f"TIMESTAMPTZ '{at:%Y-%m-%d %H:%M:%S}+00'"
