"""Where arrays wait, by metro; the caller may keep them on disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt


class Store(Protocol):
    """Entries of one kind, by metro."""

    def put(self, metro: int, entries: npt.NDArray[Any]) -> None:
        """Add entries of a metro."""

    def get(self, metro: int) -> npt.NDArray[Any] | None:
        """All entries of a metro, in the order in which they were put; None: there are none."""


Stores = Callable[[], Store]
"""Makes a store, empty."""


class MemoryStore:
    """A store in memory."""

    def __init__(self) -> None:
        self._parts: dict[int, list[npt.NDArray[Any]]] = {}

    def put(self, metro: int, entries: npt.NDArray[Any]) -> None:
        """See `Store`."""
        self._parts.setdefault(metro, []).append(entries)

    def get(self, metro: int) -> npt.NDArray[Any] | None:
        """See `Store`."""
        parts = self._parts.get(metro)
        if parts is None:
            return None
        if len(parts) > 1:
            parts[:] = [np.concatenate(parts)]
        return parts[0]
