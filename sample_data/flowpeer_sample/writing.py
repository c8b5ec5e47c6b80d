"""Files written atomically, and only where they would change."""

from __future__ import annotations

import os
from pathlib import Path


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
