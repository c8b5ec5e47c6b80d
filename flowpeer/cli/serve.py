"""`serve`: the explorer, in a browser."""

from __future__ import annotations

import gc
import os
from typing import Annotated

import typer

from flowpeer.cli.state import CommandState
from flowpeer.errors import UsageError


def serve(
    ctx: typer.Context,
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where to listen; port 0: any.")
    ] = "127.0.0.1:8080",
    public: Annotated[
        bool,
        typer.Option(
            "--public",
            help="Listen where others reach it: needs FLOWPEER_SERVE_TOKEN or --user-header.",
        ),
    ] = False,
    user_header: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="Header in which the proxy in front names the user it let in."
        ),
    ] = "",
    host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A name that readers call it by (repeatable)."),
    ] = None,
) -> None:
    """The explorer: pages over the answers and tables, in a browser.

    It only reads. A token in FLOWPEER_SERVE_TOKEN is asked of every reader. Runs until Ctrl-C or
    SIGTERM.
    """
    state: CommandState = ctx.obj
    gc.disable()  # as `main` does while modules are imported
    try:
        from flowpeer.web.server import bound, serve
        from flowpeer.web.settings import ServerSettings, listening
    except ModuleNotFoundError as error:
        raise UsageError(
            f"the explorer needs {error.name}", advice="pip install 'flowpeer[serve]'"
        ) from error
    finally:
        gc.freeze()
        gc.enable()
    address, port = listening(listen)
    settings = ServerSettings(
        config=state.config_path, host=address, port=port, public=public,
        token=os.environ.get("FLOWPEER_SERVE_TOKEN", ""), user_header=user_header,
        hosts=tuple(host or ()),
    )  # fmt: skip
    network = state.network()
    if not network.lake_path.exists():
        state.say(f"note: no lake at {network.lake_path} yet, every page says so")
    with bound(settings) as opened:
        shown = f"[{address}]" if ":" in address else address
        state.say(f"explorer at http://{shown}:{opened.getsockname()[1]}/ (Ctrl-C stops it)")
        serve(settings, opened)
