"""The folder of unfinished files."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from flowpeer.lake.staged import StagedTable
from flowpeer.lake.staging import Staging
from flowpeer_core.columns import arrow_schema
from flowpeer_ingest.schema import COVERAGE


def test_a_disk_that_fails_at_the_end_of_a_writer_is_no_error_of_its_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    staging = Staging(tmp_path / "staging")
    staging.write(tmp_path / "done", b"octets")
    unlink = os.unlink

    def fails(path: str | Path, *more: object) -> None:
        if str(path).endswith(".lock"):
            raise OSError(errno.EIO, "Input/output error", str(path))
        unlink(path, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "unlink", fails)
    staging.close()
    monkeypatch.undo()
    assert (tmp_path / "done").read_bytes() == b"octets"
    assert list((tmp_path / "staging").iterdir()) == []
    again = Staging(tmp_path / "staging")
    again.write(tmp_path / "done", b"more")  # the lock was let go
    assert again.sweep() == 0


def test_no_room_for_the_end_of_a_table_names_its_file() -> None:
    table = StagedTable(Path("/dev/full"), COVERAGE)
    table.write(arrow_schema(COVERAGE).empty_table())
    with pytest.raises(OSError, match="No space left on device: '/dev/full'"):
        table.close()


def test_nothing_is_left_of_what_could_not_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    staging = Staging(tmp_path / "staging")
    staging.folder  # noqa: B018

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    (tmp_path / "place").mkdir()
    with pytest.raises(OSError, match="No space left"):
        staging.write(tmp_path / "place" / "done", b"octets")
    assert list(staging.folder.iterdir()) == list((tmp_path / "place").iterdir()) == []
