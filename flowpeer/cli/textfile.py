"""Figures of a batch command for Prometheus: node_exporter's textfile collector reads the file."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from flowpeer.checks.freshness import FIGURES

RUN: dict[str, str] = {
    "flowpeer_command_finished_timestamp_seconds": "When the command ended last.",
    "flowpeer_command_duration_seconds": "How long it took.",
    "flowpeer_command_exit_status": "Its exit status: 0 done, 1 done with warnings.",
    "flowpeer_command_warnings": "Warnings that it printed, findings of its check among them.",
}
"""What every command says; labelled with the command."""


GROUPS = ("asks", "ixf", "lake", "peeringdb", "rib")
"""Commands whose second word is a command."""


def command_of(arguments: Sequence[str]) -> str:
    """The command among the words of a command line whose common options stand in front."""
    rest = list(arguments)
    while rest and rest[0].startswith("-"):
        rest = rest[2:] if rest[0] in ("-c", "--config", "--textfile") else rest[1:]
    count = 2 if rest and rest[0] in GROUPS else 1
    return re.sub(r"[^a-z -]", "", " ".join(rest[:count]))


def write(
    path: Path, command: str, status: int, began: float, warnings: int, gauges: Mapping[str, float]
) -> None:
    """Replace the file atomically.

    Args:
        command: the words of the command, like `peeringdb sync`.
        began: when it began, in seconds since the epoch.
        gauges: figures of `flowpeer.checks.freshness.FIGURES`, by name.
    """
    now = time.time()
    values = dict(zip(RUN, (now, now - began, status, warnings), strict=True))
    lines = []
    for name, value in values.items():
        lines += _family(name, RUN[name], f'{{command="{command}"}}', value)
    for name, value in gauges.items():
        lines += _family(f"flowpeer_{name}", FIGURES[name], "", value)
    # Not `.prom`: the collector must not read what is half written.
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
        temporary.chmod(0o644)  # node_exporter is another user, and the figures are no secret
        temporary.replace(path)
    except OSError as error:
        error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _family(name: str, text: str, labels: str, value: float) -> list[str]:
    return [f"# HELP {name} {text}", f"# TYPE {name} gauge", f"{name}{labels} {value:.15g}"]
