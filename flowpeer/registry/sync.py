"""PeeringDB over HTTP: all objects the first time, after that what has changed since.

The API's `since` gives the objects changed at or after a time, deleted ones too (status
`deleted`). The time asked for is the newest `updated` that was seen, by the server's own clock.
Everything is fetched before anything is published.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from flowpeer.errors import InputError, UsageError
from flowpeer.lake.store import HeldLock, Lake
from flowpeer.registry.http import JsonClient, NotFoundError
from flowpeer.registry.peeringdb import OBJECTS, Rows, publish, relative_path, shape

DEFAULT_URL = "https://www.peeringdb.com/api"
KEY_VARIABLE = "FLOWPEER_PEERINGDB_API_KEY"
ANONYMOUS_INTERVAL_S, KEY_INTERVAL_S = 3.0, 2.0
"""PeeringDB takes 20 anonymous and 40 authenticated queries a minute, and asks for two seconds."""
REQUIRED = ("org", "net", "ix", "ixlan", "ixpfx", "netixlan", "fac", "ixfac", "netfac")
"""Objects of every version of the API; the others are unknown where it lacks them."""
_KEY = re.compile(r"[\x21-\x7e]{1,512}")


def api_key(file: Path | None, environment: Mapping[str, str]) -> str:
    """The key in the environment, else in `file`; "" where there is none.

    Raises:
        UsageError: the file cannot be read, or what it holds is no key (which is not shown).
    """
    text = environment.get(KEY_VARIABLE, "").strip()
    where = KEY_VARIABLE
    if not text and file is not None:
        where = str(file)
        try:
            text = file.read_text("ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "not text"
            raise UsageError(
                f"{file}: the API key cannot be read: {why}",
                advice="fix `peeringdb_api_key_file` under [sources]",
            ) from None
    if (text or where != KEY_VARIABLE) and not _KEY.fullmatch(text):
        raise UsageError(f"{where}: holds no API key", advice="put the key alone there")
    return text


def sync_peeringdb(
    lake: Lake,
    held: HeldLock,
    *,
    url: str = DEFAULT_URL,
    key: str = "",
    full: bool = False,
    say: Callable[[str], None] = lambda _: None,
    client: JsonClient | None = None,
) -> dict[str, Any]:
    """Bring reference/peeringdb_* up to date with a server.

    Args:
        held: the token of the lock `reference`.
        full: fetch everything even where only changes are needed.
        client: for tests; made from `url` and `key` otherwise.

    Returns:
        Facts: objects (rows by name), changed (rows new, gone or different, by name), source,
        source_time.

    Raises:
        InputError: no usable answer to one of the requests; the lake is as it was.
        UsageError: `url` is no address of an API.
    """
    held.require(lake.root, "reference")
    if client is None:
        client = JsonClient(
            url,
            f"Api-Key {key}" if key else "",
            KEY_INTERVAL_S if key else ANONYMOUS_INTERVAL_S,
            say,
        )
    source = client.base
    entries = {name: lake.entry(relative_path(name)) or {} for name in OBJECTS}
    begun = datetime.now(UTC)
    rows: Rows = {}
    since: dict[str, int] = {}
    for name in OBJECTS:
        entry = entries[name]
        known = entry.get("since", {}).get(name) if entry.get("source") == source else None
        if full or not lake.path(relative_path(name)).is_file():
            known = None
        query = {"depth": 0} if known is None else {"depth": 0, "since": known}
        try:
            document, asked = client.get(name, **query)
        except NotFoundError:
            if name in REQUIRED:
                raise
            continue
        data = _data(document, asked)
        if known is None and not data and name in REQUIRED:
            raise InputError(asked, f"no {name} at all", advice="check the address of the API")
        since[name] = max(known or 0, _newest(data, document, begun))
        rows[name] = data if known is None else _merged(lake, name, data)
    tables, _, _ = shape(rows)
    changed = {name: _changed(lake, name, table) for name, table in tables.items()}
    facts = {"since": since, "source_time": begun.isoformat(timespec="seconds")}
    result = {"changed": changed, "source": source, **facts}
    known_names = {name for name, entry in entries.items() if entry}
    if not any(changed.values()) and set(rows) == known_names:
        for name in known_names:  # nothing new: only remember when that was so
            lake.remember(relative_path(name), {**entries[name], **facts, "source": source})
        return {"objects": {n: t.num_rows for n, t in tables.items()}, **result}
    digest = sha256(json.dumps([source, since], sort_keys=True).encode()).hexdigest()
    published = publish(lake, rows, source=source, digest=digest, whole=True, more=facts)
    return {**published, **result}


def _changed(lake: Lake, name: str, table: pa.Table) -> int:
    """Rows that are new, gone or different."""
    path = lake.path(relative_path(name))
    if not path.is_file():
        return int(table.num_rows)
    before = pq.read_table(path)
    if before.equals(table):
        return 0
    old = {row["id"]: row for row in before.to_pylist()}
    new = {row["id"]: row for row in table.to_pylist()}
    return sum(old.get(key) != new.get(key) for key in old.keys() | new.keys())


def _data(document: Any, url: str) -> list[dict[str, Any]]:
    data = document.get("data") if isinstance(document, dict) else None
    if not isinstance(data, list):
        raise InputError(
            url, "not an answer of the PeeringDB API", advice="check the address of the API"
        )
    return [row if isinstance(row, dict) else {} for row in data]


def _newest(data: list[dict[str, Any]], document: Any, begun: datetime) -> int:
    """When the newest of the rows was changed; else when the answer was made."""
    times = [_seconds(row.get("updated")) for row in data]
    newest = max((t for t in times if t is not None), default=None)
    if newest is not None:
        return min(newest, int(begun.timestamp()))
    meta = document.get("meta")
    generated = meta.get("generated") if isinstance(meta, dict) else None
    if isinstance(generated, int | float) and 0 < generated < 1 << 40:
        return int(generated)
    return 0 if data else int(begun.timestamp()) - 3600


def _seconds(text: object) -> int | None:
    try:
        time = datetime.fromisoformat(str(text))
        return int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):
        return None


def _merged(lake: Lake, name: str, data: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows in the lake with the changed ones in their place."""
    rows: dict[object, dict[str, Any]] = {
        row["id"]: row for row in pq.read_table(lake.path(relative_path(name))).to_pylist()
    }
    for number, row in enumerate(data):
        identity = row.get("id")
        rows[identity if isinstance(identity, int) else f"row {number}"] = row
    return list(rows.values())
