"""Macros against Python's ipaddress, quantile_disc and plain arithmetic."""

from __future__ import annotations

import random
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

import flowpeer_sql

SAMPLE = [
    "0.0.0.0", "255.255.255.255", "192.0.2.1", "::", "::1", "1::", "2001:db8::1",
    "2001:db8:0:1:1:1:1:1", "1:0:0:2:0:0:0:3", "1:0:0:2:2:0:0:3", "1:0:2:0:3:0:4:0",
    "::ffff:1.2.3.4", "64:ff9b::1.2.3.4", "1:2:3:4:5:6:7::", "::2:3:4:5:6:7:8", "ABCD::Ef",
]  # fmt: skip


def mapped(address: IPv4Address | IPv6Address) -> int:
    """The address as the lake's 128-bit number."""
    return int(address) + (0xFFFF << 32 if address.version == 4 else 0)


@pytest.fixture(scope="module")
def plain() -> Iterator[duckdb.DuckDBPyConnection]:
    con = duckdb.connect()
    for script in flowpeer_sql.views():
        if script.name in ("addresses", "rates"):
            con.execute(script.sql)
    yield con
    con.close()


def _texts() -> list[str]:
    made = random.Random(20260701)
    texts = list(SAMPLE)
    for _ in range(300):
        groups = [
            made.choice([0, 0, 0, made.getrandbits(16), made.getrandbits(4)]) for _ in range(8)
        ]
        texts.append(":".join(f"{group:x}" for group in groups))
        texts.append(str(ip_address(texts[-1])))
        texts.append(str(IPv4Address(made.getrandbits(32))))
    return texts


def test_ip_and_ip_str_agree_with_ipaddress(plain: duckdb.DuckDBPyConnection) -> None:
    got = plain.execute(
        "SELECT t, ip(t), ip_str(ip(t)), ip_is4(ip(t)) FROM unnest($texts::VARCHAR[]) AS u(t)",
        {"texts": _texts()},
    ).fetchall()
    assert len(got) == len(_texts())
    for text, octets, again, is4 in got:
        number = mapped(ip_address(text))
        short = IPv6Address(number)
        assert octets == number.to_bytes(16, "big")
        assert again == str(short.ipv4_mapped or short)
        assert is4 == (short.ipv4_mapped is not None)


@pytest.mark.parametrize(
    "text",
    ["", "1.2.3", "1.2.3.4.", "01.2.3.4", "1.2.3.4.5", "256.1.1.1", "::1::", "1:2:3:4:5:6:7:8:9",
     ":1", ":::", "g::", "1:2:3:4:5:6:7", "12345::", "1.2.3.4::", "::1.2.3", "::1.2.3.4:5", " ::1",
     "1:2:3:4:5:6:7:8::", "1::2:", ":1::2", "1.2.3.4/24"],
)  # fmt: skip
def test_text_that_is_no_address_is_an_error(plain: duckdb.DuckDBPyConnection, text: str) -> None:
    with pytest.raises(duckdb.Error, match="not an IP address"):
        plain.execute("SELECT ip($t)", {"t": text}).fetchall()


@pytest.mark.parametrize("cidr", ["10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/8/8", "::/-1"])
def test_text_that_is_no_prefix_is_an_error(plain: duckdb.DuckDBPyConnection, cidr: str) -> None:
    with pytest.raises(duckdb.Error, match="not a prefix"):
        plain.execute("SELECT ip_in(ip('10.0.0.1'), $c)", {"c": cidr}).fetchall()


def test_ip_in_agrees_with_the_bits(plain: duckdb.DuckDBPyConnection) -> None:
    made, texts = random.Random(7), _texts()[:200]
    pairs = []
    for _ in range(2000):
        base = ip_address(made.choice(texts))
        length = made.randint(0, base.max_prefixlen)
        other = type(base)(int(base) ^ (1 << made.randrange(base.max_prefixlen)))
        pairs.append((str(other), f"{base}/{length}"))
    got = plain.execute(
        "SELECT a, c, ip_in(ip(a), c)"
        " FROM (SELECT unnest($a::VARCHAR[]) AS a, unnest($c::VARCHAR[]) AS c)",
        {"a": [a for a, _ in pairs], "c": [c for _, c in pairs]},
    ).fetchall()
    for address, cidr, inside in got:
        base, _, length = cidr.partition("/")
        bits = int(length) + (96 if ip_address(base).version == 4 else 0)
        shift = 128 - bits
        one, two = mapped(ip_address(base)), mapped(ip_address(address))
        assert inside == (one >> shift == two >> shift), (address, cidr)


def test_ip_in_is_a_range_of_constants_that_files_can_be_skipped_by(
    plain: duckdb.DuckDBPyConnection,
) -> None:
    plain.execute("CREATE OR REPLACE TEMP TABLE addresses AS SELECT ip('10.1.2.3') AS a")
    plan = plain.execute(
        "EXPLAIN SELECT * FROM addresses WHERE ip_in(a, '10.1.0.0/15')"
    ).fetchall()[0][1]
    assert "list_transform" not in plan
    assert r"\xFF\xFF\x0A\x01\xFF\xFF" in plan


@given(st.lists(st.integers(0, 2**62), max_size=40), st.integers(0, 40))
def test_p95_is_quantile_disc_of_the_dense_series(values: list[int], empty: int) -> None:
    n = len(values) + empty
    con = _once()
    got = con.execute(
        "SELECT p95(v, $n) FROM unnest($v::BIGINT[]) AS u(v)", {"v": values, "n": n}
    ).fetchall()[0][0]
    dense = con.execute(
        "SELECT quantile_disc(v, 0.95) FROM unnest($v::BIGINT[]) AS u(v)",
        {"v": values + [0] * empty},
    ).fetchall()[0][0]
    ranked = sorted(values + [0] * empty)
    assert got == dense == (ranked[(19 * n + 19) // 20 - 1] if n else None)


_KEPT: list[duckdb.DuckDBPyConnection] = []


def _once() -> duckdb.DuckDBPyConnection:
    if not _KEPT:
        _KEPT.append(duckdb.connect())
        for script in flowpeer_sql.views():
            if script.name == "rates":
                _KEPT[0].execute(script.sql)
    return _KEPT[0]


def test_p95_of_more_values_than_slots_is_an_error(plain: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(duckdb.Error, match="more values than slots"):
        plain.execute("SELECT p95(x, 3) FROM range(4) r(x)").fetchall()


def test_mbps_is_si_bits(plain: duckdb.DuckDBPyConnection) -> None:
    assert plain.execute("SELECT mbps(37500000, 300)").fetchall() == [(1.0,)]
