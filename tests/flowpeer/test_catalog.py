"""Relations of the stated types, scans that prune, and a catalog that other processes open."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pytest

from flowpeer.catalog import scan, write_catalog
from flowpeer.errors import InputError, UsageError
from flowpeer.lake.relation import FILED_BY
from flowpeer.lake.store import Lake
from flowpeer.query import QuerySession
from flowpeer.schema import CONFIGURED, PARTITIONED, TABLES
from flowpeer_core.columns import arrow_schema

MINUTE = timedelta(minutes=1)
AT = datetime(2026, 7, 1, 8, 5, tzinfo=UTC)
FILLERS: dict[pa.DataType, Any] = {
    pa.string(): "x", pa.int64(): 2**62, pa.int32(): 4, pa.float64(): 0.5, pa.bool_(): True,
    pa.binary(16): bytes(10) + b"\xff\xff\xc0\x00\x02\x01", pa.timestamp("us", tz="UTC"): AT,
    pa.date32(): AT.date(),
}  # fmt: skip
SQL_TYPES = {
    pa.string(): "VARCHAR", pa.int64(): "BIGINT", pa.int32(): "INTEGER", pa.float64(): "DOUBLE",
    pa.bool_(): "BOOLEAN", pa.binary(16): "BLOB",
    pa.timestamp("us", tz="UTC"): "TIMESTAMP WITH TIME ZONE",
    pa.date32(): "DATE",
}  # fmt: skip


def _one_row(name: str) -> pa.Table:
    schema = arrow_schema(TABLES[name])
    return pa.Table.from_pylist([{f.name: FILLERS[f.type] for f in schema}], schema=schema)


def _place(root: Path, name: str, hour: int = 8) -> Path:
    if name in PARTITIONED:
        return root / name / "date=2026-07-01" / f"hour={hour:02}" / "part.parquet"
    return root / (name if name == "routes" else "reference") / f"{name}.parquet"


def _publish(root: Path, name: str, hour: int = 8) -> None:
    relative = _place(root, name, hour).relative_to(root).as_posix()
    Lake(root).publish(relative, TABLES[name], _one_row(name), {})


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    root = tmp_path / "lake"
    for name in TABLES:
        if name not in CONFIGURED:
            _publish(root, name)
    return root


CONFIGURATION = {name: _one_row(name) for name in CONFIGURED}


@pytest.mark.parametrize("full", [True, False], ids=["with files", "without files"])
def test_every_table_has_its_stated_columns_and_types(
    lake: Path, tmp_path: Path, full: bool
) -> None:
    root, configured = (lake, CONFIGURATION) if full else (tmp_path / "none", {})
    with QuerySession(root, configured=configured) as con:
        for name, columns in TABLES.items():
            wanted = [(c.name, SQL_TYPES[c.type]) for c in columns]
            if name in PARTITIONED:
                wanted += [("date", "DATE"), ("hour", "INTEGER")]
            got = con.query(f"DESCRIBE {name}").to_pylist()
            assert [(g["column_name"], g["column_type"]) for g in got] == wanted
            assert con.query(f"SELECT count(*) AS n FROM {name}").to_pylist() == [{"n": int(full)}]


@pytest.mark.parametrize("full", [True, False], ids=["with files", "without files"])
def test_scan_has_the_same_schema_with_and_without_files(
    lake: Path, tmp_path: Path, full: bool
) -> None:
    for name, columns in TABLES.items():
        if name in CONFIGURED:
            continue
        frame = scan(lake if full else tmp_path / "none", name).collect()
        wanted = dict(pl.DataFrame(arrow_schema(columns).empty_table()).schema)
        if name in PARTITIONED:
            wanted |= {"date": pl.Date(), "hour": pl.Int32()}
        assert dict(frame.schema) == wanted
        assert frame.height == int(full)


def test_scan_reads_the_hours_of_a_half_open_period(lake: Path) -> None:
    for hour in (9, 10):
        _publish(lake, "traffic", hour)

    def hours(start: datetime | None, end: datetime | None) -> list[int]:
        frame = scan(lake, "traffic", start=start, end=end).collect()
        assert set(frame["date"]) <= {date(2026, 7, 1)}
        return sorted(frame["hour"])

    nine, ten = datetime(2026, 7, 1, 9, tzinfo=UTC), datetime(2026, 7, 1, 10, tzinfo=UTC)
    assert hours(None, None) == [8, 9, 10]
    assert hours(nine, ten) == [9]
    assert hours(nine.replace(tzinfo=None), ten) == [9]
    assert hours(nine, None) == [9, 10]
    assert hours(None, nine) == [8]
    assert hours(nine + MINUTE * 59, ten + MINUTE) == [9, 10]
    assert hours(AT + MINUTE * 300, None) == []


def test_scan_of_an_unknown_table_is_refused(lake: Path) -> None:
    with pytest.raises(UsageError, match="no table"):
        scan(lake, "trafic")


@pytest.mark.parametrize("name", ["a=b", "hour [x]*?", "it's", "späth lake"])
def test_lake_may_stand_in_a_folder_of_any_name(tmp_path: Path, name: str) -> None:
    root = tmp_path / name / "lake"
    _publish(root, "traffic")
    assert scan(root, "traffic").collect().height == 1
    with QuerySession(root) as con:
        assert con.query("SELECT count(*) AS n FROM traffic").to_pylist() == [{"n": 1}]


def test_sum_beyond_int64_stays_exact(lake: Path) -> None:
    for hour in (9, 10):
        _publish(lake, "traffic", hour)
    with QuerySession(lake) as con:
        table = con.query("SELECT sum(bytes) AS b, count(*)::HUGEINT AS n FROM traffic")
    assert int(table["b"][0].as_py()) == 3 * 2**62
    assert table.schema.field("n").type == pa.int64()


def test_times_are_utc_whatever_the_zone_of_the_machine(lake: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from flowpeer.query import QuerySession\n"
        "with QuerySession(Path(sys.argv[1])) as con:\n"
        "    print(con.query('SELECT slot::VARCHAR AS s FROM traffic').to_pylist()[0]['s'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(lake)], capture_output=True, text=True, check=True,
        env={**os.environ, "TZ": "America/New_York"},
    )  # fmt: skip
    assert done.stdout == "2026-07-01 08:05:00+00\n"


def test_broken_file_is_named(lake: Path) -> None:
    _place(lake, "traffic").write_bytes(b"PAR1 this is none PAR1")
    with QuerySession(lake) as con, pytest.raises(InputError, match="traffic"):
        con.query("SELECT count(*) FROM traffic")


def test_catalog_opens_in_another_process_and_answers(lake: Path, tmp_path: Path) -> None:
    path = tmp_path / "peering.duckdb"
    write_catalog(path, lake, configured=CONFIGURATION)
    write_catalog(path, lake, configured=CONFIGURATION)  # and replaces itself
    assert [p.name for p in tmp_path.iterdir() if p.name != "lake"] == ["peering.duckdb"]
    moved = tmp_path / "renamed.duckdb"
    path.rename(moved)
    program = """if True:
        import sys, duckdb
        con = duckdb.connect(sys.argv[1], read_only=True)
        print(con.execute("SELECT bytes, slot::TEXT FROM traffic_between(NULL, NULL)").fetchall())
        print(con.execute("SELECT count(*), ip_str(ip('2001:DB8::1')) FROM metros").fetchall())
        print(con.execute("SELECT tags FROM duckdb_databases() WHERE NOT internal").fetchall())
    """
    done = subprocess.run(
        [sys.executable, "-c", program, str(moved)], capture_output=True, text=True, check=True,
        cwd="/",
    )  # fmt: skip
    assert f"[({2**62}, '2026-07-01 08:05:00+00')]" in done.stdout
    assert "(1, '2001:db8::1')" in done.stdout
    assert "v1.5" in done.stdout


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C as a terminal gives it: what a shell starts in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("limit", [20, None])
@pytest.mark.parametrize("wait", [0, 0.02, 0.3, 1.5])
@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_stops_a_query_whenever_it_comes_and_the_session_lives_on(
    tmp_path: Path, limit: float | None, wait: float
) -> None:
    with QuerySession(tmp_path) as con:

        def ask() -> None:
            threading.Timer(wait, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
            con.query(  # which cannot end by itself in the life of this test
                "SELECT count(*) FROM range(1000000000) a, range(1000000000) b"
                " WHERE a.range * b.range = 7",
                timeout_seconds=limit,
            )

        with pytest.raises(KeyboardInterrupt):
            ask()
        assert con.query("SELECT 1 AS one").to_pylist() == [{"one": 1}]


def test_catalog_works_after_the_lake_was_moved(lake: Path, tmp_path: Path) -> None:
    path = tmp_path / "peering.duckdb"
    write_catalog(path, lake, configured=CONFIGURATION)
    lake.rename(tmp_path / "it's moved")
    with duckdb.connect(str(path), read_only=True) as con:
        with pytest.raises(duckdb.IOException):
            con.execute("SELECT count(*) FROM traffic").fetchall()
        moved = str(tmp_path / "it's moved").replace("'", "''")
        con.execute(f"SET VARIABLE lake = '{moved}'")
        for name in TABLES:
            assert con.execute(f"SELECT count(*) FROM {name}").fetchall() == [(1,)], name
        assert con.execute("SELECT count(*) FROM unknown_traffic()").fetchall()
        for name in ("crossings", "ports_and_protocols()", "top_talkers()"):
            assert con.execute(f"DESCRIBE FROM {name}").fetchall()
            with pytest.raises(duckdb.Error, match="use `flowpeer sql`"):
                con.execute(f"FROM {name}").fetchall()
        about = con.execute("SELECT needs_duckdb, lake FROM about_catalog").fetchall()
        assert about == [("1.5.0", str(lake))]


@pytest.mark.parametrize("name", FILED_BY)
def test_filter_of_times_in_a_catalog_opens_the_files_of_its_weeks_alone(
    tmp_path: Path, name: str
) -> None:
    root, path = tmp_path / "lake", tmp_path / "peering.duckdb"
    schema = arrow_schema(TABLES[name])
    row = {f.name: FILLERS[f.type] for f in schema}
    for day in (1, 5, 6, 7):  # 2026-07-05 is a Sunday
        at = AT.replace(day=day)
        one = pa.Table.from_pylist([row | {FILED_BY[name]: at}], schema=schema)
        Lake(root).publish(f"{name}/date={at:%Y-%m-%d}/hour=08/p.parquet", TABLES[name], one, {})
    write_catalog(path, root)
    time = FILED_BY[name]
    with duckdb.connect(str(path), read_only=True) as con:
        con.execute("SET TimeZone = 'UTC'")

        def days(condition: str) -> list[tuple[date]]:
            return con.execute(f"SELECT date FROM {name} WHERE {condition} ORDER BY ALL").fetchall()

        assert [d.day for (d,) in days("true")] == [1, 5, 6, 7]
        (root / name / "date=2026-07-07/hour=08/p.parquet").write_bytes(b"PAR1 this is none PAR1")
        assert [d.day for (d,) in days(f"{time} < '2026-07-06'")] == [1, 5]
        assert [d.day for (d,) in days(f"{time} BETWEEN '2026-07-01' AND '2026-07-02'")] == [1]
        with pytest.raises(duckdb.Error):
            days(f"{time} < '2026-07-06 00:00:01'")


def test_configured_table_of_another_shape_is_refused(tmp_path: Path) -> None:
    for name in ("metros", "peers"):
        with (
            QuerySession(tmp_path, configured={name: pa.table({"metro": ["ams"]})}) as con,
            pytest.raises(UsageError, match=name),
        ):
            con.query("FROM metros")
