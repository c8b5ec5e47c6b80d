"""The commands of `flowpeer`, the options common to all of them, and the exit status.

0 done · 1 done, but something is wrong with the data · 2 bad usage or configuration ·
3 input unreadable or no data · 4 internal error · 75 the lake is locked · 130 interrupted
"""

from __future__ import annotations

import io
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from flowpeer.cli.commands import LazyGroup
from flowpeer.cli.error_messages import complaint
from flowpeer.cli.state import CommandState
from flowpeer.errors import is_interrupt

app = typer.Typer(
    name="flowpeer",
    cls=LazyGroup,
    help="From NetFlow/IPFIX exports to a ranked, feasible list of peering candidates.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(value: bool) -> None:
    if value:
        from flowpeer import __version__

        print(f"flowpeer {__version__}")
        raise typer.Exit


@app.callback()
def common(
    ctx: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="Configuration [FLOWPEER_CONFIG, ./flowpeer.toml]."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
    verbose: Annotated[int, typer.Option("--verbose", "-v", count=True, help="Say more.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say only what is wrong.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    textfile: Annotated[
        Path | None,
        typer.Option("--textfile", help="Write figures of this run there, for Prometheus."),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Common options may stand before or after the command."""
    state: CommandState = ctx.obj
    state.config, state.json, state.debug = config, json, debug
    state.verbosity = -1 if quiet else verbose
    state.textfile = textfile


INTERRUPTED = 130
_NAMED = ("--config", "-c", "--textfile")
"""Common options that take a word."""
_FLAGS = {"--json", "--verbose", "-v", "-vv", "--quiet", "-q", "--debug"}


def hoist(arguments: Sequence[str]) -> list[str]:
    """Move the common options in front of the command, where the parser expects them."""
    common: list[str] = []
    rest: list[str] = []
    queue = list(arguments)
    while queue:
        word = queue.pop(0)
        if word == "--":
            rest += [word, *queue]
            break
        if word in _FLAGS or word.startswith(("--config=", "--textfile=")):
            common.append(word)
        elif word in _NAMED:
            common += [word, *queue[:1]]
            queue = queue[1:]
        else:
            rest.append(word)
    return common + rest


def run(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit status. Every exception ends here, as one line and a next step."""
    began = time.time()
    state = CommandState()
    arguments = hoist(sys.argv[1:] if argv is None else argv)
    status = _run(state, arguments)
    _give_up_unwritten()
    if state.textfile is not None:
        from flowpeer.cli.textfile import command_of, write

        try:
            write(
                state.textfile, command_of(arguments), status, began, state.warnings, state.gauges
            )
        except OSError as error:
            return max(status, complaint(error).say(as_json=state.json))
    return status


def _run(state: CommandState, arguments: list[str]) -> int:
    _say_it_all()
    # Traffic, contracts and templates are nobody else's business; the group is the umask's affair.
    os.umask(os.umask(0o077) | 0o007)
    try:
        ended = app(
            args=arguments,
            prog_name="flowpeer",
            standalone_mode=False,
            obj=state,
        )
        sys.stdout.flush()
        if ended == INTERRUPTED:  # typer answers Ctrl-C with this, and does not raise
            print("interrupted", file=sys.stderr)
            return INTERRUPTED
    except (KeyboardInterrupt, typer.Abort):
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except (BrokenPipeError, SystemExit):
        # The reader has what it wanted (`… | head`), which typer turns into an exit of its own;
        # nothing more may be written when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return state.exit_code
    except Exception as error:  # the one place where everything is caught
        if is_interrupt(error):
            print("interrupted", file=sys.stderr)
            return INTERRUPTED
        if state.debug:
            import traceback

            traceback.print_exc()
        _give_up_unwritten()
        return complaint(error).say(as_json=state.json or "--json" in arguments)
    except BaseException as error:  # a library in Rust that panics raises no Exception
        if type(error).__name__ != "PanicException":
            raise
        return complaint(RuntimeError(str(error))).say(as_json=state.json or "--json" in arguments)
    return state.exit_code


def _give_up_unwritten() -> None:
    """What a full disk did not take stays in the buffer, and would be tried again when the
    interpreter ends, whose exit status would then be Python's and not ours."""
    try:
        sys.stdout.flush()
    except ValueError:  # it is closed
        return
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _say_it_all() -> None:
    """No text ends in an error for the locale's sake: names come from everywhere.

    A terminal shows `?` for what its encoding has not; a pipe or a file gets UTF-8, which is what
    JSON is and what other programs take CSV for.
    """
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if not isinstance(stream, io.TextIOWrapper) or stream.encoding.lower() == "utf-8":
            continue
        if stream.isatty():
            stream.reconfigure(errors="replace")
        else:
            stream.reconfigure(encoding="utf-8", errors="replace")
