"""What routers call their interfaces in options data, as the `[[rules]]` read it.

    ledger/exported_interfaces/<writer>/<exporter address>.json

One document for each exporter and writer: `ingest` and the collector may run at once, and each has
its own, so that none waits for the other. A document holds each interface's name and description
with the time they were last received. Taking in the same unit again changes nothing, and the order
of units does not matter (`flowpeer_ingest.interface_names.join`), so a crash is repaired by doing
the unit again.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Literal

from flowpeer.errors import InputError
from flowpeer.lake.store import Lake
from flowpeer.rules import Exported
from flowpeer_ingest.interface_names import MAX_INTERFACES, Texts, join
from flowpeer_ingest.summary import CaptureSummary

TABLE = "exported_interfaces"
WRITERS = ("ingest", "collect")
Writer = Literal["ingest", "collect"]
MAX_STRANGERS = 512
"""Exporters outside the configuration whose names are kept, for the day they are described: a
flood of forged ones must not fill the disk."""
CROWD = "interface names of too many exporters that are not in the configuration"


def merge(lake: Lake, writer: Writer, summary: CaptureSummary, configured: Collection[str]) -> None:
    """Take in what a unit said. Exporters that there is no room for are counted in its summary.

    The caller holds the lock of `writer`. A document that is damaged is begun anew: routers repeat
    their names.
    """
    refused = 0
    for address, interfaces in sorted(summary.interfaces.items()):
        relative = f"{TABLE}/{writer}/{address}.parquet"
        if address not in configured and not lake.entry_path(relative).exists():
            strangers = {Path(name).stem for name in lake.entry_names(f"{TABLE}/{writer}")}
            if len(strangers.difference(configured)) >= MAX_STRANGERS:
                refused += 1
                continue
        try:
            before = _read(lake, relative)
        except InputError:
            before = {}
        after = {index: dict(texts) for index, texts in before.items()}
        for index, texts in interfaces.items():
            join(after.setdefault(index, {}), texts)
        if len(after) > MAX_INTERFACES:
            latest = sorted(after, key=lambda i: (-max(us for us, _ in after[i].values()), i))
            after = {index: after[index] for index in latest[:MAX_INTERFACES]}
        if after != before:
            document = {str(index): after[index] for index in sorted(after)}
            lake.write_entry(relative, {"interfaces": document})
    if refused:
        summary.malformed[CROWD] = refused


def exported(root: Path, addresses: Collection[str]) -> Exported:
    """What these exporters call their interfaces, by the lake in folder `root`."""
    lake = Lake(root)
    found = Exported()
    if not lake.path(f"ledger/{TABLE}").is_dir():
        return found
    for address in addresses:
        for writer in WRITERS:
            relative = f"{TABLE}/{writer}/{address}.parquet"
            try:
                said = _read(lake, relative)
            except (InputError, OSError):
                found.damaged.append(relative)
                continue
            of = found.said.setdefault(address, {})
            for index, texts in said.items():
                join(of.setdefault(index, {}), texts)
    return found


def remedy(relative: str) -> str:
    """What to do about a damaged document."""
    return (
        f"delete lake/ledger/{relative.removesuffix('.parquet')}.json: a collector learns the "
        "names anew; for captures, also delete the document under lake/ledger/captures of one in "
        "which the router says them, and run `flowpeer ingest` on it again"
    )


def _read(lake: Lake, relative: str) -> dict[int, Texts]:
    entry = lake.entry(relative) or {"interfaces": {}}
    return {
        int(index): {key: (us, text) for key, (us, text) in texts.items()}
        for index, texts in entry["interfaces"].items()
    }
