"""Try a built wheel in an environment of its own: what a user installs works without the checkout.

    python .ci/wheel_test.py WHEEL

The wheel's top-level names are exactly the packages of the project, a second build from a copy
elsewhere gives the same octets, the packages are imported from where pip put them, the demo runs
and a few commands answer from it, and the tests of the ground, the reports and the wire, which need
nothing of a checkout, pass. The other tests run in the checkout.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

PACKAGES = (
    "flowpeer", "flowpeer_core", "flowpeer_ingest", "flowpeer_reports", "flowpeer_sample",
    "flowpeer_sql",
)  # fmt: skip
TESTERS = (
    "attrs", "execnet", "hypothesis", "iniconfig", "packaging", "pluggy", "pygments", "pytest",
    "pytest-timeout", "pytest-xdist", "sortedcontainers",
)  # fmt: skip
"""What those tests need beside what flowpeer needs."""
TESTS = ("core/test_ground.py", "core/test_percentile.py", "reports", "ingest/test_wire.py")
REPOSITORY = Path(__file__).resolve().parents[1]
EXPLORER = (
    "flowpeer/web/templates/page.html", "flowpeer/web/sql/network.sql",
    "flowpeer/web/static/explorer.js", "flowpeer/web/static/vendor/htmx.LICENSE",
    "flowpeer/web/static/vendor/manifest.json",
)  # fmt: skip
"""Files of the explorer that are no modules."""
PLACES = """
import importlib, sys
for name in sys.argv[1:]:
    place = importlib.import_module(name).__file__
    assert place.startswith(sys.prefix), f"{name} is imported from {place}"
"""
LIBRARY = """
import flowpeer
net = flowpeer.open("flowpeer.toml")
assert net.candidates(metro="ams", asks=3).rows.height == 3
assert net.sql("SELECT count(*) FROM metros").item() == 9
assert net.verify().good
"""


def main() -> int:
    """Raises where something does not hold."""
    wheel = Path(sys.argv[1]).resolve()
    with zipfile.ZipFile(wheel) as archive:
        files = set(archive.namelist())
        names = {name.split("/")[0] for name in files}
    names = {name for name in names if not name.endswith(".dist-info")}
    assert names == set(PACKAGES), f"top-level names of {wheel.name}: {sorted(names)}"
    assert files >= set(EXPLORER), f"{wheel.name} lacks {set(EXPLORER) - files}"
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        assert again(home).read_bytes() == wheel.read_bytes(), "another build gives another wheel"
        print("built twice, the same octets", flush=True)
        python = install(home / "venv", wheel, home)
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "COV"))}

        def run(*words: object, cwd: Path = home) -> str:
            done = subprocess.run(
                [str(python), *map(str, words)], cwd=cwd, env=environment, stdout=subprocess.PIPE,
                text=True, check=False,
            )  # fmt: skip
            if done.returncode:
                raise SystemExit(f"{done.stdout}\n{words}: exit status {done.returncode}")
            return done.stdout

        run("-c", PLACES, *PACKAGES)
        print(f"{wheel.name}: {run('-m', 'flowpeer', '--version').strip()}", flush=True)
        run("-m", "flowpeer", "demo", "demo")
        demo = home / "demo"
        rows = json.loads(run("-m", "flowpeer", "candidates", "--json", cwd=demo))
        assert {row["metro"] for row in rows} >= {"ams", "iad"}
        run("-m", "flowpeer", "check", cwd=demo)  # the sample accepts its planted mistakes
        run("-m", "flowpeer", "decode", "captures/edge1.ams.pcap", "--format", "csv", cwd=demo)
        run("-c", LIBRARY, cwd=demo)
        print("imports, demo, commands and library work", flush=True)
        shutil.copytree(REPOSITORY / "tests", home / "tree" / "tests")
        shutil.copy2(REPOSITORY / "pyproject.toml", home / "tree")
        tests = [f"tests/{name}" for name in TESTS]
        print(run("-m", "pytest", "-q", "-n", "2", *tests, cwd=home / "tree"))
    return 0


def again(home: Path) -> Path:
    """The wheel built once more, from a copy of the checkout in another folder."""
    tree = home / "another folder" / "tree"
    left_out = (
        ".git",
        ".venv",
        ".*_cache",
        "__pycache__",
        "*.so",
        "dist",
        "build",
        "flowpeer-demo",
    )
    shutil.copytree(REPOSITORY, tree, ignore=shutil.ignore_patterns(*left_out))
    subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "wheel",
         "--no-deps", "--no-build-isolation", "--wheel-dir", home / "again", tree],
        check=True,
    )  # fmt: skip
    (wheel,) = (home / "again").iterdir()
    return wheel


def install(place: Path, wheel: Path, home: Path) -> Path:
    """A virtual environment with the wheel, what it needs and what the tests need; its Python."""
    venv.create(place, with_pip=True)
    python = place / "bin" / "python"
    lock = (REPOSITORY / "requirements-dev.lock").read_text("utf-8")
    blocks = re.finditer(r"(?m)^([a-z0-9-]+)==.*\n(?:    .*\n)*", lock)
    wanted = [block[0] for block in blocks if block[1] in TESTERS]
    assert len(wanted) == len(TESTERS), f"requirements-dev.lock has not all of {TESTERS}"
    (home / "testers.lock").write_text("".join(wanted), "utf-8")
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    runtime = str(REPOSITORY / "requirements.lock")
    subprocess.run([*pip, "--require-hashes", "-r", runtime], check=True)
    subprocess.run(
        [*pip, "--require-hashes", "--no-deps", "-r", str(home / "testers.lock")], check=True
    )
    subprocess.run([*pip, "--no-deps", str(wheel)], check=True)
    return python


if __name__ == "__main__":
    sys.exit(main())
