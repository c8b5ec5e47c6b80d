"""The day after: one link silent for six hours, everything else goes on."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from flowpeer_sample import answers as a
from flowpeer_sample import world as w
from flowpeer_sample.datagrams import capture
from flowpeer_sample.records import records

FIRST, LAST = w.OUTAGE.first_hour * 12, w.OUTAGE.end_hour * 12
PORT = w.TRANSIT_INDEX[w.OUTAGE.provider]


def test_the_link_is_silent_in_the_outage_and_at_no_other_time() -> None:
    for way in ("out", "in"):
        slots = a.slot_bytes(w.OUTAGE.metro, PORT, way, w.NEXT)
        assert not slots[FIRST:LAST].any()
        assert slots[:FIRST].all()
        assert (slots[LAST:] > 0).mean() > 0.9
        assert a.slot_bytes(w.OUTAGE.metro, PORT, way)[FIRST:LAST].all()


def test_what_it_carried_is_on_the_other_links() -> None:
    metro = w.OUTAGE.metro
    ports = [w.TRANSIT_INDEX[p] for p in w.TRANSIT_WEIGHT[metro]]
    for way in ("out", "in"):
        before, after = (
            sum(a.slot_bytes(metro, p, way, day)[FIRST:LAST].sum() for p in ports)
            for day in (0, w.NEXT)
        )
        assert after == pytest.approx(before, rel=0.05)
        lost = a.outage_bytes(w.OUTAGE.provider, way, 0)
        gained = [
            a.outage_bytes(p, way, w.NEXT) - a.outage_bytes(p, way, 0)
            for p in w.TRANSIT_WEIGHT[metro]
            if p != w.OUTAGE.provider
        ]
        assert all(g > 0 for g in gained)
        assert sum(gained) == pytest.approx(lost, rel=0.4)


def test_another_day_has_another_fall_of_the_dice_and_the_same_streams() -> None:
    one, other = records("dfw"), records("dfw", w.NEXT)
    assert one.streams == other.streams
    assert len(one.stream) == len(other.stream)
    assert (one.columns["bytes"] != other.columns["bytes"]).mean() > 0.5
    assert np.array_equal(np.bincount(one.stream), np.bincount(other.stream))


def headers(pcap: bytes, exporter: w.Exporter) -> list[tuple[int, int, int, bytes]]:
    """Second, sequence number, count (v5) of each datagram, and its payload."""
    at, found = 24, []
    lead = 14 + (40 if ":" in exporter.address else 20) + 8
    while at < len(pcap):
        second, _, kept, _ = struct.unpack_from("<IIII", pcap, at)
        payload = pcap[at + 16 + lead : at + 16 + kept]
        place = {"netflow5": 16, "netflow9": 12, "ipfix": 8}[exporter.format]
        (sequence,) = struct.unpack_from("!I", payload, place)
        found.append((second, sequence, struct.unpack_from("!H", payload, 2)[0], payload))
        at += 16 + kept
    return found


@pytest.mark.parametrize("metro", ["dfw", "lon", "iad"])
def test_sequence_numbers_go_on_from_the_day_before(metro: str) -> None:
    exporter = w.EXPORTER[metro]
    whole = headers(capture(metro), exporter)
    later = headers(capture(metro, 600, w.NEXT), exporter)
    second, sequence, count, payload = whole[-1]
    assert w.DAY <= whole[0][0] <= second < w.DAY + 86_400 <= later[0][0] < w.DAY + 87_000
    if exporter.format == "netflow9":
        following = sequence + 1
    elif exporter.format == "netflow5":
        following = sequence + count
    else:  # records of the last datagram: the difference that one more would make
        width = 0
        (set_id, length) = struct.unpack_from("!HH", payload, 16)
        from flowpeer_sample.wire import layouts

        width = next(p.dtype.itemsize for p in layouts(metro) if p.template == set_id)
        following = sequence + (length - 4) // width
    assert later[0][1] == following
