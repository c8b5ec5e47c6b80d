"""What every command shares: the configuration, how much to say, and where to say it.

Results go to stdout; everything else (notes, warnings, progress, errors) to stderr.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowpeer.checks.findings import Finding
    from flowpeer.lake.store import Lake
    from flowpeer.network import Configuration
    from flowpeer.workspace import Workspace

PROGRESS_AFTER_S = 1.0
UNBOUNDED = 10_000
"""Columns of an output that is a file or a pipe."""


def printable(text: str) -> str:
    """`text` without what a terminal would obey: control characters become U+FFFD."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)


@dataclass
class CommandState:
    """The options common to all commands, and what follows from them; a `Reporter` of the work."""

    config: Path | None = None
    json: bool = False
    verbosity: int = 0
    debug: bool = False
    exit_code: int = 0
    textfile: Path | None = None
    warnings: int = 0
    warned: list[str] = field(default_factory=list)
    """What `warn` was given."""
    gauges: dict[str, float] = field(default_factory=dict)
    """More figures for `textfile`."""
    _workspace: Workspace | None = field(default=None, repr=False)

    @property
    def config_path(self) -> Path:
        """`--config`, else `FLOWPEER_CONFIG`, else ./flowpeer.toml."""
        return self.config or Path(os.environ.get("FLOWPEER_CONFIG") or "flowpeer.toml")

    def workspace(self) -> Workspace:
        """The configuration file and what it leads to."""
        if self._workspace is None or self._workspace.path != self.config_path:
            from flowpeer.workspace import Workspace  # after parsing: it imports engines

            self._workspace = Workspace(self.config_path)
        return self._workspace

    def network(self) -> Configuration:
        """The configuration, read on first use."""
        return self.workspace().network()

    def reread(self) -> None:
        """Read the configuration again when it is next asked for: exporters announced names."""
        self.workspace().reread()

    def lake(self) -> Lake:
        """The lake of the configuration."""
        return self.workspace().lake()

    def lake_root(self) -> Path:
        """The folder of the lake, as the configuration's text says it; nothing else of it is read
        where it does."""
        if self._workspace is None:
            import tomllib

            from flowpeer.mirror import lake_folder

            with suppress(OSError, ValueError, LookupError, TypeError, RecursionError):
                text = self.config_path.read_text(encoding="utf-8")
                lake = tomllib.loads(text)["lake"]
                return lake_folder(lake["path"], self.config_path.parent, lake.get("cache"))
        return self.lake().root

    def judge(self, findings: Iterable[Finding]) -> None:
        """Make the process end with 1 if there is a warning among them."""
        found = sum(finding.level == "warning" for finding in findings)
        self.warnings += found
        if found:
            self.exit_code = max(self.exit_code, 1)

    def measure(self) -> None:
        """Add how fresh the lake is to the figures of `textfile`, if there is one."""
        if self.textfile is not None:
            from flowpeer.checks.freshness import freshness

            self.gauges |= freshness(self.network(), self.lake()).gauges()

    def say(self, text: str, *, level: int = 0) -> None:
        """A line on stderr; `level` 1 only with -v, and nothing below 2 with -q."""
        if level <= self.verbosity:
            print(printable(text), file=sys.stderr, flush=True)

    def tell(self, text: str) -> None:
        """A line on stdout that says what a command did; nothing with -q."""
        if self.verbosity >= 0:
            print(printable(text))

    def warn(self, text: str) -> None:
        """Something is wrong with the data: say so, and make the process end with 1."""
        self.exit_code = max(self.exit_code, 1)
        self.warnings += 1
        self.warned.append(text)
        print(printable(f"warning: {text}"), file=sys.stderr, flush=True)

    def emit(self, document: Any) -> None:
        """One JSON document on stdout."""
        json.dump(document, sys.stdout, ensure_ascii=False, default=str, allow_nan=False)
        sys.stdout.write("\n")

    @contextmanager
    def progress(self, label: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
        """A bar on stderr, on a terminal only, for what takes longer than a second.

        Yields a function that is given how many units (octets, rows) are done since its last call.
        """
        if not sys.stderr.isatty() or self.verbosity < 0:
            yield lambda _: None
            return
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        begun = time.monotonic()
        bar = Progress(
            TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(), console=Console(stderr=True), transient=True,
        )  # fmt: skip
        task = bar.add_task(printable(label), total=total, rate="")
        done = 0

        def advance(units: int) -> None:
            nonlocal done
            done += units
            elapsed = time.monotonic() - begun
            if elapsed > PROGRESS_AFTER_S:
                if not bar.live.is_started:
                    bar.start()
                bar.update(task, completed=done, rate=f"{done / elapsed:,.0f}/s")

        try:
            yield advance
        finally:
            if bar.live.is_started:
                bar.stop()


def table_or_json(
    state: CommandState, rows: list[dict[str, Any]], *, columns: list[str], title: str = ""
) -> None:
    """Print rows as the terminal table, or as a JSON list of objects with --json."""
    if state.json:
        state.emit(rows)
        return
    import polars as pl

    from flowpeer_reports.render import render_table

    if not rows:
        return
    frame = pl.DataFrame({name: [row.get(name) for row in rows] for name in columns}, strict=False)
    sys.stdout.write(
        str(render_table(frame, None, format="terminal", width=terminal_width(), title=title))
    )


def terminal_width() -> int:
    """Columns of the terminal; where there is none, more than any table has: nothing is cut."""
    import shutil

    return shutil.get_terminal_size((160, 24)).columns if sys.stdout.isatty() else UNBOUNDED
