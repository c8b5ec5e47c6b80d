"""`flowpeer.toml`: the network as its operator describes it.

Every setting exists once, here: its key, its type, its default. All mistakes of a file are
reported together, each with the line, the key, the value and what would be accepted.
"""

from __future__ import annotations

import csv
import difflib
import ipaddress
import re
import tomllib
from collections.abc import Iterator, Mapping
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

import pyarrow as pa
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from flowpeer import schema
from flowpeer.errors import ConfigError
from flowpeer.rules import Classified, classify

MAX_CONFIG_BYTES = 1 << 20
"""A configuration is written by people; a larger file is some other file."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Prefix = ipaddress.IPv4Network | ipaddress.IPv6Network

OBSERVED_CONES = "observed"
"""The word in the place of a file of customer cones that says: from our own routes."""

_SCALE = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def bits_per_second(value: object) -> int:
    """`"100G"` → 100_000_000_000. Raises ValueError for anything else than a positive rate."""
    match = re.fullmatch(r"(\d{1,6})(?:\.(\d{1,6}))?\s*([KMGT]?)", str(value).strip())
    if isinstance(value, str) and match:
        whole, fraction, unit = match.groups()
        scaled = int(whole + (fraction or "")) * _SCALE[unit]
        bps, rest = divmod(scaled, int(10 ** len(fraction or "")))
        if bps > 0 and not rest:
            return bps
    raise ValueError('a rate in bit/s as text with K, M, G or T is expected, like "100G"')


def seconds(value: object) -> int:
    """`"60s"` → 60. Raises ValueError for anything else than a positive duration."""
    match = re.fullmatch(r"(\d{1,6})\s*([smhd])", str(value).strip())
    if isinstance(value, str) and match and int(match[1]) > 0:
        return int(match[1]) * _SECONDS[match[2]]
    raise ValueError('a duration as text with s, m, h or d is expected, like "60s"')


def _address(value: object) -> Address:
    try:
        parsed = ipaddress.ip_address(str(value))
    except ValueError:
        raise ValueError('an IP address is expected, like "192.0.2.1"') from None
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped:
        return parsed.ipv4_mapped
    return parsed


def _prefix(value: object) -> Prefix:
    try:
        prefix = ipaddress.ip_network(str(value))
        if prefix.version == 6 and prefix.network_address.ipv4_mapped:
            raise ValueError("IPv4-mapped: write it as IPv4")
        return prefix
    except ValueError as error:
        raise ValueError(f'a prefix is expected, like "198.18.0.0/15" ({error})') from None


def _pattern(value: object) -> str:
    if isinstance(value, str) and 0 < len(value) <= 500:
        try:
            re.compile(value)
        except (re.error, RecursionError, OverflowError) as error:
            raise ValueError(f"a regular expression is expected ({error})") from None
        return value
    raise ValueError("a regular expression of at most 500 characters is expected")


def _zone(value: object) -> str:
    try:
        ZoneInfo(str(value))
    except (KeyError, OSError, ValueError):
        raise ValueError('a time zone name is expected, like "Europe/Amsterdam"') from None
    return str(value)


def _exchange(value: object) -> object:
    return {"id": value} if isinstance(value, int) else value


Bps = Annotated[int, BeforeValidator(bits_per_second)]
Seconds = Annotated[int, BeforeValidator(seconds)]
IP = Annotated[Address, BeforeValidator(_address)]
Pattern = Annotated[str, BeforeValidator(_pattern)]
Net = Annotated[Prefix, BeforeValidator(_prefix)]
ASN = Annotated[int, Field(ge=1, le=2**32 - 1, strict=True)]
PeeringDBId = Annotated[int, Field(ge=1, le=2**31 - 1, strict=True)]
Interval = Annotated[int, Field(ge=1, le=2**24, strict=True)]
IfIndex = Annotated[int, Field(ge=1, le=2**32 - 1, strict=True)]
Text = Annotated[str, Field(min_length=1, max_length=200, strict=True)]
# Metro ids become partition values and file names: an empty or all-digit one makes other engines
# refuse or misread the table.
Id = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9._-]{1,63}$", strict=True)]
Role = Literal["transit", "peer", "ix", "customer", "internal"]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Identity(_Section):
    """`[network]`: who we are."""

    asn: ASN
    name: Text
    prefixes: tuple[Net, ...] = Field(min_length=1)
    timezone: Annotated[str, BeforeValidator(_zone)] = "UTC"
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$", strict=True)] = "USD"


class LakeSettings(_Section):
    """`[lake]`: where the tables are."""

    path: Text
    keep_flows: Seconds | None = None
    fold_share: Annotated[float, Field(gt=0, le=0.5)] | None = None
    fold_below: Bps = 1_000_000


class CollectorSettings(_Section):
    """`[collector]`: receiving export datagrams."""

    listen: tuple[Text, ...] = ("0.0.0.0:2055",)
    spool: Text | None = None
    seal_after: Seconds = 60
    active_timeout: Annotated[Seconds, Field(ge=1, le=7200)] = 60


class SourceSettings(_Section):
    """`[sources]`: files or folders, relative to the configuration."""

    ribs: Text | None = None
    peeringdb: Text | None = None
    peeringdb_url: Text | None = None
    peeringdb_api_key_file: Text | None = None
    ixf: Text | None = None
    as_relationships: Text | None = None
    as_cones: Text | None = None
    as_names: Text | None = None
    interfaces: Text | None = None
    counters: Text | None = None


class Exchange(_Section):
    """An exchange of a metro that we have a port on."""

    id: PeeringDBId
    route_servers: bool = False
    speed: Bps | None = None


class Metro(_Section):
    """`[[metros]]`: a city, with the places where we are."""

    id: Id
    name: Text
    region: Text | None = None
    continent: Text | None = None
    facilities: tuple[PeeringDBId, ...] = ()
    exchanges: tuple[Annotated[Exchange, BeforeValidator(_exchange)], ...] = ()
    latitude: Annotated[float, Field(ge=-90, le=90)] | None = None
    longitude: Annotated[float, Field(ge=-180, le=180)] | None = None


class Exporter(_Section):
    """`[[exporters]]`: a router that exports flows."""

    id: Text
    metro: Text
    addresses: tuple[IP, ...] = Field(min_length=1)
    sampling: Interval | None = None
    sampling_override: Interval | None = None
    metering: Literal["auto", "ingress", "egress"] = "auto"
    active_timeout: Annotated[Seconds, Field(ge=1, le=7200)] | None = None


class Interface(_Section):
    """`[[interfaces]]`: what is on the other side of a router's interface."""

    exporter: Text
    index: IfIndex
    name: Text | None = None
    description: Text | None = None
    role: Role
    asn: ASN | None = None
    capacity: Bps | None = None
    contract: Text | None = None
    l2_overhead: Annotated[int, Field(ge=0, le=100, strict=True)] = 18


class Rule(_Section):
    """`[[rules]]`: what an interface is that the CSV of `[sources]` lists without a role."""

    exporter: Pattern | None = None
    name: Pattern | None = None
    description: Pattern | None = None
    role: Role
    asn: ASN | None = None
    capacity: Bps | None = None
    contract: Text | None = None


class Contract(_Section):
    """`[[contracts]]`: what a provider charges for."""

    id: Text
    provider: Text | None = None
    commit: Bps | None = None
    price_per_mbps: Annotated[float, Field(ge=0)] | None = None
    overage_per_mbps: Annotated[float, Field(ge=0)] | None = None
    billing: Literal["max_of_p95", "p95_of_max", "in", "out", "sum"] = "max_of_p95"


class Session(_Section):
    """`[[sessions]]`: a peering that exists."""

    asn: ASN
    metro: Text
    kind: Literal["ix", "pni"]


class Exclusion(_Section):
    """`[[exclusions]]`: a network not to be asked, and why."""

    asn: ASN
    reason: Text
    until: date | None = None


class Network(_Section):
    """The whole file. `source` is where it was read from; paths in it are relative to there."""

    network: Identity
    lake: LakeSettings
    collector: CollectorSettings = CollectorSettings()
    sources: SourceSettings = SourceSettings()
    metros: tuple[Metro, ...] = ()
    exporters: tuple[Exporter, ...] = ()
    interfaces: tuple[Interface, ...] = ()
    rules: tuple[Rule, ...] = ()
    contracts: tuple[Contract, ...] = ()
    sessions: tuple[Session, ...] = ()
    exclusions: tuple[Exclusion, ...] = ()
    source: Path = Field(default=Path("flowpeer.toml"), exclude=True)
    classified: Classified = Field(default_factory=Classified, exclude=True)
    """What the rules made of the interfaces that are listed without a role."""

    @property
    def lake_path(self) -> Path:
        """Folder of the lake."""
        return self.source.parent / self.lake.path

    def source_path(self, name: str) -> Path | None:
        """The file or folder of one `[sources]` key, None where it is not set."""
        value: str | None = getattr(self.sources, name)
        if value is None or (name == "as_cones" and value == OBSERVED_CONES):
            return None
        return self.source.parent / value

    @cached_property
    def exporter_by_address(self) -> dict[str, Exporter]:
        """Exporters by the canonical text of each of their addresses."""
        return {str(a): e for e in self.exporters for a in e.addresses}

    @cached_property
    def metering_by_exporter(self) -> dict[str, Literal["auto", "ingress", "egress"]]:
        """`metering` by exporter id."""
        return {e.id: e.metering for e in self.exporters}

    @cached_property
    def interface_by_key(self) -> dict[tuple[str, int], Interface]:
        """Interfaces by (exporter id, ifIndex)."""
        return {(i.exporter, i.index): i for i in self.interfaces}

    def active_timeout_s(self, exporter_ip: str) -> int:
        """Active timeout of an exporter in seconds (M3)."""
        exporter = self.exporter_by_address.get(exporter_ip)
        if exporter is not None and exporter.active_timeout is not None:
            return exporter.active_timeout
        return self.collector.active_timeout

    def tables(self) -> dict[str, pa.Table]:
        """The configured reference tables of `flowpeer.schema.CONFIGURED`."""
        metro_of = {e.id: e.metro for e in self.exporters}
        rows: dict[str, list[dict[str, Any]]] = {
            "metros": [
                {
                    "metro": m.id,
                    **m.model_dump(
                        include={"name", "region", "continent", "latitude", "longitude"}
                    ),
                }
                for m in self.metros
            ],
            "exporters": [
                {
                    "exporter": e.id,
                    "address": str(a),
                    **e.model_dump(include={"metro", "sampling", "sampling_override", "metering"}),
                }
                for e in self.exporters
                for a in e.addresses
            ],
            "interfaces": [
                {
                    "exporter": i.exporter,
                    "metro": metro_of[i.exporter],
                    "interface": i.index,
                    "name": i.name,
                    "role": i.role,
                    "asn": i.asn,
                    "capacity_bps": i.capacity,
                    "contract": i.contract,
                }
                for i in self.interfaces
            ],
            "contracts": [
                {
                    "contract": c.id,
                    "commit_bps": c.commit,
                    **c.model_dump(
                        include={"provider", "price_per_mbps", "overage_per_mbps", "billing"}
                    ),
                }
                for c in self.contracts
            ],
            "sessions": [s.model_dump() for s in self.sessions],
        }
        return {
            name: pa.Table.from_pylist(rows[name], schema.arrow_schema(columns))
            for name, columns in schema.CONFIGURED.items()
        }


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
                text = str(_address(address))
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
