"""What reaches the socket reaches the lake: the same tables that `ingest` makes of a capture."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from collector_rig import Rig
from warm import flowpeer

from flowpeer_ingest.captures import Capture
from flowpeer_ingest.decompress import open_source

pytestmark = pytest.mark.slow


CAPTURES = (
    "softflowd-v5.pcap", "softflowd-v9.pcap", "softflowd-ipfix.pcap", "pmacctd-v9.pcap",
    "juniper-srx-v9-options.pcap", "cisco-iosxr-ipfix-mpls.pcap", "yaf-ipfix.pcap",
    "vmware-vds-ipfix-late.pcap",
)  # fmt: skip
SUMMED = "sum(bytes), sum(packets), count(*), sum(src_port), sum(dst_port), count(src_addr)"


def payloads(path: Path) -> list[bytes]:
    stream, _ = open_source(str(path))
    with stream:
        return [d.payload for d in Capture(stream, str(path)).datagrams()]


def ask(folder: Path, query: str) -> Any:
    done = flowpeer("--json", "sql", query, cwd=folder)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("receivers", ["1", "2"])
def test_captures_replayed_over_loopback_give_the_sums_of_ingest(
    rig: Rig, shared: Path, tmp_path: Path, run: Callable[..., Any], receivers: str
) -> None:
    found = [p for name in CAPTURES if (p := shared / "corpus" / name).exists()]
    assert len(found) >= 5, "the captures that this test replays are gone"
    rig.start("--receivers", receivers)
    sent = sum(rig.deliver(payloads(path)) for path in found)
    said = rig.end()
    assert said["totals"]["datagrams"] == sent
    assert sum(r["received"] for r in said["receivers"]) == sent
    other = tmp_path / "other"
    other.mkdir()
    (other / "flowpeer.toml").write_text((rig.folder / "flowpeer.toml").read_text())
    # One capture a lake: over loopback all exporters have one address, so what is learned from
    # one capture holds for the next, as with one decoder; only the sums are independent of it.
    done = run("ingest", *found, cwd=other)
    assert done.returncode in (0, 1), done.stderr
    query = f"SELECT format, {SUMMED} FROM flows GROUP BY format ORDER BY format"
    assert ask(rig.folder, query) == ask(other, query)
    rig.clean()


def test_every_protocol_on_every_port_over_both_families(rig: Rig, shared: Path) -> None:
    names = ("softflowd-v5.pcap", "softflowd-v9.pcap", "softflowd-ipfix.pcap")
    found = [payloads(shared / "corpus" / name)[:50] for name in names]
    [*_, sflow] = sorted((shared / "corpus" / "sflow").glob("*.pcap*"))
    found.append(payloads(sflow)[:50])
    rig.start("--listen", "[::1]:0")
    said = rig.status()["listen"]
    assert len(said) == 2
    for family, listener in zip((socket.AF_INET, socket.AF_INET6), said, strict=True):
        host, _, port = listener["name"].rpartition(":")
        with socket.socket(family, socket.SOCK_DGRAM) as sender:
            for payload in (p for one in found for p in one):
                sender.sendto(payload, (host.strip("[]"), int(port)))
    sent = 2 * sum(map(len, found))
    rig.until(lambda: rig.watermark()["received"] == sent)
    last = rig.end()
    assert last["totals"]["datagrams"] == sent
    assert last["rejected"] == {}
    assert sorted(last["exporters"]) == ["127.0.0.1", "::1"]
    four, six = (last["exporters"][a] for a in ("127.0.0.1", "::1"))
    assert four["formats"] == six["formats"] == ["ipfix", "netflow5", "netflow9", "sflow5"]
    assert four["datagrams"] == six["datagrams"]
    assert four["records"] == six["records"] > 0
    rig.clean()
