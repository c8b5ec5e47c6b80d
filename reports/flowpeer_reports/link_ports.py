"""Links that share a port: an exchange's interface is a link for each neighbour there.

What a port carries is the sum of its links, and its capacity is theirs together: utilisation, slots
above capacity and what to buy are figures of ports (METHODS M12).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from flowpeer_reports.relations import Ints


@dataclass(frozen=True, slots=True)
class LinkPorts:
    """The ports of some links; the first link of a port stands for it.

    Attributes:
        first: of each link, the first one of its exporter and interface.
        capacity: bit/s of each port, at its first link; 0 where unknown, and of all other links.
        shared: port → its links, rising, where there are several.
    """

    first: Ints
    capacity: Ints
    shared: Mapping[int, tuple[int, ...]]

    @classmethod
    def of(cls, links: pl.DataFrame, capacity: Ints) -> LinkPorts:
        """From links (exporter, interface); `capacity`: bit/s of each, 0 where unknown."""
        members: dict[tuple[str, int], list[int]] = {}
        for link, port in enumerate(links.select("exporter", "interface").iter_rows()):
            members.setdefault(port, []).append(link)
        first = np.zeros(links.height, dtype=np.int64)
        for mine in members.values():
            first[mine] = mine[0]
        whole = np.zeros(links.height, dtype=np.int64)
        np.maximum.at(whole, first, capacity)
        shared = {mine[0]: tuple(mine) for mine in members.values() if len(mine) > 1}
        return cls(first, whole, shared)

    def sums(
        self, links: Ints, bytes_: Ints, dense: Ints, gone: Collection[int] = ()
    ) -> tuple[Ints, Ints]:
        """What the ports of some links carry.

        Args:
            links: their numbers, rising.
            bytes_: links × slots.
            dense: of every link × slots: what those of these ports carry that are neither among
                `links` nor `gone`.

        Returns:
            The ports, rising, and ports × slots.
        """
        ports, row = np.unique(self.first[links], return_inverse=True)
        if not any(port in self.shared for port in ports.tolist()):
            return links, bytes_
        made = np.zeros((len(ports), bytes_.shape[1]), dtype=np.int64)
        for at, line in zip(row.tolist(), bytes_, strict=True):
            made[at] += line
        present = {*links.tolist(), *gone}
        for at, port in enumerate(ports.tolist()):
            for link in self.shared.get(port, ()):
                if link not in present:
                    made[at] += dense[link]
        return ports, made


__all__ = ["LinkPorts"]
