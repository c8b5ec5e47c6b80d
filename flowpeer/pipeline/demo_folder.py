"""The folder of the demo: the sample network while it is written, and what its report is of."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import flowpeer_sample
from flowpeer.analysis.standing import WrittenFolder, made_from

STEP_S = 0.02
CONFIGURATION, REPORT = "flowpeer.toml", "report"


@dataclass(frozen=True, slots=True)
class Demo:
    """What was done, and what stands in the folder of the report then."""

    folder: Path
    written: WrittenFolder
    records_added: int = 0
    hours_rolled_up: int = 0
    unchanged: bool = False
    """Everything was there already."""

    @property
    def files(self) -> list[Path]:
        """Those of the report."""
        return [self.folder / name for name in self.written.files]

    @property
    def page(self) -> Path:
        """The report's page."""
        return self.folder / self.written.page


class SampleWriter:
    """The sample being written by a process of its own, while its first files are read."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        if not flowpeer_sample.digests(self._directory):
            self._process = subprocess.Popen(  # noqa: S603  # our own module
                [sys.executable, "-P", "-m", "flowpeer_sample", str(self._directory)],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for this process, which ends the other
            )  # fmt: skip
        return self

    def wait_for(self, path: Path) -> Path:
        """Wait until a file of the sample is there; it appears whole."""
        while not path.exists() and self._process is not None and self._process.poll() is None:
            time.sleep(STEP_S)
        if not path.exists():
            self.finish()
        return path

    def captures(self) -> Iterator[Path]:
        """The captures to ingest, each when it is there."""
        for name in flowpeer_sample.captures():
            yield self.wait_for(self._directory / name)

    def finish(self) -> None:
        """Wait until all files are there.

        Raises:
            OSError: they cannot be written.
        """
        if self._process is not None and self._process.wait():
            flowpeer_sample.write(self._directory)  # which says why, or does it
        self._process = None

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def inputs_of(directory: Path) -> str | None:
    """What the report of a folder is made from (`made_from`), the sample's files among it."""
    return made_from(
        directory / CONFIGURATION, answers="demo", sample=flowpeer_sample.digests(directory)
    )
