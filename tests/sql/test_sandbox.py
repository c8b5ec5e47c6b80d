"""What a query cannot do: read outside the lake, write anywhere, change the connection."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from flowpeer.catalog import connect
from flowpeer.errors import UsageError
from flowpeer.query import query

# {out} is a folder outside the lake with readable files in it, {lake} the lake itself.
ESCAPES = [
    # reading outside
    "SELECT * FROM read_csv('{out}/secret.csv')",
    "SELECT * FROM read_text('{out}/secret.csv')",
    "SELECT * FROM read_blob('{out}/secret.csv')",
    "SELECT * FROM read_json('{out}/secret.json')",
    "SELECT * FROM read_parquet('{out}/secret.parquet')",
    "SELECT * FROM parquet_metadata('{out}/secret.parquet')",
    "SELECT * FROM parquet_schema('{out}/secret.parquet')",
    "SELECT * FROM parquet_file_metadata('{out}/secret.parquet')",
    "SELECT * FROM '{out}/secret.csv'",
    "SELECT * FROM '{out}/secret.parquet'",
    "SELECT * FROM '{out}/*.parquet'",
    'SELECT * FROM "{out}/secret.csv"',
    "SELECT * FROM glob('{out}/*')",
    "SELECT * FROM sniff_csv('{out}/secret.csv')",
    "SELECT * FROM read_parquet('{lake}/../out/secret.parquet')",
    "SELECT * FROM read_parquet('{lake}/./../out/secret.parquet')",
    "SELECT * FROM read_parquet('{lake}/traffic/../../out/secret.parquet')",
    "SELECT * FROM read_parquet('file://{out}/secret.parquet')",
    "SELECT * FROM read_parquet(['{lake}/x.parquet', '{out}/secret.parquet'])",
    "SELECT * FROM read_parquet('{lake}-sibling/secret.parquet')",
    "SELECT * FROM read_parquet('{lake}/linked/secret.parquet')",
    "SELECT * FROM read_parquet('{lake}/linked.parquet')",
    "SELECT * FROM read_csv('/proc/self/environ')",
    "SELECT * FROM read_duckdb('{out}/other.duckdb')",
    "SELECT (SELECT count(*) FROM read_text('{out}/secret.csv'))",
    "WITH t AS (SELECT * FROM read_text('{out}/secret.csv')) SELECT * FROM t",
    "SELECT * FROM traffic WHERE bytes IN (SELECT size FROM read_blob('{out}/*'))",
    "DESCRIBE SELECT * FROM read_csv('{out}/secret.csv')",
    "SUMMARIZE SELECT * FROM read_csv('{out}/secret.csv')",
    "EXPLAIN SELECT * FROM read_csv('{out}/secret.csv')",
    "SELECT * FROM read_parquet('http://127.0.0.1:9/x.parquet')",
    "SELECT * FROM read_parquet('s3://bucket/x.parquet')",
    # text run as SQL
    "SELECT * FROM query('SELECT * FROM read_text(''{out}/secret.csv'')')",
    "SELECT * FROM query_table('{out}/secret.parquet')",
    "SELECT * FROM json_execute_serialized_sql(json_serialize_sql('SELECT 1'))",
    # writing
    "COPY (SELECT 1) TO '{out}/new.csv'",
    "COPY (SELECT 1) TO '{lake}/new.parquet'",
    "COPY traffic TO '{lake}/traffic/date=2026-07-01/hour=00/new.parquet'",
    "COPY (SELECT 1 AS a) TO '{lake}/new' (FORMAT parquet, PARTITION_BY (a))",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO '{lake}/new.csv'",
    "EXPLAIN (ANALYZE) COPY (SELECT 1) TO '{lake}/new.csv'",
    "EXPLAIN (FORMAT json, ANALYZE) SELECT 1",
    "EXPLAIN /* */ ANALYZE COPY (SELECT 1) TO '{lake}/new.csv'",
    "-- harmless\nEXPLAIN ANALYZE COPY (SELECT 1) TO '{lake}/new.csv'",
    "EXPLAIN COPY (SELECT 1) TO '{lake}/new.csv'",
    "EXPORT DATABASE '{lake}/new'",
    "IMPORT DATABASE '{out}'",
    "ATTACH '{lake}/new.duckdb'",
    "ATTACH '{out}/other.duckdb' AS other (READ_ONLY)",
    "CREATE TABLE new (a INTEGER)",
    "CREATE OR REPLACE VIEW traffic AS SELECT 1",
    "CREATE MACRO leak(p) AS TABLE SELECT * FROM read_text(p)",
    "CREATE SECRET (TYPE http, BEARER_TOKEN 'x')",
    "DROP VIEW traffic",
    "INSERT INTO metros VALUES ('x')",
    "UPDATE metros SET name = 'x'",
    "DELETE FROM metros",
    "CHECKPOINT",
    "SELECT * FROM enable_logging(storage = 'file', storage_config = {{'path': '{out}/new'}})",
    "SELECT * FROM Enable_Logging(storage = 'file', storage_config = {{'path': '{lake}/new'}})",
    "SELECT * FROM system.main.enable_logging()",
    "SELECT * FROM enable_profiling(save_location = '{lake}/new.txt')",
    "SELECT 1 WHERE EXISTS (FROM disable_logging())",
    "SELECT * FROM checkpoint()",
    "SELECT * FROM force_checkpoint()",
    "CALL enable_logging()",
    # settings, extensions, more than one statement, state that outlives the query
    "SET enable_external_access = true",
    "SET allowed_directories = ['/']",
    "SET lock_configuration = false",
    "SET temp_directory = '{out}'",
    "RESET allowed_directories",
    "SET VARIABLE x = 1",
    "PRAGMA enable_profiling",
    "PRAGMA database_list",
    "INSTALL httpfs",
    "LOAD '{out}/x.duckdb_extension'",
    "SELECT 1; COPY (SELECT 1) TO '{lake}/new.csv'",
    "SELECT 1; SELECT 2",
    "BEGIN",
    "PREPARE p AS SELECT 1",
    "EXECUTE p",
    "USE system",
    # memory of the process
    "SELECT * FROM pandas_scan(0)",
    "SELECT * FROM arrow_scan(0, 0, 0)",
    "SELECT * FROM python_map_function()",
    "SELECT * FROM canary",
    "",
    ";",
    "SELECT 1 \0 COPY",
]


Places = tuple[Path, Path, duckdb.DuckDBPyConnection]


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    """A lake, a folder beside it with files that would be read if they could be, a connection."""
    tmp_path = tmp_path_factory.mktemp("sandbox")
    lake, out, sibling = tmp_path / "lake", tmp_path / "out", tmp_path / "lake-sibling"
    for folder in (lake / "traffic", out, sibling):
        folder.mkdir(parents=True)
    (out / "secret.csv").write_text("word\nsesame\n")
    (out / "secret.json").write_text(json.dumps([{"word": "sesame"}]))
    with duckdb.connect() as plain:
        plain.execute(f"COPY (SELECT 'sesame' AS word) TO '{out}/secret.parquet'")
        plain.execute(f"COPY (SELECT 'sesame' AS word) TO '{sibling}/secret.parquet'")
        plain.execute(f"COPY (SELECT 1 AS a) TO '{lake}/x.parquet'")
    duckdb.connect(str(out / "other.duckdb")).close()
    (lake / "linked").symlink_to(out)
    (lake / "linked.parquet").symlink_to(out / "secret.parquet")
    con = connect(lake)
    yield lake, out, con
    con.close()


def _everything(root: Path) -> dict[str, int]:
    return {
        str(path): path.lstat().st_mtime_ns
        for folder, _, names in os.walk(root)
        for path in (Path(folder), *(Path(folder) / name for name in names))
    }


@pytest.mark.parametrize("escape", ESCAPES)
def test_escape_is_refused_and_leaves_nothing_behind(
    places: Places, escape: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake, out, con = places
    monkeypatch.chdir(out)
    canary = [1, 2, 3]
    assert canary
    before = _everything(lake.parent)
    with pytest.raises(UsageError) as refused:
        query(con, escape.format(lake=lake, out=out))
    assert "sesame" not in str(refused.value)
    assert "\n" not in refused.value.what
    assert query(con, "SELECT count(*) AS n FROM traffic").to_pylist() == [{"n": 0}]
    assert _everything(lake.parent) == before


def test_there_are_enough_escapes() -> None:
    assert len(set(ESCAPES)) >= 60


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT 1", "FROM traffic", "TABLE traffic", "VALUES (1), (2)",
        "WITH a AS (SELECT 1) FROM a", "DESCRIBE traffic", "SHOW TABLES",
        "SUMMARIZE traffic", "EXPLAIN SELECT 1",
        "EXPLAIN (FORMAT json) SELECT 1", "/* c */ EXPLAIN SELECT 1;", "SELECT 1; -- done",
        "SELECT * FROM range(3), unnest([1, 2])", "SELECT * FROM duckdb_tables()",
        "SELECT * FROM slots_between(NULL, NULL)", "SELECT 'EXPLAIN ANALYZE; COPY' AS text",
    ],
)  # fmt: skip
def test_statement_that_reads_is_taken(tmp_path: Path, statement: str) -> None:
    con = connect(tmp_path)
    query(con, statement)
    con.close()


def test_files_of_the_lake_can_be_read_by_name(lake: Path) -> None:
    con = connect(lake)
    by_name = query(con, f"SELECT count(*) AS n FROM '{lake}/traffic/*/*/*.parquet'").to_pylist()
    assert by_name == query(con, "SELECT count(*) AS n FROM traffic").to_pylist()
    con.close()


def test_runaway_query_is_stopped_in_time(tmp_path: Path) -> None:
    con = connect(tmp_path)
    begun = time.monotonic()
    with pytest.raises(UsageError, match=r"stopped after 0\.3 s"):
        query(
            con,
            "SELECT count(*) FROM range(10000000) a, range(10000000) b WHERE a.range * b.range = 7",
            timeout_seconds=0.3,
        )
    assert time.monotonic() - begun < 10
    assert query(con, "SELECT 1 AS one", timeout_seconds=5).to_pylist() == [{"one": 1}]
    con.close()


def test_error_says_where_in_the_statement(tmp_path: Path) -> None:
    con = connect(tmp_path)
    with pytest.raises(UsageError, match=r"^SQL, line 2, column 8: .*bites"):
        query(con, "SELECT metro,\n       bites\nFROM traffic")
    with pytest.raises(UsageError, match=r"^SQL, line 1, column 1: syntax error"):
        query(con, "SELEC 1")
    con.close()
