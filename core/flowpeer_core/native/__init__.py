"""The compiled core: C kernels in one shared object, loaded by ctypes (see README.md beside)."""

from __future__ import annotations

import ctypes
import logging
import os
import zlib
from functools import lru_cache
from pathlib import Path

from flowpeer_core.native.table import FUNCTIONS

HERE = Path(__file__).parent
LIBRARY = HERE / "libflowpeer.so"


class StaleError(RuntimeError):
    """The shared object was built from other sources than those beside it."""


def sources_crc() -> int:
    """CRC-32 of the sources beside this module, as the build hook computes it."""
    crc = 0
    for path in sorted((HERE / "src").glob("*.[ch]")):
        crc = zlib.crc32(path.name.encode() + b"\0" + path.read_bytes(), crc)
    return crc


@lru_cache(maxsize=1)
def library() -> ctypes.CDLL | None:
    """The kernels, or None where the plain-Python paths are to be used, which is stated once.

    None: the package was built without them, or the environment says `FLOWPEER_PURE=1`. Calls
    release the interpreter lock. Raises StaleError for a library of other sources.
    """
    if os.environ.get("FLOWPEER_PURE") == "1":
        why = "FLOWPEER_PURE=1"
    elif not LIBRARY.exists():
        why = f"no {LIBRARY.name} was built"
    else:
        return load(LIBRARY)
    logging.getLogger("flowpeer").warning(
        "flowpeer runs without its compiled core (%s): decoding is many times slower",
        why,
    )
    return None


def load(path: Path) -> ctypes.CDLL:
    """The library at `path`, its functions typed by `table.FUNCTIONS`."""
    found = ctypes.CDLL(str(path))
    found.flowpeer_abi.restype = ctypes.c_uint32
    if found.flowpeer_abi() != sources_crc():
        raise StaleError(
            f"{path} was built from other sources: install flowpeer again, "
            "or in a checkout run `python hatch_build.py`"
        )
    for name, (result, arguments) in FUNCTIONS.items():
        function = getattr(found, name)
        function.restype = result
        function.argtypes = arguments
    return found
