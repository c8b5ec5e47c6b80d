"""Sums of the traffic of a day, kept beside it: what a quarter is asked for most, in fewer octets.

    cache/traffic_slots/date=YYYY-MM-DD/<key>.parquet    without the remote network
    cache/asn_days/date=YYYY-MM-DD/<key>.parquet         without the slot and the interface
    cache/route_days/date=YYYY-MM-DD/<key>.parquet       routes without the hour and the interface

The key is a digest of the manifests of the day's hours, as far as they say what there is to sum: a
day of which an hour was rolled up again has another key. So what is kept is never wrong, only
missing; whoever reads sums takes the hours themselves then. `pipeline.day_sums` makes the files.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from flowpeer.lake.manifest import HOUR
from flowpeer.lake.record import Record

MADE_OF = {
    "traffic_slots": ("traffic",),
    "asn_days": ("traffic", "traffic_routes"),
    "route_days": ("traffic_routes",),
}
"""Tables of sums (`schema.SUMS`), and the tables that they are sums of."""
VERSION = b"1"
"""Raised when the sums are made in another way."""


def files(record: Record, name: str) -> dict[date, Path]:
    """The days that there is traffic of, and the file of each, which need not be there.

    Raises:
        InputError: a manifest that cannot be read.
    """
    digests: dict[date, Any] = {}
    for table in MADE_OF[name]:
        for hour, header in record.headers(table).items():
            digest = digests.setdefault(hour.date(), hashlib.sha256(VERSION))
            parts = (table, header.hour, str(header.generation), *header.paths)
            digest.update(f"{' '.join(parts)}\n".encode())
    for at in borders(record) if name == "route_days" else ():
        if at.date() in digests:
            digests[at.date()].update(f"{at}\n".encode())
    folder = record.lake.root / "cache" / name
    return {
        day: folder / f"date={day}" / f"{digest.hexdigest()[:32]}.parquet"
        for day, digest in digests.items()
    }


def kept(record: Record, name: str) -> dict[date, Path]:
    """As `files`, of those that are there."""
    return {day: path for day, path in files(record, name).items() if path.is_file()}


def borders(record: Record) -> list[datetime]:
    """The full hours from which on a newer routing table was there (METHODS M4), in order."""
    found = set()
    for file in record.single("routes").values():
        if stated := file.facts.get("taken_at"):
            at = datetime.fromisoformat(stated).astimezone(UTC)
            hour = at.replace(minute=0, second=0, microsecond=0)
            found.add(hour if hour == at else hour + HOUR)
    return sorted(found)
