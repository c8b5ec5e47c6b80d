"""`rib`, `lookup` and `peeringdb`: routes and registries."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from flowpeer.analysis.find import COLUMNS as FIND_COLUMNS
from flowpeer.analysis.find import find_places
from flowpeer.cli.arguments import parse_time
from flowpeer.cli.lookup_text import show
from flowpeer.cli.state import CommandState, printable, table_or_json
from flowpeer.errors import NoDataError, UsageError, suggestion
from flowpeer.routing.bgp.peers import Peers
from flowpeer.routing.rib.lookup import detailed, kind_of
from flowpeer.routing.rib.lookup import lookup as look_up
from flowpeer.routing.rib.snapshot import snapshots
from flowpeer.sources import (
    describe,
    load_exports,
    load_ribs,
    load_sources,
    load_updates,
    rib_files,
)

rib = typer.Typer(help="RIB snapshots: load and list.", no_args_is_help=True)
ixf = typer.Typer(help="Member exports of exchanges (IX-F).", no_args_is_help=True)
peeringdb = typer.Typer(help="PeeringDB objects.", no_args_is_help=True)

LIST_COLUMNS = [
    "name", "taken_at", "age", "vantage", "kind", "prefixes4", "prefixes6", "routes", "file_bytes",
    "peers", "source", "skipped",
]  # fmt: skip
LOOKUP_COLUMNS = [
    "address", "prefix", "origin_asn", "origins", "origin_name", "as_path", "snapshot", "vantage",
]  # fmt: skip


def _age(seconds: int) -> str:
    """In words: the two largest units are enough."""
    for unit, word in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= unit:
            return f"{seconds // unit} {word}"
    return f"{seconds} s"


def _row(info: Any) -> dict[str, Any]:
    age_s = max(0, int((datetime.now(UTC) - info.taken_at).total_seconds()))
    return {
        "name": info.name,
        "taken_at": f"{info.taken_at:%Y-%m-%dT%H:%M:%SZ}",
        "age": _age(age_s),
        "age_s": age_s,
        "vantage": info.vantage,
        "kind": info.kind,
        "chosen_peers": list(info.peers),
        "prefixes4": info.prefixes4,
        "prefixes6": info.prefixes6,
        "routes": info.rows,
        "file_bytes": info.file_bytes,
        "peers": len([view for view in info.views if view]),
        "views": ";".join(info.views),
        "source": info.source,
        "skipped": sum(info.skipped.values()),
    }


def _check_vantage(state: CommandState, vantage: str) -> None:
    network = state.network()
    known = [e.id for e in network.exporters] + [m.id for m in network.metros]
    if vantage and vantage not in known:
        raise UsageError(
            f"--vantage {vantage}: no such exporter or metro", advice=suggestion(vantage, known)
        )


@rib.command("load")
def rib_load(
    ctx: typer.Context,
    files: Annotated[
        list[Path], typer.Argument(help="MRT dumps, prefix-to-AS tables, captures of BMP.")
    ],
    taken_at: Annotated[
        str | None, typer.Option(help="When the routes were in force (UTC); default: the file's.")
    ] = None,
    vantage: Annotated[
        str, typer.Option(help="Exporter or metro that these routes belong to; default: all.")
    ] = "",
    peer: Annotated[
        list[str] | None,
        typer.Option(help="Keep only this peer's view: AS3356, address or AS@address; repeatable."),
    ] = None,
    together: Annotated[
        bool,
        typer.Option(
            "--together", help="FILES are one table of one moment: each router's part of it."
        ),
    ] = False,
    updates: Annotated[
        bool,
        typer.Option("--updates", help="FILES are BGP4MP updates: apply them to a snapshot."),
    ] = False,
    onto: Annotated[
        str | None,
        typer.Option(help="Snapshot to apply updates to; default: the latest before them."),
    ] = None,
) -> None:
    """Load RIBs into the lake as snapshots; the same file twice does nothing.

    Each file is a snapshot of its own, and of one place only the latest is in force. Dumps that
    several routers made at one moment are one snapshot with --together: the union of their views.

    With --updates the routes of a snapshot are brought forward: announcements, withdrawals and
    sessions that ended make a new snapshot, of the time of the last update.
    """
    _check_vantage(ctx.obj, vantage)
    state: CommandState = ctx.obj
    options: dict[str, Any] = {"vantage": vantage, "peers": Peers.of(peer or ())}
    paths = [file for path in files for file in rib_files(path)]
    if updates:
        if together:
            raise UsageError("--together does not go with --updates", advice="give one of them")
        if taken_at is not None:
            raise UsageError(
                "--taken-at does not go with --updates",
                advice="updates carry their times; leave it out",
            )
        infos = [load_updates(state.lake(), paths, state.say, onto=onto, **options)]
    elif onto is not None:
        raise UsageError("--onto goes with --updates alone", advice="add --updates")
    else:
        if taken_at is not None:
            options["taken_at"] = parse_time(taken_at)
        infos = load_ribs(
            state.lake(), paths, state.say, warn=state.warn, network=state.network(),
            together=together, **options,
        )  # fmt: skip
    for info in infos:
        if info.skipped:
            counts = ", ".join(f"{n:,} {why}" for why, n in sorted(info.skipped.items()))
            state.say(f"{info.source}: skipped: {counts}")
    table_or_json(state, [_row(info) for info in infos], columns=LIST_COLUMNS)


@rib.command("list")
def rib_list(ctx: typer.Context) -> None:
    """The snapshots in the lake, oldest first: age, size, peers; -v names each peer's view."""
    state: CommandState = ctx.obj
    rows = [_row(info) for info in snapshots(state.lake())]
    if not rows:
        state.say("no snapshots; load one with `flowpeer rib load FILE`")
    table_or_json(state, rows, columns=LIST_COLUMNS)
    if state.verbosity > 0 and not state.json:
        for row in rows:
            print(printable(f"\n{row['name']}"))
            for view in filter(None, row["views"].split(";")):
                print(printable(f"  {view}"))


def lookup(
    ctx: typer.Context,
    asked: Annotated[
        list[str] | None,
        typer.Argument(
            help="Addresses, prefixes, AS numbers; none or -: standard input, one a line."
        ),
    ] = None,
    as_of: Annotated[
        str | None, typer.Option(help="Routes in force at this time (UTC); default: the latest.")
    ] = None,
    detail: Annotated[
        bool, typer.Option("--detail", help="Every view and covering route of addresses too.")
    ] = False,
) -> None:
    """Which route, origin and path an address has; who offers a prefix; what a network announces.

    Addresses give one row each. A prefix or an AS number (AS64500) gives all that is known: routes
    over and inside it, and each view's path with our interfaces to that neighbour.
    """
    state: CommandState = ctx.obj
    lake = state.lake()
    if not snapshots(lake):
        load_sources(lake, state.network(), state.say, warn=state.warn)
    queries = asked if asked and asked != ["-"] else _lines()
    when = parse_time(as_of) if as_of else None
    if not detail and all(kind_of(query) == "address" for query in queries):
        rows = look_up(lake, queries, as_of=when)
        if not state.json:
            rows = [{**r, "origins": ";".join(map(str, r.get("origins") or ()))} for r in rows]
        table_or_json(state, rows, columns=LOOKUP_COLUMNS)
        return
    rows = detailed(lake, queries, as_of=when, interfaces=_interfaces(state))
    if state.json:
        state.emit(rows)
    else:
        for row in rows:
            show(state, row)


def _lines() -> list[str]:
    """What standard input asks for; one that asks for nothing known refuses all, with its line."""
    queries = []
    for number, line in enumerate(sys.stdin, 1):
        if query := line.strip():
            try:
                kind_of(query)
            except UsageError as error:
                raise UsageError(
                    f"standard input, line {number}: {error.what}", advice=error.advice
                ) from None
            queries.append(query)
    return queries


def _interfaces(state: CommandState) -> dict[int, list[str]]:
    """Our external interfaces by the neighbour on their other side."""
    found: dict[int, list[str]] = {}
    for interface in state.network().interfaces:
        if interface.asn is not None and interface.role != "internal":
            text = f"{interface.role} {interface.exporter} {interface.name or interface.index}"
            found.setdefault(interface.asn, []).append(text)
    return found


@peeringdb.command("load")
def peeringdb_load(
    ctx: typer.Context,
    path: Annotated[Path, typer.Argument(help="API dump, folder of objects, or SQLite database.")],
) -> None:
    """Load PeeringDB objects; the same file twice does nothing."""
    from flowpeer.registry.peeringdb import load_peeringdb

    state: CommandState = ctx.obj
    lake = state.lake()
    with lake.lock("reference"):
        facts, new = load_peeringdb(lake, path)
    if state.json:
        state.emit({**facts, "loaded": new})
        return
    state.tell(f"{path}: {describe(facts)}" if new else f"{path}: already loaded, nothing changed")


@peeringdb.command("sync")
def peeringdb_sync(
    ctx: typer.Context,
    url: Annotated[
        str | None, typer.Option(help="Address of the API; default: `peeringdb_url`, else its own.")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Fetch everything, not changes.")] = False,
) -> None:
    """Fetch PeeringDB objects over HTTP: all of them once, then what has changed.

    The API key comes from FLOWPEER_PEERINGDB_API_KEY or the file `peeringdb_api_key_file`.
    """
    from flowpeer.registry.sync import DEFAULT_URL, api_key, sync_peeringdb  # and HTTP

    state: CommandState = ctx.obj
    network, lake = state.network(), state.lake()
    if network.sources.peeringdb is not None:
        raise UsageError(
            f"[sources] names a file ({network.sources.peeringdb}), which would replace what is "
            "synced",
            advice="take `peeringdb` out of [sources], then sync",
        )
    key = api_key(network.source_path("peeringdb_api_key_file"), os.environ)
    with lake.lock("reference") as held:
        facts = sync_peeringdb(
            lake,
            held,
            url=url or network.sources.peeringdb_url or DEFAULT_URL,
            key=key,
            full=full,
            say=state.say,
        )
    if state.json:
        state.emit(facts)
        return
    changed = ", ".join(f"{n:,} {name}" for name, n in facts["changed"].items() if n)
    state.tell(f"{facts['source']}: {f'changed: {changed}' if changed else 'nothing has changed'}")


@peeringdb.command("find")
def peeringdb_find(
    ctx: typer.Context,
    text: Annotated[str, typer.Argument(help="Part of a name or city; several words: all.")],
) -> None:
    """List facilities and exchanges with their ids, as [[metros]] wants them."""
    state: CommandState = ctx.obj
    lake = state.lake()
    source = state.network().source_path("peeringdb")
    if source is not None and source.exists() and lake.writable:
        from flowpeer.registry.peeringdb import load_peeringdb

        with lake.lock("reference"):
            load_peeringdb(lake, source)
    found = find_places(lake, text)
    if not found and lake.entry("reference/peeringdb_ix.parquet") is None:
        raise NoDataError(
            "no PeeringDB is loaded", advice="run `flowpeer peeringdb load FILE`, or `sync`"
        )
    if not found and not state.json:
        state.warn(f"no facility and no exchange with {text!r} in its name or city")
    table_or_json(state, found, columns=FIND_COLUMNS)


@ixf.command("load")
def ixf_load(
    ctx: typer.Context,
    files: Annotated[list[Path], typer.Argument(help="Exports in the JSON schema of Euro-IX.")],
    exchange: Annotated[
        int | None,
        typer.Option(help="PeeringDB id of the exchange, where the export does not state it."),
    ] = None,
) -> None:
    """Load who is at an exchange, from the exchange itself; the same file twice does nothing."""
    state: CommandState = ctx.obj
    paths = [file for path in files for file in rib_files(path)]
    rows = load_exports(state.lake(), paths, state.say, exchange=exchange)
    if not state.json:
        rows = [{**r, "exchanges": ";".join(map(str, r["exchanges"])),
                 "skipped": sum(r["skipped"].values())} for r in rows]  # fmt: skip
    table_or_json(state, rows, columns=["source", "exchanges", "members", "ports", "skipped"])
