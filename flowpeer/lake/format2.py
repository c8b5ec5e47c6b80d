"""Lakes of format 2, as the record of today reads them.

They have one document a file under `ledger/`, sealed like the manifests, and captures under
`ledger/captures`. A lake that was left in the middle of a `compact` has its merged hour in
`exchange/`: `finish_exchange` completes it as that version would have.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

from flowpeer.errors import InputError
from flowpeer.lake import day_index
from flowpeer.lake.manifest import (
    File,
    Header,
    Manifest,
    PrunedFile,
    RollupFacts,
    UnitEntry,
    folder_of,
    hour_name,
    partition_hour,
    summarised,
)
from flowpeer.lake.units import Content, ExporterCounts, UnitRecord
from flowpeer_ingest.parts import FlowFacts

LAYOUT = 2
_SEAL = re.compile(rb',\n "~sha256": "([0-9a-f]{64})"\n}\n\Z')
_OWN = frozenset({"rows", "sums", "file_bytes", "sha256"})
Document = dict[str, Any]


def read_document(path: Path) -> Document:
    """A document of the ledger. Raises InputError where it is damaged."""
    octets = path.read_bytes()
    seal = _SEAL.search(octets)
    body = octets[: seal.start()] if seal else b""
    if seal is None or hashlib.sha256(body).hexdigest().encode() != seal[1]:
        raise InputError(
            str(path), "this ledger document is not what was written",
            advice="delete this file and run the command again: the work is redone",
        )  # fmt: skip
    document: Document = json.loads(body + b"}")
    return document


class Ledger2:
    """The record of a lake of format 2 (`flowpeer.lake.record.DocumentSource`)."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._ledger = root / "ledger"
        try:
            self._journal = json.loads((root / "exchange" / "journal.json").read_bytes())
        except FileNotFoundError:
            self._journal = None

    def hours(
        self, table: str, start: datetime | None = None, end: datetime | None = None
    ) -> dict[datetime, str]:
        """Hours of a table that have a document, pruned ones too; without marks."""
        found = {
            partition_hour(f"/{folder.relative_to(below).as_posix()}/")
            for below in (self._ledger / table, self._ledger / "pruned" / table)
            for folder in below.glob("date=*/hour=*")
            if any(folder.glob("*.json"))
        }
        return dict.fromkeys(sorted(found), "")

    def day(self, table: str, date: str, kind: day_index.Kind) -> day_index.Marked:
        """Nothing is packed."""
        return {}

    def ahead(self, table: str, hours: Iterable[datetime]) -> None:
        """Nothing is gained by it."""

    def header(self, table: str, hour: datetime | None) -> Header | None:
        """A header."""
        manifest = self.manifest(table, hour)
        return None if manifest is None else manifest.header

    def manifest(self, table: str, hour: datetime | None) -> Manifest | None:
        """What the documents of an hour's files, or of a table without hours, say together."""
        folder = table if hour is None else folder_of(table, hour)
        documents = self._documents(folder)
        gone = self._read("pruned_routes/routes" if table == "routes" else f"pruned/{folder}")
        if not documents and not gone:
            return None
        files = [
            _file(f"{folder}/{stem}.parquet", document)
            for stem, document in documents.items()
            if stem not in gone
        ]
        files += [
            replace(_file(f"{folder}/{stem}.parquet", d), pruned=_pruned(d))
            for stem, d in gone.items()
        ]
        made = summarised(table, hour_name(hour) if hour else "", files)
        if table in ("traffic", "traffic_routes") and hour is not None:
            made = replace(made, rollup=self._rollup(documents, folder))
        return Manifest(replace(made, generation=1), tuple(sorted(files, key=lambda f: f.path)))

    def _documents(self, folder: str) -> dict[str, Document]:
        found = self._read(folder)
        journal = self._journal
        if journal is None or journal["folder"] != folder:
            return found
        if (self._root / "exchange" / "files" / f"{journal['name']}.parquet").exists():
            return found  # begun, and nothing has changed places yet
        area = self._root / "exchange" / "ledger"
        merged = {s: d for s, d in found.items() if s not in journal["merged"]}
        if (area / f"{journal['name']}.json").exists():
            merged[journal["name"]] = read_document(area / f"{journal['name']}.json")
        return merged

    def _read(self, folder: str) -> dict[str, Document]:
        paths = sorted((self._ledger / folder).glob("*.json"))
        return {path.stem: read_document(path) for path in paths}

    def _rollup(self, documents: Mapping[str, Document], folder: str) -> RollupFacts:
        late = {
            d["file"]: d["figures"] for d in self._read(f"late/{folder.partition('/')[2]}").values()
        }
        for document in documents.values():
            return RollupFacts(
                inputs=document.get("inputs", {}),
                snapshots=tuple(document.get("snapshots", ())),
                figures=document.get("figures", {}),
                folded=document.get("folded"),
                late=late if folder.startswith("traffic/") else {},
            )
        return RollupFacts(late=late)

    def bucket(self, name: str) -> dict[str, UnitRecord]:
        """The record of one unit: here each has a document of its own."""
        path = self._ledger / "captures" / f"{name}.json"
        return {name: _unit(name, read_document(path))} if path.is_file() else {}

    def buckets(self) -> list[str]:
        """Names of all units."""
        return sorted(path.stem for path in (self._ledger / "captures").glob("*.json"))


def _file(path: str, document: Document) -> File:
    table = path.partition("/")[0]
    units: Iterable[tuple[str, Document]] = ()
    if table in ("flows", "sampling", "coverage"):
        units = (document.get("made_of") or {path: document}).items()
    plain = table in ("routes", "reference")
    return File(
        path,
        rows=document["rows"],
        file_bytes=document["file_bytes"],
        sha256=document["sha256"],
        sums=document.get("sums", {}),
        layout=LAYOUT,
        units=tuple(_entry(name, unit) for name, unit in sorted(units)),
        made_of=tuple(document.get("files", ())) if table == "traffic" else (),
        facts={k: v for k, v in document.items() if k not in _OWN} if plain else {},
    )


def _entry(path: str, unit: Document) -> UnitEntry:
    facts = None
    if path.startswith("flows/"):
        facts = FlowFacts(
            hours=tuple(unit["hours"]),
            seen={ip: {int(i): bits for i, bits in of.items()} for ip, of in unit["seen"].items()},
            unlisted=unit.get("unlisted", {}),
            unrated=unit["unrated"],
            time_corrected=unit["time_corrected"],
        )
    return UnitEntry(path, unit["sha256"], unit["rows"], facts=facts)


def _pruned(document: Document) -> PrunedFile:
    return PrunedFile(document["pruned_at"], **document.get("conserved", {}))


_COUNTED = {f.name for f in fields(UnitRecord)} - {
    "name", "parts", "collector", "sequences", "conflicts", "forgotten_sessions",
}  # fmt: skip


def _unit(name: str, document: Document) -> UnitRecord:
    known: dict[str, Any] = {k: v for k, v in document.items() if k in _COUNTED}
    known["warnings"] = tuple(known.get("warnings", ()))
    known["exporters"] = {
        ip: ExporterCounts(**{**counts, "formats": tuple(counts.get("formats", ()))})
        for ip, counts in document.get("exporters", {}).items()
    }
    content = document.get("content")
    known["content"] = None if content is None else Content(**content)
    for key in ("first_received", "last_received"):
        known[key] = None if document.get(key) is None else str(document[key])
    return UnitRecord(name, **known)


def finish_exchange(root: Path) -> bool:
    """Complete an interrupted merge; whether there was one.

    Each step may be done again, so it can be killed anywhere.
    """
    area = root / "exchange"
    try:
        journal = json.loads((area / "journal.json").read_bytes())
    except FileNotFoundError:
        shutil.rmtree(area, ignore_errors=True)
        return False
    folder, name, merged = PurePosixPath(journal["folder"]), journal["name"], journal["merged"]
    for ours, theirs, suffix in (
        (area / "files", root / folder, ".parquet"),
        (area / "ledger", root / "ledger" / folder, ".json"),
    ):
        theirs.mkdir(parents=True, exist_ok=True)
        if (made := ours / f"{name}{suffix}").exists():
            made.replace(theirs / made.name)
        for stem in merged:
            (theirs / f"{stem}{suffix}").unlink(missing_ok=True)
        for path in sorted(ours.glob(f"*{suffix}")) if ours.is_dir() else ():
            if path.stem not in merged:  # it came while the others were being merged
                path.replace(theirs / path.name)
    shutil.rmtree(area)
    return True
