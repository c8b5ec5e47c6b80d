"""The state of a page, which is its URL: filters that every page has, and the page's own words."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode

from flowpeer.errors import UsageError
from flowpeer.period import parse_period

DIRECTIONS = ("both", "out", "in")
FAMILIES = ("", "4", "6")
MAX_ASN = 2**32 - 1
OWN = {"q": 15_000, "sort": 100, "find": 200, "filter": 200, "limit": 6, "answer": 40}
"""Words of pages, with the most characters they may have."""
MAX_PICKS = 200
MAX_PARAMETERS = 40
"""Of a question or statement; every link of its page carries them."""
MAX_LIMIT = 10_000


def asn_of(text: str) -> int:
    """`64510` or `AS64510` as a number; a code of `asns` below zero too.

    Raises:
        UsageError: it is neither.
    """
    match = re.fullmatch(r"(?:[aA][sS])?([0-9]{1,10})|(-[1-6])", text.strip(), re.ASCII)
    number = int(match[1] or match[2]) if match else None
    if number is None or number > MAX_ASN:
        raise UsageError(f"{text!r} is no AS number", advice="write it like 15169 or AS15169")
    return number


@dataclass(frozen=True, slots=True)
class Filters:
    """What a reader looks at; empty is everything, and no period the last whole quarter."""

    period: str = ""
    metros: tuple[str, ...] = ()
    providers: tuple[int, ...] = ()
    direction: str = "both"
    family: str = ""
    asn: int | None = None
    own: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    """`p.NAME=value`: of a named question."""
    picks: tuple[str, ...] = ()
    """METRO:ASN or METRO:ixID: what is ticked on the what-if page."""

    def query(self, **changes: Any) -> str:
        """The query string of this view with some of it changed; what is default is left out."""
        shown: dict[str, Any] = {
            "period": self.period, "metro": self.metros, "provider": self.providers,
            "direction": self.direction if self.direction != "both" else "",
            "family": self.family, "pick": self.picks, **self.own,
            **{f"p.{name}": value for name, value in self.parameters.items()}, **changes,
        }  # fmt: skip
        pairs = [
            (name, item)
            for name, value in shown.items()
            for item in (value if isinstance(value, tuple) else (value,))
            if item not in ("", None)
        ]
        return urlencode(pairs)

    def filters(self, *but: str) -> list[tuple[str, str]]:
        """The filters that are set, without those named, as a form carries them on."""
        dropped = dict.fromkeys(("pick", *self.own, *(f"p.{n}" for n in self.parameters), *but), "")
        return parse_qsl(self.query(**dropped))

    def to(self, path: str, **changes: Any) -> str:
        """A link to `path` that keeps the filters and drops the page's own words."""
        dropped = dict.fromkeys(("pick", *self.own, *(f"p.{n}" for n in self.parameters)), "")
        query = self.query(**{**dropped, **changes})
        return f"{path}?{query}" if query else path


def view_of(
    pairs: Iterable[tuple[str, str]],
    *,
    known_metros: Iterable[str],
    known_providers: Collection[int],
) -> Filters:
    """The view that a query string asks for.

    Raises:
        UsageError: a parameter or a value that there is not, with what would be accepted.
    """
    metros = list(known_metros)
    given: dict[str, list[str]] = {}
    for name, value in pairs:
        given.setdefault(name, []).append(value.strip())
    own: dict[str, str] = {}
    parameters: dict[str, str] = {}
    for name, values in given.items():
        if name in ("metro", "provider", "pick"):
            continue
        if len(values) > 1:
            raise UsageError(f"{name} is given {len(values)} times", advice="give it once")
        if name in OWN:
            if len(values[0]) > OWN[name]:
                raise UsageError(f"{name} is longer than {OWN[name]:,} characters")
            own |= {name: values[0]} if values[0] else {}
        elif match := re.fullmatch(r"p\.([a-z_][a-z0-9_]{0,40})", name, re.ASCII):
            parameters |= {match[1]: values[0]} if values[0] else {}
        elif name not in ("period", "direction", "family", "asn"):
            raise UsageError(
                f"no parameter {name[:40]!r}",
                advice="use period, metro, provider, direction, family, asn, pick, "
                + ", ".join(OWN),
            )
    if len(parameters) > MAX_PARAMETERS:
        raise UsageError(f"{len(parameters)} parameters", advice=f"take {MAX_PARAMETERS} at most")
    if "limit" in own and not (own["limit"].isascii() and own["limit"].isdigit()
                               and 1 <= int(own["limit"]) <= MAX_LIMIT):  # fmt: skip
        raise UsageError(f"limit {own['limit']!r} is no number of rows",
                         advice=f"give 1 to {MAX_LIMIT:,}, without the comma")  # fmt: skip
    wanted = tuple(dict.fromkeys(m for m in given.get("metro", ()) if m))
    for metro in wanted:
        if metro not in metros:
            raise UsageError(f"no metro {metro[:40]!r}", advice=f"there are {', '.join(metros)}")
    providers = tuple(dict.fromkeys(asn_of(p) for p in given.get("provider", ()) if p))
    for provider in providers:
        if provider not in known_providers:
            raise UsageError(
                f"AS{provider} is none of our transit providers",
                advice=f"there are {', '.join(map(str, known_providers)) or 'none'}",
            )
    asn = given.get("asn", [""])[0]
    return Filters(
        period=_period(given.get("period", [""])[0]),
        metros=wanted,
        providers=providers,
        direction=_one("direction", given, DIRECTIONS),
        family=_one("family", given, FAMILIES),
        asn=asn_of(asn) if asn else None,
        own=own,
        parameters=parameters,
        picks=_picks(given.get("pick", ()), metros),
    )


def _picks(given: Iterable[str], metros: Collection[str]) -> tuple[str, ...]:
    picks = tuple(dict.fromkeys(pick for pick in given if pick))
    if len(picks) > MAX_PICKS:
        raise UsageError(f"{len(picks)} picks", advice=f"take {MAX_PICKS} at most")
    for pick in picks:
        metro, _, of = pick.rpartition(":")
        if metro not in metros or not re.fullmatch(r"(?:ix)?[0-9]{1,10}", of, re.ASCII):
            raise UsageError(
                f"{pick[:60]!r} is no pick",
                advice=f"write METRO:ASN or METRO:ixID; metros are {', '.join(metros)}",
            )
    return picks


def _period(text: str) -> str:
    if len(text) > 80:
        raise UsageError("the period is too long", advice="write it like 2026Q3 or 2026-07")
    if text:
        parse_period(text)
    return text


def _one(name: str, given: Mapping[str, list[str]], allowed: tuple[str, ...]) -> str:
    value = given.get(name, [""])[0] or allowed[0]
    if value not in allowed:
        accepted = ", ".join(word for word in allowed if word)
        raise UsageError(f"{name} {value[:40]!r} is none", advice=f"use one of {accepted}")
    return value
