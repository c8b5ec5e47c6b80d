"""All files of the sample, in the order in which they are written."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from flowpeer_sample import MARKER
from flowpeer_sample import world as w
from flowpeer_sample.asks import asks_csv
from flowpeer_sample.datagrams import capture
from flowpeer_sample.demand import sessions
from flowpeer_sample.mrt import table_dump
from flowpeer_sample.readme import example_readme, readme
from flowpeer_sample.registry import as_names, as_relationships_bz2, peeringdb_json
from flowpeer_sample.settings import flowpeer_toml
from flowpeer_sample.writing import is_right, put, sha256

EXAMPLE_METROS = ("dfw", "ams", "fra")
EXAMPLE_MINUTES = 60
NEXT_FOLDER = "next-day"
"""Captures of the day after; the demo leaves them for the reader to ingest."""

Plan = list[tuple[str, Callable[[], bytes]]]


def gz(content: bytes, level: int) -> bytes:
    """gzip without a time in it."""
    return gzip.compress(content, level, mtime=0)


def _configuration() -> bytes:
    return flowpeer_toml(list(sessions())).encode()


def _capture(metro: str, packed: bool, until: int = 86_400, day: int = 0) -> bytes:
    made = capture(metro, until, day)
    return gz(made, 3) if packed else made


def _reference() -> Plan:
    return [
        ("flowpeer.toml", _configuration),
        (f"ribs/sample-{w.DAY_TEXT}.mrt.gz", lambda: gz(table_dump(), 9)),
        ("peeringdb.json", peeringdb_json),
        ("as-rel2.txt.bz2", as_relationships_bz2),
        ("asns.csv", lambda: as_names().encode()),
        ("asks.csv", lambda: asks_csv().encode()),
    ]


def files() -> Plan:
    """Relative path and maker of each file of the whole sample."""
    # The marker first: a folder whose making was interrupted is known as our own.
    marker = f"flowpeer sample network, version {w.VERSION}\n".encode()
    made = [(MARKER, lambda: marker), *_reference()]
    for e in w.EXPORTERS:
        name = f"captures/{e.file}"
        made.append((name, partial(_capture, e.metro, e.compressed)))
    for e in w.EXPORTERS:
        name = f"{NEXT_FOLDER}/{e.file}"
        made.append((name, partial(_capture, e.metro, e.compressed, w.NEXT_SECONDS, w.NEXT)))
    made.append(("README.md", lambda: readme().encode()))
    return made


def example_files() -> Plan:
    """The small selection that is kept in sample_data/example."""
    made = _reference()
    for metro in EXAMPLE_METROS:
        name = f"captures/edge1.{metro}-{EXAMPLE_MINUTES}min.pcap"
        made.append((name, partial(capture, metro, EXAMPLE_MINUTES * 60)))
    made.append(("README.md", lambda: example_readme(EXAMPLE_MINUTES).encode()))
    return made


def write_plan(
    plan: Plan,
    directory: Path,
    progress: Callable[[str, int, int], None] | None = None,
    known: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Writes each file of `plan` into `directory` where it is not right already; their digests.

    `known`: digests of files by this very generator, which need not be made to be compared.
    """
    found: dict[str, str] = {}
    for number, (name, make) in enumerate(plan, 1):
        if progress is not None:
            progress(name, number, len(plan))
        digest = (known or {}).get(name)
        if digest is None or not is_right(directory / name, digest):
            content = make()
            put(directory / name, content)
            digest = sha256(content)
        found[name] = digest
    return found
