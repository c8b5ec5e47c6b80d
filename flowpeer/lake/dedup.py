"""Telling captures apart by what is in them, not by how the file is packed or named.

The same packets may come as `x.pcap` today and `x.pcap.gz` tomorrow, and a capture that is still
being written may be met twice: counted twice, its traffic would be worth twice as much. A capture
is therefore known by the digest of its unpacked content, and by that of its first octets, so that
a longer version of one that is loaded already is recognised.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from flowpeer.errors import InputError
from flowpeer.lake.record import Record
from flowpeer.lake.units import Content
from flowpeer_ingest.decompress import open_unpacked

HEAD_BYTES = 4096
_STEP = 1 << 20


def content_of(path: Path, *, first: int | None = None) -> Content:
    """Digest the unpacked content of a file, or its `first` octets.

    Raises:
        IngestError: it cannot be unpacked.
    """
    digest, head, length = hashlib.sha256(), hashlib.sha256(), 0
    with open_unpacked(path) as stream:
        while block := stream.read(_STEP if first is None else min(_STEP, first - length)):
            head.update(block[: max(0, HEAD_BYTES - length)])
            digest.update(block)
            length += len(block)
    return Content(digest.hexdigest(), head.hexdigest(), length)


def refuse_longer_version(record: Record, path: Path, content: Content) -> None:
    """Raise InputError if a capture in the lake is the beginning of this one, or its whole."""
    for unit in record.units():
        known = unit.content
        if known is None or known.head_sha256 != content.head_sha256:
            continue
        shorter = min(known.content_bytes, content.content_bytes)
        mine = content if shorter == content.content_bytes else content_of(path, first=shorter)
        # Where this one is the shorter, the digest of the other's beginning is not known; the same
        # head under another length is still the same capture at another moment.
        if shorter == content.content_bytes or mine.sha256 == known.sha256:
            raise InputError(
                str(path),
                f"is another length of {unit.path}, which is in the lake: it would count twice",
                advice="ingest captures when they are complete",
            )
