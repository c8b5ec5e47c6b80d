"""The Python face says of the shared object what its header says."""

from __future__ import annotations

import ctypes
import re
from typing import Any

import pytest

from flowpeer_core import native
from flowpeer_core.native import table
from flowpeer_ingest.schema import FLOWS
from flowpeer_ingest.wire.elements import BY_NUMBER, ELEMENTS, REVERSIBLE
from flowpeer_ingest.wire.events import FORMATS

TYPES = {
    "double": ctypes.c_double,
    "int32_t": ctypes.c_int32,
    "int64_t": ctypes.c_int64,
    "uint8_t": ctypes.c_uint8,
    "uint16_t": ctypes.c_uint16,
    "uint32_t": ctypes.c_uint32,
    "uint64_t": ctypes.c_uint64,
}
HEADER = re.sub(
    r"/\*.*?\*/", " ", (native.HERE / "src" / "flowpeer.h").read_text("utf-8"), flags=re.DOTALL
)


def ctype(text: str) -> Any:
    """The ctypes type of a C declaration without its name."""
    name = text.replace("const", "").strip()
    return ctypes.c_void_p if "*" in text else TYPES.get(name) or table.STRUCTURES[name]


def number(text: str) -> int:
    """A number, or what the table has under a constant's name: tuples count their members."""
    if text.isdigit():
        return int(text)
    found: Any = getattr(table, text.removeprefix("FLOWPEER_"))
    return len(found) if isinstance(found, tuple) else int(found)


def test_every_prototype_is_in_the_table_with_its_types() -> None:
    found = {}
    for result, name, arguments in re.findall(r"FLOWPEER_API\s+(\w+)\s+(\w+)\(([^)]*)\);", HEADER):
        types = []
        for argument in arguments.split(","):
            if argument.strip() != "void":
                types.append(ctype(re.sub(r"\w+\s*$", "", argument.strip())))
        found[name] = (TYPES[result], tuple(types))
    assert found == table.FUNCTIONS


def test_every_structure_is_in_the_table_with_its_members() -> None:
    found = {}
    for body, name in re.findall(r"typedef struct \{(.*?)\} (\w+);", HEADER, flags=re.DOTALL):
        members = []
        for type_, star, member, size in re.findall(
            r"((?:const )?\w+) (\*?)(\w+)(?:\[(\w+)\])?;", body
        ):
            one = ctype(type_ + star)
            members.append((member, one * number(size) if size else one))
        found[name] = members
    known = {name: list(s._fields_) for name, s in table.STRUCTURES.items()}
    assert {n: [m for m, _ in ms] for n, ms in found.items()} == {
        n: [m for m, *_ in ms] for n, ms in known.items()
    }
    for name, members in found.items():
        for (_, one), (_, other, *_) in zip(members, known[name], strict=True):
            assert ctypes.sizeof(one) == ctypes.sizeof(other)
            assert getattr(one, "_type_", one) == getattr(other, "_type_", other)


def test_constants_are_the_headers() -> None:
    for names in re.findall(r"enum \{(.*?)\}", HEADER, flags=re.DOTALL):
        for value, name in enumerate(re.findall(r"\w+", names)):
            kind, _, rest = name.partition("_")
            if kind in ("KEY", "COLUMN", "FORMAT"):
                assert getattr(table, kind + "S")[value] == rest.lower()
            else:
                assert number(name) == value
    for name, value in re.findall(r"#define (FLOWPEER_\w+) \(?(-?\d+)\)?", HEADER):
        assert number(name) == int(value)


def test_the_columns_are_those_of_the_schema_and_the_keys_those_of_the_wire() -> None:
    assert list(table.COLUMNS) == [c.name for c in FLOWS]
    keys = {e.key for e in ELEMENTS}
    assert set(table.KEYS) == keys | {"reverse_" + BY_NUMBER[n].key for n in REVERSIBLE}
    assert set(table.FORMATS) == set(FORMATS.values())


def test_a_library_of_other_sources_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    if not native.LIBRARY.exists():
        pytest.skip("built without the compiled core")
    monkeypatch.setattr(native, "sources_crc", lambda: 1)
    with pytest.raises(native.StaleError, match=r"built from other sources: .*hatch_build\.py"):
        native.load(native.LIBRARY)


def test_without_the_library_it_says_once_that_it_is_slow(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("FLOWPEER_PURE", "1")
    native.library.cache_clear()
    try:
        assert native.library() is None
        assert native.library() is None
    finally:
        native.library.cache_clear()
    (said,) = [r.message for r in caplog.records]
    assert said.startswith("flowpeer runs without its compiled core (FLOWPEER_PURE=1)")
    assert "slower" in said
