"""Longest-prefix match of one snapshot: compiled for bulk work, a trie for single questions.

All views of a snapshot are combined: the routes are the union of their prefixes, and of several
views of one prefix the best is taken: shortest AS path (a set counts 1, confederation segments
nothing), then the lowest vantage text, then the order of the file. The default routes 0.0.0.0/0
and ::/0 are no answer (METHODS M4), and an IPv4-mapped address is matched as IPv4 alone.

The compiled form is kept in the lake's cache, under the snapshot's digest, and memory-mapped.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from flowpeer.errors import naming
from flowpeer.lake.store import Lake, make_folder, sync_folder
from flowpeer.routing.prefix_columns import MAPPED, U64, halves_of, split_prefixes
from flowpeer.routing.rib.intervals import CHUNK, I32, Index4, Index6
from flowpeer.routing.rib.trie import Trie
from flowpeer.routing.source import BEST_ROUTES
from flowpeer_core.asns import AS_SET
from flowpeer_core.native.checksum import crc32

if TYPE_CHECKING:
    from flowpeer.routing.rib.snapshot import SnapshotInfo

__all__ = ["RouteTable", "Trie", "open_table"]

_SUMS = "crc32.json"
KEPT = 16
"""Compiled tables kept in the cache: of a full table each is some 100 MB, and made in seconds."""
_FORMAT = 2
"""Raised whenever the files in the cache change their meaning."""
_ARRAYS = {
    "start4": ("four", "start"), "owner4": ("four", "owner"), "hi6": ("six", "hi"),
    "last6": ("six", "last"), "cut6": ("six", "cut"), "first6": ("six", "first"),
    "lo6": ("six", "lo"), "owner6": ("six", "owner"),
}  # fmt: skip


@dataclass(eq=False)
class RouteTable:
    """Compiled longest-prefix match.

    Attributes:
        routes: one row a prefix, IPv4 first, in the order of the addresses: prefix, origin_asn,
            as_path and vantage of the best view, origins where the views have more than one.
    """

    routes: pa.Table
    four: Index4
    six: Index6

    @classmethod
    def from_routes(cls, prefixes: Any, origins: Any) -> RouteTable:
        """From prefix texts, all different, and their origins (None or −3: an AS_SET).

        Raises:
            ValueError: a text that is no canonical prefix.
        """
        texts = pa.array(prefixes, pa.string())
        n = len(texts)
        return cls.from_table(
            pa.table(
                [
                    texts,
                    pa.array(origins, pa.int64()),
                    pa.nulls(n, pa.string()),
                    pa.nulls(n, pa.string()),
                    pa.nulls(n, BEST_ROUTES.field("origins").type),
                ],
                schema=BEST_ROUTES,
            )
        )

    @classmethod
    def from_table(cls, routes: pa.Table) -> RouteTable:
        """From one row a prefix with the columns of `routes`; default routes are left out."""
        address, length, is6 = split_prefixes(routes.column("prefix"))
        hi, lo, bad = halves_of(address.to_pylist())
        if bad:
            raise ValueError(f"not a prefix: {routes.column('prefix')[bad[0]].as_py()!r}")
        order = np.lexsort((length, lo, hi, is6))
        order = order[length[order] > 0]
        routes = routes.take(pa.array(order)).combine_chunks()
        hi, lo, length, is6 = hi[order], lo[order], length[order], is6[order]
        fours = int(len(is6) - is6.sum())
        origin = routes.column("origin_asn").fill_null(AS_SET)
        place = routes.schema.get_field_index("origin_asn")
        routes = routes.set_column(place, "origin_asn", origin)
        four = Index4.build((lo[:fours] & np.uint64(0xFFFFFFFF)).astype(np.uint32), length[:fours])
        six = Index6.build(hi[fours:], lo[fours:], length[fours:])
        shift = np.int32(fours)
        six.last = np.where(six.last < 0, six.last, six.last + shift)
        six.owner = np.where(six.owner < 0, six.owner, six.owner + shift)
        return cls(routes.cast(BEST_ROUTES), four, six)

    @cached_property
    def prefixes(self) -> pa.StringArray:
        """Route texts, in the order of the index."""
        column = self.routes.column("prefix")
        return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)

    @cached_property
    def origin_asn(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Origin of each route: the number in the RIB; −3 for an AS_SET."""
        column: np.ndarray[Any, np.dtype[np.int64]] = self.routes.column("origin_asn").to_numpy()
        return column

    @cached_property
    def trie(self) -> Trie:
        """The same routes as tries, for covering and covered prefixes."""
        return Trie(self.prefixes.to_pylist())

    def match(self, hi: U64, lo: U64) -> I32:
        """Index into `prefixes` of the longest match of each address, −1 where unrouted.

        Args:
            hi, lo: uint64 halves of the 16-octet addresses, IPv4 mapped (::ffff:a.b.c.d).
        """
        out = np.empty(len(hi), dtype=np.int32)
        step = 8 * CHUNK
        for at in range(0, len(hi), step):
            self._match(hi[at : at + step], lo[at : at + step], out[at : at + step])
        return out

    def _match(self, hi: U64, lo: U64, out: I32) -> None:
        is4 = (lo >> np.uint64(32)) == MAPPED
        is4 &= hi == 0
        fours = int(np.count_nonzero(is4))
        if fours == len(hi):
            out[:] = self.four.match(lo.astype(np.uint32))
        elif not fours:
            out[:] = self.six.match(hi, lo)
        else:
            is6 = ~is4
            out[is4] = self.four.match(lo[is4].astype(np.uint32))
            out[is6] = self.six.match(hi[is6], lo[is6])

    def match_text(self, addresses: list[str]) -> I32:
        """As `match`, for address texts. Raises ValueError at the first that is none."""
        hi, lo, bad = halves_of(addresses)
        if bad:
            raise ValueError(f"not an address: {addresses[bad[0]]!r}")
        return self.match(hi, lo)

    def save(self, folder: Path) -> None:
        """Write the compiled form into an existing folder."""
        with naming(folder):
            self._save(folder)

    def _save(self, folder: Path) -> None:
        for name, (part, attribute) in _ARRAYS.items():
            np.save(folder / f"{name}.npy", getattr(getattr(self, part), attribute))
        with (
            pa.OSFile(str(folder / "routes.arrow"), "wb") as sink,
            pa.ipc.new_file(sink, self.routes.schema) as writer,
        ):
            writer.write_table(self.routes, max_chunksize=max(1, self.routes.num_rows))
        sums = {path.name: _crc32(path) for path in sorted(folder.iterdir())}
        (folder / _SUMS).write_text(json.dumps(sums))
        for path in folder.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        sync_folder(folder)

    @classmethod
    def open(cls, folder: Path) -> RouteTable:
        """Memory-map what `save` wrote. Raises OSError, ValueError or ArrowInvalid if damaged."""
        for name, crc in json.loads((folder / _SUMS).read_text()).items():
            if _crc32(folder / name) != crc:
                raise ValueError(f"{folder / name}: not what was written")
        parts: Mapping[str, Any] = {
            name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in _ARRAYS
        }
        source = pa.memory_map(str(folder / "routes.arrow"))
        routes = pa.ipc.open_file(source).read_all()
        if not routes.schema.equals(BEST_ROUTES):
            raise ValueError("not a compiled snapshot")
        four = Index4(parts["start4"], parts["owner4"])
        six = Index6(*(parts[f"{name}6"] for name in ("hi", "last", "cut", "first", "lo", "owner")))
        return cls(routes, four, six)


def _crc32(path: Path) -> int:
    """Checksum of a file: a lost page of a compiled table would give bytes to other networks."""
    block, crc = np.empty(1 << 18, np.uint8), 0
    with path.open("rb", buffering=0) as file:
        while size := file.readinto(block.data):
            crc = crc32(block[:size], crc)
    return crc


def joined(four: RouteTable, six: RouteTable) -> RouteTable:
    """The IPv4 routes of one table with the IPv6 routes of another; indexes count through."""
    shift = np.int32(four.routes.num_rows)
    index = replace(
        six.six,
        last=np.where(six.six.last < 0, six.six.last, six.six.last + shift),
        owner=np.where(six.six.owner < 0, six.six.owner, six.six.owner + shift),
        _asked=0,
        _strides=None,
    )
    routes = pa.concat_tables([four.routes, six.routes]) if six.routes.num_rows else four.routes
    return RouteTable(routes, four.four, index)


def open_table(lake: Lake, snapshot: SnapshotInfo) -> RouteTable:
    """The compiled table of a snapshot: from the cache, else compiled and put there.

    Raises:
        InputError: the snapshot's file cannot be read.
    """
    folder = lake.cache / "routes" / f"{snapshot.digest[:32]}-{_FORMAT}"
    if folder.is_dir():
        try:
            with suppress(OSError):
                os.utime(folder)  # the time of last use, which `_prune` goes by
            return RouteTable.open(folder)
        except (OSError, EOFError, ValueError, pa.ArrowException):
            shutil.rmtree(folder, ignore_errors=True)
    from flowpeer.routing.rib.best import combined  # and Polars

    table = RouteTable.from_table(combined(lake.path(f"routes/{snapshot.name}.parquet")))
    make_folder(folder.parent)
    staged = folder.with_name(f"{folder.name}.{os.getpid()}")
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir()
    try:
        table.save(staged)
        staged.rename(folder)
        sync_folder(folder.parent)
        _prune(folder.parent, folder)
    except OSError:  # no room, or another process was first: the cache is only a convenience
        shutil.rmtree(staged, ignore_errors=True)
    return table


def _prune(cache: Path, newest: Path) -> None:
    """Remove compiled tables beyond the `KEPT` used last; who has one open keeps it."""
    folders = [f for f in cache.iterdir() if f != newest and f.is_dir()]
    folders.sort(key=lambda f: f.stat().st_mtime, reverse=True)
    for folder in folders[KEPT - 1 :]:
        shutil.rmtree(folder, ignore_errors=True)
