"""Hours rolled up by an engine: the same lake as here, whatever the engine loses."""

from __future__ import annotations

import dis
import errno
import pickle
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from test_jobs import lake_of, made

from flowpeer import __version__
from flowpeer.errors import InputError, LockedError, UsageError
from flowpeer.lake.store import Lake
from flowpeer.pipeline import engines
from flowpeer.pipeline.engines import Done
from flowpeer.pipeline.executor import Order, RollupOrder, shipped
from flowpeer.pipeline.rollup import RolledUp, roll_up
from flowpeer.reporter import Collected
from flowpeer.rollup.planner import RollupPlanner

ADDRESS = "spark://127.0.0.1:7077"


class Here:
    """An engine whose machines are two threads. What `answers` says comes back of its first tasks
    instead of what they told; an error is raised before they begin."""

    address = ADDRESS
    threads = 1

    def __init__(self, *answers: bytes | Exception | None) -> None:
        self.answers = list(answers)
        self.labels: list[str] = []
        self.closed = 0
        self._pool = ThreadPoolExecutor(2)

    def submit(self, label: str, order: Order, done: Done) -> None:
        self.labels.append(label)
        other = self.answers.pop(0) if self.answers else None

        def run() -> None:
            if isinstance(other, Exception):
                done(other)
                return
            told = shipped()(order)
            done(told if other is None else RuntimeError("ExecutorLostFailure"))

        self._pool.submit(run)

    def machines(self) -> int:
        return 2

    def close(self) -> None:
        self.closed += 1
        self._pool.shutdown()


class Interrupted(Here):
    """Ctrl-C, while tasks are waited for."""

    def submit(self, label: str, order: Order, done: Done) -> None:
        self.labels.append(label)

    def machines(self) -> int:
        raise KeyboardInterrupt


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory) -> RollupPlanner:
    """A lake whose hours nobody does."""
    return lake_of(tmp_path_factory.mktemp("engines") / "idle")


def use(monkeypatch: pytest.MonkeyPatch, engine: Here) -> Here:
    monkeypatch.setattr(engines, "connect", lambda address: engine)
    return engine


def rolled(planner: RollupPlanner, said: Collected | None = None) -> RolledUp:
    return roll_up(planner.network, Lake(planner.lake.root), said or Collected(), on=ADDRESS)


def test_what_an_engine_loses_is_done_again_and_counted_from_the_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = lake_of(tmp_path / "one")
    expected = roll_up(whole.network, Lake(whole.lake.root), Collected(), jobs=1)
    monkeypatch.setattr(engines, "PIECES", 3)
    # The first task is done and its answer lost, the second is lost before it begins.
    engine = use(monkeypatch, Here(b"lost", RuntimeError("ExecutorLostFailure")))
    several, said = lake_of(tmp_path / "several"), Collected()
    verbose: list[str] = []
    monkeypatch.setattr(said, "say", lambda text, level=0: verbose.append(text))
    assert rolled(several, said) == expected
    assert made(several) == made(whole)
    assert said.warnings == []
    hours = [f"{one.hour:%Y-%m-%d %H}:00 " for one in expected.done]
    host = socket.gethostname()
    for hour in hours[3:]:
        assert sum(text.startswith(f"{host}: {hour}") for text in verbose) == 1
    for hour in hours[:3]:  # whoever did them could not tell
        assert sum(text.startswith(hour) for text in verbose) == 1
    assert engine.closed == 1
    assert len(engine.labels) == 3 + 3
    assert not list((several.lake.root / "staging").glob("*/*"))
    assert not list((several.lake.root / "locks").glob("rollup+*"))


def test_an_hour_that_is_lost_twice_is_left_and_the_reason_told(
    idle: RollupPlanner, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = Collected()
    monkeypatch.setattr(engines, "PIECES", 1)
    count = len(idle.plan())
    gone = RuntimeError("ExecutorLostFailure (exit code 137)")
    engine = use(monkeypatch, Here(*[gone] * (1 + count)))
    assert rolled(idle, said).rolled_up == 0
    assert len(said.warnings) == count
    for text in said.warnings:
        assert "left as it was: spark://127.0.0.1:7077: ExecutorLostFailure (exit code 137)" in text
    assert len(engine.labels) == 1 + count


def test_an_hour_that_is_told_and_not_here_is_no_hour_done(
    idle: RollupPlanner, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = Collected()
    hours = idle.plan()

    class Elsewhere(Here):
        def submit(self, label: str, order: Order, done: Done) -> None:
            work: RollupOrder = pickle.loads(order[1])
            told = [("tried", (hour.name, "done")) for hour in work.hours]
            done(pickle.dumps([("host", "far"), *told]))

    use(monkeypatch, Elsewhere())
    assert rolled(idle, said).rolled_up == 0
    assert len(said.warnings) == len(hours)
    assert f"far did it, and nothing of it is here; is {idle.lake.root}" in said.warnings[0]


def test_hours_that_somebody_works_on_are_tried_again_and_then_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planner = lake_of(tmp_path / "a")
    monkeypatch.setattr(engines, "PIECES", 1)
    monkeypatch.setattr(engines, "HELD_S", 0.0)
    monkeypatch.setattr(engines, "HELD_TRIES", 2)
    first, *rest = planner.plan()
    engine = use(monkeypatch, Here())
    other = Lake(planner.lake.root)
    with other.lock(f"rollup+{first.name}", once=True), pytest.raises(LockedError) as raised:
        rolled(planner)
    assert f"1 of the hours, first {first.start:%Y-%m-%d %H}:00" in str(raised.value)
    assert engine.labels[1:] == [first.name]
    assert [h.name for h in RollupPlanner(other, planner.network).plan() if not h.changed] == [
        h.name for h in rest
    ]


@pytest.mark.parametrize("missing", ["flowpeer", "flowpeer.pipeline.executor"])
def test_a_machine_without_flowpeer_says_so(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    function = shipped()
    assert function.__module__ == "__main__"  # its code goes there, not the name of a module
    used = {i.argval for i in dis.get_instructions(function) if i.opname == "LOAD_GLOBAL"}
    assert used == {"ImportError"}
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, missing, None)
        told = pickle.loads(function((__version__, b"")))
    why = f"(import of {missing} halted; None in sys.modules)"
    text = f"{socket.gethostname()}: {sys.executable} has no flowpeer {__version__} {why}"
    assert told == [("unfit", text)]


@pytest.mark.parametrize("kind", ["version", "folder", "rights"])
def test_a_machine_that_cannot_do_it_ends_the_job_with_one_line(
    kind: str, idle: RollupPlanner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = use(monkeypatch, Here())
    at = f"{socket.gethostname()}: "
    if kind == "version":
        monkeypatch.setattr(engines, "__version__", "9.9")
        words = f"{at}{sys.executable} has flowpeer {__version__}, and here is 9.9"
    elif kind == "folder":
        submit = engine.submit

        def elsewhere(label: str, order: Order, done: Done) -> None:
            work: RollupOrder = pickle.loads(order[1])
            (tmp_path / "b" / "staging").mkdir(parents=True, exist_ok=True)
            submit(label, (order[0], pickle.dumps(replace(work, root=tmp_path / "b"))), done)

        monkeypatch.setattr(engine, "submit", elsewhere)
        words = f"{at}{tmp_path / 'b'} is not the lake there"
    else:
        monkeypatch.setattr(Lake, "writable", False)
        words = f"{at}may not write into {idle.lake.root}"
    with pytest.raises(InputError) as raised:
        rolled(idle)
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)
    assert engine.closed == 1


def test_what_ends_a_process_there_ends_the_roll_up_here(
    idle: RollupPlanner, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = OSError(errno.ENOSPC, "No space left on device", "some.parquet")

    class Full(Here):
        def submit(self, label: str, order: Order, done: Done) -> None:
            done(pickle.dumps([("host", "far"), ("failed", full)]))

    engine = use(monkeypatch, Full())
    with pytest.raises(OSError, match="No space left on device"):
        rolled(idle)
    assert engine.closed == 1


def test_an_engine_that_is_gone_ends_the_roll_up(
    idle: RollupPlanner, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = use(monkeypatch, Here(*[InputError(ADDRESS, "ended the job")] * 16))
    with pytest.raises(InputError, match="ended the job"):
        rolled(idle)
    assert engine.closed == 1


def test_an_interrupt_ends_the_job(idle: RollupPlanner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "WAIT_S", 0.0)
    engine = use(monkeypatch, Interrupted())
    with pytest.raises(KeyboardInterrupt):
        rolled(idle)
    assert engine.labels
    assert engine.closed == 1


def test_nothing_to_do_needs_no_engine(
    idle: RollupPlanner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "connect", lambda address: pytest.fail("connected"))
    first = idle.plan()[0].start
    done = roll_up(
        idle.network, Lake(idle.lake.root), Collected(), start=first, end=first, on=ADDRESS
    )
    assert done.done == []


@pytest.mark.parametrize(
    ("address", "module", "extra"),
    [
        ("spark://h:7077", "pyspark", "spark"),
        ("local-cluster[2,1,1024]", "pyspark", "spark"),
        ("local[2]", "pyspark", "spark"),
        ("yarn", "pyspark", "spark"),
        ("k8s://https://h:6443", "pyspark", "spark"),
        ("dask://h:8786", "distributed", "dask"),
    ],
)
def test_an_engine_that_is_not_installed_names_its_extra(
    address: str, module: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("flowpeer.pipeline.on_spark", "flowpeer.pipeline.on_dask"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError, match=f"{module} is not installed") as raised:
        engines.connect(address)
    assert raised.value.advice == f"pip install 'flowpeer[{extra}]'"


@pytest.mark.parametrize("address", ["", "spark", "spark://", "ray://h:1", "localhost:7077", "yar"])
def test_a_word_that_names_no_engine_is_refused(address: str) -> None:
    with pytest.raises(UsageError, match="names no engine"):
        engines.connect(address)
