"""What a check has to say, and what the operator has accepted of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from typing import NamedTuple

from flowpeer.network import Accepted


class Finding(NamedTuple):
    """One line of `check`."""

    level: str
    """ok, note or warning; a warning makes the exit status 1."""
    subject: str
    text: str
    next_step: str = ""
    code: str = ""
    """Of a warning: what kind it is, as `[[accepted]]` names it."""


def judged(
    found: Iterable[Finding], accepted: Sequence[Accepted], today: date | None = None
) -> list[Finding]:
    """The findings, warnings that the operator has accepted as notes until their date."""
    today = today or datetime.now(UTC).date()
    made = []
    for finding in found:
        if finding.level == "warning":
            for one in accepted:
                if one.code == finding.code and _is(finding.subject, one.object):
                    finding = _accepted(finding, one, today)
                    break
        made.append(finding)
    return made


def _is(subject: str, wanted: str | None) -> bool:
    """Is this its subject, as it is printed or without the word before it (`exporter edge1`)?"""
    return wanted is None or wanted in (subject, subject.partition(" ")[2])


def _accepted(finding: Finding, one: Accepted, today: date) -> Finding:
    if one.until is not None and one.until < today:
        over = f"{finding.text} (was accepted until {one.until}: {one.reason})"
        return finding._replace(text=over)
    until = f" until {one.until}" if one.until else ""
    return finding._replace(
        level="note", text=f"{finding.text} (accepted{until}: {one.reason})", next_step=""
    )
