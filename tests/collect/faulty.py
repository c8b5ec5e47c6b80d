"""Runs of the collector in each of which one call that changes files fails: see `faulty.c`."""

from __future__ import annotations

import errno
import json
import mmap
import shutil
import signal
import struct
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from collector_rig import Rig

ROLES = ("collector", "receiver", "status")
"""Whose call: see `faulty.c`."""
DATAGRAMS = 300
"""Of one run: a segment's way into the lake, and an end."""


def build(folder: Path) -> Path | None:
    """The library that stands before libc; None where there is no C compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    library = folder / "faulty.so"
    source = Path(__file__).with_name("faulty.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    return library


@dataclass(frozen=True)
class Fault:
    """The `n`-th call of a run's processes of one role fails with `error`."""

    role: str
    n: int
    error: str

    @property
    def rule(self) -> str:
        """As the library reads it."""
        return f"{self.role}:{self.n}:{getattr(errno, self.error)}"


def every(calls: dict[str, int], errors: Iterable[str]) -> list[Fault]:
    """All faults of a run that makes so many calls."""
    return [
        Fault(role, n, error) for error in errors for role in ROLES
        for n in range(1, calls[role] + 1)
    ]  # fmt: skip


@dataclass
class Faults:
    """Runs in one lake, and the account of them all."""

    rig: Rig
    library: Path
    dropped: int = 0  # told by the collectors: read, and there was no room
    refused: int = 0  # starts that ended with a message
    failed: list[str] = field(default_factory=list)  # the calls that failed
    missed: list[Fault] = field(default_factory=list)  # a run made fewer calls than that

    def run(self, fault: Fault | None = None) -> dict[str, int]:
        """Start, receive, decode, end; the calls that it made, by role.

        A collector that cannot start has to say so in one line. One that runs has to publish
        all that it received, whatever failed, without being started again.
        """
        rig = self.rig
        log, counts = rig.folder / "calls.log", rig.folder / "calls.count"
        log.unlink(missing_ok=True)
        more = {"FAULTY_RULE": fault.rule} if fault else {}
        process = rig.start(**self.environment(), FAULTY_LOG=str(log), **more)
        ran = not rig.ended
        if ran:
            rig.send(DATAGRAMS, template=True)  # that of the run before may have been dropped
            rig.until(lambda: self.done() or rig.ended)
            process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
        said = f"{fault}: {err}"
        if ran:
            assert process.returncode == 0, said
            last = json.loads(out)
            assert last["spool"]["failed"] == 0, said
            self.dropped += last["losses"]["dropped_disk_full"]["total"]
        else:
            self.refused += 1
            assert process.returncode == 3, said
            assert err.count("error: ") == err.count("try: ") == 1, said
        assert "Traceback" not in err, said
        rig.reap()
        lines = log.read_text().splitlines()
        hit = [line for line in lines if line.endswith(" FAILS")]
        self.failed += hit
        if fault and not hit:
            self.missed.append(fault)
        return dict(zip(ROLES, struct.unpack_from("<3q", counts.read_bytes()), strict=True))

    def environment(self) -> dict[str, str]:
        """What makes the collector's calls pass through the library, counted from 0."""
        counts = self.rig.folder / "calls.count"
        counts.write_bytes(bytes(mmap.PAGESIZE))
        return {
            "LD_PRELOAD": str(self.library),
            "FAULTY_ROOT": str(self.rig.folder / "lake"),
            "FAULTY_COUNT": str(counts),
        }

    def done(self) -> bool:
        """All that this run was sent is published, or counted as dropped."""
        status = self.rig.status()
        if not status:
            return False
        run = self.rig.runs[-1]
        dropped = status["losses"]["dropped_disk_full"]["total"]
        return int(status["totals"].get("datagrams", 0)) + dropped >= run.after - run.first

    def account(self) -> None:
        """After a last run without a fault: everything sent is stored once, or told."""
        self.run()
        rig = self.rig
        stored = rig.numbers()
        assert len(np.unique(stored)) == len(stored), "rows twice"
        assert len(stored) + self.dropped == rig.sent
        # What was dropped before the first that is there no sequence number can tell.
        assert rig.lost_by_sequence() == self.dropped - int(stored[0])
        for run in rig.runs:
            here = int(np.count_nonzero((stored >= run.first) & (stored < run.after)))
            assert here >= run.committed, f"committed and lost: {run}"
        rig.clean()
