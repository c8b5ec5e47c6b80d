"""What `check` and `verify` say of records and senders that cannot be right."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_continuity import CONFIG, START, capture, template

import flowpeer
from flowpeer.checks.exporters import doubts, implausible
from flowpeer.configuration import load
from flowpeer.lake.store import Lake
from flowpeer.lake.units import ExporterCounts, RecordedConflict, UnitRecord
from flowpeer.network import Configuration
from flowpeer_ingest.plausible import Implausible

EXPORTER = """\
[[metros]]
id = "ams"
name = "Amsterdam"
[[exporters]]
id = "edge1"
metro = "ams"
addresses = ["192.0.2.1"]
"""
SMALL = "fewer than 20 bytes a packet"


@pytest.fixture
def network(tmp_path: Path) -> Configuration:
    (tmp_path / "flowpeer.toml").write_text(CONFIG + EXPORTER)
    return load(tmp_path / "flowpeer.toml")


def test_records_set_aside_are_a_figure_of_verify_and_a_finding_of_check(
    network: Configuration, tmp_path: Path
) -> None:
    def data(octets: int, packets: int) -> bytes:
        body = bytes([198, 18, 0, 1, 20, 0, 0, 1])
        body += b"".join(v.to_bytes(4, "big") for v in (octets, packets, 3, 4))
        return (256).to_bytes(2, "big") + (4 + len(body)).to_bytes(2, "big") + body

    sets = [template(), data(1_500, 1), data(19, 1), data(100, 6), data(39, 2)]
    capture(tmp_path / "1.pcap", 0, *sets)
    network_ = flowpeer.open(tmp_path / "flowpeer.toml")
    network_.ingest(tmp_path / "1.pcap")
    sums = {row["identity"]: row for row in network_.verify().identities.to_dicts()}
    assert all(row["holds"] for row in sums.values())
    assert {name: row["left"] for name, row in sums.items() if "mplausible" in name} == {
        "records: decoded = published + refused + implausible": 4,
        "implausible records: decoded − published − refused = set aside by exporter": 3,
        "implausible bytes as exported: decoded − published = set aside by exporter": 158,
    }
    units = list(Lake(network.lake_path).record().units())
    (found,) = implausible(network, units)
    assert found.level == "warning"
    assert found.subject == "exporter edge1"
    assert found.text.startswith(f"3 records set aside, in no total: {SMALL} (such as 198.18.0.1")
    assert "19 bytes in 1 packets" in found.text
    assert found.text in network_.check()["text"].to_list()


def test_a_damaged_account_of_what_was_set_aside_is_told(network: Configuration) -> None:
    from flowpeer.lake.account import _implausible

    unit = UnitRecord(
        "capture-1", records=3, rows=2, flow_bytes=100, published_bytes=70,
        exporters={"192.0.2.1": ExporterCounts(implausible={SMALL: (1, 20, 2)})},
    )  # fmt: skip
    held = {entry.name.split()[1].strip(":"): entry.holds for entry in _implausible([unit], 1)}
    assert held == {"records": True, "bytes": False}


def test_two_senders_are_a_finding_with_the_time_that_is_in_doubt(network: Configuration) -> None:
    def unit(first: int, count: int, domain: int = 5, *, forgotten: int = 0) -> UnitRecord:
        at = (START + first) * 1_000_000
        conflict = RecordedConflict(
            "sampling rate jumps", "192.0.2.1", 7, domain, at, at + 9_000_000, count,
            "1:1 and 1:1000",
        )  # fmt: skip
        return UnitRecord(
            f"capture-{first}", conflicts=(conflict,),
            forgotten_sessions={"192.0.2.1": forgotten} if forgotten else {},
        )  # fmt: skip

    found = list(doubts(network, [unit(60, 3, forgotten=2), unit(0, 4, forgotten=1)]))
    assert [(f.level, f.subject) for f in found] == [("warning", "exporter edge1")] * 2
    assert found[0].text == (
        "sampling rate jumps (1:1 and 1:1000), 7 times from 2025-07-01 00:00:00 to "
        "2025-07-01 00:01:09, source port 7, domain 5: its rows of that time are in doubt"
    )
    assert "no room for 3 of its sessions" in found[1].text
    many = list(doubts(network, [unit(n, 1, domain=n) for n in range(14)]))
    assert len(many) == 11
    assert many[-1].text.startswith("4 more conflicts")


def test_a_sample_names_what_the_record_says() -> None:
    from flowpeer_ingest.plausible import described

    one = Implausible("192.0.2.1", SMALL, 0, 0, 3, None, 19, 1, None, 1 << 62, "198.18.0.1", "")
    assert described(one) == (
        "198.18.0.1 → ?, interface 3 to ?, 19 bytes in 1 packets, from ? to 4,611,686,018,427 s"
    )
