"""Fifty readers of the explorer at once, for a minute, on loopback: no error, memory flat.

    python bench/explorer.py [--readers 50] [--seconds 60] [--folder DEMO]
    python bench/explorer.py --pages DEMO | --quarter DIR [SECTION…]

A server of its own over a finished demo (made first where no folder is given). Every table is asked
for once, so that what is measured is reading. Then each reader goes through pages, sections, tables
for programs and statements that nobody has asked before, without pause. Printed: requests a second,
median and 99th percentile by kind, and the server's resident memory after a third of the time and
at the end. It fails where a request failed, or where memory grew by more than the limit.

With `--pages` or `--quarter` one reader asks instead, of a finished demo, or of a quarter of nine
metros that is made first where the folder has none (`explorer_quarter`; 10 GB): how long each page
takes until its first paint, at first and again, and then each of its sections, at first. All
sections of a page are asked for side by side by a browser, and here one after the other.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import random
import re
import select
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

GROWTH_MIB = 64
PAGES = ["/", "/metro/nyc", "/network/502068", "/provider/500101", "/sql", "/search",
         "/what-if?metro=nyc&pick=nyc:502068"]  # fmt: skip
SECTIONS = [f"/section/overview/{name}?page=/&direction={way}"
            for name in ("traffic_over_time", "provider_load", "bills", "changes", "freshness")
            for way in ("both", "in", "out")]  # fmt: skip
SECTIONS += [f"/section/metro/{name}?page=/metro/{metro}&metro={metro}"
             for name in ("candidates", "imbalance", "moves", "exchanges", "drill")
             for metro in ("nyc", "ams", "fra")]  # fmt: skip
TABLES = ["/api/candidates.json?metro=nyc", "/api/bills.csv", "/api/drill.json",
          "/api/openapi.json", "/api/traffic_over_time.json?metro=ams"]  # fmt: skip
KINDS = {"page": PAGES, "section": SECTIONS, "table": TABLES}


@contextmanager
def server(folder: Path) -> Iterator[tuple[str, int]]:
    """Address and process id."""
    words = [sys.executable, "-m", "flowpeer", "serve", "--listen", "127.0.0.1:0"]
    with subprocess.Popen(words, cwd=folder, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            assert select.select([process.stderr], [], [], 60)[0], "the server says nothing"
            told = re.search(r"http://[\d.:]+", process.stderr.readline())
            assert told is not None
            yield told[0], process.pid
        finally:
            process.terminate()


def resident_mib(pid: int) -> float:
    text = Path(f"/proc/{pid}/status").read_text("utf-8")
    found = re.search(r"VmRSS:\s+(\d+) kB", text)
    assert found is not None
    return int(found[1]) / 1024


async def read(
    client: httpx.AsyncClient, until: float, numbers: Iterator[int],
    taken: dict[str, list[float]], failed: list[str],
) -> None:  # fmt: skip
    choose = random.Random(next(numbers))
    while time.monotonic() < until:
        kind = choose.choices([*KINDS, "statement"], [4, 10, 4, 1])[0]
        url = (
            f"/api/sql.json?q=SELECT {next(numbers)} AS n, count(*) AS rows FROM traffic"
            if kind == "statement" else choose.choice(KINDS[kind])
        )  # fmt: skip
        began = time.perf_counter()
        try:
            response = await client.get(url)
            if response.status_code != 200:
                failed.append(f"{response.status_code} {url} {response.text[:200]}")
        except httpx.HTTPError as error:
            failed.append(f"{error!r} {url}")
        taken[kind].append(time.perf_counter() - began)


async def run(address: str, pid: int, readers: int, seconds: float) -> bool:
    limits = httpx.Limits(max_connections=readers, max_keepalive_connections=readers)
    async with httpx.AsyncClient(base_url=address, timeout=120, limits=limits) as client:
        for url in itertools.chain(*KINDS.values()):
            response = await client.get(url)
            assert response.status_code == 200, (url, response.text[:300])
        taken: dict[str, list[float]] = defaultdict(list)
        failed: list[str] = []
        numbers = itertools.count(1)
        began = time.monotonic()
        work = [
            asyncio.ensure_future(read(client, began + seconds, numbers, taken, failed))
            for _ in range(readers)
        ]
        await asyncio.sleep(seconds / 3)
        early = resident_mib(pid)
        await asyncio.gather(*work)
        spent = time.monotonic() - began
    late = resident_mib(pid)
    every = sum(map(len, taken.values()))
    load = os.getloadavg()[0]
    print(f"{readers} readers, {spent:.0f} s, load {load:.1f} on {os.cpu_count()} cores: "
          f"{every:,} requests, {every / spent:,.0f} a second, {len(failed)} failed")  # fmt: skip
    for kind, times in sorted(taken.items()):
        times.sort()
        middle, high = times[len(times) // 2], times[int(len(times) * 0.99)]
        print(
            f"  {kind:9} {len(times):7,}  median {middle * 1e3:7.0f} ms  p99 {high * 1e3:7.0f} ms"
        )
    print(f"  memory {early:.0f} MiB after a third, {late:.0f} MiB at the end")
    for what in failed[:5]:
        print(f"  failed: {what}")
    return not failed and late - early <= GROWTH_MIB


def pages(folder: Path, metro: str, asn: int, provider: int, names: list[str]) -> None:
    """Print how long pages and sections take."""
    from flowpeer.web.pages import SECTIONS

    places = {
        "overview": ("/", ""), "metro": (f"/metro/{metro}", f"&metro={metro}"),
        "network": (f"/network/{asn}", f"&asn={asn}"),
        "provider": (f"/provider/{provider}", f"&provider={provider}"),
        "what-if": ("/what-if", f"&metro={metro}&pick={metro}:{asn}"),
    }  # fmt: skip

    def timed(client: httpx.Client, url: str) -> str:
        began = time.perf_counter()
        response = client.get(url)
        spent = time.perf_counter() - began
        return f"{spent:8.2f} s" + ("" if response.is_success else f" ({response.status_code})")

    with server(folder) as (address, _), httpx.Client(base_url=address, timeout=3600) as client:
        print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
        for url in [*(path for path, _ in places.values()), "/sql", "/search", "/search?find=101"]:
            print(f"{url:40} {timed(client, url)} {timed(client, url)}", flush=True)
        for page, sections in SECTIONS.items():
            path, more = places[page]
            for name in (s.table for s in sections if not names or s.table in names):
                url = f"/section/{page}/{name}?page={path}{more}"
                print(f"{page:10} {name:29} {timed(client, url)}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--readers", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--folder", type=Path, help="a finished demo")
    parser.add_argument("--pages", type=Path, help="a finished demo: how long pages take")
    parser.add_argument("--quarter", type=Path, help="the same of a quarter, in this folder")
    parser.add_argument("sections", nargs="*", help="of pages, default all")
    given = parser.parse_args()
    if given.quarter:
        from explorer_quarter import PROVIDERS, make, networks

        if not (given.quarter / "rows").exists():
            make(given.quarter)
        pages(given.quarter, "m0x", networks()[5], PROVIDERS[0], given.sections)
        return 0
    if given.pages:
        pages(given.pages, "nyc", 502068, 500101, given.sections)
        return 0
    with tempfile.TemporaryDirectory() as made:
        folder = given.folder
        if folder is None:
            folder = Path(made) / "demo"
            subprocess.run(
                [sys.executable, "-m", "flowpeer", "demo", folder], check=True,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
        began = time.perf_counter()
        with server(folder) as (address, pid):
            httpx.get(address, timeout=60).raise_for_status()
            print(f"the first page {time.perf_counter() - began:.2f} s after the start")
            good = asyncio.run(run(address, pid, given.readers, given.seconds))
    print("holds" if good else "DOES NOT HOLD")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
