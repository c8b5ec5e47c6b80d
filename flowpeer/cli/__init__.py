"""The command line: parse, call, print. Engines are imported inside the commands."""

from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """The entry point `flowpeer`."""
    from flowpeer.cli.app import run

    raise SystemExit(run())
