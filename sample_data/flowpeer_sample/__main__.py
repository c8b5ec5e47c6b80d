"""`python -m flowpeer_sample DIR` writes the sample; with --source, what the source tree keeps."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import flowpeer_sample
from flowpeer_sample.build import example_files, write_plan
from flowpeer_sample.readme import readme
from flowpeer_sample.writing import put


def main(arguments: list[str] | None = None) -> int:
    """Writes the files; 3 where that fails."""
    parser = argparse.ArgumentParser(prog="python -m flowpeer_sample", description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument(
        "--source", action="store_true", help="DIR is sample_data: write README.md and example/"
    )
    given = parser.parse_args(arguments)
    try:
        if given.source:
            put(given.directory / "README.md", readme().encode())
            write_plan(example_files(), given.directory / "example")
        else:
            flowpeer_sample.write(given.directory)
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
