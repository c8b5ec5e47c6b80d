"""Which sampling rate a record of the lake has: METHODS M2, from the table `sampling`.

The rule itself is `flowpeer_core.sampling_rates`, which the decoder asks too. Here stand all
announcements of the lake, so that the answer for a record hangs on when its datagram was received
and not on the order in which units were ingested.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from flowpeer_core.sampling_rates import AnnouncedRates, Rate, rate_of, ratio

NO_SESSION = -1
"""Of records and rates whose transport session is not known: imported ones, and those of lakes
before format 3."""


@dataclass(frozen=True, slots=True)
class Sampled:
    """What decides the rate of a record. Times in µs since the epoch; `session` may be
    `NO_SESSION`; interface: the metered one; `own`: what it or its header states itself."""

    exporter_ip: str
    session: int
    domain: int
    sampler: int | None
    interface: int | None
    own: Rate | None
    at_us: int


class Announcements:
    """Every rate that options data announced, by exporter address."""

    def __init__(self, rows: Iterable[tuple[object, ...]]) -> None:
        """rows: of `changes`, (exporter, session, domain, sampler, interface, numerator,
        denominator, time)."""
        self._tables: dict[str, dict[tuple[int, int], AnnouncedRates]] = {}
        for ip, session, domain, sampler, interface, top, bottom, seen in rows:
            rate = ratio(int(top), int(bottom))  # type: ignore[call-overload]
            if rate is None:
                continue
            assert isinstance(ip, str)
            assert isinstance(seen, datetime)
            key = (NO_SESSION if session is None else session, domain)
            table = self._tables.setdefault(ip, {}).setdefault(key, AnnouncedRates())  # type: ignore[arg-type]
            table.announce(sampler, interface, rate, microseconds(seen))  # type: ignore[arg-type]
        self._moments = {
            ip: sorted({moment for table in tables.values() for moment in table.moments()})
            for ip, tables in self._tables.items()
        }
        self._in_force: dict[tuple[str, int, int], Sequence[object]] = {}

    def __contains__(self, exporter_ip: str) -> bool:
        return exporter_ip in self._tables

    @property
    def rational(self) -> bool:
        """Is any rate not a whole number?"""
        return any(
            rate[1] > 1
            for tables in self._tables.values()
            for table in tables.values()
            for *_, rate in table.rows()
        )

    def rate(self, record: Sampled) -> Rate | None:
        """The announced rate of a record; None where nothing was stated that applies to it."""
        tables = self._tables.get(record.exporter_ip)
        if tables is None:
            return None
        sessions = {record.session: None, NO_SESSION: None}
        domains = {record.domain: None, 0: None}
        asked = [
            tables[session, domain]
            for session in sessions
            for domain in domains
            if (session, domain) in tables
        ]
        return rate_of(asked, record.sampler, record.interface, record.at_us)

    def moments(self, exporters: Iterable[str], begin_us: int, end_us: int) -> list[int]:
        """When in (begin, end) a rate of these exporters changes, ascending."""
        found: set[int] = set()
        for ip in exporters:
            moments = self._moments.get(ip, ())
            found.update(moments[bisect_right(moments, begin_us) : bisect_left(moments, end_us)])
        return sorted(found)

    def in_force(self, exporter_ip: str, begin_us: int, end_us: int) -> Sequence[object]:
        """Everything that decides the rates of an exporter's records received in [begin, end):
        the same value where they are scaled alike."""
        moments = self._moments.get(exporter_ip, ())
        place = exporter_ip, bisect_right(moments, begin_us), bisect_left(moments, end_us)
        if place not in self._in_force:  # else nothing has changed since an hour before
            in_force: list[object] = []
            for key, table in sorted(self._tables.get(exporter_ip, {}).items()):
                names = sorted({row[:2] for row in table.rows()}, key=str)
                inside = [begin_us, *(m for m in sorted(table.moments()) if begin_us < m < end_us)]
                in_force.append(
                    [key, table.only(), [[*n, [table.at(*n, at) for at in inside]] for n in names],
                     inside[1:]]
                )  # fmt: skip
            self._in_force[place] = in_force
        return self._in_force[place]


def microseconds(time: datetime) -> int:
    """µs since the epoch, exactly."""
    return int(time.replace(microsecond=0).timestamp()) * 1_000_000 + time.microsecond
