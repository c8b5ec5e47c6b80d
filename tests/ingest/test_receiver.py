"""Receiving in batches and one by one gives the same; every size of datagram arrives whole."""

from __future__ import annotations

import random
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from flowpeer_ingest import receiver, recvmmsg, sockets, spool
from flowpeer_ingest.recvmmsg import Batch, BatchReceiver, SingleReceiver


class Harness:
    """A receiver in a thread of this process."""

    def __init__(self, folder: Path, address: str, batch: type[Batch], **more: Any) -> None:
        self.folder = folder
        self.listener = sockets.listen(address, 0, shared=False, both=True)
        self.receiver = receiver.Receiver(
            receiver.ReceiverOptions(
                spool=str(folder), number=0, run="0000beef", counter=1, parent=0,
                sockets=((self.listener.socket.dup().detach(), self.listener.port),),
                reserve_octets=0, **more,
            )
        )  # fmt: skip
        self.receiver.batch = batch()
        self.thread = threading.Thread(target=self.receiver.run)
        self.thread.start()

    def stop(self) -> None:
        self.receiver.stop()
        self.thread.join()
        for source, _ in self.receiver.sockets.values():
            source.close()
        self.listener.socket.close()

    def stored(self) -> list[tuple[bytes, str, int, int]]:
        """Payload, source, port, local port of all that is in the spool."""
        from flowpeer_ingest.segments import text

        found = []
        for name in spool.segments(self.folder, "sealed"):
            for block in spool.read(name.path(self.folder, "sealed")):
                for entry, payload in zip(block.entries, block.datagrams(), strict=True):
                    found.append(
                        (payload, text(bytes(entry["address"])), int(entry["source_port"]),
                         int(entry["local_port"]))
                    )  # fmt: skip
        return found


BATCHES = [SingleReceiver] + (
    [BatchReceiver] if isinstance(recvmmsg.batch(), BatchReceiver) else []
)


@pytest.fixture(params=BATCHES, ids=lambda kind: kind.__name__)
def batch(request: pytest.FixtureRequest) -> type[Batch]:
    kind: type[Batch] = request.param
    return kind


def sizes() -> list[int]:
    """From nothing to the largest that UDP over IPv4 carries, in an order that changes a lot."""
    chance = random.Random(5)
    some = [0, 1, 127, 128, 129, 1_472, 1_536, 1_537, 2_047, 2_048, 2_049, 9_000, 65_507]
    return [chance.choice(some) for _ in range(300)] + some + [30] * 200 + [65_507] * 5


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_every_datagram_arrives_whole_in_order_with_its_source(
    tmp_path: Path, batch: type[Batch], address: str
) -> None:
    harness = Harness(tmp_path, address, batch, segment_octets=4 << 20)
    chance = random.Random(6)
    sent = []
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sender:
        sender.bind((address, 0))
        port = sender.getsockname()[1]
        for i, size in enumerate(sizes()):
            payload = chance.randbytes(size)
            sender.sendto(payload, (address, harness.listener.port))
            sent.append((payload, address, port, harness.listener.port))
            if i % 50 == 0:
                time.sleep(0.005)
    harness.stop()
    assert harness.stored() == sent
    said = harness.receiver.counters.snapshot()
    assert said["received"] == said["committed"] == len(sent)
    assert said["received_octets"] == sum(len(s[0]) for s in sent)
    assert said["truncated"] == said["dropped_disk_full"] == 0


def test_an_ipv4_source_on_a_dual_stack_socket_is_ipv4(tmp_path: Path, batch: type[Batch]) -> None:
    harness = Harness(tmp_path, "::", batch)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"x", ("127.0.0.1", harness.listener.port))
        time.sleep(0.05)
    harness.stop()
    assert [s[:2] for s in harness.stored()] == [(b"x", "127.0.0.1")]


def test_receive_times_are_the_kernels(tmp_path: Path, batch: type[Batch]) -> None:
    """Each waits half a second in its socket, and its time is when it came.

    The kernel begins to stamp a moment after the option is set (a task of its own, which a busy
    machine delays); what came before is stamped as it is read, so the first ones may be.
    """
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listener = sockets.listen("127.0.0.1", 0, shared=False, both=False)
    made, memory = batch(), memoryview(bytearray(4_096))
    late_us = []
    with sender, listener.socket:
        while len(late_us) < 20 and not (late_us and late_us[-1] < 250_000):
            before = time.time_ns() // 1_000
            sender.sendto(b"x", ("127.0.0.1", listener.port))
            after = time.time_ns() // 1_000
            time.sleep(0.5)
            assert made.receive(listener.socket, memory, 128, 8) == 1
            assert int(made.entries["received_us"][0]) >= before - 1_000
            late_us.append(int(made.entries["received_us"][0]) - after)
            assert made.receive(listener.socket, memory, 128, 8) == 0
    assert late_us[-1] < 250_000, late_us


def test_an_age_seals_and_a_new_segment_goes_on(tmp_path: Path, batch: type[Batch]) -> None:
    harness = Harness(tmp_path, "127.0.0.1", batch, seal_after_s=0.05)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for n in range(3):
            sender.sendto(bytes([n]), ("127.0.0.1", harness.listener.port))
            end = time.monotonic() + 30
            while len(spool.segments(tmp_path, "sealed")) <= n:
                assert time.monotonic() < end
                time.sleep(0.01)
    harness.stop()
    assert [s[0] for s in harness.stored()] == [b"\0", b"\1", b"\2"]
    assert len(spool.segments(tmp_path, "sealed")) == 3


def test_the_hour_seals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    harness = Harness(tmp_path, "127.0.0.1", recvmmsg.batch().__class__, seal_after_s=3_600)
    real = time.time_ns
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"before", ("127.0.0.1", harness.listener.port))
        end = time.monotonic() + 30
        while not harness.receiver.counters.snapshot()["received"]:
            assert time.monotonic() < end
            time.sleep(0.01)
        monkeypatch.setattr(receiver.time, "time_ns", lambda: real() + 3_600 * 10**9)
        while not spool.segments(tmp_path, "sealed"):
            assert time.monotonic() < end
            time.sleep(0.01)
    harness.stop()
    assert [s[0] for s in harness.stored()] == [b"before"]


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("0.0.0.0:2055", ("0.0.0.0", 2055)),
        ("[::]:4739", ("::", 4739)),
        (":9995", ("0.0.0.0", 9995)),
        ("9995", ("0.0.0.0", 9995)),
        ("[2001:DB8::0:1]:1", ("2001:db8::1", 1)),
    ],
)
def test_addresses_are_read(text: str, parsed: tuple[str, int]) -> None:
    assert sockets.parse(text) == parsed


@pytest.mark.parametrize("text", ["9405", ":9405"])
def test_a_port_alone_is_where_the_caller_says(text: str) -> None:
    assert sockets.parse(text, "127.0.0.1") == ("127.0.0.1", 9405)


@pytest.mark.parametrize("text", ["", "x:1", "127.0.0.1:70000", "127.0.0.1:-1", "::1", "host"])
def test_what_is_no_address_is_said_so(text: str) -> None:
    with pytest.raises(ValueError, match="HOST:PORT is expected"):
        sockets.parse(text)
