"""What routers call their interfaces in options data, as the `[[rules]]` read it.

    manifests/exported_interfaces/<writer>/<exporter address>.json

One document for each exporter and writer: `ingest` and the collectors may run at once, and each has
its own, so that none waits for the other. A document holds each interface's name and description
with the time they were last received. Taking in the same unit again changes nothing, and the order
of units does not matter (`flowpeer_ingest.interface_names.join`), so a crash is repaired by doing
the unit again.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flowpeer.errors import InputError
from flowpeer.lake import codec, format2
from flowpeer.lake.storage import Stored, replace
from flowpeer.lake.store import Lake
from flowpeer.rules import ExportedNames
from flowpeer.schema import FORMAT
from flowpeer_ingest.interface_names import MAX_INTERFACES, Texts, join

if TYPE_CHECKING:
    from flowpeer_ingest.summary import CaptureSummary

TABLE = "exported_interfaces"
INGEST = "ingest"
"""The writer of captures; a collector is one by its lock."""
MAX_STRANGERS = 512
"""Exporters outside the configuration whose names are kept, for the day they are described: a
flood of forged ones must not fill the disk."""
CROWD = "interface names of too many exporters that are not in the configuration"


@dataclass(frozen=True, slots=True)
class KnownInterfaceNames:
    """By ifIndex, then by `name` or `description`: when it was last received (µs), and the text."""

    interfaces: dict[int, dict[str, tuple[int, str]]]


def merge(lake: Lake, writer: str, summary: CaptureSummary, configured: Collection[str]) -> None:
    """Take in what a unit reported. Exporters that there is no room for are counted in its summary.

    A document that is damaged is begun again: routers repeat their names.
    """
    refused = 0
    for address, interfaces in sorted(summary.interfaces.items()):
        key = document_key(writer, address)
        if address not in configured and lake.storage.read(key) is None:
            strangers = {
                Path(of.key).stem for of in lake.storage.list(f"manifests/{TABLE}/{writer}")
            }
            if len(strangers.difference(configured)) >= MAX_STRANGERS:
                refused += 1
                continue
        _take(lake, key, interfaces)
    if refused:
        summary.malformed[CROWD] = refused


def _take(lake: Lake, key: str, interfaces: dict[int, Texts]) -> None:
    def once(held: Stored | None) -> tuple[bytes, None] | None:
        try:
            before = _decoded(held, key)
        except InputError:
            before = {}
        after = {index: dict(texts) for index, texts in before.items()}
        for index, texts in interfaces.items():
            join(after.setdefault(index, {}), texts)
        if len(after) > MAX_INTERFACES:
            latest = sorted(after, key=lambda i: (-max(us for us, _ in after[i].values()), i))
            after = {index: after[index] for index in latest[:MAX_INTERFACES]}
        if after == before:
            return None
        known = KnownInterfaceNames({index: after[index] for index in sorted(after)})
        return codec.encode_lines(known), None

    replace(lake.storage, key, once)


def take(lake: Lake, other: Lake) -> None:
    """Take in what another lake knows, by the same writers.

    Raises:
        InputError: a document of the other one is damaged.
    """
    for key in sorted(listed.key for listed in other.storage.list(f"manifests/{TABLE}")):
        _take(lake, key, _read(other, key))


def exported(root: Path, addresses: Collection[str]) -> ExportedNames:
    """What these exporters call their interfaces, by the lake in folder `root`."""
    lake = Lake(root)
    found = ExportedNames()
    if lake.remote is not None:
        return _exported(lake, frozenset(addresses))
    place = root / ("manifests" if lake.format == FORMAT else "ledger") / TABLE
    writers = sorted(folder.name for folder in place.iterdir()) if place.is_dir() else []
    for address in addresses:
        for writer in writers:
            key = document_key(writer, address, place.parent.name)
            try:
                known = _read(lake, key)
            except (InputError, OSError):
                found.damaged.append(key)
                continue
            of = found.texts.setdefault(address, {})
            for index, texts in known.items():
                join(of.setdefault(index, {}), texts)
    return found


def _exported(lake: Lake, addresses: frozenset[str]) -> ExportedNames:
    """The same of a lake on an object store, where looking for what is not there takes time."""
    found = ExportedNames()
    listed = sorted(of.key for of in lake.storage.list(f"manifests/{TABLE}"))
    keys = [key for key in listed if Path(key).stem in addresses]
    lake.storage.ahead(keys)
    for key in keys:
        try:
            known = _read(lake, key)
        except InputError:
            found.damaged.append(key)
            continue
        of = found.texts.setdefault(Path(key).stem, {})
        for index, texts in known.items():
            join(of.setdefault(index, {}), texts)
    return found


def remedy(key: str) -> str:
    """What to do about a damaged document."""
    return (
        f"delete lake/{key}: a collector learns the names again; for captures, ingest those in "
        "which the router says them into a new lake"
    )


def document_key(writer: str, address: str, place: str = "manifests") -> str:
    """Where the names of an exporter are, below the lake."""
    return f"{place}/{TABLE}/{writer}/{address}.json"


def _read(lake: Lake, key: str) -> dict[int, Texts]:
    if lake.format != FORMAT:
        if not (path := lake.root / key).exists():
            return {}
        document = format2.read_document(path)
        return {
            int(index): {name: (us, text) for name, (us, text) in texts.items()}
            for index, texts in document["interfaces"].items()
        }
    return _decoded(lake.storage.read(key), key)


def _decoded(held: Stored | None, key: str) -> dict[int, Texts]:
    if held is None:
        return {}
    return {
        i: dict(t)
        for i, t in codec.decode_line(KnownInterfaceNames, held.octets, key).interfaces.items()
    }
