"""Files of the operator's own beside the lake's tables."""

from __future__ import annotations

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
    [("a.csv", b""), ("a.json", b"{"), ("a.xlsx", b"PK nothing"), ("a.parquet", b"PAR1")],
)
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
