"""kill −9 anywhere: nothing committed is lost, nothing is there twice, every loss is told."""

from __future__ import annotations

import os
import random
import signal

import pytest
from collector_rig import RATE, Rig

pytestmark = pytest.mark.slow


IN_RECEIVER = (
    ("receive", 30), ("frame", 31), ("framed", 32), ("fdatasync", 2), ("fdatasync+", 2),
    ("synced", 2), ("committed", 2), ("seal", 1), ("truncate+", 1), ("replace+", 1),
    ("fallocate+", 2),
)  # fmt: skip
"""Points of the receiving process, and which passing dies; a run passes each of them often."""
IN_DECODER = (
    ("decode", 1), ("write", 1), ("publish", 1), ("fsync", 4), ("replace", 2), ("replace+", 2),
    ("published", 1), ("checkpoint", 1), ("unlink+", 3), ("removed", 1),
)  # fmt: skip
"""Points of the decoding process; it passes them with what the run before left in the spool."""


def test_kills_at_every_point_and_at_random_lose_nothing_committed(rig: Rig) -> None:
    chance = random.Random(4)
    rules = [f"kill:{point}:{n}" for point, n in IN_RECEIVER]
    rules += [f"kill:{point}:{n}" for point, n in IN_DECODER]
    rules += ["random", "kill:recover:1", "random", "random", "random"]
    deaths = 0
    for rule in rules:
        if rule == "random":
            rig.start()
            rig.send(chance.randrange(RATE // 8, RATE // 2), until_dead=True)
            rig.kill()
        else:
            rig.start(FLOWPEER_FAULTS=rule)
            rig.send(2 * RATE, until_dead=True)
            rig.until(lambda: rig.ended)
            rig.reap()
        deaths += 1
    rig.start()
    rig.send(RATE // 4)
    rig.drained()
    rig.until(lambda: not list(rig.spool.glob("*.sealed")), seconds=300)  # it is a long backlog
    said = rig.end()
    assert sum(r["kernel_drops"] for r in said["receivers"]) == 0
    figures = rig.account()
    assert deaths == len(rules) >= 25
    assert figures["committed"] > 0
    rig.clean()


def test_a_receiver_that_dies_is_replaced_and_nothing_is_lost(rig: Rig) -> None:
    rig.start()
    for round_ in range(1, 4):
        rig.send(2_000)
        rig.until(lambda: rig.watermark()["received"] == 2_000)
        pid = rig.watermark()["pid"]
        os.kill(pid, signal.SIGKILL)
        rig.send(500)  # while nobody receives: these wait in the socket
        rig.until(lambda pid=pid: rig.watermark()["pid"] not in (0, pid))
        rig.until(lambda: rig.watermark()["received"] == 500)
        # Those of the ended ones are added to what is told.
        rig.until(lambda n=round_: rig.status()["receivers"][0]["received"] == n * 2_500)
        os.kill(rig.watermark()["pid"], signal.SIGTERM)  # it ends; the collector goes on
        rig.until(lambda: rig.watermark()["received"] == 0)
    last = rig.end()
    assert rig.numbers().tolist() == list(range(7_500))
    assert last["totals"]["datagrams"] == 7_500
    assert last["losses"]["sequence_lost"]["total"] == 0
    rig.clean()


def test_a_decoder_that_stands_still_loses_nothing(rig: Rig) -> None:
    decoder = rig.start().pid
    os.kill(decoder, signal.SIGSTOP)
    rig.send(3 * RATE, rate=RATE)
    rig.drained()
    os.kill(decoder, signal.SIGCONT)
    rig.decoded(rig.sent)
    rig.end()
    assert rig.account()["stored"] == rig.sent
    rig.clean()
