"""A lake on an object store, as this machine sees it: a folder of its own for each.

    <cache>/<bucket>-<16 hex>/remote.json     which lake this is, and how much may be kept here
                              flows/…         data files that were read or written here
                              cache/          derived files
                              decoder/ staging/ locks/    as in a lake on a disk

Objects of data never change, so a file that is here is the one that is there. Everything may be
deleted at any time while no command runs.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from flowpeer.errors import UsageError

SCHEME = "s3://"
MARKER = "remote.json"
CACHE_OCTETS = 20_000_000_000
"""Of data files that are kept, unless the configuration says otherwise."""
ON_DEMAND = "fetch://"
"""Before the path of a file that is brought when DuckDB opens it (flowpeer.query.on_demand)."""
GRACE_S = 3600
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", re.ASCII)
_WORD = re.compile(r"[A-Za-z0-9!_.*'()=+@-]+", re.ASCII)
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")


@dataclass(frozen=True, slots=True)
class Remote:
    """Where the lake is (`s3://bucket/folder`), octets of it that may be kept here, and how long
    files that were replaced stay."""

    address: str
    cache_octets: int = CACHE_OCTETS
    grace_s: int = GRACE_S


def is_address(place: str) -> bool:
    """Whether a lake is on an object store."""
    return place.startswith(SCHEME)


def split(address: str) -> tuple[str, str]:
    """Bucket and folder (maybe empty) of an address. Raises ValueError for what is none."""
    bucket, _, folder = address.removeprefix(SCHEME).partition("/")
    parts = folder.rstrip("/").split("/") if folder.rstrip("/") else []
    good = _BUCKET.fullmatch(bucket) and all(
        _WORD.fullmatch(word) and word not in (".", "..") for word in parts
    )
    if not is_address(address) or not good:
        raise ValueError(
            "a folder is expected, or s3://BUCKET/FOLDER (of a bucket 3 to 63 of a-z, 0-9, . -)"
        )
    return bucket, "/".join(parts)


def endpoint() -> str:
    """Where the store is, as the environment says; empty: Amazon's."""
    return next((os.environ[name] for name in _ENDPOINTS if os.environ.get(name)), "")


def lake_folder(place: str, beside: Path, cache: str | None = None) -> Path:
    """The folder of a lake: `place` itself, relative to the folder `beside`, or, of a lake on an
    object store, its own below `cache`, which is there then.

    Raises:
        UsageError: there is no place for it.
        ValueError: an address that is none.
    """
    if not is_address(place):
        return beside / place
    bucket, folder = split(place)
    address = f"{SCHEME}{bucket}/{folder}".rstrip("/")
    word = hashlib.sha256(f"{endpoint()} {address}".encode()).hexdigest()[:16]
    root = (beside / cache if cache else _usual()) / f"{bucket}-{word}"
    known = remote_of(root)
    if known is None or known.address != address:
        keep(root, Remote(address))
    return root


def _usual() -> Path:
    named = os.environ.get("XDG_CACHE_HOME", "")
    try:
        return (Path(named) if named.startswith("/") else Path.home() / ".cache") / "flowpeer"
    except RuntimeError:
        raise UsageError(
            "no home folder to keep files of the object store in",
            advice="name a folder by `cache` under [lake]",
        ) from None


def keep(root: Path, remote: Remote) -> None:
    """Say in a folder which lake it is of.

    Raises:
        UsageError: it cannot be written.
    """
    if remote_of(root) == remote:
        return
    temporary = root / f".{MARKER}-{secrets.token_hex(4)}"
    try:
        root.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(asdict(remote)) + "\n", encoding="utf-8")
        temporary.replace(root / MARKER)
    except OSError as error:
        raise UsageError(
            f"{root}: files of the object store cannot be kept here: {error.strerror}",
            advice="name a folder that can be written by `cache` under [lake]",
        ) from None


def limit(root: Path, cache_octets: int, grace_s: int) -> None:
    """Change how much is kept in a folder of a lake on an object store, and for how long."""
    known = remote_of(root)
    if known is not None:
        keep(root, replace(known, cache_octets=cache_octets, grace_s=grace_s))


def remote_of(root: Path) -> Remote | None:
    """The lake on an object store that a folder is of; None: it is itself a lake."""
    try:
        document = json.loads((root / MARKER).read_bytes())
        return Remote(**document)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, TypeError):
        raise UsageError(
            f"{root / MARKER}: not readable", advice=f"delete the folder {root}, which is a copy"
        ) from None
