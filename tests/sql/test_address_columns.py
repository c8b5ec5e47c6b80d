"""Addresses in Polars are those of SQL: the macros and the expressions agree."""

from __future__ import annotations

import random
from ipaddress import IPv6Address, ip_address, ip_network

import polars as pl
import pyarrow as pa
import pytest

from flowpeer.query import QuerySession
from flowpeer_core.address_columns import ip, ip_in, ip_is4, ip_str
from flowpeer_core.addresses import octets_of

PREFIXES = ["0.0.0.0/0", "10.0.0.0/8", "192.0.2.77/25", "192.0.2.1", "2001:db8::/32", "::/0",
            "2001:db8:0:f00::/57", "::ffff:10.0.0.0/104", "2001:db8::1",
            "255.255.255.255/32"]  # fmt: skip


def _addresses() -> list[str]:
    dice = random.Random(7)
    found = ["0.0.0.0", "::", "::1", "255.255.255.255", "2001:db8::1", "192.0.2.1", "192.0.2.130"]
    for prefix in PREFIXES:
        network = ip_network(prefix, strict=False)
        for end in (network.network_address, network.broadcast_address):
            found += [str(end), str(ip_address(int(end) ^ 1) if int(end) > 1 else end)]
    found += [str(IPv6Address(dice.getrandbits(128) & dice.getrandbits(128))) for _ in range(50)]
    return [a for a in found if ":" in a or "." in a]


def test_expressions_and_macros_agree(con: QuerySession) -> None:
    frame = pl.DataFrame({"addr": [*map(octets_of, _addresses()), None]})
    made = frame.select(
        text=ip_str("addr"), four=ip_is4("addr"), same=pl.col("addr") == ip("192.0.2.1"),
        **{f"in_{n}": ip_in(pl.col("addr"), p) for n, p in enumerate(PREFIXES)},
    )  # fmt: skip
    cells = ", ".join(f"ip_in(addr, '{p}') AS in_{n}" for n, p in enumerate(PREFIXES))
    values = ", ".join(
        "(NULL)" if v is None else f"(unhex('{v.hex()}'))" for v in frame["addr"].to_list()
    )
    asked = con.query(
        "SELECT ip_str(addr) AS text, ip_is4(addr) AS four, addr = ip('192.0.2.1') AS same,"
        f" {cells}"
        f" FROM (VALUES {values}) AS t(addr)"
    )
    assert made.to_dicts() == pa.Table.to_pylist(asked)


def test_what_is_no_address_is_refused() -> None:
    for text in ("1.2.3", "1.2.3.4/33", "1x::/64", "2001:db8::/129"):
        with pytest.raises(ValueError, match=r"\d"):
            ip_in("addr", text)
    with pytest.raises(ValueError, match=r"\d"):
        ip("192.0.2")


def test_an_empty_column_stays_one() -> None:
    frame = pl.DataFrame({"addr": []}, schema={"addr": pl.Binary}).select(ip_str("addr"))
    assert frame.schema == {"addr": pl.String}
