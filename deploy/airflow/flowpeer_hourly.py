"""The hourly batch as an Airflow DAG (2.4 or later), on a worker that sees the lake.

Exit 75 (the lake is locked) is worth another attempt. 1 (done, but something is wrong with the
data) and 2 (the configuration) fail at once, so that somebody looks: doing it again helps neither.
"""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta

from airflow.decorators import dag, task
from airflow.exceptions import AirflowException, AirflowFailException

FLOWPEER = ["/opt/flowpeer/bin/flowpeer", "--config", "/etc/flowpeer/flowpeer.toml"]
LOCKED = 75


def flowpeer(*words: str) -> None:
    """Run one command; its output is the task's log."""
    status = subprocess.run([*FLOWPEER, *words], check=False).returncode  # noqa: S603 (our words)
    if status == LOCKED:
        raise AirflowException("the lake is locked; trying again")
    if status != 0:
        raise AirflowFailException(f"flowpeer {' '.join(words)}: exit status {status}")


@dag(
    schedule="7 * * * *",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,  # one run does all that is out of date, however old
    max_active_runs=1,
    default_args={"retries": 3, "retry_delay": timedelta(minutes=5)},
)
def flowpeer_hourly() -> None:
    """Roll up and report; and is the collector losing anything?"""

    @task
    def run() -> None:
        flowpeer("run")

    @task
    def collector() -> None:
        flowpeer("status")

    run()
    collector()


flowpeer_hourly()
