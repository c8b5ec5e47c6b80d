"""What reading a capture or an export came to, in words: every loss counted and named."""

from __future__ import annotations

from collections.abc import Mapping

from flowpeer.reporter import Reporter
from flowpeer_ingest.imports.importer import ExportSummary
from flowpeer_ingest.records import DecodeSummary
from flowpeer_ingest.summary import CaptureSummary, doubts


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{n:,} {what}" for what, n in sorted(counts.items(), key=lambda i: -i[1]))


def report(reporter: Reporter, path: str, summary: CaptureSummary | DecodeSummary) -> None:
    """What was understood, and everything that was not, counted and named."""
    if isinstance(summary, ExportSummary):
        _report_export(reporter, path, summary)
        return
    reporter.say(
        f"{path}: {summary.packets:,} packets, {summary.datagrams:,} datagrams, "
        f"{summary.records:,} flow records, {summary.options_records:,} options records"
    )
    for label, counts in (
        ("packets that are no UDP datagram", summary.skipped),
        ("not decoded, by format", summary.unsupported),
    ):
        if counts:
            reporter.say(f"{path}: {label}: {_counts(counts)}")
    for label, counts in (
        ("datagrams refused", summary.rejected),
        ("malformed", summary.malformed),
        ("records set aside, in no total", getattr(summary, "implausible", {})),
    ):
        if counts:
            reporter.warn(f"{path}: {label}: {_counts(counts)}")
    doubted = doubts(summary) if isinstance(summary, CaptureSummary) else ()
    for text in (*summary.warnings, *doubted):
        reporter.warn(f"{path}: {text}")
    if not summary.datagrams:
        reporter.warn(f"{path}: no UDP datagram in it")


def _report_export(reporter: Reporter, path: str, summary: ExportSummary) -> None:
    """The same for another tool's file."""
    reporter.say(f"{path}: {summary.tool}: {summary.records:,} rows, {summary.rows:,} flow records")
    if summary.notes:
        reporter.say(f"{path}: {_counts(summary.notes)}")
    for label, counts in (
        ("lines that are no rows", summary.lines_rejected),
        ("rows refused", summary.rows_rejected),
        ("records set aside, in no total", summary.implausible),
        ("malformed", summary.malformed),
    ):
        if counts:
            reporter.warn(f"{path}: {label}: {_counts(counts)}")
    for text in summary.warnings:
        reporter.warn(f"{path}: {text}")
    if not summary.records:
        reporter.warn(f"{path}: no row in it")


def report_pending(reporter: Reporter, pending: Mapping[str, int]) -> None:
    """Data sets left without their template at the end of a run."""
    if pending:
        reporter.warn(
            "data sets whose template never came (exporter, domain, template): "
            + ", ".join(f"{n:,} of {what}" for what, n in sorted(pending.items()))
        )
