"""The explorer over the demo, and over nothing."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import filelock
import pytest

pytest.importorskip("starlette", reason="the extra [serve] is not installed")
pytest.importorskip("uvicorn", reason="the extra [serve] is not installed")
sys.path.insert(0, str(Path(__file__).parent))
from explorer_client import Explorer, address_in, bare_network, serve


@pytest.fixture(scope="session")
def served(demo_folder: Path) -> str:
    """The address of a server of the demo, a process of its own: one for all workers, so that an
    answer is made once. It ends with the run."""
    said = demo_folder.parent / "served"
    with filelock.FileLock(demo_folder.parent / "served.lock"):
        if not said.exists():
            whole = os.getppid() if os.environ.get("PYTEST_XDIST_WORKER") else os.getpid()
            process, _ = serve(demo_folder, said, until=whole)
            process.returncode = 0  # others use it when this worker has ended: it is not waited for
    address = address_in(said)
    assert address
    return address


@pytest.fixture(scope="session")
def explorer(demo_folder: Path) -> Iterator[Explorer]:
    """Of the demo, for reading."""
    made = Explorer(config=demo_folder / "flowpeer.toml")
    yield made
    made.runner.close()


@pytest.fixture
def explore() -> Iterator[Callable[..., Explorer]]:
    """`explore(config=…)`: an explorer with these settings."""
    made: list[Explorer] = []

    def make(**settings: object) -> Explorer:
        made.append(Explorer(**settings))
        return made[-1]

    yield make
    for explorer in made:
        explorer.runner.close()


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A lake without any data, with names that want to be markup."""
    return bare_network(tmp_path)
