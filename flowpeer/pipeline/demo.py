"""The whole pipeline on the sample network: the only place that knows the sample."""

from __future__ import annotations

import json
from pathlib import Path

import flowpeer_sample
from flowpeer.analysis.standing import standing
from flowpeer.errors import UsageError
from flowpeer.mirror import is_address, split
from flowpeer.pipeline.demo_folder import CONFIGURATION, REPORT, Demo, SampleWriter, inputs_of
from flowpeer.reporter import Reporter
from flowpeer_core.sample import MARKER


def run_demo(directory: Path, reporter: Reporter, *, lake: str = "") -> Demo:
    """Write the sample network into a folder, ingest, roll up, and write the reports.

    In a folder of its own again, only what is out of date is done.

    Args:
        lake: where the lake is to be, as `path` under [lake] says it; empty: in the folder.

    Raises:
        UsageError: the folder is a file, or holds something else; no lake can be at `lake`.
    """
    if is_address(lake):
        try:
            split(lake)
        except ValueError as error:
            raise UsageError(f"--lake {lake}: {error}") from None
    if directory.exists() and not directory.is_dir():
        raise UsageError(f"{directory}: is a file", advice="name a folder that does not exist yet")
    there = directory.is_dir() and any(directory.iterdir())
    if there:
        if not (directory / MARKER).is_file():
            raise UsageError(
                f"{directory}: not empty, and not a folder of this demo",
                advice="name a new folder: `flowpeer demo DIR`",
            )
        reporter.say(f"1/4 sample network: bringing {directory}/ up to date")
    else:
        reporter.say(f"1/4 sample network: writing one day of nine metros into {directory}/")
    if there or lake:
        with reporter.progress("writing") as advance:
            flowpeer_sample.write(directory, progress=lambda *_: advance(1))
        if lake:
            _place(directory / CONFIGURATION, lake)
        held = standing(directory / REPORT, inputs_of(directory))
        if held is not None:
            for text in held.warnings:
                reporter.warn(text)
            return Demo(directory / REPORT, held, unchanged=True)
    with SampleWriter(directory) as writing:
        from flowpeer.pipeline.demo_stages import stages  # and all engines

        return stages(directory, reporter, writing)


def _place(config: Path, lake: str) -> None:
    """Let the sample's configuration name another lake."""
    text = config.read_text(encoding="utf-8")
    config.write_text(text.replace('path = "lake"', f"path = {json.dumps(lake)}", 1), "utf-8")
