"""`flowpeer.toml` → the network: all mistakes of a file at once.

Each is reported with the line, the key, the value and what would be accepted.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from flowpeer.errors import ConfigError
from flowpeer.inventory import NEEDS_ASN, InventoryRow, classify, exporter_addresses, read_csv
from flowpeer.mirror import is_address, lake_folder
from flowpeer.network import Configuration, canonical_address
from flowpeer.network.values import moment
from flowpeer.rules import Classified, ExportedNames

MAX_CONFIG_BYTES = 1 << 20
"""A configuration is written by people; a larger file is some other file."""


Names = Callable[[Path, Collection[str]], ExportedNames]
"""What the exporters with these addresses call their interfaces, by the lake in this folder."""


def load(path: Path, *, exported: Names | None = None) -> Configuration:
    """Read, validate and cross-check a configuration.

    Args:
        exported: asked for interface names if there are rules to read them. Without it the
            configuration says what it says without a lake.

    Raises:
        ConfigError: with every mistake of the file.
    """
    text = _read(path)
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(
            str(path),
            [_syntax(str(error))],
            advice="fix the syntax (TOML 1.0) and run `flowpeer check`",
        ) from None
    except (RecursionError, ValueError) as error:
        raise ConfigError(str(path), [f"not readable as TOML: {error}"]) from None
    lines = _key_lines(text)
    problems: list[str] = []
    classified = _add_inventory(raw, path.parent, exported, lines, problems)
    network: Configuration | None = None
    try:
        known = {"source": path, "classified": classified}
        network = Configuration.model_validate({**raw, **known} if not known.keys() & raw else raw)
    except ValidationError as error:
        for item in error.errors(include_url=False):
            problems.append(_problem(item, lines, raw))
    problems += [f"{_at(lines, where)}{_dotted(where)}: {what}" for where, what in _crossed(raw)]
    if problems or network is None:
        raise ConfigError(
            str(path),
            problems,
            advice="fix the file; `flowpeer init DIR` writes a commented example",
        )
    return network


def _add_inventory(
    raw: dict[str, Any],
    folder: Path,
    exported: Names | None,
    lines: dict[_Where, str],
    problems: list[str],
) -> Classified:
    """Add to the `[[interfaces]]` sections of `raw` those that the CSV and the exporters tell of.

    Where each stands goes into `lines`, what is wrong with the CSV into `problems`.
    """
    listed = raw.get("interfaces", [])
    if not isinstance(listed, list):
        return Classified()
    sources, lake, rules = raw.get("sources"), raw.get("lake"), raw.get("rules")
    rows: list[InventoryRow] = []
    if isinstance(sources, dict) and isinstance(sources.get("interfaces"), str):
        rows, wrong = read_csv(folder / sources["interfaces"])
        problems += wrong
    sections = {InventoryRow("", item).key for item in listed if isinstance(item, dict)}
    rows = [row for row in rows if row.key not in sections]
    classified = Classified()
    if isinstance(rules, list):
        ids = exporter_addresses(raw)
        texts = ExportedNames()
        if exported is not None and isinstance(lake, dict) and isinstance(lake.get("path"), str):
            place = _lake_folder(lake, folder)
            texts = texts if place is None else exported(place, ids)
        rows, classified = classify(rows, rules, texts, ids, sections)
    lines.update({("interfaces", len(listed) + n): row.origin for n, row in enumerate(rows)})
    if rows:
        raw["interfaces"] = [*listed, *(row.item for row in rows)]
    return classified


def _lake_folder(lake: dict[str, Any], beside: Path) -> Path | None:
    """Where the lake is; None for what is no place, which is reported later."""
    cache = lake.get("cache")
    try:
        return lake_folder(lake["path"], beside, cache if isinstance(cache, str) else None)
    except ValueError:
        return None


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise ConfigError(str(path), [f"larger than {MAX_CONFIG_BYTES} octets, not read"])
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(
            str(path),
            ["no such file"],
            advice="name it with --config FILE or FLOWPEER_CONFIG, "
            "or write one with `flowpeer init`",
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigError(
            str(path), [f"not UTF-8 at offset {error.start}"], advice="save it as UTF-8"
        ) from None
    except OSError as error:
        raise ConfigError(
            str(path),
            [f"cannot be read: {error.strerror}"],
            advice="name a file that this user may read (`ls -l`)",
        ) from None


def _syntax(message: str) -> str:
    match = re.fullmatch(r"(.*) \(at line (\d+), column (\d+)\)", message)
    return f"line {match[2]}, column {match[3]}: {match[1]}" if match else message


_Where = tuple[str | int, ...]


def _key_lines(text: str) -> dict[_Where, str]:
    """Where each key of the usual layout stands; what is not found is reported without a line."""
    lines: dict[_Where, str] = {}
    counts: dict[str, int] = {}
    table: _Where = ()
    for number, line in enumerate(text.splitlines(), 1):
        if match := re.match(r"\s*\[\[\s*([\w.-]+)\s*\]\]", line):
            name = match[1]
            counts[name] = counts.get(name, -1) + 1
            table = (name, counts[name])
            lines[table] = f"line {number}"
        elif match := re.match(r"\s*\[\s*([\w.-]+)\s*\]", line):
            table = tuple(match[1].split("."))
            lines[table] = f"line {number}"
        elif match := re.match(r"\s*\"?([\w-]+)\"?\s*=", line):
            lines.setdefault((*table, match[1]), f"line {number}")
    return lines


def _at(lines: Mapping[_Where, str], where: _Where) -> str:
    for length in range(len(where), 0, -1):
        if where[:length] in lines:
            return f"{lines[where[:length]]}: "
    return ""


def _dotted(where: _Where) -> str:
    text = ""
    for part in where:
        text += f"[{part + 1}]" if isinstance(part, int) else f".{part}" if text else part
    return text


_EXPECTED = {
    "bool_type": "true or false is expected",
    "dict_type": "a table is expected",
    "int_type": "a whole number is expected, without quotes",
    "model_type": "a table is expected",
    "string_type": "text is expected, in quotes",
    "tuple_type": "a list is expected, in [ ]",
}
"""What pydantic calls valid integers and tuples, in the words of the file."""


def _problem(item: Any, lines: Mapping[_Where, str], raw: Mapping[str, Any]) -> str:
    where = tuple(item["loc"])
    kind, value = item["type"], item.get("input")
    if kind == "extra_forbidden":
        known = list(_fields_at(where[:-1]))
        near = difflib.get_close_matches(str(where[-1]), known, n=1)
        hint = f"did you mean `{near[0]}`?" if near else f"known here: {', '.join(known)}"
        return f"{_at(lines, where)}{_dotted(where)}: unknown key; {hint}"
    if kind == "missing":
        return f"{_at(lines, where)}{_dotted(where)}: required, and missing"
    message = _EXPECTED.get(kind) or str(item["msg"]).removeprefix("Value error, ")
    shown = repr(value)
    shown = shown if len(shown) <= 60 else shown[:57] + "…"
    return f"{_at(lines, where)}{_dotted(where)} = {shown}: {message[:1].lower()}{message[1:]}"


def _fields_at(where: _Where) -> Iterator[str]:
    """Names of the settings of the section at `where`."""
    model: type[BaseModel] = Configuration
    for part in where:
        if isinstance(part, int):
            continue
        field = next((f for n, f in model.model_fields.items() if (f.alias or n) == part), None)
        if field is None:
            return
        inner = list(_models(field.annotation))
        if not inner:
            return
        model = inner[0]
    yield from (
        field.alias or name
        for name, field in model.model_fields.items()
        if name not in ("source", "classified")
    )


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in getattr(annotation, "__args__", ()):
        yield from _models(inner)


def _sections(raw: Mapping[str, Any], name: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    value = raw.get(name, ())
    if isinstance(value, list):
        yield from ((n, item) for n, item in enumerate(value) if isinstance(item, dict))


def _crossed(raw: Mapping[str, Any]) -> Iterator[tuple[_Where, str]]:
    """Mistakes that no single value shows: names that do not exist, or exist twice."""
    for taken, meant in (("source", "sources"), ("classified", "rules")):
        if taken in raw:
            yield (taken,), f"unknown key; did you mean `{meant}`?"
    sources = raw.get("sources")
    if isinstance(sources, dict) and {"peeringdb", "peeringdb_url"} <= set(sources):
        yield (
            ("sources", "peeringdb_url"),
            "PeeringDB comes from a file (`peeringdb`) or from a server, not from both",
        )
    lake = raw.get("lake")
    if isinstance(lake, dict) and "fold_below" in lake and "fold_share" not in lake:
        yield ("lake", "fold_below"), "folds nothing without `fold_share`, like fold_share = 0.01"
    if isinstance(lake, dict) and not is_address(str(lake.get("path"))):
        for name in ("cache", "cache_size"):
            if name in lake:
                yield ("lake", name), "is of a lake on an object store, whose path is s3://…"
    known: dict[str, list[str]] = {}
    for section in ("metros", "exporters", "contracts", "risk_groups"):
        seen: list[str] = []
        for n, item in _sections(raw, section):
            name = str(item.get("id"))
            if "id" in item and name in seen:
                yield (section, n, "id"), f"{name!r} stands here a second time"
            seen.append(name)
        known[section] = seen
    prefixes: set[str] = set()
    for n, item in _sections(raw, "announcements"):
        if "prefix" in item and str(item["prefix"]) in prefixes:
            yield (
                ("announcements", n, "prefix"),
                f"{str(item['prefix'])!r} stands here a second time; one section names all metros",
            )
        prefixes.add(str(item.get("prefix")))
    routing = raw.get("routing")
    scopes = routing.get("route_scope", ()) if isinstance(routing, dict) else ()
    communities: set[str] = set()
    for n, item in enumerate(scopes if isinstance(scopes, list) else ()):
        community = str(item.get("community")) if isinstance(item, dict) else ""
        if community and community in communities:
            yield ("routing", "route_scope", n), f"{community!r} has two scopes"
        communities.add(community)
    addresses: dict[str, str] = {}
    for n, item in _sections(raw, "exporters"):
        for address in item.get("addresses", ()) if isinstance(item.get("addresses"), list) else ():
            try:
                text = str(canonical_address(address))
            except ValueError:
                continue
            if text in addresses:
                yield (
                    ("exporters", n, "addresses"),
                    f"{text} is already an address of exporter {addresses[text]!r}",
                )
            addresses[text] = str(item.get("id"))
    keys: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for n, item in _sections(raw, "interfaces"):
        key = (str(item.get("exporter")), str(item.get("index")))
        if any(_overlap(item, other) for other in keys.get(key, ())):
            yield (
                ("interfaces", n),
                f"interface {key[1]} of exporter {key[0]!r} stands twice for the same time",
            )
        keys.setdefault(key, []).append(item)
        if item.get("role") in NEEDS_ASN and "asn" not in item:
            yield (
                ("interfaces", n),
                f"role {item['role']!r} needs `asn`, the network on the other side",
            )
    yield from _unknown_members(raw, known, keys)
    for section, key_name, target in (
        ("exporters", "metro", "metros"),
        ("interfaces", "exporter", "exporters"),
        ("interfaces", "contract", "contracts"),
        ("rules", "contract", "contracts"),
        ("sessions", "metro", "metros"),
    ):
        for n, item in _sections(raw, section):
            if key_name in item and str(item[key_name]) not in known[target]:
                near = difflib.get_close_matches(str(item[key_name]), known[target], n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                yield (
                    (section, n, key_name),
                    f"{item[key_name]!r} is no id of [[{target}]]{hint}",
                )


def _overlap(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Do two sections hold at the same time? Not judged where a time cannot be read."""
    try:
        (a, b), (c, d) = (
            (moment(item["from"]) if "from" in item else None,
             moment(item["until"]) if "until" in item else None)
            for item in (one, other)
        )  # fmt: skip
    except ValueError:
        return False
    return (a is None or d is None or a < d) and (c is None or b is None or c < b)


def _unknown_members(
    raw: Mapping[str, Any],
    known: Mapping[str, list[str]],
    interfaces: Collection[tuple[str, str]],
) -> Iterator[tuple[_Where, str]]:
    """Lists of names whose members must be configured elsewhere."""
    for section, key, target in (
        ("announcements", "metros", "metros"),
        ("risk_groups", "exporters", "exporters"),
    ):
        for n, item in _sections(raw, section):
            for name in item[key] if isinstance(item.get(key), list) else ():
                if str(name) not in known[target]:
                    yield (section, n, key), f"{name!r} is no id of [[{target}]]"
    for n, item in _sections(raw, "risk_groups"):
        for name in item["interfaces"] if isinstance(item.get("interfaces"), list) else ():
            exporter, _, index = str(name).rpartition(":")
            if (exporter, index) not in interfaces:
                yield (
                    ("risk_groups", n, "interfaces"),
                    f"{name!r} is no configured interface (written exporter:ifIndex)",
                )
