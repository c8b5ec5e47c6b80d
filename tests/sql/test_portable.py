"""Every type of DuckDB prints and exports in every format."""

from __future__ import annotations

import io
import json
from decimal import Decimal
from pathlib import Path

import duckdb
import polars as pl
import pyarrow.parquet as pq
import pytest

from flowpeer.cli.sql_names import few_rows, frame_of, render
from flowpeer.query import QuerySession
from flowpeer.query.portable import selection

ODD = """
SELECT INTERVAL '1 month 2 days 3.5 seconds' AS i, TIMESTAMP '2026-07-01 10:00' - TIMESTAMP
    '2026-07-01 09:55' AS lasted, MAP {'a': [1, 2]} AS m, {'x': 1, 'y': NULL} AS s, [1, NULL] AS l,
    1.10::DECIMAL(9, 2) AS d, 170141183460469231731687303715884105727::HUGEINT AS h, NULL AS n,
    3::HUGEINT AS small, [INTERVAL 1 DAY] AS li, [[1], [2]] AS ll, [{'x': 1}] AS ls
UNION ALL SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
"""


def test_odd_types_are_the_same_in_every_format(tmp_path: Path) -> None:
    with QuerySession(tmp_path) as con:
        table = con.query(ODD, flat=True)
    assert table.num_rows == 2
    rows = json.loads(str(render(frame_of(table), "json", width=200)))
    first = rows[0]
    assert first["i"] == "1 month 2 days 00:00:03.5"
    assert first["lasted"] == "00:05:00"
    assert json.loads(first["m"]) == {"a": [1, 2]}
    assert json.loads(first["s"]) == {"x": 1, "y": None}
    assert first["l"] == [1, None]
    assert Decimal(first["d"]) == Decimal("1.10")
    assert first["h"] == str(2**127 - 1)
    assert (first["n"], first["small"], first["li"]) == (None, 3, ["1 day"])
    assert [json.loads(first["ll"]), json.loads(first["ls"])] == [[[1], [2]], [{"x": 1}]]
    assert set(rows[1].values()) == {None}
    csv = pl.read_csv(io.StringIO(str(render(frame_of(table), "csv", width=200))))
    assert csv["lasted"].to_list() == ["00:05:00", None]
    assert str(csv["l"][0]) == "1"
    assert "00:05:00" in str(render(frame_of(table), "table", width=200))
    parquet = render(frame_of(table, readable=False), "parquet", width=200)
    assert isinstance(parquet, bytes)
    again = pq.read_table(io.BytesIO(parquet)).to_pylist()
    assert (again[0]["h"], again[0]["d"], again[0]["l"]) == (
        str(2**127 - 1),
        Decimal("1.10"),
        [1, None],
    )


def test_time_that_only_duckdb_knows_is_text(tmp_path: Path) -> None:
    with QuerySession(tmp_path) as con:
        table = con.query(
            "SELECT DATE 'infinity' AS d, DATE '0044-03-15 (BC)' AS old, [[DATE 'infinity']] AS ll,"
            " '-infinity'::TIMESTAMPTZ AS t, [DATE 'infinity', NULL] AS l, DATE '9999-12-30' AS e,"
            " TIMESTAMP '12000-01-01' AS y, TIMESTAMP_NS '2026-01-01' AS ns", flat=True,
        )  # fmt: skip
    for format_ in ("table", "csv", "xlsx", "parquet"):
        assert render(frame_of(table), format_, width=200)
    (row,) = json.loads(str(render(frame_of(table), "json", width=200)))
    assert [row[name] for name in ("d", "old", "y", "t", "l", "e")] == [
        "infinity", "0044-03-15 (BC)", "12000-01-01 00:00:00", "-infinity", ["infinity", None],
        "9999-12-30",
    ]  # fmt: skip


def test_few_rows_are_printed_as_many_are(tmp_path: Path) -> None:
    text = """
        SELECT 1 AS asn, 12345678 AS n, -1.5::DOUBLE AS share, 1.10::DECIMAL(9, 2) AS d,
            true AS flag, 'a' || chr(9) || 'b' AS t, '=1+1' AS formula, 'NaN'::DOUBLE AS x,
            2e9 AS out_bps,
            DATE '2026-07-01' AS day, TIMESTAMPTZ '2026-07-01 10:00:00.5+02' AS slot,
            TIMESTAMP '1969-12-31 23:59:59' AS plain, 'x'::BLOB AS octets, 7::HUGEINT AS huge,
            unhex('20010DB8' || repeat('0', 24)) AS addr, '漢字 é' AS wide,
            INTERVAL 3 DAY AS lasted, 0.25::FLOAT AS single, 7::UTINYINT AS small
        UNION ALL SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
            NULL, NULL, NULL, NULL, NULL, NULL, NULL"""
    with QuerySession(tmp_path) as con:
        for query in (text, "SELECT 1 AS a WHERE false", "SELECT [1] AS a, {'b': 1} AS b"):
            few, many = con.ask(query, flat=True, few=100), con.query(query, flat=True)
            for width in (60, 500):
                wanted = render(frame_of(many), "table", width=width)
                if few.table is None:
                    assert few_rows(few, width=width) == wanted
        assert few.table is not None  # lists come in a table


def test_structures_stay_structures_for_programs(tmp_path: Path) -> None:
    with QuerySession(tmp_path) as con:
        (row,) = con.query("SELECT {'x': [1, 2]} AS s, MAP {'a': 1} AS m, [[1]] AS l").to_pylist()
    assert (row["s"], row["m"], row["l"]) == ({"x": [1, 2]}, [("a", 1)], [[1]])


@pytest.mark.parametrize("format_", ["table", "csv", "json", "parquet", "xlsx"])
def test_all_types_of_the_installed_release_are_written(format_: str) -> None:
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'")
        con.execute(
            "CREATE TABLE t AS SELECT * REPLACE ("
            " CASE WHEN abs(year(date)) < 9000 THEN date END AS date,"
            " CASE WHEN abs(year(timestamp)) < 9000 THEN timestamp END AS timestamp,"
            " CASE WHEN abs(year(timestamp_s)) < 9000 THEN timestamp_s END AS timestamp_s,"
            " CASE WHEN abs(year(timestamp_ms)) < 9000 THEN timestamp_ms END AS timestamp_ms,"
            " CASE WHEN abs(year(timestamp_tz)) < 9000 THEN timestamp_tz END AS timestamp_tz,"
            " NULL::DATE[] AS date_array, NULL::TIMESTAMP[] AS timestamp_array,"
            " NULL::TIMESTAMPTZ[] AS timestamptz_array) FROM test_all_types()"
        )
        table = con.sql(selection(con, "t", flat=True)[0]).to_arrow_table()
    assert table.num_rows == 3
    assert render(frame_of(table, readable=format_ != "parquet"), format_, width=500)
