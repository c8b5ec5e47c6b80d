"""The ground: what it says of numbers and addresses, and what importing it costs."""

from __future__ import annotations

import subprocess
import sys
from ipaddress import IPv6Address, ip_address

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowpeer_core import addresses, asns, roles, slots

RESERVED = [(0, 0), (23456, 23456), (64496, 131071), (4_200_000_000, 4_294_967_295)]
"""IANA's special-purpose AS numbers, first and last."""


def test_public_asns_are_those_that_iana_does_not_reserve() -> None:
    edges = {n + d for span in RESERVED for n in span for d in (-1, 0, 1)}
    numbers = sorted(n for n in {*edges, *asns.SPECIAL_ASNS} if n < 1 << 32)
    expected = [n > 0 and not any(first <= n <= last for first, last in RESERVED) for n in numbers]
    assert [asns.is_public(n) for n in numbers] == expected
    assert asns.is_public(np.array(numbers)).tolist() == expected
    frame = pl.DataFrame({"asn": numbers})
    assert frame.select(asns.is_public(pl.col("asn"))).to_series().to_list() == expected


def test_special_asns_are_negative_and_named_once() -> None:
    assert sorted(asns.SPECIAL_ASNS, reverse=True) == [-1, -2, -3, -4, -5, -6]
    assert len(set(asns.SPECIAL_ASNS.values())) == 6


@given(st.ip_addresses())
def test_an_address_survives_its_octets(address: object) -> None:
    text = str(addresses.parse(str(address)))
    octets = addresses.octets_of(text)
    assert len(octets) == 16
    assert addresses.text_of(octets) == text
    six = ip_address(text)
    mapped = six if isinstance(six, IPv6Address) else IPv6Address(f"::ffff:{six}")
    assert octets == mapped.packed


def test_a_mapped_address_is_ipv4_in_every_form() -> None:
    assert str(addresses.parse("::ffff:192.0.2.1")) == "192.0.2.1"
    assert addresses.text_of(bytes([192, 0, 2, 1])) == "192.0.2.1"
    assert addresses.text_of(addresses.MAPPED + bytes([192, 0, 2, 1])) == "192.0.2.1"
    assert addresses.octets_of("::ffff:192.0.2.1") == addresses.octets_of("192.0.2.1")


@pytest.mark.parametrize("text", ["", "1.2.3", "1.2.3.4.5", "::g", "1.2.3.4/8", "ä", "1.2.3.4\0"])
def test_what_is_no_address_raises_value_error(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  (any message)
        addresses.octets_of(text)


def test_slots_and_roles_agree_with_themselves() -> None:
    assert slots.SLOT_US * slots.HOUR_SLOTS == slots.HOUR_US
    assert slots.SLOT.total_seconds() == slots.SLOT_SECONDS
    assert set(roles.EXTERNAL_ROLES) < set(roles.CONFIGURED_ROLES) < set(roles.ROLES)


def test_the_plain_parts_of_the_ground_import_no_engine() -> None:
    code = (
        "import sys, flowpeer_core.asns, flowpeer_core.roles, flowpeer_core.slots, "
        "flowpeer_core.p95, flowpeer_core.addresses; "
        "print(*{'numpy', 'pyarrow', 'polars', 'duckdb'} & {m.split('.')[0] for m in sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == ""
