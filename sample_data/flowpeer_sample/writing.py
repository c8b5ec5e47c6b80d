"""Files written atomically, and only where they would change; the digests of what is there."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

DIGESTS = ".flowpeer-sample.sha256"
"""Digest and name of each file, as `sha256sum -c` reads them; first a line of the generator."""


def put(path: Path, content: bytes) -> bool:
    """Writes `content` to `path` by rename; False where it is there already."""
    if path.is_file() and path.stat().st_size == len(content) and path.read_bytes() == content:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return True


def generator() -> str:
    """The digest of this package's sources: another one may make other files."""
    whole = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        whole.update(hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()


def digests(directory: Path) -> dict[str, str]:
    """Name → digest of the files that this generator wrote into a folder, as it noted them."""
    try:
        head, *lines = (directory / DIGESTS).read_text("utf-8").splitlines()
        pairs = [line.split("  ", 1) for line in lines]
        known = {name: digest for digest, name in pairs}
    except (OSError, ValueError):
        return {}
    return known if head == _head() else {}


def note(directory: Path, known: Mapping[str, str]) -> None:
    """Writes the digests of all files of a folder, when they are all there."""
    lines = [_head(), *(f"{digest}  {name}" for name, digest in known.items())]
    put(directory / DIGESTS, "".join(f"{line}\n" for line in lines).encode())


def is_right(path: Path, digest: str | None) -> bool:
    """Whether a file is there with this digest."""
    try:
        return digest is not None and sha256(path.read_bytes()) == digest
    except OSError:
        return False


def sha256(content: bytes) -> str:
    """The digest of a file's content."""
    return hashlib.sha256(content).hexdigest()


def _head() -> str:
    return f"# generator {generator()}"
