"""Where the classes of outbound routes leave when links go (METHODS M12).

A question is a chain of classes (of a prefix, then of those over it), the metro that the demand
belongs to and the one that it leaves from. Taking away links that are no contenders for a class
changes nothing, so every class is asked once with all links there, and again only where a
contender, or an exit, is gone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flowpeer_reports.demand import Demand
from flowpeer_reports.kernels import Small
from flowpeer_reports.offers import Choice
from flowpeer_reports.relations import Flags, Ints

CHUNK = 1 << 14
"""Classes that are asked at once: bounds memory."""


@dataclass(frozen=True, slots=True)
class IntactExits:
    """What classes say while every link is there.

    Attributes:
        key: rising; see `Lookups.key`.
        exit_edge, exit: exits of key i are `exit[exit_edge[i] : exit_edge[i + 1]]`.
        rival_edge, rival: the same of the links that are contenders.
        known: by offers that the tables show.
    """

    key: Ints
    exit_edge: Ints
    exit: Ints
    rival_edge: Ints
    rival: Ints
    known: Flags


@dataclass(frozen=True, slots=True)
class Lookups:
    """The questions of a demand.

    Attributes:
        question: of each outbound route, int32: a place in the next three.
        chain, demand, exit_metro: chains, metros; distinct.
        steps: chains × steps: classes, −1 beyond the end of a chain.
    """

    choice: Choice
    question: Small
    chain: Ints
    demand: Ints
    exit_metro: Ints
    steps: Ints
    intact: IntactExits

    @classmethod
    def of(cls, choice: Choice, asked: Demand) -> Lookups:
        """Number the questions, and ask each class."""
        longest = max((len(c) for c in asked.chains), default=0)
        steps = np.full((len(asked.chains), longest + 1), -1, dtype=np.int64)
        for number, classes in enumerate(asked.chains):
            steps[number, : len(classes)] = classes
        out, wide = asked.out, len(choice.places.metros)
        edge = out.edge.tolist()
        keys, places = [np.zeros(0, dtype=np.int64)], []
        for link, metro in enumerate(choice.places.metro_of_link.tolist()):
            span = slice(edge[link], edge[link + 1])
            key = (out.chain[span].astype(np.int64) * wide + out.home[span]) * wide + metro
            mine, place = np.unique(key, return_inverse=True)
            keys.append(mine)
            places.append(place)
        every = np.unique(np.concatenate(keys))
        question = np.zeros(len(out.bytes), dtype=np.int32)
        for link, (mine, place) in enumerate(zip(keys[1:], places, strict=True)):
            question[edge[link] : edge[link + 1]] = np.searchsorted(every, mine)[place]
        rest, exit_metro = np.divmod(every, wide)
        chain, demand = np.divmod(rest, wide)
        found = [np.zeros(0, dtype=np.int64)]
        for step in range(longest):
            class_ = steps[chain, step]
            has = (class_ >= 0) & (chain > 0)
            found.append(_key(choice, class_[has], demand[has], exit_metro[has], step))
        intact = _intact(choice, np.unique(np.concatenate(found)))
        return cls(choice, question, chain, demand, exit_metro, steps, intact)

    def ask(
        self, chain: Ints, demand: Ints, exit_metro: Ints, gone: Flags
    ) -> tuple[Ints, Ints, Ints, Flags]:
        """Exits of each question: of the prefix, else of the longest over it that has one.

        Args:
            gone: of each link.

        Returns:
            start, size: the exits of question i are `links[start[i] : start[i] + size[i]]`.
            links.
            known: by offers that the tables show.
        """
        start, size = np.zeros((2, len(chain)), dtype=np.int64)
        known = np.zeros(len(chain), dtype=np.bool_)
        pool = [np.zeros(0, dtype=np.int64)]
        used = step = 0
        open_ = np.flatnonzero(chain > 0)
        while True:
            class_ = self.steps[chain[open_], step]
            open_, class_ = open_[class_ >= 0], class_[class_ >= 0]
            if not len(open_):
                break
            key = _key(self.choice, class_, demand[open_], exit_metro[open_], step)
            intact = self.intact
            at = np.searchsorted(intact.key, key)
            if (at == len(intact.key)).any() or (intact.key[at] != key).any():
                intact = _intact(self.choice, np.unique(key))
                at = np.searchsorted(intact.key, key)
            start[open_] = used + intact.exit_edge[at]
            size[open_] = np.diff(intact.exit_edge)[at]
            known[open_] = intact.known[at]
            pool.append(intact.exit)
            used += len(intact.exit)
            again = np.flatnonzero(
                _any(intact.exit_edge, gone[intact.exit])[at]
                | _any(intact.rival_edge, gone[intact.rival])[at]
            )
            query = open_[again]
            answer = self.choice.exits(
                class_[again], demand[query], exit_metro[query],
                routed=np.full(len(query), step == 0), gone=gone[None, :],
                gone_row=np.zeros(len(query), dtype=np.int64),
            )  # fmt: skip
            start[query], size[query] = used + answer.first[:-1], answer.count
            known[query] = answer.known
            pool.append(answer.link)
            used += len(answer.link)
            open_ = open_[size[open_] == 0]
            step += 1
        return start, size, np.concatenate(pool), known


def _key(choice: Choice, class_: Ints, demand: Ints, exit_metro: Ints, step: int) -> Ints:
    """A class asked from a metro for another (−1: none); assumed exits are there at step 0 only."""
    wide = len(choice.places.metros) + 1
    found: Ints = ((class_ * wide + demand) * wide + exit_metro + 1) * 2 + (step == 0)
    return found


def _intact(choice: Choice, keys: Ints) -> IntactExits:
    exits, rivals, known = [], [], []
    sizes, counts = [], []
    wide = len(choice.places.metros) + 1
    for begin in range(0, len(keys), CHUNK):
        rest, routed = np.divmod(keys[begin : begin + CHUNK], 2)
        rest, exit_metro = np.divmod(rest, wide)
        class_, demand = np.divmod(rest, wide)
        answer = choice.exits(class_, demand, exit_metro - 1, routed=routed.astype(np.bool_))
        query, link = answer.contenders
        exits.append(answer.link)
        sizes.append(answer.count)
        rivals.append(link)
        counts.append(np.bincount(query, minlength=len(class_)))
        known.append(answer.known)
    return IntactExits(
        keys, _edges(sizes), _joined(exits), _edges(counts), _joined(rivals),
        np.concatenate([np.zeros(0, dtype=np.bool_), *known]),
    )  # fmt: skip


def _joined(parts: list[Ints]) -> Ints:
    return np.concatenate([np.zeros(0, dtype=np.int64), *parts])


def _edges(parts: list[Ints]) -> Ints:
    return np.concatenate([[0], np.cumsum(_joined(parts))]).astype(np.int64)


def _any(edge: Ints, flags: Flags) -> Flags:
    """Whether one of each `flags[edge[i] : edge[i + 1]]` is set."""
    sums = np.concatenate([[0], np.cumsum(flags)])
    found: Flags = sums[edge[1:]] > sums[edge[:-1]]
    return found
