"""GET of JSON documents over HTTP: bounded, polite, and with a secret that stays one.

The key goes into one header of requests to one host, and nowhere else: redirects to another host
are refused, plain HTTP is refused where there is a key, and no message repeats it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NewConnectionError,
    ProxyError,
    SSLError,
)

from flowpeer import __version__
from flowpeer.errors import InputError, UsageError
from flowpeer.registry.source_files import parse_json

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
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
MAX_REDIRECTS = 3


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
        say: given the reason for a wait.

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
            _origin(self.base)
        except ValueError:
            raise UsageError("the address cannot be understood", advice=_ADVICE) from None
        parts, host = urlsplit(self.base), urlsplit(self.base).hostname or ""
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
        self._pool = _pool(self.base)

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
                answer, pause = self._open(url), None
                if answer.status == 200:
                    return parse_json(self._read(answer, url), url, advice=_ADVICE), url
                what = f"HTTP {answer.status} {answer.reason or ''}".strip()
                pause = _retry_after(answer.headers)
                answer.close()
                if answer.status == 404:
                    raise NotFoundError(url, what, advice="check the address of the API")
                if answer.status in (401, 403):
                    advice = "check the API key" if self.authorization else "give an API key"
                    raise InputError(url, what, advice=advice)
                if answer.status not in _RETRIED:
                    raise InputError(url, what, advice="check the address of the API")
            except (NewConnectionError, ConnectTimeoutError, ProxyError, SSLError) as error:
                what, pause = f"cannot be reached: {_reason(error)}", None
            except (HTTPError, OSError) as error:
                what, pause = f"the answer broke off: {_reason(error)}", None
            delay = pause if pause is not None else 2.0**attempt * random.uniform(1, 1.5)
            if attempt == ATTEMPTS or delay > MAX_WAIT_S:
                raise InputError(
                    url, what, advice=f"try again in {max(1, round(delay / 60))} minutes"
                ) from None
            self.say(f"{url}: {what}; again in {delay:.0f} s")
            self.sleep(delay)
        raise AssertionError("the last attempt returns or raises")

    def _open(self, url: str) -> urllib3.BaseHTTPResponse:
        """The answer to a request, its body not read yet; redirects within one host are followed.

        Raises:
            InputError: it leads to another host.
        """
        headers = {
            "Accept": "application/json", "Connection": "close",
            "User-Agent": f"flowpeer/{__version__}",
        }  # fmt: skip
        if self.authorization:
            headers["Authorization"] = self.authorization
        place = url
        for redirects in range(MAX_REDIRECTS + 1):
            answer = self._pool.request(
                "GET", place, headers=headers, timeout=TIMEOUT_S, retries=False, redirect=False,
                preload_content=False, decode_content=False,
            )  # fmt: skip
            location = answer.headers.get("Location")
            if answer.status not in _REDIRECTS or not location or redirects == MAX_REDIRECTS:
                break
            answer.close()
            place = urljoin(place, location)
            if _origin(place) != _origin(self.base):
                scheme, host, _ = _origin(place)
                raise InputError(
                    url, f"leads to another host ({scheme}://{host})",
                    advice="give the address of the API itself",
                )  # fmt: skip
        return answer

    def _read(self, answer: urllib3.BaseHTTPResponse, url: str) -> bytes:
        """The body, bounded in octets and time."""
        begun = self.clock()
        parts: list[bytes] = []
        size = 0
        with answer:
            for block in answer.stream(_BLOCK):
                size += len(block)
                if size > MAX_OCTETS:
                    raise InputError(
                        url, f"answers with more than {MAX_OCTETS:,} octets", advice=_ADVICE
                    )
                if self.clock() - begun > MAX_ANSWER_S:
                    raise InputError(
                        url, f"incomplete after {MAX_ANSWER_S:.0f} s", advice="try again later"
                    )
                parts.append(block)
        return b"".join(parts)


class NotFoundError(InputError):
    """There is nothing at that address."""


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port


def _pool(base: str) -> urllib3.PoolManager:
    """Connections to one host, by way of the proxy that the environment names for it."""
    scheme, host, _ = _origin(base)
    proxy = getproxies().get(scheme)
    if proxy is None or host is None or _loopback(host) or proxy_bypass(host):
        return urllib3.PoolManager(maxsize=1)
    return urllib3.ProxyManager(proxy, maxsize=1)


_ADVICE = "an address like https://www.peeringdb.com/api is expected"


def _retry_after(headers: urllib3.HTTPHeaderDict) -> float | None:
    """Seconds to wait: a number, or a date (RFC 9110 section 10.2.3)."""
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _reason(error: BaseException) -> str:
    """What the system reported, in one line, else what the library did."""
    cause: Any = error
    while cause is not None and not (isinstance(cause, OSError) and cause.strerror):
        cause = cause.__cause__ or cause.__context__
    text = str(error) if cause is None else str(cause.strerror)
    return (text.splitlines() or [type(error).__name__])[0][:200]
