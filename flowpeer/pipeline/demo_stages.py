"""The stages of the demo, for a sample network that is written: what is out of date, in order."""

from __future__ import annotations

from pathlib import Path

from flowpeer.analysis.inputs import gather
from flowpeer.analysis.reports import write_reports
from flowpeer.analysis.standing import keep
from flowpeer.checks.touching import stated
from flowpeer.pipeline.demo_folder import CONFIGURATION, REPORT, Demo, SampleWriter, inputs_of
from flowpeer.pipeline.ingest import ingest_files
from flowpeer.pipeline.rollup import roll_up
from flowpeer.reporter import Reporter
from flowpeer.workspace import Workspace


def stages(directory: Path, reporter: Reporter, writing: SampleWriter) -> Demo:
    """Ingest each capture when it is there, roll up, and write the reports."""
    reporter.say("2/4 ingest: export packets → flow records")
    workspace = Workspace(writing.wait_for(directory / CONFIGURATION))
    added = []
    for path in writing.captures():
        added += ingest_files(workspace.network(), workspace.lake(), [path], reporter)
    workspace.reread()
    reporter.say("3/4 roll up: flow records × routes → traffic by network")
    done = roll_up(workspace.network(), workspace.lake(), reporter)
    reporter.say("4/4 reports: candidates and imbalance")
    writing.finish()
    before = inputs_of(directory)
    network, record = workspace.network(), workspace.lake().record()
    gathered, wrong = stated(gather(network, record, None), network, record)
    for text in wrong:
        reporter.warn(text)
    folder = directory / REPORT
    made = write_reports(gathered, folder, formats=("csv", "json", "parquet"))
    written = keep(
        folder, before, inputs_of(directory), files=made.files, page=made.page, warnings=wrong,
        shown=[made.candidates.shown(), made.imbalance.shown()],
    )  # fmt: skip
    return Demo(folder, written, sum(file.rows for file in added), done.rolled_up)
