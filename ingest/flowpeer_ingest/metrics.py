"""The collector's numbers for Prometheus, made from the same snapshot as the status file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector as Source

from flowpeer_ingest.stats import LOSSES
from flowpeer_ingest.web import HttpResponse

TOTALS: dict[str, str] = {
    "datagrams": "Datagrams decoded.",
    "octets": "Octets of decoded datagrams.",
    "records": "Flow records decoded.",
    "rows": "Flow records published.",
    "options_records": "Options data records decoded.",
    "segments": "Spool segments decoded and published.",
    "forgotten_sessions": "Sessions forgotten for lack of memory, the least recently used first.",
    "conflicts": "Signs of two senders under one address, port and domain.",
}
RECEIVER: dict[str, str] = {
    "received": "Datagrams received into the spool.",
    "received_octets": "Octets received into the spool.",
    "committed": "Datagrams in the spool that are on the disk: the watermark.",
    "sync_failures": "Attempts to sync the spool that failed.",
}
EXPORTER: dict[str, str] = {
    "datagrams": "Datagrams decoded.",
    "octets": "Octets of decoded datagrams.",
    "records": "Flow records decoded.",
    "lost": "Sequence gaps: datagrams (NetFlow v9, sFlow) or records (v5, IPFIX).",
    "template_misses": "Data sets that came before their template.",
    "unknown_sampling": "Flow records without a sampling rate.",
    "conflicts": "Signs of two senders under this address, port and domain.",
}
GAUGES: dict[str, str] = {
    "spool_segments": "Sealed segments that wait for the decoder.",
    "spool_octets": "Octets in the spool.",
    "lag_seconds": "Age of the oldest datagram that is not published.",
}
TIMES: dict[str, tuple[str, str]] = {
    "last_datagram": ("last_datagram_us", "When a datagram was received last."),
    "last_sealed": ("last_sealed_us", "When a segment was sealed last."),
    "last_published": ("published_us", "When a segment was published last."),
    "started": ("started_us", "When the collector started."),
}
"""Of the snapshot, as `flowpeer_<name>_timestamp_seconds`; 0 is never."""
REASONS: dict[str, str] = {
    "rejected": "Datagrams refused.",
    "implausible": "Flow records set aside: impossible counters or times.",
    "malformed": "Rules broken in datagrams of which the rest was decoded.",
    "unsupported": "Formats and samples that are known and not decoded.",
}


class Metrics(Source):
    """Gives the families that a snapshot says."""

    def __init__(
        self, snapshot: Callable[[], dict[str, Any]], troubles: Callable[[], dict[str, int]]
    ) -> None:
        self._snapshot = snapshot
        self._troubles = troubles

    def collect(self) -> Iterator[Metric]:
        """All families."""
        now = self._snapshot()
        for name, text in TOTALS.items():
            yield CounterMetricFamily(f"flowpeer_{name}", text, value=now["totals"].get(name, 0))
        for name, text in LOSSES.items():
            lost = now["losses"].get(name, {}).get("total", 0)
            yield CounterMetricFamily(f"flowpeer_loss_{name}", text, value=lost)
        for name, text in REASONS.items():
            counter = CounterMetricFamily(f"flowpeer_{name}", text, labels=["reason"])
            for reason, count in now[name].items():
                counter.add_metric([reason], count)
            yield counter
        for name, text in RECEIVER.items():
            counter = CounterMetricFamily(f"flowpeer_receiver_{name}", text, labels=["receiver"])
            for number, receiver in enumerate(now["receivers"]):
                counter.add_metric([str(number)], receiver.get(name, 0))
            yield counter
        drops = CounterMetricFamily(
            "flowpeer_socket_kernel_drops", "Datagrams the kernel dropped.", labels=["socket"]
        )
        waiting = GaugeMetricFamily(
            "flowpeer_socket_queue_octets", "Octets in the socket's buffer.", labels=["socket"]
        )
        for listener in now["listen"]:
            drops.add_metric([listener["name"]], listener["kernel_drops"])
            waiting.add_metric([listener["name"]], listener["queue_octets"])
        yield drops
        yield waiting
        for name, text in EXPORTER.items():
            counter = CounterMetricFamily(f"flowpeer_exporter_{name}", text, labels=["exporter"])
            for address, exporter in now["exporters"].items():
                counter.add_metric([address], exporter[name])
            yield counter
        seen = GaugeMetricFamily(
            "flowpeer_exporter_last_seen_seconds", "When it was last seen.", labels=["exporter"]
        )
        gap = GaugeMetricFamily(
            "flowpeer_exporter_usual_gap_seconds", "Its usual silence.", labels=["exporter"]
        )
        clock = GaugeMetricFamily(
            "flowpeer_exporter_clock_error_seconds",
            "Receive time less the exporter's clock.",
            labels=["exporter"],
        )
        for address, exporter in now["exporters"].items():
            seen.add_metric([address], exporter["last_seen_us"] / 1e6)
            gap.add_metric([address], exporter["usual_gap_us"] / 1e6)
            if exporter["clock_error_s"] is not None:
                clock.add_metric([address], exporter["clock_error_s"])
        yield seen
        yield gap
        yield clock
        for name, text in GAUGES.items():
            yield GaugeMetricFamily(f"flowpeer_{name}", text, value=now["spool"][name])
        yield GaugeMetricFamily("flowpeer_spool_free_octets", "Octets left on the spool's disk.",
                                value=now["spool"]["free_octets"])  # fmt: skip
        yield GaugeMetricFamily("flowpeer_spool_failed_segments", "Segments set aside.",
                                value=now["spool"]["failed"])  # fmt: skip
        for name, (key, text) in TIMES.items():
            yield GaugeMetricFamily(
                f"flowpeer_{name}_timestamp_seconds", text, value=now[key] / 1e6
            )
        troubles = GaugeMetricFamily(
            "flowpeer_troubles", "What `flowpeer status` finds wrong, by kind.", labels=["code"]
        )
        for code, count in self._troubles().items():
            troubles.add_metric([code], count)
        yield troubles


def text(
    snapshot: Callable[[], dict[str, Any]], troubles: Callable[[], dict[str, int]]
) -> Callable[[], HttpResponse]:
    """The page /metrics: everything that a snapshot says, in Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Metrics(snapshot, troubles))
    return lambda: HttpResponse(generate_latest(registry).decode(), type=CONTENT_TYPE_LATEST)
