"""Run the tests against a built wheel in an environment of its own.

    python .ci/wheel_test.py WHEEL [-- PYTEST ARGUMENTS]

The checkout's packages are not importable there: the tests see what a user installs. The wheel's
top-level names are exactly the packages of the project.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

PACKAGES = {
    "flowpeer",
    "flowpeer_core",
    "flowpeer_ingest",
    "flowpeer_reports",
    "flowpeer_sql",
    "flowpeer_sample",
}
SOURCES = ("flowpeer", "core", "ingest", "reports", "sql", "sample_data/flowpeer_sample")


def main() -> int:
    repository = Path(__file__).resolve().parents[1]
    wheel = Path(sys.argv[1]).resolve()
    extra = sys.argv[3:] if sys.argv[2:3] == ["--"] else []
    with zipfile.ZipFile(wheel) as archive:
        names = {name.split("/")[0] for name in archive.namelist()}
    names = {name for name in names if not name.endswith(".dist-info")}
    if names != PACKAGES:
        print(f"error: top-level names of {wheel.name}: {sorted(names)}", file=sys.stderr)
        return 1
    print(f"{wheel.name}: top-level names are {', '.join(sorted(names))}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        venv.create(home / "venv", with_pip=True)
        python = home / "venv" / "bin" / "python"
        pip = [python, "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
        subprocess.run(
            [*pip, "--require-hashes", "-r", repository / "requirements-dev.lock"], check=True
        )
        subprocess.run([*pip, "--no-deps", wheel], check=True)
        tree = home / "tree"
        tree.mkdir()
        tracked = subprocess.run(
            ["git", "ls-files", "-z"], cwd=repository, check=True, stdout=subprocess.PIPE
        ).stdout.decode()
        for name in filter(None, tracked.split("\0")):
            if (
                not name.startswith(tuple(f"{s}/" for s in SOURCES))
                and (repository / name).exists()
            ):
                (tree / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(repository / name, tree / name)
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        return subprocess.run(
            [python, "-m", "pytest", *extra], cwd=tree, env=environment
        ).returncode


if __name__ == "__main__":
    sys.exit(main())
