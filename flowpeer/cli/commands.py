"""Every command: its name, the first line of its help, and where it is.

A module is imported when its command is called, so that `flowpeer --help` imports no engine and
modules of commands import at their top what they need. A test compares this table with what is
there.
"""

from __future__ import annotations

import gc
from importlib import import_module
from typing import Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup


class Entry(NamedTuple):
    """A command; `target` is `module:name` in flowpeer.cli, a function or a group of commands."""

    name: str
    help: str
    target: str


COMMANDS = (
    Entry("demo", "The whole pipeline on a synthetic sample network, in DIR.", "demo:demo"),
    Entry("init", "A commented flowpeer.toml to start from.", "init:init"),
    Entry("decode", "What the export packets of captures say.", "captures:decode"),
    Entry("ingest", "Captures and other tools' exports into flow records; a file twice adds "
          "nothing.", "captures:ingest"),
    Entry("collect", "Receive export datagrams until SIGTERM.", "collect:collect"),
    Entry("status", "The collector's counters, losses and lag.", "collect:status"),
    Entry("rib", "RIB snapshots: load and list.", "routes:rib"),
    Entry("lookup", "Which route, origin and path an address has; who offers a prefix; what a "
          "network announces.", "routes:lookup"),
    Entry("peeringdb", "PeeringDB objects.", "routes:peeringdb"),
    Entry("ixf", "Member exports of exchanges (IX-F).", "routes:ixf"),
    Entry("rollup", "Flow records into traffic by network, where needed.", "rollup:rollup"),
    Entry("run", "All that a scheduler needs, where out of date.", "run:run"),
    Entry("candidates", "Whom to ask for peering, where, and what it is worth.",
          "candidates:candidates"),
    Entry("explain", "Why a network is where it is in the list, or not there: each number with "
          "its SQL.", "explain:explain"),
    Entry("exchanges", "What each exchange of our metros would take, joined or not.",
          "exchanges:exchanges"),
    Entry("leaks", "What is peered already and still rides transit: why, by which routes, and the "
          "money.", "leaks:leaks"),
    Entry("asks", "The log of asks: list, add, update, draft, export, outcomes.", "asks:asks"),
    Entry("imbalance", "Is transit balanced against what is paid for?", "candidates:imbalance"),
    Entry("bills", "What each transit contract costs, by calendar month.", "bills:bills"),
    Entry("exits", "Does traffic leave where BGP says, and where the shortest path would be?",
          "failures:exits"),
    Entry("drill", "What every link carries when others fail.", "failures:drill"),
    Entry("capacity", "When transit is full at its growth, and what to buy.",
          "failures:capacity"),
    Entry("report", "Every answer of a period in one folder, with one page.", "report:report"),
    Entry("sql", "Ask the lake in SQL (DuckDB). Without a query: a prompt.", "sql:sql"),
    Entry("export", "Tables of the lake for other engines: Iceberg.", "export:export"),
    Entry("serve", "The explorer: pages over the answers and tables, in a browser.",
          "serve:serve"),
    Entry("check", "Configuration, sources and data quality.", "checks:check"),
    Entry("verify", "Digests of all files, and sums through every stage.", "checks:verify"),
    Entry("compact", "Merge the files of each closed hour into one: of flows, coverage and "
          "sampling.", "retention:compact"),
    Entry("prune", "Delete flow records older than `keep_flows`.", "retention:prune"),
    Entry("migrate", "Bring the lake of an older version to the present format.",
          "formats:migrate"),
    Entry("adopt", "Make manifests again from the files of a lake that lost them.",
          "formats:adopt"),
    Entry("lake", "Lakes of several collectors: join them.", "lake:lake"),
)  # fmt: skip
_TARGETS = {entry.name: entry.target for entry in COMMANDS}


def load(name: str) -> Any:
    """The command of a name, its module imported; KeyError for what is no name of one."""
    module, _, attribute = _TARGETS[name].partition(":")
    target = getattr(import_module(f"flowpeer.cli.{module}"), attribute)
    app = typer.Typer(rich_markup_mode=None, add_completion=False)
    app.callback()(lambda: None)
    if isinstance(target, typer.Typer):
        app.add_typer(target, name=name)
    else:
        app.command(name)(target)
    return typer.main.get_group(app).commands[name]


class LazyGroup(TyperGroup):
    """The commands of the table: to list them it is enough, to run one its module is imported."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = {e.name: TyperCommand(e.name, help=e.help) for e in COMMANDS}

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The command that `args` begin with, imported."""
        name, command, rest = super().resolve_command(ctx, args)
        if name is None:
            return name, command, rest
        loaded = load(name)
        if not gc.isenabled():  # as `main` has it: what is imported stays, and is no garbage
            gc.freeze()
            gc.enable()
        return name, loaded, rest
