from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowpeer.routing.bgp.attributes import (
    OWN_ORIGIN,
    AttributeParser,
    AttributesError,
    merged,
    path_text,
    segments_of,
)


def _segment(kind: int, *asns: int, width: int = 4) -> bytes:
    return bytes([kind, len(asns)]) + struct.pack(
        f">{len(asns)}{'I' if width == 4 else 'H'}", *asns
    )


@pytest.mark.parametrize(
    ("value", "text", "origin"),
    [
        (b"", "", OWN_ORIGIN),
        (_segment(2, 3333), "3333", 3333),
        (_segment(2, 4200000000, 64512, 64512), "4200000000 64512 64512", 64512),
        (_segment(2, 1299) + _segment(1, 64500, 64501), "1299 {64500,64501}", None),
        (_segment(2, 1299) + _segment(1, 64500) + _segment(2, 7), "1299 {64500} 7", 7),
        (_segment(3, 65001, 65002) + _segment(2, 3356), "(65001,65002) 3356", 3356),
        (_segment(4, 65001) + _segment(3, 65002), "[65001] (65002)", OWN_ORIGIN),
        (_segment(2, 1) + _segment(3, 65002), "1 (65002)", 1),
        (_segment(2) + _segment(2, 9), "9", 9),
    ],
)
def test_path_text_and_origin(value: bytes, text: str, origin: int | None) -> None:
    assert path_text(segments_of(value, 4)) == (text, origin)


@pytest.mark.parametrize(
    ("narrow", "wide", "text"),
    [
        ((1, 23456, 23456), (4200000001, 4200000002), "1 4200000001 4200000002"),
        ((1, 2), (), "1 2"),  # no AS4_PATH
        ((1,), (70000, 70001), "1"),  # longer than the path: ignored
        ((23456,), (70000,), "70000"),
    ],
)
def test_as4_path_replaces_the_tail_of_a_narrow_path(
    narrow: tuple[int, ...], wide: tuple[int, ...], text: str
) -> None:
    segments = merged([(2, narrow)], [(2, wide)] if wide else [])
    assert path_text(segments)[0] == text


def test_a_set_counts_one_when_as4_path_is_put_in_place() -> None:
    narrow = segments_of(_segment(2, 1, 23456, width=2) + _segment(1, 5, 6, width=2), 2)
    wide = segments_of(_segment(2, 70000) + _segment(1, 5, 6), 4)
    assert path_text(merged(narrow, wide)) == ("1 70000 {5,6}", None)


@given(st.binary(max_size=80), st.sampled_from([2, 4]))
def test_any_octets_are_a_route_or_the_one_error(block: bytes, width: int) -> None:
    parser = AttributeParser()
    try:
        first = parser.parse(block, width)
    except AttributesError:
        return
    assert parser.parse(block, width) == first


def test_the_first_of_a_repeated_attribute_counts() -> None:
    med = bytes([0x80, 4, 4]) + struct.pack(">I", 10) + bytes([0x80, 4, 4]) + struct.pack(">I", 20)
    assert AttributeParser().parse(med, 4).med == 10


def test_extended_length_is_read() -> None:
    value = _segment(2, *range(1, 101))
    block = struct.pack(">BBH", 0x50, 2, len(value)) + value
    assert AttributeParser().parse(block, 4).as_path == " ".join(map(str, range(1, 101)))
