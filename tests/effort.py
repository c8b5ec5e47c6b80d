"""How many random cases a run tries: every change some, `make soak` all and far more."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings


def examples(usual: int) -> int:
    """Examples of a property, where a property usually gets a hundred: as the profile has it."""
    return max(5, usual * settings.default.max_examples // 100)


def seeds(every: int, some: int) -> list[Any]:
    """Seeds from 0; those from `some` on are for `--soak`."""
    return [*range(some), *(pytest.param(n, marks=pytest.mark.soak) for n in range(some, every))]
