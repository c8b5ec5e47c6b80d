"""A lake in a bucket of an object store that speaks S3.

Documents of the record are replaced by conditional PUTs: `If-None-Match: *` for the first version,
`If-Match` with the ETag of the version that was read for those after it. Whoever comes second gets
412 (or 409) and reads again. Where it is not known whether a PUT was done (no answer, or the answer
to a repetition), the document is asked whether it carries the token of this PUT.

Data files are put once, under names that nobody used before, and never replaced. What was read or
written is kept below the lake's folder on this machine (`flowpeer.mirror`), where pyarrow, Polars
and DuckDB read it; that is bounded, and the files that were not used for longest go first.
"""

from __future__ import annotations

import os
import secrets
import shutil
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import Any

from flowpeer import mirror
from flowpeer.errors import StoreError
from flowpeer.lake.s3_errors import (
    broke_off,
    code_of,
    is_conflict,
    is_missing,
    is_unknown,
    lake_error,
)
from flowpeer.lake.staging import Staging
from flowpeer.lake.storage import ConflictError, Listed, LocalStorage, Stored
from flowpeer.schema import PARTITIONED

AT_ONCE = 16
"""Requests under way."""
PART_OCTETS = 64 << 20
"""Of a file that is put in several parts, each."""
ATTEMPTS = 3
"""Of reading an object whose transfer is interrupted."""
USED_S, OPENED_S = 3600, 60
"""A kept file that was used so short a time ago stays; the second where there are more than twice
the octets that may be kept: all that a command reads at once is less."""
CONNECT_S, READ_S = 5, 60
"""What a request may wait for."""
FORMAT_KEY = "format.json"
_CLIENTS: dict[tuple[int, tuple[tuple[str, str], ...]], Any] = {}
_MAKING = threading.Lock()
_PROVEN: set[tuple[int, str, str]] = set()
"""Lakes whose store was seen to keep to conditions, by process and endpoint."""
_TOKEN = "flowpeer-write"  # noqa: S105  # of metadata
_NO_ETAG = f'"{"0" * 32}"'
_DERIVED = "cache/"


class S3Storage:
    """The storage of the lake whose folder on this machine is `root`."""

    def __init__(self, root: Path, staging: Staging, remote: mirror.Remote) -> None:
        self.root = root
        self.address = remote.address
        self.grace_s = float(remote.grace_s)
        self._limit = remote.cache_octets
        self._bucket, folder = mirror.split(remote.address)
        self._base = f"{folder}/" if folder else ""
        self._local = LocalStorage(root, staging)
        self._staging = staging
        self._ahead: dict[str, Stored | None] = {}
        self._there: dict[str, set[str]] = {}
        """Keys of data by table, as they were listed."""
        self._fetched = -1
        """Octets since room was made; -1: never."""

    # Documents

    def read(self, key: str) -> Stored | None:
        """A document and its ETag."""
        if key.startswith(_DERIVED):
            return self._local.read(key)
        if key in self._ahead:
            return self._ahead.pop(key)
        return self._get(key)

    def _get(self, key: str) -> Stored | None:
        for attempt in range(ATTEMPTS):
            try:
                answer = self._s3().get_object(Bucket=self._bucket, Key=self._base + key)
                return Stored(answer["Body"].read(), answer["ETag"])
            except Exception as error:
                if is_missing(error):
                    return None
                if attempt == ATTEMPTS - 1 or not broke_off(error):
                    raise self._lake_error(error, f"read {key}") from error
        raise AssertionError

    def ahead(self, keys: Iterable[str]) -> None:
        """Read documents that are about to be asked for, several at once."""
        some = list(keys)
        if len(some) < 2:
            return
        self._s3()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            self._ahead = dict(zip(some, pool.map(self._get, some), strict=True))

    def write(self, key: str, octets: bytes, *, replaces: str | None) -> None:
        """Replace a document if it is still the version that is named."""
        if key != FORMAT_KEY:
            self._prove()
        condition = {"IfNoneMatch": "*"} if replaces is None else {"IfMatch": replaces}
        token = secrets.token_hex(16)
        self._ahead.pop(key, None)
        try:
            self._s3().put_object(
                Bucket=self._bucket, Key=self._base + key, Body=octets,
                Metadata={_TOKEN: token}, **condition,
            )  # fmt: skip
        except Exception as error:
            if (is_conflict(error) or is_unknown(error)) and self._carries(key, token):
                return
            if is_conflict(error):
                raise ConflictError(key) from None
            raise self._lake_error(error, f"write {key}") from error

    def _carries(self, key: str, token: str) -> bool:
        """Whether a document is the one that was written with this token."""
        try:
            head = self._s3().head_object(Bucket=self._bucket, Key=self._base + key)
        except Exception as error:
            if is_missing(error):
                return False
            raise self._lake_error(error, f"read {key} back") from error
        return bool(head.get("Metadata", {}).get(_TOKEN) == token)

    def _prove(self) -> None:
        """Two writers would lose data on a store that passes over conditions: try them."""
        proof = os.getpid(), mirror.endpoint(), self.address
        if proof in _PROVEN:
            return
        held = self._get(FORMAT_KEY)
        for condition in ({"IfNoneMatch": "*"}, {"IfMatch": _NO_ETAG}) if held else ():
            assert held is not None
            try:
                self._s3().put_object(
                    Bucket=self._bucket, Key=self._base + FORMAT_KEY, Body=held.octets, **condition
                )
            except Exception as error:
                if is_conflict(error):
                    continue
                if code_of(error) != "NotImplemented":
                    raise self._lake_error(error, f"write {FORMAT_KEY}") from error
            raise StoreError(
                f"{self.address}: the store does not keep to conditions of a PUT, so that two "
                "writers would lose data",
                advice="use one that answers If-Match and If-None-Match with 412", exit_code=2,
            )  # fmt: skip
        if held is not None:
            _PROVEN.add(proof)

    def list(self, prefix: str, *, first: str = "", end: str = "") -> Iterator[Listed]:
        """Documents below a folder; their marks are ETags."""
        for one in self._keys(f"{prefix}/", first=first, end=end):
            if one.key.endswith(".json"):
                yield one

    def _keys(self, prefix: str, *, first: str = "", end: str = "") -> Iterator[Listed]:
        """Keys with a prefix, in order."""
        given = {"StartAfter": self._base + first} if first else {}
        try:
            pages = (
                self._s3()
                .get_paginator("list_objects_v2")
                .paginate(Bucket=self._bucket, Prefix=self._base + prefix, **given)
            )
            for page in pages:
                for item in page.get("Contents", ()):
                    key = item["Key"].removeprefix(self._base)
                    if end and key >= end:
                        return
                    yield Listed(key, item["ETag"], item["LastModified"].timestamp())
        except Exception as error:
            raise self._lake_error(error, f"list {prefix}") from error

    def cache(self, key: str, octets: bytes) -> None:
        """Keep a derived document on this machine."""
        self._local.cache(key, octets)

    def alone(self, key: str) -> AbstractContextManager[None]:
        """Nobody waits: conditions are enough."""
        return nullcontext()

    # Data files

    def unique(self, key: str) -> str:
        """A name like this that nobody used before."""
        stem, dot, kind = key.rpartition(".")
        return f"{stem}-{secrets.token_hex(8)}{dot}{kind}"

    def put(self, staged: Path, key: str) -> None:
        """Upload a finished file, and keep it."""
        size = staged.stat().st_size
        try:
            if size <= PART_OCTETS:
                with staged.open("rb") as file:
                    self._s3().put_object(Bucket=self._bucket, Key=self._base + key, Body=file)
            else:
                from boto3.s3.transfer import TransferConfig

                parts = TransferConfig(
                    multipart_threshold=PART_OCTETS, multipart_chunksize=PART_OCTETS,
                    max_concurrency=4,
                )  # fmt: skip
                self._s3().upload_file(str(staged), self._bucket, self._base + key, Config=parts)
        except FileNotFoundError:
            raise
        except Exception as error:
            raise self._lake_error(error, f"write {key}") from error
        self._there.get(key.partition("/")[0], set()).add(key)
        self._keep(staged, key, size)

    def remove(self, key: str) -> None:
        """Delete a file there and here."""
        try:
            self._s3().delete_object(Bucket=self._bucket, Key=self._base + key)
        except Exception as error:
            raise self._lake_error(error, f"delete {key}") from error
        self._there.get(key.partition("/")[0], set()).discard(key)
        (self.root / key).unlink(missing_ok=True)

    def has(self, key: str) -> bool:
        """Whether a data file is there, as its table was listed; one that is not in the list may
        have come since, and is asked for."""
        table = key.partition("/")[0]
        if table not in self._there:
            self._there[table] = {found.key for found in self._keys(f"{table}/")}
        if key in self._there[table]:
            return True
        try:
            self._s3().head_object(Bucket=self._bucket, Key=self._base + key)
        except Exception as error:
            if is_missing(error):
                return False
            raise self._lake_error(error, f"read {key}") from error
        self._there[table].add(key)
        return True

    def files(self, folder: str) -> Iterator[str]:
        """Keys of all files below a folder, in order."""
        for found in self._keys(f"{folder}/"):
            yield found.key

    def fetch(self, keys: Iterable[str], *, again: bool = False) -> None:
        """Copy files that are not here yet. One that is not there is passed over: whoever opens
        it finds that it is missing."""
        now, wanted = time.time_ns(), []
        for key in keys:
            path = self.root / key
            try:
                os.utime(path, ns=(now, path.stat().st_mtime_ns))
                if again:
                    wanted.append(key)
            except FileNotFoundError:
                wanted.append(key)
        if not wanted:
            return
        self._s3()
        if len(wanted) == 1:
            self._copy(wanted[0])
            return
        self._staging.folder  # noqa: B018  # made by one thread
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for _ in pool.map(self._copy, wanted):
                pass

    def _copy(self, key: str) -> None:
        temporary = self._staging.path(key)
        try:
            for attempt in range(ATTEMPTS):
                try:
                    answer = self._s3().get_object(Bucket=self._bucket, Key=self._base + key)
                    with temporary.open("wb") as file:
                        shutil.copyfileobj(answer["Body"], file, 1 << 20)
                        file.flush()
                        os.fsync(file.fileno())
                    size = int(answer["ContentLength"])
                    if temporary.stat().st_size == size:
                        self._keep(temporary, key, size)
                        return
                except Exception as error:
                    if is_missing(error):
                        (self.root / key).unlink(missing_ok=True)
                        return
                    if attempt == ATTEMPTS - 1 or not broke_off(error):
                        raise self._lake_error(error, f"read {key}") from error
            raise StoreError(f"{self.address}: the transfer of {key} was interrupted")
        finally:
            temporary.unlink(missing_ok=True)

    def _keep(self, finished: Path, key: str, size: int) -> None:
        """Move a file to where it is read."""
        target = self.root / key
        for _ in range(ATTEMPTS):
            target.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):  # the folder went, since it was empty
                finished.replace(target)
                break
        if self._fetched < 0 or self._fetched > self._limit // 16:
            self._fetched = 0
            self._make_room()
        self._fetched += size

    def _make_room(self) -> None:
        """Remove the files that were not used for longest where there are too many octets."""
        found: list[tuple[int, int, Path]] = []
        for table in (*PARTITIONED, "routes", "reference"):
            for here, _, names in os.walk(self.root / table):
                for name in names:
                    with suppress(FileNotFoundError):
                        path = Path(here, name)
                        stat = path.stat()
                        found.append((stat.st_atime_ns, stat.st_size, path))
        over = sum(size for _, size, _ in found) - self._limit
        if over <= 0:
            return
        keep_s = USED_S if over <= self._limit else OPENED_S
        young = time.time_ns() - keep_s * 1_000_000_000
        for used, size, path in sorted(found):
            if over <= -self._limit // 8 or used > young:
                return
            path.unlink(missing_ok=True)
            over -= size

    # The store

    def _s3(self) -> Any:
        """The client, one for all lakes of a process."""
        credentials = tuple(
            sorted(item for item in os.environ.items() if item[0].startswith("AWS_"))
        )
        key = os.getpid(), credentials
        with _MAKING:
            if key not in _CLIENTS:
                _CLIENTS[key] = self._connected()
            return _CLIENTS[key]

    def _connected(self) -> Any:
        try:
            import boto3
            from botocore.config import Config
        except ImportError:
            raise StoreError(
                f"{self.address}: a lake on an object store needs boto3",
                advice="pip install 'flowpeer[s3]'", exit_code=2,
            ) from None  # fmt: skip
        style = {"addressing_style": "path"} if mirror.endpoint() else {}
        config = Config(
            connect_timeout=CONNECT_S, read_timeout=READ_S, retries={"mode": "standard"},
            max_pool_connections=AT_ONCE, s3=style, user_agent_extra="flowpeer",
        )  # fmt: skip
        try:
            return boto3.client("s3", config=config)
        except Exception as error:
            raise self._lake_error(error, "connect") from error

    def _lake_error(self, error: Exception, what: str) -> Exception:
        """An error of the client as one of ours; others as they are."""
        return lake_error(error, self.address, what)
