from __future__ import annotations

import bz2
import gzip
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flowpeer.errors import InputError
from flowpeer.lake.store import Lake
from flowpeer.routing.relations import load_relations
from flowpeer.schema import AS_RELATIONSHIPS
from flowpeer_core.columns import arrow_schema

SERIAL_1 = b"# source:topology|BGP\n# inferred clique: 3356 174\n174|64500|-1\n174|3356|0\n"
SERIAL_2 = b"# input clique: 174 3356\n174|64500|-1|bgp\n174|3356|0|mlp\n"


def _tables(lake: Lake) -> tuple[list[tuple[int, ...]], list[int]]:
    pairs = pq.read_table(lake.path("reference/as_relationships.parquet"))
    assert pairs.schema.equals(arrow_schema(AS_RELATIONSHIPS))
    clique = pq.read_table(lake.path("reference/as_clique.parquet"))
    return [tuple(row.values()) for row in pairs.to_pylist()], clique["asn"].to_pylist()


def _zstd(octets: bytes) -> bytes:
    return bytes(pa.compress(octets, "zstd", asbytes=True))


@pytest.mark.parametrize("text", [SERIAL_1, SERIAL_2])
@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, _zstd])
def test_both_serials_in_any_packing(
    text: bytes, pack: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    path, lake = tmp_path / "as-rel", Lake(tmp_path / "lake")
    path.write_bytes(pack(text))
    facts, new = load_relations(lake, path)
    assert new
    assert _tables(lake) == ([(174, 3356, 0), (174, 64500, -1)], [174, 3356])
    assert (facts["rows"], facts["clique"], facts["skipped"]) == (2, 2, {})
    assert load_relations(lake, path) == (facts, False)
    path.write_bytes(pack(b"1|2|-1\n"))
    assert load_relations(lake, path)[1]
    assert _tables(lake) == ([(1, 2, -1)], [])


def test_isolated_faults_are_counted(tmp_path: Path) -> None:
    path, lake = tmp_path / "as-rel", Lake(tmp_path / "lake")
    lines = [f"1|{i}|-1" for i in range(2, 30)]
    path.write_text("\n".join([*lines, "1|5|0", "1|2", "what"]))
    facts, _ = load_relations(lake, path)
    assert facts["skipped"] == {"not a relationship": 2, "pair given twice": 1}
    assert facts["rows"] == 28


@pytest.mark.parametrize("content", [b"", b"# only\n", b"a,b\n1,2\n", b"1|2|7\n", b"\xff\xfe\0\0"])
def test_what_is_no_such_file_is_refused_and_the_old_one_kept(
    content: bytes, tmp_path: Path
) -> None:
    path, lake = tmp_path / "as-rel", Lake(tmp_path / "lake")
    path.write_bytes(SERIAL_1)
    load_relations(lake, path)
    before = _tables(lake)
    path.write_bytes(content)
    with pytest.raises(InputError):
        load_relations(lake, path)
    assert _tables(lake) == before
    with pytest.raises(InputError, match="cannot be read"):
        load_relations(lake, tmp_path / "absent")


def test_a_real_file_is_read_whole(shared: Path, tmp_path: Path) -> None:
    path, lake = shared / "data" / "asrel" / "20160101.as-rel.txt.gz", Lake(tmp_path / "lake")
    facts, _ = load_relations(lake, path)
    pairs, clique = _tables(lake)
    expected = [
        tuple(map(int, line.split("|")))
        for line in gzip.decompress(path.read_bytes()).decode().splitlines()
        if not line.startswith("#")
    ]
    assert Counter(pairs) == Counter(expected)
    assert (len(pairs), len(clique), facts["skipped"]) == (210_412, 17, {})
    assert {174, 1299, 3356} <= set(clique)
