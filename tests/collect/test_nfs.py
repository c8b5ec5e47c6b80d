"""A lake on NFSv4: locks need handles of the right kind, and rename takes no flags.

`nfsrules.c` of the reference data enforces both for a process into which it is loaded.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from collector_rig import Rig, numbered

MORE = """
[sources]
ribs = "routes.txt"
[[metros]]
id = "ams"
name = "Amsterdam"
[[exporters]]
id = "edge1"
metro = "ams"
addresses = ["127.0.0.1"]
sampling = 1
[[interfaces]]
exporter = "edge1"
index = 1
role = "transit"
asn = 1299
"""
COMMANDS = """
import json, sys
from flowpeer.cli.app import run
for words in json.loads(sys.argv[1]):
    print(words, file=sys.stderr)
    print(json.dumps(run(words)), file=sys.stderr)
"""


@pytest.fixture(scope="module")
def rules(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a process under the rules of NFS."""
    source, compiler = shared / "nfsrules.c", shutil.which("cc")
    if compiler is None or not source.exists():
        pytest.skip("no C compiler, or no nfsrules.c in the reference data")
    library = tmp_path_factory.mktemp("nfs") / "nfsrules.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    environment = {"LD_PRELOAD": str(library)}
    # It is loaded, and does what it is for.
    text = (
        "import fcntl, os, sys\n"
        "handle = os.open(sys.argv[1], os.O_RDONLY)\n"
        "try: fcntl.flock(handle, fcntl.LOCK_EX)\n"
        "except OSError: print('refused')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", text, library], env={**os.environ, **environment}, text=True,
        capture_output=True, check=True,
    )  # fmt: skip
    assert done.stdout == "refused\n"
    return environment


def capture(path: Path, numbers: range) -> None:
    """A pcap of raw IP packets from the exporter."""
    out = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262_144, 101)
    for i in numbers:
        payload = numbered(i)
        size = 28 + len(payload)
        packet = struct.pack(
            ">BBHHHBBH4s4sHHHH", 0x45, 0, size, 1, 0, 64, 17, 0, bytes([127, 0, 0, 1]),
            bytes([127, 0, 0, 1]), 40_000, 2055, size - 20, 0,
        ) + payload  # fmt: skip
        out += struct.pack("<IIII", 1_751_328_000 + i, 0, len(packet), len(packet)) + packet
    path.write_bytes(out)


def test_everything_that_writes_works_on_nfs(rig: Rig, rules: dict[str, str]) -> None:
    rig.configure(MORE)
    (rig.folder / "routes.txt").write_text("8.0.0.0/8\t3356\n0.0.0.0/0\t1299\n")
    rig.start(**rules)
    rig.send(2_000)
    rig.drained()
    rig.end()
    assert len(rig.numbers()) == 2_000
    for n in range(2):  # of one hour long ago, so that it can be merged
        capture(rig.folder / f"{n}.pcap", range(n * 5_000, n * 5_000 + 5))
    commands = [
        ["ingest", "0.pcap", "1.pcap"], ["rollup"], ["compact"], ["run"], ["verify"],
        ["prune", "--keep", "1d", "--yes"], ["verify"],
        ["sql", "SELECT count(*) AS n FROM flows"], ["candidates"],
    ]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS, json.dumps(commands)], cwd=rig.folder, text=True,
        env={**os.environ, **rules}, capture_output=True, check=False,
    )  # fmt: skip
    statuses = [int(line) for line in done.stderr.splitlines() if line.isdecimal()]
    assert len(statuses) == len(commands), done.stderr
    assert set(statuses) <= {0, 1}, done.stderr
    faulty = [words[0] for words, status in zip(commands, statuses, strict=True) if status]
    assert set(faulty) <= {"run", "candidates"}, done.stderr  # which warn of the data
    assert "2 files" in done.stdout, done.stdout
