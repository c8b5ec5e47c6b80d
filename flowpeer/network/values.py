"""The values that settings take: how each is written, and what is stated of anything else."""

from __future__ import annotations

import ipaddress
import re
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from flowpeer import mirror
from flowpeer.rules import fault
from flowpeer_core.addresses import Address, parse

Prefix = ipaddress.IPv4Network | ipaddress.IPv6Network

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


def octets(value: object) -> int:
    """`"512M"` → 512_000_000. Raises ValueError for anything else than a number of octets."""
    match = re.fullmatch(r"(\d{1,6})\s*([KMGT])", str(value).strip())
    if isinstance(value, str) and match:
        return int(match[1]) * _SCALE[match[2]]
    raise ValueError('octets as text with K, M, G or T are expected, like "512M"')


def seconds(value: object) -> int:
    """`"60s"` → 60. Raises ValueError for anything else than a positive duration."""
    match = re.fullmatch(r"(\d{1,6})\s*([smhd])", str(value).strip())
    if isinstance(value, str) and match and int(match[1]) > 0:
        return int(match[1]) * _SECONDS[match[2]]
    raise ValueError('a duration as text with s, m, h or d is expected, like "60s"')


def canonical_address(value: object) -> Address:
    """An address as all tables name it: IPv4-mapped IPv6 is IPv4."""
    try:
        return parse(str(value))
    except ValueError:
        raise ValueError('an IP address is expected, like "192.0.2.1"') from None


def _prefix(value: object) -> Prefix:
    try:
        prefix = ipaddress.ip_network(str(value))
        if prefix.version == 6 and prefix.network_address.ipv4_mapped:
            raise ValueError("IPv4-mapped: write it as IPv4")
        return prefix
    except ValueError as error:
        raise ValueError(f'a prefix is expected, like "198.18.0.0/15" ({error})') from None


def _place(value: object) -> object:
    if isinstance(value, str) and re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", value):
        mirror.split(value)
    return value


def _pattern(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 500:
        raise ValueError("a regular expression of at most 500 characters is expected")
    wrong = fault(value)
    if wrong:
        raise ValueError(f"a regular expression is expected that the engine takes ({wrong})")
    return value


def _zone(value: object) -> str:
    try:
        ZoneInfo(str(value))
    except (KeyError, OSError, ValueError):
        raise ValueError('a time zone name is expected, like "Europe/Amsterdam"') from None
    return str(value)


def by_id(value: object) -> object:
    """A place of PeeringDB may be its id alone, or a table with `id`."""
    return {"id": value} if isinstance(value, int) and not isinstance(value, bool) else value


def _decimal(value: object) -> Decimal:
    if isinstance(value, (int, float, str, Decimal)) and not isinstance(value, bool):
        try:
            amount = Decimal(str(value))
        except InvalidOperation:
            amount = Decimal("NaN")
        if amount.is_finite() and 0 <= amount < 10**15:
            return amount
    raise ValueError("an amount of at least 0 is expected, like 0.12")


def moment(value: object) -> datetime:
    """A time in UTC; a date is its midnight. Raises ValueError for anything else."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            value = None
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(UTC)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    raise ValueError("a date or time is expected, like 2026-07-01 (midnight UTC)")


def _speed_prices(value: object) -> dict[int, Decimal]:
    if not isinstance(value, dict):
        raise ValueError(  # noqa: TRY004 — what pydantic takes for a wrong value
            'prices by port speed are expected, like { "100G" = 1800 }'
        )
    return {bits_per_second(speed): _decimal(price) for speed, price in value.items()}


def _from_zero(value: object) -> int:
    return 0 if value in ("0", 0) and not isinstance(value, bool) else bits_per_second(value)


Bps = Annotated[int, BeforeValidator(bits_per_second)]
Octets = Annotated[int, BeforeValidator(octets)]
Seconds = Annotated[int, BeforeValidator(seconds)]
IP = Annotated[Address, BeforeValidator(canonical_address)]
Pattern = Annotated[str, BeforeValidator(_pattern)]
Net = Annotated[Prefix, BeforeValidator(_prefix)]
ASN = Annotated[int, Field(ge=1, le=2**32 - 1, strict=True)]
PeeringDBId = Annotated[int, Field(ge=1, le=2**31 - 1, strict=True)]
Interval = Annotated[int, Field(ge=1, le=2**24, strict=True)]
IfIndex = Annotated[int, Field(ge=1, le=2**32 - 1, strict=True)]
Text = Annotated[str, Field(min_length=1, max_length=200, strict=True)]
Place = Annotated[Text, BeforeValidator(_place)]
"""A folder, or an address on an object store."""
# Metro ids become partition values and file names: an empty or all-digit one makes other engines
# refuse or misread the table.
Id = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9._-]{1,63}$", strict=True)]
Role = Literal["transit", "peer", "ix", "customer", "internal"]
Money = Annotated[Decimal, BeforeValidator(_decimal)]
SpeedPrices = Annotated[dict[int, Decimal], BeforeValidator(_speed_prices)]
"""Price per month by port speed in bit/s."""
RateFromZero = Annotated[int, BeforeValidator(_from_zero)]
Moment = Annotated[datetime, BeforeValidator(moment)]
"""A time in UTC; a date is its midnight UTC."""
Share = Annotated[float, Field(ge=0, le=1)]
Zone = Annotated[str, BeforeValidator(_zone)]
Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$", strict=True)]


def scope(value: object) -> object:
    """`"Region"` → `"region"`: the words for how far a route reaches are read in any case."""
    return value.lower() if isinstance(value, str) else value


class Section(BaseModel):
    """One section of the file: unknown keys are errors, nothing changes after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
