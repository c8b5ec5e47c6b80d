"""A test that hangs ends, and says where every thread was."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HANGS = """
import threading

def test_waits_for_what_never_comes():
    lock = threading.Lock()
    lock.acquire()
    threading.Thread(target=lock.acquire, daemon=True, name="stuck").start()
    threading.Event().wait()
"""
PYPROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"


def test_a_hang_is_a_failure_with_the_stacks_of_all_threads(tmp_path: Path) -> None:
    (tmp_path / "test_hangs.py").write_text(HANGS, "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-c", str(PYPROJECT), "--rootdir", str(tmp_path),
         "-p", "no:cacheprovider", "-o", "timeout=1", str(tmp_path)],
        cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert "Stack of stuck" in said
    assert "test_waits_for_what_never_comes" in said
