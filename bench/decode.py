"""Octets → Arrow → Parquet, and nfcapd on the same datagrams, in one run.

    python bench/decode.py [--flows N] [--repeat K] [--formats netflow5,netflow9,ipfix,variable]

Generates N flows (default a million) per format as routers sample them: Zipf addresses, few
packets a flow, datagrams that fit an Ethernet frame. Every figure is CPU time of all threads,
user and system, of the best of K runs. Ours begins with the datagrams in memory, in blocks as
the receiver leaves them, and ends with Parquet files published in a lake, synced and with their
record. nfcapd's, where installed, begins with its socket: a sender over loopback waits while the
socket's buffer fills, so that nothing is lost, and what arrived is counted from its file. `ratio`
is our flows per CPU-second, published as Parquet, over nfcapd's, whose file is not compressed by
default; then over those of its three compressions. For sFlow its sister sfcapd stands in nfcapd's
place.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

from flowpeer.lake.publish import FlowSink
from flowpeer.lake.store import Lake
from flowpeer_core.native.rows import Rows
from flowpeer_ingest.datagrams import Datagrams
from flowpeer_ingest.decoder import Decoder
from flowpeer_ingest.unit_decoder import BATCH_DATAGRAMS, UnitDecoder

START_S = 1_767_225_600
UPTIME_MS = 1_000_000_000
SECONDS = 300
SAMPLING = 1_000
EXPORTER = "127.0.0.1"
FORMATS = ("netflow5", "netflow9", "ipfix", "variable", "sflow5")
NETFLOW9 = (
    (8, 4), (12, 4), (15, 4), (10, 4), (14, 4), (2, 4), (1, 4), (22, 4), (21, 4), (7, 2), (11, 2),
    (6, 1), (4, 1), (5, 1), (16, 4), (17, 4), (9, 1), (13, 1), (61, 1), (48, 1),
)  # fmt: skip
IPFIX = (
    (8, 4), (12, 4), (15, 4), (10, 4), (14, 4), (2, 8), (1, 8), (152, 8), (153, 8), (7, 2),
    (11, 2), (6, 1), (4, 1), (5, 1), (16, 4), (17, 4), (9, 1), (13, 1), (61, 1), (302, 1),
)  # fmt: skip
NAMES = (b"", b"dns", b"https", b"quic", b"BitTorrent-transfer")
INTERFACES = (b"et-0/0/1", b"et-0/0/12.3400", b"ae7")
PACKINGS = ("-y", "-z", "-j")
"""nfcapd's compressions: LZ4, LZO, bzip2."""
SOCKET_OCTETS = 4 << 20


@dataclass(slots=True)
class Flows:
    """Columns of the generated flows."""

    n: int
    values: dict[int, np.ndarray]
    seconds: np.ndarray  # of each flow's export, from START_S


def flows(n: int) -> Flows:
    """Sampled flows of a network that mostly sends, the same for every format."""
    rng = np.random.default_rng(3)
    ours = 0xC6120000 + rng.permutation(1 << 17)[:20_000]
    prefixes = rng.integers(0x01000000, 0xDF000000, 50_000) & 0xFFFFFF00
    rank = np.minimum(rng.zipf(1.2, n) - 1, 49_999)
    remote = prefixes[rank] | rng.integers(0, 256, n)
    asn = rng.integers(1, 400_000, 50_000)[rank]
    out = rng.random(n) < 0.8
    local = ours[np.minimum(rng.zipf(1.1, n) - 1, 19_999)]
    packets = np.minimum(rng.geometric(0.7, n), 200)
    size = np.where(rng.random(n) < 0.6, 1500, rng.integers(40, 1500, n))
    seconds = np.arange(n) * SECONDS // n
    end_ms = seconds * 1_000 - rng.integers(0, 2_000, n)
    start_ms = end_ms - np.where(packets > 1, rng.integers(0, 58_000, n), 0)
    client = rng.integers(1_024, 65_536, n)
    server = rng.choice([443, 443, 443, 443, 80, 53, 8443], n)
    inner, outer = rng.integers(1, 5, n), rng.integers(11, 19, n)
    protocol = np.where(server == 53, 17, np.where(rng.random(n) < 0.3, 17, 6))

    def either(mine: np.ndarray, theirs: np.ndarray) -> np.ndarray:
        return np.where(out, mine, theirs)

    return Flows(
        n,
        {
            8: either(local, remote),
            12: either(remote, local),
            15: 0xC6336400 + outer,
            10: either(inner, outer),
            14: either(outer, inner),
            2: packets,
            1: packets * size,
            22: UPTIME_MS + start_ms,
            21: UPTIME_MS + end_ms,
            152: START_S * 1_000 + start_ms,
            153: START_S * 1_000 + end_ms,
            7: either(server, client),
            11: either(client, server),
            6: np.where(protocol == 6, rng.choice([16, 24, 16, 2, 17], n), 0),
            4: protocol,
            5: rng.choice([0, 0, 0, 0, 32, 72], n),
            16: either(np.zeros_like(asn), asn),
            17: either(asn, np.zeros_like(asn)),
            9: either(np.full(n, 15), rng.integers(16, 25, n)),
            13: either(rng.integers(16, 25, n), np.full(n, 15)),
            61: np.zeros(n, np.int64),
            48: np.ones(n, np.int64),
            302: np.ones(n, np.int64),
        },
        seconds,
    )


def octets(made: Flows, fields: Sequence[tuple[int, int]]) -> bytes:
    """All records, one after the other; a number without values is zeros."""
    types = np.dtype([(f"f{i}", f">u{size}") for i, (_, size) in enumerate(fields)])
    rows = np.zeros(made.n, types)
    for i, (number, _) in enumerate(fields):
        if number in made.values:
            rows[f"f{i}"] = made.values[number]
    return rows.tobytes()


def netflow5(made: Flows) -> list[bytes]:
    """Version 5, 30 records a datagram."""
    fields = (
        (8, 4), (12, 4), (15, 4), (10, 2), (14, 2), (2, 4), (1, 4), (22, 4), (21, 4), (7, 2),
        (11, 2), (0, 1), (6, 1), (4, 1), (5, 1), (16, 2), (17, 2), (9, 1), (13, 1), (0, 2),
    )  # fmt: skip
    data = octets(made, fields)
    out = []
    for at in range(0, made.n, 30):
        count = min(30, made.n - at)
        second = int(made.seconds[at])
        head = struct.pack(
            ">HHIIIIBBH", 5, count, UPTIME_MS + second * 1_000, START_S + second, 0, at, 0, 1,
            0x4000 | SAMPLING,
        )  # fmt: skip
        out.append(head + data[48 * at : 48 * (at + count)])
    return out


def template(number: int, fields: Sequence[tuple[int, int]]) -> bytes:
    return struct.pack(">HH", number, len(fields)) + b"".join(
        struct.pack(">HH", *f) for f in fields
    )


def sets(number: int, body: bytes) -> bytes:
    return struct.pack(">HH", number, 4 + len(body)) + body


def netflow9(made: Flows) -> list[bytes]:
    """Version 9, 24 records a datagram, sampler 1 in options data."""
    size = sum(length for _, length in NETFLOW9)
    data = octets(made, NETFLOW9)
    options = struct.pack(">HHHHHHHHHHH", 257, 4, 12, 1, 4, 48, 1, 49, 1, 50, 4)
    rate = struct.pack(">IBBI", 0, 1, 2, SAMPLING)
    first = sets(0, template(256, NETFLOW9)) + sets(1, options) + sets(257, rate)

    def message(sequence: int, second: int, count: int, body: bytes) -> bytes:
        return (
            struct.pack(
                ">HHIIII", 9, count, UPTIME_MS + second * 1_000, START_S + second, sequence, 7
            )
            + body
        )

    out = [message(0, 0, 3, first)]
    for i, at in enumerate(range(0, made.n, 24)):
        count = min(24, made.n - at)
        body = data[size * at : size * (at + count)]
        body = sets(256, body + bytes(-len(body) % 4))
        out.append(message(i + 1, int(made.seconds[at]), count, body))
    return out


def ipfix_message(sequence: int, second: int, body: bytes) -> bytes:
    return struct.pack(">HHIII", 10, 16 + len(body), START_S + second, sequence, 7) + body


def ipfix_first(fields: Sequence[tuple[int, int]]) -> bytes:
    options = struct.pack(">HHHHHHHHH", 257, 3, 1, 302, 1, 305, 4, 306, 4)
    rate = struct.pack(">BII", 1, 1, SAMPLING - 1)
    return ipfix_message(0, 0, sets(2, template(256, fields)) + sets(3, options) + sets(257, rate))


def ipfix(made: Flows) -> list[bytes]:
    """IPFIX of fixed size, 20 records a message, selector 1 in options data."""
    size = sum(length for _, length in IPFIX)
    data = octets(made, IPFIX)
    out = [ipfix_first(IPFIX)]
    for at in range(0, made.n, 20):
        count = min(20, made.n - at)
        body = sets(256, data[size * at : size * (at + count)])
        out.append(ipfix_message(1 + at, int(made.seconds[at]), body))
    return out


def variable(made: Flows) -> list[bytes]:
    """The same records with two names of variable length (82, 96) among their fields."""
    size = sum(length for _, length in IPFIX)
    data = octets(made, IPFIX)
    cut = sum(length for _, length in IPFIX[:5])
    fields = (*IPFIX[:5], (82, 65535), *IPFIX[5:], (96, 65535))
    rng = np.random.default_rng(4)
    faces = rng.integers(0, len(INTERFACES), made.n).tolist()
    names = rng.integers(0, len(NAMES), made.n).tolist()
    prefixed = [bytes([len(x)]) + x for x in INTERFACES]
    ended = [bytes([len(x)]) + x for x in NAMES]
    out = [ipfix_first(fields)]
    for at in range(0, made.n, 16):
        count = min(16, made.n - at)
        body = b"".join(
            data[size * i : size * i + cut]
            + prefixed[faces[i]]
            + data[size * i + cut : size * (i + 1)]
            + ended[names[i]]
            for i in range(at, at + count)
        )
        out.append(ipfix_message(1 + at, int(made.seconds[at]), sets(256, body)))
    return out


def sflow5(made: Flows) -> list[bytes]:
    """sFlow: six samples a datagram, each the first 128 octets of a frame, its VLANs and its next
    hop; every second frame is tagged. A sample is a flow of one packet."""
    n = made.n
    rng = np.random.default_rng(5)
    at = made.values
    heads: dict[bool, np.ndarray] = {}
    for tagged in (False, True):
        ip = 18 if tagged else 14
        frame = np.zeros((n, 128), np.uint8)
        frame[:, :6], frame[:, 6:12] = 2, rng.integers(0, 256, (n, 6))
        if tagged:
            frame[:, 12:16] = (0x81, 0, 0, 7)
        frame[:, ip - 2 : ip + 10] = (8, 0, 0x45, 0, 0, 0, 0, 0, 0x40, 0, 61, 0)
        for number, offset, size in (
            (1, 2, 2), (4, 9, 1), (8, 12, 4), (12, 16, 4), (7, 20, 2), (11, 22, 2), (6, 33, 1),
        ):  # fmt: skip
            octets = np.minimum(at[number], (1 << 8 * size) - 1).astype(f">u{size}")
            frame[:, ip + offset : ip + offset + size] = octets.view(np.uint8).reshape(n, size)
        words = np.zeros((n, 58), ">u4")
        words[:, :10] = (1, 224, 0, 5, SAMPLING, 0, 0, 0, 0, 3)
        words[:, 2] = np.arange(n)
        words[:, 7], words[:, 8] = at[10], at[14]
        words[:, 10:16] = (1, 144, 1, 1514, 4, 128)
        words[:, 48:54] = (1001, 16, 7, 0, 7, 0)
        words[:, 54:58] = (1002, 16, 1, 0)
        sample = np.zeros((n, 240), np.uint8)
        sample[:, :232] = words.view(np.uint8).reshape(n, 232)
        sample[:, 64:192] = frame
        sample[:, 228:232] = at[15].astype(">u4").view(np.uint8).reshape(n, 4)
        sample[:, 235], sample[:, 239] = at[9], at[13]
        sample[:, 4:8] = (0, 0, 0, 232)
        heads[tagged] = sample
    data = np.where((np.arange(n) % 2 == 0)[:, None], heads[False], heads[True]).tobytes()
    out = []
    for i, first in enumerate(range(0, n, 6)):
        count = min(6, n - first)
        second = int(made.seconds[first])
        head = struct.pack(
            ">II4sIIII", 5, 1, bytes((192, 0, 2, 1)), 0, i, UPTIME_MS + second * 1_000, count
        )
        out.append(head + data[240 * first : 240 * (first + count)])
    return out


BUILD: dict[str, Callable[[Flows], list[bytes]]] = {
    "netflow5": netflow5,
    "netflow9": netflow9,
    "ipfix": ipfix,
    "variable": variable,
    "sflow5": sflow5,
}


def received(payloads: list[bytes]) -> list[Datagrams]:
    """Datagrams as a receiver leaves them: in blocks, one behind the other, with their times."""
    step = SECONDS * 1_000_000 / len(payloads)
    out = []
    for at in range(0, len(payloads), BATCH_DATAGRAMS):
        some = payloads[at : at + BATCH_DATAGRAMS]
        times = [START_S * 1_000_000 + int(i * step) for i in range(at, at + len(some))]
        out.append(Datagrams.of(some, [EXPORTER] * len(some), [40_000] * len(some), times))
    return out


def decode(
    batches: list[Datagrams],
    write: Callable[[datetime, str, pa.Table], None],
    rows: Callable[[datetime, str, pa.Table | Rows], None] | None = None,
) -> None:
    """Run datagrams through the decoder as a collector does."""
    run = UnitDecoder(Decoder(), write, rows)
    for batch in batches:
        run.batch(batch)
    run.finish()


def one_by_one(batches: list[Datagrams], folder: Path) -> tuple[int, int]:
    """To Arrow in plain Python, one record after the other."""
    rows = 0

    def write(hour: datetime, name: str, table: pa.Table) -> None:
        nonlocal rows
        rows += table.num_rows if name == "flows" else 0

    run = UnitDecoder(Decoder(plain=True), write)
    for batch in batches:
        for i in range(len(batch)):
            run.datagram(*batch.one(i))
    run.finish()
    return rows, 0


def to_arrow(batches: list[Datagrams], folder: Path) -> tuple[int, int]:
    rows = 0

    def write(hour: datetime, name: str, table: pa.Table) -> None:
        nonlocal rows
        rows += table.num_rows if name == "flows" else 0

    decode(batches, write)
    return rows, 0


def to_parquet(batches: list[Datagrams], folder: Path) -> tuple[int, int]:
    lake = Lake(folder)
    sink = FlowSink(lake, "capture-bench")
    decode(batches, sink.write, sink.write)
    rows = sink.publish()["flows"]
    return rows, sum(p.stat().st_size for p in (folder / "flows").rglob("*.parquet"))


def measured(
    work: Callable[[list[Datagrams], Path], tuple[int, int]],
    batches: list[Datagrams],
    n: int,
    repeat: int,
) -> tuple[float, int]:
    """(CPU seconds of the best run, octets written)."""
    best, size = float("inf"), 0
    for _ in range(repeat):
        with tempfile.TemporaryDirectory() as folder:
            Lake(Path(folder)).check_writable()  # it is there, as nfcapd's folder is
            started = time.process_time()
            rows, size = work(batches, Path(folder))
            taken = time.process_time() - started  # without the folder's removal
            best = min(best, taken)
        if rows != n:
            raise SystemExit(f"{rows:,} of {n:,} flows decoded")
    return best, size


def waiting(port: int) -> tuple[int, int]:
    """(octets in the receive buffer, drops) of the UDP socket on `port`; (-1, 0): none there."""
    for line in Path("/proc/net/udp").read_text().splitlines()[1:]:
        cells = line.split()
        if int(cells[1].split(":")[1], 16) == port:
            return int(cells[4].split(":")[1], 16), int(cells[-1])
    return -1, 0


def nfcapd(program: str, payloads: list[bytes], option: str, n: int) -> tuple[float, float, int]:
    """(user, system seconds, octets of the file) of nfcapd or sfcapd for these datagrams."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((EXPORTER, 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        command = [program, "-b", EXPORTER, "-p", str(port), "-w", folder, "-t", "3600"]
        command += ["-B", str(SOCKET_OCTETS), *([option] if option else [])]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while waiting(port)[0] < 0:
            if time.monotonic() > deadline or process.poll() is not None:
                process.kill()
                raise SystemExit(f"{program} did not start")
            time.sleep(0.02)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.connect((EXPORTER, port))
            for i, payload in enumerate(payloads):
                sender.send(payload)
                if i % 64 == 0:
                    while waiting(port)[0] > SOCKET_OCTETS // 4:
                        time.sleep(0.001)
        while waiting(port)[0] > 0:
            time.sleep(0.01)
        drops = waiting(port)[1]
        time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        _, _, usage = os.wait4(process.pid, 0)
        process.returncode = 0
        files = [p for p in Path(folder).rglob("nfcapd.*") if p.is_file()]
        size = sum(p.stat().st_size for p in files)
        told = subprocess.run(
            ["nfdump", "-I", "-R", folder], capture_output=True, text=True, check=False
        ).stdout
        arrived = [int(x.split()[1]) for x in told.splitlines() if x.startswith("Flows:")]
        if drops or arrived != [n]:
            raise SystemExit(f"{program} has {arrived} of {n:,} flows, {drops:,} datagrams dropped")
    return usage.ru_utime, usage.ru_stime, size


def installed(program: str) -> bool:
    return shutil.which(program) is not None and shutil.which("nfdump") is not None


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--flows", type=int, default=1_000_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--formats", default=",".join(FORMATS))
    arguments = parser.parse_args()
    n, repeat = arguments.flows, arguments.repeat
    made = flows(n)
    for program, package in (("nfcapd", "nfdump"), ("sfcapd", "nfdump-sflow")):
        if not installed(program):
            print(
                f"{program} is not installed (Debian: {package}): only our own figures of its kind"
            )
    print(f"{n:,} flows a format, CPU time of the best of {repeat} runs\n")
    print(
        f"{'format':<10}{'octets':>8}{'→ Arrow':>14}{'→ Parquet':>14}{'nfcapd':>14}"
        f"{'ratio':>7}   {'bytes a flow: ours':>18}{'nfcapd':>8}{'-y':>7}{'-z':>7}{'-j':>7}"
        f"   ratio to{'-y':>5}{'-z':>7}{'-j':>7}"
    )
    arrow_rate: dict[str, float] = {}
    single = ""
    for name in arguments.formats.split(","):
        payloads = BUILD[name](made)
        batches = received(payloads)
        arrow_s, _ = measured(to_arrow, batches, n, repeat)
        parquet_s, size = measured(to_parquet, batches, n, repeat)
        arrow_rate[name] = n / arrow_s
        line = f"{name:<10}{sum(map(len, payloads)) / n:>8.1f}"
        line += f"{n / arrow_s / 1e6:>10.2f} M/s{n / parquet_s / 1e6:>10.2f} M/s"
        program = "sfcapd" if name == "sflow5" else "nfcapd"
        if installed(program):
            runs = [nfcapd(program, payloads, "", n) for _ in range(repeat)]
            theirs = min(user + system for user, system, _ in runs)
            packed = [nfcapd(program, payloads, o, n) for o in PACKINGS]
            sizes = [runs[0][2], *(size for _, _, size in packed)]
            slower = [(user + system) / parquet_s for user, system, _ in packed]
            line += f"{n / theirs / 1e6:>10.2f} M/s{theirs / parquet_s:>7.2f}   {size / n:>18.1f}"
            line += f"{sizes[0] / n:>8.1f}" + "".join(f"{s / n:>7.1f}" for s in sizes[1:])
            line += "   " + "".join(f"{s:>7.2f}" for s in slower)
        else:
            line += f"{'':>24}{size / n:>18.1f}"
        print(line, flush=True)
        if name == "sflow5":
            single_s, _ = measured(one_by_one, batches, n, 1)
            single = (
                f"sFlow in plain Python: {n / single_s / 1e6:.3f} M/s; "
                f"the compiled core {single_s / arrow_s:.0f} times as fast (octets → Arrow)"
            )
    if {"ipfix", "variable"} <= arrow_rate.keys():
        ratio = arrow_rate["ipfix"] / arrow_rate["variable"]
        print(f"\nvariable-length IPFIX is {ratio:.1f} times slower than fixed (octets → Arrow)")
    if single:
        print("\n" + single)


if __name__ == "__main__":
    main()
