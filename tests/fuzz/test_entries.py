"""Each entry for some inputs; `python tests/fuzz/entries.py` goes on for as long as one likes."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

_SPEC = importlib.util.spec_from_file_location("entries", Path(__file__).with_name("entries.py"))
assert _SPEC is not None
assert _SPEC.loader is not None
entries = importlib.util.module_from_spec(_SPEC)
sys.modules["entries"] = entries  # dataclasses look their module up
_SPEC.loader.exec_module(entries)


@pytest.mark.parametrize("name", entries.ENTRIES)
def test_any_input_gives_a_result_or_the_one_error(name: str, tmp_path: Path) -> None:
    run = entries.fuzz(name, seconds=60, executions=25, seed=1, keep=tmp_path)
    assert not run.found, run.found
    assert run.executions == 25
    assert run.lines > 5
