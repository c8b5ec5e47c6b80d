"""What a query cannot do: read outside the lake, write anywhere, change the connection, outlive its
limits. Escapes by hand, by grammar over all that the installed DuckDB has, and past the first wall.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from flowpeer.errors import FlowpeerError, UsageError
from flowpeer.query import QuerySession, allowed, confine
from flowpeer.schema import TABLES

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
    "",
    ";",
    "SELECT 1 \0 COPY",
    "SELECT * FROM canary",
    # statements that are query nodes too
    "WITH x AS (COPY (SELECT 1 a, 'p' p) TO '{lake}/flows' (PARTITION_BY p, OVERWRITE)) FROM x",
    "WITH x AS (COPY (SELECT 1) TO '{lake}/format.json' (FORMAT csv)) FROM x",
    "WITH x AS (SELECT 1), y AS (WITH z AS (COPY (SELECT 1) TO '{lake}/new.csv') FROM z) FROM y",
    "WITH x AS (INSERT INTO metros VALUES ('x', 'x') RETURNING *) SELECT * FROM x",
    "WITH x AS (UPDATE metros SET name = 'x' RETURNING *) SELECT * FROM x",
    "WITH x AS (DELETE FROM metros RETURNING *) SELECT * FROM x",
    "WITH x AS (MERGE INTO metros USING metros AS m ON true WHEN MATCHED THEN DELETE) FROM x",
    "WITH RECURSIVE x AS (DELETE FROM metros RETURNING 1 AS a UNION ALL SELECT a FROM x) FROM x",
    "CREATE TEMP TABLE mine AS WITH x AS (COPY (SELECT 1) TO '{lake}/new.csv') FROM x",
    "CREATE TEMP VIEW mine AS WITH x AS (COPY (SELECT 1) TO '{lake}/new.csv') FROM x",
    "EXPLAIN ANALYZE WITH x AS (COPY (SELECT 1) TO '{lake}/new.csv') FROM x",
    "EXPLAIN ANALYZE DELETE FROM metros",
    "PIVOT (WITH x AS (COPY (SELECT 1 a) TO '{lake}/new.csv') FROM x) ON a",
    "WITH x AS (COPY (SELECT 1 a) TO '{lake}/new.csv') PIVOT x ON a",
    "PIVOT read_csv('{out}/secret.csv') ON word",
    "PIVOT (FROM read_text('{out}/secret.csv')) ON content IN ('a')",
    # our own words in front
    "CREATE TEMP TABLE traffic AS SELECT 1",
    "CREATE TEMP VIEW metros AS SELECT 1",
    'CREATE TEMP TABLE "Traffic" AS SELECT 1',
    "CREATE TEMP TABLE _flowpeer_result AS SELECT 1",
    "CREATE TABLE mine AS SELECT 1",
    "CREATE OR REPLACE TABLE metros AS SELECT 1",
    "CREATE VIEW mine AS SELECT 1",
    "CREATE TEMP MACRO mine() AS 1",
    "CREATE TEMP SEQUENCE mine",
    "CREATE TEMP TABLE mine (a INTEGER)",
    "CREATE TEMP TABLE main.mine AS SELECT 1",
    "CREATE TEMP TABLE mine AS COPY (SELECT 1) TO '{lake}/new.csv'",
    "CREATE TEMP TABLE mine AS EXPLAIN SELECT 1",
    "CREATE TEMP TABLE mine AS SELECT 1; COPY mine TO '{lake}/new.csv'",
    "CREATE TEMP TABLE mine AS SELECT 1; DROP TABLE mine; SELECT 1",
    "CREATE TEMP TABLE mine AS",
    "EXPLAIN",
    "EXPLAIN EXPLAIN SELECT 1",
    "EXPLAIN (FORMAT json) COPY (SELECT 1) TO '{lake}/new.csv'",
    "EXPLAIN (SELECT 1); COPY (SELECT 1) TO '{lake}/new.csv'",
    "/* ; */ COPY (SELECT 1) TO '{lake}/new.csv' --",
    "SELECT 1 /* /* */ ; COPY (SELECT 1) TO '{lake}/new.csv' -- */",
    "SELECT $$ ; $$; COPY (SELECT 1) TO '{lake}/new.csv'",
    "SELECT E'\\'; COPY (SELECT 1) TO \\'{lake}/new.csv\\''; DELETE FROM metros",
    "CREATE TEMP TABLE mine AS SELECT 1) ; COPY (SELECT 1) TO '{lake}/new.csv'; --",
    # files of other kinds, whoever reads them
    "SELECT * FROM '{lake}/x.csv'",
    "SELECT * FROM 's3://bucket/x.parquet'",
    "SHOW '{out}/secret.csv'",
    "DESCRIBE '{out}/secret.csv'",
    "SUMMARIZE '{out}/secret.parquet'",
    "SELECT * FROM duckdb_settings()",
    "SELECT current_setting('temp_directory')",
    "SELECT getvariable('lake_root')",
    "FROM pg_settings",
    "FROM PG_Catalog.pg_settings",
    "FROM system.pg_catalog.pg_settings",
    "DESCRIBE pg_settings",
    "SUMMARIZE pg_settings",
    "SELECT (SELECT max(setting) FROM pg_settings)",
    "FROM pg_prepared_statements",
    "FROM duckdb_databases",
    "FROM duckdb_logs",
    "FROM pragma_database_list",
    "UPDATE EXTENSIONS",
    "FORCE INSTALL x FROM 'http://127.0.0.1:9'",
    "SELECT * FROM read_parquet('/proc/self/fd/0')",
    "SELECT 'HOME'.getenv()",
    "SELECT '{out}/secret.csv'.read_text()",
    "SELECT list_transform(['{out}/secret.csv'], lambda x: read_text(x))",
    "SELECT * REPLACE (getenv('HOME') AS metro) FROM metros",
    "SELECT COLUMNS(lambda c: getenv(c)) FROM metros",
    "SELECT TRY(getenv('HOME'))",
    "FROM unnest(['{out}/secret.csv']) u(f), LATERAL read_text(u.f)",
    "FROM metros SEMI JOIN '{out}/secret.parquet' ON true",
    "FROM metros POSITIONAL JOIN '{out}/secret.parquet'",
    'SELECT * FROM main."{out}/secret.parquet"',
    "PIVOT '{out}/secret.parquet' ON word",
    "UNPIVOT '{out}/secret.parquet' ON word",
    "CREATE TEMP VIEW mine AS FROM '{out}/secret.parquet'",
    "WITH t AS (TRUNCATE metros) FROM t",
    "WITH t AS MATERIALIZED (INSERT INTO metros DEFAULT VALUES RETURNING *) FROM t",
    "WITH RECURSIVE t AS (SELECT 'a' UNION ALL SELECT content FROM read_text('{out}/*')) FROM t",
    "SELECT U&'\\0027'; DELETE FROM metros",
    "/*+ */ SELECT 1 /* nested /* */ ; DELETE FROM metros; */",
    "SELECT json_serialize_plan('SELECT * FROM read_text(''{out}/secret.csv'')')",
    "SELECT * FROM histogram('{out}/secret.parquet', word)",
    "SELECT write_log('x')",
    "SELECT sleep_ms(100000)",
    "SELECT list_transform([1], lambda x: (SELECT count(*) FROM read_text('{out}/secret.csv')))",
    "SELECT [x FOR x IN (SELECT content FROM read_text('{out}/secret.csv'))]",
    "SELECT * FROM traffic ORDER BY (SELECT content FROM read_text('{out}/secret.csv'))",
    "SELECT * FROM traffic LIMIT (SELECT size FROM read_blob('{out}/secret.csv'))",
    "SELECT sum(bytes) FILTER (WHERE EXISTS (FROM read_text('{out}/secret.csv'))) FROM traffic",
    "SELECT row_number() OVER (ORDER BY (SELECT size FROM read_blob('{out}/*'))) FROM traffic",
    "SELECT * FROM traffic t, LATERAL (SELECT content FROM read_text('{out}/secret.csv')) s",
    "SELECT * FROM traffic JOIN read_text('{out}/secret.csv') ON true",
    "VALUES ((SELECT content FROM read_text('{out}/secret.csv')))",
    "SELECT 1 UNION ALL SELECT size FROM read_blob('{out}/secret.csv')",
    "SELECT CASE WHEN (SELECT true FROM read_text('{out}/secret.csv')) THEN 1 END",
    "SELECT * REPLACE ((SELECT 1 FROM read_text('{out}/secret.csv')) AS bytes) FROM traffic",
    "FROM traffic AT (VERSION => 1)",
]


Places = tuple[Path, Path, QuerySession]


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
    with QuerySession(lake) as con:
        yield lake, out, con


# Where a table function may stand; {f} is its call.
PLACES = [
    "SELECT * FROM {f}",
    "WITH t AS (SELECT * FROM {f}) SELECT * FROM t",
    "SELECT (SELECT count(*) FROM {f})",
    "SELECT 1 WHERE EXISTS (FROM {f})",
    "SELECT * FROM traffic WHERE bytes IN (SELECT 1 FROM {f})",
    "DESCRIBE SELECT * FROM {f}",
    "SUMMARIZE SELECT * FROM {f}",
    "EXPLAIN SELECT * FROM {f}",
    "EXPLAIN ANALYZE SELECT * FROM {f}",
    "CREATE TEMP TABLE mine AS SELECT * FROM {f}",
    "CREATE TEMP VIEW mine AS SELECT * FROM {f}",
    "PIVOT (SELECT 1 AS a FROM {f}) ON a",
    "SELECT 1 UNION SELECT 1 FROM {f}",
    "WITH RECURSIVE t(n) AS (SELECT 1 UNION SELECT n + 1 FROM t, {f} WHERE n < 2) FROM t",
    "SELECT list_transform([1], lambda x: (SELECT count(*) FROM {f}))",
    "SELECT * FROM traffic t LEFT JOIN LATERAL (SELECT * FROM {f}) s ON true",
    "FROM (VALUES (1)) v(a) ORDER BY (SELECT count(*) FROM {f})",
]
# Where a statement may stand that is none to read; {s} is the statement.
STATEMENT_PLACES = [
    "{s}", "EXPLAIN {s}", "EXPLAIN ANALYZE {s}", "WITH x AS ({s}) SELECT * FROM x",
    "WITH x AS MATERIALIZED ({s}) FROM x", "SELECT * FROM ({s})", "SELECT ({s})",
    "SELECT 1 WHERE EXISTS ({s})", "CREATE TEMP TABLE mine AS {s}", "CREATE TEMP VIEW mine AS {s}",
    "DESCRIBE {s}", "PIVOT ({s}) ON a", "({s}) UNION ALL SELECT 1", "SELECT 1; {s}",
    "PREPARE p AS {s}",
]  # fmt: skip
STATEMENTS = [
    "COPY (SELECT 1 AS a) TO '{lake}/new.csv'", "COPY metros FROM '{out}/secret.csv'",
    "INSERT INTO metros BY NAME SELECT 'x' AS metro, 'x' AS name RETURNING 1 AS a",
    "UPDATE metros SET name = 'x' RETURNING 1 AS a", "DELETE FROM metros RETURNING 1 AS a",
    "MERGE INTO metros USING metros AS m ON true WHEN MATCHED THEN DELETE RETURNING 1 AS a",
    "TRUNCATE metros", "CALL enable_logging()", "ATTACH '{lake}/new.duckdb'",
    "CREATE TABLE new AS SELECT 1 AS a", "SET threads = 1", "EXECUTE p", "VACUUM", "ANALYZE",
    "ALTER TABLE metros ADD COLUMN new INTEGER", "EXPORT DATABASE '{lake}/new'",
    "PRAGMA json_execute_serialized_sql('x')", "COPY FROM DATABASE memory TO system",
    "DETACH memory", "COMMENT ON TABLE metros IS 'x'",
]  # fmt: skip
CALLS = [
    "'{out}/secret.csv'", "'{out}/secret.parquet'", "", "'{lake}/new', 'x'", "[1, 2]",
         "'a', 1", "'{out}/secret.json', 1, 2", "DATE '2026-07-01'", "1, 2",
    "'SELECT 1'",
]  # fmt: skip


def _functions(*kinds: str) -> list[str]:
    with duckdb.connect() as con:
        found = con.execute(
            "SELECT DISTINCT function_name FROM duckdb_functions()"
            " WHERE function_type IN (SELECT unnest(?))",
            [list(kinds)],
        ).fetchall()
    return sorted(name for (name,) in found if name.isidentifier())


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
        con.query(escape.format(lake=lake, out=out))
    assert "sesame" not in str(refused.value)
    assert "\n" not in refused.value.what
    assert con.query("SELECT count(*) AS n FROM traffic").to_pylist() == [{"n": 0}]
    assert _everything(lake.parent) == before


def test_table_functions_are_refused_wherever_they_stand(places: Places) -> None:
    lake, out, con = places
    before = _everything(lake.parent)
    refused = 0
    for index, name in enumerate(
        sorted(set(_functions("table", "table_macro", "pragma")) - allowed.TABLE_FUNCTIONS)
    ):
        for turn in range(6):
            place = PLACES[(index + 3 * turn) % len(PLACES)]
            call = f"{name}({CALLS[(index + turn) % len(CALLS)].format(lake=lake, out=out)})"
            with pytest.raises(UsageError) as error:
                con.query(place.format(f=call))
            assert name in error.value.what or "syntax" in error.value.what, place
            refused += 1
    assert refused > 300
    assert _everything(lake.parent) == before


def test_functions_that_are_not_listed_are_refused(places: Places) -> None:
    _, _, con = places
    for name in _functions("scalar", "aggregate", "macro"):
        if name.lower() in allowed.FUNCTIONS:
            continue
        with pytest.raises(UsageError):
            con.query(f'SELECT list_transform([1], lambda x: "{name}"(x))')


def test_statements_that_do_not_read_are_refused_wherever_they_stand(places: Places) -> None:
    lake, out, con = places
    before = _everything(lake.parent)
    for statement in STATEMENTS:
        for place in STATEMENT_PLACES:
            text = place.format(s=statement.format(lake=lake, out=out))
            with pytest.raises(UsageError):
                con.query(text)
    assert con.query("SELECT count(*) AS n FROM metros").to_pylist() == [{"n": 0}]
    assert _everything(lake.parent) == before


def test_what_is_listed_neither_reads_elsewhere_nor_writes(places: Places) -> None:
    """Random calls of every listed function, one in another: an answer or one line, and no more."""
    lake, out, con = places
    before = _everything(lake.parent)
    dice = random.Random(20260701)
    names = sorted(name for name in allowed.FUNCTIONS if name.isidentifier())
    answered = 0
    for name in names:
        inner = dice.choice(CALLS)
        if dice.random() < 0.3:
            inner = f"{dice.choice(names)}({inner})"
        call = f'"{name}"({inner})'.format(lake=lake, out=out)
        text = dice.choice(PLACES[:8]).format(f=f"(SELECT {call} AS v) AS s")
        try:
            said = str(con.query(text, timeout_seconds=5).to_pylist())
            answered += 1
        except FlowpeerError as error:
            said = error.what
            assert "\n" not in said
        assert "sesame" not in said
    assert answered > 50
    assert _everything(lake.parent) == before


def test_there_are_enough_escapes() -> None:
    assert len(set(ESCAPES)) >= 120


LISTED = """
import sys
from pathlib import Path
import duckdb
from flowpeer.query import confine
lake, out, private = map(Path, sys.argv[1:])
con = duckdb.connect(":memory:", config={"threads": 1, "async_threads": 0})
assert confine.confine(read=[lake], write=[private]) == ""
con.execute("SET threads = 2")
assert con.execute(f"SELECT a FROM '{lake}/x.parquet'").fetchall() == [(1,)]
con.execute(f"COPY (SELECT 1 AS a) TO '{private}/mine.csv'")
for text in (
    f"COPY (SELECT 1) TO '{lake}/new.csv'", f"COPY (SELECT 1) TO '{out}/new.csv'",
    f"COPY (SELECT 1 a, 'p' p) TO '{lake}' (FORMAT parquet, PARTITION_BY p, OVERWRITE)",
    f"FROM read_text('{out}/secret.csv')", f"FROM '{lake}/linked.parquet'",
    f"FROM read_text('{lake}/../out/secret.csv')", f"ATTACH '{out}/other.duckdb'",
    "FROM read_text('/etc/passwd')", "FROM read_text('/proc/self/environ')",
):
    try:
        con.execute(text).fetchall()
    except duckdb.Error:
        continue
    sys.exit(f"not denied: {text}")
for act in (
    lambda: (lake / "x.parquet").unlink(), lambda: (lake / "new").mkdir(),
    lambda: (lake / "x.parquet").rename(private / "x"), lambda: (out / "secret.csv").read_text(),
    lambda: (private / "link").hardlink_to(lake / "x.parquet"), lambda: list(out.iterdir()),
    lambda: (lake / "x.parquet").open("ab"),
):
    try:
        act()
    except OSError:
        continue
    sys.exit("not denied: an act")
"""


@pytest.mark.skipif(
    not confine.landlock_version(), reason="this kernel has no Landlock: nothing to test"
)
def test_the_kernel_denies_what_the_list_would_have_let_through(
    places: Places, tmp_path: Path
) -> None:
    lake, out, _ = places
    before = _everything(lake.parent)
    done = subprocess.run(
        [sys.executable, "-c", LISTED, lake, out, tmp_path],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert _everything(lake.parent) == before


def test_what_the_system_lacks_is_said(places: Places) -> None:
    *_, con = places
    con.query("SELECT 1")
    assert bool(con.note) == (not confine.landlock_version() and os.geteuid() != 0)


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT 1", "FROM traffic", "TABLE traffic", "VALUES (1), (2)",
        "WITH a AS (SELECT 1) FROM a", "DESCRIBE traffic", "SHOW TABLES",
        "SUMMARIZE traffic", "EXPLAIN SELECT 1", "EXPLAIN ANALYZE SELECT 1",
        "EXPLAIN (FORMAT json) SELECT 1", "EXPLAIN (FORMAT json, ANALYZE) SELECT 1",
        "EXPLAIN (SELECT 1)", "/* c */ EXPLAIN SELECT 1;", "SELECT 1; -- done",
        "SELECT * FROM range(3), unnest([1, 2])", "SELECT * FROM duckdb_tables()",
        "SELECT * FROM slots_between(NULL, NULL)", "SELECT 'EXPLAIN ANALYZE; COPY' AS text",
        "CREATE OR REPLACE TEMP TABLE mine AS SELECT 1", 'CREATE TEMP VIEW "my" AS FROM traffic',
        "CREATE OR REPLACE TEMPORARY TABLE mine AS FROM range(3)",
        "CREATE OR REPLACE TEMP TABLE mine AS SELECT 1; FROM mine",
        "SELECT sum(bytes) OVER w FROM traffic WINDOW w AS (PARTITION BY metro ORDER BY slot)",
        "SELECT [x + 1 FOR x IN [1, 2] IF x > 1], {'a': 1}, MAP {'a': 1}, DATE '2026-07-01'",
        "SELECT * EXCLUDE (date) FROM traffic QUALIFY row_number() OVER () = 1",
        "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 3) FROM t",
        "SELECT metro, count(*) FROM traffic GROUP BY ROLLUP (metro) HAVING count(*) > 0 LIMIT 5",
        "SELECT #1, x LIKE 'a%', x IN ('a'), x BETWEEN 'a' AND 'b' FROM (SELECT 'a' AS x)",
        "FROM traffic t ASOF JOIN traffic u ON t.slot >= u.slot SELECT t.slot",
        "SELECT time_bucket(INTERVAL 1 HOUR, slot), p95(bytes, 10) FROM traffic GROUP BY ALL",
        "UNPIVOT (SELECT 1 AS a, 2 AS b) ON a, b", "SELECT COLUMNS('m.*') FROM metros",
        "PIVOT (FROM range(4)) ON range % 2", "SELECT ip_str(ip('::1'))",
        "PIVOT (FROM range(4)) ON range IN (1) USING sum(range)",
        "FROM (PIVOT (FROM range(4)) ON range), (SELECT 1)", "SELECT TRY(1 / 0), 1::DECIMAL(9, 2)",
        "WITH t AS (FROM range(4)) PIVOT t ON range, range % 2 USING count(*)",
    ],
)  # fmt: skip
def test_statement_that_reads_is_taken(places: Places, statement: str) -> None:
    places[2].query(statement)


def test_temporary_tables_and_views_last_for_the_session(lake: Path) -> None:
    with QuerySession(lake) as con:
        con.query("CREATE TEMP TABLE mine AS SELECT $a::INTEGER AS a", {"a": "1"})
        con.query("CREATE TEMP VIEW twice AS SELECT 2 * a AS a FROM mine")
        assert con.query("FROM twice").to_pylist() == [{"a": 2}]
        con.query("CREATE OR REPLACE TEMP TABLE mine AS SELECT 21 AS a")
        assert con.query("FROM twice").to_pylist() == [{"a": 42}]
        with pytest.raises(UsageError, match="no table"):
            con.query("CREATE TEMP TABLE twice AS SELECT 1")


@pytest.mark.parametrize(
    "statement",
    ["SHOW TABLES", "SHOW ALL TABLES", "SELECT table_name FROM information_schema.tables",
     "SELECT DISTINCT table_name FROM duckdb_columns()", "SELECT name FROM sqlite_master",
     "SELECT table_name AS name FROM duckdb_tables() UNION SELECT view_name FROM duckdb_views()"],
)  # fmt: skip
def test_what_there_is_can_be_listed(lake: Path, statement: str) -> None:
    """Tables and views of the lake, all of them, and none of those that answers lie in."""
    with QuerySession(lake) as con:
        table = con.query(statement)
    names = {str(row.get("table_name") or row.get("name")) for row in table.to_pylist()}
    assert {*TABLES, "crossings", "provider_slots"} <= names
    assert not [name for name in names if "flowpeer" in name]


def test_pivot_finds_its_values_in_their_order(lake: Path) -> None:
    with QuerySession(lake) as con:
        rows = con.query(
            "WITH t AS (SELECT range AS n, 'it''s ' || range % 12 AS k FROM range(24))"
            " PIVOT t ON n % 12, k USING count(*) GROUP BY k"
        )
        names = con.query("PIVOT (FROM range(12)) ON range USING count(*)").column_names
    assert names == [str(n) for n in range(12)]
    assert rows.num_columns == 1 + 12 * 12
    assert "3_it's 3" in rows.column_names


def test_files_of_the_lake_can_be_read_by_name(lake: Path) -> None:
    with QuerySession(lake) as con:
        path = f"{lake}/traffic/*/*/*.parquet"
        by_name = con.query(f"SELECT count(*) AS n FROM '{path}'").to_pylist()
        assert by_name == con.query("SELECT count(*) AS n FROM traffic").to_pylist()


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT count(*) FROM range(10000000) a, range(10000000) b WHERE a.range * b.range = 7",
        "SELECT length(repeat('x', 2000000000)) FROM range(100)",
        "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT 1 FROM t) SELECT count(*) FROM t",
        "SELECT list_sum(list_transform(range(300000000), lambda x: x % 7)) FROM range(9)",
        "PIVOT (SELECT a.range % 3 AS k FROM range(10000000) a, range(10000000) b) ON k",
    ],
)
def test_runaway_query_is_stopped_in_time(tmp_path: Path, statement: str) -> None:
    with QuerySession(tmp_path) as con:
        assert con.query("SELECT 1 AS one").to_pylist() == [{"one": 1}]
        with pytest.raises(UsageError, match=r"stopped after 0\.3 s|more memory"):
            con.query(statement, timeout_seconds=0.3)
        assert con.query("SELECT 1 AS one").to_pylist() == [{"one": 1}]


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT length(repeat('x', 2000000000) || repeat('y', 2000000000))",
        "SELECT list(range) FROM range(400000000)",
        "SELECT string_agg(repeat('x', 1000), '') FROM range(4000000)",
    ],
)
def test_query_that_needs_more_memory_than_allowed_is_stopped(
    tmp_path: Path, statement: str
) -> None:
    with QuerySession(tmp_path, memory_bytes=200 << 20) as con:
        with pytest.raises(UsageError, match="more memory"):
            con.query(statement, timeout_seconds=60)
        assert con.query("SELECT 1 AS one").to_pylist() == [{"one": 1}]


def test_what_a_session_put_aside_goes_with_it(tmp_path: Path) -> None:
    with QuerySession(tmp_path, memory_bytes=64 << 20) as con:
        con.query("CREATE TEMP TABLE mine AS SELECT range, hash(range) AS h FROM range(10000000)")
        assert con._folder is not None
        folder = Path(con._folder.name)
        assert list(folder.glob("*.tmp"))
        assert con.query("SELECT count(*) AS n FROM mine").to_pylist() == [{"n": 10_000_000}]
        process = con._process
    assert not folder.exists()
    assert process is not None
    assert process.returncode is not None


def test_error_says_where_in_the_statement(tmp_path: Path) -> None:
    with QuerySession(tmp_path) as con:
        with pytest.raises(UsageError, match=r"^SQL, line 2, column 8: .*bites"):
            con.query("SELECT metro,\n       bites\nFROM traffic")
        with pytest.raises(UsageError, match=r"^SQL, line 1, column 1: syntax error"):
            con.query("SELEC 1")
        with pytest.raises(UsageError, match=r"^SQL, line 2, column 8: .*bites"):
            con.query("CREATE TEMP TABLE mine AS\nSELECT bites FROM traffic")
