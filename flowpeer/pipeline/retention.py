"""What becomes of flow records that were rolled up, and of old routes: merged, or deleted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from flowpeer.lake import compact
from flowpeer.lake.store import Lake
from flowpeer.network import Network
from flowpeer.reporter import Reporter
from flowpeer.rollup import retention
from flowpeer.rollup.hours import Rollup
from flowpeer.rollup.route_retention import prunable_routes, prune_routes
from flowpeer.routing.snapshot import SnapshotInfo

Routes = Literal["unused", "daily"]


def ago(age_s: int) -> datetime:
    """The time so long ago; the first there is, for more than there was."""
    try:
        return datetime.now(UTC) - timedelta(seconds=age_s)
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC)


@contextmanager
def _flows_alone(lake: Lake, owner: str) -> Iterator[None]:
    """The flow files for oneself, after whatever was broken off is finished."""
    with lake.lock(owner), lake.flow_files(alone=True):
        compact.finish(lake)
        yield


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was or would be deleted; `snapshots` is None where routes were not asked for."""

    flows: retention.Plan
    snapshots: list[SnapshotInfo] | None

    @property
    def waiting_hours(self) -> list[datetime]:
        """Hours that keep older files, since they are not rolled up."""
        return sorted({hour for hours in self.flows.waiting.values() for hour in hours})

    @property
    def snapshot_bytes(self) -> int:
        """Size of the snapshots' files."""
        return sum(info.file_bytes for info in self.snapshots or ())


def prune(
    network: Network,
    lake: Lake,
    before: datetime,
    *,
    routes: Routes | None = None,
    delete: bool = False,
) -> Pruned:
    """Delete flow records received before `before`, and with `routes` snapshots taken before it.

    Without `delete` nothing changes: the answer says what would go.

    Raises:
        LockedError: another process works on the flow files or the routes.
    """
    # Before the flow records, whose hours need them: what was said before is what is done.
    infos = _prune_routes(network, lake, before, routes, delete=delete)
    if not lake.entry_names("flows"):
        return Pruned(retention.Plan(), infos)
    if not delete:
        return Pruned(retention.prunable(Rollup(lake, network), before), infos)
    with _flows_alone(lake, "prune"):
        rollup = Rollup(lake, network)
        plan = retention.prunable(rollup, before)
        retention.prune(rollup, plan)
    return Pruned(plan, infos)


def _prune_routes(
    network: Network, lake: Lake, before: datetime, routes: Routes | None, *, delete: bool
) -> list[SnapshotInfo] | None:
    if routes is None:
        return None
    daily = routes == "daily"
    if not delete:
        return prunable_routes(Rollup(lake, network), before, daily=daily)
    with _flows_alone(lake, "prune"), lake.lock("ribs"):
        infos = prunable_routes(Rollup(lake, network), before, daily=daily)
        prune_routes(lake, infos)
    return infos


@dataclass(frozen=True, slots=True)
class Merged:
    """What `merge` did: files that became one an hour, and hours."""

    files: int
    hours: int


def merge(network: Network, lake: Lake, before: datetime, reporter: Reporter) -> Merged:
    """Merge the files of each hour that ended before `before`: flows, coverage and sampling.

    Raises:
        LockedError: another process works on the flow files.
    """
    folders: dict[str, list[str]] = {}
    with _flows_alone(lake, "compact"):
        if lake.entry_names("flows"):
            rollup = Rollup(lake, network)
            folders = retention.mergeable(rollup, before)
            names = [name for files in folders.values() for name in files]
            entries = map(rollup.ledger.entry, names)
            total = sum(int(entry["rows"]) for entry in entries if entry is not None)
            with reporter.progress("merging", total) as advance:
                retention.compact(lake, folders, progress=advance)
    hours = len({folder.partition("/")[2] for folder in folders})
    return Merged(sum(map(len, folders.values())), hours)
