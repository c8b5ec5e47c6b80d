"""`collect` and `status`: the collector as a service, and what it says of itself."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import Annotated, Any

import typer

from flowpeer.cli.state import CommandState, printable, table_or_json
from flowpeer.errors import NoDataError, UsageError
from flowpeer.pipeline.collect import (
    Address,
    SegmentUnit,
    bmp_station,
    collector_lock,
    collector_name,
)
from flowpeer.pipeline.sum_keeper import SumKeeper
from flowpeer_ingest.collector import Collector, CollectorOptions
from flowpeer_ingest.health import running, troubles
from flowpeer_ingest.segments import Allowed
from flowpeer_ingest.sockets import parse
from flowpeer_ingest.spool import segments
from flowpeer_ingest.stats import read_status

LOOPBACK = "127.0.0.1"
"""Where numbers are answered unless stated otherwise: they name every router."""


def _addresses(texts: Sequence[str], host: str = "0.0.0.0") -> tuple[Address, ...]:  # noqa: S104
    try:
        return tuple(parse(text, host) for text in texts)
    except ValueError as error:
        raise UsageError(str(error)) from None


def _prefixes(texts: Sequence[str]) -> Allowed:
    try:
        return tuple(ip_network(text) for text in texts)
    except ValueError as error:
        raise UsageError(f"--allow {error}", advice="a prefix is ADDRESS/LENGTH") from None


def collect(
    ctx: typer.Context,
    listen: Annotated[
        list[str] | None,
        typer.Option("--listen", help="HOST:PORT to receive on; repeatable [0.0.0.0:2055]."),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(
            "--metrics", help="[HOST:]PORT that answers Prometheus; a port alone is on 127.0.0.1."
        ),
    ] = None,
    receivers: Annotated[
        int, typer.Option("--receivers", min=1, max=16, help="Receiver processes.")
    ] = 1,
    known_only: Annotated[
        bool,
        typer.Option("--known-only", help="Refuse exporters that are not in the configuration."),
    ] = False,
    allow: Annotated[
        list[str] | None,
        typer.Option(
            "--allow",
            help="Prefix in which exporters may be that are not in the configuration; repeatable "
            "[`allow` of the configuration, else anywhere].",
        ),
    ] = None,
    bmp: Annotated[
        str | None,
        typer.Option("--bmp", help="HOST:PORT where routers connect to tell their routes by BMP."),
    ] = None,
) -> None:
    """Receive export datagrams until SIGTERM.

    NetFlow v5 and v9, IPFIX and sFlow v5, on any port. SIGTERM or ^C seals, decodes and publishes
    what was received, then exits 0.
    """
    if known_only and allow:
        raise UsageError("--known-only and --allow contradict each other")
    state: CommandState = ctx.obj
    network, lake = state.network(), state.lake()
    allowed = _prefixes(allow) if allow else network.collector.allow
    settings = CollectorOptions(
        spool=network.spool_path,
        listen=_addresses(listen or network.collector.listen),
        receivers=receivers,
        seal_after_s=network.collector.seal_after,
        reserve_octets=network.collector.reserve,
        configured=frozenset(network.exporter_by_address),
        exporter_ids={a: e.id for a, e in network.exporter_by_address.items()},
        allowed=() if known_only else allowed,
        metrics=_addresses([metrics], LOOPBACK)[0] if metrics else None,
    )
    name = collector_name(network)
    keeper = SumKeeper(lake, network, lambda: len(segments(settings.spool, "sealed")))
    with lake.lock(collector_lock(name)):
        collector = Collector(
            settings,
            unit=lambda unit: SegmentUnit(
                lake, unit, settings.configured, collector=name, keeper=keeper
            ),
            active_timeout_s=network.active_timeout_s,
            say=lambda text: state.say(text),
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: collector.stop())
        state.say(f"collecting into {lake}, spool {settings.spool}")
        station = _addresses([bmp])[0] if bmp is not None else None
        with bmp_station(network, state.lake(), station, state):
            collector.run()
    done = collector.snapshot()
    if state.json:
        state.emit(done)
    else:
        totals = done["totals"]
        state.say(
            f"stopped: {totals.get('datagrams', 0):,} datagrams, "
            f"{totals.get('rows', 0):,} flow records published"
        )


def status(ctx: typer.Context) -> None:
    """The collector's counters, losses and lag.

    Exits 1 if it does not run, if segments are stuck, if an exporter is silent for longer than is
    usual for it, or if anything was lost in the last hour.
    """
    state: CommandState = ctx.obj
    network = state.network()
    folder = network.spool_path
    snapshot = read_status(folder)
    if snapshot is None:
        raise NoDataError(
            f"{folder}: no collector has run here",
            advice="start one with `flowpeer collect`, or name its configuration with --config",
        )
    now_us = int(datetime.now(UTC).timestamp() * 1e6)
    snapshot["running"] = running(snapshot, now_us)
    names = {a: e.id for a, e in network.exporter_by_address.items()}
    found = list(troubles(snapshot, now_us, names=names))
    snapshot["troubles"] = [trouble._asdict() for trouble in found]
    snapshot["lost_recently"] = [trouble.subject for trouble in found if trouble.code == "loss"]
    for address, exporter in snapshot["exporters"].items():
        exporter["id"] = names.get(address)
    if state.json:
        state.emit(snapshot)
    elif state.verbosity >= 0:
        _show(state, snapshot)
    for trouble in found:
        state.warn(f"{trouble.subject}: {trouble.text}")


def _show(state: CommandState, snapshot: dict[str, Any]) -> None:
    """For people: one line a thing, then the exporters."""
    totals, spool = snapshot["totals"], snapshot["spool"]
    word, since = (
        ("running", snapshot["started_us"])
        if snapshot["running"]
        else ("down", snapshot["updated_us"])
    )
    received = sum(r.get("received", 0) for r in snapshot["receivers"])
    committed = sum(r.get("committed", 0) for r in snapshot["receivers"])
    published = (
        f"{totals.get('rows', 0):,} of {totals.get('records', 0):,} records in "
        f"{totals.get('datagrams', 0):,} datagrams"
    )
    depth = (
        f"{spool['spool_segments']:,} segments wait, {spool['spool_octets']:,} octets, "
        f"lag {spool['lag_seconds']:,.1f} s, {spool['failed']} set aside"
    )
    lines = [
        f"collector   {word} since {_time(since)}",
        f"received    {received:,} datagrams, {committed:,} of them committed",
        f"published   {published}",
        f"spool       {depth}",
    ]
    lines += [
        f"socket      {s['name']}: buffer {s['buffer_octets']:,} octets, "
        f"{s['queue_octets']:,} waiting, {s['kernel_drops']:,} datagrams dropped"
        for s in snapshot["listen"]
    ]
    for label, key in (
        ("rejected", "rejected"), ("implausible", "implausible"), ("malformed", "malformed"),
        ("unsupported", "unsupported"),
    ):  # fmt: skip
        lines += [f"{label:<11} {count:,} {reason}" for reason, count in snapshot[key].items()]
    if snapshot["pending"]:
        sets = sum(snapshot["pending"].values())
        lines.append(f"pending     {sets:,} data sets of {len(snapshot['pending'])} templates")
    if snapshot["refused_sources"]:
        lines.append(f"unknown     {len(snapshot['refused_sources']):,} sources refused")
    sys.stdout.write(printable("\n".join(lines)) + "\n")
    for warning in snapshot["warnings"]:
        state.say(f"warning: {warning}")
    rows = [
        {
            "exporter": e["id"] or f"{address} (not configured)",
            "datagrams": e["datagrams"], "records": e["records"], "octets": e["octets"],
            "lost": e["lost"], "template_misses": e["template_misses"],
            "unknown_sampling": e["unknown_sampling"], "clock_error_s": e["clock_error_s"],
            "last_seen": _time(e["last_seen_us"]),
        }
        for address, e in snapshot["exporters"].items()
    ]  # fmt: skip
    table_or_json(state, rows, columns=list(rows[0]) if rows else [])


def _time(microseconds: int) -> str:
    return f"{datetime.fromtimestamp(microseconds / 1e6, UTC):%Y-%m-%d %H:%M:%S} UTC"
