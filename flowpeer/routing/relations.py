"""AS relationships: CAIDA serial-1 (`a|b|rel`) and serial-2 (`a|b|rel|source`), any compression.

−1: a is the provider of b; 0: peers; 1: siblings. The clique of provider-free networks stands in a
comment (`# inferred clique: 174 209 …`).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from flowpeer.errors import InputError
from flowpeer.lake.store import Lake, digest_of
from flowpeer.routing.source import BROKEN_SHARE, opened
from flowpeer.schema import AS_CLIQUE, AS_RELATIONSHIPS
from flowpeer_core.columns import arrow_schema

RELATIONSHIPS, CLIQUE = "reference/as_relationships.parquet", "reference/as_clique.parquet"
MAX_OCTETS = 1 << 29
"""The files of all of CAIDA's history are below 20 MB unpacked."""
_CLIQUE = re.compile(r"^#\s*(inferred|input) clique:\s*([0-9 ]*)$", re.MULTILINE)
_ADVICE = "expected are lines like 3356|64500|-1 (CAIDA serial-1 or serial-2)"


def load_relations(lake: Lake, path: Path) -> tuple[dict[str, Any], bool]:
    """Load one file of AS relationships, replacing what was loaded before.

    Returns:
        Facts (rows, clique, source, source_digest, skipped), and whether it was loaded now: the
        same content is not loaded again.

    Raises:
        InputError: the file cannot be read or is none; the lake is as it was.
    """
    digest = digest_of(path)
    known = [lake.entry(relative) for relative in (RELATIONSHIPS, CLIQUE)]
    if known[0] is not None and all(
        entry is not None and entry.get("source_digest") == digest for entry in known
    ):
        return known[0], False
    with opened(path) as (stream, _):
        data = stream.read(MAX_OCTETS + 1)
    if len(data) > MAX_OCTETS:
        raise InputError(str(path), f"unpacks to more than {MAX_OCTETS} octets", advice=_ADVICE)
    text = data.decode("utf-8", "replace")
    pairs, skipped = _parse(path, text)
    clique = _clique(text)
    facts = {
        "source": path.name,
        "source_digest": digest,
        "source_time": datetime.fromtimestamp(int(path.stat().st_mtime), UTC).isoformat(),
        "clique": len(clique),
        "skipped": skipped,
    }
    members = pa.table({"asn": pa.array(clique, pa.int64())}, schema=arrow_schema(AS_CLIQUE))
    lake.publish(CLIQUE, AS_CLIQUE, members, facts)
    entry = lake.publish(RELATIONSHIPS, AS_RELATIONSHIPS, pairs, facts)
    return entry, True


def _clique(text: str) -> list[int]:
    found = {match[1]: match[2] for match in _CLIQUE.finditer(text)}
    members = found.get("inferred", found.get("input", "")).split()
    return sorted({int(word) for word in members if int(word) <= 0xFFFFFFFF})


def _parse(path: Path, text: str) -> tuple[pa.Table, dict[str, int]]:
    import polars as pl

    lines = pl.Series("line", text.split("\n")).str.strip_chars()
    frame = pl.DataFrame({"line": lines}).with_row_index("number", 1)
    frame = frame.filter((pl.col("line") != "") & ~pl.col("line").str.starts_with("#"))
    cells = frame["line"].str.split_exact("|", 3).struct.unnest()
    frame = frame.select(
        "number",
        asn=cells.to_series(0).cast(pl.Int64, strict=False),
        other_asn=cells.to_series(1).cast(pl.Int64, strict=False),
        relationship=cells.to_series(2).cast(pl.Int32, strict=False),
    )
    good = (
        pl.col("asn").is_between(0, 0xFFFFFFFF)
        & pl.col("other_asn").is_between(0, 0xFFFFFFFF)
        & pl.col("relationship").is_in([-1, 0, 1])
    ).fill_null(False)
    bad = frame.filter(~good)
    if not frame.height or bad.height * BROKEN_SHARE > frame.height:
        raise InputError(
            str(path),
            f"{bad.height} of {frame.height} lines are no AS relationship",
            line=int(bad["number"][0]) if bad.height else None,
            advice=_ADVICE,
        )
    frame = frame.filter(good)
    pairs = frame.unique(["asn", "other_asn"], keep="first", maintain_order=True)
    skipped = {
        "not a relationship": bad.height,
        "pair given twice": frame.height - pairs.height,
    }
    pairs = pairs.sort("asn", "other_asn").select("asn", "other_asn", "relationship")
    schema = arrow_schema(AS_RELATIONSHIPS)
    return pairs.to_arrow().cast(schema), {k: n for k, n in skipped.items() if n}
