"""Environments for what weighs hundreds of megabytes and no run of flowpeer needs."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Sequence
from pathlib import Path


def environment(folder: Path, wanted: Sequence[str], *, alone: bool = False) -> Path | None:
    """The interpreter of an environment that has what this one has, or nothing (`alone`), and
    `wanted`, which is installed once; None where it cannot be."""
    folder = folder.absolute()
    python = folder / "bin" / "python"
    ready = folder / "ready.json"
    asked = [list(wanted), sys.prefix]
    if ready.is_file() and json.loads(ready.read_text()) == asked:
        return python
    more = f" and {len(wanted) - 3} more" if len(wanted) > 3 else ""
    print(f"installing {', '.join(wanted[:3])}{more} into {folder}", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, with_pip=False)
    if not alone:
        _see_ours(folder)
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check"]
    uv = [sys.executable, "-m", "uv", "pip"]  # which finds versions that fit in seconds
    to = ["--python", str(python)] if alone else []
    done = subprocess.run(
        [*(uv if alone else pip), "install", "--quiet", *to, *wanted], check=False,
        capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode != 0:
        print("\n".join(done.stderr.splitlines()[-5:]), file=sys.stderr)
        return None
    ready.write_text(json.dumps(asked))
    return python


def _see_ours(folder: Path) -> None:
    """Let an environment import what this one has."""
    ours = sysconfig.get_path("purelib")
    theirs = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    (theirs / "ours.pth").write_text(f"import site; site.addsitedir({ours!r})\n")


def extra(*names: str) -> list[str]:
    """The requirements of some extras of the project."""
    import tomllib

    text = (Path(__file__).parents[1] / "pyproject.toml").read_text()
    stated = tomllib.loads(text)["project"]["optional-dependencies"]
    return [one for name in names for one in stated[name]]
