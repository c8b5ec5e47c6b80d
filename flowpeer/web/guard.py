"""Who may ask, what a request may look like, and the headers of every response.

Without a token or a user header whoever reaches the address may read. A page of somebody else's
that the reader has open may not: a request must name the explorer's own host (else a foreign name
that resolves to 127.0.0.1 would do), a browser's request from another site is refused, and no
response may be framed. Responses run no script but the files of static/.
"""

from __future__ import annotations

import hmac
import re
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flowpeer.web.settings import ServerSettings, is_loopback

COOKIE = "flowpeer_token"
MAX_TARGET = 16 << 10
"""Octets of a path with its query."""
MAX_BODY = 64 << 10
MAX_HEAD, MAX_HEADERS = 32 << 10, 100
"""Octets of all headers, and how many there may be."""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cache-control": "no-store",
}
_HOST = re.compile(r"(?:\[([0-9a-fA-F:.]+)\]|([\w.-]+))(?::[0-9]{1,5})?", re.ASCII)
_OPEN = ("/static/", "/login")
"""What a reader without a token may fetch: nothing of the network's."""


class Guard:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, settings: ServerSettings) -> None:
        self._app = app
        self._settings = settings
        names = ("localhost", "127.0.0.1", "::1", settings.host, *settings.hosts)
        self._hosts = {name.lower() for name in names}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, or pass it on; either way with the headers."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refusal = self._refusal(scope)
        if refusal is None:
            await self._app(scope, _bounded(receive), sent)
            return
        status, text = refusal
        if status == 401 and _asks_for_a_page(scope) and self._settings.token:
            await RedirectResponse("/login", 303)(scope, receive, sent)
            return
        extra = {"www-authenticate": "Bearer"} if status == 401 else {}
        await PlainTextResponse(text + "\n", status, headers=extra)(scope, receive, sent)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Status and reason where the request is not served."""
        headers = Headers(scope=scope)
        size = len(scope.get("raw_path") or b"") + len(scope["query_string"])
        if size > MAX_TARGET:
            return 414, "the address is too long"
        given = scope["headers"]
        if len(given) > MAX_HEADERS or sum(len(n) + len(v) for n, v in given) > MAX_HEAD:
            return 431, "the headers are too large, or too many"
        if "content-length" in headers and "transfer-encoding" in headers:
            return 400, "two lengths: a proxy in front may take the other one"
        length = headers.get("content-length", "0")
        if not length.isascii() or not length.isdigit() or int(length) > MAX_BODY:
            return 413, f"the request is larger than {MAX_BODY >> 10} KiB"
        if not self._is_ours(headers.get("host", "")):
            return 421, "this host name is not the explorer's: start it with --host NAME"
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            # A link of theirs works, a frame or an image does not.
            following = headers.get("sec-fetch-mode") == "navigate" and scope["method"] == "GET"
            if not following or headers.get("sec-fetch-dest", "document") != "document":
                return 403, "requests from other sites are refused"
        if scope["method"] not in ("GET", "HEAD"):
            if scope["method"] != "POST":
                return 405, "the explorer only reads"
            origin = headers.get("origin")
            if origin is None or urlsplit(origin).netloc != headers.get("host"):
                return 403, "requests from other sites are refused"
        if scope["path"].startswith(_OPEN):
            return None
        return self._stranger(headers)

    def _is_ours(self, host: str) -> bool:
        match = _HOST.fullmatch(host)
        if match is None:
            return False
        name = (match[1] or match[2]).lower()
        # Behind --public, names are the proxy's affair unless they are given.
        anything = not is_loopback(self._settings.host) and not self._settings.hosts
        return anything or name in self._hosts

    def _stranger(self, headers: Headers) -> tuple[int, str] | None:
        settings = self._settings
        if settings.token and _same(_token(headers), settings.token):
            return None
        # Given twice, one of them is not the proxy's.
        users = headers.getlist(settings.user_header) if settings.user_header else []
        if len(users) == 1 and users[0].strip():
            return None
        if not settings.token and not settings.user_header:
            return None
        if settings.token:
            return 401, "a token is needed: open /login, or send `Authorization: Bearer TOKEN`"
        return 401, f"the proxy has named no user in {settings.user_header}"


def _asks_for_a_page(scope: Scope) -> bool:
    wanted = Headers(scope=scope).get("accept", "")
    return "text/html" in wanted and not scope["path"].startswith("/api/")


def _token(headers: Headers) -> str:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return token.strip()
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return "" if cookie is None else cookie.value


def _same(given: str, token: str) -> bool:
    return hmac.compare_digest(given.encode(), token.encode())


def token_is(given: str, settings: ServerSettings) -> bool:
    """Whether somebody knows the token; false where there is none."""
    return bool(settings.token) and _same(given, settings.token)


def _bounded(receive: Receive) -> Receive:
    """A body that announces no length is cut at the same size: the request ends there."""
    seen = 0

    async def bounded() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        return {"type": "http.disconnect"} if seen > MAX_BODY else message

    return bounded
