"""Streaming reader of MRT table dumps: RFC 6396, ADD-PATH of RFC 8050.

TABLE_DUMP_V2 (13) with RIB_IPV4_UNICAST, RIB_IPV6_UNICAST and their ADD-PATH forms, and the older
TABLE_DUMP (12). Everything else is skipped by its length and counted by name.

A record that contradicts itself is counted and left out; where its length was wrong too, the next
record is looked for. A file that ends inside a record, or has more than one broken record in ten,
is refused. What makes it fast: ordinary RIB records are read in batches (`rib_entries`), attributes
become a number (a dictionary of the blocks seen), new ones are parsed together
(`attribute_columns`), and the rest happens in Arrow. All else goes record by record, with the same
result.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Container, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from flowpeer.errors import InputError
from flowpeer.routing.bgp.peers import Peers
from flowpeer.routing.bgp.route_columns import AttributePool, route_table
from flowpeer.routing.mrt import rib_entries
from flowpeer.routing.mrt.framing import (
    ADVICE,
    BGP4MP,
    BGP4MP_ET,
    HEADER,
    TABLE_DUMP,
    TABLE_DUMP_V2,
    TYPES,
    looks_like_mrt,
    records,
    time_of,
)
from flowpeer.routing.prefix_columns import address_text, nlri_text
from flowpeer.routing.source import BATCH_ROWS, Progress, RouteTally, opened

__all__ = ["MrtReader", "looks_like_mrt", "time_of"]

PEER_INDEX_TABLE = 1
_RIB = {2: (4, 8), 4: (6, 8), 8: (4, 12), 10: (6, 12)}
"""Subtype of TABLE_DUMP_V2 → family, octets before the attributes of an entry."""
_SKIPPED = {
    3: "RIB_IPV4_MULTICAST", 5: "RIB_IPV6_MULTICAST", 6: "RIB_GENERIC", 7: "GEO_PEER_TABLE",
    9: "RIB_IPV4_MULTICAST_ADDPATH", 11: "RIB_IPV6_MULTICAST_ADDPATH", 12: "RIB_GENERIC_ADDPATH",
}  # fmt: skip
_FIRST_BATCH = 4 * rib_entries.FEWEST_RECORDS
"""Lots begin small, so that what the table repeats is known before the large ones."""
_ENTRY = struct.Struct(">H4xH")
_ENTRY_ADDPATH = struct.Struct(">H4xIH")


class MrtReader:
    """Iterates over the routes of one table dump, as Arrow tables of `source.COLUMNS`.

    Args:
        path: the file, plain or packed.
        peers: keep only the views of these peers (`Peers`, or peer ASNs); None keeps all.
        progress: called with the octets of the file read so far.

    Attributes:
        tally: what was skipped, and why; complete after the iteration.
        views: `AS<peer>@<address>` of each peer that has routes, after the iteration.

    Raises:
        InputError: while iterated, for a file that is cut short, damaged or without routes.
    """

    def __init__(
        self,
        path: Path,
        *,
        peers: Peers | Container[int] | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.path = path
        self.tally = RouteTally()
        self.views: list[str] = []
        self.doubtful = False  # the record just read could not be understood
        self._progress = progress
        self._wanted = peers
        self._pool = AttributePool()
        self._view_texts: list[str] = []
        self._views: dict[tuple[int, str], int] = {}
        self._view_used = np.zeros(0, dtype=bool)
        self._peers: list[int] = []  # peer index of the current PEER_INDEX_TABLE → view
        self._alone = 0  # records to be read one by one before a batch is tried again
        self._batch_records = _FIRST_BATCH
        self._clear()

    def _clear(self) -> None:
        self._entry_views = array("I")
        self._entry_blocks = array("i")
        self._counts = array("I")
        self._path_ids: list[tuple[int, list[int]]] = []  # first entry, its and the following ones
        self._prefixes: list[str] = []
        self._prefix_parts: list[pa.Array] = []  # those before `_prefixes`
        self._families = bytearray()

    def __iter__(self) -> Iterator[pa.Table]:
        rows = 0
        with opened(self.path) as (stream, source):
            for buffer, start, end in records(self, stream, self._many):
                if start < end:
                    self._record(buffer, start, end)
                if len(self._entry_blocks) >= BATCH_ROWS:
                    table = self._flush()
                    rows += table.num_rows
                    yield table
                    if self._progress is not None:
                        self._progress(source.offset)
            if self._families:
                table = self._flush()
                rows += table.num_rows
                yield table
            if self._progress is not None:
                self._progress(source.offset)
        self._check(at_end=True)
        if not rows:
            seen = ", ".join(f"{n} × {what}" for what, n in self.tally.skipped.most_common(3))
            raise InputError(
                str(self.path),
                "no unicast routes in it" + (f" ({seen})" if seen else ""),
                advice="load a table dump (rib, bview), not a file of updates alone",
            )
        used = np.flatnonzero(self._view_used)
        self.views = sorted(self._view_texts[i] for i in used)

    def _check(self, *, at_end: bool) -> None:
        tally = self.tally
        if tally.mostly_broken(at_end=at_end):
            worst = tally.skipped.most_common(1)[0][0]
            raise InputError(
                str(self.path),
                f"{tally.broken} of {tally.records} records are broken (mostly: {worst})",
                advice=ADVICE,
            )

    # one record

    def _record(self, buffer: bytes, start: int, end: int) -> None:
        _, kind, subtype, _ = HEADER.unpack_from(buffer, start)
        body = start + HEADER.size
        tally = self.tally
        if kind == TABLE_DUMP_V2:
            if subtype in _RIB:
                tally.records += 1
                family, head = _RIB[subtype]
                if not self._rib(buffer, body, end, family, head):
                    self.break_("broken RIB record")
            elif subtype == PEER_INDEX_TABLE:
                tally.records += 1
                if not self._peer_table(buffer, body, end):
                    self._peers = []
                    self.break_("broken PEER_INDEX_TABLE")
            else:
                self.doubtful = subtype not in _SKIPPED
                tally.skipped[_SKIPPED.get(subtype, f"TABLE_DUMP_V2 subtype {subtype}")] += 1
        elif kind == TABLE_DUMP and subtype in (1, 2):
            tally.records += 1
            if not self._old_entry(buffer, body, end, 4 if subtype == 1 else 6):
                self.break_("broken TABLE_DUMP record")
        elif kind in (BGP4MP, BGP4MP_ET):
            tally.skipped["BGP4MP"] += 1
        else:
            self.doubtful = kind not in TYPES
            tally.skipped[f"MRT type {kind}"] += 1

    def _many(self, buffer: bytes, at: int) -> int:
        """Take a batch of records; where the first begins that was not taken.

        After a batch that ended early the next one is smaller, and after none at all (odd records,
        or the end of the buffer) some records are read alone, so that what is read twice stays a
        part of the work.
        """
        if self._alone:
            self._alone -= 1
            return at
        batch = rib_entries.read_batch(buffer, at, len(self._peers), self._batch_records)
        if batch is None:
            self._alone = rib_entries.FEWEST_RECORDS
            self._batch_records = max(_FIRST_BATCH, self._batch_records // 4)
            return at
        self._batch_records = min(
            rib_entries.MOST_RECORDS, 4 * max(batch.records, rib_entries.FEWEST_RECORDS)
        )
        self.tally.records += batch.records
        starts, ends = batch.starts.tolist(), batch.ends.tolist()
        cuts = None if batch.cuts is None else batch.cuts.tolist()
        numbers = self._pool.numbers(buffer, starts, ends, cuts)
        if self._path_ids or (batch.path_ids >= 0).any():
            self._path_ids.append((len(self._entry_blocks), batch.path_ids.tolist()))
        views = np.array(self._peers, dtype=np.uint32)[batch.peers]
        self._entry_views.frombytes(views.tobytes())
        self._entry_blocks.frombytes(numbers.tobytes())
        self._counts.frombytes(batch.counts.astype(np.uint32).tobytes())
        self._families += batch.families.tobytes()
        self._close_prefixes()
        self._prefix_parts.append(rib_entries.prefix_texts(batch))
        return batch.end

    def _close_prefixes(self) -> None:
        if self._prefixes:
            self._prefix_parts.append(pa.array(self._prefixes, pa.string()))
            self._prefixes = []

    def break_(self, reason: str) -> None:
        """Count a broken record; raises InputError when they have become too many."""
        self.doubtful = True
        self.tally.break_(reason)
        self._check(at_end=False)

    def _rib(self, buffer: bytes, at: int, end: int, family: int, head: int) -> bool:
        """RIB_IPV*_UNICAST (RFC 6396 section 4.3.2) and its ADD-PATH form (RFC 8050 section 4)."""
        if at + 7 > end:
            return False
        length = buffer[at + 4]
        octets = (length + 7) >> 3
        p = at + 5 + octets
        if p + 2 > end or length > (32 if family == 4 else 128):
            return False
        count = buffer[p] << 8 | buffer[p + 1]
        p += 2
        nlri = buffer[at + 4 : at + 5 + octets] if family == 6 else b""
        mark = len(self._entry_blocks)
        read = self._entries if head == 8 else self._add_path_entries
        try:
            p = read(buffer, p, end, count, nlri)
        except (struct.error, IndexError):
            p = -1
        if p != end:
            del self._entry_views[mark:], self._entry_blocks[mark:]
            while self._path_ids and self._path_ids[-1][0] >= mark:
                self._path_ids.pop()
            return False
        if count:
            self._prefixes.append(nlri_text(buffer[at + 5 : at + 5 + octets], length, family))
            self._families.append(family)
            self._counts.append(count)
        return True

    def _entries(self, buffer: bytes, p: int, end: int, count: int, nlri: bytes) -> int:
        """Note `count` entries; where the last one ends."""
        views, blocks = self._entry_views, self._entry_blocks
        pool, peers, known = self._pool, self._peers, self._pool.known[4]
        entry = _ENTRY.unpack_from
        for _ in range(count):
            peer, size = entry(buffer, p)
            first = p + 8
            p = first + size
            block = buffer[first:p]
            number = known.get(block)
            if number is None:
                if p > end:
                    break
                number = pool.learn_with_prefix(block, nlri) if nlri else pool.learn(block, 4)
            views.append(peers[peer])
            blocks.append(number)
        return p

    def _add_path_entries(self, buffer: bytes, p: int, end: int, count: int, nlri: bytes) -> int:
        """As `_entries`, with a path identifier in each."""
        views, blocks, pool = self._entry_views, self._entry_blocks, self._pool
        path_ids: list[int] = []
        self._path_ids.append((len(blocks), path_ids))
        for _ in range(count):
            peer, path_id, size = _ENTRY_ADDPATH.unpack_from(buffer, p)
            first = p + 12
            p = first + size
            block = buffer[first:p]
            number = pool.known[4].get(block)
            if number is None:
                if p > end:
                    break
                number = pool.learn_with_prefix(block, nlri) if nlri else pool.learn(block, 4)
            views.append(self._peers[peer])
            blocks.append(number)
            path_ids.append(path_id)
        return p

    def _old_entry(self, buffer: bytes, at: int, end: int, family: int) -> bool:
        """TABLE_DUMP (RFC 6396 section 4.2): one prefix of one peer, ASNs of 2 octets."""
        width = 4 if family == 4 else 16
        fixed = 4 + width + 6 + width + 4
        if at + fixed > end:
            return False
        length = buffer[at + 4 + width]
        p = at + 10 + width
        address, p = buffer[p : p + width], p + width
        asn, size = struct.unpack_from(">HH", buffer, p)
        p += 4
        if length > 8 * width or p + size != end:
            return False
        block = buffer[p:end]
        number = self._pool.known[2].get(block)
        if number is None:
            number = self._pool.learn(block, 2)
        self._entry_views.append(self._view(asn, address_text(address)))
        self._entry_blocks.append(number)
        octets = (length + 7) >> 3
        self._prefixes.append(nlri_text(buffer[at + 4 : at + 4 + octets], length, family))
        self._families.append(family)
        self._counts.append(1)
        return True

    def _peer_table(self, buffer: bytes, at: int, end: int) -> bool:
        """PEER_INDEX_TABLE (RFC 6396 section 4.3.1)."""
        if at + 8 > end:
            return False
        p = at + 6 + (buffer[at + 4] << 8 | buffer[at + 5])
        if p + 2 > end:
            return False
        count = buffer[p] << 8 | buffer[p + 1]
        p += 2
        peers: list[int] = []
        for _ in range(count):
            if p >= end:
                return False
            kind = buffer[p]
            width, asn_width = (16 if kind & 1 else 4), (4 if kind & 2 else 2)
            address = buffer[p + 5 : p + 5 + width]
            after = p + 5 + width + asn_width
            if after > end:
                return False
            asn = int.from_bytes(buffer[p + 5 + width : after], "big")
            peers.append(self._view(asn, address_text(address)))
            p = after
        if p != end:
            return False
        self._peers = peers
        return True

    def _view(self, asn: int, address: str) -> int:
        key = (asn, address)
        number = self._views.get(key)
        if number is None:
            number = self._views[key] = len(self._view_texts)
            self._view_texts.append(f"AS{asn}@{address}")
        return number

    # a batch of entries

    def _flush(self) -> pa.Table:
        views = np.frombuffer(self._entry_views, dtype=np.uint32)
        blocks = np.frombuffer(self._entry_blocks, dtype=np.int32)
        counts = np.frombuffer(self._counts, dtype=np.uint32)
        records = np.repeat(np.arange(len(self._families)), counts)
        keep = blocks >= 0
        if not keep.all():
            for number, times in zip(*np.unique(blocks[~keep], return_counts=True), strict=True):
                self.tally.skipped[self._pool.reasons[-1 - int(number)]] += int(times)
        asns = np.fromiter((asn for asn, _ in self._views), np.int64, len(self._views))
        if self._wanted is not None:
            keep &= np.fromiter(map(self._is_wanted, self._views), bool, len(asns))[views]
        path_ids = self._path_id_column(len(views))
        if not keep.all():
            views, blocks, records = views[keep], blocks[keep], records[keep]
            path_ids = None if path_ids is None else path_ids.filter(pa.array(keep))
        self._close_prefixes()
        table = route_table(
            pa.concat_arrays(self._prefix_parts).take(pa.array(records)),
            np.frombuffer(self._families, dtype=np.uint8)[records],
            pa.array(self._view_texts, pa.string()).take(pa.array(views)),
            asns[views],
            self._pool,
            blocks,
            path_ids,
        )
        used = np.zeros(len(asns), dtype=bool)
        used[: len(self._view_used)] = self._view_used
        used[views] = True
        self._view_used = used
        self._pool.trim()
        self._clear()
        return table

    def _is_wanted(self, view: tuple[int, str]) -> bool:
        wanted = self._wanted
        if isinstance(wanted, Peers):
            return wanted.wanted(*view)
        return wanted is None or view[0] in wanted

    def _path_id_column(self, rows: int) -> pa.Array | None:
        if not self._path_ids:
            return None
        ids = np.full(rows, -1, dtype=np.int64)
        for first, values in self._path_ids:
            ids[first : first + len(values)] = values
        return pa.array(ids, mask=ids < 0)
