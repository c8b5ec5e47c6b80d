"""All answers of a period in one folder, and one page of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from flowpeer.analysis.answers import Answer, FileFormat, title_of, write_documents
from flowpeer.analysis.candidates import candidate_answer
from flowpeer.analysis.imbalance import imbalance_answer
from flowpeer.analysis.inputs import Gathered
from flowpeer_reports.render import html_report
from flowpeer_reports.render.report import Sections


@dataclass(frozen=True)
class Reports:
    """Answers of the default directions, and the files they were written to."""

    candidates: Answer
    imbalance: Answer
    files: list[Path]
    page: Path


def write_reports(
    gathered: Gathered, folder: Path, *, formats: Sequence[FileFormat] = ("csv",)
) -> Reports:
    """Candidates and imbalance as files, and one HTML page of both."""
    asks, balance = candidate_answer(gathered), imbalance_answer(gathered)
    written = [path for answer in (asks, balance) for path in answer.write(folder, formats)]
    sections = Sections(
        candidates=asks.found,
        imbalance=balance.found,
        provenance=gathered.provenance,
        files=[f"candidates.{format_}" for format_ in formats],
    )
    page = html_report(title=title_of(gathered.inputs, "peering report"), sections=sections)
    (path,) = write_documents(folder, {"report.html": page.encode()})
    return Reports(asks, balance, [*written, path], path)
