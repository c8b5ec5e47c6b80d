"""`flowpeer.toml` → the network: all mistakes of a file at once.

Each is told with the line, the key, the value and what would be accepted.
"""

from __future__ import annotations

import csv
import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from flowpeer.errors import ConfigError
from flowpeer.network import Interface, Network, canonical_address
from flowpeer.rules import Classified, classify

MAX_CONFIG_BYTES = 1 << 20
"""A configuration is written by people; a larger file is some other file."""


def load(path: Path) -> Network:
    """Read, validate and cross-check a configuration.

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
            advice="mend the syntax (TOML 1.0) and run `flowpeer check`",
        ) from None
    except (RecursionError, ValueError) as error:
        raise ConfigError(str(path), [f"not readable as TOML: {error}"]) from None
    lines = _key_lines(text)
    problems: list[str] = []
    classified = Classified()
    if isinstance(raw.get("sources"), dict) and isinstance(raw["sources"].get("interfaces"), str):
        table = path.parent / raw["sources"]["interfaces"]
        listed = raw.setdefault("interfaces", [])
        rows, row_problems = _interfaces_csv(table)
        problems += row_problems
        if isinstance(raw.get("rules"), list):
            rows, classified = _by_rules(rows, raw["rules"])
        if isinstance(listed, list):
            lines.update(
                {
                    ("interfaces", len(listed) + n): f"{table}, line {line}"
                    for n, (line, _) in enumerate(rows)
                }
            )
            listed.extend(row for _, row in rows)
    network: Network | None = None
    try:
        known = {"source": path, "classified": classified}
        network = Network.model_validate({**raw, **known} if not known.keys() & raw else raw)
    except ValidationError as error:
        for item in error.errors(include_url=False):
            problems.append(_problem(item, lines, raw))
    problems += [f"{_at(lines, where)}{_dotted(where)}: {what}" for where, what in _crossed(raw)]
    if problems or network is None:
        raise ConfigError(
            str(path),
            problems,
            advice="mend the file; `flowpeer init DIR` writes a commented example",
        )
    return network


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
        raise ConfigError(str(path), [f"not UTF-8 at offset {error.start}"]) from None
    except OSError as error:
        raise ConfigError(str(path), [f"cannot be read: {error.strerror}"]) from None


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
    message = str(item["msg"]).removeprefix("Value error, ")
    shown = repr(value)
    shown = shown if len(shown) <= 60 else shown[:57] + "…"
    return f"{_at(lines, where)}{_dotted(where)} = {shown}: {message[:1].lower()}{message[1:]}"


def _fields_at(where: _Where) -> Iterator[str]:
    """Names of the settings of the section at `where`."""
    model: type[BaseModel] = Network
    for part in where:
        if isinstance(part, int):
            continue
        field = model.model_fields.get(str(part))
        if field is None:
            return
        inner = list(_models(field.annotation))
        if not inner:
            return
        model = inner[0]
    yield from (name for name in model.model_fields if name not in ("source", "classified"))


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
    known: dict[str, list[str]] = {}
    for section in ("metros", "exporters", "contracts"):
        seen: list[str] = []
        for n, item in _sections(raw, section):
            name = str(item.get("id"))
            if "id" in item and name in seen:
                yield (section, n, "id"), f"{name!r} stands here a second time"
            seen.append(name)
        known[section] = seen
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
    keys: set[tuple[str, str]] = set()
    for n, item in _sections(raw, "interfaces"):
        key = (str(item.get("exporter")), str(item.get("index")))
        if key in keys:
            yield ("interfaces", n), f"interface {key[1]} of exporter {key[0]!r} stands twice"
        keys.add(key)
        if item.get("role") in ("transit", "peer", "customer") and "asn" not in item:
            yield (
                ("interfaces", n),
                f"role {item['role']!r} needs `asn`, the network on the other side",
            )
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


def _by_rules(
    rows: list[tuple[int, dict[str, Any]]], rules: list[Any]
) -> tuple[list[tuple[int, dict[str, Any]]], Classified]:
    """Rows of the CSV that have a role or that a rule gives one, each with its line."""
    kept: list[tuple[int, dict[str, Any]]] = []
    whole = Classified()
    for line, row in rows:
        one = classify([row], rules)
        kept += [(line, made) for made in one.rows]
        whole.caught.update(one.caught)
        whole.unmatched += one.unmatched
    return kept, whole


def _interfaces_csv(path: Path) -> tuple[list[tuple[int, dict[str, Any]]], list[str]]:
    """Rows of `[sources] interfaces` as raw `[[interfaces]]` items, each with its line."""
    advice = (
        "a CSV with the header exporter,index,name,role,asn,capacity,contract,description is "
        "expected"
    )
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            header = set(reader.fieldnames or ())
            unknown = sorted(header - set(Interface.model_fields))
            if unknown or not {"exporter", "index"} <= header:
                return [], [f"{path}, line 1: {advice}"]
            rows: list[tuple[int, dict[str, Any]]] = []
            for row in reader:
                item: dict[str, Any] = {k: v for k, v in row.items() if k and v}
                for number in ("index", "asn", "l2_overhead"):
                    if str(item.get(number, "")).isascii() and str(item.get(number)).isdigit():
                        item[number] = int(item[number])
                rows.append((reader.line_num, item))
            return rows, []
    except FileNotFoundError:
        return [], [f"sources.interfaces: {path} does not exist"]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        return [], [f"sources.interfaces: {path}: {error}; {advice}"]
