"""The schedule as Airflow DAGs (2.4 or later), on a worker that sees the lake.

Exit 75 (the lake is locked) is worth another attempt. 1 (done, but something is wrong with the
data) succeeds with a warning in the log, and `flowpeer check` tells; anything else fails at once,
so that somebody looks: doing it again helps neither a configuration nor an input.
"""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta

from airflow.decorators import dag, task
from airflow.exceptions import AirflowException, AirflowFailException

FLOWPEER = ["/opt/flowpeer/bin/flowpeer", "--config", "/etc/flowpeer/flowpeer.toml"]
DONE_WITH_WARNINGS, LOCKED = 1, 75


def flowpeer(*words: str) -> int:
    """Run one command, its output in the task's log; its exit status, 0 or 1."""
    status = subprocess.run([*FLOWPEER, *words], check=False).returncode  # noqa: S603 (our words)
    if status == LOCKED:
        raise AirflowException("the lake is locked; trying again")
    if status not in (0, DONE_WITH_WARNINGS):
        raise AirflowFailException(f"flowpeer {' '.join(words)}: exit status {status}")
    return status


OPTIONS = {
    "start_date": datetime(2026, 1, 1, tzinfo=UTC),
    "catchup": False,  # one run does all that is out of date, however old
    "max_active_runs": 1,
    "default_args": {"retries": 3, "retry_delay": timedelta(minutes=5)},
}


@dag(schedule="7 * * * *", **OPTIONS)
def flowpeer_hourly() -> None:
    """Roll up and report; and is the collector losing anything?"""

    @task
    def run() -> None:
        flowpeer("run", "--out", "/var/lib/flowpeer/report")

    @task
    def collector() -> None:
        if flowpeer("status") != 0:
            raise AirflowFailException("flowpeer status: the log says what is wrong")

    run()
    collector()


@dag(schedule="37 2 * * *", **OPTIONS)
def flowpeer_daily() -> None:
    """Merge the files of closed hours, then delete what is older than `keep_flows`."""

    @task
    def compact() -> None:
        flowpeer("compact")

    @task
    def prune() -> None:
        flowpeer("prune", "--yes", "--routes", "unused")

    compact() >> prune()


@dag(schedule="30 4 * * 1", **OPTIONS)
def flowpeer_weekly() -> None:
    """PeeringDB."""

    @task
    def peeringdb() -> None:
        flowpeer("peeringdb", "sync")

    peeringdb()


flowpeer_hourly()
flowpeer_daily()
flowpeer_weekly()
