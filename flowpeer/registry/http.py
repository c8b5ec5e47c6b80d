"""GET of JSON documents over HTTP: bounded, polite, and with a secret that stays one.

The key goes into one header of requests to one host, and nowhere else: redirects to another host
are refused, plain HTTP is refused where there is a key, and no message repeats it.
"""

from __future__ import annotations

import random
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from http.client import HTTPException, HTTPMessage
from ipaddress import ip_address
from typing import IO, Any
from urllib.parse import urlencode, urlsplit

from flowpeer import __version__
from flowpeer.errors import InputError, UsageError
from flowpeer.registry.files import parse_json

MAX_OCTETS = 1 << 28
"""Of one answer; the largest object of PeeringDB is some 40 MB."""
TIMEOUT_S = 60.0
"""Of silence."""
MAX_ANSWER_S = 900.0
ATTEMPTS = 5
MAX_WAIT_S = 900.0
"""A server that asks for more patience than this is left for the next run."""
_BLOCK = 1 << 18
_RETRIED = frozenset({429, 500, 502, 503, 504})


def _loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@dataclass(eq=False)
class JsonClient:
    """Fetches JSON below one base address.

    Args:
        base: like https://www.peeringdb.com/api.
        authorization: value of the Authorization header, "" for none.
        interval_s: least time between the starts of two requests.
        say: told why it waits.

    Raises:
        UsageError: a base that is no HTTP address, carries a password, or is plain HTTP while
            there is a key to protect.
    """

    base: str
    authorization: str = field(default="", repr=False)
    interval_s: float = 3.0
    say: Callable[[str], None] = lambda _: None
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    _last: float = field(default=float("-inf"), init=False)

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.base)
            host, port = parts.hostname or "", parts.port
        except ValueError:
            raise UsageError("the address cannot be understood", advice=_ADVICE) from None
        if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment:
            raise UsageError("not the address of an API", advice=_ADVICE)
        if parts.username is not None or parts.password is not None:
            raise UsageError(
                "the address carries a user name or password",
                advice="leave it out; an API key comes from a file or the environment",
            )
        if parts.scheme == "http" and self.authorization and not _loopback(host):
            raise UsageError(
                f"{self.base}: the API key would travel unencrypted", advice="use https"
            )
        self.base = self.base.rstrip("/")
        handlers: list[urllib.request.BaseHandler] = [_SameHost((parts.scheme, host, port))]
        if _loopback(host):
            handlers.append(urllib.request.ProxyHandler({}))
        self._opener = urllib.request.build_opener(*handlers)

    def get(self, name: str, **query: object) -> tuple[Any, str]:
        """The document at `name` below the base, and the address it came from.

        Waits as the server asks (Retry-After), else ever longer, and gives up after `ATTEMPTS`.

        Raises:
            InputError: no usable answer. `NotFoundError` where there is nothing of that name.
        """
        url = f"{self.base}/{name}" + (f"?{urlencode(query)}" if query else "")
        for attempt in range(1, ATTEMPTS + 1):
            wait = self._last + self.interval_s - self.clock()
            if wait > 0:
                self.sleep(wait)
            self._last = self.clock()
            try:
                return parse_json(self._read(url), url, advice=_ADVICE), url
            except urllib.error.HTTPError as error:
                with error:
                    what = f"HTTP {error.code} {error.reason or ''}".strip()
                    pause = _retry_after(error.headers)
                if error.code == 404:
                    raise NotFoundError(url, what, advice="check the address of the API") from None
                if error.code in (401, 403):
                    advice = "check the API key" if self.authorization else "give an API key"
                    raise InputError(url, what, advice=advice) from None
                if error.code not in _RETRIED:
                    raise InputError(url, what, advice="check the address of the API") from None
            except urllib.error.URLError as error:
                what, pause = f"cannot be reached: {_reason(error.reason)}", None
            except (OSError, HTTPException) as error:
                what, pause = f"the answer broke off: {_reason(error)}", None
            delay = pause if pause is not None else 2.0**attempt * random.uniform(1, 1.5)
            if attempt == ATTEMPTS or delay > MAX_WAIT_S:
                raise InputError(
                    url, what, advice=f"try again in {max(1, round(delay / 60))} minutes"
                ) from None
            self.say(f"{url}: {what}; again in {delay:.0f} s")
            self.sleep(delay)
        raise AssertionError("the last attempt returns or raises")

    def _read(self, url: str) -> bytes:
        request = urllib.request.Request(url)  # noqa: S310 (the scheme was checked)
        request.add_header("Accept", "application/json")
        request.add_header("User-Agent", f"flowpeer/{__version__}")
        if self.authorization:
            request.add_unredirected_header("Authorization", self.authorization)
        begun = self.clock()
        parts: list[bytes] = []
        size = 0
        with self._opener.open(request, timeout=TIMEOUT_S) as answer:
            while block := answer.read(_BLOCK):
                size += len(block)
                if size > MAX_OCTETS:
                    raise InputError(
                        url, f"answers with more than {MAX_OCTETS:,} octets", advice=_ADVICE
                    )
                if self.clock() - begun > MAX_ANSWER_S:
                    raise InputError(
                        url, f"still answers after {MAX_ANSWER_S:.0f} s", advice="try again later"
                    )
                parts.append(block)
            stated = answer.headers.get("Content-Length", "")
            if stated.isascii() and stated.isdigit() and int(stated) > size:
                raise HTTPException(f"{size} of {stated} octets")
        return b"".join(parts)


class NotFoundError(InputError):
    """There is nothing at that address."""


class _SameHost(urllib.request.HTTPRedirectHandler):
    """Follows redirects within one host only."""

    max_redirections = 3

    def __init__(self, origin: tuple[str, str, int | None]) -> None:
        self._origin = origin

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        parts = urlsplit(newurl)
        if (parts.scheme, parts.hostname, parts.port) != self._origin:
            raise InputError(
                req.full_url,
                f"leads to another host ({parts.scheme}://{parts.hostname})",
                advice="give the address of the API itself",
            )
        new = super().redirect_request(req, fp, code, msg, headers, newurl)
        if new is not None and (value := req.unredirected_hdrs.get("Authorization")):
            new.add_unredirected_header("Authorization", value)
        return new


_ADVICE = "an address like https://www.peeringdb.com/api is expected"


def _retry_after(headers: HTTPMessage | Any) -> float | None:
    """Seconds to wait: a number, or a date (RFC 9110 section 10.2.3)."""
    text = str(headers.get("Retry-After", "")).strip() if headers is not None else ""
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _reason(error: object) -> str:
    words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return (words.splitlines() or [type(error).__name__])[0][:200]
