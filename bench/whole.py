"""The whole way, octets → `traffic`, against two collectors that add up by AS.

    python bench/whole.py [--flows N] [--repeat K]

Generates an hour of N flows (default 24 million) as `bench/rollup.py` does, with its table of a
million routes, as NetFlow v9 in datagrams of nine exporters. CPU time of all threads, user and
system, of the best of K runs, with everything in the page cache:

- flowpeer: datagrams in memory, in blocks as the receiver leaves them, in segments of 64 MiB →
  flow records published with their sums (what the collector's decoder does) → `flowpeer rollup`.
- nfcapd with LZ4 on a loopback socket, then `nfdump -s dstas`: adds up a number in each record.
- nfacctd (pmacct) on a loopback socket, which looks each address up in the same table of routes and
  adds up by AS, interface and exporter in memory, written out at its end.

Only flowpeer keeps flow records and spreads them over slots, by route as well as by AS. A peer that
is not installed is left out, and this is said.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import rollup as hour

from flowpeer.configuration import load
from flowpeer.lake.publish import FlowSink
from flowpeer.lake.store import Lake
from flowpeer.pipeline.sum_keeper import SumKeeper
from flowpeer.routing.rib import match, snapshot
from flowpeer_ingest.datagrams import Datagrams
from flowpeer_ingest.decoder import Decoder
from flowpeer_ingest.unit_decoder import BATCH_DATAGRAMS, UnitDecoder

SEGMENT_OCTETS = 64 << 20
A_DATAGRAM = 24
TEMPLATE_EVERY = 64
"""Datagrams of an exporter."""
_RECORD = np.dtype(
    [("src", ">u4"), ("dst", ">u4"), ("input_if", ">u4"), ("output_if", ">u4"),
     ("packets", ">u4"), ("bytes", ">u4"), ("start_ms", ">u4"), ("end_ms", ">u4"),
     ("src_port", ">u2"), ("dst_port", ">u2"), ("protocol", "u1"), ("flags", "u1"), ("tos", "u1"),
     ("src_as", ">u4"), ("dst_as", ">u4")]
)  # fmt: skip
_ELEMENTS = (8, 12, 10, 14, 2, 1, 22, 21, 7, 11, 4, 6, 5, 16, 17)
Sent = list[tuple[str, int, bytes]]
"""(exporter, received in µs, payload), in the order of receipt."""


def netflow9(rows: hour.Columns, sequence: int, begin_s: int) -> list[bytes]:
    """Datagrams of one exporter, the first of them its `sequence`th."""
    n = len(rows["src"])
    records = np.zeros(n, _RECORD)
    for name in ("src", "dst", "input_if", "output_if", "packets", "bytes", "src_port", "src_as",
                 "dst_as"):  # fmt: skip
        records[name] = rows[name]
    for name in ("start_ms", "end_ms"):
        records[name] = rows[name] - begin_s * 1000 + hour.UPTIME_MS
    records["dst_port"], records["flags"], records["protocol"] = 443, 24, 6
    sizes = [_RECORD.fields[name][0].itemsize for name in _RECORD.names]  # type: ignore[index, union-attr]
    fields = b"".join(struct.pack(">HH", *f) for f in zip(_ELEMENTS, sizes, strict=True))
    template = struct.pack(">HHHH", 0, 8 + len(fields), 256, len(sizes)) + fields
    data, size = records.tobytes(), _RECORD.itemsize
    out: list[bytes] = []
    for at in range(0, n, A_DATAGRAM):
        count = min(A_DATAGRAM, n - at)
        since = int(rows["exported_ms"][at]) - begin_s * 1000
        number = sequence + len(out)
        first = number % TEMPLATE_EVERY == 0
        pad = -(count * size) % 4
        out.append(
            struct.pack(
                ">HHIIII", 9, count + first, hour.UPTIME_MS + since, begin_s + since // 1000,
                number, 7,
            )
            + template * first
            + struct.pack(">HH", 256, 4 + count * size + pad)
            + data[at * size : (at + count) * size]
            + bytes(pad)
        )  # fmt: skip
    return out


def made(flows: int, begin_s: int, rng: np.random.Generator, folder: Path) -> Sent:
    """All datagrams of the hour; the lake of `folder` gets its configuration and routes."""
    (folder / "flowpeer.toml").write_text(hour.configuration())
    text, networks, origins = hour.routes(rng)
    table = folder / "routes-2026-09-15.txt"
    table.write_text(text)
    lake = Lake(folder / "lake")
    info, _ = snapshot.load(lake, table)
    match.open_table(lake, info)
    chosen = rng.integers(0, hour.ROUTES, hour.HOSTS)
    hosts, of_host = networks[chosen] + rng.integers(0, 256, hour.HOSTS), origins[chosen]
    bounds = [flows * m // hour.MINUTES for m in range(hour.MINUTES + 1)]
    sequences = [0] * hour.METROS
    out: Sent = []
    for at, (begin, end) in enumerate(itertools.pairwise(bounds)):
        rows = hour.minute(rng, end - begin, at, hosts, of_host, begin_s)
        some: Sent = []
        for metro in range(hour.METROS):
            mine = {name: values[rows["exporter"] == metro] for name, values in rows.items()}
            payloads = netflow9(mine, sequences[metro], begin_s)
            sequences[metro] += len(payloads)
            times = mine["exported_ms"][::A_DATAGRAM] * 1000
            some += [
                (f"192.0.2.{metro + 1}", int(us), payload)
                for us, payload in zip(times, payloads, strict=True)
            ]
        out += sorted(some, key=lambda one: one[1])
    return out


def segments(sent: Sent) -> Iterator[list[Datagrams]]:
    """Blocks of datagrams, by segment."""
    blocks: list[Datagrams] = []
    octets = 0
    for at in range(0, len(sent), BATCH_DATAGRAMS):
        exporters, times, payloads = zip(*sent[at : at + BATCH_DATAGRAMS], strict=True)
        blocks.append(Datagrams.of(payloads, exporters, [40_000] * len(payloads), times))
        octets += sum(map(len, payloads))
        if octets >= SEGMENT_OCTETS:
            yield blocks
            blocks, octets = [], 0
    if blocks:
        yield blocks


def ours(units: list[list[Datagrams]], flows: int, folder: Path) -> tuple[float, float]:
    """CPU seconds until all is published with its sums, and of the roll-up."""
    lake = Lake(folder / "lake")
    for table in ("flows", "coverage", "sampling", "traffic", "traffic_routes"):
        shutil.rmtree(lake.root / "manifests" / table, ignore_errors=True)
        shutil.rmtree(lake.root / table, ignore_errors=True)
    shutil.rmtree(lake.cache / "sums", ignore_errors=True)
    keeping = SumKeeper(lake, load(folder / "flowpeer.toml"), lambda: 0)
    decoder, rows = Decoder(), 0
    begun_s = time.process_time()
    for number, blocks in enumerate(units):
        sink = FlowSink(lake, f"segment-{number}")
        keeping.begin(sink.unit)

        def write(received: datetime, name: str, rows: Any, sink: FlowSink = sink) -> None:
            sink.write(received, name, rows)
            if name == "flows":
                keeping.add(received, rows)

        run = UnitDecoder(decoder, write, write)
        for block in blocks:
            run.batch(block)
        run.finish()
        rows += sink.publish()["flows"]
        keeping.keep(sink.flow_digests)
    published_s = time.process_time() - begun_s
    if rows != flows:
        raise SystemExit(f"{rows:,} of {flows:,} flows are published")
    command = [sys.executable, "-m", "flowpeer", "--config", str(folder / "flowpeer.toml")]
    return published_s, hour.cost([*command, "rollup"]).cpu_s


def fed(command: list[str], port: int, sent: Sent) -> float:
    """CPU seconds of a collector and its children on a loopback socket, which loses nothing."""
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + 60
    while hour.waiting(port)[0] < 0:
        if time.monotonic() > deadline or process.poll() is not None:
            process.kill()
            raise SystemExit(f"{command[0]} did not start")
        time.sleep(0.02)
    before_s = of_tree(process.pid)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.connect(("127.0.0.1", port))
        for i, (_, _, payload) in enumerate(sent):
            sender.send(payload)
            if i % 64 == 0:
                while hour.waiting(port)[0] > hour.SOCKET_OCTETS // 4:
                    time.sleep(0.001)
    while hour.waiting(port)[0] > 0:
        time.sleep(0.01)
    drops = hour.waiting(port)[1]
    time.sleep(3)
    process.send_signal(signal.SIGTERM)  # and what is in memory is written out
    took_s = 0.0
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        took_s = max(took_s, of_tree(process.pid) - before_s)
        time.sleep(0.02)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # its children too
    process.wait()
    if drops:
        raise SystemExit(f"{command[0]} lost {drops} datagrams")
    return took_s


def of_tree(pid: int) -> float:
    """CPU seconds of a process and its children so far."""
    ticks = os.sysconf("SC_CLK_TCK")
    found = 0.0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            cells = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(stat.parent.name) == pid or int(cells[1]) == pid:
            found += (int(cells[11]) + int(cells[12])) / ticks
    return found


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def nfdump(sent: Sent, flows: int, folder: Path) -> float:
    port, captured = free_port(), folder / "nfcapd"
    shutil.rmtree(captured, ignore_errors=True)
    captured.mkdir()
    took_s = fed(
        ["nfcapd", "-b", "127.0.0.1", "-p", str(port), "-w", str(captured), "-t", "86400",
         "-B", str(hour.SOCKET_OCTETS), "-y"], port, sent,
    )  # fmt: skip
    told = subprocess.run(
        ["nfdump", "-I", "-R", str(captured)], capture_output=True, text=True, check=False
    ).stdout
    if [int(x.split()[1]) for x in told.splitlines() if x.startswith("Flows:")] != [flows]:
        raise SystemExit(f"nfcapd does not have {flows:,} flows")
    return (
        took_s + hour.cost(["nfdump", "-R", str(captured), "-s", "dstas/bytes", "-n", "50"]).cpu_s
    )


NFACCTD = """daemonize: false
nfacctd_ip: 127.0.0.1
nfacctd_port: {port}
nfacctd_pipe_size: {pipe}
nfacctd_as: longest
nfacctd_net: longest
networks_file: {networks}
plugins: print[sums]
aggregate[sums]: src_as, dst_as, in_iface, out_iface, peer_src_ip
print_output_file[sums]: {output}
print_output[sums]: csv
print_refresh_time[sums]: 300
print_history[sums]: 5m
print_cache_entries[sums]: 500009
plugin_pipe_size[sums]: 67108864
plugin_buffer_size[sums]: 65536
"""


def nfacctd(sent: Sent, folder: Path) -> float:
    port, networks = free_port(), folder / "networks.txt"
    networks.write_text(
        "".join(
            f"{origin},{address}/{length}\n"
            for line in (folder / "routes-2026-09-15.txt").read_text().splitlines()
            for address, length, origin in [line.split("\t")]
        )
    )
    settings = folder / "nfacctd.conf"
    settings.write_text(
        NFACCTD.format(
            port=port, pipe=hour.SOCKET_OCTETS, networks=networks, output=folder / "sums.csv"
        )
    )
    return fed(["nfacctd", "-f", str(settings)], port, sent)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--flows", type=int, default=24_000_000)
    parser.add_argument("--repeat", type=int, default=2)
    arguments = parser.parse_args()
    flows, today = arguments.flows, datetime.now(UTC)
    begin_s = int(today.replace(hour=1, minute=0, second=0, microsecond=0).timestamp())
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        sent = made(flows, begin_s, np.random.default_rng(11), folder)
        units = list(segments(sent))
        published_s, closed_s = min(
            (ours(units, flows, folder) for _ in range(arguments.repeat)), key=sum
        )
        total_s = published_s + closed_s
        print(f"{flows:,} flows in {len(sent):,} datagrams; ns of CPU a flow")
        print(
            f"{'flowpeer':<22}{total_s / flows * 1e9:>6.0f}: {published_s / flows * 1e9:.0f} "
            f"until published with sums, {closed_s / flows * 1e9:.0f} to close the hour"
        )
        for name, program, work in (
            ("nfcapd LZ4 + nfdump", "nfcapd", lambda: nfdump(sent, flows, folder)),
            ("nfacctd", "nfacctd", lambda: nfacctd(sent, folder)),
        ):
            if shutil.which(program) is None:
                print(f"{name:<22} is not installed")
                continue
            theirs_s = min(work() for _ in range(arguments.repeat))
            print(f"{name:<22}{theirs_s / flows * 1e9:>6.0f}: {theirs_s / total_s:.2f} times ours",
                  flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
