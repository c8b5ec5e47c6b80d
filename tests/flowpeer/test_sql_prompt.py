"""The prompt of `flowpeer sql`, on a terminal as a person has it."""

from __future__ import annotations

import codecs
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

CONFIG = """\
[network]
asn = 64500
name = "Test"
prefixes = ["198.18.0.0/15"]
[lake]
path = "lake"
"""
PATIENCE_S = 90
"""For any one thing; a machine that is busy needs more than a second for most."""
PAGER = "import sys; print('paged', len(sys.stdin.read().splitlines()))"
READY = "\x1b[?2004h"
"""What the prompt writes when it waits for a line: pastes shall be marked."""
FOREVER = "SELECT count(*) FROM range(1000000000) a, range(1000000000) b;"
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][A-Z0-9]|[\r\x07\x08]")


class Terminal:
    """The prompt on a pseudo-terminal."""

    def __init__(self, folder: Path) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 160, 0, 0))
        environment = {
            **os.environ, "XDG_STATE_HOME": str(folder / "state"), "TERM": "xterm",
            "PROMPT_TOOLKIT_NO_CPR": "1", "PAGER": f"{sys.executable} -c {PAGER!r}",
        }  # fmt: skip
        self.process = subprocess.Popen(
            [sys.executable, "-m", "flowpeer", "sql"], cwd=folder, env=environment,
            stdin=slave, stdout=slave, stderr=slave,
        )  # fmt: skip
        os.close(slave)
        self.text = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")()

    def until(self, wanted: str, seconds: float = PATIENCE_S) -> str:
        """What comes up to `wanted`, without what moves the cursor."""
        deadline = time.monotonic() + seconds
        while wanted not in self.text:
            left = max(0.0, deadline - time.monotonic())
            ready, _, _ = select.select([self.master], [], [], left)
            if not ready:
                raise TimeoutError(f"{wanted!r} did not come: {self.text!r}")
            self.text += self._decoder.decode(os.read(self.master, 4096))
        said, _, self.text = self.text.partition(wanted)
        return CONTROL.sub("", said)

    def ask(self, text: str) -> str:
        """What comes between a line and the next prompt, the line itself included."""
        os.write(self.master, text.encode() + b"\r")
        return self.until(READY)

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    (tmp_path / "flowpeer.toml").write_text(CONFIG)
    # As a terminal gives it: what a shell starts in the background ignores it, and so its children.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        opened = Terminal(tmp_path)
    finally:
        signal.signal(signal.SIGINT, before)
    try:
        opened.until(READY)
        yield opened
    finally:
        opened.process.kill()
        opened.process.wait()
        os.close(opened.master)


def test_prompt_answers_completes_survives_errors_and_remembers(
    terminal: Terminal, tmp_path: Path
) -> None:
    terminal.type("SELECT 40 +\r")
    terminal.until("...>")
    assert "42" in terminal.ask("2 AS answer;")
    said = terminal.ask("SELECT wrong FROM traffic;")
    assert "error: " in said
    assert "Traceback" not in said
    # A table after FROM, a column of it after a dot, a parameter of a question.
    assert "42" in terminal.ask("SELECT 42 + count(*) FROM traffic_ro\t;")
    terminal.type("SELECT r.local_p FROM traffic_routes r" + "\x1b[D" * 22 + "\t")
    terminal.until("refix")
    assert "error: " not in terminal.ask("\x05;")
    assert "up is not a direction" in terminal.ask("growth dire\tup")
    # An unfinished line can be left, by the key and by the signal, in a text as well.
    terminal.type("SELECT 'it;\rnever ends")
    terminal.until("...>")
    terminal.type("\x03")
    terminal.until(READY)
    terminal.type("SELECT 'other")
    terminal.until("other")
    terminal.process.send_signal(signal.SIGINT)
    terminal.until(READY)
    assert "42" in terminal.ask("SELECT 41 + 1;")
    (tmp_path / "mine.csv").write_text("asn,owner\n2906,ann\n")
    for typed, wanted in (
        (".schema metros", "continent"), (".attach mine.csv", "is a table now"),
        ("SELECT owner FROM mi\t;", "ann"), (".tables", "paged "), (".pager off", "pager off"),
        (".tables", "provider_slots"), (".mode json", "mode json"), (".timer on", "timer on"),
        ("SELECT 41 + 1 AS answer;", '"answer":42'), (".export out.csv", "next answer"),
        ("SELECT 42 AS answer;", "wrote 1 rows"), (".schema nothing", "error: no table"),
        (".schema growth", "mean_mbps_before"), (".export /proc/x.csv", "next answer"),
        ("SELECT 1;", "error: /proc/"), ("growth direction='up'", "up is not a direction"),
        (".mode xml", "wants table or csv or json"), (".nonsense", "error: no command"),
        ("CREATE TEMP TABLE kept AS SELECT 40 AS a;", " s"), ("SELECT a + 2 FROM ke\t;", "42"),
        ("DROP VIEW traffic;", "error: "),
    ):  # fmt: skip
        assert wanted in terminal.ask(typed), typed
    assert (tmp_path / "out.csv").read_text() == "answer\n42\n"
    terminal.type(".quit\r")
    assert terminal.process.wait(PATIENCE_S) == 0
    kept = tmp_path / "state" / "flowpeer" / "sql_history"
    assert "+SELECT 40 +\n+2 AS answer;\n" in kept.read_text()
    assert kept.stat().st_mode & 0o777 == 0o600


def test_ctrl_c_stops_a_query_whenever_it_comes(terminal: Terminal) -> None:
    for wait_ms in (0, 0, 1, 5, 300):  # while it is read, checked, or run
        terminal.type(FOREVER + "\r")
        terminal.until("b;")
        time.sleep(wait_ms / 1000)
        terminal.process.send_signal(signal.SIGINT)  # what Ctrl-C does where the terminal is ours
        terminal.until(READY)
        said = terminal.ask("SELECT 43 - 1 AS answer;")
        assert "42" in said, said
