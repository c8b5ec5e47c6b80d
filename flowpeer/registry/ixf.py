"""Member exports of exchanges (the JSON schema of Euro-IX, "IX-F") into reference/ixf_ports.

A second source of who is at an exchange: members keep PeeringDB, the exchange keeps this. Rows
name the exchange by its PeeringDB id, which the export states or the caller gives. What an export
says replaces what was known of its exchanges, and of no other.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from flowpeer.errors import InputError
from flowpeer.lake.store import Lake, digest_of
from flowpeer.registry.source_files import parse_json, read_all, time_of
from flowpeer.schema import IXF_PORTS
from flowpeer_core.columns import arrow_schema

TABLE = "reference/ixf_ports.parquet"
_ADVICE = "expected is an IX-F member export: JSON with ixp_list and member_list"
_MAX_ASN = 0xFFFFFFFF
_MAX_SPEED_MBPS = 1 << 32


def load_ixf(lake: Lake, path: Path, *, exchange: int | None = None) -> tuple[dict[str, Any], bool]:
    """Load one export.

    Args:
        exchange: PeeringDB id, for an export of one exchange that does not state it.

    Returns:
        Facts (exchanges, ports, members, skipped, source, source_digest), and whether it was
        loaded now: the same content is not loaded again.

    Raises:
        InputError: it is none, or names no exchange of PeeringDB; the lake is as it was.
    """
    digest = sha256(f"{digest_of(path)} {exchange}".encode()).hexdigest()
    entry = lake.entry(TABLE) or {}
    loaded: dict[str, dict[str, Any]] = dict(entry.get("exports", {}))
    same = [export for export in loaded.values() if export["source_digest"] == digest]
    if same:
        return same[0], False
    document = parse_json(read_all(path), str(path), advice=_ADVICE)
    skipped: Counter[str] = Counter()
    rows, exchanges = _ports(path, document, exchange, skipped)
    facts: dict[str, Any] = {
        "source": path.name,
        "source_digest": digest,
        "source_time": time_of(path),
        "exchanges": sorted(exchanges),
        "members": len({row["asn"] for row in rows}),
        "ports": len(rows),
        "skipped": dict(sorted(skipped.items())),
    }
    if (held := lake.path(TABLE)).is_file():
        rows += [r for r in pq.read_table(held).to_pylist() if r["ix_id"] not in exchanges]
    rows.sort(key=lambda r: (r["ix_id"], r["asn"], r["ipaddr4"] or "", r["ipaddr6"] or ""))
    loaded = {ix: members for ix, members in loaded.items() if int(ix) not in exchanges}
    loaded |= {str(ix): facts for ix in sorted(exchanges)}
    table = pa.Table.from_pylist(rows, schema=arrow_schema(IXF_PORTS))
    lake.publish(TABLE, IXF_PORTS, table, {**facts, "exports": loaded})
    return facts, True


def _ports(
    path: Path, document: object, exchange: int | None, skipped: Counter[str]
) -> tuple[list[dict[str, Any]], set[int]]:
    if not isinstance(document, dict) or not isinstance(document.get("member_list"), list):
        raise InputError(str(path), "not an IX-F member export", advice=_ADVICE)
    ids = _exchanges(path, _dicts(document.get("ixp_list")), exchange)
    rows: list[dict[str, Any]] = []
    for member in _dicts(document["member_list"]):
        asn = member.get("asnum")
        if not isinstance(asn, int) or isinstance(asn, bool) or not 0 < asn <= _MAX_ASN:
            skipped["member without an AS number"] += 1
            continue
        if member.get("member_type") == "routeserver":
            skipped["route server of the exchange"] += 1
            continue
        for connection in _dicts(member.get("connection_list")):
            number = connection.get("ixp_id")
            ix = ids.get(number) if isinstance(number, int) else None
            if ix is None and len(ids) == 1 and number is None:
                (ix,) = ids.values()
            if ix is None:
                skipped["connection to an exchange without a PeeringDB id"] += 1
                continue
            rows += _connection(asn, ix, connection, path.name)
    if not rows:
        raise InputError(str(path), "no member's port in it", advice=_ADVICE)
    return rows, {row["ix_id"] for row in rows}


def _exchanges(
    path: Path, listed: Iterable[Mapping[str, Any]], exchange: int | None
) -> dict[int, int]:
    """Number of an exchange in this export → its PeeringDB id."""
    found: dict[int, int] = {}
    numbers: list[int] = []
    for ixp in listed:
        number, known = ixp.get("ixp_id"), ixp.get("peeringdb_id")
        if isinstance(number, int):
            numbers.append(number)
            if isinstance(known, int) and not isinstance(known, bool) and 0 < known < 1 << 31:
                found[number] = known
    if exchange is not None:
        if len(numbers) != 1:
            raise InputError(
                str(path),
                f"has {len(numbers)} exchanges, so --exchange does not say which",
                advice="leave it out, or split the export",
            )
        return {numbers[0]: exchange}
    if not found:
        raise InputError(
            str(path),
            "names no exchange by its PeeringDB id",
            advice="give it: flowpeer ixf load --exchange ID FILE",
        )
    return found


def _connection(
    asn: int, ix: int, connection: Mapping[str, Any], source: str
) -> Iterator[dict[str, Any]]:
    """A row for each VLAN that a connection is on; one without addresses where none is reported."""
    speeds = [
        interface["if_speed"]
        for interface in _dicts(connection.get("if_list"))
        if isinstance(interface.get("if_speed"), int)
        and 0 < interface["if_speed"] < _MAX_SPEED_MBPS
    ]
    state = connection.get("state")
    common = {
        "ix_id": ix,
        "asn": asn,
        "speed": sum(speeds) or None,
        "operational": None if not isinstance(state, str) else state.lower() in _UP,
        "source": source,
    }
    vlans = list(_dicts(connection.get("vlan_list"))) or [{}]
    for vlan in vlans:
        families = [vlan.get("ipv4"), vlan.get("ipv6")]
        addresses = [f for f in families if isinstance(f, dict)]
        macs = sorted({mac for f in addresses for mac in _macs(f.get("mac_addresses"))})
        flags = [f["routeserver"] for f in addresses if isinstance(f.get("routeserver"), bool)]
        yield {
            **common,
            "ipaddr4": _address(families[0], 4),
            "ipaddr6": _address(families[1], 6),
            "is_rs_peer": any(flags) if flags else None,
            "macs": " ".join(macs) or None,
        }


_UP = frozenset({"active", "connected", "up", "production"})


def _address(family: object, version: int) -> str | None:
    text = family.get("address") if isinstance(family, dict) else None
    try:
        parsed = ip_address(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return str(parsed) if parsed is not None and parsed.version == version else None


def _macs(value: object) -> Iterator[str]:
    """MAC addresses as `aa:bb:cc:dd:ee:ff`, however they are written; group addresses are none."""
    for text in value if isinstance(value, list) else ():
        digits = re.sub(r"[:.\- ]", "", text).lower() if isinstance(text, str) else ""
        if re.fullmatch(r"[0-9a-f]{12}", digits) and int(digits, 16) and not int(digits[1], 16) & 1:
            yield ":".join(digits[i : i + 2] for i in range(0, 12, 2))


def _dicts(value: object) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, list):
        yield from (item for item in value if isinstance(item, dict))
