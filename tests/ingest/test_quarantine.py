"""What was refused can be looked at: reason, source and time stand beside each datagram."""

from __future__ import annotations

import shutil
import subprocess
from io import BytesIO
from pathlib import Path

import pytest

from flowpeer_core.addresses import octets_of
from flowpeer_ingest import quarantine
from flowpeer_ingest.captures import Capture
from flowpeer_ingest.quarantine import Quarantine

NOW_US = 1_790_000_000_123_456


def kept(path: Path) -> list[tuple[int, str, int, bytes]]:
    capture = Capture(BytesIO(path.read_bytes()), str(path))
    found = [(d.received_us, d.exporter, d.port, d.payload) for d in capture.datagrams()]
    assert not capture.warnings
    return found


def test_tshark_shows_reason_source_and_time(tmp_path: Path) -> None:
    if shutil.which("tshark") is None:
        pytest.skip("tshark is not installed")
    box = Quarantine(tmp_path)
    box.keep("not an export packet", b"junk!", octets_of("192.0.2.9"), 2_055, NOW_US)
    box.keep("NetFlow v7 is not decoded", b"\0\x07", octets_of("2001:db8::9"), 99, NOW_US + 1)
    fields = ("frame.comment", "frame.time_epoch", "ip.src", "ipv6.src", "udp.srcport", "data.data")
    words = [w for f in fields for w in ("-e", f)]
    done = subprocess.run(
        ["tshark", "-r", tmp_path / quarantine.NAME, "-T", "fields", *words],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    first, second = (line.split("\t") for line in done.stdout.splitlines())
    assert first[0] == "flowpeer: not an export packet"
    assert float(first[1]) == pytest.approx(NOW_US / 1e6, abs=1e-6)
    assert first[2:] == ["192.0.2.9", "", "2055", b"junk!".hex()]
    assert second[0] == "flowpeer: NetFlow v7 is not decoded"
    assert second[2:5] == ["", "2001:db8::9", "99"]


def test_a_file_goes_on_over_restarts_and_keeps_its_bounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = octets_of("192.0.2.9")
    for start in range(2):
        box = Quarantine(tmp_path)
        for i in range(quarantine.PER_REASON + 10):
            box.keep("one", bytes([i]), source, i, NOW_US + start)
        box.keep("other", b"", source, start, NOW_US)
    found = kept(tmp_path / quarantine.NAME)
    assert len(found) == 2 * (quarantine.PER_REASON + 1)
    assert found[5] == (NOW_US, "192.0.2.9", 5, b"\5")
    monkeypatch.setattr(quarantine, "MAX_OCTETS", 20_000)
    for _ in range(10):
        Quarantine(tmp_path).keep("one", bytes(5_000), source, 1, NOW_US)
    files = sorted(tmp_path.iterdir())
    assert [f.name for f in files] == [quarantine.OLD, quarantine.NAME]
    assert all(f.stat().st_size <= 20_000 for f in files)
    assert all(kept(f) for f in files)


def test_what_a_crash_cut_short_is_moved_aside(tmp_path: Path) -> None:
    path = tmp_path / quarantine.NAME
    Quarantine(tmp_path).keep("one", b"first", octets_of("192.0.2.9"), 1, NOW_US)
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        Quarantine(tmp_path).keep("one", b"second", octets_of("192.0.2.9"), 2, NOW_US)
        last = kept(path)[-1]
        assert last == (NOW_US, "192.0.2.9", 2, b"second"), size
