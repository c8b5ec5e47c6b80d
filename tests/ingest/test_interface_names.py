"""Interface names in options data: who says what of which interface, and what stands in the end."""

from __future__ import annotations

import shutil
import subprocess
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowpeer_ingest import interface_names
from flowpeer_ingest.decoder import Decoder
from flowpeer_ingest.ingest import ingest_capture
from flowpeer_ingest.interface_names import InterfaceNames, join
from flowpeer_ingest.records import decode_records
from flowpeer_ingest.unit_decoder import UnitDecoder
from flowpeer_ingest.wire.dispatch import Wire
from flowpeer_ingest.wire.events import MAX_TEXT, InterfaceLearned, Message
from flowpeer_ingest.wire.options import text

ROUTER = "192.0.2.1"


def learned(payload: bytes) -> list[tuple[int, str | None, str | None]]:
    return [
        (e.interface, e.name, e.description)
        for e in Wire().decode(payload, ROUTER, 1, 1)
        if isinstance(e, InterfaceLearned)
    ]


def padded(word: str, size: int) -> bytes:
    return word.encode().ljust(size, b"\0")


def message(version: int, build: Any, scopes: Any, fields: Any, *rows: dict[int, Any]) -> bytes:
    options = build.options_template(400, scopes, fields, version)
    records = b"".join(build.record([*scopes, *fields], row) for row in rows)
    return bytes(build.message(version, options, build.set_(400, records)))


def test_v9_interface_scope(build: Any) -> None:
    fields = [(82, 16), (83, 32)]
    rows = [{2: 11, 82: padded("et-0/0/1", 16), 83: padded("transit: Arelion AS1299", 32)},
            {2: 12, 82: padded("lo0", 16), 83: bytes(32)}]  # fmt: skip
    assert learned(message(9, build, [(2, 4)], fields, *rows)) == [
        (11, "et-0/0/1", "transit: Arelion AS1299"),
        (12, "lo0", ""),
    ]


@pytest.mark.parametrize("element", [10, 14])
def test_v9_system_scope_with_the_interface_as_a_field(build: Any, element: int) -> None:
    fields = [(element, 2), (83, 32)]
    payload = message(9, build, [(1, 4)], fields, {element: 513, 83: padded("AMS-IX", 32)})
    assert learned(payload) == [(513, None, "AMS-IX")]


@pytest.mark.parametrize("element", [10, 14, 252, 253])
@pytest.mark.parametrize("size", [40, 65535])
def test_ipfix_interface_scopes_and_both_lengths(build: Any, element: int, size: int) -> None:
    one, other = "HundredGigE0/0/0/11", "peer: Über AS64511"
    said = {element: 7, 82: one.encode(), 83: other.encode()}
    if size != 65535:
        said |= {82: padded(one, size), 83: padded(other, size)}
    payload = message(10, build, [(element, 4)], [(82, size), (83, size)], said)
    assert learned(payload) == [(7, one, other)]


def test_without_an_interface_nothing_is_learned(build: Any) -> None:
    row = {10: 0, 14: 0, 82: padded("Null0", 16)}
    assert learned(message(10, build, [(10, 4)], [(14, 4), (82, 16)], row)) == []
    assert learned(message(10, build, [(149, 4)], [(82, 16)], row)) == []
    beyond = {10: (1 << 32).to_bytes(8, "big"), 82: padded("x", 16)}
    assert learned(message(10, build, [(10, 8)], [(82, 16)], beyond)) == []


def test_a_name_in_a_flow_record_is_not_options_data(build: Any) -> None:
    fields = [*build.V4, (82, 16)]
    data = build.record(fields, {10: 7, 82: padded("et-0/0/1", 16)})
    assert learned(build.v9(build.template(256, fields), build.set_(256, data))) == []


@pytest.mark.parametrize(
    ("octets", "said"),
    [
        (b"et-0/0/1\0\0\0", "et-0/0/1"),
        (b"et-0/0/1\0left over", "et-0/0/1"),
        (b"  et 1 \r\n", "et 1"),
        (b"\0\0\0\0", ""),
        (b"", ""),
        (b"a\xffb", "a\ufffdb"),
        (b"\x1b[31mred\x07\x9b", "\ufffd[31mred\ufffd\ufffd"),
        (b"two\nlines", "two\ufffdlines"),
        ("a\u202eb".encode(), "a\ufffdb"),
        (b"x" * 60_000, "x" * MAX_TEXT),
        (("\N{GRINNING FACE}" * 500).encode(), "\N{GRINNING FACE}" * MAX_TEXT),
    ],
)
def test_foreign_text_is_bounded_and_printable(octets: bytes, said: str) -> None:
    assert text(octets) == said


@given(st.binary(max_size=2_000))
def test_any_octets_make_a_text(octets: bytes) -> None:
    said = text(octets)
    assert len(said) <= MAX_TEXT
    assert all(c.isprintable() or c == "\ufffd" for c in said)


def test_a_long_name_of_variable_length_goes_through_the_decoder(build: Any) -> None:
    row = {10: 7, 82: b"n" * 20_000}
    assert learned(message(10, build, [(10, 4)], [(82, 65535)], row)) == [(7, "n" * 200, None)]


def event(interface: int, at_us: int, name: str, exporter: str = ROUTER) -> InterfaceLearned:
    return InterfaceLearned(Message(9, exporter, 1, 0, 0, at_us, 0), interface, name, None)


_TEXTS = st.dictionaries(
    st.sampled_from(["name", "description"]),
    st.tuples(st.integers(0, 3), st.text("ab", max_size=1)),
)


@given(st.lists(_TEXTS, max_size=4))
def test_what_stands_does_not_hang_on_the_order_or_on_how_often(said: list[Any]) -> None:
    want = {
        key: max(texts[key] for texts in said if key in texts)
        for key in ("name", "description")
        if any(key in texts for texts in said)
    }
    for order in permutations([*said, *said[:1]]):
        found: interface_names.Texts = {}
        for texts in order:
            join(found, texts)
        assert found == want


def test_interfaces_of_an_exporter_are_bounded_and_the_rest_counted(build: Any) -> None:
    run = UnitDecoder(Decoder(), lambda *_: None)
    options = build.options_template(400, [(2, 4)], [(82, 8)])
    run.datagram(build.v9(options), ROUTER, 1, 1)
    for first in (1, 4_001, 8_001):
        rows = b"".join(
            build.record([(2, 4), (82, 8)], {2: i, 82: padded(str(i), 8)})
            for i in range(first, first + 4_000)
        )
        run.datagram(build.v9(build.set_(400, rows)), ROUTER, 1, 2)
    assert list(run.names.texts[ROUTER]) == list(range(1, interface_names.MAX_INTERFACES + 1))
    beyond = 12_000 - interface_names.MAX_INTERFACES
    assert run.malformed == {"too many interface names": beyond}


def test_forged_exporters_do_not_take_the_room_of_configured_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(interface_names, "MAX_NAMES", 10)
    kept = InterfaceNames(frozenset({ROUTER}))
    forged = [kept.learn(event(1, 1, "x", f"203.0.113.{i}")) for i in range(50)]
    assert forged == [True] * 10 + [False] * 40
    assert len(kept.texts) == 10, "who is refused costs nothing"
    assert all(kept.learn(event(i, 1, "mine")) for i in range(1, 30))
    assert kept.learn(event(1, 2, "again", "203.0.113.1")), "no new one"
    assert kept.texts["203.0.113.1"] == {1: {"name": (2, "again")}}


def test_the_decode_view_shows_the_texts(build: Any, tmp_path: Path) -> None:
    payload = message(9, build, [(2, 4)], [(82, 8)], {2: 11, 82: padded("et-1", 8)})
    (row,) = decode_records(build.capture(tmp_path / "a.pcap", payload), options=True)
    assert row["values"] == {"scope_interface": 11, "interfaceName": "et-1"}


@pytest.mark.parametrize(
    ("name", "port", "interfaces"),
    [("cisco-iosxr-ipfix-options-reassign", 9991, 15), ("cisco-iosxr-asr9k-v9-256", 0, 19)],
)
def test_tshark_reads_the_same_last_names(
    shared: Path, name: str, port: int, interfaces: int
) -> None:
    tshark = shutil.which("tshark")
    if tshark is None:
        pytest.skip("tshark is not installed")
    path = shared / "corpus" / f"{name}.pcap"
    if not port:
        ports = subprocess.run([tshark, "-r", path, "-T", "fields", "-e", "udp.dstport"],
                               capture_output=True, text=True, check=True)  # fmt: skip
        port = int(ports.stdout.split()[0])
    shown = subprocess.run(
        [tshark, "-r", path, "-d", f"udp.port=={port},cflow", "-T", "fields", "-E", "occurrence=a",
         "-E", "aggregator=;", "-e", "cflow.inputint", "-e", "cflow.if_name",
         "-e", "cflow.if_descr"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    want: dict[int, dict[str, str]] = {}
    for line in shown.stdout.splitlines():
        indexes, *texts = (cell.split(";") if cell else [] for cell in line.split("\t"))
        for key, said in zip(("name", "description"), texts, strict=True):
            # A datagram with a text for each interface in it: flow records have none.
            for index, word in zip(indexes, said, strict=False):
                want.setdefault(int(index), {})[key] = word.rstrip("\0")
    made = ingest_capture(path, decoder=Decoder(), write=lambda *_: None)
    (found,) = made.interfaces.values()
    assert {i: {k: said for k, (_, said) in t.items()} for i, t in found.items()} == want
    assert len(want) == interfaces
