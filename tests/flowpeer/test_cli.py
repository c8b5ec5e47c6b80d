"""The command line as a user meets it: help, mistakes, and the exit status of each."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from flowpeer.cli.app import hoist
from flowpeer.cli.commands import COMMANDS, load

Run = Callable[..., CompletedProcess[str]]
HEAVY = ("polars", "duckdb", "pyarrow", "numpy", "altair", "jinja2")

MINIMAL = """\
[network]
asn = 64500
name = "Test"
prefixes = ["198.18.0.0/15"]
[lake]
path = "lake"
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "flowpeer.toml").write_text(MINIMAL)
    return tmp_path


def complaint(done: CompletedProcess[str]) -> str:
    """The one line of the error; a next step may follow, and never a traceback."""
    lines = done.stderr.splitlines()
    assert lines[0].startswith("error: "), done.stderr
    assert all(line.startswith(("error: ", "try: ", "  ")) for line in lines), done.stderr
    assert done.stdout == ""
    return lines[0]


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["init", "--help"], []])
def test_help_imports_no_engine(words: list[str]) -> None:
    code = (
        "import sys\n"
        "from flowpeer.cli.app import run\n"
        f"status = run({words!r})\n"
        f"loaded = [m for m in {HEAVY!r} if m in sys.modules]\n"
        "assert not loaded, loaded\n"
        f"assert status == {0 if words else 2}\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "flowpeer" in (done.stdout or done.stderr)


def test_a_command_ends_after_its_threads_and_what_waits_for_the_end() -> None:
    code = (
        "import atexit, threading, time\n"
        "from flowpeer.cli import app, main\n"
        "def late():\n"
        "    time.sleep(0.1)\n"
        "    print('thread')\n"
        "def run():\n"
        "    atexit.register(print, 'handler')\n"
        "    threading.Thread(target=late).start()\n"
        "    print('x' * 300_000)\n"
        "    return 75\n"
        "app.run = run\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (75, "")
    assert done.stdout == "x" * 300_000 + "\nthread\nhandler\n"


def test_the_table_of_commands_says_what_their_modules_say() -> None:
    for name, help_, _ in COMMANDS:
        found = load(name).help.partition("\n\n")[0]
        assert help_ == " ".join(found.split()), name
    targets = {target for _, _, target in COMMANDS}
    assert len(targets) == len({name for name, _, _ in COMMANDS}) == len(COMMANDS)


def test_a_misspelt_command_is_answered_with_the_one_that_was_meant(run: Run) -> None:
    done = run("canidates")
    assert done.returncode == 2
    assert "Did you mean 'candidates'?" in complaint(done)


def test_common_options_stand_before_or_after_the_command() -> None:
    assert hoist(["check", "--json", "-c", "x.toml"]) == ["--json", "-c", "x.toml", "check"]
    assert hoist(["--config=x", "sql", "-q", "SELECT 1"]) == ["--config=x", "-q", "sql", "SELECT 1"]
    assert hoist(["sql", "--", "--json"]) == ["sql", "--", "--json"]
    assert hoist(["check", "--config"]) == ["--config", "check"]


def test_a_missing_configuration_says_where_it_was_looked_for(tmp_path: Path, run: Run) -> None:
    done = run("check", cwd=tmp_path)
    assert done.returncode == 2
    assert "flowpeer.toml: no such file" in complaint(done)
    assert "flowpeer init" in done.stderr
    done = run("check", "--config", "other.toml", cwd=tmp_path)
    assert "other.toml: no such file" in complaint(done)


@pytest.mark.parametrize("below", ["", "/deeper"])
def test_a_folder_that_cannot_be_made_has_a_next_step(tmp_path: Path, run: Run, below: str) -> None:
    (tmp_path / "file").write_text("x")
    done = run("init", f"{tmp_path / 'file'}{below}")
    assert done.returncode in (2, 3)
    assert complaint(done).startswith(f"error: {tmp_path / 'file'}")
    assert "try: " in done.stderr
    assert (tmp_path / "file").read_text() == "x"


def test_a_demo_that_can_have_no_lake_writes_nothing(tmp_path: Path, run: Run) -> None:
    done = run("demo", "here", "--lake", "s3://b/demo", cwd=tmp_path)
    assert done.returncode == 2
    assert "--lake s3://b/demo: a folder is expected, or s3://BUCKET/FOLDER" in complaint(done)
    assert not (tmp_path / "here").exists()


def test_a_syntax_error_has_line_and_column(project: Path, run: Run) -> None:
    (project / "flowpeer.toml").write_text("[network]\nasn = \n")
    done = run("check", cwd=project)
    assert done.returncode == 2
    assert "line 2, column 7" in complaint(done)


def test_all_mistakes_are_told_at_once_each_with_its_line(project: Path, run: Run) -> None:
    (project / "flowpeer.toml").write_text(
        MINIMAL.replace("asn = 64500", 'asn = "64500"').replace("prefixes", "prefixs")
        + '[[metros]]\nid = "ams"\nname = "A"\ncontinet = "EU"\n'
        + '[[exporters]]\nid = "e"\nmetro = "asm"\naddresses = ["192.0.2.300"]\n'
    )
    done = run("check", cwd=project)
    assert done.returncode == 2
    text = done.stderr
    assert "line 2: network.asn = '64500'" in text
    assert "line 4: network.prefixs: unknown key; did you mean `prefixes`?" in text
    assert "network.prefixes: required, and missing" in text
    assert "line 10: metros[1].continet: unknown key; did you mean `continent`?" in text
    assert "line 13: exporters[1].metro: 'asm' is no id of [[metros]]; did you mean 'ams'?" in text
    assert "line 14: exporters[1].addresses[1] = '192.0.2.300': an IP address is expected" in text


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["rollup"], 3, "no flows"),
        (["candidates"], 3, "nothing rolled up yet"),
        (["imbalance", "--period", "2026-13"], 2, "'2026-13' is no period"),
        (["candidates", "--period", "2026-07-02/2026-07-01"], 2, "ends before it starts"),
        (["candidates", "--metro", "ams"], 2, "--metro ams: no such metro"),
        (["candidates", "--format", "pdf"], 2, "--format pdf: unknown"),
        (["candidates", "--format", "csv,json"], 2, "several formats need a folder"),
        (["candidates", "--metroo", "x"], 2, "--metro"),
        (["candidate"], 2, "'candidates'"),
        (["rollup", "--shard", "3/2"], 2, "--shard 3/2"),
        (["rollup", "--from", "yesterday"], 2, "'yesterday' is no time"),
        (["lookup", "8.8.8.8"], 3, "no RIB snapshot"),
        (["ingest", "absent.pcap"], 3, "absent.pcap"),
        (["ingest", "text.pcap"], 3, "not a packet capture"),
        (["decode", "text.pcap"], 3, "not a packet capture"),
        (["ingest", "empty"], 3, "no captures in this folder"),
        (["rib", "load", "empty"], 3, "no files in this folder"),
        (["rib", "load", "text.pcap"], 3, "text.pcap"),
        (["rib", "load", "absent"], 3, "absent"),
        (["peeringdb", "load", "text.pcap"], 3, "text.pcap"),
    ],
)
def test_a_mistake_is_one_line_and_its_exit_status(
    project: Path, run: Run, words: list[str], status: int, said: str
) -> None:
    (project / "text.pcap").write_text("this is no capture\n")
    (project / "empty").mkdir()
    done = run(*words, cwd=project)
    assert done.returncode == status, done.stderr
    assert said in done.stderr
    complaint(done)


def test_flows_without_any_rib_are_a_matter_of_configuration(
    demo_folder: Path, project: Path, run: Run
) -> None:
    capture = next((demo_folder / "captures").glob("*dfw*"))
    assert run("ingest", capture, cwd=project).returncode == 0
    done = run("rollup", cwd=project)
    assert done.returncode == 2
    assert "no RIB is loaded" in complaint(done)


def test_a_locked_lake_is_told_apart(project: Path, run: Run, demo_folder: Path) -> None:
    from flowpeer.lake.store import Lake

    capture = next((demo_folder / "captures").glob("*dfw*"))
    with Lake(project / "lake").lock("ingest"):
        done = run("ingest", capture, cwd=project)
    assert done.returncode == 75
    assert "another `ingest` is running" in complaint(done)


def test_a_cut_capture_keeps_what_came_before_and_says_so(
    project: Path, run: Run, demo_folder: Path
) -> None:
    whole = (demo_folder / "captures" / "edge1.nyc.pcap").read_bytes()
    (project / "cut.pcap").write_bytes(whole[: len(whole) // 100])
    done = run("ingest", "cut.pcap", "--json", cwd=project)
    assert done.returncode == 1
    assert "cut short" in done.stderr
    assert json.loads(done.stdout)[0]["rows"] > 0


def test_a_refused_capture_leaves_nothing_behind(project: Path, run: Run) -> None:
    (project / "bad.pcap").write_bytes(b"\xd4\xc3\xb2\xa1" + b"\xff" * 500)
    run("ingest", "bad.pcap", cwd=project)
    left = [p for p in (project / "lake").rglob("*") if p.is_file() and p.suffix != ".lock"]
    assert [p for p in left if p.suffix == ".parquet"] == []
    assert [p for p in left if "staging" in p.parts] == []


def test_init_writes_a_file_that_check_accepts_and_never_touches_one(
    tmp_path: Path, run: Run
) -> None:
    assert run("init", tmp_path / "new").returncode == 0
    text = (tmp_path / "new" / "flowpeer.toml").read_text()
    done = run("check", "--json", cwd=tmp_path / "new")
    assert done.returncode == 1  # no RIB yet
    assert json.loads(done.stdout)[0]["subject"] == "configuration"
    assert run("init", tmp_path / "new").returncode == 2
    assert (tmp_path / "new" / "flowpeer.toml").read_text() == text


def test_json_is_one_document_on_stdout_for_every_command(demo_copy: Path, run: Run) -> None:
    whole = (demo_copy / "captures" / "edge1.ams.pcap").read_bytes()
    (demo_copy / "cut.pcap").write_bytes(whole[:100_000])
    for words in (
        ["check"], ["verify"], ["rollup"], ["rollup", "--explain"],
        ["candidates", "--metro", "fra"], ["imbalance", "--metro", "fra"],
        ["rib", "list"], ["lookup", "26.0.0.1"], ["sql", "SELECT 1 AS one"], ["ingest", "captures"],
        ["run"], ["decode", "cut.pcap"], ["rib", "load", "ribs"],
        ["peeringdb", "load", "peeringdb.json"],
    ):  # fmt: skip
        done = run(*words, "--json", cwd=demo_copy)
        assert done.returncode in (0, 1), (words, done.stderr)
        assert json.loads(done.stdout) is not None, words


def test_lookup_answers_in_the_order_asked_also_from_stdin(demo_folder: Path, run: Run) -> None:
    asked = ["26.0.0.1", "203.0.113.1", "2e00::1"]
    by_words = json.loads(run("lookup", *asked, "--json", cwd=demo_folder).stdout)
    by_stdin = json.loads(
        run("lookup", "--json", cwd=demo_folder, stdin="\n".join(asked) + "\n").stdout
    )
    assert by_words == by_stdin
    assert [row["address"] for row in by_words] == asked
    assert by_words[0]["origin_asn"] is not None
    assert by_words[1]["origin_asn"] is None
    done = run("lookup", "26.0.0.1", "no-address", cwd=demo_folder)
    assert done.returncode == 2


def test_a_closed_pipe_is_no_error(demo_folder: Path) -> None:
    command = f"{sys.executable} -m flowpeer decode --format jsonl captures/edge1.dfw.pcap.gz"
    done = subprocess.run(
        f"{command} | head -n 1; exit ${{PIPESTATUS[0]}}", shell=True, executable="/bin/bash",
        cwd=demo_folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["version"] == 5
    assert "Traceback" not in done.stderr


def test_the_same_packets_packed_otherwise_are_not_counted_twice(
    project: Path, run: Run, demo_folder: Path
) -> None:
    packed = demo_folder / "captures" / "edge1.dfw.pcap.gz"
    octets = gzip.decompress(packed.read_bytes())
    (project / "plain.pcap").write_bytes(octets)
    assert run("ingest", packed, cwd=project).returncode == 0
    done = run("ingest", "plain.pcap", "--json", cwd=project)
    assert [r["added"] for r in json.loads(done.stdout)] == [False]


def test_a_capture_that_grew_is_refused_and_not_counted_twice(
    project: Path, run: Run, demo_folder: Path
) -> None:
    whole = gzip.decompress((demo_folder / "captures" / "edge1.dfw.pcap.gz").read_bytes())
    (project / "x.pcap").write_bytes(whole[: len(whole) // 2])
    assert run("ingest", "x.pcap", cwd=project).returncode == 1  # cut short in a packet
    (project / "x.pcap").write_bytes(whole)
    done = run("ingest", "x.pcap", cwd=project)
    assert done.returncode == 3
    assert "it would count twice" in complaint(done)
    (project / "other.pcap").write_bytes(
        gzip.decompress((demo_folder / "captures" / "edge1.chi.pcap.gz").read_bytes())
    )
    done = run("ingest", "x.pcap", "other.pcap", "--json", cwd=project)
    assert done.returncode == 1
    assert [r["added"] for r in json.loads(done.stdout)] == [False, True]


HEARS_CTRL_C = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
"""A test worker may ignore the signal, which a child inherits. (Not by a function between fork and
exec, which hangs where another thread of this process held a lock.)"""


def test_ctrl_c_ends_with_130(demo_folder: Path, tmp_path: Path) -> None:
    fifo = tmp_path / "never.pcap"
    os.mkfifo(fifo)
    with subprocess.Popen(
        [sys.executable, "-c", HEARS_CTRL_C, "-m", "flowpeer", "decode", str(fifo)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process, fifo.open("wb"):  # fmt: skip
        # It is running once it has opened the other end. Python drops a signal that meets it in
        # a destructor, or just before the read, so the key is pressed until it is heard.
        for _ in range(30):
            process.send_signal(signal.SIGINT)
            try:
                _, said = process.communicate(timeout=2)
                break
            except subprocess.TimeoutExpired:
                continue
        else:
            process.kill()
    assert process.returncode == 130
    assert said.strip() == "interrupted"


def test_a_bad_file_among_good_ones_is_named_and_the_rest_is_loaded(
    project: Path, run: Run, demo_folder: Path
) -> None:
    (project / "caps").mkdir()
    (project / "caps" / "a-empty.pcap").touch()
    shutil.copy(demo_folder / "captures" / "edge1.dfw.pcap.gz", project / "caps")
    done = run("ingest", "caps", "--json", cwd=project)
    assert done.returncode == 1
    assert "a-empty.pcap" in done.stderr
    assert [r["added"] for r in json.loads(done.stdout)] == [False, True]
    (project / "ribs").mkdir()
    (project / "ribs" / "MD5SUMS").write_text("d41d8cd98f00b204e9800998ecf8427e  rib.gz\n")
    shutil.copy(next((demo_folder / "ribs").iterdir()), project / "ribs")
    done = run("rib", "load", "ribs", "--json", cwd=project)
    assert done.returncode == 1
    assert "MD5SUMS" in done.stderr
    assert len(json.loads(done.stdout)) == 1


def test_a_vantage_that_is_no_place_is_refused(
    demo_copy: Path, run: Run, demo_folder: Path
) -> None:
    done = run("rib", "load", "ribs", "--vantage", "amst", cwd=demo_copy)
    assert done.returncode == 2
    assert "did you mean ams?" in done.stderr


@pytest.mark.parametrize("words", ["candidates --metro par --format csv", "init x --json"])
def test_a_full_disk_is_no_internal_error(demo_copy: Path, words: str) -> None:
    # Less than a buffer holds: it is written when the command ends, and tried again after it.
    buffered = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
    done = subprocess.run(
        f"{sys.executable} -m flowpeer {words} > /dev/full", shell=True, env=buffered,
        cwd=demo_copy, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 3
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_answer_from_stale_roll_ups_says_so(demo_copy: Path, run: Run) -> None:
    config = demo_copy / "flowpeer.toml"
    config.write_text(config.read_text().replace('role = "customer"', 'role = "internal"', 1))
    done = run("candidates", "--metro", "fra", cwd=demo_copy)
    assert done.returncode == 1
    assert "hours are not up to date" in done.stderr


@pytest.fixture(scope="module")
def listed(demo_folder: Path, run: Run) -> CompletedProcess[str]:
    """All candidates of the sample network, as JSON."""
    return run("candidates", "--json", cwd=demo_folder)


def test_notes_reach_the_reader_of_plain_formats(listed: CompletedProcess[str]) -> None:
    done = listed
    assert "Synthetic sample network" in done.stderr
    assert "on 1 interfaces that the configuration does not name" in done.stderr


@pytest.mark.parametrize(
    "period", ["2026-09-16T10:00/2026-09-16T10:30", "2026-09-16T10:05/2026-09-17"]
)
def test_a_report_of_part_of_an_hour_is_refused(demo_folder: Path, run: Run, period: str) -> None:
    done = run("candidates", "--period", period, cwd=demo_folder)
    assert done.returncode == 2
    assert "inside an hour" in complaint(done)


def test_a_period_that_ends_before_it_starts_is_refused(project: Path, run: Run) -> None:
    for end in ("2026-09-16", "2026-09-17"):
        done = run("rollup", "--from", "2026-09-17", "--to", end, cwd=project)
        assert done.returncode == 2
        assert "not after --from" in complaint(done)


@pytest.mark.parametrize("command", ["check", "verify", "rollup", "candidates", "rib list"])
def test_a_file_in_the_lakes_place_is_named(project: Path, run: Run, command: str) -> None:
    (project / "lake").write_text("notes\n")
    done = run(*command.split(), cwd=project)
    assert done.returncode == 2
    assert re.search(r"lake\.path: .*lake is a file", complaint(done))
    assert (project / "lake").read_text() == "notes\n"


def test_a_bad_line_of_standard_input_is_named(demo_folder: Path, run: Run) -> None:
    lines = "192.0.2.1\n\nno address\n192.0.2.2\n"
    done = run("lookup", "-", cwd=demo_folder, stdin=lines)
    assert done.returncode == 2
    assert complaint(done).startswith("error: standard input, line 3: ")
    good = run("lookup", "-", "--json", cwd=demo_folder, stdin=lines.replace("no address\n", ""))
    assert [row["address"] for row in json.loads(good.stdout)] == ["192.0.2.1", "192.0.2.2"]


def test_nothing_is_cut_where_the_output_is_no_terminal(
    demo_folder: Path, run: Run, listed: CompletedProcess[str]
) -> None:
    shown = run("candidates", cwd=demo_folder).stdout
    rows = json.loads(listed.stdout)
    assert "…" not in shown
    assert all(row["meet"] in shown for row in rows if row["rank"] == 1)
