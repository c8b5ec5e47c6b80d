"""The deployment files are accepted by what reads them, and the socket is held over a restart."""

from __future__ import annotations

import ast
import re
import shutil
import socket
import subprocess
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from collector_rig import Rig

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"


def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    for unit in (DEPLOY / "systemd").iterdir():
        text = unit.read_text().replace("/opt/flowpeer/bin/flowpeer", "/bin/true")
        (tmp_path / unit.name).write_text(text)
    units = [p for p in tmp_path.iterdir() if p.suffix in (".service", ".socket", ".timer")]
    assert len(units) == 4
    done = subprocess.run(
        ["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False
    )
    if "Failed to initialize manager" in done.stderr:
        pytest.skip("systemd-analyze cannot verify in this environment")
    assert done.returncode == 0, done.stderr
    assert "Unknown" not in done.stderr


def test_every_command_line_in_the_deployment_exists(run) -> None:  # type: ignore[no-untyped-def]
    texts = [p.read_text() for p in DEPLOY.rglob("*") if p.is_file()]
    found = set()
    for text in texts:
        found |= set(re.findall(r"flowpeer\.toml,? (collect|status|run)\b", text))
        found |= set(re.findall(r'flowpeer\("(\w+)"\)', text))
    assert found >= {"collect", "status", "run"}
    for verb in found:
        assert run(verb, "--help").returncode == 0
    ast.parse((DEPLOY / "airflow" / "flowpeer_hourly.py").read_text())


def test_a_socket_that_is_held_loses_nothing_over_restarts(rig: Rig) -> None:
    held = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with suppress(PermissionError):
        held.setsockopt(socket.SOL_SOCKET, 33, 32 << 20)  # SO_RCVBUFFORCE
    held.bind(("127.0.0.1", 0))
    rig.hold(held)
    rig.start()
    sender = threading.Thread(target=lambda: rig.send(12_000, rate=3_000))
    sender.start()
    rig.until(lambda: rig.sent > 3_000)
    first = rig.end()
    rig.start()
    rig.until(lambda: rig.sent > 9_000)
    second = rig.end()
    rig.start()
    sender.join()
    rig.until(lambda: rig.totals(first, second) + rig.watermark()["received"] >= 12_000)
    third = rig.end()
    held.close()
    assert third["listen"][0]["inherited"] is True
    assert sorted(rig.numbers().tolist()) == list(range(12_000))
    assert rig.lost_by_sequence() == 0
    assert rig.totals(first, second, third) == 12_000
    rig.clean()
