"""`flowpeer sql` as a person and a program call it."""

from __future__ import annotations

import io
import json
import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from warm import warm

import flowpeer_sql
from flowpeer.lake.store import Lake
from flowpeer.schema import TABLES
from flowpeer_core.columns import arrow_schema

CONFIG = """
[network]
asn = 64500
name = "Example"
prefixes = ["198.18.0.0/15"]

[lake]
path = "lake"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "flowpeer.toml").write_text(CONFIG)
    schema = arrow_schema(TABLES["traffic"])
    row = {
        "slot": datetime(2026, 7, 1, 8, tzinfo=UTC), "metro": "ams", "exporter": "e",
        "interface": 1, "role": "transit", "provider_asn": 1299, "direction": "out", "family": 4,
        "remote_asn": 2906, "scaled": True, "bytes": 37_500_000, "packets": 3, "records": 1,
        "variance_low": 0.0, "variance_high": 0.0,
    }  # fmt: skip
    Lake(tmp_path / "lake").publish(
        "traffic/date=2026-07-01/hour=08/part.parquet", TABLES["traffic"],
        pa.Table.from_pylist([row], schema=schema), {},
    )  # fmt: skip
    return tmp_path


def run(folder: Path, *words: str, text: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    running = warm().begin(["sql", *words], folder, os.environ, text)
    return subprocess.CompletedProcess(words, running.wait(120), *running.octets())


def test_formats_say_the_same(folder: Path) -> None:
    query = "SELECT remote_asn, sum(bytes) AS bytes FROM traffic GROUP BY ALL"
    wanted = [{"remote_asn": 2906, "bytes": 37_500_000}]
    assert json.loads(run(folder, query, "--format", "json").stdout) == wanted
    assert json.loads(run(folder, "--json", query).stdout) == wanted
    assert run(folder, query, "--format", "csv").stdout.split() == [
        b"remote_asn,bytes",
        b"2906,37500000",
    ]
    parquet = pq.read_table(io.BytesIO(run(folder, query, "--format", "parquet").stdout))
    assert parquet.to_pylist() == wanted
    assert parquet.schema.field("bytes").type == pa.int64()
    table = run(folder, query)
    assert b"2906" in table.stdout
    assert table.stderr == b""


def test_plan_is_drawn_in_its_lines(folder: Path) -> None:
    for words in (["EXPLAIN SELECT sum(bytes) FROM traffic"], ["EXPLAIN ANALYZE FROM traffic"]):
        lines = run(folder, *words).stdout.decode().splitlines()
        assert len(lines) > 5
        assert any("READ_PARQUET" in line for line in lines)
        assert all(line[0] in "╭│╰" for line in lines)
    assert run(folder, *words, "--format", "csv").stdout.startswith(b"explain_key,explain_value")


def test_question_takes_parameters_and_a_period(folder: Path) -> None:
    # A period from midnight has 97 slots up to the last one rolled up.
    for words, slots in ((("-p", "metro=ams"), 1), (("--period", "2026-07-01"), 97), ((), 1)):
        rows = json.loads(run(folder, "top_remote_asns", *words, "--format", "json").stdout)
        assert [(r["remote_asn"], r["share"]) for r in rows] == [(2906, 1.0)]
        assert rows[0]["mean_mbps"] == pytest.approx(1 / slots)
    assert json.loads(run(folder, "top_remote_asns", "-p", "metro=fra", "--json").stdout) == []
    for period in ("2026-08", "2020-01"):  # after what there is, and before
        assert run(folder, "top_remote_asns", "--period", period, "--json").returncode == 3


def test_named_question_ends_as_other_commands_do(folder: Path) -> None:
    with (folder / "flowpeer.toml").open("a") as file:
        file.write('[[metros]]\nid = "ams"\nname = "Amsterdam"\n')
    for words, status, said in (
        (["growth", "-p", "period=2027Q3"], 3, "no traffic in 2027Q3"),
        (["losses_by_exporter", "--period", "2026-07"], 3, "no traffic in 2026-07"),
        (["growth", "-p", "metro=fra", "--period", "2027Q3"], 2, "no metro fra is configured"),
    ):
        done = run(folder, *words, "--json")
        assert done.returncode == status, words
        assert said in done.stderr.decode()
        if status:
            assert json.loads(done.stdout)["exit"] == status


def test_statement_comes_from_a_file_or_standard_input(folder: Path) -> None:
    (folder / "q.sql").write_text("SELECT $a::INTEGER + 1 AS n")
    assert json.loads(run(folder, "-f", "q.sql", "-p", "a=41", "--json").stdout) == [{"n": 42}]
    assert json.loads(run(folder, "--json", text=b"SELECT 1 AS n").stdout) == [{"n": 1}]


def test_answer_goes_to_a_file_by_its_ending_and_a_failed_one_leaves_none(folder: Path) -> None:
    (folder / "accounts.csv").write_text("asn,owner\n2906,ann\n")
    query = (
        "SELECT owner, sum(bytes) AS b FROM traffic JOIN accounts ON asn = remote_asn GROUP BY 1"
    )
    for ending in ("csv", "json", "parquet", "xlsx"):
        out = folder / f"answer.{ending}"
        done = run(folder, query, "--attach", "accounts=accounts.csv", "--out", out.name)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        assert out.stat().st_size > 10
    assert (folder / "answer.csv").read_text() == "owner,b\nann,37500000\n"
    before = sorted(folder.iterdir())
    for words in (["SELECT 1 / 'x'", "--out", "no.csv"], ["SELECT 1", "--out", "no.docx"]):
        done = run(folder, *words)
        assert done.returncode == 2
        assert done.stderr.startswith(b"error: ")
    assert sorted(folder.iterdir()) == before
    assert run(folder, "FROM a", "--attach", "a=none.csv", "--out", "no.csv").returncode == 3
    assert sorted(folder.iterdir()) == before


def test_list_and_show_need_no_lake(tmp_path: Path) -> None:
    listed = {r["name"]: r for r in json.loads(run(tmp_path, "--list", "--json").stdout)}
    assert {q.name for q in flowpeer_sql.questions()} <= set(listed)
    assert set(TABLES) <= set(listed)
    kinds = {name: row["kind"] for name, row in listed.items()}
    assert (kinds["ip_in"], kinds["transit"], kinds["growth"]) == ("macro", "view", "question")
    for name in ("growth", "provider_slots", "p95", "traffic"):
        assert run(tmp_path, "--show", name).stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["SELEC 1"], "line 1, column 1"),
        (["SELECT nothing FROM traffic"], "line 1, column 8"),
        (["top_remote_asn"], "nearest is top_remote_asns"),
        (["traffic"], "is a table"),
        (["growth", "-p", "mtro=ams"], "no parameter mtro"),
        (["SELECT $a"], "a"),
        (["SELECT 1", "-p", "x"], "name=value"),
        (["SELECT 1", "--format", "xml"], "xml"),
        (["COPY (SELECT 1) TO 'x.csv'"], "reads"),
        (["SELECT 1", "-f", "q.sql"], "exclude"),
        (["growth", "-p", "top=many"], "many"),
        (["--write-catalog", "x.db"], ".duckdb"),
        (["SELECT count(*) FROM range(10000000) a, range(10000000) b WHERE a.range * b.range = 7",
          "--timeout", "0.2"], "stopped"),
    ],
)  # fmt: skip
def test_bad_usage_is_one_line_and_status_2(folder: Path, words: list[str], said: str) -> None:
    done = run(folder, *words)
    lines = done.stderr.decode().splitlines()
    assert done.returncode == 2, done.stderr
    assert done.stdout == b""
    assert lines[0].startswith("error: ")
    assert said in lines[0]
    assert len(lines) <= 2
    assert sorted(p.name for p in folder.iterdir()) == ["flowpeer.toml", "lake"]


def test_failure_with_json_is_an_object(folder: Path) -> None:
    for words, status in ((["SELEC 1"], 2), (["-f", "none.sql"], 3), (["--nonsense"], 2)):
        done = run(folder, *words, "--json")
        said = json.loads(done.stdout)
        assert (done.returncode, said["exit"]) == (status, status)
        assert f"error: {said['error']}" in done.stderr.decode()


def test_missing_file_is_status_3(folder: Path) -> None:
    assert run(folder, "-f", "none.sql").returncode == 3


def test_catalog_file_is_written_once_and_whole(folder: Path) -> None:
    done = run(folder, "--write-catalog", "peering.duckdb")
    assert (done.returncode, done.stdout) == (0, b"")
    assert sorted(p.name for p in folder.iterdir()) == ["flowpeer.toml", "lake", "peering.duckdb"]
