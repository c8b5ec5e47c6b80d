"""A synthetic network whose flows, routes and registries show all that flowpeer does.

`write` makes the files; `flowpeer_sample.answers` knows the right answers. Names are invented.
This package imports nothing of the programs it tests: its encoders are written from the RFCs.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from flowpeer_core.sample import MARKER as MARKER


def write(directory: Path, *, progress: Callable[[str, int, int], None] | None = None) -> None:
    """Writes the sample network into `directory`, which is made where it is missing.

    The same content every time, to the byte; each file appears whole, and a file that is right
    already is left alone. `progress` is called with a file's name, its number and their count.
    Raises OSError where a file cannot be written.
    """
    from flowpeer_sample.build import files, write_plan

    write_plan(files(), Path(directory), progress)
