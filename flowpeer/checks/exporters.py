"""What `check` says of what exporters sent: impossible records, and senders that contradict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from flowpeer.checks.findings import Finding
from flowpeer.lake.units import RecordedConflict, UnitRecord
from flowpeer.network import Configuration
from flowpeer_ingest.plausible import Implausible, described

SHOWN = 10
"""Conflicts of an exporter that are reported one by one, those that were seen most often."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def implausible(network: Configuration, captures: list[UnitRecord]) -> Iterator[Finding]:
    """Records that were set aside, by exporter (METHODS M13)."""
    sums: dict[str, Counter[str]] = {}
    examples: dict[tuple[str, str], Implausible] = {}
    for capture in captures:
        for ip, counts in capture.exporters.items():
            for reason, (records, _, _) in counts.implausible.items():
                sums.setdefault(ip, Counter())[reason] += records
        for one in capture.sample:
            examples.setdefault((one.exporter_ip, one.reason), one)
    for ip, reasons in sorted(sums.items()):
        for reason, records in reasons.most_common():
            shown = examples.get((ip, reason))
            yield Finding(
                "warning", f"exporter {name_of(network, ip)}",
                f"{records:,} records set aside, in no total: {reason}"
                + ("" if shown is None else f" (such as {described(shown)})"),
                "look for a wrong template or a fault of the exporter: `flowpeer decode` shows "
                "what it sends",
                "implausible",
            )  # fmt: skip


def name_of(network: Configuration, ip: str) -> str:
    """The configured id of an exporter, else its address."""
    configured = network.exporter_by_address.get(ip)
    return configured.id if configured else ip


def doubts(network: Configuration, captures: list[UnitRecord]) -> Iterator[Finding]:
    """Signs of two senders where there should be one, and sessions that there was no room for."""
    found: dict[str, dict[tuple[str, int, int], RecordedConflict]] = {}
    forgotten: Counter[str] = Counter()
    for capture in captures:
        forgotten.update(capture.forgotten_sessions)
        for c in capture.conflicts:
            of, key = found.setdefault(c.exporter_ip, {}), (c.kind, c.session, c.domain)
            of[key] = c if key not in of else _both(of[key], c)
    for ip, of in sorted(found.items()):
        worst = sorted(of.values(), key=lambda c: (-c.count, c.kind, c.session, c.domain))
        for c in worst[:SHOWN]:
            detail = f" ({c.detail})" if c.detail else ""
            yield Finding(
                "warning", f"exporter {name_of(network, ip)}",
                f"{c.kind}{detail}, {c.count:,} times from {_time(c.first_us)} to "
                f"{_time(c.last_us)}, source port {c.session & 0xFFFF}, domain {c.domain}: "
                "its rows of that time are in doubt",
                "find out who sends under this address: give each sender a source address, port "
                "or domain of its own",
                "two-senders",
            )  # fmt: skip
        if len(worst) > SHOWN:
            yield Finding(
                "warning", f"exporter {name_of(network, ip)}",
                f"{len(worst) - SHOWN:,} more conflicts of this kind in other sessions or domains",
                "find out who sends under this address",
                "two-senders",
            )  # fmt: skip
    for ip, count in sorted(forgotten.items()):
        yield Finding(
            "warning", f"exporter {name_of(network, ip)}",
            f"no room for {count:,} of its sessions, the least recently used: records that came "
            "before their templates were sent again waited or were lost",
            "find out why it opens so many: one source port for each line card is usual",
            "forgotten-sessions",
        )  # fmt: skip


def _both(a: RecordedConflict, b: RecordedConflict) -> RecordedConflict:
    return RecordedConflict(
        a.kind, a.exporter_ip, a.session, a.domain, min(a.first_us, b.first_us),
        max(a.last_us, b.last_us), a.count + b.count, a.detail or b.detail,
    )  # fmt: skip


def _time(us: int) -> str:
    return f"{_EPOCH + timedelta(microseconds=us):%Y-%m-%d %H:%M:%S}"
