"""A collector as its users run it, a sender that numbers its datagrams, and the account of both.

Datagram i is NetFlow v9 with sequence number i, and its one flow record says FIRST_BYTES + i bytes,
so what is in the lake is known one by one. The oracle keeps the numbers sent in each run of the
collector and the watermark that it left; nothing of it is taken from the collector's own sums.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from warm import Running

_FIELDS = ((8, 4), (12, 4), (1, 4), (2, 4), (10, 4), (14, 4), (7, 2), (11, 2), (4, 1), (61, 1))
_RECORD = struct.Struct(">IIIIIIHHBBxx")  # padded to a multiple of 4
_TEMPLATE = struct.pack(">HHHH", 0, 8 + 4 * len(_FIELDS), 256, len(_FIELDS)) + b"".join(
    struct.pack(">HH", *f) for f in _FIELDS
)
TEMPLATE_EVERY = 5_000
"""Datagrams between two announcements: a run that is killed early learns none by itself."""
RATE = 20_000
FIRST_BYTES = 1_000
"""A record of a packet with fewer bytes than a header has is set aside."""

TOML = """[network]
asn = 64500
name = "Rig"
prefixes = ["198.18.0.0/15"]
[lake]
path = "lake"
[collector]
seal_after = "{seal_after}"
"""


def numbered(i: int, *, pad: int = 0, template: bool = False) -> bytes:
    """Datagram `i`; `pad` octets in a template set of nothing but padding behind its record."""
    record = _RECORD.pack(
        0xC6120000 + i % 65_536, 0x08080808, FIRST_BYTES + i, 1, 1, 2, 1024, 443, 6, 0
    )
    body = struct.pack(">HH", 256, 4 + len(record)) + record
    if pad:
        body += struct.pack(">HH", 0, pad) + bytes(pad - 4)
    head = struct.pack(">HHIIII", 9, 1, 10_000, int(time.time()), i & 0xFFFFFFFF, 7)
    return head + (_TEMPLATE if template or i % TEMPLATE_EVERY == 0 else b"") + body


@dataclass
class Run:
    """One run of the collector: numbers first ≤ i < after were sent to it."""

    first: int
    after: int = 0
    at_kill: int = -1
    committed: int = 0
    received: int = 0


@dataclass
class Rig:
    """A folder with a configuration, and at most one running collector."""

    folder: Path
    seal_after: str = "1s"
    warm: bool = False
    """The collector is forked from a process that has imported it (tests/warm.py), where nothing
    has to be loaded before it and no socket is passed to it."""
    process: subprocess.Popen[str] | Running | None = None
    port: int = 0
    sent: int = 0
    runs: list[Run] = field(default_factory=list)
    last_run: int = -1
    held: socket.socket | None = None
    log: str = ""
    """What the collector that ended last wrote to stderr."""

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.configure()
        self.sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sender.bind(("127.0.0.1", 0))

    def configure(self, more: str = "") -> None:
        """Write flowpeer.toml."""
        text = TOML.format(seal_after=self.seal_after) + more
        (self.folder / "flowpeer.toml").write_text(text)

    @property
    def spool(self) -> Path:
        return self.folder / "lake" / "spool"

    # The collector

    def start(
        self, *words: str, wait: bool = True, **environment: str
    ) -> subprocess.Popen[str] | Running:
        """Start a collector in a process group of its own; wait until it listens or ends."""
        if self.warm and self.held is None and "LD_PRELOAD" not in environment:
            from warm import begin

            told = ("--json", "collect", "--listen", "127.0.0.1:0", *words)
            self.process = begin(self.folder, *told, **environment)
        else:
            self.process = self._popen(words, environment)
        self.runs.append(Run(self.sent, self.sent))
        if wait:
            self.until(lambda: self.status().get("phase") == "running" or self.ended)
            if not self.ended:
                self.port = int(self.status()["listen"][0]["name"].rpartition(":")[2])
        return self.process

    def _popen(self, words: Iterable[str], environment: Mapping[str, str]) -> subprocess.Popen[str]:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("FLOWPEER_", "COV"))}
        command = [sys.executable, "-m", "flowpeer", "--json", "collect"]
        if self.held is None:
            command += ["--listen", "127.0.0.1:0"]
        else:  # as a service manager passes it: descriptor 3, and whom it is for
            give = f'exec 3<&{self.held.fileno()}; LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"'
            command = ["bash", "-c", give, "bash", *command]
        return subprocess.Popen(
            [*command, *words],
            cwd=self.folder, env={**clean, **environment}, start_new_session=True, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            pass_fds=[self.held.fileno()] if self.held else [],
        )  # fmt: skip

    def hold(self, bound: socket.socket) -> None:
        """Collectors get this socket, which outlives them."""
        self.held = bound
        self.port = bound.getsockname()[1]

    @staticmethod
    def totals(*last: dict[str, Any]) -> int:
        """Datagrams decoded by collectors that ended."""
        return sum(said["totals"].get("datagrams", 0) for said in last)

    @property
    def ended(self) -> bool:
        return self.process is None or self.process.poll() is not None

    def status(self) -> dict[str, Any]:
        """The status file, if the running collector wrote it."""
        try:
            said = json.loads((self.spool / "status.json").read_text())
        except (OSError, ValueError):
            return {}
        if self.process is None or said.get("pid") != self.process.pid:
            return {}
        return dict(said)

    def until(self, true: Callable[[], object], *, seconds: float = 60) -> None:
        """Wait for something; far longer than it takes, so that only a failure ends it."""
        end = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < end, f"waited {seconds} s in vain: {self.said()}"
            time.sleep(0.01)

    def said(self) -> str:
        """What the ended process wrote to stderr."""
        if self.process is None or self.process.stderr is None or not self.ended:
            return f"still running: {self.status()}"
        return self.process.stderr.read()

    def watermark(self) -> dict[str, int]:
        """The counters file as the receiver left it; zeros before it begins."""
        from flowpeer_ingest.shared_counters import RECEIVER, Counters

        try:
            return Counters(self.spool / "receiver-0.counters").snapshot()
        except (OSError, ValueError):
            return dict.fromkeys(RECEIVER, 0)

    def kernel(self) -> tuple[int, int]:
        """Octets that wait in the socket, datagrams dropped there: by the port, not the inode."""
        for line in Path("/proc/net/udp").read_text().splitlines()[1:]:
            words = line.split()
            if int(words[1].partition(":")[2], 16) == self.port:
                return int(words[4].partition(":")[2], 16), int(words[12])
        raise AssertionError("no such socket")

    def kill(self) -> None:
        """SIGKILL to all processes of the collector."""
        assert self.process is not None
        self.runs[-1].at_kill = self.sent
        os.killpg(self.process.pid, signal.SIGKILL)
        self.reap()

    def reap(self) -> None:
        """The collector is dead: keep its watermark."""
        assert self.process is not None
        self.process.wait(60)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
        run = self.runs[-1]
        if (self.spool / "receiver-0.counters").exists():
            said = self.watermark()
            if said["run"] != self.last_run:  # else this run died before its receiver began
                run.committed, run.received = said["committed"], said["received"]
                self.last_run = said["run"]

    def end(self) -> dict[str, Any]:
        """SIGTERM; its last snapshot."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        out, err = self.process.communicate(timeout=300)
        assert self.process.returncode == 0, err
        self.log = err
        self.reap()
        return dict(json.loads(out))

    def close(self) -> None:
        """End whatever runs."""
        if not self.ended:
            assert self.process is not None
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(60)
        for stream in (self.process.stdout, self.process.stderr) if self.process else ():
            if stream is not None:
                stream.close()
        self.sender.close()

    # The sender

    def send(
        self, count: int, *, rate: int = RATE, pad: int = 0, until_dead: bool = False,
        template: bool = False,
    ) -> None:  # fmt: skip
        """The next `count` numbered datagrams, paced; with `until_dead` fewer if it dies. The
        first of them carries the `template` too."""
        begun, done = time.monotonic(), 0
        while done < count and not (until_dead and self.ended):
            for _ in range(min(100, count - done)):
                octets = numbered(self.sent, pad=pad, template=template and not done)
                self.sender.sendto(octets, ("127.0.0.1", self.port))
                self.sent += 1
                done += 1
            self.runs[-1].after = self.sent
            time.sleep(max(0.0, begun + done / rate - time.monotonic()))

    def deliver(self, payloads: Iterable[bytes]) -> int:
        """Any datagrams, slowly enough for any buffer; how many."""
        n = 0
        for n, payload in enumerate(payloads, 1):
            self.sender.sendto(payload, ("127.0.0.1", self.port))
            if n % 100 == 0:
                time.sleep(0.002)
        return n

    def drained(self) -> None:
        """Wait until the receiver has taken all that this run was sent."""
        run = self.runs[-1]
        self.until(lambda: self.watermark()["received"] >= run.after - run.first)

    def drained_and(self, received: int) -> None:
        """Wait until the receiver has taken so many since its start."""
        self.until(lambda: self.watermark()["received"] == received)

    def decoded(self, datagrams: int) -> None:
        """Wait until so many were decoded since its start; a busy machine takes its time."""
        self.until(
            lambda: self.status().get("totals", {}).get("datagrams", 0) >= datagrams, seconds=300
        )

    def drained_or_dropped(self) -> None:
        """Wait until the receiver has taken, or counted as dropped, all that this run was sent."""
        run = self.runs[-1]
        self.until(
            lambda: (
                sum(self.watermark()[k] for k in ("received", "dropped_disk_full"))
                >= run.after - run.first
            )
        )

    # The account

    def flows(self, *columns: str) -> dict[str, np.ndarray[Any, Any]]:
        """Columns of all published flow records."""
        files = sorted((self.folder / "lake" / "flows").rglob("*.parquet"))
        tables = [pq.ParquetFile(f).read(columns=list(columns)) for f in files]
        return {
            c: np.concatenate([t[c].to_numpy() for t in tables] or [np.zeros(0, np.int64)])
            for c in columns
        }

    def numbers(self) -> np.ndarray[Any, Any]:
        """The numbers of the datagrams whose record is in the lake, sorted."""
        return np.sort(self.flows("bytes")["bytes"] - FIRST_BYTES)

    def kept(self) -> list[tuple[Run, int]]:
        """Each run, and how many of its datagrams are in the lake."""
        stored = self.numbers()
        at = np.searchsorted(stored, [[r.first, r.after] for r in self.runs])
        return [(r, int(b - a)) for r, (a, b) in zip(self.runs, at, strict=True)]

    def lost_by_sequence(self) -> int:
        """What the coverage tables say is missing."""
        files = (self.folder / "lake" / "coverage").rglob("*.parquet")
        return sum(int(pq.ParquetFile(f).read()["lost"].to_numpy().sum()) for f in files)

    def account(self) -> dict[str, int]:
        """Hold the lake against what was sent; figures of the whole.

        Of each run a prefix is there, at least up to its watermark; nothing twice, nothing that
        was not sent; what is missing is reported to the datagram, except at the very end, where
        nothing comes after it.
        """
        stored = self.numbers()
        assert len(np.unique(stored)) == len(stored), "rows twice"
        missing = worst = after_kill = 0
        for run in self.runs:
            here = stored[(stored >= run.first) & (stored < run.after)]
            n = len(here)
            assert n == 0 or int(here[-1]) == run.first + n - 1, f"a hole inside {run}"
            assert n >= run.committed, f"committed and lost: {run.committed - n} of {run}"
            missing += run.after - run.first - n
            if run.at_kill >= 0:
                worst = max(worst, run.at_kill - run.first - n)
                after_kill += run.at_kill - run.first - n
        assert len(stored) + missing == self.sent
        tail = self.runs[-1]
        at_end = tail.after - tail.first - int(np.count_nonzero(stored >= tail.first))
        reported = self.lost_by_sequence()
        assert reported == missing - at_end, f"{missing - at_end} lost, {reported} reported"
        return {
            "runs": len(self.runs), "sent": self.sent, "stored": len(stored), "missing": missing,
            "reported": reported, "worst": worst, "uncommitted": after_kill,
            "committed": sum(r.committed for r in self.runs),
        }  # fmt: skip

    def clean(self) -> None:
        """Nothing unfinished is left anywhere, and every file is what its ledger says."""
        names = sorted(p.name for p in self.spool.iterdir())
        rest = [n for n in names if n.endswith((".open", ".sealed", ".failed", ".new"))]
        assert rest == []
        assert "state-new" not in names
        staging = self.folder / "lake" / "staging"
        assert [p for p in staging.rglob("*") if p.is_file()] == []
        if self.warm:
            from warm import flowpeer

            done = flowpeer("verify", cwd=self.folder)
        else:
            done = subprocess.run(
                [sys.executable, "-m", "flowpeer", "verify"],
                cwd=self.folder, capture_output=True, text=True, check=False,
            )  # fmt: skip
        assert done.returncode == 0, done.stderr
        for identity in (
            "datagrams: received = decoded + rejected",
            "implausible records: decoded − published − refused = set aside by exporter",
            "implausible bytes as exported: decoded − published = set aside by exporter",
            "records: decoded = published + refused + implausible",
            "datagrams: taken by receivers = in published segments",
        ):
            assert identity in done.stdout
