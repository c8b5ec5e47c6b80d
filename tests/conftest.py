"""Fixtures for every test: reference data that may be absent, golden files, a finished demo, a
bucket of an object store."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import filelock
import pytest
from hypothesis import HealthCheck, settings

sys.path.insert(0, str(Path(__file__).parent))
from warm import Finished, flowpeer, no_power_cut, warm

if TYPE_CHECKING:
    from object_store import Bucket


# The program is started hundreds of times: compiled once, not each time.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# How long an example takes is the machine's affair. CI tries the same examples each time, so that
# it judges the change; new ones are looked for by whoever runs the tests.
settings.register_profile(
    "untimed", max_examples=30, deadline=None, derandomize="CI" in os.environ,
    suppress_health_check=[HealthCheck.too_slow],
)  # fmt: skip
settings.register_profile(
    "soak", settings.get_profile("untimed"), max_examples=int(os.environ.get("EXAMPLES", "1000"))
)
settings.load_profile("untimed")

no_power_cut()

REPOSITORY = Path(__file__).resolve().parents[1]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="rewrite the golden files with what is made"
    )
    parser.addoption("--soak", action="store_true", help="run also what is marked soak")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is longer than every change may take; the longest tests first, so that at the
    end no worker waits for the one that has them."""
    items.sort(key=lambda item: not {"collect", "web"} & set(item.path.parts))
    if not config.getoption("--soak"):
        long = [item for item in items if item.get_closest_marker("soak")]
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if not item.get_closest_marker("soak")]


def pytest_configure(config: pytest.Config) -> None:
    """In a checkout, build the compiled core again where its sources have changed."""
    if not hasattr(config, "workerinput") and (REPOSITORY / "core").is_dir():
        hook = REPOSITORY / "hatch_build.py"
        subprocess.run([sys.executable, hook, "--if-stale"], check=True)


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """No test leaves a signal behind that ends the process in silence: with SIGPIPE at its default,
    a later test that writes to a pipe whose reader has gone would seem to be a crashed worker."""
    if signal.getsignal(signal.SIGPIPE) is not signal.SIG_IGN:
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        pytest.fail(f"{item.nodeid} or what it imports changed what SIGPIPE does")


def pytest_sessionfinish() -> None:
    """End the process that runs commands, if one was needed."""
    if warm.cache_info().currsize:
        warm().close()


@pytest.fixture(scope="session")
def shared() -> Path:
    """Reference data of other parties, which the project does not ship."""
    folder = Path(os.environ.get("FLOWPEER_SHARED", REPOSITORY.parent / "shared"))
    if not (folder / "corpus").is_dir():
        pytest.skip(f"no reference data at {folder} (set FLOWPEER_SHARED)")
    return folder


@pytest.fixture(scope="session")
def mrtparse() -> ModuleType:
    """The MRT reader of other authors. Importing it gives SIGPIPE its default back; that is undone:
    Python's own, an error where the reader has gone, is what this process relies on."""
    module = pytest.importorskip("mrtparse")
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    assert isinstance(module, ModuleType)
    return module


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """`golden(name, text)`: `text` equals the file golden/`name` beside the test."""
    folder = Path(request.path).parent / "golden"
    update = request.config.getoption("--update-golden")

    def check(name: str, text: str) -> None:
        path = folder / name
        if update:
            folder.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert path.exists(), f"{path} is missing: run pytest --update-golden and read the file"
        assert text == path.read_text(encoding="utf-8")

    return check


@pytest.fixture(scope="session")
def forget_unit() -> Callable[[Path, str], None]:
    """`forget_unit(lake folder, name)`: as if the work on a unit was killed before its last act."""
    from flowpeer.lake import codec
    from flowpeer.lake.units import bucket_of, unit_key

    def forget(root: Path, name: str) -> None:
        path = root / unit_key(bucket_of(name))
        header, units = codec.decode_units(path.read_bytes(), path.name)
        del units[name]
        path.write_bytes(codec.encode(header, units.values()))

    return forget


@pytest.fixture(scope="session")
def run() -> Callable[..., Finished]:
    """`run("check", cwd=folder)`: the finished process, its output as text."""
    return flowpeer


@pytest.fixture(scope="session")
def demo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished demo, made once for all workers: read it, copy it before changing it."""
    base = tmp_path_factory.getbasetemp()
    shared_base = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    folder = shared_base / "demo"
    with filelock.FileLock(shared_base / "demo.lock"):
        if not (shared_base / "demo.out").is_file():
            done = flowpeer("demo", folder)
            assert done.returncode == 0, done.stderr
            (shared_base / "demo.out").write_text(done.stdout)
    return folder


@pytest.fixture
def garbage_waits() -> Iterator[None]:
    """No garbage is collected. Where a document is nested too deep, what collecting calls (as the
    end of a temporary folder of an earlier test) would fail for want of stack too."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def demo_copy(demo_folder: Path, tmp_path: Path) -> Path:
    """A demo of one's own, to change at will."""
    return Path(shutil.copytree(demo_folder, tmp_path / "demo"))


@pytest.fixture(scope="session")
def store() -> Iterator[str]:
    """The address of an object store on loopback that speaks S3 (moto)."""
    from object_store import STORE

    with subprocess.Popen(
        [sys.executable, "-c", STORE], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        words = process.stdout.readline().split()
        assert words, "the object store did not start"
        yield f"http://{words[0]}:{words[1]}"
        process.stdin.close()
        process.kill()


@pytest.fixture
def bucket(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """A new bucket."""
    from object_store import Bucket

    made = Bucket(store, tmp_path, monkeypatch)
    yield made
    made.client.close()
