"""The compiled core under coverage-guided fuzzing and sanitizers.

    python tests/fuzz/fuzz.py --seconds 20           each fuzz target for so long (600 by hand)
    python tests/fuzz/fuzz.py --tests                the tests of the core on a library that was
                                                     built with ASan and UBSan

A target is one C file here, linked with all of the core under libFuzzer, ASan and UBSan (clang).
Its seeds are datagrams of the reference captures where those are there (FLOWPEER_SHARED), and
columns of runs and of noise. What is found new is kept in --corpus, by default nowhere.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import random
import shutil
import subprocess
import sys
import tempfile
from itertools import islice
from pathlib import Path

from flowpeer_core.native import HERE, LIBRARY
from flowpeer_core.native.table import KEYS
from flowpeer_ingest.captures import Capture
from flowpeer_ingest.decompress import open_unpacked

FOLDER = Path(__file__).parent
REPOSITORY = FOLDER.parents[1]
SANITIZERS = "-fsanitize=address,undefined"
TESTS = (
    "tests/ingest/test_walk.py",
    "tests/ingest/test_samples.py",
    "tests/ingest/test_columns.py",
    "tests/core/test_facts.py",
    "tests/core/test_native_parquet.py",
    "tests/core/test_addresses.py",
    "tests/flowpeer/rollup/test_compiled.py",
    "tests/flowpeer/rollup/test_memory.py",
    "tests/reports/test_kernels.py",
)
_UNKNOWN = len(KEYS)
_FIELDS = (
    (("src4", 4), ("dst4", 4), ("next_hop4", 4), ("input_if", 2), ("output_if", 2),
     ("packets_delta", 4), ("bytes_delta", 4), ("start_uptime", 4), ("end_uptime", 4),
     ("src_port", 2), ("dst_port", 2), ("", 1), ("tcp_flags", 1), ("protocol", 1), ("tos", 1),
     ("src_as", 2), ("dst_as", 2), ("src_mask4", 1), ("dst_mask4", 1), ("", 2)),
    (("src6", 255), ("dst6", 16), ("bytes_delta", 8), ("", 255), ("reverse_bytes_delta", 8),
     ("start_ntp", 8), ("sampling_packet_interval", 4), ("sampling_packet_space", 4)),
)  # fmt: skip


def datagram_seeds() -> list[bytes]:
    """The first layout is NetFlow v5's; captured datagrams use templates of ours."""
    head = bytes([len(_FIELDS)])
    for fields in _FIELDS:
        head += bytes([len(fields)])
        for key, length in fields:
            head += bytes([KEYS.index(key) if key else _UNKNOWN, length])
    seeds = [head + b"\0\x48" + b"\0\5\0\1" + bytes(68)]
    shared = Path(os.environ.get("FLOWPEER_SHARED", REPOSITORY.parent / "shared"))
    for path in sorted((shared / "corpus").rglob("*.pcap")):
        with open_unpacked(path) as stream:
            found = [d.payload for d in islice(Capture(stream, str(path)).datagrams(), 3)]
        seeds.append(head + b"".join(len(p).to_bytes(2, "big") + p for p in found))
    return seeds


def page_seeds() -> list[bytes]:
    """Every type in every encoding, with and without nulls."""
    rng = random.Random(1)
    return [
        bytes([type_, encoding, kind, kind, 1, 9]) + octets
        for type_ in range(5)
        for encoding in range(4)
        for kind in (0, 7)
        for octets in (bytes(800), rng.randbytes(600))
    ]


def facts_seeds() -> list[bytes]:
    """Columns of some width, some of them with nulls; exporters are small numbers."""
    rng = random.Random(2)
    return [
        bytes([8, from_, 40, 200]) + bytes(rng.randrange(16) for _ in range(14)) + octets
        for from_ in (0, 3)
        for octets in (bytes(800), bytes(rng.randrange(3) for _ in range(4_000)))
    ]


def drill_seeds() -> list[bytes]:
    """Each kernel of drills, with small numbers and with noise."""
    rng = random.Random(2)
    return [
        bytes([kernel]) + rng.randbytes(8) + bytes(rng.randrange(most) for _ in range(600))
        for kernel in range(3)
        for most in (8, 200, 256)
    ]


SEEDS = {
    "datagrams": datagram_seeds,
    "page": page_seeds,
    "facts": facts_seeds,
    "drill": drill_seeds,
}


def fuzz(target: str, seconds: int, seed: int, corpus: Path, folder: Path) -> None:
    """Build a target and run it; raises CalledProcessError for what it found."""
    program = folder / target
    subprocess.run(
        ["clang", "-g", "-O1", "-std=c11", "-fsanitize=fuzzer,address,undefined",
         "-fno-sanitize-recover=all", "-DFLOWPEER_SOURCES=0u", f"-I{HERE / 'src'}", "-o", program,
         FOLDER / f"{target}.c", *sorted((HERE / "src").glob("*.c"))],
        check=True,
    )  # fmt: skip
    inputs = corpus / target
    inputs.mkdir(parents=True, exist_ok=True)
    for i, octets in enumerate(SEEDS[target]()):
        (inputs / f"seed-{i:03d}").write_bytes(octets)
    subprocess.run(
        [program, f"-max_total_time={seconds}", "-max_len=16384", "-rss_limit_mb=2048",
         "-timeout=10", f"-seed={seed}", "-print_final_stats=1", "-verbosity=0",
         f"-artifact_prefix={corpus}/", inputs],
        check=True,
    )  # fmt: skip


def has_fuzzer() -> bool:
    """Can programs be linked with libFuzzer here?"""
    if not shutil.which("clang"):
        return False
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "empty.c"
        source.write_text("int LLVMFuzzerTestOneInput(const char *d, long n) { return 0; }\n")
        command = ["clang", "-fsanitize=fuzzer,address,undefined", source, "-o", f"{folder}/empty"]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0


def tests() -> int:
    """Run the tests of the core on a library with sanitizers, then build the usual one again."""
    spec = importlib.util.spec_from_file_location("hatch_build", REPOSITORY / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    hook = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hook)
    asan = subprocess.run(
        [*hook.compiler(), "-print-file-name=libasan.so"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    if not Path(asan).is_absolute():
        print("no libasan beside the compiler: the tests under sanitizers are left out")
        return 0
    hook.build(LIBRARY, (SANITIZERS, "-fno-sanitize-recover=all", "-O1", "-g"))
    try:
        environment = {
            **os.environ, "LD_PRELOAD": asan,
            "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1",
        }  # fmt: skip
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS],
            cwd=REPOSITORY, env=environment, check=False,
        ).returncode  # fmt: skip
    finally:
        hook.build()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1, help="0: another each time")
    parser.add_argument("--tests", action="store_true")
    parser.add_argument("--corpus", type=Path)
    arguments = parser.parse_args()
    if arguments.tests and (failed := tests()):
        return failed
    if arguments.seconds and not has_fuzzer():
        print("no clang with libFuzzer (libclang-rt-dev): the fuzz targets are left out")
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        corpus = arguments.corpus or Path(temporary) / "corpus"
        for target in SEEDS if arguments.seconds else ():
            print(f"{target}: {arguments.seconds} s", flush=True)
            try:
                fuzz(target, arguments.seconds, arguments.seed, corpus, Path(temporary))
            except subprocess.CalledProcessError as error:
                kept = Path(tempfile.mkdtemp(prefix="flowpeer-fuzz-"))
                for found in corpus.glob("crash-*"):
                    shutil.copy(found, kept)
                print(f"error: {target} ended with {error.returncode}; inputs are in {kept}")
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
