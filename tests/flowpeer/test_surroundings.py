"""What the program meets outside itself: a full disk, a locale that is not UTF-8."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from flowpeer.errors import naming

COMMAND = """
import errno, os, sys
from flowpeer_ingest import faults
faults.install()
from flowpeer.cli import main
sys.argv[0] = "flowpeer"
sys.exit(main())
"""
NAME = "Zürich ≤ 東京"
CONFIG = f"""\
[network]
asn = 64500
name = "{NAME}"
prefixes = ["198.18.0.0/15"]
[lake]
path = "lake"
[[metros]]
id = "zrh"
name = "{NAME}"
"""


SMALL_FILES = ("sh", "-c", 'ulimit -f 8; exec "$@"', "sh")
"""Before a command: no file of its grows beyond 8 blocks of 512 octets. (Not by a function between
fork and exec, which hangs where another thread of this process held a lock.)"""


@pytest.mark.parametrize("words", [("ingest", "captures"), ("candidates", "--out", "out"),
                                   ("ingest", "-")])  # fmt: skip
def test_a_file_that_cannot_grow_is_named(
    demo_folder: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    folder = tmp_path / "site"
    shutil.copytree(demo_folder, folder)
    if words[0] == "ingest":
        shutil.rmtree(folder / "lake")
    done = subprocess.run(
        [*SMALL_FILES, sys.executable, "-m", "flowpeer", *words,
         *(("--format", "csv") if words[0] == "candidates" else ())],
        cwd=folder, capture_output=True, check=False, timeout=300,
        input=(next((folder / "captures").iterdir()).read_bytes() if "-" in words else b""),
    )  # fmt: skip
    said = done.stderr.decode()
    assert done.returncode == 3, said
    last = [line for line in said.splitlines() if line.startswith("error: ")][-1]
    assert "File too large" in last
    named = Path(last.removeprefix("error: ").split(": ")[0])
    assert named.is_absolute() or named.parts[0] in ("lake", "out"), last


def test_an_error_that_names_a_file_keeps_it() -> None:
    with pytest.raises(OSError, match="first"), naming(Path("second")):
        raise OSError(28, "No space left on device", "first")
    with pytest.raises(OSError, match="plain") as raised, naming(Path("second")):
        raise OSError("plain")
    assert "second" not in str(raised.value)


def test_what_is_made_is_for_the_user_and_the_group(demo_folder: Path, tmp_path: Path) -> None:
    for mask, wanted in ((0o022, 0o640), (0o002, 0o660), (0o077, 0o600)):
        folder = tmp_path / f"{mask:o}"
        folder.mkdir()
        for name in ("flowpeer.toml", "peeringdb.json", "as-rel2.txt.bz2", "asns.csv"):
            shutil.copy(demo_folder / name, folder / name)
        given = set(folder.rglob("*"))
        capture = next((demo_folder / "captures").iterdir())
        subprocess.run(
            [sys.executable, "-m", "flowpeer", "ingest", capture],
            cwd=folder, check=True, capture_output=True, umask=mask,
        )  # fmt: skip
        made = [path for path in folder.rglob("*") if path not in given and path.is_file()]
        assert len(made) > 5
        assert {path.stat().st_mode & 0o777 & ~wanted for path in made} == {0}, made


AS_ANOTHER = """
import contextlib, os, sys
from flowpeer.cli import main
sys.argv[0] = "flowpeer"
with contextlib.suppress(SystemExit):
    main()  # the other user may not be able to read the modules
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
sys.exit(main())
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be another user")
@pytest.mark.parametrize("words", ["status", "rollup"])
def test_a_lake_of_another_user_is_named_with_what_to_do(words: str) -> None:
    with tempfile.TemporaryDirectory() as place:  # the folders above `tmp_path` are root's alone
        folder = Path(place)
        (folder / "flowpeer.toml").write_text(CONFIG, encoding="utf-8")
        (folder / "lake/spool").mkdir(parents=True)
        (folder / "lake").chmod(0o700)
        (folder / "flowpeer.toml").chmod(0o644)
        folder.chmod(0o755)
        done = subprocess.run(
            [sys.executable, "-c", AS_ANOTHER, words], cwd=folder, capture_output=True, text=True,
            check=False, timeout=120,
        )  # fmt: skip
    assert done.returncode == 3
    what, advice = done.stderr.splitlines()[-2:]
    assert what.startswith("error: lake/")
    assert what.endswith(": Permission denied")
    assert advice.startswith("try: run it as the user who owns that")


def test_figures_that_cannot_be_written_name_the_file_asked_for(tmp_path: Path) -> None:
    (tmp_path / "flowpeer.toml").write_text(CONFIG, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "flowpeer", "--textfile", "none/x.prom", "check"], cwd=tmp_path,
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 3
    assert "error: none/x.prom: No such file or directory" in done.stderr.splitlines()


def ascii_locale() -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}


def test_a_locale_without_the_letters_of_a_name_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "flowpeer.toml").write_text(CONFIG, encoding="utf-8")
    for words in (["check"], ["check", "--json"], ["--help"], ["sql", "SELECT name FROM metros"],
                  ["sql", "--format", "csv", "SELECT name FROM metros"],
                  ["sql", f"SELECT '{NAME}' AS x"],
                  ["status"]):  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-m", "flowpeer", *words], cwd=tmp_path, env=ascii_locale(),
            capture_output=True, check=False, timeout=120,
        )  # fmt: skip
        said = done.stderr.decode(errors="replace")
        assert "internal error" not in said, (words, said)
        assert "Traceback" not in said, (words, said)
        assert done.returncode != 4, (words, said)
        if words[0] == "sql" and len(words) > 1 and "FROM" in words[-1]:
            assert NAME in done.stdout.decode("utf-8"), words
        if words == ["check", "--json"]:
            json.loads(done.stdout.decode("utf-8"))


def test_addresses_from_standard_input_may_be_any_octets(demo_folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "flowpeer", "lookup"], cwd=demo_folder, env=ascii_locale(),
        input=b"8.8.8.8\n\xff\xfe\n", capture_output=True, check=False, timeout=120,
    )  # fmt: skip
    assert b"internal error" not in done.stderr
    assert done.returncode in (1, 2, 3)
