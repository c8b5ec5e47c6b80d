"""Makes `collector_rig` importable by the tests beside it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# Under --import-mode=importlib a test folder is not on the path by itself.
sys.path.insert(0, str(Path(__file__).parent))

from collector_rig import Rig


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """A collector on loopback with its own lake; killed at the end if it still runs."""
    made = Rig(tmp_path / "rig", warm=True)
    yield made
    made.close()
