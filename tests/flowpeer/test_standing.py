"""Answers that are what would be written again are not written again; all others are."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from flowpeer.analysis import standing as module
from flowpeer.analysis.reports import Pack
from flowpeer.analysis.standing import NAME, OBSERVED, keep, made_from, standing
from flowpeer.cli.app import run as run_here
from flowpeer.cli.state import CommandState
from flowpeer.lake import codec
from flowpeer.lake.manifest import File, Header
from flowpeer.pipeline.demo_folder import SampleWriter
from flowpeer.routing.cones import TABLE

Run = Callable[..., CompletedProcess[str]]
CONFIGURATION = """
[network]
asn = 64500
name = "A"
prefixes = ["198.18.0.0/15"]
[lake]
path = "lake"
[sources]
interfaces = "interfaces.csv"
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with what answers are made from, and a folder `out` with answers."""
    for name, text in (
        ("flowpeer.toml", CONFIGURATION), ("interfaces.csv", "exporter,index\n"),
        ("asks.csv", "date\n"), ("out/a.csv", "x\n"), ("out/page.html", "<p>"),
    ):  # fmt: skip
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    manifest(tmp_path, "traffic/date=2026-07-01/hour=00.json", File("a.parquet", 1, 1, "00"))
    manifest(tmp_path, "reference.json", File("reference/asns.parquet", 1, 1, "00"))
    return tmp_path


def manifest(place: Path, name: str, *files: File) -> None:
    path = place / "lake" / "manifests" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(codec.encode(Header(name.split("/")[0]), files))


def made(place: Path, **asked: object) -> str:
    found = made_from(place / "flowpeer.toml", **asked)
    assert found is not None
    return found


def wrote(place: Path, before: str | None, after: str | None) -> None:
    out = place / "out"
    keep(out, before, after, files=[out / "a.csv", out / "page.html"], page=out / "page.html",
         warnings=["something"])  # fmt: skip


def test_what_is_as_it_was_stands(place: Path) -> None:
    wrote(place, made(place, period=None), made(place, period=None))
    held = standing(place / "out", made(place, period=None))
    assert held is not None
    assert (list(held.files), held.page) == (["a.csv", "page.html"], "page.html")
    assert held.warnings == ["something"]
    assert standing(place / "out", made(place, period="2026-07")) is None


@pytest.mark.parametrize("name", ["flowpeer.toml", "interfaces.csv", "asks.csv"])
def test_a_file_that_is_read_makes_a_difference(place: Path, name: str) -> None:
    before = made(place)
    path = place / name
    path.write_text(path.read_text() + "\n")
    assert made(place) != before


def test_what_the_record_says_makes_a_difference(place: Path) -> None:
    seen = {made(place)}
    hour = "traffic/date=2026-07-01/hour=00.json"
    manifest(place, hour, File("a.parquet", 1, 1, "01"))
    seen.add(made(place))
    manifest(place, hour.replace("00.json", "01.json"), File("a.parquet", 1, 1, "00"))
    seen.add(made(place))
    manifest(place, "reference.json", File("reference/asns.parquet", 1, 1, "01"))
    seen.add(made(place))
    assert len(seen) == 4


def test_what_answers_make_themselves_makes_none(place: Path) -> None:
    before = made(place)
    known = File("reference/asns.parquet", 1, 1, "00")
    manifest(place, "reference.json", known, File(OBSERVED, 5, 5, "ab"))
    assert made(place) == before
    assert OBSERVED == TABLE


def test_an_acceptance_ends_on_a_day(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Later(module.datetime):
        @classmethod
        def now(cls, tz: object = None) -> Later:  # type: ignore[override]
            return cls(2099, 1, 1, tzinfo=tz)  # type: ignore[arg-type]

    path = place / "flowpeer.toml"
    for text, same in (("", True), ("until = 2026-12-01\n", False)):
        path.write_text(f'{CONFIGURATION}[[accepted]]\ncode = "lost"\nreason = "r"\n{text}')
        before = made(place)
        with monkeypatch.context() as patched:
            patched.setattr(module, "datetime", Later)
            assert (made(place) == before) is same


def test_a_file_that_is_gone_or_changed_is_written_again(place: Path) -> None:
    now = made(place)
    wrote(place, now, now)
    page = place / "out" / "page.html"
    page.write_text("<b>")
    assert standing(place / "out", now) is None
    page.unlink()
    assert standing(place / "out", now) is None


def test_what_came_meanwhile_is_not_passed_over(place: Path) -> None:
    now = made(place)
    wrote(place, now, now)
    wrote(place, now, "another")
    assert standing(place / "out", now) is None
    assert not (place / "out" / NAME).exists()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"made_from": 1}', "[" * 100_000, "\x00"])
@pytest.mark.usefixtures("garbage_waits")
def test_a_damaged_note_is_as_none(place: Path, text: str) -> None:
    (place / "out" / NAME).write_text(text)
    assert standing(place / "out", made(place)) is None


@pytest.mark.parametrize("text", ["", "[lake", "[lake]\npath = 3\n", "accepted = 3\n[lake]\n"])
def test_a_configuration_that_cannot_be_read_is_told_elsewhere(place: Path, text: str) -> None:
    (place / "flowpeer.toml").write_text(text)
    assert made_from(place / "flowpeer.toml") is None
    assert standing(place / "out", None) is None


def test_a_report_is_written_once(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written: list[Path] = []

    def pack(_network: object, _record: object, _period: object, folder: Path, **_: object) -> Pack:
        page = folder / "report.html"
        page.write_text("<p>")
        written.append(page)
        return Pack([page], page)

    def ready(state: CommandState, *_: object) -> tuple[None, None]:
        state.warn("something is wrong")
        return None, None

    monkeypatch.setattr("flowpeer.cli.report.write_pack", pack)
    monkeypatch.setattr("flowpeer.cli.report.ready", ready)
    monkeypatch.chdir(place)
    said = []
    for words in (["report", "out"], ["report", "out"], ["report", "out", "--format", "json"]):
        assert run_here(words) == 1
        said.append(capsys.readouterr())
    assert len(written) == 2
    assert "nothing to do" in said[1].out
    assert all("warning: something is wrong" in one.err for one in said)
    assert run_here(["report", "out", "--format", "json", "--json"]) == 1
    page = str(Path("out") / "report.html")
    assert (Path("out") / NAME).exists()
    assert json.loads(capsys.readouterr().out) == {"report": page, "files": [page]}
    assert run_here(["report", "out", "--as-of", "2026-07-01"]) == 1
    assert len(written) == 3
    assert not (Path("out") / NAME).exists()  # such a folder is the same to the byte


def test_a_sample_that_cannot_be_written_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with SampleWriter(tmp_path / "file" / "demo") as writing, pytest.raises(NotADirectoryError):
        next(writing.captures())


@pytest.mark.slow
def test_a_demo_with_nothing_to_do_imports_no_pipeline(demo_copy: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in demo_copy.rglob("*") if p.is_file()}
    code = (
        "import sys; from flowpeer.cli.app import run; status = run(sys.argv[1:])\n"
        "heavy = ('duckdb', 'flowpeer.rollup', 'flowpeer.lake', 'flowpeer_sample.build')\n"
        "print([m for m in heavy if m in sys.modules], file=sys.stderr); sys.exit(status)"
    )
    again = subprocess.run(
        [sys.executable, "-c", code, "demo", str(demo_copy)], capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert again.returncode == 0, again.stderr
    assert "nothing to do" in again.stderr
    assert again.stderr.splitlines()[-1] == "[]"
    assert {p: p.stat().st_mtime_ns for p in demo_copy.rglob("*") if p.is_file()} == before


@pytest.mark.slow
def test_a_demo_prints_the_same_again(demo_folder: Path, run: Run) -> None:
    again = run("demo", str(demo_folder))
    assert again.stdout == (demo_folder.parent / "demo.out").read_text()


@pytest.mark.slow
def test_a_demo_does_what_is_out_of_date(demo_copy: Path, run: Run) -> None:
    (demo_copy / "report" / "candidates.csv").write_text("broken")
    names = demo_copy / "asns.csv"
    right = names.read_bytes()
    names.write_bytes(b"asn,name\n1,Wrong\n")
    done = run("demo", str(demo_copy))
    assert done.returncode == 0, done.stderr
    assert "nothing to do" not in done.stderr
    assert names.read_bytes() == right
    assert (demo_copy / "report" / "candidates.csv").read_text().startswith("rank,")
