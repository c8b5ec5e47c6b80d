"""The Python face says of the shared object what its header says."""

from __future__ import annotations

import ctypes
import re

import pytest

from flowpeer_core import native
from flowpeer_core.native import table

TYPES = {
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


def ctype(text: str) -> object:
    """The ctypes type of a C declaration without its name."""
    return ctypes.c_void_p if "*" in text else TYPES[text.replace("const", "").strip()]


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
            length = int(size) if size.isdigit() else getattr(table, size[9:]) if size else 0
            members.append((member, one * length if length else one))
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
        for value, name in enumerate(names.split(",")):
            assert getattr(table, name.strip().removeprefix("FLOWPEER_")) == value
    for name, number in re.findall(r"#define FLOWPEER_(\w+) \(?(-?\d+)\)?", HEADER):
        assert getattr(table, name) == int(number)


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
