"""What the collector tells: drops, garbage, losses, and who was heard."""

from __future__ import annotations

import json
import os
import signal
import socket
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from collector_rig import Rig, numbered
from prometheus_client.parser import text_string_to_metric_families
from warm import Finished, flowpeer

from flowpeer.lake.store import Lake
from flowpeer_ingest.stats import LOSSES

EXPORTERS = """
[[metros]]
id = "ams"
name = "Amsterdam"
[[exporters]]
id = "edge1.ams"
metro = "ams"
addresses = ["{address}"]
"""


def status(rig: Rig, *words: str) -> Finished:
    return flowpeer(*words, "status", cwd=rig.folder)


def test_kernel_drops_are_told_exactly_also_when_silence_follows(rig: Rig) -> None:
    rig.start()
    pid = rig.watermark()["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        octets = rig.status()["listen"][0]["buffer_octets"]
        burst = octets // 2_304 + 6_000
        rig.send(burst, rate=10**9, pad=1_300)
        # The receiver stands still, so nothing but /proc can know of them.
        rig.until(lambda: rig.status()["losses"]["kernel_drops"]["total"] == rig.kernel()[1] > 0)
    finally:
        os.kill(pid, signal.SIGCONT)
    rig.until(lambda: rig.watermark()["received"] + rig.kernel()[1] == burst)
    dropped = rig.kernel()[1]
    rig.until(lambda: rig.status()["losses"]["kernel_drops"]["total"] == dropped)
    assert status(rig).returncode == 1
    rig.send(1)
    rig.drained_and(burst - dropped + 1)
    # SO_RXQ_OVFL says the same; it is noted after the datagram is counted.
    rig.until(lambda: rig.watermark()["kernel_drops"] == dropped)
    rig.decoded(burst - dropped + 1)
    last = rig.end()
    assert last["losses"]["kernel_drops"]["total"] == dropped == rig.sent - len(rig.numbers())


def test_garbage_is_counted_sampled_and_costs_nothing_else(
    rig: Rig, run: Any, shared: Path
) -> None:
    rig.start()
    rig.send(1_000)
    junk = [b"", b"\0", b"GET / HTTP/1.1\r\n", bytes(40), b"\0\x09" + bytes(5), b"\0\x08" * 20]
    rig.deliver(junk * 50)
    rig.send(1_000)
    rig.until(lambda: rig.watermark()["received"] == 2_300)
    last = rig.end()
    assert last["totals"]["datagrams"] == 2_300
    assert sum(last["rejected"].values()) == 300
    assert len(rig.numbers()) == 2_000
    quarantined = run("--json", "decode", rig.spool / "quarantine.pcapng")
    assert json.loads(quarantined.stdout) == []
    assert "datagrams refused" in quarantined.stderr
    done = status(rig, "--json")
    assert done.returncode == 1
    troubles = json.loads(done.stdout)["troubles"]
    assert [t["code"] for t in troubles] == ["down"], "garbage is no loss"
    assert "collector: not running since" in done.stderr
    rig.clean()


def test_status_names_exporters_losses_and_what_to_make_of_them(rig: Rig) -> None:
    rig.configure(EXPORTERS.format(address="127.0.0.1"))
    assert status(rig).returncode == 3
    rig.start("--metrics", "127.0.0.1:0")
    rig.send(500)
    rig.sent += 40  # missing on the way
    rig.send(500)
    rig.until(lambda: rig.status()["totals"].get("rows") == 1_000)
    done = status(rig, "--json")
    said = json.loads(done.stdout)
    assert done.returncode == 1
    assert "sequence_lost: 40 since the start" in done.stderr
    assert said["lost_recently"] == ["sequence_lost"]
    exporter = said["exporters"]["127.0.0.1"]
    assert exporter["id"] == "edge1.ams"
    assert exporter["datagrams"] == exporter["records"] == exporter["unknown_sampling"] == 1_000
    assert exporter["lost"] == 40
    assert exporter["clock_error_s"] is not None
    shown = status(rig)
    assert "running since" in shown.stdout
    assert "edge1.ams" in shown.stdout
    rig.until(lambda: rig.watermark()["committed"] == 1_000)
    address = f"http://127.0.0.1:{said['metrics_port']}/metrics"
    with urllib.request.urlopen(address, timeout=10) as answer:
        text = answer.read().decode()
    figures = {
        (s.name, *s.labels.values()): s.value
        for family in text_string_to_metric_families(text)
        for s in family.samples
    }
    assert figures["flowpeer_rows_total",] == 1_000
    assert figures["flowpeer_loss_sequence_lost_total",] == 40
    assert figures["flowpeer_exporter_lost_total", "127.0.0.1"] == 40
    assert figures["flowpeer_receiver_committed_total", "0"] == 1_000
    assert figures["flowpeer_troubles", "loss"] == 1
    assert figures["flowpeer_troubles", "down"] == 0
    assert figures["flowpeer_last_datagram_timestamp_seconds",] > 1_700_000_000
    for page in ("healthz", "readyz"):
        with urllib.request.urlopen(address.replace("metrics", page), timeout=10) as answer:
            assert answer.read() == b"ok\n"
    checked = flowpeer("check", cwd=rig.folder)
    assert "warning  sequence_lost: 40 since the start" in checked.stdout
    rig.end()
    # The next collector has lost nothing, but the hour is not over.
    rig.start()
    assert status(rig).returncode == 1
    rig.end()


def test_what_waits_unsealed_is_seen_in_the_lag(rig: Rig) -> None:
    rig.seal_after = "900s"
    rig.configure()
    rig.start()
    assert rig.status()["spool"]["lag_seconds"] == 0
    rig.send(2_000)
    rig.until(lambda: rig.watermark()["received"] == 2_000)
    rig.until(lambda: rig.status()["spool"]["lag_seconds"] > 2)
    spool = rig.status()["spool"]
    assert spool["spool_segments"] == 0
    assert spool["spool_octets"] > 0
    last = rig.end()
    assert last["spool"]["lag_seconds"] == 0
    assert last["totals"]["datagrams"] == 2_000


def test_what_is_dropped_for_want_of_room_is_logged_and_the_reserve_is_a_setting(rig: Rig) -> None:
    rig.configure()
    path = rig.folder / "flowpeer.toml"
    path.write_text(path.read_text().replace("[collector]", '[collector]\nreserve = "900000G"'))
    rig.start()
    rig.send(1_000)
    rig.until(lambda: rig.watermark()["dropped_disk_full"] == 1_000)
    rig.until(lambda: rig.status()["losses"]["dropped_disk_full"]["total"] == 1_000)
    rig.end()
    lines = [text for text in rig.log.splitlines() if "dropped_disk_full" in text]
    assert 1 <= len(lines) <= 2
    assert "the disk of lake/spool" in lines[0]
    assert "`reserve` of [collector]" in lines[0]
    assert not list(rig.spool.glob("*.sealed"))


@pytest.mark.parametrize(
    ("setting", "words"),
    [("", ("--known-only",)), ("allow = []", ()), ('allow = ["127.0.0.1/32"]', ("--known-only",))],
)
def test_unknown_exporters_are_refused_if_asked(
    rig: Rig, setting: str, words: tuple[str, ...]
) -> None:
    rig.configure(setting + EXPORTERS.format(address="127.0.0.2"))
    rig.start(*words)
    rig.send(10)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as known:
        known.bind(("127.0.0.2", 0))
        for i in range(10):
            known.sendto(numbered(i), ("127.0.0.1", rig.port))
    rig.until(lambda: rig.watermark()["received"] == 20)
    last = rig.end()
    assert last["rejected"] == {"exporter not in the configuration": 10}
    assert last["refused_sources"] == {"127.0.0.1": 10}
    assert list(last["exporters"]) == ["127.0.0.2"]
    assert len(rig.numbers()) == 10


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("", ("--allow", "127.0.0.4/31", "--allow", "2001:db8::/32")),
        ('allow = ["127.0.0.4/31", "2001:db8::/32"]', ()),
        ("allow = []", ("--allow", "127.0.0.4/31")),
    ],
)
def test_exporters_outside_the_allowed_prefixes_are_refused(
    rig: Rig, setting: str, words: tuple[str, ...]
) -> None:
    rig.configure(setting + EXPORTERS.format(address="127.0.0.2"))
    rig.start(*words)
    for source in ("127.0.0.2", "127.0.0.3", "127.0.0.5"):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as exporter:
            exporter.bind((source, 0))
            exporter.sendto(numbered(0), ("127.0.0.1", rig.port))
    rig.until(lambda: rig.watermark()["received"] == 3)
    last = rig.end()
    assert last["rejected"] == {"exporter outside the allowed prefixes": 1}
    assert last["refused_sources"] == {"127.0.0.3": 1}
    assert sorted(last["exporters"]) == ["127.0.0.2", "127.0.0.5"]


def test_routers_outside_the_allowed_prefixes_do_not_connect_by_bmp(rig: Rig) -> None:
    exporter = EXPORTERS.format(address='127.0.0.2", "127.0.0.3')
    rig.configure('bmp_allow = ["127.0.0.2/32", "127.0.0.4/31"]' + exporter)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    rig.start("--bmp", f"127.0.0.1:{port}")
    for source in ("127.0.0.2", "127.0.0.3", "127.0.0.4"):
        with socket.create_connection(("127.0.0.1", port), 10, (source, 0)) as router:
            router.settimeout(0.5)
            if source == "127.0.0.2":
                with pytest.raises(TimeoutError):
                    router.recv(1)
            else:
                assert router.recv(1) == b""
    rig.end()
    said = [line for line in rig.log.splitlines() if line.startswith("BMP: 127")]
    assert said == [
        "BMP: 127.0.0.2 (edge1.ams) connected",
        "BMP: 127.0.0.2 (edge1.ams): closed",
        "BMP: 127.0.0.3 refused: outside `bmp_allow` of [collector]",
        "BMP: 127.0.0.4 refused: no address of an exporter",
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--allow", "10.0.0.1/8"), "--allow 10.0.0.1/8 has host bits set"),
        (("--allow", "10.0.0.0/8", "--known-only"), "contradict each other"),
    ],
)
def test_a_wrong_restriction_is_refused(rig: Rig, words: tuple[str, ...], message: str) -> None:
    process = rig.start(*words)
    assert process.wait(60) == 2
    assert process.stderr is not None
    assert message in process.stderr.read()


def test_verify_names_a_segment_that_is_gone(rig: Rig, run: Any, forget_unit: Any) -> None:
    for _ in range(3):
        rig.start()
        rig.send(100)
        rig.until(lambda: rig.status()["totals"].get("rows"))
        rig.send(100)
        rig.drained()
        rig.end()
    assert run("verify", cwd=rig.folder).returncode == 0
    units = sorted(unit.name for unit in Lake(rig.folder / "lake").record().units())
    forget_unit(
        rig.folder / "lake", units[0]
    )  # the first of its run: others are numbered behind it
    done = run("verify", cwd=rig.folder)
    assert done.returncode == 1
    assert "taken by receivers = in published segments" in done.stderr


def test_every_loss_has_its_line_in_the_documentation() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "collector.md"
    text = page.read_text()
    assert [name for name in LOSSES if f"| `{name}` |" not in text] == []


def test_a_second_collector_is_refused_and_changes_nothing(rig: Rig) -> None:
    rig.start()
    rig.send(100)
    second = flowpeer("collect", "--listen", f"127.0.0.1:{rig.port}", cwd=rig.folder)
    assert second.returncode == 75
    assert "another `collect-" in second.stderr
    rig.drained()
    rig.end()
    rig.account()


@pytest.mark.parametrize(
    ("listen", "says"),
    [("nonsense", "HOST:PORT is expected"), ("127.0.0.1:99999", "HOST:PORT is expected")],
)
def test_a_bad_address_is_bad_usage(rig: Rig, run: Any, listen: str, says: str) -> None:
    done = run("collect", "--listen", listen, cwd=rig.folder)
    assert done.returncode == 2
    assert says in done.stderr


def test_a_port_in_use_is_one_clear_line(rig: Rig, run: Any) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        done = run("collect", "--listen", f"127.0.0.1:{port}", cwd=rig.folder)
    assert done.returncode == 3
    assert f"error: 127.0.0.1:{port}: cannot listen: Address already in use" in done.stderr
    assert "try: see who does" in done.stderr


def test_an_address_of_another_machine_is_one_clear_line(rig: Rig, run: Any) -> None:
    for option in ("--listen", "--metrics"):
        words = ("--listen", "127.0.0.1:0") if option == "--metrics" else ()
        done = run("collect", *words, option, "192.0.2.1:2055", cwd=rig.folder)
        assert done.returncode == 3
        assert "error: 192.0.2.1:2055: cannot " in done.stderr
        assert f"try: `ip address` lists those of this machine: choose another {option}" in (
            done.stderr
        )
