"""Make docs/reference/*.md from the tables they describe.

    python docs/generate.py            write the pages
    python docs/generate.py --check    exit 1 and name the pages that are out of date

A page is made only from what the program itself reads: column tuples, the typer application, the
settings' models, the decoder's element table, the headers of the SQL files. The one text kept
beside the code is settings.toml, and it must name every setting and no other. The page on sizing
is computed from what was measured (measured.toml).
"""

from __future__ import annotations

import pkgutil
import re
import sys
import tomllib
import typing
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date
from importlib import import_module
from pathlib import Path
from types import UnionType
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from flowpeer_core.asns import SPECIAL_ASNS

HERE = Path(__file__).resolve().parent
MADE = "<!-- Made by docs/generate.py: change what it reads, then run `make docs`. -->\n"


def cell(text: object) -> str:
    """`text` as one cell of a Markdown table."""
    return str(text).replace("|", "\\|").replace("\n", " ").strip()


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell(c) for c in line)} |" for line in lines) + "\n"


def page(title: str, *parts: str) -> str:
    """A page: title, mark, paragraphs."""
    return f"# {title}\n\n{MADE}\n" + "\n".join(part.rstrip() + "\n" for part in parts)


def names(words: Iterable[str]) -> str:
    """Words as code, separated by commas."""
    return ", ".join(f"`{word}`" for word in words)


def prose(text: str) -> str:
    """A paragraph written over several lines, as one."""
    return " ".join(text.split())


def tables() -> str:
    """Every table of the lake."""
    from flowpeer import schema

    parts = [
        prose("""Every column of every table, as Parquet files, `flowpeer sql` and written catalogs
            have them. Times are UTC. Methods (M1, M2, …) are those of
            [what each figure means](../concepts-methods.md)."""),
        prose(f"""Partitioned tables lie in `<table>/date=YYYY-MM-DD/hour=HH/`, and SQL shows `date`
            and `hour` after their columns: {names(schema.PARTITIONED)}. `routes` is a folder of
            snapshots. The tables {names(schema.CONFIGURED)} come from flowpeer.toml whenever a
            query is asked, and have no file. All others are single files in `reference/`.
            `crossings` is made of `flows` when a query names it ([SQL](../sql.md)).
            `traffic_slots`, `asn_days` and `route_days` are sums of `traffic` and its routes, a
            file a day in `cache/` of the lake, made again when an hour of the day was rolled up
            again; where there is none yet, they are read from the hours, and what is one row
            otherwise may be several: always sum their rows."""),
        "A remote network that is no public one has a negative number: "
        + ", ".join(f"{code} {name}" for code, name in SPECIAL_ASNS.items())
        + ".",
    ]
    for name, columns in schema.SQL_TABLES.items():
        rows = [
            (f"`{c.name}`", c.type, c.unit, "yes" if c.nullable else "", c.meaning, c.source)
            for c in columns
        ]
        head = ["column", "type", "unit", "null", "meaning", "from"]
        parts += [f"## {name}", table(head, rows)]
    return page("Tables", *parts)


def _kind(parameter: Any) -> str:
    """How the value of an option is written; empty for a flag."""
    bare = typing.get_args(parameter.type_descriptor.annotation)
    if parameter.is_bool_flag or getattr(parameter, "count", False):
        return ""
    if typing.get_origin(parameter.type_descriptor.annotation) is typing.Literal:
        return "|".join(str(value) for value in bare)
    return str(parameter.name).strip("_").upper()


def _parameters(parameters: Sequence[Any]) -> str:
    rows = []
    for p in parameters:
        notes = [p.help or ""]
        if p.default not in (None, False, 0, (), "") and not callable(p.default):
            notes.append(f"Default: `{p.default}`.")
        if p.param_type_name == "argument":
            many = "…" if p.nargs == -1 else ""
            word = f"{str(p.metavar or p.name).strip('[]').upper()}{many}"
            rows.append((f"`{word if p.required else f'[{word}]'}`", " ".join(notes)))
        else:
            if p.multiple and "epeatable" not in notes[0]:
                notes.append("Repeatable.")
            words = ", ".join(f"`{opt}`" for opt in p.opts)
            rows.append((f"{words} {_kind(p)}".strip(), " ".join(notes)))
    return table(["", ""], rows)


def walk(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Every command of the application with its full name, groups left out."""
    for name, inner in command.commands.items():
        if hasattr(inner, "commands"):
            yield from walk(inner, (*path, name))
        else:
            yield " ".join((*path, name)), inner


def application() -> Any:
    """The command tree of `flowpeer`, with every command registered."""
    import typer

    from flowpeer.cli.app import app
    from flowpeer.cli.commands import COMMANDS, load

    root: Any = typer.main.get_command(app)
    root.commands = {entry.name: load(entry.name) for entry in COMMANDS}
    return root


def commands() -> str:
    """Every command, argument and option."""
    root = application()
    parts = [
        "Results go to stdout, everything else (notes, warnings, progress) to stderr.",
        "## Options common to all commands",
        "Before or after the command.",
        _parameters([p for p in root.params if "completion" not in p.name]),
        "## Exit status",
        table(
            ["status", "means"],
            [
                (0, "done"),
                (1, "done, but something is wrong with the data; the message says what"),
                (2, "bad usage or configuration"),
                (3, "input that cannot be read, or no data"),
                (4, "internal error: a defect of the program"),
                (75, "another process holds the lake; try again"),
                (130, "interrupted"),
            ],
        ),
        prose("""An error is one line `error: …`, most with a second one `try: …` that is the next
            step. `--debug` shows the traceback."""),
        prose("""Periods are `2026Q3`, `2026-07`, `2026-07-01` or `START/END`: start inclusive, end
            exclusive, midnight UTC, and cut at the last slot that was rolled up."""),
    ]
    for name, command in walk(root):
        parts.append(f"## {name}")
        parts.append(re.sub(r"\n(?!\n)", " ", command.help or "").replace("\n ", "\n\n"))
        if command.params:
            parts.append(_parameters(command.params))
    return page("Commands", *parts)


_VALUES: dict[str, str] = {
    "bits_per_second": 'rate in bit/s, like `"100G"` (K, M, G, T)',
    "octets": 'octets, like `"512M"` (K, M, G, T)',
    "seconds": 'duration, like `"60s"` (s, m, h, d)',
    "canonical_address": "IP address",
    "_prefix": "prefix",
    "_zone": "time zone name",
    "_decimal": "amount, like `0.12`",
    "moment": "date or time in UTC, like `2026-07-01`",
    "_speed_prices": 'amounts by port speed, like `{ "100G" = 1800 }`',
    "_from_zero": 'rate in bit/s, like `"10G"`, or `"0"`',
}


def _value(annotation: Any, metadata: Sequence[Any] = ()) -> str:
    """What a setting's value must be, in words."""
    if hasattr(annotation, "__metadata__"):
        return _value(annotation.__origin__, [*annotation.__metadata__, *metadata])
    for item in metadata:
        name = getattr(getattr(item, "func", None), "__name__", "")
        if name in _VALUES:
            return _VALUES[name]
    arguments = typing.get_args(annotation)
    if isinstance(annotation, UnionType) or typing.get_origin(annotation) is typing.Union:
        return " or ".join(_value(a, metadata) for a in arguments if a is not type(None))
    if typing.get_origin(annotation) is typing.Literal:
        return ", ".join(f"`{a}`" for a in arguments)
    if typing.get_origin(annotation) is tuple:
        return f"list: {_value(arguments[0])}"
    if typing.get_origin(annotation) is dict:
        return f"table: {_value(arguments[0])} → {_value(arguments[1])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "table, see below"
    limits = [
        f"{words} {value}"
        for item in metadata
        for bounds in (item, *getattr(item, "metadata", ()))
        for key, words in (("ge", "from"), ("le", "to"))
        if (value := getattr(bounds, key, None)) is not None
    ]
    plain = {int: "whole number", float: "number", str: "text", bool: "`true` or `false`",
             date: "date"}  # fmt: skip
    return " ".join(dict.fromkeys([plain[annotation], *limits]))


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "required"
    if field.default is None or field.default == () or field.default_factory is not None:
        return ""
    if isinstance(field.default, BaseModel):
        return "see below"
    kinds = {getattr(getattr(m, "func", None), "__name__", "") for m in field.metadata}
    if "seconds" in kinds:
        return f'`"{field.default}s"`'
    if "octets" in kinds:
        return f'`"{field.default // 10**6}M"`'
    value = list(field.default) if isinstance(field.default, tuple) else field.default
    text = str(value).lower() if isinstance(value, bool) else repr(value).replace("'", '"')
    return f"`{text}`"


def settings() -> Iterator[tuple[str, bool, type[BaseModel]]]:
    """Every section of flowpeer.toml: its name, whether it may be repeated, its model."""
    from flowpeer.network import Configuration

    def inner(annotation: Any) -> Iterator[type[BaseModel]]:
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield annotation
        for argument in typing.get_args(annotation):
            yield from inner(argument)

    for name, field in Configuration.model_fields.items():
        for model in inner(field.annotation):
            yield name, typing.get_origin(field.annotation) is tuple, model
            for key, nested in model.model_fields.items():
                for below in inner(nested.annotation):
                    yield f"{name}.{key}", typing.get_origin(nested.annotation) is tuple, below


def settings_page() -> str:
    """Every setting, with the meanings of settings.toml.

    Raises:
        SystemExit: a setting without a meaning, or a meaning without a setting.
    """
    from flowpeer.network import PeeringCosts

    written = tomllib.loads((HERE / "settings.toml").read_text(encoding="utf-8"))
    parts = [
        prose("""`flowpeer.toml`, or the file named by `--config` or `FLOWPEER_CONFIG`. Paths are
            relative to it. `[network]` with `asn`, `name` and `prefixes`, and `[lake]` with `path`
            are required. An unknown key is an error that names the nearest known one; all mistakes
            are reported together, with their lines. `flowpeer init` writes a commented file to
            start from, `flowpeer demo` a complete one."""),
    ]
    known: dict[str, set[str]] = {}
    problems: list[str] = []
    for name, repeated, model in settings():
        meanings = written.get(name, {})
        fields = {field.alias or key: field for key, field in model.model_fields.items()}
        known[name] = set(fields)
        rows = []
        for key, field in fields.items():
            # A metro, exchange or facility may state costs of its own: the same keys.
            general = written.get("peering_costs", {}) if issubclass(model, PeeringCosts) else {}
            meaning = field.description or meanings.get(key) or general.get(key)
            if not meaning:
                problems.append(f"docs/settings.toml: no meaning for `{key}` of [{name}]")
            rows.append(
                (f"`{key}`", _value(field.annotation, field.metadata), _default(field), meaning)
            )
        mark = f"[[{name}]]" if repeated else f"[{name}]"
        # The docstring begins with the section's name, which is the heading here.
        text = (model.__doc__ or "").partition(": ")[2] or model.__doc__ or ""
        parts += [f"## {mark}", text[:1].upper() + text[1:],
                  table(["key", "value", "default", "meaning"], rows)]  # fmt: skip
    problems += [
        f"docs/settings.toml: `{key}` of [{name}] is no setting"
        for name, meanings in written.items()
        for key in meanings
        if key not in known.get(name, ())
    ]
    if problems:
        raise SystemExit("\n".join(problems))
    return page("Settings", *parts)


def report_columns() -> str:
    """Every column that a report puts out."""
    from flowpeer_reports import columns
    from flowpeer_reports.columns.column import Column

    modules = [
        columns,
        *(import_module(f"{columns.__name__}.{module.name}")
          for module in pkgutil.iter_modules(columns.__path__)),
    ]  # fmt: skip
    stated: dict[str, tuple[Column, ...]] = {
        name: value
        for module in modules
        for name, value in vars(module).items()
        if isinstance(value, tuple) and value and isinstance(value[0], Column) and name[0] != "_"
    }
    parts = [
        prose("""The same names in every format. Rates are bit/s (1 Mbps = 1,000,000 bit/s), shares
            and utilisations fractions from 0 to 1. Lists are lists in JSON and Parquet, and `a;b`
            in CSV. Methods (M1, M2, …) are those of
            [what each figure means](../concepts-methods.md)."""),
    ]
    tables = (
        ("CANDIDATES", "candidates", "One row per metro and network to ask."),
        ("ORGANISATIONS", "organisations",
         "Beside candidates, or with `--list organisations`: one row per ask over all metros."),
        ("SCENARIOS", "scenarios",
         "Beside candidates, with contracts: one row per way that the asks may end."),
        ("COMMITS", "commits", "Beside candidates, with contracts: one row per contract."),
        ("PLACES", "places", "Beside candidates: every place to meet, row by row."),
        ("EXCHANGES", "exchanges", "One row per metro and exchange."),
        ("CHANGES", "changes",
         "Beside candidates, with `--compare`: one row per metro and network of either list."),
        ("CURVE", "curve", "Of `report`: one row per number of asks, with its interval."),
        ("GRADES", "grades", "Of `report`: one row per metro, the grade of its data (M5)."),
        ("TIMELINES", "transit_by_month",
         "Of `report`: one row per metro, transit provider, direction and calendar month."),
        ("EXPLAIN", "explain", "One row per metro and step."),
        ("ASKS", "asks", "Of `asks list`: one row per ask."),
        ("DRAFTS", "drafts", "Of `asks draft`: one row per ask."),
        ("OUTCOMES", "outcomes", "Of `asks outcomes`: one row per live ask, and their sum."),
        ("LEAKS", "leaks", "One row per metro, network with a session, and cause."),
        ("LEAK_PREFIXES", "leak_prefixes", "Beside leaks: one row per route."),
        ("NOT_LISTED", "not_listed",
         "Where the rest of the transit traffic is: one row per metro and reason."),
        ("WHAT_IF", "what_if", "Of `net.what_ifs()` and the explorer: one row per pick."),
        ("WHAT_IF_LINKS", "what_if_links", "Beside what_if: one row per transit link."),
        ("WHAT_IF_METROS", "what_if_metros", "Beside what_if: one row per metro."),
        ("WHAT_IF_ASKS", "what_if_asks", "Beside what_if: lines for the log of asks."),
        ("CANDIDATE_TOTALS", "candidates.meta.json, totals",
         "One entry per metro, and `all`: of the list that is shown."),
        ("IMBALANCE", "imbalance", "One row per metro, direction and transit provider."),
        ("IMBALANCE_TOTALS", "imbalance.meta.json, totals",
         "One entry per `metro/direction`, and `all`."),
        ("OPENINGS", "openings",
         "Beside candidates and exchanges: one row per exchange that would have to be joined."),
        ("BILLS", "bills", "One row per contract and calendar month."),
        ("COUNTERFACTUAL", "counterfactual",
         "Of `bills --with-asks`: one row per contract and month, and of all of them."),
        ("LINKS", "links", "Beside imbalance: one row per transit link, worst first."),
        ("IMBALANCE_BILLS", "imbalance_bills",
         "Beside imbalance, with contracts: one row per provider, contract and month."),
        ("ROUTERS", "routers", "Beside imbalance: one row per router and provider."),
        ("CAUSES", "imbalance_causes",
         "Beside imbalance: one row per provider that carries too much, direction and cause."),
        ("MOVES", "moves", "Beside imbalance: one row per rule of a metro's outbound move list."),
        ("MOVES_EFFECT", "moves_effect",
         "Beside imbalance: one row per metro with rules and provider, before and after."),
        ("MOVES_BILLS", "moves_bills",
         "Beside imbalance, with contracts: one row per contract and month, and of all of them."),
        ("INBOUND", "inbound",
         "Beside imbalance: one row per metro, provider, own prefix and source."),
        ("INBOUND_KNOBS", "inbound_knobs", "Beside imbalance: what can be set for inbound."),
        ("AREAS", "imbalance_areas", "Beside imbalance: regions and the whole network."),
        ("HOURS_OF_WEEK", "hours_of_week", "Beside imbalance: the shape of the week."),
        ("TREND", "trend", "Beside imbalance: change of d and of each share by week."),
        ("EXITS", "exits", "One row per metro, comparison and cause."),
        ("EXIT_ROUTES", "exit_routes", "Beside exits: the largest routes of each cause."),
        ("DRILL", "drill", "One row per removal, link that takes over, direction and growth."),
        ("DRILL_SUMMARY", "drill_summary", "Beside drill: one row per removal and growth."),
        ("DRILL_BETWEEN_METROS", "drill_between_metros",
         "Beside drill: what a removal adds between metros."),
        ("DRILL_ASKS", "drill_asks",
         "Beside drill, with `--with-asks`: one row per network and metro."),
        ("DRT", "drt", "Of `drill --plan`: one row per metro that is emptied and step."),
        ("DRT_LINKS", "drt_links", "Beside drt: every link that a step changes, after it."),
        ("DRILL_SLOTS", "drill_slots", "Beside drill, with `--slots`: every slot."),
        ("REPLAY", "replay", "Of `drill --replay`: one row per surviving link and direction."),
        ("CAPACITY", "capacity", "One row per metro, transit provider and direction."),
        ("CAPACITY_LINKS", "capacity_links", "Beside capacity: links by their recent share."),
        ("CAPACITY_WEEKLY", "capacity_weekly", "Beside capacity: one row per whole week."),
    )  # fmt: skip
    forgotten = sorted(set(stated) - {name for name, _, _ in tables})
    if forgotten:
        raise SystemExit(f"docs/generate.py: report_columns has no {', '.join(forgotten)}: add it")
    for name, title, text in tables:
        rows = [(f"`{c.name}`", c.type, c.unit, c.meaning) for c in stated[name]]
        parts += [f"## {title}", text, table(["column", "type", "unit", "meaning"], rows)]
    return page("Report columns", *parts)


# Elements that reach a column by way of others; every other one stands in a column's `source`.
_BY_WAY: dict[int, str] = {
    232: "`bytes` of a record of its own for the other direction",
    299: "`packets` of a record of its own for the other direction",
    **dict.fromkeys((176, 177, 178, 179), "`dst_port`: type × 256 + code"),
    160: "`start_time`, `end_time`: the boot time that 21 and 22 count from",
    161: "`start_time` or `end_time`, whichever is not stated",
    162: "`start_time` or `end_time`, whichever is not stated",
    322: "`end_time`, where no other element says it",
    323: "`end_time`, where no other element says it",
}


def wire_fields() -> str:
    """Every information element that is read."""
    from flowpeer_ingest import reference
    from flowpeer_ingest.interface_names import MAX_INTERFACES
    from flowpeer_ingest.schema import FLOWS
    from flowpeer_ingest.wire import elements
    from flowpeer_ingest.wire.events import MAX_TEXT

    columns: dict[int, list[str]] = {}
    for column in FLOWS:
        for number in re.findall(r"(?<![\w.])\d+(?!\w)", column.source):
            columns.setdefault(int(number), []).append(column.name)
    rows = []
    for element in sorted(elements.ELEMENTS, key=lambda e: e.number):
        filled = ", ".join(f"`{name}`" for name in columns.get(element.number, ()))
        filled = filled or _BY_WAY.get(element.number, "")
        if not filled:
            raise SystemExit(
                f"docs/generate.py: element {element.number} {element.name} fills no column: name "
                "it in that column's `source`, or in _BY_WAY"
            )
        reverse = "yes" if element.number in elements.REVERSIBLE else ""
        options = "yes" if element.number in elements.SAMPLING else ""
        others = ", ".join(reference.also_in(element.number))
        rows.append((element.number, f"`{element.name}`", filled, others, reverse, options))
    scopes = ", ".join(f"{n} {name}" for n, name in elements.V9_SCOPES.items())
    return page(
        "Wire fields",
        table(
            ["`format`", "protocol", "what is read"],
            [(f"`{name}`", protocol, what) for name, protocol, what in reference.FORMATS],
        ),
        "## Elements",
        prose("""Information elements of NetFlow v9 and IPFIX that fill a column of `flows`, by
            their number in IANA's registry. Any other element, enterprise elements included, is in
            flow records skipped by its length. Of several elements for one column the first in the
            column's entry in [tables](tables.md) counts, and of times the finest that is set."""),
        table(["element", "name", "fills", "also in", "reverse", "sampling"], rows),
        prose(f"""*Also in*: these formats have no templates, and a field of the same meaning.
            *Reverse*: read also with the enterprise number {elements.REVERSE_PEN} of RFC
            5103; such a record becomes two, one a direction. *Sampling*: read in options data too,
            as the rate of a sampler, an interface or a domain."""),
        f"NetFlow v9 scopes of options data (RFC 3954, 6.1): {scopes}.",
        prose(f"""Options data also names interfaces, for the `[[rules]]` of the
            [settings](settings.md): {elements.INTERFACE_NAME} `interfaceName` and
            {elements.INTERFACE_DESCRIPTION} `interfaceDescription`, padded with NUL or of variable
            length, at most {MAX_TEXT} characters of each, with U+FFFD for what is no printable
            UTF-8. The interface is NetFlow v9's scope `interface`, else the first of elements
            {", ".join(map(str, elements.INTERFACES))} that is not 0, as scope or field. Kept are
            up to {MAX_INTERFACES:,} interfaces of an exporter."""),
        prose("""The two bits of sampling mode in a NetFlow v5 header are not part of its interval.
            sFlow v5 flow samples are read from the packet header that they carry: each becomes one
            record of one packet with the sample's own rate."""),
        "## What is not decoded",
        table(["what", "why"], reference.NOT_DECODED),
    )


def questions() -> str:
    """Every question, view and macro of the SQL package."""
    import flowpeer_sql

    parts = [
        prose("""Named queries for `flowpeer sql NAME`, with values given as `-p name=value` and the
            period as `--period` or `-p period=2026Q3`. An unknown metro, network or direction ends
            with exit status 2, a period without data with 3. `flowpeer sql --show NAME` prints the
            text of one; the files lie in `sql/flowpeer_sql/`. Below them the views and macros that
            queries may use."""),
    ]
    for question in flowpeer_sql.questions():
        rows = [
            (f"`{p.name}`", p.type, "" if p.default is None else f"`{p.default}`", p.meaning)
            for p in question.parameters
        ]
        parts += [f"## {question.name}", f"*{question.title}*", question.description]
        if rows:
            parts.append(table(["parameter", "type", "default", "meaning"], rows))
    parts.append("# Views and macros")
    for script in sorted(flowpeer_sql.views(), key=lambda s: s.name):
        title, _, names = script.title.partition(": ")
        parts.append(f"## {script.name}")
        parts.append(f"*{title}*" + (f": {names}" if names else ""))
        parts.append(re.sub(r"(?m)^(\w+\([^)]*\)) +", r"- `\1` ", script.description))
    return page("Questions", *parts)


def sizing_page() -> str:
    """What a rate of flows needs of machines."""
    sys.path.insert(0, str(HERE))
    import sizing

    measured = sizing.load()
    machine, collect = measured["machine"], measured["collect"]
    return page(
        "Sizing",
        prose(f"""What a rate of flow records needs of machines and disks, computed by
            `docs/sizing.py` from what `bench/scale.py` and `bench/collect.py` measured:
            {machine["what"]}. The figures are in `docs/measured.toml`. Measure on your own machine,
            put what the scripts print there, and run `make docs`."""),
        "## Measured",
        prose("""One hour of generated flows of nine metros with four external interfaces each,
            400,000 remote hosts and a table of a million routes, rolled up with `--jobs 1`. Of each
            number of jobs all files were the same."""),
        table(
            [
                "flows in the hour",
                "CPU",
                "memory",
                "octets a flow",
                "`traffic`",
                "`traffic_routes`",
            ],
            sizing.measured_rows(measured),
        ),
        prose(f"""Receiving and decoding: {collect["flows_per_cpu_s"] / 1e6:.1f} M flows a
            CPU-second; one collector took {collect["datagrams_per_s_seen"]:,} datagrams/s of
            {collect["flows_a_datagram"]} flows for half a minute without loss
            ([Collect](../collector.md))."""),
        "## Needed",
        table(
            [
                "",
                "flows/s",
                "datagrams/s",
                "cores to collect",
                "cores to roll up",
                "spool for an hour",
                f"`flows`, {sizing.KEPT_DAYS} days",
                "roll-ups of a quarter",
            ],
            sizing.size_rows(measured),
        ),
        prose("""42,000 flows/s are about 300 Gbps sampled 1:1000. Cores are those of the machine
            that was measured, on average over a day; a peak of twice the mean needs twice. CPU is
            taken to grow as between the two largest hours. The spool is what waits while nothing is
            decoded. Sums that the decoder keeps take some 13 octets a flow, for six hours. Rows of
            roll-ups are those expected of the same mix of hosts, which the script holds to the rows
            that it counted (within 10 %; seen: 4 %), without folding; their number grows slower
            than flows, for networks and prefixes run out. The sums of an hour's records wait in
            `lake/staging`, some 13 octets a flow, until its rows are written; memory does not
            grow with them."""),
        "## Metros, networks, exporters, retention",
        prose(f"""Rows an hour at {measured["expected"][0]["flows_per_s"]:,} flows/s, expected of
            other numbers of metros and of networks that are met, and what the roll-ups of a quarter
            take:"""),
        table(
            ["metros", "networks", "`traffic`", "`traffic_routes`", "a quarter"],
            sizing.other_rows(measured),
        ),
        prose("""Exporters by themselves cost a row of `coverage` for each slot and observation
            domain; what counts is how many flows they send, and from how many external interfaces
            a network is met. Flow records take the same every day: double `keep_flows` takes double
            the disk."""),
        "## What a roll-up takes on disk",
        prose("""Roll-ups take less than the flows that they are made of at every size above, and
            the less the more flows there are. `fold_share` on the hour of 1,500,000 flows,
            `traffic` alone:"""),
        table(["`fold_share`", "rows", "octets", "of all"], sizing.fold_rows(measured)),
        prose("""So nothing is folded unless it is asked for: it saves little beside the flow
            records, and small networks lose their 5-minute slots. Encodings were measured column by
            column on the largest hour: `remote_asn` as differences under zstd takes 1.2 MB where a
            dictionary takes 2.7, is read by DuckDB in 60 % of the time and written in a third;
            `origin_asn` takes 1.3 instead of 1.5 MB. Of the other numbers but `records` nothing was
            smaller than the dictionary under zstd that they have. Variances are plain, which here
            takes a tenth more than a dictionary, for elsewhere they repeat less. Together `traffic`
            is a tenth smaller than with dictionaries alone. Of `flows`, the export time and
            sequence number by which a datagram counts once take 0.8 of the 41 octets a flow of the
            sample network, whose hours are small."""),
        "## What comes to its end first",
        "\n".join(sizing.limits(measured)),
        prose("""Disk is the next: keep `flows` for fewer days (`keep_flows`), and fold the tail of
            small networks (`fold_share`, [how to](../howto-retention.md)). Several collectors
            write one folder, or a lake each that [`flowpeer lake
            merge`](../howto-join.md) joins. Reports run on
            roll-ups alone, so they grow with these and not with flows."""),
    )


PAGES: dict[str, Callable[[], str]] = {
    "tables": tables,
    "commands": commands,
    "settings": settings_page,
    "report-columns": report_columns,
    "wire-fields": wire_fields,
    "questions": questions,
    "sizing": sizing_page,
}


def out_of_date(folder: Path = HERE / "reference") -> list[str]:
    """Pages that are not what would be made now, and pages that nothing makes."""
    stale = [
        f"{name}.md"
        for name, make in PAGES.items()
        if not (path := folder / f"{name}.md").is_file() or path.read_text("utf-8") != make()
    ]
    return stale + [p.name for p in sorted(folder.glob("*.md")) if p.stem not in PAGES]


def main(words: Sequence[str]) -> int:
    """Write or check the pages."""
    folder = HERE / "reference"
    if list(words) == ["--check"]:
        stale = out_of_date(folder)
        for name in stale:
            print(f"docs/reference/{name}: out of date", file=sys.stderr)
        if stale:
            print("try: make docs", file=sys.stderr)
        return 1 if stale else 0
    if words:
        print(__doc__, file=sys.stderr)
        return 2
    folder.mkdir(exist_ok=True)
    for name, make in PAGES.items():
        (folder / f"{name}.md").write_text(make(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
