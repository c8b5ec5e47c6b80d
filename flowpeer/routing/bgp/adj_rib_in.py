"""Routes as sessions leave them: announced, withdrawn, dropped (RFC 4271 section 3.2, Adj-RIB-In).

A route is two integers in a dictionary of its view (prefix and path identifier → attribute block),
so that a full table of a million routes costs some 100 MB, not gigabytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from flowpeer.errors import InputError
from flowpeer.routing.bgp.messages import Nlri, Update
from flowpeer.routing.bgp.route_columns import AttributePool, route_table
from flowpeer.routing.prefix_columns import nlri_text
from flowpeer.routing.source import BATCH_ROWS

MAX_ROUTES = 20_000_000
"""Of all views: some 4 GB. More is asked for by choosing peers."""
COMPACT_FROM = 1 << 18
"""Prefixes and attribute blocks kept for the sake of it: they often come back."""
_PATH_BITS = 33
_WITHDRAWN = -1


@dataclass(eq=False)
class PeerRoutes:
    """The routes of one peer."""

    key: str
    text: str
    asn: int
    dropped: bool = False
    """The session ended once: nothing of before is left."""
    routes: dict[int, int] = field(default_factory=dict)
    """prefix number << 33 | path identifier + 1 → attribute block, −1 for a withdrawn route."""


class AdjRibs:
    """The routes of many peers, from their messages in order.

    Args:
        remember_withdrawn: keep withdrawals too, to apply all of it to an older snapshot.
        path: the file at work, for errors.
    """

    def __init__(self, *, remember_withdrawn: bool = False, path: str = "") -> None:
        self.path = path
        self.views: dict[str, PeerRoutes] = {}
        self.skipped: Counter[str] = Counter()
        self._remember = remember_withdrawn
        self._pool = AttributePool()
        self._numbers: dict[bytes, int] = {}
        self._keys: list[bytes] = []
        self._routes = 0

    def view(self, text: str, asn: int, *, key: str = "") -> PeerRoutes:
        """The view of that name, made where it is new; `key` tells views of one name apart."""
        key = key or text
        found = self.views.get(key)
        if found is None:
            found = self.views[key] = PeerRoutes(key, text, asn)
        return found

    def apply(self, view: PeerRoutes, change: Update, width: int) -> None:
        """Apply an UPDATE whose AS_PATH has ASNs of `width` octets.

        Routes whose attributes contradict themselves are withdrawn (RFC 7606 section 2).

        Raises:
            InputError: more than `MAX_ROUTES`.
        """
        for reason in change.skipped:
            self.skipped[reason] += 1
        if change.withdrawn:
            self._withdraw(view, change.withdrawn)
        for block, routes in change.announced:
            number = self._pool.number(block, width)
            if number < 0:
                self.skipped[self._pool.reasons[-1 - number]] += len(routes)
                self._withdraw(view, routes)
                continue
            before = len(view.routes)
            for key, path_id in routes:
                view.routes[self._place(key, path_id)] = number
            self._routes += len(view.routes) - before
        if self._routes > MAX_ROUTES:
            raise InputError(
                self.path,
                f"more than {MAX_ROUTES:,} routes",
                advice="choose peers with --peer",
            )

    def _withdraw(self, view: PeerRoutes, routes: Sequence[Nlri]) -> None:
        before = len(view.routes)
        for key, path_id in routes:
            if self._remember:
                view.routes[self._place(key, path_id)] = _WITHDRAWN
            else:
                number = self._numbers.get(key)
                if number is not None:
                    view.routes.pop(number << _PATH_BITS | path_id + 1, None)
        self._routes += len(view.routes) - before

    def _place(self, key: bytes, path_id: int) -> int:
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self._keys)
            self._keys.append(key)
        return number << _PATH_BITS | path_id + 1

    def drop(self, view: PeerRoutes) -> None:
        """The session ended: all its routes are gone."""
        self._routes -= len(view.routes)
        view.routes.clear()
        view.dropped = True

    def forget(self, view: PeerRoutes) -> None:
        """Drop a view and what is known of it."""
        self.drop(view)
        self.views.pop(view.key, None)

    def __len__(self) -> int:
        return self._routes

    def tables(self, views: Iterable[PeerRoutes] | None = None) -> Iterator[pa.Table]:
        """The routes that stand, as `source.COLUMNS`, view by view (all, or these) in batches."""
        texts = pa.array([nlri_text(key[2:], key[1], key[0]) for key in self._keys], pa.string())
        families = np.fromiter((key[0] for key in self._keys), np.uint8, len(self._keys))
        for view in self.views.values() if views is None else views:
            keys, numbers = self._arrays(view)
            stands = numbers >= 0
            keys, numbers = keys[stands], numbers[stands]
            for at in range(0, len(keys), BATCH_ROWS):
                part, blocks = keys[at : at + BATCH_ROWS], numbers[at : at + BATCH_ROWS]
                prefix, path_id = part >> _PATH_BITS, (part & (1 << _PATH_BITS) - 1) - 1
                yield route_table(
                    texts.take(pa.array(prefix)),
                    families[prefix],
                    pa.repeat(pa.scalar(view.text), len(part)),
                    np.full(len(part), view.asn, dtype=np.int64),
                    self._pool,
                    blocks.astype(np.int32),
                    pa.array(path_id, mask=path_id < 0),
                )

    def touched(self) -> pl.DataFrame:
        """vantage, prefix, path_id (−1: none) of every route announced or withdrawn."""
        names = [nlri_text(key[2:], key[1], key[0]) for key in self._keys]
        texts = pl.Series(names, dtype=pl.String)
        schema = {"vantage": pl.String, "prefix": pl.String, "path_id": pl.Int64}
        frames = [pl.DataFrame(schema=schema)]
        for view in self.views.values():
            keys, _ = self._arrays(view)
            frames.append(
                pl.DataFrame(
                    {
                        "vantage": pl.repeat(view.text, len(keys), dtype=pl.String, eager=True),
                        "prefix": texts.gather(keys >> _PATH_BITS),
                        "path_id": (keys & (1 << _PATH_BITS) - 1) - 1,
                    }
                )
            )
        return pl.concat(frames)

    def compact(self) -> None:
        """Forget prefixes and attribute blocks that no route uses, once they are the most.

        A live station runs for months, and attributes change without end.
        """
        if len(self._pool) + len(self._keys) <= 4 * self._routes + COMPACT_FROM:
            return
        arrays = [self._arrays(view) for view in self.views.values()]
        none = np.zeros(0, dtype=np.int64)
        blocks = np.unique(np.concatenate([none, *(numbers for _, numbers in arrays)]))
        blocks = blocks[blocks >= 0]
        prefixes = np.unique(np.concatenate([none, *(keys >> _PATH_BITS for keys, _ in arrays)]))
        self._pool.keep(blocks)
        self._keys = [self._keys[number] for number in prefixes.tolist()]
        self._numbers = {key: number for number, key in enumerate(self._keys)}
        for view, (keys, numbers) in zip(self.views.values(), arrays, strict=True):
            place = np.searchsorted(prefixes, keys >> _PATH_BITS)
            keys = place << _PATH_BITS | keys & (1 << _PATH_BITS) - 1
            numbers = np.where(numbers < 0, numbers, np.searchsorted(blocks, numbers))
            view.routes = dict(zip(keys.tolist(), numbers.tolist(), strict=True))

    @staticmethod
    def _arrays(view: PeerRoutes) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        count = len(view.routes)
        return (
            np.fromiter(view.routes.keys(), np.int64, count),
            np.fromiter(view.routes.values(), np.int64, count),
        )
