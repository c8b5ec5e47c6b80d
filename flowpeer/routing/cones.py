"""Customer cones into reference/as_cones: from a file, or observed on our own routes.

A file has one line a network, `asn member member …` (CAIDA's provider/peer-observed cones,
ppdc-ases). Observed here are the networks seen downhill behind another one where a provider or peer
of that one hears it (METHODS M7). Both are several times smaller than recursive cones.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import polars as pl

from flowpeer.errors import InputError, NoDataError
from flowpeer.lake.store import Lake, digest_of
from flowpeer.routing.relations import MAX_OCTETS, RELATIONSHIPS
from flowpeer.routing.rib.snapshot import SnapshotInfo
from flowpeer.routing.source import BROKEN_SHARE, opened
from flowpeer.schema import AS_CONES
from flowpeer_core.columns import arrow_schema
from flowpeer_reports.paths import behind
from flowpeer_reports.relations import AsGraph

TABLE = "reference/as_cones.parquet"
_MAX_ASN = 0xFFFFFFFF
_ADVICE = "expected are lines like 3356 64500 64501 (CAIDA ppdc-ases)"


def load_cones(lake: Lake, path: Path) -> tuple[dict[str, Any], bool]:
    """Load a file of customer cones, replacing what was there.

    Returns:
        Facts (rows, source, source_digest, skipped, words), and whether it was loaded now.

    Raises:
        InputError: the file cannot be read or is none; the lake is as it was.
    """
    digest = digest_of(path)
    entry = lake.entry(TABLE)
    if entry is not None and entry.get("source_digest") == digest:
        return entry, False
    with opened(path) as (stream, _):
        data = stream.read(MAX_OCTETS + 1)
    if len(data) > MAX_OCTETS:
        raise InputError(str(path), f"unpacks to more than {MAX_OCTETS} octets", advice=_ADVICE)
    pairs, skipped = _parse(path, data.decode("utf-8", "replace"))
    facts = {
        "source": path.name,
        "source_digest": digest,
        "source_time": datetime.fromtimestamp(int(path.stat().st_mtime), UTC).isoformat(),
        "skipped": skipped,
        "words": f"provider/peer-observed customer cones ({path.name})",
    }
    return _publish(lake, pairs, facts), True


def observe_cones(
    lake: Lake, infos: Sequence[SnapshotInfo], ourselves: int, peers: Iterable[int] = ()
) -> tuple[dict[str, Any], bool]:
    """Cones observed on the paths of these snapshots, by the loaded relationships.

    What was observed before with the same snapshots, relationships and `peers` (networks that we
    have a session with) is taken as it is.

    Raises:
        NoDataError: no snapshot with AS paths, or no relationships, to observe them with.
    """
    used = sorted((i for i in infos if i.kind != "table"), key=lambda info: info.name)
    relations = lake.entry(RELATIONSHIPS)
    if not used or relations is None:
        raise NoDataError(
            "customer cones cannot be observed without "
            + ("AS relationships" if used else "a RIB with AS paths"),
            advice="load them (`as_relationships`, `ribs` under [sources])",
        )
    sessions = sorted(set(peers))
    parts = [relations["source_digest"], str(ourselves), str(sessions), *(i.digest for i in used)]
    digest = sha256("\n".join(["provider/peer", *parts]).encode()).hexdigest()
    entry = lake.entry(TABLE)
    if entry is not None and entry.get("source_digest") == digest:
        return entry, False
    graph = AsGraph(pl.read_parquet(lake.path(RELATIONSHIPS), glob=False))
    facts = {
        "source": "observed",
        "source_digest": digest,
        "source_time": max(info.taken_at for info in used).isoformat(),
        "snapshots": [info.name for info in used],
        "skipped": {},
        "words": "customer cones observed on the paths of our own routes",
    }
    pairs = behind(_paths(lake, used), graph, [ourselves], sessions)
    return _publish(lake, pairs, facts), True


def _paths(lake: Lake, infos: Sequence[SnapshotInfo]) -> pl.Series:
    """The distinct paths of all views; a table a day repeats most of the one before."""
    known = pl.DataFrame(schema={"as_path": pl.String})
    for info in infos:
        added = (
            pl.scan_parquet(lake.path(f"routes/{info.name}.parquet"), glob=False)
            .select("as_path")
            .drop_nulls()
            .unique()
            .join(known.lazy(), on="as_path", how="anti")
            .collect()
        )
        known = known.vstack(added)
    return known["as_path"]


def _publish(lake: Lake, pairs: pl.DataFrame, facts: dict[str, Any]) -> dict[str, Any]:
    return lake.publish(TABLE, AS_CONES, pairs.to_arrow().cast(arrow_schema(AS_CONES)), facts)


def _parse(path: Path, text: str) -> tuple[pl.DataFrame, dict[str, int]]:
    lines = pl.Series("line", text.split("\n")).str.strip_chars()
    frame = pl.DataFrame({"line": lines}).with_row_index("number", 1)
    frame = frame.filter((pl.col("line") != "") & ~pl.col("line").str.starts_with("#"))
    good = pl.col("line").str.contains(r"^[0-9]{1,10}([ \t]+[0-9]{1,10})*$")
    bad = frame.filter(~good)
    if not frame.height or bad.height * BROKEN_SHARE > frame.height:
        raise InputError(
            str(path),
            f"{bad.height} of {frame.height} lines are no customer cone",
            line=int(bad["number"][0]) if bad.height else None,
            advice=_ADVICE,
        )
    members = (
        frame.filter(good)
        .select(
            pl.col("line").str.extract_all(r"[0-9]+").cast(pl.List(pl.Int64)).alias("member_asn")
        )
        .with_columns(pl.col("member_asn").list.first().alias("asn"))
        .explode("member_asn", empty_as_null=True)
    )
    pairs = members.filter(
        pl.col("asn") != pl.col("member_asn"),
        pl.col("asn").is_between(1, _MAX_ASN),
        pl.col("member_asn").is_between(1, _MAX_ASN),
    )
    pairs = pairs.select("asn", "member_asn").unique().sort("asn", "member_asn")
    return pairs, {"not a customer cone": bad.height} if bad.height else {}
