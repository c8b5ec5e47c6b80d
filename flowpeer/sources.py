"""`[sources]`: loading what is missing in the lake or has changed on disk.

Every command that needs routes, PeeringDB, relationships or names calls `load_sources`; a source
whose digest is the one loaded before costs the reading of its file and changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

from flowpeer.errors import InputError, NoDataError
from flowpeer.lake.store import Lake, sha256_of
from flowpeer.network import Configuration
from flowpeer.routing.rib import snapshot
from flowpeer.routing.source import opened
from flowpeer.schema import CONFIGURED

Say = Callable[[str], None]

LOCK_WAIT_S = 60.0
"""Loading a table takes seconds; shards of one roll-up wait for each other that long."""


def rib_files(path: Path, key: str = "") -> list[Path]:
    """The RIB at `path`, or all files of the folder, sorted by name; `key` of [sources] names it.

    Raises:
        NoDataError: it does not exist, or is an empty folder.
    """
    if path.is_dir():
        files = sorted(p for p in path.iterdir() if p.is_file() and not p.name.startswith("."))
        if not files:
            raise NoDataError(
                f"{path}: no files in this folder",
                advice="put MRT table dumps or prefix-to-AS tables there"
                if key in ("", "ribs")
                else f"put files there, or take `{key}` out of [sources]",
            )
        return files
    _must_exist(path, key)
    return [path]


def _must_exist(path: Path, key: str = "") -> None:
    if not path.exists():
        where = f"fix `{key}` under [sources] in the configuration" if key else "check the path"
        raise NoDataError(f"{path}: does not exist", advice=where)


def load_ribs(
    lake: Lake,
    files: list[Path],
    say: Say,
    *,
    warn: Say | None = None,
    network: Configuration | None = None,
    together: bool = False,
    **options: Any,
) -> list[snapshot.SnapshotInfo]:
    """Load RIB files; SnapshotInfo of each that could be read, in the order given.

    With `together` all of them are one snapshot, or none is.

    Captures of BMP are recognised by their content; a router that is an exporter of `network` has a
    snapshot of its own.

    Raises:
        InputError: none of them can be read. Of several, those that cannot are reported to `warn`.
    """
    exporters = {} if network is None else network.exporter_by_address
    loaded: list[snapshot.SnapshotInfo] = []
    failed: list[InputError] = []
    with lake.lock("ribs", wait_s=LOCK_WAIT_S):
        for group in [files] if together else [[file] for file in files]:
            path = group[0]
            try:
                if together:
                    infos, new = _load_together(lake, group, options)
                elif _is_capture(path):
                    from flowpeer.routing.bmp.capture import load_capture

                    ids = {address: exporter.id for address, exporter in exporters.items()}
                    infos, new = load_capture(lake, path, exporters=ids, **options)
                else:
                    info, new = snapshot.load(lake, path, **options)
                    infos = [info]
            except InputError as error:
                failed.append(error)
                continue
            for info in infos if new else ():
                say(
                    f"{', '.join(map(str, group))}: {info.prefixes4:,} IPv4 and "
                    f"{info.prefixes6:,} IPv6 prefixes in {max(1, len(info.views))} views"
                    + (f" of {info.vantage}" if info.vantage else "")
                    + f", taken {info.taken_at:%Y-%m-%d %H:%M} UTC"
                )
            loaded += infos
    if failed and not loaded:
        raise failed[0]
    for fault in failed:
        (warn or say)(f"{fault}; not loaded: {fault.advice}")
    return loaded


def _load_together(
    lake: Lake, files: list[Path], options: dict[str, Any]
) -> tuple[list[snapshot.SnapshotInfo], bool]:
    for path in files:
        if _is_capture(path):
            raise InputError(
                str(path), "a capture of BMP is no table", advice="load it without --together"
            )
    info, new = snapshot.load(lake, *files, **options)
    return [info], new


def _is_capture(path: Path) -> bool:
    from flowpeer_ingest.captures import looks_like_capture

    with opened(path) as (stream, _):
        return looks_like_capture(stream.read(4))


def load_updates(lake: Lake, files: list[Path], say: Say, **options: Any) -> Any:
    """Apply files of updates to a snapshot; SnapshotInfo of the new one."""
    from flowpeer.routing.rib import updates

    for path in files:
        _must_exist(path)
    with lake.lock("ribs"):
        info, new = updates.load_updates(lake, files, **options)
    if new:
        say(
            f"{info.source}: {info.prefixes4:,} IPv4 and {info.prefixes6:,} IPv6 prefixes, "
            f"as of {info.taken_at:%Y-%m-%d %H:%M:%S} UTC"
        )
    return info


def load_sources(
    lake: Lake, network: Configuration, say: Say, *, warn: Say | None = None
) -> list[str]:
    """Bring the lake's routes and registries up to date with `[sources]`; names of what is set.

    Raises:
        NoDataError: a source is named and not there.
        InputError: a source cannot be read; what was loaded before stays in force.
    """
    loaded: list[str] = []
    ribs = network.source_path("ribs")
    if ribs is not None:
        # A table that was tied to a router or metro by hand, or loaded with others, is not loaded
        # alone and for all of them too; nor is one that was pruned.
        done = snapshot.pruned_digests(lake)
        for info in snapshot.snapshots(lake):
            done.update(info.parts, [info.source_digest] if info.vantage else [])
        files = [f for f in rib_files(ribs, "ribs") if not done or sha256_of(f) not in done]
        load_ribs(lake, files, say, warn=warn, network=network)
        loaded.append("ribs")
    for key in ("peeringdb", "as_relationships", "as_cones", "as_names"):
        path = network.source_path(key)
        if path is None:
            continue
        _must_exist(path, key)
        with lake.lock("reference", wait_s=LOCK_WAIT_S):
            facts, new = _load_reference(key, lake, path)
        if new:
            say(f"{path}: {describe(facts)}")
        loaded.append(key)
    exports = network.source_path("ixf")
    if exports is not None:
        load_exports(lake, rib_files(exports, "ixf"), say)
        loaded.append("ixf")
    _configured(lake, network)
    return loaded


def _load_reference(key: str, lake: Lake, path: Path) -> tuple[dict[str, Any], bool]:
    """Load the file of one key, by what is imported for it alone."""
    if key == "peeringdb":
        from flowpeer.registry.peeringdb import load_peeringdb as load
    elif key == "as_relationships":
        from flowpeer.routing.relations import load_relations as load
    elif key == "as_cones":
        from flowpeer.routing.cones import load_cones as load
    else:
        from flowpeer.registry.as_names import load_names as load
    return load(lake, path)


def _configured(lake: Lake, network: Configuration) -> None:
    """Put the tables of the configuration into `reference`, where they changed: so that whoever
    reads the lake without flowpeer has capacities and roles."""
    known = lake.entries("reference")
    for name, table in network.tables().items():
        relative = f"reference/{name}.parquet"
        text = json.dumps(table.to_pylist(), sort_keys=True, default=str)
        digest = sha256(text.encode()).hexdigest()
        if known.get(relative, {}).get("source_digest") != digest:
            facts = {"source": network.source.name, "source_digest": digest}
            lake.publish(relative, CONFIGURED[name], table, facts)


def load_exports(
    lake: Lake, files: list[Path], say: Say, *, exchange: int | None = None
) -> list[dict[str, Any]]:
    """Load member exports of exchanges; the facts of each."""
    from flowpeer.registry.ixf import load_ixf

    found: list[dict[str, Any]] = []
    with lake.lock("reference", wait_s=LOCK_WAIT_S):
        for path in files:
            facts, new = load_ixf(lake, path, exchange=exchange)
            if new:
                say(f"{path}: {facts['members']:,} members on {facts['ports']:,} ports")
            found.append(facts)
    return found


def describe(facts: dict[str, Any]) -> str:
    """What was loaded, in one line."""
    counts = facts.get("objects") or {k: facts[k] for k in ("rows", "clique") if k in facts}
    shown = [f"{n:,} {what}" for what, n in counts.items() if isinstance(n, int) and n]
    return ", ".join(shown) or "loaded"
