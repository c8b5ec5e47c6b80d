"""The prompt of `flowpeer sql`, on a terminal as a person has it."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

CONFIG = """\
[network]
asn = 64500
name = "Test"
prefixes = ["198.18.0.0/15"]
[lake]
path = "lake"
"""
PATIENCE_S = 120


class Terminal:
    """A command on a pseudo-terminal."""

    def __init__(self, folder: Path) -> None:
        self.master, slave = pty.openpty()
        environment = {**os.environ, "XDG_STATE_HOME": str(folder / "state"), "TERM": "dumb"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "flowpeer", "sql"], cwd=folder, env=environment,
            stdin=slave, stdout=slave, stderr=slave,
        )  # fmt: skip
        os.close(slave)
        self.text = ""

    def until(self, wanted: str) -> str:
        """What comes up to `wanted`."""
        deadline = time.monotonic() + PATIENCE_S
        while wanted not in self.text:
            ready, _, _ = select.select([self.master], [], [], deadline - time.monotonic())
            assert ready, f"{wanted!r} did not come: {self.text!r}"
            self.text += os.read(self.master, 4096).decode()
        said, _, self.text = self.text.partition(wanted)
        return said

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())


def test_prompt_answers_completes_survives_errors_and_remembers(tmp_path: Path) -> None:
    (tmp_path / "flowpeer.toml").write_text(CONFIG)
    terminal = Terminal(tmp_path)
    try:
        terminal.until("flowpeer> ")
        terminal.type("SELECT 40 +\n")
        terminal.until("...> ")
        terminal.type("2 AS answer;\n")
        assert "42" in terminal.until("flowpeer> ")
        terminal.type("SELECT wrong FROM traffic;\n")
        said = terminal.until("flowpeer> ")
        assert "error: " in said
        assert "Traceback" not in said
        terminal.type("SELECT count(*) AS n FROM traffic_ro\t;\n")
        assert "traffic_routes" in terminal.until("flowpeer> ")
        terminal.type("SELECT count(*) FROM range(1000000000) a, range(1000000000) b;\n")
        terminal.until("range(1000000000) b;")
        terminal.process.send_signal(signal.SIGINT)  # what Ctrl-C does where the terminal is ours
        terminal.until("flowpeer> ")
        for wait_ms in (0, 0, 0, 0.5, 1, 2, 3, 5, 8, 13):  # it may come at any moment
            terminal.type("SELECT count(*) FROM range(1000000000) a, range(1000000000) b;\n")
            terminal.until("range(1000000000) b;")
            time.sleep(wait_ms / 1000)
            terminal.process.send_signal(signal.SIGINT)
            terminal.until("flowpeer> ")
            terminal.type("SELECT 43 - 1 AS answer;\n")
            terminal.until("42")
            terminal.until("flowpeer> ")
        (tmp_path / "mine.csv").write_text("asn,owner\n2906,ann\n")
        for typed, wanted in (
            (".schema metros", "continent"), (".attach mine.csv", "is a table now"),
            ("SELECT owner FROM mine;", "ann"), (".mode json", "mode json"),
            (".timer on", "timer on"),
            ("SELECT 41 + 1 AS answer;", '"answer":42'), (".export out.csv", "next answer"),
            ("SELECT 42 AS answer;", "wrote 1 rows"), (".schema nothing", "error: no table"),
            ("CREATE TEMP TABLE kept AS SELECT 40 AS a;", " s"), ("SELECT a + 2 FROM kept;", "42"),
        ):  # fmt: skip
            terminal.type(typed + "\n")
            terminal.until(typed)
            assert wanted in terminal.until("flowpeer> "), typed
        assert (tmp_path / "out.csv").read_text() == "answer\n42\n"
        terminal.type("DROP VIEW traffic;\n")
        assert "error: " in terminal.until("flowpeer> ")
        terminal.type(".quit\n")
        assert terminal.process.wait(PATIENCE_S) == 0
    finally:
        terminal.process.kill()
        terminal.process.wait()
        os.close(terminal.master)
    history = (tmp_path / "state" / "flowpeer" / "sql_history").read_text()
    assert "2 AS answer;" in history
