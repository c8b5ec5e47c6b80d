"""Whether answers that were written into a folder are what would be written again.

Beside them stands what they were made from, as one digest: what the lake's record says, the
configuration with the files that it leads to, what was asked, and this program. Where it is the
same and every file is as it was written, there is nothing to do. Nothing here imports an engine,
so that finding out costs a fraction of a second.
"""

from __future__ import annotations

import hashlib
import json
import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import flowpeer
import flowpeer_core
import flowpeer_reports
from flowpeer_core.sample import MARKER

NAME = ".made-from.json"
SEAL_OCTETS = 256
"""More than the end of a document of the record, which is the digest of all before it."""
READ = (("asks", "asks.csv"), ("interfaces", ""), ("as_cones", ""))
"""Sources that answers read themselves, and what they are where the configuration names none."""
OBSERVED = "reference/as_cones.parquet"
"""Made of the routes and the configuration by whoever answers first: no input of its own."""


@dataclass(frozen=True, slots=True)
class WrittenFolder:
    """What was written into a folder, and what it was made from.

    files: digest by name. warnings: what was reported of the data. shown: what a screen needs of
    some of the answers (`answers.shown`).
    """

    made_from: str
    page: str
    files: dict[str, str]
    warnings: list[str] = field(default_factory=list)
    shown: list[dict[str, Any]] = field(default_factory=list)


def made_from(configuration: Path, **asked: Any) -> str | None:
    """A digest of everything that answers are made from; None where it cannot be known.

    Args:
        asked: which answers, and the options that they hang on.
    """
    try:
        text = configuration.read_bytes()
        raw = tomllib.loads(text.decode())
        root = configuration.parent / raw["lake"]["path"]
        sources = raw.get("sources", {})
        digest = hashlib.sha256()
        # An acceptance of a warning ends on a day.
        ending = any("until" in one for one in raw.get("accepted", ()))
        for part in (
            json.dumps(asked, sort_keys=True, default=str).encode(),
            f"{datetime.now(UTC).date()}".encode() if ending else b"",
            text,
            *(_content(configuration.parent / sources.get(key, name)) for key, name in READ),
            b"sample" if (configuration.parent / MARKER).exists() else b"",
            _program(),
        ):  # fmt: skip
            digest.update(hashlib.sha256(part).digest())
        for line in _record(root):
            digest.update(line)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    return digest.hexdigest()


def standing(folder: Path, made: str | None) -> WrittenFolder | None:
    """What stands in a folder, if it was made from just this and is as it was written."""
    if made is None:
        return None
    try:
        held = WrittenFolder(**json.loads((folder / NAME).read_bytes()))
        same = held.made_from == made and all(
            _digest(folder / name) == digest for name, digest in held.files.items()
        )
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return None
    return held if same else None


def keep(
    folder: Path,
    before: str | None,
    after: str | None,
    *,
    files: Iterable[Path],
    page: Path,
    warnings: Sequence[str] = (),
    shown: Sequence[Mapping[str, Any]] = (),
) -> WrittenFolder:
    """Say in a folder what its files were made from.

    `before`, `after`: `made_from`, as it was when the work began and when it was done. Where they
    differ something came meanwhile, and nothing is noted: the next one writes again.
    """
    path = folder / NAME
    held = WrittenFolder(
        before or "", page.name, {p.name: _digest(p) for p in files}, list(warnings),
        [dict(one) for one in shown],
    )  # fmt: skip
    if before is None or before != after:
        path.unlink(missing_ok=True)
        return held
    temporary = path.with_name(f"{NAME}.{os.getpid()}.part")
    temporary.write_text(json.dumps(asdict(held), indent=1, ensure_ascii=False), "utf-8")
    temporary.replace(path)
    return held


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _program() -> bytes:
    """This version, and for those who change it, when its modules were."""
    found = [flowpeer.__version__]
    for package in (flowpeer, flowpeer_core, flowpeer_reports):
        for path in sorted(Path(package.__file__ or "").parent.rglob("*.py")):
            stat = path.stat()
            found.append(f"{path} {stat.st_size} {stat.st_mtime_ns}")
    return "\n".join(found).encode()


def _record(root: Path) -> Iterator[bytes]:
    """A line for each document of the record: its key, and the digest that it ends with."""
    manifests = root / "manifests"
    if not manifests.is_dir():
        raise FileNotFoundError(manifests)
    for path in sorted(manifests.rglob("*.json")):
        key = str(path.relative_to(manifests))
        yield f"{key}\n".encode()
        with path.open("rb") as document:
            if key == "reference.json":
                yield from _inputs_among(document.read())
                continue
            size = document.seek(0, os.SEEK_END)
            document.seek(max(0, size - SEAL_OCTETS))
            yield document.read() + b"\n"


def _inputs_among(references: bytes) -> Iterator[bytes]:
    """The reference tables, without what follows from the other inputs."""
    for line in references.splitlines()[1:-1]:
        if json.loads(line).get("path") != OBSERVED:
            yield line + b"\n"
