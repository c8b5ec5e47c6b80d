"""The explorer over the demo, and over nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("starlette", reason="the extra [serve] is not installed")
pytest.importorskip("uvicorn", reason="the extra [serve] is not installed")
sys.path.insert(0, str(Path(__file__).parent))
from explorer_client import Explorer, bare_network, serving


@pytest.fixture(scope="session")
def served(demo_folder: Path) -> Iterator[str]:
    """The address of a server of the demo on a free port, in a process of its own."""
    with serving(demo_folder) as address:
        yield address


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
