"""Files of the compiled Parquet writer, read back by ClickHouse (chdb) and Spark.

    python .ci/readers.py [--spark]

Both are installed into environments of their own, since they weigh hundreds of megabytes: this is
no test of every run. Each table that flowpeer publishes is written with rows of every kind (runs,
noise, nulls, nothing but nulls), and what the reader makes of it is compared column by column with
pyarrow's view. Spark needs Java.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROWS = 40_000
PUBLISHED = ("flows", "sampling", "coverage", "traffic", "traffic_routes")
COMPARE = """
import sys
import pyarrow as pa
import pyarrow.parquet as pq

def plain(column):
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us", column.type.tz)).cast(pa.int64())
    if pa.types.is_binary(column.type) or pa.types.is_fixed_size_binary(column.type):
        return [None if v is None else bytes(v) for v in column.to_pylist()]
    return column.to_pylist()

def same(found, path):
    wanted = pq.read_table(path, page_checksum_verification=True)
    for name in wanted.column_names:
        if pa.types.is_string(wanted[name].type):
            found_values = [v.decode() if isinstance(v, bytes) else v for v in plain(found[name])]
        else:
            found_values = plain(found[name])
        if found_values != plain(wanted[name]):
            sys.exit(f"error: {path}: column {name} is read otherwise")
    print(f"{path}: {wanted.num_rows:,} rows, {wanted.num_columns} columns equal")
"""
CHDB = (
    COMPARE
    + """
import chdb
for path in sys.argv[1:]:
    columns = ", ".join(pq.read_schema(path).names)
    query = f"select {columns} from file('{path}', Parquet) settings max_threads = 1, "
    query += "input_format_parquet_preserve_order = 1"
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
    .getOrCreate()
)
for path in sys.argv[1:]:
    same(spark.read.parquet(path).coalesce(1).toArrow(), path)
"""
)


def write(folder: Path) -> list[Path]:
    """One file a table."""
    import numpy as np
    import pyarrow as pa

    from flowpeer.schema import TABLES
    from flowpeer_core.columns import arrow_schema
    from flowpeer_core.native.encodings import usual
    from flowpeer_core.native.writing import open_writer
    from flowpeer_ingest.encoding import FLOWS_ENCODING

    rng = np.random.default_rng(1)
    made = []
    for name in PUBLISHED:
        schema = arrow_schema(TABLES[name])
        arrays = []
        for i, field in enumerate(schema):
            whole = rng.integers(0, 1 << (4 + 8 * (i % 4)), ROWS)
            whole[: ROWS // 2] = np.sort(whole[: ROWS // 2])  # runs
            cells: object = whole
            if pa.types.is_int32(field.type):
                cells = whole.astype(np.int32)
            elif pa.types.is_boolean(field.type):
                cells = whole % 3 == 0
            elif pa.types.is_floating(field.type):
                cells = whole / 8
            elif pa.types.is_string(field.type):
                cells = [f"t{v % 5_000}" for v in whole]
            elif pa.types.is_fixed_size_binary(field.type):
                cells = [int(v).to_bytes(16, "big") for v in whole]
            share = (0.0, 0.2, 1.0)[i % 3] if field.nullable else 0.0
            arrays.append(pa.array(cells, field.type, mask=rng.random(ROWS) < share))
        path = folder / f"{name}.parquet"
        encodings = FLOWS_ENCODING if name == "flows" else usual(schema)
        with path.open("wb") as file:
            writer = open_writer(file, schema, encodings)
            writer.write(pa.Table.from_arrays(arrays, schema=schema))
            writer.close()
        made.append(path)
    return made


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--spark", action="store_true", help="Spark too")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        files = write(folder)
        readers = {"chdb": CHDB} | ({"pyspark": SPARK} if arguments.spark else {})
        for package, program in readers.items():
            home = folder / package
            venv.create(home, with_pip=True)
            python = home / "bin" / "python"
            subprocess.run(
                [python, "-m", "pip", "--disable-pip-version-check", "--quiet", "install",
                 package, "pyarrow", "pandas"],
                check=True,
            )  # fmt: skip
            print(f"== {package}", flush=True)
            subprocess.run([python, "-c", program, *files], check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
