"""Helpers that stand in one test file of this folder and are used by another; an object store."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from object_store import STORE, Bucket


@pytest.fixture(scope="session")
def store() -> Iterator[str]:
    """The address of an object store on loopback that speaks S3 (moto)."""
    with subprocess.Popen(
        [sys.executable, "-c", STORE], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        words = process.stdout.readline().split()
        assert words, "the object store did not start"
        yield f"http://{words[0]}:{words[1]}"
        process.stdin.close()
        process.kill()


@pytest.fixture
def bucket(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """A new bucket."""
    made = Bucket(store, tmp_path, monkeypatch)
    yield made
    made.client.close()
