from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from flowpeer.errors import InputError
from flowpeer.lake.store import Lake
from flowpeer.registry.as_names import load_names
from flowpeer.schema import ASNS
from flowpeer_core.asns import SPECIAL_ASNS
from flowpeer_core.columns import arrow_schema


def _rows(lake: Lake) -> dict[int, tuple[str, str | None, str | None]]:
    table = pq.read_table(lake.path("reference/asns.parquet"))
    assert table.schema.equals(arrow_schema(ASNS))
    return {r["asn"]: (r["name"], r["organisation"], r["country"]) for r in table.to_pylist()}


def test_names_organisations_countries_and_the_special_numbers(tmp_path: Path) -> None:
    path, lake = tmp_path / "names.csv", Lake(tmp_path / "lake")
    path.write_text(
        '\ufeffASN,Name,Organisation,Country\r\nAS64500,"Example, Inc.",Example,NL\r\n'
        "64501,=HYPERLINK(1),,\r\nas4294967294,Last\r\n\r\n64500,Again,,\r\nx,No\r\n7,,,\r\n",
        encoding="utf-8",
    )
    facts, new = load_names(lake, path)
    assert new
    rows = _rows(lake)
    assert {asn: row[0] for asn, row in rows.items() if asn < 0} == SPECIAL_ASNS
    assert {asn: row for asn, row in rows.items() if asn >= 0} == {
        64500: ("Example, Inc.", "Example", "NL"),
        64501: ("=HYPERLINK(1)", None, None),
        4294967294: ("Last", None, None),
    }
    assert facts["skipped"] == {
        "AS number given twice": 1,
        "not an AS number": 1,
        "no name": 1,
    }
    assert load_names(lake, path) == (facts, False)


@pytest.mark.parametrize(
    "content",
    [b"", b"a,b\n1,2\n", b"asn,name\n", b"asn,name\nx,y\n", b'asn,name\n1,"' + b"x" * 200_000],
)
def test_what_is_no_table_of_names_is_refused(content: bytes, tmp_path: Path) -> None:
    path, lake = tmp_path / "names.csv", Lake(tmp_path / "lake")
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        load_names(lake, path)
    assert caught.value.advice
    assert not lake.root.exists()


@pytest.mark.parametrize(
    ("name", "rows", "known"),
    [
        ("bgptools-2026-05-31.asns.csv.gz", 120_793, 3356),
        ("iptoasn-2026-05-27.asnames.csv.gz", 86_171, 3),
    ],
)
def test_a_real_file_is_read_whole(
    name: str, rows: int, known: int, shared: Path, tmp_path: Path
) -> None:
    lake = Lake(tmp_path / "lake")
    facts, _ = load_names(lake, shared / "data" / "asnames" / name)
    assert facts["rows"] == rows + len(SPECIAL_ASNS)
    assert _rows(lake)[known][0]
