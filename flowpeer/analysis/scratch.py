"""Sums of routes and slots, held in a temporary file a metro while they are needed."""

from __future__ import annotations

import shutil
import weakref
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import numpy.typing as npt

from flowpeer.errors import naming


class FileStore:
    """A store of `flowpeer_reports.store`; its files go with it."""

    def __init__(self) -> None:
        self._folder = Path(mkdtemp(prefix="flowpeer-sums-"))
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._dtype: np.dtype[Any] | None = None

    def put(self, metro: int, entries: npt.NDArray[Any]) -> None:
        """Add entries of a metro."""
        self._dtype = entries.dtype
        path = self._path(metro)
        with naming(path), path.open("ab") as file:
            file.write(entries.tobytes())

    def get(self, metro: int) -> npt.NDArray[Any] | None:
        """All entries of a metro, in the order in which they were put."""
        path = self._path(metro)
        if self._dtype is None or not path.exists():
            return None
        return np.fromfile(path, self._dtype)

    def _path(self, metro: int) -> Path:
        return self._folder / str(metro)
