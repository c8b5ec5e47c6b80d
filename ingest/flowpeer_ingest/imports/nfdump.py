"""nfcapd's files, read by the `nfdump` program that belongs to them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

from flowpeer_ingest.errors import IngestError

MAGICS = (b"\x0c\xa5", b"\xa5\x0c")
"""The first octets of an nfcapd file, little- and big-endian."""
_REFUSED = re.compile("error|Open file")
_SHOWN = 200


@contextmanager
def records(path: Path) -> Iterator[BufferedReader]:
    """The file's records as nfdump's JSON.

    JSON, since its CSV has times in whole seconds and does not tell scaled bytes. Raises
    IngestError where nfdump is not installed or refuses the file.
    """
    program = shutil.which("nfdump")
    if program is None:
        raise IngestError(
            "an nfcapd file, and nfdump is not installed",
            path=str(path),
            advice="install nfdump (Debian: apt install nfdump), "
            "or give the output of `nfdump -r FILE -o json`",
        )
    with tempfile.TemporaryFile() as messages:
        process = subprocess.Popen(  # noqa: S603  # the path is absolute: never an option
            [program, "-r", str(path.absolute()), "-o", "json"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=messages,
            env={**os.environ, "TZ": "UTC", "LC_ALL": "C"},
        )
        assert isinstance(process.stdout, BufferedReader)
        try:
            with process.stdout as stream:
                yield stream
        except BaseException:
            process.kill()
            process.wait()
            raise
        status = process.wait()
        messages.seek(0)
        message = messages.read(4_096).decode(errors="replace").strip()
        # It ends with status 0 where it cannot open a file.
        if status or _REFUSED.search(message):
            raise IngestError(
                f"nfdump refuses it: {message.splitlines()[0][:_SHOWN] if message else status}",
                path=str(path),
                advice="see `nfdump -r FILE`",
            )
