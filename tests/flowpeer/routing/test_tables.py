from __future__ import annotations

import gzip
from collections.abc import Callable
from ipaddress import ip_address, ip_network, summarize_address_range
from pathlib import Path
from typing import Any

import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from flowpeer.errors import InputError
from flowpeer.routing.rib.match import RouteTable
from flowpeer.routing.rib.prefix_tables import TableReader

Write = Callable[..., Path]
LAST = "2606:4700:ffff:ffff:ffff:ffff:ffff:ffff"


def _rows(path: Path) -> list[dict[str, Any]]:
    return [row for table in TableReader(path) for row in table.to_pylist()]


def _routes(path: Path) -> list[tuple[str, int | None]]:
    return [(row["prefix"], row["origin_asn"]) for row in _rows(path)]


@pytest.mark.parametrize(
    "text",
    [
        "# pyasn\n; also a comment\n\n8.8.8.0/24\t15169\n2606:4700::/32\t13335\n",
        "8.8.8.0\t24\t15169\n2606:4700::\t32\t13335\n",
        "8.8.8.0 24 15169\r\n2606:4700:: 32 13335",
        f"8.8.8.0\t8.8.8.255\t15169\tUS\tGOOGLE\n2606:4700::\t{LAST}\t13335\tUS\tCLOUDFLARE\n",
        "prefix,asn\n8.8.8.0/24,AS15169\n2606:4700::/32,13335\n",
        'asn,comment,network\n15169,"a, b",8.8.8.0/24\n13335,,2606:4700::/32\n',
        f"start,end,asn\n8.8.8.0,8.8.8.255,15169\n2606:4700::,{LAST},13335\n",
        "\ufeffprefix,asn\n8.8.8.255/24,15169\n2606:4700:0::1/32,0.13335\n",
    ],
)
def test_each_layout_is_told_by_its_content(text: str, write: Write) -> None:
    assert _routes(write(text.encode(), "t.txt")) == [
        ("8.8.8.0/24", 15169),
        ("2606:4700::/32", 13335),
    ]


def test_several_origins_are_rows_and_sets_have_none(write: Write) -> None:
    lines = ["10.0.0.0\t8\t1_2", "11.0.0.0\t8\t3,4", "12.0.0.0\t8\t{5,6}", "13.0.0.0\t8\t7_8,9"]
    lines += ["14.0.0.0\t8\t23456", "15.0.0.0\t8\t0", "16.0.0.0\t8\t4294967295"]
    rows = _rows(write("\n".join(lines).encode(), "t"))
    assert [(r["prefix"], r["origin_asn"], r["as_path"]) for r in rows] == [
        ("10.0.0.0/8", 1, None),
        ("10.0.0.0/8", 2, None),
        ("11.0.0.0/8", None, "{3,4}"),
        ("12.0.0.0/8", None, "{5,6}"),
        ("13.0.0.0/8", 7, None),
        ("13.0.0.0/8", None, "{8,9}"),
        ("14.0.0.0/8", 23456, None),
        ("15.0.0.0/8", 0, None),
        ("16.0.0.0/8", 4294967295, None),
    ]


def test_ranges_without_a_route_are_counted(write: Write) -> None:
    reader = TableReader(write(b"1.0.0.0\t1.0.0.255\t13335\n1.0.1.0\t1.0.3.255\t0\n", "t"))
    assert sum(t.num_rows for t in reader) == 1
    assert reader.tally.skipped == {"range without a route (AS 0)": 1}


_four = st.integers(0, 2**32 - 1)
_six = st.one_of(st.integers(0, 2**128 - 1), st.integers(0, 2**70 - 1), _four)


@given(st.lists(st.one_of(st.tuples(_four, _four), st.tuples(_six, _six)), max_size=6))
@settings(max_examples=examples(150))
def test_ranges_become_the_fewest_prefixes(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[int, int]]
) -> None:
    lines, expected = ["9.9.9.9\t9.9.9.9\t9"], [("9.9.9.9/32", 9)]
    for number, (a, b) in enumerate(pairs, 1):
        size = 4 if max(a, b) < 2**32 else 16
        low, high = (ip_address(x.to_bytes(size, "big")) for x in sorted((a, b)))
        if size == 16 and (int(low) >> 32) <= 0xFFFF:
            continue  # touches ::ffff:0:0/96, where prefixes are IPv4
        lines.append(f"{low}\t{high}\t{number}")
        expected += [(str(n), number) for n in summarize_address_range(low, high)]
    path = tmp_path_factory.mktemp("ranges") / "t"
    path.write_text("\n".join(lines))
    found = [(str(ip_network(prefix)), asn) for prefix, asn in _routes(path)]
    assert found == expected


def test_isolated_broken_lines_are_counted_and_the_rest_kept(write: Write) -> None:
    lines = [f"10.{i}.0.0/16\t{i}" for i in range(40)]
    lines[3], lines[7], lines[9] = "10.3.0.0/33\t3", "10.7.0.0/16\tseven", "10.9.0.0/16"
    reader = TableReader(write("\n".join(lines).encode(), "t"))
    assert sum(t.num_rows for t in reader) == 37
    assert reader.tally.skipped == {"not a prefix": 1, "not an AS number": 2}
    assert reader.tally.records == 40


def test_a_row_with_quotes_that_is_no_csv_counts_as_broken(write: Write) -> None:
    good = "".join(f'"10.{i}.0.0/16",{i}\n' for i in range(1, 9)).encode()
    reader = TableReader(write(b"prefix,asn\n" + good + b'2\r,64500\n"2001:db8::/32",5\n', "t"))
    assert sum(t.num_rows for t in reader) == 9
    assert reader.tally.skipped == {"not a prefix": 1}
    assert reader.tally.first_broken == 10


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no routes in it"),
        (b"# nothing\n", "no routes in it"),
        (b"hello world\n", "line 1: neither an MRT table dump nor a table"),
        (b"# c\n\nname,city\nx,y\n", "line 3: the header names no columns prefix and asn"),
        (b"8.8.8.0\r/20/24 115169,64500\n\n5\n", "line 1: the header is no line of CSV"),
        (b"prefix,asn," + b"x" * (1 << 18) + b"\n", "line 1: the header is no line of CSV"),
        (b"10.0.0.0/8\t1\n" + b"x\n" * 9, "line 2: 9 of 10 lines cannot be read"),
        (b"10.0.0.0/8\t1\n\0\0\0\n", "line 2: neither an MRT"),
        (b"x" * (5 << 20), "a line without an end"),
        (gzip.compress(b"10.0.0.0/8\t1\n" * 9999)[:-9], "gzip data is cut short"),
    ],
)
def test_what_is_no_table_is_refused_in_one_line(
    content: bytes, message: str, write: Write
) -> None:
    path = write(content, "t")
    with pytest.raises(InputError, match=message) as caught:
        _rows(path)
    assert "\n" not in str(caught.value)
    assert caught.value.advice


def test_a_table_of_many_blocks_keeps_its_line_numbers(write: Write) -> None:
    lines = [f"10.{i >> 8 & 255}.{i & 255}.0/24\t{i}" for i in range(400_000)]
    lines[399_990] = "broken"
    reader = TableReader(write("\n".join(lines).encode(), "t"))
    assert sum(t.num_rows for t in reader) == 399_999
    assert reader.tally.first_broken == 399_991


@pytest.mark.parametrize(
    ("name", "rows", "answers"),
    [
        ("dfz-2024-01-29.prefix2as.tsv.gz", 888_378 + 156_779, {"1.1.1.1": 13335}),
        ("routeviews-rv2-20160202-1200.pfx2as.gz", None, {}),
        ("iptoasn-2026-05-27.ranges.tsv.gz", None, {"1.1.1.1": 13335}),
    ],
)
def test_known_addresses_resolve(
    name: str, rows: int | None, answers: dict[str, int], shared: Path
) -> None:
    tables = list(TableReader(shared / "data" / "prefix2as" / name))
    if rows is not None:
        assert sum(t.num_rows for t in tables) == rows
    wanted = {"193.0.0.1": 3333, "8.8.8.8": 15169, **answers}
    if "rv2" not in name:
        wanted["2606:4700:4700::1111"] = 13335
    first: dict[str, int] = {}
    for table in tables:
        for prefix, asn in zip(
            table.column("prefix").to_pylist(), table.column("origin_asn").to_pylist(), strict=True
        ):
            if prefix.startswith(("193.0.", "8.8.", "8.0.0.0", "1.1.1.", "2606:47")):
                first.setdefault(prefix, asn)
    compiled = RouteTable.from_routes(list(first), list(first.values()))
    found = compiled.origin_asn[compiled.match_text(list(wanted))]
    assert dict(zip(wanted, found.tolist(), strict=True)) == wanted
