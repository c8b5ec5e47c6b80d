"""The whole pipeline on the sample network: the only place that knows the sample."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import flowpeer_sample
from flowpeer.analysis.inputs import gather
from flowpeer.analysis.reports import Reports, write_reports
from flowpeer.checks.touching import stated
from flowpeer.errors import UsageError
from flowpeer.pipeline.ingest import Ingested, capture_files, ingest_files
from flowpeer.pipeline.rollup import RolledUp, roll_up
from flowpeer.reporter import Reporter
from flowpeer.workspace import Workspace
from flowpeer_core.sample import MARKER


@dataclass(frozen=True, slots=True)
class Demo:
    """What each stage did."""

    added: list[Ingested]
    rolled_up: RolledUp
    reports: Reports


def run_demo(directory: Path, reporter: Reporter, *, lake: str = "") -> Demo:
    """Write the sample network into a folder, ingest, roll up, and write the reports.

    In a folder of its own again, only what is out of date is done.

    Args:
        lake: where the lake is to be, as `path` under [lake] says it; empty: in the folder.

    Raises:
        UsageError: the folder is a file, or holds something else.
    """
    if directory.exists() and not directory.is_dir():
        raise UsageError(f"{directory}: is a file", advice="name a folder that does not exist yet")
    if directory.is_dir() and any(directory.iterdir()):
        if not (directory / MARKER).is_file():
            raise UsageError(
                f"{directory}: not empty, and not a folder of this demo",
                advice="name a new folder: `flowpeer demo DIR`",
            )
        reporter.say(f"1/4 sample network: bringing {directory}/ up to date")
    else:
        reporter.say(f"1/4 sample network: writing one day of nine metros into {directory}/")
    with reporter.progress("writing") as advance:
        flowpeer_sample.write(directory, progress=lambda *_: advance(1))
    if lake:
        _place(directory / "flowpeer.toml", lake)
    workspace = Workspace(directory / "flowpeer.toml")
    reporter.say("2/4 ingest: export packets → flow records")
    captures = capture_files([directory / "captures"])
    added = ingest_files(workspace.network(), workspace.lake(), captures, reporter)
    workspace.reread()
    reporter.say("3/4 roll up: flow records × routes → traffic by network")
    done = roll_up(workspace.network(), workspace.lake(), reporter)
    reporter.say("4/4 reports: candidates and imbalance")
    network, record = workspace.network(), workspace.lake().record()
    gathered, wrong = stated(gather(network, record, None), network, record)
    for text in wrong:
        reporter.warn(text)
    reports = write_reports(gathered, directory / "report", formats=("csv", "json", "parquet"))
    return Demo(added, done, reports)


def _place(config: Path, lake: str) -> None:
    """Let the sample's configuration name another lake."""
    text = config.read_text(encoding="utf-8")
    config.write_text(text.replace('path = "lake"', f"path = {json.dumps(lake)}", 1), "utf-8")
