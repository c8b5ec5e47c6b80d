"""The application: its routes, its errors, and what happens when a reader leaves."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import (
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
)
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from flowpeer.errors import (
    ConfigError,
    FlowpeerError,
    LockedError,
    NoDataError,
    UsageError,
    from_leaf,
)
from flowpeer.web.guard import COOKIE, Guard, token_is
from flowpeer.web.http_api import Api
from flowpeer.web.pages import Pages
from flowpeer.web.reader import NoLakeError, SharedReader
from flowpeer.web.render import STATIC, environment
from flowpeer.web.settings import ServerSettings

FORM_S = 20.0
"""How long the login waits for its form."""
LEFT = 499
"""Nobody reads the response any more (as nginx logs it)."""
Endpoint = Callable[[Request], Awaitable[Response]]

_log = logging.getLogger("flowpeer.web")


def create_app(settings: ServerSettings) -> Guard:
    """The explorer of one network.

    Raises:
        ConfigError: every mistake in its configuration.
    """
    reader = SharedReader(settings)
    templates = environment()
    pages, api = Pages(reader, templates), Api(reader)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        reader.close()

    async def login(request: Request) -> Response:
        """The token, once, as a cookie that scripts cannot read."""
        problem = ""
        if request.method == "POST":
            try:
                body = (await asyncio.wait_for(request.body(), FORM_S)).decode("ascii", "replace")
                given = dict(parse_qsl(body, max_num_fields=4)).get("token", "")
            except TimeoutError:
                return PlainTextResponse("the form did not come\n", 408)
            except (ClientDisconnect, ValueError):
                return PlainTextResponse("this is no form of ours\n", 413)
            if token_is(given, settings):
                response = RedirectResponse("/", 303)
                response.set_cookie(
                    COOKIE, settings.token, httponly=True, samesite="strict",
                    secure=request.headers.get("origin", "").startswith("https:"),
                )  # fmt: skip
                return response
            problem = "that is not the token"
        text = templates.get_template("login.html").render(problem=problem)
        return HTMLResponse(text, 401 if problem else 200)

    async def failed(request: Request, error: Exception) -> Response:
        return _failure(templates, request, error)

    def reading(endpoint: Endpoint) -> Endpoint:
        async def read(request: Request) -> Response:
            await reader.look()
            try:
                return await _while_read(request, endpoint)
            except Exception:
                # What fails because the lake has gone meanwhile says so.
                await asyncio.to_thread(reader.require_lake)
                raise

        return read

    app = Starlette(
        routes=[
            Route("/", reading(pages.overview)),
            Route("/metro/{metro}", reading(pages.metro)),
            Route("/network/{asn}", reading(pages.network)),
            Route("/provider/{asn}", reading(pages.provider)),
            Route("/what-if", reading(pages.what_if)),
            Route("/section/{page}/{table}", reading(pages.section)),
            Route("/sql", reading(pages.sql)),
            Route("/search", reading(pages.search)),
            Route("/api/openapi.json", api.openapi),
            Route("/api/{file}", reading(api.table)),
            Route("/login", login, methods=["GET", "POST"]),
            Mount("/static", StaticFiles(directory=STATIC)),
        ],
        exception_handlers=dict.fromkeys((FlowpeerError, HTTPException, Exception), failed),
        lifespan=lifespan,
    )
    app.state.reader = reader
    app.router.redirect_slashes = False  # it would send to the host that the request names
    return Guard(app, settings)


async def _while_read(request: Request, endpoint: Endpoint) -> Response:
    """The endpoint's response; its work is cancelled when the reader goes away first."""
    work = asyncio.ensure_future(endpoint(request))
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            return PlainTextResponse("the reader has left\n", LEFT)
        return work.result()
    finally:
        for task in (work, gone):
            if not task.done():
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await task


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _failure(templates: Any, request: Request, error: Exception) -> Response:
    """What went wrong and the next step: as a page, as a part of one, or for a program."""
    status, what, advice = _problem(error)
    if request.url.path.startswith("/api/"):
        return JSONResponse({"error": what, "advice": advice}, status)
    part = request.headers.get("hx-request") == "true"
    template = templates.get_template("problem_part.html" if part else "problem.html")
    # A part takes the place of a section also where it failed, so that the page says why.
    target = "outcome" if part and request.headers.get("hx-target") == "outcome" else ""
    return HTMLResponse(template.render(what=what, advice=advice, target=target), status)


def _problem(error: Exception) -> tuple[int, str, str]:
    if isinstance(error, HTTPException):
        what = {404: "there is no such page", 405: "the explorer only reads"}
        return error.status_code, what.get(error.status_code, error.detail), "go to the overview"
    if isinstance(error, OSError):
        _log.error("a file cannot be read", exc_info=error)
        where = f"{error.filename}: " if error.filename else ""
        return 503, f"{where}{error.strerror or error}", "check the disk and its permissions"
    known = error if isinstance(error, FlowpeerError) else from_leaf(error)
    if known is None:
        _log.error("internal error", exc_info=error)
        return 500, "internal error", "the log of `flowpeer serve` has the traceback: report it"
    status = next(
        number
        for kind, number in (
            (ConfigError, 500),
            (UsageError, 400),
            (NoLakeError, 503),
            (NoDataError, 404),
            (LockedError, 503),
            (FlowpeerError, 500),
        )
        if isinstance(known, kind)
    )
    return status, known.what, known.advice
