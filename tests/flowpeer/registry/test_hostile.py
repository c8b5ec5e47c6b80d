"""Every reader of a file against files made to hurt: one line, nothing changed, in seconds."""

from __future__ import annotations

import gzip
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flowpeer.errors import FlowpeerError
from flowpeer.lake.store import Lake
from flowpeer.registry.as_names import load_names
from flowpeer.registry.ixf import load_ixf
from flowpeer.registry.peeringdb import load_peeringdb
from flowpeer.routing.bmp.capture import load_capture
from flowpeer.routing.cones import load_cones
from flowpeer.routing.relations import load_relations
from flowpeer.routing.rib.snapshot import load
from flowpeer.routing.rib.updates import load_updates

Loader = Callable[[Lake, Path], Any]
LOADERS: dict[str, Loader] = {
    "peeringdb": load_peeringdb,
    "ixf": load_ixf,
    "names": load_names,
    "relations": load_relations,
    "cones": load_cones,
    "rib": load,
    "updates": lambda lake, path: load_updates(lake, [path]),
    "bmp": load_capture,
}
HEADS = {
    "peeringdb": b'{"net": {"data": [{"id": 1, "asn": 1, "name": "x"},',
    "ixf": b'{"member_list": [',
    "names": b"asn,name\n1,One\n",
    "relations": b"1|2|-1\n",
    "cones": b"1 2 3\n",
    "rib": b"8.8.8.0/24\t15169\n",
    "updates": b"\0\0\0\1\0\x10\0\4\0\0\0\x10",
    "bmp": b"\xd4\xc3\xb2\xa1\2\0\4\0\0\0\0\0\0\0\0\0\xff\xff\0\0\1\0\0\0",
}


def _refused(loader: Loader, lake: Lake, path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(FlowpeerError) as caught:
        loader(lake, path)
    assert time.monotonic() - started < 20
    assert caught.value.advice
    assert "\n" not in str(caught.value)
    assert not list(lake.root.glob("reference/*.parquet"))
    assert not list(lake.root.glob("routes/*.parquet"))


@pytest.fixture(scope="module")
def bomb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hundred megabytes of blanks in a hundred kilobytes; members of gzip follow each other."""
    path = tmp_path_factory.mktemp("bomb") / "blanks.gz"
    with gzip.open(path, "wb") as file:
        for _ in range(100):
            file.write(b" " * (1 << 20))
    return path


@pytest.mark.parametrize("name", LOADERS)
def test_a_packed_bomb_is_refused(name: str, bomb: Path, tmp_path: Path) -> None:
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(HEADS[name]) + bomb.read_bytes())
    _refused(LOADERS[name], Lake(tmp_path / "lake"), path)


@pytest.mark.parametrize("name", LOADERS)
@pytest.mark.parametrize(
    "content",
    [
        b"", b"\0" * 5000, b"[" * 10_000 + b"]" * 10_000, b'{"a":' * 10_000, b"\xff\xfe" * 100,
        b"null", b"\x1f\x8b", b"BZh9", b"\x28\xb5\x2f\xfd", b"a,b\n" * 50, b"SQLite format 3\0",
    ],
    ids=lambda content: repr(bytes(content[:12])),
)  # fmt: skip
@pytest.mark.usefixtures("garbage_waits")
def test_a_file_of_something_else_is_refused(name: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    _refused(LOADERS[name], Lake(tmp_path / "lake"), path)


@pytest.mark.parametrize("name", LOADERS)
def test_random_octets_behind_a_good_beginning_are_refused(name: str, tmp_path: Path) -> None:
    rng = random.Random(6)
    path = tmp_path / "file"
    for _ in range(10):
        path.write_bytes(HEADS[name] + b"".join(rng.randbytes(60) + b"\n" for _ in range(30)))
        _refused(LOADERS[name], Lake(tmp_path / "lake"), path)
