"""What the collector needs of the application: where segments go, and the BMP station beside it."""

from __future__ import annotations

import errno
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from threading import Thread

import pyarrow as pa

from flowpeer.errors import StoreError
from flowpeer.lake import interface_names
from flowpeer.lake.publish import FlowSink, unit_record
from flowpeer.lake.staging import host_word
from flowpeer.lake.store import Lake
from flowpeer.network import Configuration
from flowpeer.pipeline.sum_keeper import SumKeeper
from flowpeer.reporter import Reporter
from flowpeer.routing.bmp.station import BmpStation
from flowpeer_core.native.rows import Rows
from flowpeer_ingest import faults
from flowpeer_ingest.segments import SegmentSummary

Address = tuple[str, int]
"""Host and port."""


class SegmentUnit:
    """Publishes one spool segment into the lake: what the collector's decoder writes to. With
    `keeper` its sums are kept too."""

    def __init__(
        self,
        lake: Lake,
        name: str,
        configured: Collection[str] = frozenset(),
        *,
        collector: str = "",
        keeper: SumKeeper | None = None,
    ) -> None:
        self._lake = lake
        self._collector = collector
        self._configured = configured
        self._sink = FlowSink(lake, f"{name}-{collector}" if collector else name)
        self._keeper = keeper
        if keeper is not None:
            keeper.begin(self._sink.unit)

    def write(self, hour: datetime, name: str, table: pa.Table | Rows) -> None:
        """Stage rows."""
        faults.point("write")
        self._sink.write(hour, name, table)
        if self._keeper is not None and name == "flows":
            self._keeper.add(hour, table)

    def publish(self, summary: SegmentSummary) -> Mapping[str, int]:
        """Publish names and tables, then the unit's record; records without a rate by exporter.

        Raises:
            OSError: no room, or an object store that does not answer: to be tried again.
        """
        try:
            interface_names.merge(
                self._lake, collector_lock(self._collector), summary, self._configured
            )
            record = unit_record(self._sink.unit, summary, collector=self._collector)
            unrated = self._sink.unrated()
            self._sink.publish(record)
            if self._keeper is not None:
                self._keeper.keep(self._sink.flow_digests)
        except StoreError as error:
            raise OSError(errno.EIO, error.what) from error
        return unrated

    def discard(self) -> None:
        """Drop what was staged."""
        self._sink.discard()


def collector_name(network: Configuration) -> str:
    """`[collector] name`, else this host's, as a part of file names."""
    return network.collector.name or host_word()


def collector_lock(name: str) -> str:
    """The lock of the collector of a name: a name twice is refused."""
    return f"collect-{name}" if name else "collect"


@contextmanager
def bmp_station(
    network: Configuration, lake: Lake, listen: Address | None, reporter: Reporter
) -> Iterator[None]:
    """A BMP station beside the collector, in a thread; `lake` is its own. None: no station."""
    if listen is None:
        yield
        return
    exporters = network.exporter_by_address
    station = BmpStation(
        lake,
        listen,
        {address: exporter.id for address, exporter in exporters.items()},
        network.collector.bmp_allow,
        say=reporter.say,
    )
    thread = Thread(target=station.run, name="bmp")
    thread.start()
    reporter.say("BMP: listening on {} port {}".format(*station.address))
    try:
        yield
    finally:
        station.stop()
        thread.join()
