"""From numbered attribute blocks to Arrow tables: what all readers of BGP routes share.

A reader notes for each route the number of its view and of its attribute block; each distinct
block is parsed once, and the rest happens in Arrow.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from flowpeer.routing.attributes import (
    MP_REACH,
    OWN_ORIGIN,
    AttributeParser,
    AttributesError,
    Route,
)
from flowpeer.routing.source import COLUMNS

_ROUTE_TYPES = (pa.int64(), pa.string(), pa.string(), pa.int64(), pa.int64(), pa.string())
_PATH = Route._fields.index("as_path")
_FRESH_TYPES = [pa.int64() if at == _PATH else type_ for at, type_ in enumerate(_ROUTE_TYPES)]
_POOL_BOUND = 1 << 18
"""Distinct attribute blocks remembered by a reader of tables; then the memory starts anew."""


class _PathNumbers(AttributeParser):
    """Gives a path as a number, and the texts of many paths at once.

    Nearly all paths are one AS_SEQUENCE: their octets are an array of integers for Arrow to print.
    """

    def __init__(self) -> None:
        super().__init__()
        self._plain: list[bytes] = []  # ASNs of new paths, in the order of their numbers
        self._odd: dict[int, str] = {}
        self._texts = pa.array([], pa.string())

    def _learn_path(self, key: tuple[bytes, bytes, int]) -> tuple[Any, int | None]:
        value, _, width = key
        number = len(self._texts) + len(self._plain)
        origin: int | None
        if width == 4 and len(value) > 2 and value[0] == 2 and len(value) == 2 + 4 * value[1]:
            self._plain.append(value[2:])
            origin = int.from_bytes(value[-4:], "big")
        else:
            text, origin = super()._learn_path(key)
            self._plain.append(b"")
            self._odd[number] = text
        found = self._paths[key] = number, origin
        return found

    def texts(self) -> pa.Array:
        """Texts of all paths so far; the place is the number."""
        if self._plain:
            asns = np.frombuffer(b"".join(self._plain), dtype=">u4").astype(np.uint32)
            counts = np.fromiter(map(len, self._plain), np.int64, len(self._plain)) // 4
            ends = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
            words = pa.array(asns).cast(pa.string())
            fresh = pc.binary_join(pa.ListArray.from_arrays(pa.array(ends), words), " ")
            if self._odd:
                first = len(self._texts)
                listed = fresh.to_pylist()
                for number, text in self._odd.items():
                    listed[number - first] = text
                fresh = pa.array(listed, pa.string())
                self._odd.clear()
            self._texts = pa.concat_arrays([self._texts, fresh])
            self._plain.clear()
        return self._texts

    def trim(self) -> None:
        """Forget the paths once there are too many; nobody may hold a number any more."""
        if len(self._texts) > _POOL_BOUND:
            self._paths.clear()
            self._texts = self._texts.slice(0, 0)


class AttributePool:
    """Distinct attribute blocks, by number; a malformed one has a negative number."""

    def __init__(self) -> None:
        self.known: dict[int, dict[bytes, int]] = {2: {}, 4: {}}
        """Width of the ASNs in AS_PATH → block → number."""
        self.reasons: list[str] = []
        self._trimmed: dict[bytes, int] = {}
        self._parser = _PathNumbers()
        self._count = 0
        self._fresh: list[Route] = []  # parsed since `columns` was asked last
        self._columns = [pa.array([], type_) for type_ in _ROUTE_TYPES]

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
            self.columns()
        return self._count - 1

    def columns(self) -> list[pa.Array]:
        """The fields of `Route`, one array each; the place is the block's number."""
        if self._fresh:
            fresh = [
                pa.array(column, type_)
                for column, type_ in zip(zip(*self._fresh, strict=True), _FRESH_TYPES, strict=True)
            ]
            fresh[_PATH] = self._parser.texts().take(fresh[_PATH])
            self._columns = [pa.concat_arrays(p) for p in zip(self._columns, fresh, strict=True)]
            self._fresh.clear()
            self._parser.trim()
        return self._columns

    def trim(self) -> None:
        """Forget all blocks once there are too many."""
        if len(self) > _POOL_BOUND:
            self.clear()

    def keep(self, numbers: np.ndarray[Any, np.dtype[np.int64]]) -> None:
        """Keep these blocks alone (sorted numbers): the place among them is the new number."""
        self._columns = [column.take(pa.array(numbers)) for column in self.columns()]
        self._count = len(numbers)
        place = {number: at for at, number in enumerate(numbers.tolist())}
        for width, known in self.known.items():
            self.known[width] = {b: place[n] for b, n in known.items() if n in place}
        self._trimmed.clear()

    def clear(self) -> None:
        """Forget all blocks: their numbers are worth nothing any more."""
        self._columns = [column.slice(0, 0) for column in self._columns]
        self._fresh.clear()
        self._parser = _PathNumbers()
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
