"""Reports ask nobody for the time, and open nothing."""

from __future__ import annotations

import ast
from pathlib import Path

import flowpeer_reports

CLOCKS = {"now", "utcnow", "today", "time", "time_ns", "monotonic", "perf_counter"}
"""Called on a module or class of times; import-linter keeps the modules of clocks and files out."""
FILES = {"open", "read_text", "read_bytes", "write_text", "write_bytes", "read_parquet", "read_csv",
         "scan_parquet", "input", "print"}  # fmt: skip


def test_no_report_reads_a_clock_or_a_file() -> None:
    found = []
    for path in Path(flowpeer_reports.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            function = node.func
            name = (
                function.attr
                if isinstance(function, ast.Attribute)
                else getattr(function, "id", "")
            )
            of = getattr(function, "value", None)
            clock = (
                name in CLOCKS
                and isinstance(of, ast.Name)
                and of.id in ("datetime", "date", "time")
            )
            if clock or name in FILES:
                found.append(f"{path.name}:{node.lineno}: {name}")
    assert found == []
