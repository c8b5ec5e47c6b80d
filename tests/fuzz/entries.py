"""Coverage-guided fuzzing of the entries that are written in Python.

`python tests/fuzz/entries.py --seconds 60 [NAME…]` mutates a corpus of each entry, keeps what
reaches new lines of ours, and stops at the first input that raises anything but the entry's own
errors. The input is left beside the corpus (`--keep DIR`) and belongs into a test.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from flowpeer.configuration import load
from flowpeer.errors import FlowpeerError
from flowpeer.rules import fault
from flowpeer_ingest import spool
from flowpeer_ingest.decoder import Decoder
from flowpeer_ingest.errors import IngestError
from flowpeer_ingest.imports.ingest import ingest_export, read_mapping
from flowpeer_ingest.ingest import ingest_capture
from flowpeer_ingest.web import Answer, answer

SLOW_S = 2.0
"""An input of some kB that takes longer, under tracing on a busy machine, is a find."""
MAX_OCTETS = 1 << 14
OURS = ("/flowpeer/", "/flowpeer_ingest/", "/flowpeer_core/")
WORDS = (
    b"\x00" * 4, b"\xff" * 4, b"\x80" + bytes(7), b"\x7f" + b"\xff" * 7, b"9223372036854775808",
    b"-1", b"1e400", b"NaN", b"\r", b"\n", b'"', b"[", b"{", b",", b"\xef\xbb\xbf", b"\x1f\x8b",
    b"2026-09-16 01:02:03", b"192.0.2.1", b"::1",
)  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """`call` takes a file; `seeds` are where mutation begins."""

    call: Callable[[Path], object]
    seeds: tuple[bytes, ...]


def _spool(path: Path) -> None:
    for block in spool.read(path):
        block.datagrams()


def _text(path: Path) -> str:
    return path.read_bytes().decode(errors="replace")


_PCAP = bytes.fromhex("d4c3b2a1020004000000000000000000ffff000001000000")
_CSV = b"exporter_ip,received_at,src_addr,dst_addr,bytes,packets,tcp_flags,src_mac,protocol\n"
_ROW = b"192.0.2.1,2026-09-16 01:02:03,198.18.0.1,8.8.8.8,100,1,.AP.S.,aa:bb:cc:dd:ee:ff,TCP\n"
_JSON = (
    b'{"type":"FLOW","sampler_address":"192.0.2.1","time_received_ns":1789520523000000000,'
    b'"src_addr":"1.1.1.1","dst_addr":"2.2.2.2","bytes":100,"packets":1,"proto":"TCP"}\n'
)
_TOML = (
    b'[network]\nasn = 64500\nname = "x"\nprefixes = ["198.18.0.0/15"]\n[lake]\npath = "lake"\n'
    b'keep_flows = "14d"\n[collector]\nlisten = ["0.0.0.0:2055"]\n[[metros]]\nid = "ams"\n'
    b'name = "A"\n'
    b'[[exporters]]\nid = "e"\nmetro = "ams"\naddresses = ["192.0.2.1"]\n'
    b"[[rules]]\nname = '^(et|xe)-(?P<asn>\\d+)'\nrole = \"ix\"\n"
)
ENTRIES: dict[str, Entry] = {
    "capture": Entry(
        lambda path: ingest_capture(path, decoder=Decoder(), write=lambda *_: None),
        (_PCAP, _PCAP + bytes(16) + bytes(60), bytes.fromhex("0a0d0d0a1c0000004d3c2b1a01000000")),
    ),
    "export": Entry(
        lambda path: ingest_export(path, write=lambda *_: None),
        (_CSV + _ROW * 2, _JSON * 2, b"[" + _JSON + b"," + _JSON + b"]"),
    ),
    "mapping": Entry(read_mapping, (b'[columns]\nsrc_addr = "A"\n[constants]\nbytes = 1\n',)),
    "settings": Entry(load, (_TOML,)),
    "pattern": Entry(lambda path: fault(_text(path)[:500]), (rb"^(\w+\s?)+:.*AS(?P<asn>\d+)",)),
    "spool": Entry(_spool, (bytes(4096),)),
    "http": Entry(
        lambda path: answer(path.read_bytes(), {"/metrics": lambda: Answer("x")}),
        (b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",),
    ),
}
EXPECTED = (FlowpeerError, IngestError)


class Lines:
    """Lines of our code that were reached, by `sys.settrace`; a code seen whole costs no more."""

    def __init__(self) -> None:
        self.seen: set[tuple[CodeType, int]] = set()
        self.whole: set[CodeType] = set()
        self.left: dict[CodeType, set[int]] = {}

    def trace(self, frame: FrameType, event: str, _: Any) -> Any:
        """What the interpreter calls for each call, and then for each line."""
        code = frame.f_code
        if event == "call":
            if code in self.whole or not any(part in code.co_filename for part in OURS):
                return None
            if code not in self.left:
                self.left[code] = {line for _, _, line in code.co_lines() if line is not None}
            return self.trace
        line = frame.f_lineno
        if (code, line) not in self.seen:
            self.seen.add((code, line))
            self.left[code].discard(line)
            if not self.left[code]:
                self.whole.add(code)
        return self.trace


def mutated(octets: bytes, dice: random.Random, corpus: list[bytes]) -> bytes:
    """A variation: some octets changed, cut out, doubled, or taken from another input."""
    out = bytearray(octets)
    for _ in range(1 << dice.randrange(4)):
        at = dice.randrange(len(out) + 1)
        kind = dice.randrange(6)
        if kind == 0 and out:
            out[at % len(out)] = dice.randrange(256)
        elif kind == 1 and out:
            out[at % len(out)] ^= 1 << dice.randrange(8)
        elif kind == 2:
            del out[at : at + dice.randrange(1, 16)]
        elif kind == 3:
            out[at:at] = dice.choice(WORDS)
        elif kind == 4:
            out[at:at] = out[at : at + dice.randrange(1, 32)]
        else:
            other = dice.choice(corpus)
            start = dice.randrange(len(other) + 1)
            out[at:at] = other[start : start + dice.randrange(1, 64)]
    return bytes(out[:MAX_OCTETS])


def fuzz(
    name: str, *, seconds: float, executions: int = 1 << 62, seed: int = 0, keep: Path | None = None
) -> tuple[int, int, str]:
    """Fuzz one entry: (executions, lines reached, the traceback of a find or "")."""
    entry, dice, lines = ENTRIES[name], random.Random(seed), Lines()
    corpus = list(entry.seeds)
    queue = list(entry.seeds)
    end = time.monotonic() + seconds
    done = 0
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        path = Path(folder) / "input"
        while done < executions and time.monotonic() < end:
            octets = queue.pop() if queue else mutated(dice.choice(corpus), dice, corpus)
            path.write_bytes(octets)
            before, began = len(lines.seen), time.process_time()
            sys.settrace(lines.trace)
            try:
                entry.call(path)
            except EXPECTED:
                pass
            except BaseException as error:  # engines panic past Exception
                sys.settrace(None)
                if isinstance(error, KeyboardInterrupt):
                    raise
                return done, len(lines.seen), _found(name, octets, keep, traceback.format_exc())
            finally:
                sys.settrace(None)
            done += 1
            if time.process_time() - began > SLOW_S:
                return done, len(lines.seen), _found(name, octets, keep, "takes too long")
            if len(lines.seen) > before:
                corpus.append(octets)
    return done, len(lines.seen), ""


def _found(name: str, octets: bytes, keep: Path | None, text: str) -> str:
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        (keep / f"{name}-{hash(octets) & 0xFFFFFFFF:08x}").write_bytes(octets)
    return f"{octets[:200]!r}\n{text}"


def main() -> int:
    """Fuzz the entries named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*ENTRIES, []], default=[])
    parser.add_argument("--seconds", type=float, default=60, help="for each entry")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--keep", type=Path, default=Path("build/fuzz"))
    words = parser.parse_args()
    failed = 0
    for name in words.names or ENTRIES:
        done, reached, found = fuzz(name, seconds=words.seconds, seed=words.seed, keep=words.keep)
        print(f"{name}: {done:,} executions, {reached:,} lines{', FOUND' if found else ''}")
        if found:
            print(found)
            failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main())
