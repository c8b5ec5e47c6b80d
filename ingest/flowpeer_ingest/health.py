"""Is the collector well? What it states of itself, judged, for `status`, `check` and probes.

Everything here is a pure function of the status document and the time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from flowpeer_ingest.stats import LOSSES

LOSS_WINDOW_S = 3600
"""A loss, or a sign of two senders, is reported for so long after it."""
DOWN_AFTER_S = 10
"""The status is written each second; after this, nobody writes it."""
STUCK_AFTER_S = 300
"""Sealed segments that wait longer than this, and than sealing takes, are not being decoded."""
SILENT_AFTER_S = 300
"""No exporter is called silent before: templates and options alone come more often."""
SILENT_TIMES = 4
"""So many times its usual gap is silence."""


CODES: dict[str, str] = {
    "down": "The collector does not run.",
    "receiver": "A receiver process does not work.",
    "stuck": "Sealed segments wait and are not decoded.",
    "set_aside": "Segments could not be decoded.",
    "disk": "The disk of the spool has less room than the reserve.",
    "silent": "An exporter is silent for longer than is usual for it.",
    "two_senders": "Within the last hour two senders spoke as one exporter, or one was forged.",
    "loss": "A loss counter rose within the last hour.",
}
"""What can be wrong."""


class HealthProblem(NamedTuple):
    """One thing that a person should look at."""

    code: str
    """One of `CODES`."""
    subject: str
    text: str
    next_step: str


def running(status: Mapping[str, Any], now_us: int) -> bool:
    """Whether a collector writes this status."""
    age_us = now_us - int(status["updated_us"])
    return str(status["phase"]) != "stopped" and age_us < DOWN_AFTER_S * 1_000_000


def troubles(
    status: Mapping[str, Any], now_us: int, *, names: Mapping[str, str] | None = None
) -> Iterator[HealthProblem]:
    """Everything that is wrong, the worst first.

    Args:
        status: the status document.
        names: ids of the configured exporters by address; they are due.
    """
    names = names or {}
    if not running(status, now_us):
        yield HealthProblem(
            "down", "collector", f"not running since {_time(status['updated_us'])}",
            "start it with `flowpeer collect`, or see the log of its service",
        )  # fmt: skip
        yield from _losses(status, now_us)
        return
    for number, receiver in enumerate(status["receivers"]):
        if now_us - receiver.get("beat_us", 0) > DOWN_AFTER_S * 1_000_000:
            yield HealthProblem(
                "receiver", f"receiver {number}", "does not work: datagrams wait in the kernel",
                "see the log; a disk that hangs stops its commits",
            )  # fmt: skip
    spool = status["spool"]
    if spool["spool_segments"] and spool["lag_seconds"] > status["seal_after_s"] + STUCK_AFTER_S:
        yield HealthProblem(
            "stuck", "spool", f"{spool['spool_segments']:,} segments wait, the first datagram "
            f"since {spool['lag_seconds']:,.0f} s",
            "see the log: the lake cannot be written, or decoding is slower than what comes",
        )  # fmt: skip
    if spool["failed"]:
        yield HealthProblem(
            "set_aside", "spool", f"{spool['failed']:,} segments could not be decoded",
            "report the *.failed files; what is in them is in no table",
        )  # fmt: skip
    if spool["free_octets"] < status["reserve_octets"]:
        yield HealthProblem(
            "disk", "spool", f"{spool['free_octets']:,} octets are left on its disk, less than the "
            f"reserve of {status['reserve_octets']:,}",
            "make room: prune flow records, or give the spool a disk of its own",
        )  # fmt: skip
    yield from _silent(status, now_us, names)
    yield from _two_senders(status, now_us, names)
    yield from _losses(status, now_us)


def silent_after_us(usual_gap_us: int) -> int:
    """How long an exporter with this usual gap may say nothing."""
    return max(SILENT_AFTER_S * 1_000_000, SILENT_TIMES * usual_gap_us)


def _silent(
    status: Mapping[str, Any], now_us: int, names: Mapping[str, str]
) -> Iterator[HealthProblem]:
    step = "see the router's export, and the way from it: `tcpdump -ni any udp port 2055`"
    behind_us = int(status["spool"]["lag_seconds"] * 1_000_000)  # what waits may be from it
    seen_exporters = status["exporters"]
    for address, exporter in seen_exporters.items():
        quiet_us = now_us - exporter["last_seen_us"] - behind_us
        if exporter["last_seen_us"] and quiet_us > silent_after_us(exporter["usual_gap_us"]):
            yield HealthProblem(
                "silent", f"exporter {names.get(address, address)}",
                f"silent since {_time(exporter['last_seen_us'])}; its usual gap is "
                f"{exporter['usual_gap_us'] / 1e6:,.0f} s", step,
            )  # fmt: skip
    up_us = now_us - status["started_us"]
    if up_us > (3 * SILENT_AFTER_S) * 1_000_000 and not status["exporters_not_listed"]:
        there = {names[a] for a in seen_exporters if a in names}
        for name in sorted(set(names.values()) - there):
            yield HealthProblem(
                "silent", f"exporter {name}", "not seen since the collector started", step
            )


def _two_senders(
    status: Mapping[str, Any], now_us: int, names: Mapping[str, str]
) -> Iterator[HealthProblem]:
    for address, exporter in status["exporters"].items():
        last_us = exporter.get("conflict_us", 0)  # not in the status of an older version
        if last_us and now_us - last_us < LOSS_WINDOW_S * 1_000_000:
            yield HealthProblem(
                "two_senders", f"exporter {names.get(address, address)}",
                f"{exporter['conflict']}, last at {_time(last_us)}: {exporter['conflicts']:,} "
                "signs of two senders since the start",
                "find out who sends under this address; `flowpeer check` has times and ports",
            )  # fmt: skip


def _losses(status: Mapping[str, Any], now_us: int) -> Iterator[HealthProblem]:
    for name, loss in status["losses"].items():
        rose_us = loss["rose_us"]
        if rose_us is not None and now_us - rose_us < LOSS_WINDOW_S * 1_000_000:
            yield HealthProblem(
                "loss", name, f"{loss['total']:,} since the start, last at {_time(rose_us)}: "
                f"{LOSSES.get(name, '')}", "docs/collector.md says what to do about each loss",
            )  # fmt: skip


def not_ready(status: Mapping[str, Any], now_us: int) -> str:
    """Why the collector does not take datagrams and publish them now; "" if it does."""
    if status["phase"] != "running":
        return str(status["phase"])
    for trouble in troubles(status, now_us):
        if trouble.code in ("down", "receiver", "stuck", "disk"):
            return f"{trouble.subject}: {trouble.text}"
    return ""


def _time(microseconds: int) -> str:
    return f"{datetime.fromtimestamp(microseconds / 1e6, UTC):%Y-%m-%d %H:%M:%S} UTC"
