"""The sample network, written once for all tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest

import flowpeer_sample


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the whole sample."""
    folder = tmp_path_factory.mktemp("sample")
    flowpeer_sample.write(folder)
    return folder
