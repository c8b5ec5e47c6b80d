"""Bounded decompression by content."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from flowpeer_ingest.decompress import open_source, open_unpacked
from flowpeer_ingest.errors import IngestError

TEXT = bytes(range(256)) * 3000


def _zstd_file(path: Path, data: bytes) -> None:
    with pa.CompressedOutputStream(str(path), "zstd") as stream:
        stream.write(data)


def packed(tmp_path: Path, kind: str, data: bytes) -> Path:
    path = tmp_path / f"x.{kind}"
    if kind == "zst":
        _zstd_file(path, data)
    else:
        packers: dict[str, Callable[[bytes], bytes]] = {
            "plain": bytes,
            "gz": gzip.compress,
            "bz2": bz2.compress,
        }
        path.write_bytes(packers[kind](data))
    return path


@pytest.mark.parametrize("kind", ["plain", "gz", "bz2", "zst"])
def test_content_comes_back_whatever_the_packing(tmp_path: Path, kind: str) -> None:
    path = packed(tmp_path, kind, TEXT)
    with open_unpacked(path) as f:
        assert f.read() == TEXT


@pytest.mark.parametrize("kind", ["plain", "gz", "bz2", "zst"])
def test_digest_is_that_of_the_file_on_disk(tmp_path: Path, kind: str) -> None:
    path = packed(tmp_path, kind, TEXT)
    stream, source = open_source(path)
    with stream:
        stream.read(100)
        assert source.digest() == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("kind", ["gz", "bz2", "zst"])
def test_concatenated_streams_are_one(tmp_path: Path, kind: str) -> None:
    one = packed(tmp_path, kind, TEXT).read_bytes()
    (tmp_path / "two").write_bytes(one + one)
    with open_unpacked(tmp_path / "two") as f:
        assert f.read() == TEXT * 2


@pytest.mark.parametrize("kind", ["gz", "bz2", "zst"])
def test_cut_short_is_an_error_that_names_the_file(tmp_path: Path, kind: str) -> None:
    whole = packed(tmp_path, kind, TEXT).read_bytes()
    path = tmp_path / "cut"
    path.write_bytes(whole[: len(whole) // 2])
    with open_unpacked(path) as f, pytest.raises(IngestError, match=r"cut short|damaged") as e:
        f.read()
    assert str(path) in str(e.value)


@pytest.mark.parametrize("kind", ["gz", "bz2", "zst"])
def test_garbage_behind_the_magic_is_an_error(tmp_path: Path, kind: str) -> None:
    whole = packed(tmp_path, kind, TEXT).read_bytes()
    path = tmp_path / "bad"
    path.write_bytes(whole[:10] + b"\xa5" * 4000)
    with open_unpacked(path) as f, pytest.raises(IngestError):
        f.read()


@pytest.mark.parametrize("kind", ["gz", "bz2", "zst"])
def test_a_bomb_is_refused_by_ratio_and_by_size(tmp_path: Path, kind: str) -> None:
    path = packed(tmp_path, kind, bytes(8 << 20))
    with open_unpacked(path, ratio_floor=1 << 20) as f, pytest.raises(IngestError, match="times"):
        f.read()
    with open_unpacked(path, limit_bytes=1 << 20) as f, pytest.raises(IngestError, match="octets"):
        f.read()


def test_archives_that_are_not_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\xfd7zXZ\x00" + bytes(40))
    with pytest.raises(IngestError, match="xz"):
        open_unpacked(tmp_path / "a")


def test_missing_files_and_folders_are_ingest_errors(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(IngestError, match="cannot be read"):
            open_unpacked(path)


def test_empty_file_is_empty(tmp_path: Path) -> None:
    (tmp_path / "e").touch()
    with open_unpacked(tmp_path / "e") as f:
        assert f.read() == b""


def test_stdin_is_a_dash(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stdin:
        buffer = io.BytesIO(gzip.compress(TEXT))

    monkeypatch.setattr(sys, "stdin", Stdin)
    with open_unpacked("-") as f:
        assert f.read() == TEXT
