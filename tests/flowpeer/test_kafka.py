"""What docs/howto-kafka.md says to do, done with kcat against librdkafka's own mock of a broker."""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from raw_flow_messages import message

from flowpeer import catalog
from flowpeer.lake.store import Lake

PAGE = Path(__file__).resolve().parents[2] / "docs" / "howto-kafka.md"
TOML = """[network]
asn = 64500
name = "Kafka"
prefixes = ["198.18.0.0/15"]
[lake]
path = "lake"
"""
EXPORTER = """
[[metros]]
id = "ams"
name = "Amsterdam"
[[exporters]]
id = "edge1"
metro = "ams"
addresses = ["192.0.2.2"]
[[interfaces]]
exporter = "edge1"
index = 1
role = "internal"
[[interfaces]]
exporter = "edge1"
index = 2
role = "transit"
asn = 1299
"""
EXAMPLE = "kafka.example.net:9092"
WAIT_S = 60


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[str]:
    """The address of a broker on loopback; it lives in a producer that waits for input."""
    if shutil.which("kcat") is None:
        pytest.skip("kcat is not installed")
    log = tmp_path / "broker"
    words = ["-P", "-b", "nobody", "-t", "other", "-X", "test.mock.num.brokers=1", "-d", "mock"]
    with (
        log.open("wb") as said,
        subprocess.Popen(["kcat", *words], stdin=subprocess.PIPE, stderr=said) as process,
    ):
        until = time.monotonic() + WAIT_S
        while not (found := re.search(r"bootstrap\.servers=(127\.0\.0\.1:\d+)", log.read_text())):
            assert time.monotonic() < until
            assert process.poll() is None, log.read_text()
            time.sleep(0.05)
        yield found[1]
        process.kill()


@pytest.fixture
def folder(tmp_path: Path, broker: str) -> Path:
    """Where the commands of the page run, for this broker."""
    made = tmp_path / "folder"
    made.mkdir()
    (made / "flowpeer.toml").write_text(TOML)
    script = next(block for block in blocks() if block.startswith("#!/bin/bash"))
    (made / "from-kafka").write_text(script.replace(EXAMPLE, broker))
    (made / "from-kafka").chmod(0o755)
    return made


def blocks() -> list[str]:
    return re.findall(r"```sh\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)


def do(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-c", command], cwd=folder, env={**os.environ, "PATH": path}, text=True,
        capture_output=True, check=False, timeout=10 * WAIT_S,
    )  # fmt: skip


def produce(broker: str, topic: str, messages: list[bytes], folder: Path) -> None:
    """Each message as it is, to partition 0."""
    for n, octets in enumerate(messages):
        (folder / f"message-{n}").write_bytes(octets)
    names = [f"message-{n}" for n in range(len(messages))]
    subprocess.run(
        ["kcat", "-P", "-b", broker, "-t", topic, "-p", "0", *names], cwd=folder, check=True
    )


def rows(lake: Path, column: str) -> list[Any]:
    return sorted(catalog.scan(lake, "flows").collect()[column].drop_nulls())


def flow(n: int) -> bytes:
    return json.dumps({
        "type": "NETFLOW_V9", "time_received_ns": (1_780_000_000 + n) * 1_000_000_000,
        "sampler_address": "192.0.2.1", "src_addr": "198.18.0.1", "dst_addr": "8.8.8.8",
        "bytes": 1_000 + n, "packets": 1, "in_if": 1, "out_if": 2, "sampling_rate": 100,
    }).encode()  # fmt: skip


def test_flows_in_json_come_once_whatever_breaks(broker: str, folder: Path) -> None:
    (command,) = (b for b in blocks() if b.startswith("./from-kafka"))
    produce(broker, "flows", [flow(n) for n in range(5)], folder)
    assert do(command, folder).returncode == 0
    assert rows(folder / "lake", "bytes") == [1_000 + n for n in range(5)]
    nothing_new = do(command, folder)
    assert (nothing_new.returncode, nothing_new.stdout) == (0, "")

    # The lake is in use: it waits, and what came meanwhile comes after it.
    produce(broker, "flows", [flow(n) for n in range(5, 8)], folder)
    with Lake(folder / "lake").lock("ingest"):
        assert do(command, folder).returncode == 75
    produce(broker, "flows", [flow(n) for n in range(8, 10)], folder)
    before = (folder / "kafka" / "flows-0.next").read_text()
    assert do(command, folder).returncode == 0
    assert rows(folder / "lake", "bytes") == [1_000 + n for n in range(8)]

    # Killed when it was taken in, before that was written down.
    after = (folder / "kafka" / "flows-0.next").read_text()
    (folder / "kafka" / "flows-0.next").write_text(before)
    batch = f"kafka/flows-0.{before.strip()}.{after.strip()}"
    lines = b"".join(flow(n) + b"\n" for n in range(5, 8))
    (folder / batch).write_bytes(lines)
    for _ in range(2):
        assert do(command, folder).returncode == 0
    assert rows(folder / "lake", "bytes") == [1_000 + n for n in range(10)]
    assert {path.suffix for path in (folder / "kafka").iterdir()} == {".lock", ".next"}


def netflow5(n: int) -> bytes:
    """Datagram `n` of an exporter, of one flow of 1,000 + n octets."""
    head = struct.pack(">HHIIIIBBH", 5, 1, 100_000, 1_780_000_000 + n, 0, n, 0, 0, 0x4000 | 100)
    return head + struct.pack(
        ">IIIHHIIIIHHBBBBHHBBH", 0xC6120001, 0x08080808, 0, 1, 2, 1, 1_000 + n, 90_000, 99_000,
        443, 1_024, 0, 16, 6, 0, 0, 64_496, 24, 24, 0,
    )  # fmt: skip


def test_the_pipes_take_flows_and_datagrams(broker: str, folder: Path) -> None:
    (block,) = (b for b in blocks() if "| flowpeer ingest -" in b)
    of_json, of_datagrams = block.replace(EXAMPLE, broker).splitlines()
    produce(broker, "flows", [flow(n) for n in range(3)], folder)
    assert do(of_json, folder).returncode == 0
    assert rows(folder / "lake", "bytes") == [1_000, 1_001, 1_002]

    messages = [message(1_780_000_000 + n, netflow5(n), "192.0.2.2") for n in range(80)]
    produce(broker, "flows-v5", messages[:60], folder)
    done = do(of_datagrams, folder)
    assert done.returncode == 0, done.stderr
    assert "60 datagrams" in done.stderr
    assert rows(folder / "lake", "datagram_sequence") == [*range(60)]
    produce(broker, "flows-v5", messages[60:], folder)
    longer = do(of_datagrams, folder)
    assert (longer.returncode, "is another length of" in longer.stderr) == (3, True), longer.stderr

    # From the last of them on: what is read again is a copy.
    again = of_datagrams.replace("beginning", "50")
    assert do(again, folder).returncode == 0
    assert rows(folder / "lake", "datagram_sequence") == sorted([*range(60), *range(50, 80)])
    (folder / "flowpeer.toml").write_text(TOML + EXPORTER)
    (folder / "routes-2026-01-01.txt").write_text("8.0.0.0/8\t64496\n")
    assert do("flowpeer rib load routes-2026-01-01.txt && flowpeer rollup", folder).returncode == 0
    traffic = catalog.scan(folder / "lake", "traffic").filter(exporter="edge1", direction="out")
    assert traffic.collect()["bytes"].sum() == 100 * sum(1_000 + n for n in range(80))
