"""From numbered attribute blocks to Arrow tables: what all readers of BGP routes share.

A reader notes for each route the number of its view and of its attribute block; each distinct
block is parsed once, and the rest happens in Arrow.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from flowpeer.routing.bgp.attribute_columns import parse_blocks
from flowpeer.routing.bgp.attributes import (
    MP_REACH,
    OWN_ORIGIN,
    AttributeParser,
    AttributesError,
    Route,
)
from flowpeer.routing.source import COLUMNS

_ROUTE_TYPES = (
    pa.int64(), pa.string(), pa.string(), pa.int64(), pa.int64(), pa.string(), pa.string(),
)  # fmt: skip
_POOL_BOUND = 1 << 18
"""Distinct attribute blocks remembered by a reader of tables; then the memory starts again."""
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
        self, buffer: bytes, starts: list[int], ends: list[int], cuts: list[int] | None
    ) -> np.ndarray[Any, np.dtype[np.int32]]:
        """The numbers of many blocks with ASNs of 4 octets; the same as one by one.

        Args:
            starts, ends: where each block stands in `buffer`.
            cuts: octets of the prefix that a block ends in, as `learn_with_prefix` knows it; 0
                where it does not end in it.
        """
        known, trimmed = self.known[4].get, self._trimmed.get
        if cuts is None:
            found = [known(buffer[a:b]) for a, b in zip(starts, ends, strict=True)]
            missing = [at for at, number in enumerate(found) if number is None]
            self._learn_all(list({buffer[starts[at] : ends[at]]: None for at in missing}), {})
            for at in missing:
                found[at] = self.number(buffer[starts[at] : ends[at]], 4)
            return np.array(found, dtype=np.int32)
        found = [
            trimmed(buffer[a : b - cut]) if cut else known(buffer[a:b])
            for a, b, cut in zip(starts, ends, cuts, strict=True)
        ]
        missing = [at for at, number in enumerate(found) if number is None]
        whole: dict[bytes, None] = {}
        ending: dict[bytes, tuple[bytes, int]] = {}
        for at in missing:
            block, cut = buffer[starts[at] : ends[at]], cuts[at]
            if not cut:
                whole[block] = None
            elif known(block) is None:
                ending.setdefault(block[:-cut], (block, cut))
        self._learn_all(list(whole), ending)
        for at in missing:
            block, cut = buffer[starts[at] : ends[at]], cuts[at]
            number = trimmed(block[:-cut]) if cut else None
            if number is None:
                number = known(block)
            if number is None:
                nlri = block[-cut:]
                number = self.learn_with_prefix(block, nlri) if cut else self.learn(block, 4)
            found[at] = number
        return np.array(found, dtype=np.int32)

    def _learn_all(self, whole: list[bytes], ending: dict[bytes, tuple[bytes, int]]) -> None:
        """Learn the plain ones of new blocks, unless they are few; the others stay unknown.

        Args:
            ending: of blocks that end in a prefix, what stands before it → the block, and the
                octets of the prefix.
        """
        if len(whole) + len(ending) < FEW_BLOCKS:
            return
        blocks = whole + [block for block, _ in ending.values()]
        parsed = parse_blocks(blocks, self._parser.next_hop)
        plain = np.flatnonzero(parsed.plain)
        take = pa.array(plain)
        self._close_part()
        self._parts.append([column.take(take) for column in parsed.columns])
        cuts = [0] * len(whole) + [cut for _, cut in ending.values()]
        trimmable = parsed.trimmable(np.array(cuts))
        trimmable[: len(whole)] = False
        keys = whole + list(ending)
        known, trimmed, count = self.known[4], self._trimmed, self._count
        for at, is_cut in zip(plain.tolist(), trimmable[plain].tolist(), strict=True):
            if is_cut:
                trimmed[keys[at]] = count
            else:
                known[blocks[at]] = count
            count += 1
        self._count = count

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
    origin, path, hop, med, pref, communities, code = (c.take(take) for c in pool.columns())
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
        "origin_code": code,
    }
    return pa.Table.from_arrays([columns[f.name] for f in COLUMNS], schema=COLUMNS)
