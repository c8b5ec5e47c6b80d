"""Builds the compiled core: a hook for hatchling, and a command for a checkout.

    python hatch_build.py               build core/flowpeer_core/native/libflowpeer.so in place
    python hatch_build.py --if-stale    the same, if it is there and of other sources

One shared object with a plain C interface and no Python in it, so that one wheel serves every
Python: its tag is py3-none-<platform>. `FLOWPEER_PURE=1` builds a wheel without it, for tests.
"""

from __future__ import annotations

import ctypes
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

NATIVE = Path(__file__).resolve().parent / "core" / "flowpeer_core" / "native"
LIBRARY = "libflowpeer.so"
FLAGS = ("-O3", "-std=c11", "-fPIC", "-shared", "-fvisibility=hidden", "-fno-math-errno",
         "-ffp-contract=off")  # fmt: skip
"""One baseline binary. No contraction: a rounding more or less would show in a variance."""


def sources_crc(native: Path = NATIVE) -> int:
    """CRC-32 of all sources: what the library says it was built from (`flowpeer_abi`)."""
    crc = 0
    for path in sorted((native / "src").glob("*.[ch]")):
        crc = zlib.crc32(path.name.encode() + b"\0" + path.read_bytes(), crc)
    return crc


def compiler() -> list[str]:
    """The C compiler: $CC, else cc, gcc or clang. Raises SystemExit with one line without one."""
    if said := os.environ.get("CC"):
        return shlex.split(said)
    for name in ("cc", "gcc", "clang"):
        if found := shutil.which(name):
            return [found]
    raise SystemExit(
        "error: flowpeer needs a C compiler (apt-get install gcc), or FLOWPEER_PURE=1 for a "
        "build without its compiled core, which is many times slower"
    )


def build(target: Path = NATIVE / LIBRARY, extra: Sequence[str] = ()) -> Path:
    """Compile all sources into `target`, which appears atomically."""
    temporary = target.with_name(f".{os.getpid()}-{target.name}")
    command = [
        *compiler(), *FLAGS, *extra, f"-DFLOWPEER_SOURCES={sources_crc()}u",
        "-o", str(temporary), *map(str, sorted((NATIVE / "src").glob("*.c"))),
    ]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise SystemExit(
            f"error: {command[0]}, the C compiler, does not run: {error.strerror}"
        ) from None
    if done.returncode:
        temporary.unlink(missing_ok=True)
        raise SystemExit(f"error: {shlex.join(command[:1])} failed:\n{done.stderr}")
    temporary.replace(target)
    return target


def build_if_stale() -> None:
    """Compile again where the library in place says that it is of other sources. For a process
    of its own: a library that is loaded stays."""
    if not (NATIVE / LIBRARY).exists():
        return
    found = ctypes.CDLL(str(NATIVE / LIBRARY))
    found.flowpeer_abi.restype = ctypes.c_uint32
    if found.flowpeer_abi() != sources_crc():
        build()


try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # as a command it needs nothing
    pass
else:

    class NativeHook(BuildHookInterface[Any]):
        """Compiles the core into every wheel, and in place for an editable install."""

        def initialize(self, version: str, build_data: dict[str, Any]) -> None:
            (NATIVE / LIBRARY).unlink(missing_ok=True)
            if os.environ.get("FLOWPEER_PURE") == "1":
                return
            build()
            platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{platform}"
            build_data["artifacts"].append(f"core/flowpeer_core/native/{LIBRARY}")


if __name__ == "__main__":
    if "--if-stale" in sys.argv:
        build_if_stale()
    else:
        print(build(), file=sys.stderr)
