"""PeeringDB objects into reference/peeringdb_*: API dumps and the SQLite database.

What is missing is unknown (null), never false. What PeeringDB has beyond `schema.PEERINGDB` is
ignored, so old and new versions of its schema read alike. Objects that are not `ok` (deleted,
pending) are left out.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pyarrow as pa

from flowpeer.errors import InputError
from flowpeer.lake.store import Lake, digest_of
from flowpeer.registry.source_files import parse_json, read_all, time_of
from flowpeer.schema import PEERINGDB
from flowpeer_core.columns import arrow_schema

OBJECTS = tuple(name.removeprefix("peeringdb_") for name in PEERINGDB)
_SQLITE = {
    "org": "peeringdb_organization", "net": "peeringdb_network", "ix": "peeringdb_ix",
    "ixlan": "peeringdb_ixlan", "ixpfx": "peeringdb_ixlan_prefix",
    "netixlan": "peeringdb_network_ixlan", "fac": "peeringdb_facility",
    "ixfac": "peeringdb_ix_facility", "netfac": "peeringdb_network_facility",
    "campus": "peeringdb_campus", "carrier": "peeringdb_carrier",
    "carrierfac": "peeringdb_carrier_facility", "poc": "peeringdb_network_contact",
}  # fmt: skip
_SUFFIXES = (".json", ".json.gz", ".json.bz2", ".json.zst")
_SQLITE_MAGIC = b"SQLite format 3\0"
_ADVICE = "give a PeeringDB API dump (JSON), a folder of one-object files, or its SQLite database"
_INT64 = 1 << 63

Rows = dict[str, list[dict[str, Any]]]


def load_peeringdb(lake: Lake, path: Path) -> tuple[dict[str, Any], bool]:
    """Load PeeringDB objects.

    A dump, a folder or a database replaces all objects: those it lacks are taken out of the lake.
    A file of one object (`net.json` with `{"data": […]}`) replaces that object alone.

    Returns:
        Facts, and whether it was loaded now: objects (rows by name), missing_objects,
        missing_fields (by object), skipped (by reason), source, source_digest.

    Raises:
        InputError: nothing in it is a PeeringDB object; the lake is as it was.
    """
    files = _files(path)
    digest = _digest(files)
    known = _known(lake, digest)
    if known is not None:
        return known, False
    found, whole = _read(path, files)
    more = {"source_time": _latest(found) or time_of(path)}
    return publish(lake, found, source=path.name, digest=digest, whole=whole, more=more), True


def _latest(found: Rows) -> str | None:
    """When an object was last changed in PeeringDB: how old the dump is, whenever it was copied."""
    stamps = {str(row["updated"]) for rows in found.values() for row in rows if row.get("updated")}
    times = []
    for stamp in stamps:
        try:
            time = datetime.fromisoformat(stamp)
        except ValueError:
            continue
        times.append(time if time.tzinfo else time.replace(tzinfo=UTC))
    return max(times).astimezone(UTC).isoformat() if times else None


def publish(
    lake: Lake,
    found: Rows,
    *,
    source: str,
    digest: str,
    whole: bool,
    more: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:
    """Put objects, as the API names and shapes them, into the lake; returns the facts.

    Args:
        whole: objects that are not among them are taken out of the lake.
        more: further facts for the record.
    """
    tables, missing, skipped = shape(found)
    if not any(table.num_rows for table in tables.values()):
        raise InputError(source, "no PeeringDB objects in it", advice=_ADVICE)
    facts: dict[str, Any] = {
        "source": source,
        "source_digest": digest,
        "objects": {name: table.num_rows for name, table in tables.items()},
        "missing_objects": [n for n in OBJECTS if n not in tables] if whole else [],
        "missing_fields": missing,
        "skipped": dict(sorted(skipped.items())),
        **more,
    }
    for name, table in tables.items():
        lake.publish(relative_path(name), PEERINGDB[f"peeringdb_{name}"], table, facts)
    for name in facts["missing_objects"]:
        lake.remove(relative_path(name))
    return facts


def shape(found: Rows) -> tuple[dict[str, pa.Table], dict[str, list[str]], Counter[str]]:
    """Tables of `schema.PEERINGDB` by object, fields that no row has, and what was left out."""
    skipped: Counter[str] = Counter()
    missing: dict[str, list[str]] = {}
    _derive(found)
    tables = {
        name: _table(name, rows, missing, skipped)
        for name, rows in found.items()
        if name in OBJECTS
    }
    return tables, missing, skipped


def relative_path(name: str) -> str:
    """Where an object's rows are in the lake."""
    return f"reference/peeringdb_{name}.parquet"


def _known(lake: Lake, digest: str) -> dict[str, Any] | None:
    """The facts of this very source, if all that it gave is in the lake."""
    entries = {name: lake.entry(relative_path(name)) or {} for name in OBJECTS}
    same = {n for n, entry in entries.items() if entry.get("source_digest") == digest}
    for name in same:
        if same >= set(entries[name]["objects"]):
            return entries[name]
    return None


# reading


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(p for p in path.iterdir() if p.is_file() and _object_name(p) in OBJECTS)
    if not found:
        raise InputError(
            str(path), "no file of a PeeringDB object in it (net.json, ix.json, …)", advice=_ADVICE
        )
    return found


def _digest(files: list[Path]) -> str:
    if len(files) == 1:
        return digest_of(files[0])
    lines = (f"{file.name} {digest_of(file)}\n" for file in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _object_name(path: Path) -> str:
    """`net` of net.json, net.json.gz, or of a longer name that ends so (peeringdb_net.json)."""
    for suffix in _SUFFIXES:
        if path.name.endswith(suffix):
            return path.name.removesuffix(suffix).replace("-", "_").split("_")[-1].lower()
    return ""


def _read(path: Path, files: list[Path]) -> tuple[Rows, bool]:
    if path.is_file():
        with path.open("rb") as head:
            if head.read(len(_SQLITE_MAGIC)) == _SQLITE_MAGIC:
                return _from_sqlite(path), True
    found: Rows = {}
    whole = path.is_dir()
    for file in files:
        document = _json(file)
        if not isinstance(document, dict):
            raise InputError(str(file), "not a JSON object", advice=_ADVICE)
        if isinstance(document.get("data"), list):
            name = _object_name(file)
            if name not in OBJECTS:
                name = _guess(document["data"])
            if not name:
                raise InputError(
                    str(file),
                    "one PeeringDB object, but neither its name nor its fields tell which",
                    advice="name the file after the object: net.json, netixlan.json, …",
                )
            found.setdefault(name, []).extend(_objects(file, name, document["data"]))
            continue
        for name in OBJECTS:
            part = document.get(name)
            rows = part.get("data") if isinstance(part, dict) else part
            if rows is not None:
                found.setdefault(name, []).extend(_objects(file, name, rows))
                whole = True
    return found, whole


def _objects(path: Path, name: str, rows: object) -> list[dict[str, Any]]:
    if not isinstance(rows, list):
        raise InputError(str(path), f"{name}: not a list of objects", advice=_ADVICE)
    return [row if isinstance(row, dict) else {} for row in rows]


def _guess(rows: list[Any]) -> str:
    """The object whose own fields these are; "" where none or several fit."""
    first = rows[0] if rows and isinstance(rows[0], dict) else {}
    marks = {
        "netixlan": {"net_id", "speed"}, "netfac": {"net_id", "fac_id"},
        "ixfac": {"ix_id", "fac_id"}, "ixpfx": {"prefix", "protocol"}, "ixlan": {"ix_id", "rs_asn"},
        "carrierfac": {"carrier_id", "fac_id"}, "poc": {"net_id", "role"},
        "net": {"asn", "policy_general"}, "fac": {"clli"}, "ix": {"region_continent", "media"},
    }  # fmt: skip
    fits = [name for name, fields in marks.items() if fields <= set(first)]
    return fits[0] if len(fits) == 1 else ""


def _json(path: Path) -> object:
    return parse_json(read_all(path), str(path), advice=_ADVICE)


def _from_sqlite(path: Path) -> Rows:
    """Objects of the database that peeringdb-py keeps; opened read-only."""
    found: Rows = {}
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            names = {
                row[0]
                for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            }
            database.text_factory = lambda raw: raw.decode("utf-8", "replace")
            for name, table in _SQLITE.items():
                if table in names:
                    cursor = database.execute(f'SELECT * FROM "{table}"')  # noqa: S608
                    fields = [column[0] for column in cursor.description]
                    found[name] = [dict(zip(fields, row, strict=True)) for row in cursor]
    except sqlite3.Error as error:
        raise InputError(str(path), f"SQLite: {error}", advice=_ADVICE) from None
    return found


# shaping


def _derive(found: Rows) -> None:
    """Fill what one object leaves out and another one says."""
    ix_of = _lookup(found, "ixlan", "ix_id")
    asn_of = _lookup(found, "net", "asn")
    for name, field, key, known in (
        ("netixlan", "ix_id", "ixlan_id", ix_of),
        ("netixlan", "asn", "net_id", asn_of),
        ("netfac", "local_asn", "net_id", asn_of),
    ):
        for row in found.get(name, []):
            number = row.get(key)
            if row.get(field) is None and isinstance(number, int) and number in known:
                row[field] = known[number]
    for row in found.get("net", []):
        kinds = row.get("info_types")
        if not row.get("info_type") and isinstance(kinds, list) and kinds:
            row["info_type"] = str(kinds[0])


def _lookup(found: Rows, name: str, field: str) -> dict[int, object]:
    """id → field of an object's rows, where both are given."""
    return {
        row["id"]: row[field]
        for row in found.get(name, [])
        if isinstance(row.get("id"), int) and row.get(field) is not None
    }


def _table(
    name: str, rows: list[dict[str, Any]], missing: dict[str, list[str]], skipped: Counter[str]
) -> pa.Table:
    schema = arrow_schema(PEERINGDB[f"peeringdb_{name}"])
    kept = list(_kept(name, rows, skipped))
    present = {key for row in kept for key in row}
    absent = [field.name for field in schema if field.name not in present]
    if absent and kept:
        missing[name] = absent
    arrays = [pa.array(_values(kept, field, name, skipped), field.type) for field in schema]
    return pa.Table.from_arrays(arrays, schema=schema).sort_by("id")


def _kept(
    name: str, rows: Iterable[Mapping[str, Any]], skipped: Counter[str]
) -> Iterator[Mapping[str, Any]]:
    seen: set[int] = set()
    for row in rows:
        number = row.get("id")
        if not isinstance(number, int) or isinstance(number, bool) or abs(number) >= _INT64:
            skipped[f"{name}: without an id"] += 1
        elif row.get("status", "ok") != "ok":
            skipped[f"{name}: not ok (deleted or pending)"] += 1
        elif number in seen:
            skipped[f"{name}: id given twice"] += 1
        else:
            seen.add(number)
            yield row


def _values(
    rows: list[Mapping[str, Any]], field: pa.Field, name: str, skipped: Counter[str]
) -> list[Any]:
    convert = _CONVERT[field.type]
    out: list[Any] = []
    for row in rows:
        value = row.get(field.name)
        if value is None:
            out.append(None)
            continue
        found = convert(value)
        if found is None and value != "":
            skipped[f"{name}.{field.name}: value of another type"] += 1
        out.append(found)
    return out


def _integer(value: object) -> int | None:
    if isinstance(value, str) and value.strip().isascii() and len(value) < 20:
        try:
            value = int(value)
        except ValueError:
            return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) >= _INT64:
        return None
    return value


def _real(value: object) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        return float(value) if isinstance(value, int | float | str) and value != "" else None
    except (ValueError, OverflowError):
        return None


def _flag(value: object) -> bool | None:
    """JSON true and false, SQLite 1 and 0."""
    if isinstance(value, bool):
        return value
    return bool(value) if isinstance(value, int) and value in (0, 1) else None


def _text(value: object) -> str | None:
    if isinstance(value, str):
        # A lone surrogate is legal JSON but no UTF-8.
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return str(value)


_CONVERT = {pa.int64(): _integer, pa.float64(): _real, pa.bool_(): _flag, pa.string(): _text}
