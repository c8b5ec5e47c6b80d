"""One hour of flows to `traffic` and `traffic_routes`, against nfdump on the same flows.

    python bench/rollup.py [--flows N] [--parts 16,4,1] [--folder DIR]

Generates an hour of N flows (24 million) as a collector would have published it, in one file a
minute, and a table of a million routes; and the same for N/4 and N/16, to see that the cost is
linear. Flows are IPv4 NetFlow v5, so that nfcapd can be fed the very same ones, with the origin AS
that the table gives as the router's own claim: nfdump then sums by a number it finds in each
record, while flowpeer looks the address up, spreads the record over slots, and carries variances.

The hour is one of today: the sums of a day (`flowpeer.lake.day_sums`), which the first roll-up
after its end makes, are not in these figures.

The collector's decoder keeps sums of each file that it publishes, and closing the hour takes these
instead of the records; `records` is the roll-up without them, as of flows that were ingested. What
keeping them takes of the decoder's CPU is printed beside, and belongs to the whole.

Every figure is of a whole process, from its start to its end, with all files in the page cache:
`flowpeer rollup`, `nfdump -s dstas`, `nfdump -A dstas`, and DuckDB reading the columns that the
roll-up reads. The bytes by AS that nfdump counts are compared with ours: they must be the same.
Without nfdump, its columns are left out, and this is said. `--folder` keeps what was generated.
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
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from flowpeer.configuration import load
from flowpeer.lake.publish import FlowSink
from flowpeer.lake.store import Lake
from flowpeer.pipeline.sum_keeper import SumKeeper
from flowpeer.rollup.reading import COLUMNS
from flowpeer.routing.rib import match, snapshot
from flowpeer_core.columns import arrow_schema
from flowpeer_ingest.flow_columns import CHUNK_ROWS
from flowpeer_ingest.schema import FLOWS

START_S = int(datetime(2026, 9, 16, 1, tzinfo=UTC).timestamp())
ROUTES = 1_000_000
HOSTS = 400_000
NETWORKS = 60_000
AS_TRANS = 23456
METROS = 9
SAMPLING = 1_000
MINUTES = 60
KEEPING = "keeping.txt"
UPTIME_MS = 1_000_000_000
SOCKET_OCTETS = 4 << 20
SCAN = """
import sys, duckdb
columns = sys.argv[2].split(",")
duckdb.sql(f"SELECT bit_xor(hash({', '.join(columns)})) FROM read_parquet('{sys.argv[1]}')"
           ).fetchall()
"""


@dataclass(frozen=True)
class Cost:
    """What a process took."""

    wall_s: float
    cpu_s: float
    peak_mib: float


RUNNER = """
import ctypes, os, subprocess, sys, time
ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER: what outlives its parent is counted too
begun = time.perf_counter()
process = subprocess.Popen(sys.argv[2:], stdout=open(sys.argv[1], "wb"), stderr=subprocess.PIPE)
said = process.stderr.read().decode()
_, status, usage = os.wait4(process.pid, 0)
process.returncode = os.waitstatus_to_exitcode(status)
if process.returncode:
    sys.exit(said[-2000:] or f"exit {process.returncode}")
wall, cpu, peak = time.perf_counter() - begun, usage.ru_utime + usage.ru_stime, usage.ru_maxrss
while True:
    try:
        _, _, usage = os.wait4(-1, 0)
    except ChildProcessError:
        break
    cpu, peak = cpu + usage.ru_utime + usage.ru_stime, max(peak, usage.ru_maxrss)
print(wall, cpu, peak / 1024)
"""


def cost(command: list[str], output: Path | None = None) -> Cost:
    """Run a command to its end.

    It is started by a small process: the kernel counts the memory of whoever starts a process into
    its peak.
    """
    sink = str(output or os.devnull)
    done = subprocess.run(
        [sys.executable, "-S", "-c", RUNNER, sink, *command], capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{' '.join(command[:4])}: {done.stderr}")
    return Cost(*map(float, done.stdout.split()))


def configuration() -> str:
    """Nine metros with an exporter each: three transits, a peer, a port inside."""
    lines = ["[network]", "asn = 64500", 'name = "Bench"', 'prefixes = ["198.18.0.0/15"]',
             "[lake]", 'path = "lake"']  # fmt: skip
    for m in range(METROS):
        lines += ["[[metros]]", f'id = "m{m}x"', f'name = "Metro {m}"', "[[exporters]]",
                  f'id = "e{m}"', f'metro = "m{m}x"', f'addresses = ["192.0.2.{m + 1}"]',
                  f"sampling = {SAMPLING}"]  # fmt: skip
        ports = [("transit", 1299), ("transit", 3356), ("transit", 174), ("peer", 15169)]
        for n, (role, asn) in enumerate(ports):
            lines += ["[[interfaces]]", f'exporter = "e{m}"', f"index = {11 + n}",
                      f'role = "{role}"', f"asn = {asn}"]  # fmt: skip
        lines += ["[[interfaces]]", f'exporter = "e{m}"', "index = 20", 'role = "internal"']
    return "\n".join(lines) + "\n"


def routes(rng: np.random.Generator) -> tuple[str, np.ndarray, np.ndarray]:
    """A table of a million prefixes of usual lengths: its text, networks and origins.

    No prefix covers another, so that the generator knows every address's origin.
    """
    lengths = rng.choice([24, 24, 24, 24, 24, 24, 23, 22, 22, 20], ROUTES)
    sizes = np.int64(1) << (32 - lengths)
    starts = np.cumsum(sizes) - sizes
    # Aligned: a prefix begins at a multiple of its size, after a gap where one is needed.
    place, networks = 0x01000000, np.empty(ROUTES, np.int64)
    for n, size in enumerate(sizes.tolist()):
        place = -(-place // size) * size
        networks[n] = place
        place += size
    assert place < 0xC6120000, starts[-1]
    origins = 1 + (NETWORKS * rng.random(ROUTES) ** 2).astype(np.int64)
    origins[origins == AS_TRANS] = 1  # no network's number: it would be counted as reserved
    octets = [(networks >> shift) & 255 for shift in (24, 16, 8, 0)]
    frame = pl.DataFrame(
        {f"o{n}": values for n, values in enumerate(octets)} | {"l": lengths, "a": origins}
    )
    text = frame.select(pl.format("{}.{}.{}.{}\t{}\t{}", *frame.columns).alias("t"))["t"]
    return "\n".join(text.to_list()) + "\n", networks, origins


Columns = dict[str, np.ndarray]


def minute(
    rng: np.random.Generator, n: int, at: int, hosts: np.ndarray, origins: np.ndarray,
    begin_s: int = START_S,
) -> Columns:  # fmt: skip
    """Flows exported in a minute, the `at`th from `begin_s` on: Zipf hosts, most of them outbound,
    active timeout 60 s.

    A remote host is mostly seen in the metro nearest to it, and leaves each metro by the one port
    that its best path uses; it comes in by one too, which need not be the same.
    """
    rank = (rng.zipf(1.2, n) - 1) % HOSTS
    remote, asn = hosts[rank], origins[rank]
    local = 0xC6120000 + (rng.zipf(1.1, n) - 1) % (1 << 17)
    out = rng.random(n) < 0.8
    metro = np.where(rng.random(n) < 0.8, rank * 7919 % METROS, rng.integers(0, METROS, n))
    border = 11 + (rank * 31 + metro * 17 + out) % 4
    packets = np.minimum(rng.geometric(0.5, n), 500)
    exported_ms = (begin_s + 60 * at) * 1000 + np.arange(n) * 60_000 // n
    end_ms = exported_ms - rng.integers(0, 1_000, n)
    lasted = np.where(packets > 1, rng.integers(0, 59_000, n), 0)
    return {
        "exported_ms": exported_ms,
        "start_ms": end_ms - lasted,
        "end_ms": end_ms,
        "exporter": metro,
        "input_if": np.where(out, 20, border),
        "output_if": np.where(out, border, 20),
        "src": np.where(out, local, remote),
        "dst": np.where(out, remote, local),
        "src_as": np.where(out, 0, asn),
        "dst_as": np.where(out, asn, 0),
        "packets": packets,
        "bytes": packets * np.where(rng.random(n) < 0.5, 1500, rng.integers(40, 1500, n)),
        "src_port": rng.integers(1024, 65536, n),
    }


def addresses(v4: np.ndarray) -> pa.Array:
    octets = np.zeros((len(v4), 2), ">u8")
    octets[:, 1] = (0xFFFF << 32) | v4
    return pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(16), len(v4), [None, pa.py_buffer(octets.tobytes())]
    )


def table_of(made: Columns) -> pa.Table:
    """The rows that ingest makes of these records."""
    schema = arrow_schema(FLOWS)
    n = len(made["src"])

    def constant(value: object) -> pa.Array:
        return pa.repeat(value, n)

    exporters = pa.array([f"192.0.2.{m + 1}" for m in range(METROS)])
    columns: dict[str, Any] = {
        "received_at": pa.array(made["exported_ms"] * 1000),
        "start_time": pa.array(made["start_ms"] * 1000),
        "end_time": pa.array(made["end_ms"] * 1000),
        "exporter_ip": exporters.take(pa.array(made["exporter"])),
        "observation_domain": constant(0),
        "format": constant("netflow5"),
        "src_addr": addresses(made["src"]),
        "dst_addr": addresses(made["dst"]),
        "dst_port": constant(443),
        "protocol": constant(6),
        "tos": constant(0),
        "tcp_flags": constant(24),
        "time_corrected": constant(False),
        **{c: pa.array(made[c]) for c in ("input_if", "output_if", "bytes", "packets", "src_as",
                                          "dst_as", "src_port")},
    }  # fmt: skip
    return pa.table(
        [
            columns[f.name].cast(f.type) if f.name in columns else pa.nulls(n, f.type)
            for f in schema
        ],
        schema=schema,
    )


_RECORD = np.dtype(
    [("src", ">u4"), ("dst", ">u4"), ("hop", ">u4"), ("input_if", ">u2"), ("output_if", ">u2"),
     ("packets", ">u4"), ("bytes", ">u4"), ("start_ms", ">u4"), ("end_ms", ">u4"),
     ("src_port", ">u2"), ("dst_port", ">u2"), ("pad", "u1"), ("flags", "u1"), ("protocol", "u1"),
     ("tos", "u1"), ("src_as", ">u2"), ("dst_as", ">u2"), ("masks", ">u2"), ("pad2", ">u2")]
)  # fmt: skip


def datagrams(made: Columns, sequence: int, begin_s: int) -> list[bytes]:
    """The same flows as NetFlow v5, without a sampling rate, which nfcapd would apply."""
    n = len(made["src"])
    rows = np.zeros(n, _RECORD)
    for name in ("src", "dst", "input_if", "output_if", "packets", "bytes", "src_port", "src_as",
                 "dst_as"):  # fmt: skip
        rows[name] = made[name]
    for name in ("start_ms", "end_ms"):
        rows[name] = made[name] - begin_s * 1000 + UPTIME_MS
    rows["dst_port"], rows["flags"], rows["protocol"] = 443, 24, 6
    data = rows.tobytes()
    out = []
    for at in range(0, n, 30):
        count = min(30, n - at)
        since = int(made["exported_ms"][at]) - begin_s * 1000
        head = struct.pack(
            ">HHIIIIBBH", 5, count, UPTIME_MS + since, begin_s + since // 1000,
            since % 1000 * 1_000_000, sequence + at, 0, 1, 0,
        )  # fmt: skip
        out.append(head + data[48 * at : 48 * (at + count)])
    return out


def waiting(port: int) -> tuple[int, int]:
    """(octets in the receive buffer, drops) of the UDP socket on `port`; (-1, 0): none there."""
    for line in Path("/proc/net/udp").read_text().splitlines()[1:]:
        cells = line.split()
        if int(cells[1].split(":")[1], 16) == port:
            return int(cells[4].split(":")[1], 16), int(cells[-1])
    return -1, 0


class Capture:
    """nfcapd on a loopback socket, fed no faster than it reads, so that nothing is lost."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self._process = subprocess.Popen(
            ["nfcapd", "-b", "127.0.0.1", "-p", str(self._port), "-w", str(folder), "-t", "86400",
             "-B", str(SOCKET_OCTETS)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        deadline = time.monotonic() + 10
        while waiting(self._port)[0] < 0:
            if time.monotonic() > deadline or self._process.poll() is not None:
                self._process.kill()
                raise SystemExit("nfcapd did not start")
            time.sleep(0.02)
        self._sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sender.connect(("127.0.0.1", self._port))

    def feed(self, payloads: list[bytes]) -> None:
        """Send, waiting while the socket's buffer is a quarter full."""
        for i, payload in enumerate(payloads):
            self._sender.send(payload)
            if i % 64 == 0:
                while waiting(self._port)[0] > SOCKET_OCTETS // 4:
                    time.sleep(0.001)

    def close(self) -> None:
        """Let it write its file."""
        self._sender.close()
        while waiting(self._port)[0] > 0:
            time.sleep(0.01)
        drops = waiting(self._port)[1]
        time.sleep(0.5)
        self._process.send_signal(signal.SIGTERM)
        self._process.wait()
        if drops:
            raise SystemExit(f"nfcapd lost {drops} datagrams")


def generate(folder: Path, flows: int, with_nfcapd: bool) -> None:
    """A configured lake with routes and one hour of flows, and nfcapd's file of the same."""
    today = datetime.now(UTC).replace(hour=1, minute=0, second=0, microsecond=0)
    begin_s = int(today.timestamp())
    rng = np.random.default_rng(11)
    folder.mkdir(parents=True)
    (folder / "flowpeer.toml").write_text(configuration())
    text, networks, origins = routes(rng)
    (folder / "routes-2026-09-15.txt").write_text(text)
    lake = Lake(folder / "lake")
    info, _ = snapshot.load(lake, folder / "routes-2026-09-15.txt")
    match.open_table(lake, info)  # compiled once, as by the first roll-up after a load
    chosen = rng.integers(0, ROUTES, HOSTS)
    hosts, of_host = networks[chosen] + rng.integers(0, 256, HOSTS), origins[chosen]
    keeping = SumKeeper(lake, load(folder / "flowpeer.toml"), lambda: 0)
    took_s = 0.0
    capture = Capture(folder / "nfcapd") if with_nfcapd else None
    bounds = [flows * m // MINUTES for m in range(MINUTES + 1)]
    for at, (begin, end) in enumerate(itertools.pairwise(bounds)):
        made = minute(rng, end - begin, at, hosts, of_host, begin_s)
        sink = FlowSink(lake, f"segment-{at:02d}")
        table = table_of(made)
        sink.write(today, "flows", table)
        sink.publish()
        begun_s = time.process_time()
        keeping.begin(sink.unit)
        for first in range(0, table.num_rows, CHUNK_ROWS):
            keeping.add(today, table.slice(first, CHUNK_ROWS))
        keeping.keep(sink.flow_digests)
        took_s += time.process_time() - begun_s
        if capture is not None:
            capture.feed(datagrams(made, begin, begin_s))
    (folder / KEEPING).write_text(str(took_s))
    if capture is not None:
        capture.close()


def compare(folder: Path, by_as: Path) -> int:
    """Bytes by destination AS: nfdump's × the rate against ours; how many ASNs were equal."""
    theirs = {
        int(asn): int(octets) * SAMPLING
        for asn, octets in (line.split() for line in by_as.read_text().splitlines())
    }
    theirs.pop(0, None)
    lake = Lake(folder / "lake")
    ours = dict(
        pl.concat(
            pl.read_parquet(lake.path(name), hive_partitioning=False)
            for name in lake.entries("traffic")
        )
        .filter(pl.col("direction") == "out")
        .group_by("remote_asn")
        .agg(pl.col("bytes").sum())
        .iter_rows()
    )
    if ours != theirs:
        wrong = sum(ours.get(a) != theirs.get(a) for a in {*ours, *theirs})
        raise SystemExit(f"{wrong} of {len(theirs)} ASNs have other bytes than nfdump counts")
    return len(ours)


def one(folder: Path, flows: int, there: bool, repeat: int) -> tuple[dict[str, Cost], str]:
    """All figures for one size, the best of several runs each, and what was compared."""
    if not folder.exists():
        generate(folder, flows, there)
    lake = Lake(folder / "lake")
    captured = str(folder / "nfcapd")
    columns = list(COLUMNS)
    found: dict[str, Cost] = {}

    def best(name: str, command: list[str], output: Path | None = None) -> None:
        runs = []
        for _ in range(repeat):
            if name in ("flowpeer", "records"):
                for table in ("traffic", "traffic_routes"):
                    for relative in lake.entries(table):
                        lake.remove(relative)
            runs.append(cost(command, output))
        found[name] = min(runs, key=lambda run: run.cpu_s)

    command = [sys.executable, "-m", "flowpeer", "--config", str(folder / "flowpeer.toml"),
               "rollup"]  # fmt: skip
    best("flowpeer", command)
    kept, aside = lake.cache / "sums", folder / "sums"
    kept.rename(aside)
    best("records", command)
    aside.rename(kept)
    best("duckdb", [sys.executable, "-c", SCAN, f"{folder}/lake/flows/**/*.parquet",
                    ",".join(columns)])  # fmt: skip
    if not (folder / "nfcapd").exists():
        return found, ""
    output = folder / "by_as.txt"
    best("-s dstas", ["nfdump", "-R", captured, "-s", "dstas/bytes", "-n", "50"])
    best(
        "-A dstas",
        ["nfdump", "-R", captured, "-A", "dstas", "-N", "-q", "-o", "fmt:%das %byt"],
        output,
    )
    return found, f"bytes of {compare(folder, output):,} ASNs equal to nfdump's"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--flows", type=int, default=24_000_000)
    parser.add_argument("--parts", default="16,4,1", help="sizes, as parts of the flows")
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="keep what was generated, and use it again")
    arguments = parser.parse_args()
    there = shutil.which("nfcapd") is not None and shutil.which("nfdump") is not None
    if not there:
        print("nfdump is not installed (Debian: nfdump), so nothing to compare with but a scan")
    with tempfile.TemporaryDirectory() as temporary:
        root = arguments.folder or Path(temporary)
        root.mkdir(parents=True, exist_ok=True)
        print(f"{'flows':>12}  {'process':<10}{'wall s':>8}{'CPU s':>8}{'M flows/CPU s':>15}"
              f"{'M flows/s':>11}{'peak MiB':>10}")  # fmt: skip
        for part in map(int, arguments.parts.split(",")):
            flows = arguments.flows // part
            found, compared = one(root / f"{flows}", flows, there, arguments.repeat)
            for name, took in found.items():
                print(f"{flows:>12,}  {name:<10}{took.wall_s:>8.2f}{took.cpu_s:>8.2f}"
                      f"{flows / took.cpu_s / 1e6:>15.2f}{flows / took.wall_s / 1e6:>11.2f}"
                      f"{took.peak_mib:>10,.0f}", flush=True)  # fmt: skip
            took_s = float((root / f"{flows}" / KEEPING).read_text())
            print(f"{'':>12}  keeping the sums of the files took {took_s:.2f} s of CPU")
            if compared:
                print(f"{'':>12}  {compared}")


if __name__ == "__main__":
    main()
