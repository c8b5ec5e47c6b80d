"""What `write` leaves on disk: the same to the byte, whole, and nothing more the second time."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from pathlib import Path

import pytest

import flowpeer_sample
from flowpeer_sample.build import example_files
from flowpeer_sample.readme import readme
from flowpeer_sample.writing import put

KEPT = Path(__file__).parents[2] / "sample_data"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_another_process_writes_the_same_to_the_byte(sample: Path, tmp_path: Path) -> None:
    code = "import flowpeer_sample, pathlib, sys; flowpeer_sample.write(pathlib.Path(sys.argv[1]))"
    environment = os.environ | {"PYTHONHASHSEED": "77", "TZ": "Asia/Tokyo", "LC_ALL": "C"}
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, env=environment)
    assert contents(tmp_path) == contents(sample)


def test_the_promised_files_are_there(sample: Path) -> None:
    names = set(contents(sample))
    assert {"flowpeer.toml", "peeringdb.json", "as-rel2.txt.bz2", "asns.csv", "asks.csv",
            "README.md", flowpeer_sample.MARKER} <= names  # fmt: skip
    captures = [n for n in names if n.startswith("captures/")]
    assert len(captures) == 9
    assert {n.replace("captures/", "next-day/") for n in captures} <= names
    assert {n.rsplit(".", 1)[1] for n in captures} == {"pcap", "gz"}
    assert not [n for n in names if n.endswith(".tmp")]


def test_a_second_run_touches_nothing_and_mends_what_is_broken(sample: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in sample.rglob("*") if p.is_file()}
    names = sample / "asns.csv"
    right = names.read_bytes()
    names.write_bytes(right[:-1] + b"!")
    seen: list[tuple[str, int, int]] = []
    flowpeer_sample.write(sample, progress=lambda *a: seen.append(a))
    after = {p: p.stat().st_mtime_ns for p in sample.rglob("*") if p.is_file()}
    assert {p for p in before if before[p] != after[p]} == {names}
    assert names.read_bytes() == right
    assert [n for _, n, _ in seen] == list(range(1, len(seen) + 1))
    assert {total for _, _, total in seen} == {len(seen)}


def test_a_failed_write_leaves_no_piece_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "file"
    put(target, b"old")

    def no_space(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match="No space"):
        put(target, b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert target.read_bytes() == b"old"


def test_gzip_files_carry_no_time(sample: Path) -> None:
    packed = list(sample.rglob("*.gz"))
    assert len(packed) == 7
    for path in packed:
        assert path.read_bytes()[4:8] == bytes(4)


def test_the_ready_files_are_what_the_generator_makes() -> None:
    if not KEPT.is_dir():
        pytest.skip("not run from a source tree")
    kept = contents(KEPT / "example")
    made = {name: make() for name, make in example_files()}
    assert set(kept) == set(made)
    for name, content in made.items():
        if name.endswith(".gz"):  # zlib's own output may differ between its versions
            assert gzip.decompress(kept[name]) == gzip.decompress(content), name
        else:
            assert kept[name] == content, f"{name}: python -m flowpeer_sample --source sample_data"
    assert sum(map(len, kept.values())) < 2_000_000


def test_the_page_lists_the_right_answers(sample: Path) -> None:
    page = (sample / "README.md").read_text()
    assert page == readme()
    assert "synthetic" in page
    assert "every name is invented" in page
    if KEPT.is_dir():
        assert (KEPT / "README.md").read_text() == page


def test_every_page_says_that_it_is_synthetic(sample: Path) -> None:
    for name in ("README.md", "flowpeer.toml", "peeringdb.json"):
        text = (sample / name).read_text().lower()
        assert "synthetic" in text, name
        assert "invented" in text, name


def test_importing_the_package_is_light() -> None:
    code = "import flowpeer_sample, sys; print('numpy' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


def test_the_package_imports_nothing_but_the_ground_numpy_and_the_standard_library() -> None:
    code = (
        "import sys, pkgutil, importlib, flowpeer_sample as f\n"
        "for m in pkgutil.iter_modules(f.__path__):\n"
        "    if m.name != '__main__': importlib.import_module(f'flowpeer_sample.{m.name}')\n"
        "top = {n.split('.')[0] for n in sys.modules}\n"
        "ours = {'flowpeer_sample', 'flowpeer_core', 'numpy', '__main__'}\n"
        "known = sys.stdlib_module_names | ours\n"
        "print(sorted(n for n in top - known if 'flowpeer' in n or n in "
        "('polars', 'pyarrow', 'duckdb')))\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
