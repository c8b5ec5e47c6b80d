"""Files of the operator's own beside the lake's tables."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from flowpeer.errors import InputError, UsageError
from flowpeer.query import QuerySession
from flowpeer.query.attach import parse

ACCOUNTS = pl.DataFrame({"asn": [2906, 15169], "owner": ["ann", None], "since": ["2026-01-02"] * 2})


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet", "json", "jsonl", "xlsx"])
def test_file_is_a_table_that_joins(lake: Path, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"accounts.{ending}"
    if ending in ("csv", "tsv"):
        ACCOUNTS.write_csv(path, separator="," if ending == "csv" else "\t")
    elif ending == "jsonl":
        ACCOUNTS.write_ndjson(path)
    elif ending == "xlsx":
        ACCOUNTS.write_excel(path)
    else:
        getattr(ACCOUNTS, f"write_{ending}")(path)
    with QuerySession(lake) as con:
        con.attach("accounts", path)
        rows = con.query(
            "SELECT owner, since::DATE::VARCHAR AS since, count(*) > 0 AS some FROM traffic"
            " JOIN accounts ON asn = remote_asn GROUP BY ALL ORDER BY owner"
        ).to_pylist()
        assert rows == [
            {"owner": "ann", "since": "2026-01-02", "some": True},
            {"owner": None, "since": "2026-01-02", "some": True},
        ]
        for statement in (
            "CREATE OR REPLACE TEMP TABLE accounts AS SELECT 1",
            "DROP VIEW accounts",
        ):
            with pytest.raises(UsageError):
                con.query(statement)
        with pytest.raises(UsageError, match="already"):
            con.attach("Traffic", path)
        # It is there again after a query had to be killed.
        with pytest.raises(UsageError):
            con.query("SELECT length(repeat('x', 2000000000)) FROM range(100)", timeout_seconds=0.2)
        assert con.query("SELECT count(*) AS n FROM accounts").to_pylist() == [{"n": 2}]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", b""), ("a.json", b"{"), ("a.xlsx", b"PK nothing"), ("a.parquet", b"PAR1"),
        ("b.json", b"[]"), ("b.csv", "asn,owner\n1,x\n".encode("utf-16")),
        ("c.csv", b"asn,owner\n1,M\xfcller\n"),
    ],
)  # fmt: skip
def test_file_that_is_no_table_is_told_in_a_line(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with QuerySession(tmp_path / "lake") as con:
        with pytest.raises(InputError, match=name) as error:
            con.attach("a", tmp_path / name)
        assert "\n" not in error.value.what
        with pytest.raises(InputError, match=r"none\.csv"):
            con.attach("a", tmp_path / "none.csv")


def test_words_of_the_option() -> None:
    assert parse("mine=data/x.csv") == ("mine", Path("data/x.csv"))
    assert parse("data/accounts.xlsx") == ("accounts", Path("data/accounts.xlsx"))
    for word in ("a b=x.csv", "mine=x.docx", "=x.csv", "1.csv"):
        with pytest.raises(UsageError):
            parse(word)


def test_values_are_those_of_the_file(tmp_path: Path) -> None:
    """Integers beyond 64 bits, lengths of time, headings in quotes, another separator."""
    (tmp_path / "a.csv").write_text('"say ""hi""";n\nx;99999999999999999999999999\n')
    frame = pl.DataFrame({"lasted": [timedelta(seconds=5)], "big": [[2**70]]},
                         schema_overrides={"big": pl.List(pl.Int128)})  # fmt: skip
    frame.write_parquet(tmp_path / "b.parquet")
    os.mkfifo(tmp_path / "pipe.csv")
    with QuerySession(tmp_path / "lake") as con:
        con.attach("a", tmp_path / "a.csv")
        assert con.query("FROM a").to_pylist() == [
            {'say "hi"': "x", "n": "99999999999999999999999999"}
        ]
        con.attach("b", tmp_path / "b.parquet")
        text = "SELECT epoch(lasted::INTERVAL) AS s, big[1]::HUGEINT::VARCHAR AS big FROM b"
        assert con.query(text).to_pylist() == [{"s": 5.0, "big": str(2**70)}]
        with pytest.raises(InputError, match=r"pipe\.csv: is no file"):
            con.attach("pipe", tmp_path / "pipe.csv")
        with pytest.raises(UsageError, match="already"):
            con.attach("_flowpeer_result", tmp_path / "a.csv")
        assert con.query("SELECT 1 AS a").num_rows == 1
