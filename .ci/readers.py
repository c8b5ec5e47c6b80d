"""Files of the compiled Parquet writer, read back by ClickHouse and Spark: `make test-readers`.

    python .ci/readers.py CLICKHOUSE SPARK

The two are environments, made once: what this interpreter has, and chdb or the extra [spark]. Each
table that flowpeer publishes is written as the lake does, in several row groups of several
pages (dictionary, delta and plain ones), with values of every kind (runs, noise of every width,
extremes) and every pattern of nulls in every column that may have them. What each reader makes of
it, all rows and columns, must be what pyarrow reads, which checks the checksums of pages. Spark
needs Java.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from separate import environment, extra

PUBLISHED = ("flows", "sampling", "coverage", "traffic", "traffic_routes")
PART = 24_000
PARTS = 7
FEW = 3
TIMEOUT_S = 300.0
CHDB = ["chdb>=4.0,<5"]
COMPARE = """
import sys
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

KINDS = (pa.types.is_integer, pa.types.is_floating, pa.types.is_timestamp, pa.types.is_boolean)

def plain(column, kind):
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(column, pa.ChunkedArray):  # of no rows
        column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    if kind is pa.types.is_timestamp:
        assert column.type.tz == "UTC", column.type
        return column.cast(pa.timestamp("us", "UTC")).cast(pa.int64())
    wide = {pa.types.is_integer: pa.int64(), pa.types.is_floating: pa.float64()}
    return column.cast(wide.get(kind, pa.bool_() if kind else pa.binary()))

def same(found, path):
    wanted = pq.read_table(path, page_checksum_verification=True)
    assert found.column_names == wanted.column_names, found.column_names
    for name in wanted.column_names:
        of = wanted[name].type
        kind = next((k for k in KINDS if k(of)), None)
        if kind not in (None, pa.types.is_boolean) and not kind(found[name].type):
            sys.exit(f"error: {path}: column {name} is read as {found[name].type}, not {of}")
        if not plain(found[name], kind).equals(plain(wanted[name], kind)):
            sys.exit(f"error: {path}: column {name} is read otherwise")
    file = path.rpartition("/")[2]
    print(f"{file}: {wanted.num_rows:,} rows, {wanted.num_columns} columns equal")
"""
CLICKHOUSE = (
    COMPARE
    + """
import chdb
for path in sys.argv[1:]:
    columns = ", ".join(pq.read_schema(path).names)
    query = f"select {columns} from file('{path}', Parquet) settings max_threads = 1, "
    query += "input_format_parquet_preserve_order = 1, session_timezone = 'UTC'"
    same(pa.ipc.open_stream(chdb.query(query, "ArrowStream").bytes()).read_all(), path)
"""
)
SPARK = (
    COMPARE
    + """
from pyspark.sql import SparkSession
spark = (
    SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false")
    .config("spark.sql.session.timeZone", "UTC").config("spark.ui.showConsoleProgress", "false")
    .config("spark.log.level", "ERROR").config("spark.driver.host", "127.0.0.1")
    .config("spark.driver.bindAddress", "127.0.0.1").config("spark.driver.maxResultSize", "0")
    .config("spark.sql.files.maxPartitionBytes", "1g").getOrCreate()
)
for path in sys.argv[1:]:
    same(spark.read.parquet(path).coalesce(1).toArrow(), path)
"""
)


def write(folder: Path) -> list[Path]:
    """Two files of each table: one of many rows, one of few."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    from flowpeer.lake.store import Lake
    from flowpeer.schema import TABLES
    from flowpeer_core.columns import arrow_schema
    from flowpeer_core.native import library

    if library() is None:
        raise SystemExit("error: without the compiled core there is nothing to read back")
    rng = np.random.default_rng(1)
    lake = Lake(folder / "lake")

    def values(field: pa.Field, part: int, rows: int) -> pa.Array:
        """Runs, noise of every width, extremes; and one of seven patterns of nulls."""
        at = np.arange(rows)
        n = rng.integers(0, 1 << (4 + 8 * (part % 7)), rows)
        if part % 3 == 0:
            n.sort()
        nulls = (
            at < 0, at >= 0, at % 2 == 0, at == 0, at == rows - 1, at // 9_000 % 2 == 0,
            rng.random(rows) < 0.2,
        )[part % 7]  # fmt: skip
        mask = nulls if field.nullable else np.zeros(rows, bool)
        kind = field.type
        if pa.types.is_timestamp(kind):
            return pa.array(1_789_000_000_000_000 + n % (1 << 50), pa.int64(), mask=mask).cast(kind)
        if pa.types.is_boolean(kind):
            return pa.array(n % 3 == 0, kind, mask=mask)
        if pa.types.is_floating(kind):
            return pa.array(n / 8 - 5, kind, mask=mask)
        if pa.types.is_string(kind):
            words = pa.array([f"t{v}·ü" if v % 7 else "" for v in range(5_000)])
            return words.take(pa.array(n % 5_000, mask=mask))
        if pa.types.is_fixed_size_binary(kind):
            whole = np.zeros((rows, kind.byte_width), np.uint8)
            whole[:, -8:] = n.astype(">u8").view(np.uint8).reshape(rows, 8)
            whole[:, : kind.byte_width // 2] = rng.integers(0, 256, (1, kind.byte_width // 2))
            made = pa.FixedSizeBinaryArray.from_buffers(kind, rows, [None, pa.py_buffer(whole)])
            return pa.array(made.to_numpy(zero_copy_only=False), kind, mask=mask)
        info = np.iinfo(np.int32 if pa.types.is_int32(kind) else np.int64)
        n = n % info.max
        n[rows // 2 :: 5_003] = info.max
        if kind == pa.int32():
            n[rows // 3 :: 7_001] = info.min
        return pa.array(n.astype(info.dtype), kind, mask=mask)

    made, encodings = [], set()
    for name in PUBLISHED:
        schema = arrow_schema(TABLES[name])
        for which, parts, rows in (("many", PARTS, PART), ("few", 1, FEW)):
            staged = lake.stage(name, TABLES[name])
            for part in range(parts):
                staged.write(
                    pa.Table.from_arrays(
                        [values(f, i + part, rows) for i, f in enumerate(schema)], schema=schema
                    )
                )
            staged.finish(name)
            path = folder / f"{name}-{which}.parquet"
            shutil.move(staged.path, path)
            made.append(path)
            facts = pq.read_metadata(path)
            if facts.num_rows != parts * rows or (parts > 1 and facts.num_row_groups < 2):
                raise SystemExit(f"error: {path}: {facts}")
            encodings |= {
                one for i in range(facts.num_columns)
                for one in facts.row_group(0).column(i).encodings
            }  # fmt: skip
    if missing := {"PLAIN", "RLE_DICTIONARY", "DELTA_BINARY_PACKED"} - encodings:
        raise SystemExit(f"error: no page is {' or '.join(missing)}")
    return made


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clickhouse", type=Path)
    parser.add_argument("spark", type=Path)
    arguments = parser.parse_args()
    readers = [("ClickHouse", arguments.clickhouse, CHDB, CLICKHOUSE)]
    if shutil.which("java") is None:
        print("SKIPPED: Spark needs Java (Debian: openjdk-17-jre-headless), and there is none")
    else:
        readers.append(("Spark", arguments.spark, extra("spark", "dask"), SPARK))
    with tempfile.TemporaryDirectory() as temporary:
        files = write(Path(temporary))
        for name, folder, wanted, program in readers:
            python = environment(folder, wanted)
            if python is None:
                print(f"SKIPPED: {name} cannot be installed")
                continue
            began = time.monotonic()
            try:
                done = subprocess.run(
                    [python, "-c", program, *files], check=False, timeout=TIMEOUT_S,
                    capture_output=True, text=True,
                )  # fmt: skip
            except subprocess.TimeoutExpired:
                raise SystemExit(f"error: {name} does not end within {TIMEOUT_S:.0f} s") from None
            if done.returncode != 0:
                raise SystemExit(f"error: {name}\n{done.stdout}{done.stderr}")
            print(
                f"{name} reads the same ({time.monotonic() - began:.0f} s):", done.stdout, sep="\n"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
