"""What becomes of flow records that were rolled up, and of old routes: merged, or deleted."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from flowpeer.lake.commit import sweep_retired
from flowpeer.lake.store import Lake
from flowpeer.network import Configuration
from flowpeer.pipeline.rollup import renew_catalog
from flowpeer.reporter import Reporter
from flowpeer.rollup import retention
from flowpeer.rollup.planner import RollupPlanner
from flowpeer.rollup.route_retention import prunable_routes, prune_routes
from flowpeer.routing.rib.snapshot import SnapshotInfo

Routes = Literal["unused", "daily"]


def ago(age_s: int) -> datetime:
    """The time so long ago; the first there is, for more than there was."""
    try:
        return datetime.now(UTC) - timedelta(seconds=age_s)
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was or would be deleted; `snapshots` is None where routes were not asked for."""

    flows: retention.PrunePlan
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
    network: Configuration,
    lake: Lake,
    before: datetime,
    reporter: Reporter,
    *,
    routes: Routes | None = None,
    delete: bool = False,
) -> Pruned:
    """Delete flow records received before `before`, and with `routes` snapshots taken before it.

    Without `delete` nothing changes: the answer says what would go.

    Raises:
        LockedError: another process prunes, or works on the routes.
    """
    # Before the flow records, whose hours need them: what was reported before is what is done.
    infos = _prune_routes(network, lake, before, routes, delete=delete)
    if not delete:
        return Pruned(_prunable(network, lake, before), infos)
    with lake.lock("prune"):
        plan = _prunable(network, lake, before)
        if plan.chosen:
            retention.prune(RollupPlanner(lake, network), plan)
        sweep_retired(lake, lake.record())
    renew_catalog(network, lake, reporter.warn)
    return Pruned(plan, infos)


def _prunable(network: Configuration, lake: Lake, before: datetime) -> retention.PrunePlan:
    rollup = RollupPlanner(lake, network)
    return retention.prunable(rollup, before) if rollup.files else retention.PrunePlan()


def _prune_routes(
    network: Configuration, lake: Lake, before: datetime, routes: Routes | None, *, delete: bool
) -> list[SnapshotInfo] | None:
    if routes is None:
        return None
    daily = routes == "daily"
    if not delete:
        return prunable_routes(RollupPlanner(lake, network), before, daily=daily)
    with lake.lock("ribs"):
        infos = prunable_routes(RollupPlanner(lake, network), before, daily=daily)
        prune_routes(lake, infos)
    return infos


@dataclass(frozen=True, slots=True)
class Merged:
    """What `merge` did: files that became one an hour, and hours."""

    files: int
    hours: int


def merge(network: Configuration, lake: Lake, before: datetime, reporter: Reporter) -> Merged:
    """Merge the files of each hour that ended before `before`: flows, coverage and sampling.

    Raises:
        UsageError: a lake of an older format.
    """
    record = lake.record()
    lake.check_writable()
    lake.staging.sweep()
    sweep_retired(lake, record)
    if not record.hours("flows"):
        return Merged(0, 0)
    rollup = RollupPlanner(lake, network, record=record)
    hours = retention.mergeable(rollup, before)
    headers = [record.header(table, hour) for table, hour in hours]
    total = sum(header.rows for header in headers if header is not None)
    with reporter.progress("merging", total) as advance:
        done = retention.compact(
            lake, hours, grace_s=network.lake.grace, progress=advance, warn=reporter.warn
        )
    rollup.pack()
    renew_catalog(network, lake, reporter.warn)
    return Merged(sum(done.values()), len({hour for _, hour in done}))
