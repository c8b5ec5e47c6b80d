"""Roll-ups by Spark and Dask on this machine, against those made here: `make test-spark`.

    python .ci/engines.py ENVIRONMENT [--only spark,dask]

ENVIRONMENT is made once: what this interpreter has, and the extras [spark] and [dask]. The sample
network is rolled up here; then by a master and two workers of each engine, of which one is killed
(-9, all its processes) within an hour that it has half published. No file may differ. Then: Ctrl-C
ends the job and nothing of it is left, an executor without flowpeer and an engine that is not there
are each told in one line. Everything listens on loopback, waits a bounded time, and is killed at
the end.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from separate import environment, extra

TABLES = ("traffic", "traffic_routes")
WAIT_S = 240.0
"""For any one thing to happen, on a busy machine."""
ALL_S = 1200
HANGING = '''
"""On a worker that the test says it of: the second hour hangs before its last manifest."""
import os, sys, time
from pathlib import Path

if "flowpeer.pipeline.worker" in sys.orig_argv:
    from flowpeer.rollup.planner import RollupPlanner

    place, whole = Path(os.environ["ENGINES_TEST"]), RollupPlanner._switch

    def switch(self, name, hour, file, facts):
        if name == "traffic" and (place / "armed").exists():
            self.lake.staging.path("begun").write_bytes(b"x")
            (place / "hanging").touch()
            time.sleep(600)
        whole(self, name, hour, file, facts)

    RollupPlanner._switch = switch
'''
"""`sitecustomize.py` of the workers."""


class FailedError(Exception):
    """What does not hold."""


def processes(mark: str) -> list[int]:
    """Processes that have `mark` in their environment, as those that they started have."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            with suppress(OSError):
                if mark.encode() in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
    return found


def working(mark: str) -> list[int]:
    """Those of them that roll up."""
    found = []
    for pid in processes(mark):
        with suppress(OSError):
            if b"flowpeer.pipeline.worker" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


def kill(mark: str) -> None:
    """SIGKILL for all of them, and for what they may start meanwhile."""
    until = time.monotonic() + WAIT_S
    while left := [pid for pid in processes(mark) if not zombie(pid)]:
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > until:
            raise FailedError(f"processes {left} outlive SIGKILL")
        time.sleep(0.05)


def zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def wait_for(what: str, found: Callable[[], object], ended: subprocess.Popen[str] | None = None):
    until = time.monotonic() + WAIT_S
    while not (value := found()):
        if ended is not None and ended.poll() is not None:
            raise FailedError(f"it ended with {ended.returncode} before {what}")
        if time.monotonic() > until:
            raise FailedError(f"{what}: not within {WAIT_S:.0f} s")
        time.sleep(0.05)
    return value


class Trial:
    """A lake, an engine of two workers, and roll-ups on it."""

    def __init__(self, python: Path, folder: Path, sample: Path, reference: dict[str, bytes]):
        self.python, self.folder, self.reference = python, folder, reference
        self.run = f"engines-{secrets.token_hex(8)}"
        self.hooks = folder / "hooks"
        self.hooks.mkdir(parents=True)
        (self.hooks / "sitecustomize.py").write_text(HANGING)
        self.lake = folder / "sample"
        shutil.copytree(sample, self.lake)
        self.address = ""

    def surroundings(self, place: Path | None = None) -> dict[str, str]:
        """Of processes of this trial; those of a worker have the hook too."""
        more = {
            "SPARK_LOCAL_IP": "127.0.0.1", "SPARK_LOCAL_DIRS": str(self.folder / "local"),
            "SPARK_CONF_DIR": str(self.folder), "SPARK_DAEMON_MEMORY": "256m",
            "ENGINES_RUN": self.run,
        }  # fmt: skip
        if place is not None:
            place.mkdir()
            more |= {"PYTHONPATH": str(self.hooks), "ENGINES_TEST": str(place)}
        base = {k: v for k, v in os.environ.items() if not k.startswith(("SPARK_", "PYSPARK_"))}
        return base | more

    def start(self, name: str, words: list[object], place: Path | None = None) -> Path:
        """Start a process of the engine; its log."""
        log = self.folder / f"{name}.log"
        with log.open("wb") as file:
            subprocess.Popen(
                list(map(str, words)), stdout=file, stderr=file, stdin=subprocess.DEVNULL,
                env=self.surroundings(place), cwd=self.folder, start_new_session=True,
            )  # fmt: skip
        return log

    def rollup(self, *options: str, address: str = "", **more: str) -> subprocess.Popen[str]:
        """Begin a roll-up on the engine."""
        return subprocess.Popen(
            [self.python, "-m", "flowpeer", "--config", self.lake / "flowpeer.toml", *options,
             "rollup", "--on", address or self.address],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=self.surroundings() | more, start_new_session=True,
        )  # fmt: skip

    def forget(self) -> None:
        """Take the roll-ups out of the lake."""
        for table in TABLES:
            shutil.rmtree(self.lake / "lake" / table, ignore_errors=True)
            shutil.rmtree(self.lake / "lake" / "manifests" / table, ignore_errors=True)

    def same(self) -> None:
        """Every file of the roll-ups is the one that was made here."""
        made = rollups(self.lake)
        differ = [n for n in {*made, *self.reference} if made.get(n) != self.reference.get(n)]
        if differ:
            raise FailedError(f"{len(differ)} files differ, as {min(differ)}")
        left = [
            path.name for place in ("staging/*/*", "locks/rollup+*", "locks/staging+*")
            for path in (self.lake / "lake").glob(place)
        ]  # fmt: skip
        if left:
            raise FailedError(f"left in the lake: {left}")

    def loses_a_worker(self) -> None:
        """One of two is killed within an hour; the other does the rest, and all is as here."""
        victim = self.folder / "worker2"
        (victim / "armed").touch()
        job = self.rollup("--json", "-v")
        wait_for("an hour of the second worker", (victim / "hanging").exists, job)
        kill(f"ENGINES_TEST={victim}")
        out, err = ended(job)
        hours = len(list((self.lake / "lake" / "traffic").rglob("*.parquet")))
        if job.returncode != 0 or json.loads(out)["rolled_up"] != hours or hours == 0:
            raise FailedError(f"ended with {job.returncode}: {out}{err}")
        if not re.search(r"^[^ ]+: 2026-09-16 \d\d:00 [\d,]+ records, ", err, re.MULTILINE):
            raise FailedError(f"no hour and host in the log: {err}")
        self.same()

    def is_interrupted(self) -> None:
        """Ctrl-C, while an hour is done: nothing of it goes on; the next roll-up does it all."""
        self.forget()
        place = self.folder / "worker1"
        (place / "armed").touch()
        job = self.rollup()
        wait_for("an hour of the first worker", (place / "hanging").exists, job)
        os.killpg(job.pid, signal.SIGINT)
        _, err = ended(job)
        if job.returncode != 130:
            raise FailedError(f"Ctrl-C ends it with {job.returncode}: {err}")
        (place / "armed").unlink()

    def refuses(self, words: str, *, address: str = "", **more: str) -> None:
        """A roll-up that cannot be is told in one line, and what to do in another."""
        job = self.rollup(address=address, **more)
        _, err = ended(job)
        lines = [line for line in err.splitlines() if line.startswith(("error:", "try:"))]
        if job.returncode != 3 or len(lines) != 2 or words not in lines[0]:
            raise FailedError(f"{words!r} is not what ends it ({job.returncode}): {err}")
        if "Traceback" in err:
            raise FailedError(f"more than a line: {err}")


def ended(job: subprocess.Popen[str]) -> tuple[str, str]:
    try:
        return job.communicate(timeout=WAIT_S)
    except subprocess.TimeoutExpired:
        raise FailedError(f"a roll-up does not end within {WAIT_S:.0f} s") from None


def rollups(folder: Path) -> dict[str, bytes]:
    """Every file of the roll-ups of a lake, and their manifests."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for table in TABLES
        for part in (table, f"manifests/{table}")
        for path in (folder / "lake" / part).rglob("*") if path.is_file()
    }  # fmt: skip


@contextmanager
def ending(trial: Trial) -> Iterator[Trial]:
    """Whatever happens, nothing of the trial stays."""
    try:
        yield trial
    except BaseException:
        for log in sorted(trial.folder.glob("*.log")):
            tail = log.read_text(errors="replace").splitlines()[-15:]
            print(f"-- {log.name}", *tail, sep="\n", file=sys.stderr)
        raise
    finally:
        kill(f"ENGINES_RUN={trial.run}")


def spark(trial: Trial) -> None:
    home = Path(
        subprocess.check_output(
            [trial.python, "-c", "import pyspark; print(pyspark.__path__[0])"], text=True
        ).strip()
    )
    command = [home / "bin" / "spark-class"]
    classes = "org.apache.spark.deploy"
    (trial.folder / "spark-defaults.conf").write_text(
        "spark.driver.memory 512m\nspark.executor.memory 512m\nspark.ui.enabled false\n"
        "spark.master.rest.enabled false\n"
    )
    local = ["--host", "127.0.0.1", "--webui-port", "0"]
    log = trial.start("master", [*command, f"{classes}.master.Master", *local, "--port", "0"])
    trial.address = wait_for("an address of the master", lambda: said(log, r"spark://[\d.]+:\d+"))
    for n in (1, 2):
        place = trial.folder / f"worker{n}"
        one = trial.start(
            place.name,
            [*command, f"{classes}.worker.Worker", trial.address, *local, "--cores", "1",
             "--memory", "512m", "--work-dir", trial.folder / f"work{n}"], place,
        )  # fmt: skip
        wait_for("a worker", lambda: said(one, "Successfully registered"))  # noqa: B023
    trial.loses_a_worker()
    trial.is_interrupted()
    wait_for(
        "the end of what was interrupted",
        lambda: not working(f"ENGINES_TEST={trial.folder / 'worker1'}"),
    )
    trial.refuses("has no flowpeer", PYSPARK_PYTHON=base_python())
    trial.refuses("an executor has no /nowhere/python", PYSPARK_PYTHON="/nowhere/python")
    trial.refuses("cannot be reached", address="spark://127.0.0.1:1")


def base_python() -> str:
    """The interpreter that the environments are made from: the same Python, without flowpeer."""
    return str(Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info[1]}")


def dask(trial: Trial) -> None:
    place = trial.folder / "scheduler.json"
    trial.start(
        "scheduler",
        [trial.python, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0",
         "--no-dashboard", "--no-show", "--scheduler-file", place],
    )  # fmt: skip
    wait_for("a scheduler", place.is_file)
    address = json.loads(wait_for("its address", lambda: place.read_text()))["address"]
    trial.address = address.replace("tcp://", "dask://")
    for n in (1, 2):
        log = trial.start(
            f"worker{n}",
            [trial.python, "-m", "distributed.cli.dask_worker", address, "--host", "127.0.0.1",
             "--nworkers", "1", "--nthreads", "1", "--no-dashboard", "--memory-limit", "0",
             "--local-directory", trial.folder / f"work{n}"], trial.folder / f"worker{n}",
        )  # fmt: skip
        wait_for("a worker", lambda: said(log, "Registered to"))  # noqa: B023
    trial.loses_a_worker()
    trial.is_interrupted()
    trial.refuses("cannot be reached", address="dask://127.0.0.1:1")


def run(*words: str | Path) -> None:
    """A program that says nothing unless it fails."""
    done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=WAIT_S)
    if done.returncode != 0:
        raise FailedError(f"{' '.join(map(str, words))}: {done.stdout}{done.stderr}")


def said(log: Path, pattern: str) -> str:
    found = re.search(pattern, log.read_text(errors="replace"))
    return found[0] if found else ""


def too_long(number: int, frame: object) -> None:
    raise FailedError(f"not within {ALL_S} s")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("environment", type=Path)
    parser.add_argument("--only", default="spark,dask")
    arguments = parser.parse_args()
    engines = {"spark": spark, "dask": dask}
    chosen = {name: engines[name] for name in arguments.only.split(",")}
    if "spark" in chosen and shutil.which("java") is None:
        print("SKIPPED: Spark needs Java (Debian: openjdk-17-jre-headless), and there is none")
        del chosen["spark"]
    python = environment(arguments.environment, extra("spark", "dask"))
    if python is None:
        print("SKIPPED: the engines cannot be installed")
        return 0
    signal.signal(signal.SIGINT, signal.default_int_handler)  # what is started may be ignoring it
    signal.signal(signal.SIGALRM, too_long)
    signal.alarm(ALL_S)
    with tempfile.TemporaryDirectory(prefix="engines-") as temporary:
        root = Path(temporary)
        sample, here = root / "sample", root / "here"
        command = [sys.executable, "-m", "flowpeer"]
        run(sys.executable, "-m", "flowpeer_sample", sample)
        run(*command, "-q", "--config", sample / "flowpeer.toml", "ingest", sample / "captures")
        shutil.rmtree(sample / "captures")
        shutil.copytree(sample, here)
        run(*command, "-q", "--config", here / "flowpeer.toml", "rollup")
        reference = rollups(here)
        for name, trial in chosen.items():
            began = time.monotonic()
            with ending(Trial(python, root / name, sample, reference)) as one:
                trial(one)
            print(
                f"{name}: {len(reference)} files as made here, with a worker killed; Ctrl-C and "
                f"{3 if name == 'spark' else 1} refusals ({time.monotonic() - began:.0f} s)",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except FailedError as failed:
        sys.exit(f"error: {failed}")
