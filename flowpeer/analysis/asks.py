"""The log of asks: reading it, adding to it, and what follows for the list (METHODS M16)."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path

import polars as pl

from flowpeer import catalog
from flowpeer.analysis.answers import Answer
from flowpeer.errors import InputError, UsageError, naming
from flowpeer.lake.store import Lake
from flowpeer.network import Configuration
from flowpeer_reports.ask_log import HEADER, AskEvent, asks, parse
from flowpeer_reports.columns.asks import ASKS
from flowpeer_reports.errors import ReportError
from flowpeer_reports.outcomes import predicted
from flowpeer_reports.render import table_page

MAX_LOG_BYTES = 16 << 20
"""People write it: a larger file is some other file."""
NAME = "asks.csv"


def log_path(network: Configuration) -> Path:
    """`[sources] asks`, else asks.csv beside the configuration."""
    return network.source_path("asks") or network.source.parent / NAME


def read_log(network: Configuration) -> list[AskEvent]:
    """Every event of the log; none where there is no file yet.

    Raises:
        InputError: it cannot be read, or a line of it is wrong.
    """
    path = log_path(network)
    try:
        if path.stat().st_size > MAX_LOG_BYTES:
            raise InputError(str(path), f"larger than {MAX_LOG_BYTES} octets, not read")
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    except UnicodeDecodeError as error:
        raise InputError(str(path), f"not UTF-8 at offset {error.start}") from None
    except OSError as error:
        raise InputError(str(path), f"cannot be read: {error.strerror}") from None
    try:
        return parse(text, metros=[m.id for m in network.metros])
    except ReportError as error:
        raise InputError(str(path), str(error), advice=error.advice) from None


def append(network: Configuration, event: AskEvent, check: Callable[[], object]) -> Path:
    """Add one line to the log, durably; what is there stays as it is.

    Args:
        check: raises where the log as it stands does not take the event; nobody else adds to the
            log from then on until the line is written.

    Raises:
        InputError: the log is damaged: nothing is added to it.
    """
    read_log(network)
    path = log_path(network)
    with naming(path), path.open("a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        check()
        file.seek(0, os.SEEK_END)
        lines = b""
        if file.tell() == 0:
            lines = ",".join(HEADER).encode() + b"\n"
        else:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                lines = b"\n"
        file.write(lines + event.line().encode())
        file.flush()
        os.fsync(file.fileno())
    return path


def known_metros(network: Configuration, metros: Sequence[str]) -> tuple[str, ...]:
    """The metros as given, each once and each of them configured.

    Raises:
        UsageError: one is not.
    """
    names = [m.id for m in network.metros]
    for metro in metros:
        if metro not in names:
            raise UsageError(f"--metro {metro}: no such metro", advice=f"one of {', '.join(names)}")
    return tuple(dict.fromkeys(metros))


def organisation_of(lake: Lake, asn: int) -> str:
    """What the registries call the organisation of a network; empty where they do not know it."""
    for table, column in (("asns", "organisation"), ("asns", "name"), ("peeringdb_net", "name")):
        rows = catalog.scan(lake.root, table).filter(pl.col("asn") == asn).select(column).collect()
        for (text,) in rows.drop_nulls().iter_rows():
            if text:
                return str(text)
    return ""


def asks_answer(
    network: Configuration,
    *,
    as_of: date | None = None,
    statuses: Sequence[str] | None = None,
    asns: Sequence[int] | None = None,
) -> Answer:
    """Every ask with its present state."""
    found = [
        ask
        for ask in asks(read_log(network), as_of=as_of)
        if (not statuses or ask.status in statuses) and (not asns or ask.asn in asns)
    ]
    rows = pl.DataFrame([predicted(ask) for ask in found], schema={c.name: c.type for c in ASKS})
    title = f"{network.network.name} (AS{network.network.asn}): asks"
    return Answer(
        "asks", title, rows, ASKS, found,
        lambda: table_page(rows, ASKS, title=title),
        provenance={"log": str(log_path(network))},
    )  # fmt: skip
