"""Telling captures apart by what is in them, not by how the file is packed or named.

The same packets may come as `x.pcap` today and `x.pcap.gz` tomorrow, and a capture that is still
being written may be met twice: counted twice, its traffic would be worth twice as much. A capture
is therefore known by the digest of its unpacked content, and by that of its first octets, so that
a longer version of one that is loaded already is recognised.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flowpeer.errors import InputError
from flowpeer.lake.store import Lake
from flowpeer_ingest.decompress import open_unpacked

HEAD_BYTES = 4096
_STEP = 1 << 20


@dataclass(frozen=True, slots=True)
class Content:
    """What a capture holds: digests of the whole and of its head, and its length in octets."""

    sha256: str
    head_sha256: str
    content_bytes: int

    @property
    def unit(self) -> str:
        """The name of its files in the lake."""
        return f"capture-{self.sha256[:16]}"


def content_of(path: Path, *, first: int | None = None) -> Content:
    """Digest the unpacked content of a file, or its `first` octets.

    Raises:
        IngestError: it cannot be unpacked.
    """
    whole, head, length = hashlib.sha256(), hashlib.sha256(), 0
    with open_unpacked(path) as stream:
        while block := stream.read(_STEP if first is None else min(_STEP, first - length)):
            head.update(block[: max(0, HEAD_BYTES - length)])
            whole.update(block)
            length += len(block)
    return Content(whole.hexdigest(), head.hexdigest(), length)


def refuse_longer_version(lake: Lake, path: Path, content: Content) -> None:
    """Raise InputError if a capture in the lake is the beginning of this one, or its whole."""
    for unit, entry in lake.entries("captures").items():
        known: dict[str, Any] | None = entry.get("content")
        if known is None or known["head_sha256"] != content.head_sha256:
            continue
        shorter = min(known["content_bytes"], content.content_bytes)
        mine = content if shorter == content.content_bytes else content_of(path, first=shorter)
        # Where this one is the shorter, the digest of the other's beginning is not known; the same
        # head under another length is still the same capture at another moment.
        if shorter == content.content_bytes or mine.sha256 == known["sha256"]:
            raise InputError(
                str(path),
                f"is another length of {entry['path']}, which is in the lake: it would count twice",
                advice="ingest captures when they are complete; to take this one instead, remove "
                f"{unit.removeprefix('captures/').removesuffix('.parquet')}.* from the lake and "
                "its ledger first",
            )
