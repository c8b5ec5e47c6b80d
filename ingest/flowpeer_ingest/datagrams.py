"""Datagrams of a batch: their octets in one buffer, and a row of a table for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowpeer_core.native.table import CArrival, CDatagram

ENTRY = np.dtype(CArrival).newbyteorder("<")
"""A datagram as it was received and as the spool keeps it. Addresses: 16 octets, IPv4 mapped."""
TABLE = np.dtype(CDatagram)


@dataclass(frozen=True, slots=True)
class Datagrams:
    """In the order they came. `table` is of `TABLE`; its `exporter` is a place in `exporters`."""

    octets: bytes | memoryview
    table: NDArray[Any]
    exporters: Sequence[str]

    @classmethod
    def of(
        cls,
        payloads: Sequence[bytes],
        exporters: Sequence[str],
        ports: Sequence[int],
        received_us: Sequence[int],
    ) -> Datagrams:
        """From lists of one entry a datagram; times in µs since the epoch."""
        places = {name: i for i, name in enumerate(dict.fromkeys(exporters))}
        size = np.fromiter(map(len, payloads), np.int64, len(payloads))
        table = laid_out(np.cumsum(size) - size, size)
        table["received_us"], table["port"] = received_us, ports
        table["exporter"] = [*map(places.__getitem__, exporters)]
        return cls(b"".join(payloads), table, [*places])

    def __len__(self) -> int:
        return len(self.table)

    def exporter(self, i: int) -> str:
        """Whose datagram it is."""
        return self.exporters[int(self.table["exporter"][i])]

    def one(self, i: int) -> tuple[bytes, str, int, int]:
        """(octets, exporter, its port, when it was received) of a datagram."""
        row = self.table[i]
        at = int(row["at"])
        payload = bytes(self.octets[at : at + int(row["size"])])
        return payload, self.exporter(i), int(row["port"]), int(row["received_us"])


def laid_out(at: NDArray[Any], size: NDArray[Any]) -> NDArray[Any]:
    """A table of datagrams that lie there."""
    table = np.zeros(len(at), TABLE)
    table["at"], table["size"] = at, size
    return table
