"""A synthetic network whose flows, routes and registries show all that flowpeer does.

`write` makes the files; `flowpeer_sample.answers` knows the right answers. Names are invented.
This package imports nothing of the programs it tests: its encoders are written from the RFCs.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from flowpeer_core.sample import MARKER as MARKER
from flowpeer_sample.writing import digests as digests
from flowpeer_sample.writing import is_right, note


def write(directory: Path, *, progress: Callable[[str, int, int], None] | None = None) -> None:
    """Writes the sample network into `directory`, which is made where it is missing.

    The same content every time, to the byte; each file appears whole, and a file that is right
    already is left alone: by its digest in `.flowpeer-sample.sha256` it is not made again for that.
    `progress` is called with a file's name, its number and their count.
    Raises OSError where a file cannot be written.
    """
    folder = Path(directory)
    known = digests(folder)
    if known and all(is_right(folder / name, digest) for name, digest in known.items()):
        for number, name in enumerate(known, 1):
            if progress is not None:
                progress(name, number, len(known))
        return
    from flowpeer_sample.build import files, write_plan

    note(folder, write_plan(files(), folder, progress, known))


def captures() -> list[str]:
    """Names of the day's captures, in the order in which they are written."""
    from flowpeer_sample.world import EXPORTERS

    return [f"captures/{exporter.file}" for exporter in EXPORTERS]
