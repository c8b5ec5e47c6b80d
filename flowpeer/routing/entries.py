"""From numbered attribute blocks to Arrow tables: what all readers of BGP routes share.

A reader notes for each route the number of its view and of its attribute block; each distinct
block is parsed once, and the rest happens in Arrow.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from flowpeer.routing.attributes import (
    MP_REACH,
    OWN_ORIGIN,
    AttributeParser,
    AttributesError,
    Route,
)
from flowpeer.routing.blocks import parse_blocks
from flowpeer.routing.source import COLUMNS

_ROUTE_TYPES = (pa.int64(), pa.string(), pa.string(), pa.int64(), pa.int64(), pa.string())
_POOL_BOUND = 1 << 18
"""Distinct attribute blocks remembered by a reader of tables; then the memory starts anew."""
FEW_BLOCKS = 24
"""Fewer new blocks than this are parsed one by one."""


class AttributePool:
    """Distinct attribute blocks, by number; a malformed one has a negative number."""

    def __init__(self) -> None:
        self.known: dict[int, dict[bytes, int]] = {2: {}, 4: {}}
        """Width of the ASNs in AS_PATH → block → number."""
        self.reasons: list[str] = []
        self._trimmed: dict[bytes, int] = {}
        self._parser = AttributeParser()
        self._count = 0
        self._fresh: list[Route] = []  # parsed one by one since the last part was closed
        self._parts: list[list[pa.Array]] = []  # columns of blocks, in the order of their numbers

    def __len__(self) -> int:
        return self._count

    def number(self, block: bytes, width: int) -> int:
        """The number of a block."""
        number = self.known[width].get(block)
        return self.learn(block, width) if number is None else number

    def learn(self, block: bytes, width: int) -> int:
        """The number of a block not seen before."""
        number = self.known[width][block] = self._parse(block, width)
        return number

    def numbers(
        self, blocks: Sequence[bytes], nlris: Sequence[bytes]
    ) -> np.ndarray[Any, np.dtype[np.int32]]:
        """The numbers of many blocks with ASNs of 4 octets; the same as one by one.

        Args:
            nlris: the prefix that each may end in, as `learn_with_prefix` knows it; empty: none.
        """
        known, trimmed = self.known[4], self._trimmed
        found = list(map(known.get, blocks))
        whole: dict[bytes, None] = {}
        cut: dict[bytes, tuple[bytes, int]] = {}
        missing: list[tuple[int, bytes | None]] = []
        for at in [at for at, number in enumerate(found) if number is None]:
            block, nlri = blocks[at], nlris[at]
            if not nlri or not block.endswith(nlri):
                missing.append((at, None))
                whole[block] = None
                continue
            key = block[: -len(nlri)]
            found[at] = trimmed.get(key)
            if found[at] is None:
                missing.append((at, key))
                cut.setdefault(key, (block, len(nlri)))
        if len(whole) + len(cut) >= FEW_BLOCKS:
            self._learn_all(list(whole), cut)
        for at, of_cut in missing:
            block = blocks[at]
            number = None if of_cut is None else trimmed.get(of_cut)
            if number is None:
                number = known.get(block)
            if number is None and of_cut is not None:
                number = self.learn_with_prefix(block, nlris[at])
            found[at] = self.learn(block, 4) if number is None else number
        return np.array(found, dtype=np.int32)

    def _learn_all(self, whole: list[bytes], cut: dict[bytes, tuple[bytes, int]]) -> None:
        """Learn the plain ones of new blocks; the others are left to be learned one by one."""
        blocks = whole + [block for block, _ in cut.values()]
        parsed = parse_blocks(blocks, self._parser.next_hop)
        plain = np.flatnonzero(parsed.plain)
        self._close_part()
        take = pa.array(plain)
        self._parts.append([column.take(take) for column in parsed.columns])
        sizes = [0] * len(whole) + [size for _, size in cut.values()]
        trimmable = parsed.trimmable(np.array(sizes, dtype=np.int64))
        keys = whole + list(cut)
        known = self.known[4]
        for at in plain.tolist():
            if at >= len(whole) and trimmable[at]:
                self._trimmed[keys[at]] = self._count
            else:
                known[blocks[at]] = self._count
            self._count += 1

    def learn_with_prefix(self, block: bytes, nlri: bytes) -> int:
        """The number of a block that may end in the prefix itself.

        Some writers keep the whole MP_REACH_NLRI in a table dump, so that no two blocks are
        alike. Where it is the last attribute, the block is known by what stands before the
        prefix: every length in it is, and so is the next hop.
        """
        if not block.endswith(nlri):
            return self.learn(block, 4)
        key = block[: -len(nlri)]
        number = self._trimmed.get(key)
        if number is None:
            number = self._parse(block, 4)
            code, start = self._parser.last
            # AFI, SAFI, length of the next hop, the next hop, a reserved octet (RFC 4760): where
            # the prefix begins, seen from the end, no other attribute can.
            size = len(block) - start - len(nlri)
            whole = number >= 0 and code == MP_REACH and size >= 5 and not block[start]
            if whole and size >= 5 + block[start + 3]:
                self._trimmed[key] = number
            else:
                self.known[4][block] = number
        return number

    def _parse(self, block: bytes, width: int) -> int:
        try:
            self._fresh.append(self._parser.parse(block, width))
        except AttributesError as fault:
            reason = f"attributes: {fault.reason}"
            if reason not in self.reasons:
                self.reasons.append(reason)
            return -1 - self.reasons.index(reason)
        self._count += 1
        if len(self._fresh) > _POOL_BOUND:
            self._close_part()
        return self._count - 1

    def _close_part(self) -> None:
        if self._fresh:
            fields = zip(zip(*self._fresh, strict=True), _ROUTE_TYPES, strict=True)
            self._parts.append([pa.array(column, type_) for column, type_ in fields])
            self._fresh.clear()

    def columns(self) -> list[pa.Array]:
        """The fields of `Route`, one array each; the place is the block's number."""
        self._close_part()
        if not self._parts:
            return [pa.array([], type_) for type_ in _ROUTE_TYPES]
        if len(self._parts) > 1:
            self._parts = [[pa.concat_arrays(p) for p in zip(*self._parts, strict=True)]]
        return self._parts[0]

    def trim(self) -> None:
        """Forget all blocks once there are too many."""
        if len(self) > _POOL_BOUND:
            self.clear()

    def keep(self, numbers: np.ndarray[Any, np.dtype[np.int64]]) -> None:
        """Keep these blocks alone (sorted numbers): the place among them is the new number."""
        self._parts = [[column.take(pa.array(numbers)) for column in self.columns()]]
        self._count = len(numbers)
        place = {number: at for at, number in enumerate(numbers.tolist())}
        for width, known in self.known.items():
            self.known[width] = {b: place[n] for b, n in known.items() if n in place}
        self._trimmed.clear()

    def clear(self) -> None:
        """Forget all blocks: their numbers are worth nothing any more."""
        self._parts.clear()
        self._fresh.clear()
        self._parser = AttributeParser()
        self._count = 0
        for known in (*self.known.values(), self._trimmed):
            known.clear()


def route_table(
    prefixes: pa.Array,
    families: np.ndarray[Any, Any],
    vantage: pa.Array,
    peer_asns: np.ndarray[Any, Any],
    pool: AttributePool,
    blocks: np.ndarray[Any, Any],
    path_ids: pa.Array | None = None,
) -> pa.Table:
    """One row an entry, as `source.COLUMNS`: the fields of its block, taken by number."""
    take = pa.array(blocks)
    origin, path, hop, med, pref, communities = (column.take(take) for column in pool.columns())
    is_own = origin.fill_null(0).to_numpy() == OWN_ORIGIN
    if is_own.any():
        filled = np.where(is_own, peer_asns, origin.fill_null(0).to_numpy())
        origin = pa.array(filled, mask=origin.is_null().to_numpy(zero_copy_only=False))
    columns = {
        "prefix": prefixes,
        "family": pa.array(families.astype(np.int32)),
        "vantage": vantage,
        "origin_asn": origin,
        "as_path": path,
        "next_hop": hop,
        "med": med,
        "local_pref": pref,
        "communities": communities,
        "path_id": pa.nulls(len(blocks), pa.int64()) if path_ids is None else path_ids,
    }
    return pa.Table.from_arrays([columns[f.name] for f in COLUMNS], schema=COLUMNS)
