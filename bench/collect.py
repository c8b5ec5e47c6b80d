"""The collector under load, beside nfcapd and nfacctd: rates without loss, CPU, octets on disk.

    python bench/collect.py [--rates 20000,50000,100000] [--seconds 10] [--peers nfcapd,nfacctd]

A sender of its own process (sendmmsg, paced) sends NetFlow v9 datagrams of 24 flows over
loopback. For each collector and rate one line: datagrams sent and missing, flows stored, CPU
seconds of all its processes until everything was stored, flows per CPU-second, octets a flow on
the disk, and the most octets that waited in the socket's buffer (its size is what the kernel
grants: root's flowpeer takes more than `net.core.rmem_max`, the others do not, so set that to 64
MiB first); for flowpeer also the CPU of its receiver, by thread, and the longest backlog. All share
the machine with the sender, so the highest rates say as much about the machine. `--rates` beyond
what a collector bears show losses: that is what they are for.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

FLOWS = 24
FIELDS = (
    (8, 4), (12, 4), (15, 4), (10, 4), (14, 4), (2, 4), (1, 4), (22, 4), (21, 4), (7, 2), (11, 2),
    (6, 1), (4, 1), (5, 1), (61, 1), (16, 4), (17, 4), (9, 1), (13, 1), (48, 2),
)  # fmt: skip
RECORD = sum(length for _, length in FIELDS)
POOL = 4_096
BURST = 128


def pool() -> np.ndarray:
    """Datagrams whose records look like a router's: few hosts send much, times advance."""
    rng = np.random.default_rng(7)
    n = POOL * FLOWS
    hosts = rng.integers(0x0B000000, 0xDF000000, 60_000)
    packets = rng.integers(1, 12, n)
    columns = {
        8: hosts[np.minimum(rng.zipf(1.2, n), 60_000) - 1],
        12: 0xC6120000 + rng.integers(0, 8_192, n),
        10: rng.integers(1, 20, n), 14: rng.integers(1, 20, n), 2: packets,
        1: packets * rng.integers(40, 1_500, n), 22: 1_000_000 - rng.integers(0, 60_000, n),
        21: np.full(n, 1_000_000), 7: np.full(n, 443), 11: rng.integers(1_024, 65_536, n),
        6: rng.integers(16, 28, n), 4: np.full(n, 6), 16: rng.integers(1_000, 60_000, n),
        17: np.full(n, 64_500), 9: np.full(n, 24), 13: np.full(n, 15), 48: np.full(n, 1),
    }  # fmt: skip
    records = np.zeros((n, RECORD), np.uint8)
    at = 0
    for number, length in FIELDS:
        if number in columns:
            octets = columns[number].astype(">u8").view(np.uint8).reshape(n, 8)
            records[:, at : at + length] = octets[:, 8 - length :]
        at += length
    size = 24 + FLOWS * RECORD
    datagrams = np.zeros((POOL, size), np.uint8)
    head = struct.pack(">HHIIIIHH", 9, FLOWS, 1_000_000, int(time.time()), 0, 1, 256, size - 20)
    datagrams[:, :24] = np.frombuffer(head, np.uint8)
    datagrams[:, 24:] = records.reshape(POOL, -1)
    return datagrams


def template(sequence: int) -> bytes:
    """The announcement of the records' template."""
    body = b"".join(struct.pack(">HH", *f) for f in FIELDS)
    head = struct.pack(">HHIIII", 9, 1, 1_000_000, int(time.time()), sequence, 1)
    return head + struct.pack(">HHHH", 0, 8 + len(body), 256, len(FIELDS)) + body


def send(to: int, rate: int, seconds: float) -> None:
    """The sender's process: prints how many datagrams it sent and how long it took."""
    datagrams = pool()
    size = datagrams.shape[1]
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 << 20)
    sock.connect(("127.0.0.1", to))
    sock.send(template(0))
    time.sleep(0.3)
    iov = np.zeros(POOL, [("base", "<u8"), ("length", "<u8")])
    iov["base"] = datagrams.ctypes.data + np.arange(POOL, dtype=np.uint64) * size
    iov["length"] = size
    msg = np.zeros((POOL, 8), np.uint64)
    msg[:, 2] = iov.ctypes.data + np.arange(POOL, dtype=np.uint64) * 16
    msg[:, 3] = 1
    call = ctypes.CDLL(None, use_errno=True).sendmmsg
    call.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int]
    sequence = datagrams[:, 12:16]
    # No flow comes twice: each pass through the pool has other ports, else who sums by flow wins.
    where = sum(length for _, length in FIELDS[: [f[0] for f in FIELDS].index(11)])
    ports = datagrams[:, 24:].reshape(POOL, FLOWS, RECORD)[:, :, where : where + 2]
    first_ports = ports.copy().view(">u2")[:, :, 0]
    sent, total = 0, int(rate * seconds)
    begun = time.monotonic()
    while sent < total:
        at = sent % POOL
        n = min(BURST, POOL - at, total - sent)
        numbers = np.arange(1 + sent, 1 + sent + n, dtype=np.uint64).astype(">u4")
        sequence[at : at + n] = numbers.view(np.uint8).reshape(n, 4)
        passed = (first_ports[at : at + n] + sent // POOL).astype(">u2")
        ports[at : at + n] = passed.view(np.uint8).reshape(n, FLOWS, 2)
        done = call(sock.fileno(), msg.ctypes.data + at * 64, n, 0)
        if done < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        sent += done
        ahead = begun + sent / rate - time.monotonic()
        if ahead > 0.0005:
            time.sleep(ahead)
    print(json.dumps({"sent": sent + 1, "seconds": time.monotonic() - begun}))


def cpu(pids: list[int]) -> float:
    """CPU seconds of living processes and their ended children."""
    ticks = 0
    for pid in pids:
        try:
            words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += sum(int(w) for w in words[11:15])
    return ticks / os.sysconf("SC_CLK_TCK")


def octets(folder: Path) -> int:
    """Octets of all files below a folder."""
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


def port() -> int:
    """A free UDP port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def queue(where: int) -> tuple[int, int]:
    """Octets that wait in the buffer of the socket on a port, and datagrams dropped there."""
    for line in Path("/proc/net/udp").read_text().splitlines()[1:]:
        words = line.split()
        if int(words[1].partition(":")[2], 16) == where:
            return int(words[4].partition(":")[2], 16), int(words[12])
    return 0, 0


def sender(where: int, rate: int, seconds: float) -> dict[str, float]:
    """Run the sender; what it says, and what was seen of the receiver's buffer meanwhile."""
    words = [sys.executable, __file__, "--send", f"{where},{rate},{seconds}"]
    ended = threading.Event()
    seen = [(0, 0)]

    def watch() -> None:
        while not ended.wait(0.02):
            seen.append(queue(where))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=True)
    finally:
        ended.set()
        watcher.join()
    waited, dropped = map(max, zip(*seen, strict=True))
    return {**json.loads(done.stdout), "waited": waited, "dropped": dropped}


def threads(pid: int) -> list[float]:
    """CPU seconds of each thread of a process, oldest first."""
    found = []
    for task in sorted(Path(f"/proc/{pid}/task").iterdir(), key=lambda p: int(p.name)):
        words = (task / "stat").read_text().rpartition(")")[2].split()
        found.append((int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK"))
    return found


def flowpeer(folder: Path, rate: int, seconds: float) -> dict[str, float]:
    """One run of `flowpeer collect`."""
    (folder / "flowpeer.toml").write_text(
        '[network]\nasn = 64500\nname = "Bench"\nprefixes = ["198.18.0.0/15"]\n'
        '[lake]\npath = "lake"\n'
    )
    where = port()
    words = [
        sys.executable,
        "-m",
        "flowpeer",
        "--json",
        "collect",
        "--listen",
        f"127.0.0.1:{where}",
    ]
    process = subprocess.Popen(
        words, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    status = folder / "lake" / "spool" / "status.json"

    def said() -> dict:
        return dict(json.loads(status.read_text())) if status.exists() else {}

    while said().get("phase") != "running":
        time.sleep(0.05)
    receivers = [r["pid"] for r in said()["receivers"]]
    idle, idle_receiver = cpu([process.pid, *receivers]), cpu(receivers)
    sent = sender(where, rate, seconds)
    deepest = 0.0
    end = time.monotonic() + 600
    time.sleep(1.5)
    while time.monotonic() < end:
        now = said()
        deepest = max(deepest, now["spool"]["lag_seconds"])
        if now["spool"]["spool_segments"] == 0:
            break
        time.sleep(0.2)
    used_receiver = cpu(receivers) - idle_receiver
    *_, commit, supply = by_thread = threads(receivers[0])
    process.send_signal(signal.SIGTERM)
    used = cpu([process.pid, *receivers])
    time.sleep(0.2)
    while process.poll() is None:
        used = max(used, cpu([process.pid, *receivers]))
        time.sleep(0.02)
    last = json.loads(process.communicate()[0])
    return {
        **sent,
        "received": last["totals"]["datagrams"],
        "flows": last["totals"]["rows"],
        "cpu": used - idle,
        "receive_cpu": used_receiver,
        "take_cpu": by_thread[0] - idle_receiver,
        "commit_cpu": commit,
        "supply_cpu": supply,
        "octets": octets(folder / "lake" / "flows"),
        "backlog_s": deepest,
    }


def nfcapd(folder: Path, rate: int, seconds: float) -> dict[str, float]:
    """One run of nfcapd, writing LZ4 as it does on request (uncompressed is its default)."""
    where = port()
    process = subprocess.Popen(
        ["nfcapd", "-p", str(where), "-w", str(folder), "-t", "60", "-B", str(64 << 20), "-y"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    time.sleep(1)
    idle = cpu([process.pid])
    sent = sender(where, rate, seconds)
    time.sleep(2)
    process.send_signal(signal.SIGTERM)
    used = cpu([process.pid])
    while process.poll() is None:
        used = max(used, cpu([process.pid]))
        time.sleep(0.01)
    said = subprocess.run(
        ["nfdump", "-R", str(folder), "-I"], capture_output=True, text=True, check=False
    ).stdout
    flows = sum(int(n) for n in re.findall(r"^Flows: (\d+)", said, re.MULTILINE))
    return {**sent, "flows": flows, "cpu": used - idle, "octets": octets(folder)}


def nfacctd(folder: Path, rate: int, seconds: float) -> dict[str, float]:
    """One run of pmacct's nfacctd, every flow its own row of CSV.

    Up to one plugin buffer of flows (some hundred) is never written: it waits to become full.
    """
    where = port()
    (folder / "conf").write_text(
        "daemonize: false\nnfacctd_ip: 127.0.0.1\n"
        f"nfacctd_port: {where}\nnfacctd_pipe_size: {64 << 20}\n"
        "plugins: print[a]\naggregate[a]: src_host, dst_host, src_port, dst_port, proto, in_iface, "
        "out_iface, src_as, dst_as, tcpflags, timestamp_start, timestamp_end, flows\n"
        f"print_output[a]: csv\nprint_output_file[a]: {folder}/out-%s.csv\n"
        # %s is the minute: without this every purge but the last of a minute is overwritten.
        "print_output_file_append[a]: true\n"
        "print_refresh_time[a]: 10\nprint_history[a]: 1m\n"
        f"plugin_pipe_size: {256 << 20}\nplugin_buffer_size: {64 << 10}\n"
        "nfacctd_time_new: true\nprint_cache_entries[a]: 500009\n"
        f"logfile: {folder}/log\n"
    )
    process = subprocess.Popen(
        ["nfacctd", "-f", str(folder / "conf")], cwd=folder, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    time.sleep(2)

    def members() -> list[int]:
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                words = stat.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(words[3]) == process.pid:
                found.append(int(stat.parent.name))
        return found

    idle = cpu(members())
    sent = sender(where, rate, seconds)
    time.sleep(12)
    used = cpu(members())
    # The core alone: it hands over what it has, and children that write go on to their end.
    process.send_signal(signal.SIGINT)
    end = time.monotonic() + 120
    while members() and time.monotonic() < end:
        used = max(used, cpu(members()))
        process.poll()
        time.sleep(0.05)
    if members():
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    flows = size = 0
    for path in folder.glob("out-*.csv"):
        size += path.stat().st_size
        with path.open() as file:
            at = next(file, "FLOWS").rstrip().split(",").index("FLOWS")
            flows += sum(int(line.split(",")[at]) for line in file)
    said = (folder / "log").read_text()
    for line in {li for li in said.splitlines() if "WARN" in li or "ERROR" in li}:
        print(f"nfacctd: {line.strip()}")
    return {**sent, "flows": flows, "cpu": used - idle, "octets": size}


def show(name: str, rate: int, found: dict[str, float]) -> None:
    """One line."""
    sent_flows = (found["sent"] - 1) * FLOWS
    missing = sent_flows - found["flows"]
    more = f", {found['waited'] / 1e6:.0f} MB waited, {found['dropped']:,} dropped by the kernel"
    if "received" in found:
        lost = found["sent"] - found["received"]
        each = {k: found[k] / found["received"] * 1e6 for k in found if k.endswith("_cpu")}
        more += (
            f", {lost:,.0f} datagrams not received, {each['receive_cpu']:.2f} µs a datagram to "
            f"receive ({each['take_cpu']:.2f} take, {each['commit_cpu']:.2f} commit, "
            f"{each['supply_cpu']:.2f} make segments ready), backlog {found['backlog_s']:.1f} s"
        )
    print(
        f"{name:<9} {rate:>7,}/s asked, {(found['sent'] - 1) / found['seconds']:>9,.0f}/s sent: "
        f"{missing:,.0f} of {sent_flows:,.0f} flows missing, {found['cpu']:.2f} s CPU, "
        f"{found['flows'] / max(found['cpu'], 0.01) / 1e6:.2f} M flows/CPU-s, "
        f"{found['octets'] / max(found['flows'], 1):.1f} octets a flow{more}",
        flush=True,
    )


def main() -> None:
    """See the module."""
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("--rates", default="20000,50000,100000")
    words.add_argument("--seconds", type=float, default=10)
    words.add_argument("--peers", default="nfcapd,nfacctd")
    words.add_argument("--send", help=argparse.SUPPRESS)
    said = words.parse_args()
    if said.send:
        where, rate, seconds = said.send.split(",")
        send(int(where), int(rate), float(seconds))
        return
    runners = {"flowpeer": flowpeer}
    for name, runner in (("nfcapd", nfcapd), ("nfacctd", nfacctd)):
        if name not in said.peers.split(","):
            continue
        if shutil.which(name):
            runners[name] = runner
        else:
            print(f"{name}: not installed, left out")
    for rate in map(int, said.rates.split(",")):
        for name, runner in runners.items():
            with tempfile.TemporaryDirectory(prefix="flowpeer-bench-") as folder:
                show(name, rate, runner(Path(folder), rate, said.seconds))


if __name__ == "__main__":
    main()
