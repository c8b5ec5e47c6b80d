"""Sums that the collector's decoder keeps of what it publishes (flowpeer.rollup.kept_sums)."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pyarrow as pa

from flowpeer.lake.manifest import folder_of
from flowpeer.lake.staging import make_folder
from flowpeer.lake.store import Lake
from flowpeer.network import Configuration
from flowpeer.rollup import kept_sums
from flowpeer.rollup.codes import Codes
from flowpeer.rollup.compiled import HELD_OCTETS, CompiledSums
from flowpeer.rollup.planner import RollupPlanner
from flowpeer.rollup.reading import MACS, batch_of
from flowpeer.rollup.sums import HourFigures
from flowpeer.routing.rib.match import RouteTable
from flowpeer_core.native import library
from flowpeer_core.native.rows import Rows

RENEWED_S = 60.0
"""Metering, rates and routes are looked up again so often, and after 1, 2, 4, … units: how
interfaces are metered is known after the first ones of a day."""
KEPT_HOURS = 6
"""Sums of earlier hours of receipt are removed: those are rolled up."""
MOST_COMBINED = 1 << 16
"""Of a file with more combinations of what decides M1 and M2, some 350 octets each, none are kept:
somebody makes interfaces up."""
MOST_WAITING = 8
"""With more segments than these behind it, a decoder keeps no sums: publishing comes first."""


@dataclass
class _Hour:
    """What is summed of an hour of receipt: the sums of one file after the other."""

    codes: Codes
    sums: CompiledSums
    until_s: float
    """On the monotonic clock, or for so many units: what they are summed with is looked up again
    then."""
    units: int
    left: int
    figures: HourFigures = field(default_factory=HourFigures)
    begun: bool = False
    """Whether rows of the unit were added: the others must be added to the same sums."""

    @property
    def current(self) -> bool:
        """Whether rows can be added without looking anything up."""
        return self.begun or (self.left > 0 and time.monotonic() < self.until_s)


class SumKeeper:
    """Keeps sums of flow files, one unit after the other: `begin`, `add` its rows, `keep`.

    Nothing that fails here keeps a unit from being published: of its files no sums are kept then,
    and a roll-up reads them.

    Args:
        waiting: how many segments wait to be decoded.
    """

    def __init__(self, lake: Lake, network: Configuration, waiting: Callable[[], int]) -> None:
        self._lake, self._network, self._waiting = lake, network, waiting
        self._hours: dict[datetime, _Hour] = {}
        self._tables: dict[tuple[str, ...], RouteTable] = {}
        self._unit = ""
        self._active = False
        self._idle_until_s = 0.0

    def begin(self, unit: str) -> None:
        """Forget what is not kept, and begin with a unit's rows."""
        for of in self._hours.values():
            of.left -= of.begun
            of.sums.clear()
            of.figures, of.begun = HourFigures(), False
        self._unit = unit
        self._active = (
            library() is not None
            and time.monotonic() >= self._idle_until_s
            and self._waiting() <= MOST_WAITING
        )

    def add(self, hour: datetime, table: pa.Table | Rows) -> None:
        """Add rows of the unit's flow file of an hour of receipt."""
        if not self._active:
            return
        try:
            of = self._of(hour)
            if of is None:
                return
            context, of.begun = of.codes.context, True
            batch = batch_of(
                self._file(hour), table,
                context.moments(self._file(hour)), next_hops=context.neighbours is not None,
                also=() if context.macs is None else MACS,
            )  # fmt: skip
            of.figures.add(of.sums.add(batch))
            if of.sums.combinations > MOST_COMBINED:
                self._idle()
        except Exception:
            self._idle()

    def keep(self, digests: Mapping[datetime, str]) -> None:
        """Keep the sums of the unit's files, which are published, by hour and digest."""
        if not self._active:
            return
        for hour, of in self._hours.items():
            if of.begun and hour in digests:
                with suppress(Exception):
                    self._keep(hour, of, digests[hour])

    def _keep(self, hour: datetime, of: _Hour, digest: str) -> None:
        path = kept_sums.place(self._lake.cache, hour, digest)
        if not path.parent.is_dir():
            self._remove_old(hour)
            make_folder(path.parent)
        staged = self._lake.staging.path(path.name)
        try:
            if kept_sums.write(staged, of.sums, of.codes, self._file(hour), digest, of.figures):
                staged.replace(path)
        finally:
            staged.unlink(missing_ok=True)

    def _idle(self) -> None:
        """Keep no sums for a while: there are no routes, or something is in the way."""
        self._active, self._idle_until_s = False, time.monotonic() + RENEWED_S

    def _file(self, hour: datetime) -> str:
        return f"{folder_of('flows', hour)}/{self._unit}.parquet"

    def _of(self, hour: datetime) -> _Hour | None:
        """Where an hour is summed; None without routes."""
        found = self._hours.get(hour)
        if found is not None and found.current:
            return found
        tables = dict(self._tables)  # a planner forgets some where there are many
        planner = RollupPlanner(
            self._lake, self._network, period=(hour, hour + timedelta(hours=1)), tables=tables
        )
        core = library()
        if core is None or not planner.snapshots:
            self._idle()
            return None
        self._hours = {h: of for h, of in self._hours.items() if of.begun}
        codes = Codes(planner.context(hour))
        planner.moments(self._file(hour))
        planner.pack()  # or all announcements would be read from their files again each time
        sums = CompiledSums(core, codes, hour, HELD_OCTETS)
        units = 1 if found is None else 2 * found.units
        self._hours[hour] = _Hour(codes, sums, time.monotonic() + RENEWED_S, units, units)
        used = {view.table for of in self._hours.values() for view in of.codes.views}
        self._tables = {key: table for key, table in tables.items() if table in used}
        return self._hours[hour]

    def _remove_old(self, hour: datetime) -> None:
        """Remove the sums of hours of receipt that are long past."""
        oldest = hour - timedelta(hours=KEPT_HOURS)
        for folder in (self._lake.cache / "sums").glob("date=*/hour=*"):
            if f"flows/{folder.parent.name}/{folder.name}" < folder_of("flows", oldest):
                shutil.rmtree(folder, ignore_errors=True)
                with suppress(OSError):
                    folder.parent.rmdir()
