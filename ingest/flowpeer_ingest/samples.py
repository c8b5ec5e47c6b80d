"""sFlow datagrams of a batch at once: what `wire/sflow5.py` does for each of their samples.

A datagram is plain if its header and the bounds of all its samples are whole; a flow sample is,
if it holds one sampled header and at most one router and one gateway record, in any order, beside
records that say nothing about the flow. All others are left to `sflow5`, datagrams as a whole and
samples one by one. Kept in step with it by hand; a test holds both equal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from flowpeer_ingest import headers
from flowpeer_ingest.blocks import Block
from flowpeer_ingest.headers import Bools, Element, View
from flowpeer_ingest.reading import Ints
from flowpeer_ingest.sampling import Rates
from flowpeer_ingest.wire.events import SFLOW5
from flowpeer_ingest.wire.frames import LENGTHS
from flowpeer_ingest.wire.layout import Layout
from flowpeer_ingest.wire.sflow5 import EXPANDED, FLOW_SAMPLES, LOCAL, other_sample, template
from flowpeer_ingest.wire.state import MAX_EXPORTERS, MAX_SESSIONS, State

MAGIC = b"\0\0\0\5"
"""The first octets of a datagram of version 5."""
MAX_WALK = 128
"""Samples of a datagram that are looked at here: each costs some array operations for the whole
batch. 9,000 octets hold about 60."""
MAX_RECORDS = 16
"""Records of a sample, likewise; agents send up to about six."""
MAX_SEGMENTS = 4
"""Of an AS path, likewise: mostly one."""
_HEADER, _ROUTER, _GATEWAY = 1, 1002, 1003
_LEFT = (2, 3, 4)
"""Other records that say something about the flow."""
_ADDRESS = np.array([0, 4, 16])
_SIZES = {MAGIC + bytes((0, 0, 0, kind)): size for kind, size in enumerate(_ADDRESS.tolist())}
_UNKNOWN = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Agent:
    """Who sends sFlow datagrams; `session` is the key under which its sequence is followed."""

    exporter: str
    session: int
    sub_agent: int


def agents(
    payloads: Sequence[bytes], exporters: Sequence[str], ports: Sequence[int], state: State
) -> tuple[list[int], list[Agent]]:
    """Which datagrams can be taken together: by datagram the place of its agent, −1 for others.

    Others are of another protocol, cut short, or of an exporter for whom the order matters: it
    speaks another protocol too, or has more agents than are remembered.
    """
    known: dict[tuple[str, int, bytes], int] = {}
    of: list[int] = []
    strangers = set()
    for payload, exporter, port in zip(payloads, exporters, ports, strict=True):
        size = _SIZES.get(payload[:8])
        if size is not None and len(payload) >= 24 + size:
            key = exporter, port, payload[8 : 12 + size]
            of.append(known.setdefault(key, len(known)))
        else:
            of.append(-1)
            if payload[:4] != MAGIC:
                strangers.add(exporter)
    found = [
        Agent(
            exporter, int.from_bytes(key[:-4], "big") << 16 | port, int.from_bytes(key[-4:], "big")
        )
        for exporter, port, key in known
    ]
    new = Counter(
        a.exporter for a in found if state.known(a.exporter, a.session, SFLOW5, a.sub_agent) is None
    )
    left = {
        a
        for a, count in new.items()
        if a in state.exporters and len(state.exporters[a].sessions) + count > MAX_SESSIONS
    }
    left |= {a for a, count in new.items() if count > MAX_SESSIONS} | strangers
    unknown = (new.keys() | strangers) - state.exporters.keys()
    if len(state.exporters) + len(unknown) > MAX_EXPORTERS:
        return [-1] * len(of), []
    taken = [-1 if a.exporter in left else i for i, a in enumerate(found)] + [-1]
    return [taken[i] for i in of], found


class Datagrams:
    """Headers of sFlow datagrams and their flow samples.

    Their own headers are whole (see `agents`). By datagram: `plain`, `sub_agent`, `sequence`,
    `uptime_ms`. By flow sample of the plain ones, in order: `owner` (its datagram), `place` (its
    offset in there), `odd`, `found` (an IP packet), `elements`. `others` counts samples of other
    kinds.
    """

    def __init__(self, payloads: Sequence[bytes]) -> None:
        n = len(payloads)
        self.view = view = View(b"".join((*payloads, bytes(headers.TAIL))))
        length = np.fromiter(map(len, payloads), np.int64, n)
        self.start = start = np.cumsum(length) - length
        self._end = start + length
        at = start + 8 + _ADDRESS[view.u32(start + 4)]
        self.sub_agent, self.sequence = view.u32(at), view.u32(at + 4)
        self.uptime_ms, self._count = view.u32(at + 8), view.u32(at + 12)
        self._begin = at + 16
        self.plain: Bools = self._count <= MAX_WALK
        self.others: Counter[str] = Counter()
        self._walk()
        self._read()

    def _walk(self) -> None:
        """Find all samples; a datagram with one that does not fit is not plain."""
        view, end, plain = self.view, self._end, self.plain
        at = self._begin.copy()
        owners, places, kinds, lengths = ([np.zeros(0, np.int64)] for _ in range(4))
        active = np.flatnonzero(plain)
        for number in range(MAX_WALK):
            active = active[self._count[active] > number]
            if not len(active):
                break
            here = at[active]
            kind, length = view.u32(here), view.u32(here + 4)
            fine = length <= end[active] - here - 8
            fine &= (length > 0) | ~_flow(kind)
            if not fine.all():
                plain[active[~fine]] = False
                active, here, kind, length = active[fine], here[fine], kind[fine], length[fine]
            owners.append(active)
            places.append(here)
            kinds.append(kind)
            lengths.append(length)
            at[active] = np.minimum(here + 8 + (length + 3 & ~3), end[active])
        place = np.concatenate(places)
        order = np.argsort(place, kind="stable")
        owner = np.concatenate(owners)[order]
        order, owner = order[plain[owner]], owner[plain[owner]]
        kind = np.concatenate(kinds)[order]
        flow = _flow(kind)
        numbers, counts = np.unique(kind[~flow], return_counts=True)
        for one, count in zip(numbers.tolist(), counts.tolist(), strict=True):
            self.others[other_sample(one)] += count
        self.owner = owner[flow]
        self._at = place[order][flow]
        self._stop = self._at + 8 + np.concatenate(lengths)[order][flow]
        self._expanded = kind[flow] == EXPANDED
        self.place = self._at - self.start[self.owner]

    def _read(self) -> None:
        """What all flow samples say."""
        view, expanded = self.view, self._expanded
        base = self._at + 8
        self._records_at = base + np.where(expanded, 44, 32)
        self.odd: Bools = self._records_at > self._stop
        self._records = np.where(self.odd, 0, view.u32(self._records_at - 4))
        self._found = {
            kind: (np.full(len(base), -1), np.zeros(len(base), np.int64))
            for kind in (_HEADER, _ROUTER, _GATEWAY)
        }
        self._find()
        header, size = self._found[_HEADER]
        there = header >= 0
        at = np.maximum(header, 0)
        copied = view.u32(at + 12)
        self.odd |= there & ((size < 16) | (copied > size - 16))
        good = there & ~self.odd
        protocol = np.where(good, view.u32(at), 0)
        read = headers.read(view, at + 16, np.where(good, copied, 0), protocol)
        self.odd |= read.odd
        self.found = read.found
        everywhere = np.ones(len(base), bool)
        self.elements = read.elements
        self.elements[2] = Element(everywhere, values=everywhere.astype(np.int64))
        self.elements[34] = Element(everywhere, places=base + np.where(expanded, 12, 8))
        self._interfaces(base)
        self._router(header, read)
        self._gateway()

    def _find(self) -> None:
        """The places and sizes of the records of each kind."""
        view, stop, odd = self.view, self._stop, self.odd
        at = self._records_at.copy()
        odd |= self._records > MAX_RECORDS
        active = np.flatnonzero(~odd)
        for number in range(MAX_RECORDS):
            active = active[self._records[active] > number]
            if not len(active):
                break
            here = at[active]
            kind, length = view.u32(here), view.u32(here + 4)
            fine = (length <= stop[active] - here - 8) & ~headers.one_of(kind, _LEFT)
            if not fine.all():
                odd[active[~fine]] = True
                active, here, kind, length = active[fine], here[fine], kind[fine], length[fine]
            for one, (place, size) in self._found.items():
                chosen = kind == one
                mine = active[chosen]
                odd[mine[place[mine] >= 0]] = True
                place[mine] = here[chosen] + 8
                size[mine] = length[chosen]
            at[active] = np.minimum(here + 8 + (length + 3 & ~3), stop[active])

    def _interfaces(self, base: Ints) -> None:
        view, expanded = self.view, self._expanded
        for number, long, short in ((10, 24, 20), (14, 32, 24)):
            word = view.u32(base + np.where(expanded, long, short))
            kind = np.where(expanded, word, word >> 30)
            value = np.where(expanded, view.u32(base + long + 4), word & LOCAL)
            value[value == np.where(expanded, _UNKNOWN, LOCAL)] = 0
            if number == 14:
                value[kind == 1] = 0  # discarded; the value is the reason
                self.elements[number] = Element(kind <= 1, values=value)
            else:
                self.elements[number] = Element(kind == 0, values=value)

    def _address(
        self, place: Ints, size: Ints, rest: int, four: int, six: int
    ) -> tuple[Ints, Ints]:
        """An address as element `four` or `six`: the place behind it, and its length.

        In records of `size` octets at `place`, −1 for none; `rest` octets come behind it.
        """
        there = place >= 0
        at = np.maximum(place, 0)
        kind = np.where(there, self.view.u32(at), 0)
        length = _ADDRESS[np.minimum(kind, 2)]
        self.odd |= there & ((kind > 2) | (size < 4 + length + rest))
        self.elements[four] = Element(there & (length == 4), places=at + 4)
        self.elements[six] = Element(there & (length == 16), places=at + 4)
        return at + 4 + length, length

    def _router(self, header: Ints, read: headers.Headers) -> None:
        place, size = self._found[_ROUTER]
        at, length = self._address(place, size, 8, 15, 62)
        there = place >= 0
        # Prefix lengths have no family of their own: the packet's, if it was seen by then.
        four = np.where(read.found & (header < place), read.four, length == 4)
        for i, (number4, number6) in enumerate(((9, 29), (13, 30))):
            value = np.minimum(self.view.u32(at + 4 * i), 255)
            self.elements[number4] = Element(there & four, values=value)
            self.elements[number6] = Element(there & ~four, values=value)

    def _gateway(self) -> None:
        view = self.view
        place, size = self._found[_GATEWAY]
        at, _ = self._address(place, size, 16, 18, 63)
        there = place >= 0
        end = place + size
        self.elements[16] = Element(there, places=at + 4)
        segments = np.where(there & ~self.odd, view.u32(at + 12), 0)
        self.odd |= segments > MAX_SEGMENTS
        last = np.full(len(at), -1)
        at = at + 16
        active = np.flatnonzero(~self.odd)
        for number in range(MAX_SEGMENTS):
            active = active[segments[active] > number]
            if not len(active):
                break
            here = at[active]
            kind, count = view.u32(here), view.u32(here + 4)
            fine = count * 4 <= end[active] - here - 8
            self.odd[active[~fine]] = True
            active, here, kind, count = active[fine], here[fine], kind[fine], count[fine]
            at[active] = here + 8 + count * 4
            last[active] = np.where((kind == 2) & (count > 0), here + 4 + count * 4, -1)
        self.elements[17] = Element(last >= 0, places=np.maximum(last, 0))

    def blocks(
        self, received_us: Ints, of: Ints, listed: Sequence[Agent], rates: Sequence[Rates]
    ) -> Iterator[tuple[Layout, Block]]:
        """The plain flow samples with an IP packet as records, by layout, each in their order.

        By datagram `received_us` and `of`, its agent's place in `listed` and `rates`. A layout has
        just the elements that its samples carry.
        """
        names: dict[str, int] = {}
        exporter = np.array([names.setdefault(a.exporter, len(names)) for a in listed], np.int64)
        places: dict[int, int] = {}
        rate = np.array([places.setdefault(id(r), len(places)) for r in rates], np.int64)
        different = list({id(r): r for r in rates}.values())
        for layout, samples, flat in self._shapes():
            at = self.owner[samples]
            unsaid = np.full(len(at), -1, np.int64)
            yield (
                layout,
                Block(
                    flat=flat,
                    counts=np.ones(len(at), np.int64),
                    received_us=received_us[at],
                    export_ms=unsaid,
                    uptime_ms=self.uptime_ms[at],
                    domain=self.sub_agent[at],
                    sampling=np.zeros(len(at), np.int64),
                    exporters=list(names),
                    exporter=exporter[of[at]],
                    rates=different,
                    rate=rate[of[at]],
                ),
            )

    def _shapes(self) -> Iterator[tuple[Layout, Ints, bytes]]:
        good = np.flatnonzero(self.found & ~self.odd)
        elements = sorted(self.elements.items())
        code = np.zeros(len(good), np.int64)
        for bit, (_, element) in enumerate(elements):
            code |= element.present[good].astype(np.int64) << bit
        codes, which = np.unique(code, return_inverse=True)
        for shape, one in enumerate(codes.tolist()):
            mine = good[which == shape]
            chosen = [item for bit, item in enumerate(elements) if one >> bit & 1]
            numbers = tuple(number for number, _ in chosen)
            types = np.dtype(
                [
                    (f"f{number}", f"{'V' if e.values is None else '>u'}{LENGTHS[number]}")
                    for number, e in chosen
                ]
            )
            rows = np.empty(len(mine), types)
            for number, element in chosen:
                if element.values is not None:
                    rows[f"f{number}"] = element.values[mine]
                elif element.places is not None:
                    rows[f"f{number}"] = self.view.at(LENGTHS[number])[element.places[mine]]
            yield template(numbers).layout, mine, rows.tobytes()


def _number(octets: bytes) -> int:
    return int.from_bytes(octets, "big")


def _flow(kind: Ints) -> Bools:
    return headers.one_of(kind, tuple(FLOW_SAMPLES))
