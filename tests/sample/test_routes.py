"""The RIB against bgpdump and mrtparse, and its paths against the relationships."""

from __future__ import annotations

import shutil
import subprocess
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest

from flowpeer_sample import world as w
from flowpeer_sample.mrt import as_path, leaked_prefixes, session_view, table
from flowpeer_sample.networks import CLIQUE, internet

VIEWS = tuple(p.asn for p in w.PROVIDERS)


def rib(sample: Path) -> Path:
    return next((sample / "ribs").glob("*.mrt.gz"))


def expected() -> set[tuple[int, str, str]]:
    """(view, prefix, path as bgpdump writes it)."""
    made = set()
    for prefix in table():
        for view in VIEWS:
            if prefix.net.prefixlen == 0 and view != w.PELAGO.asn:
                continue
            sequence, members = as_path(prefix, view)
            text = " ".join(map(str, sequence))
            if members:
                text += " {" + ",".join(map(str, members)) + "}"
            made.add((view, str(prefix.net), text))
    for net, path in session_view()[1].items():
        made.add((w.PEERED, str(net), " ".join(map(str, path))))
    return made


def test_the_session_announces_all_but_what_leaks_and_what_covers_that() -> None:
    _, told = session_view()
    leaked = {p.net for p in leaked_prefixes()}
    own = {p.net for p in table() if p.origin == w.PEERED}
    assert leaked
    assert own - leaked == own & set(told)
    (aggregate,) = set(told) - own
    assert all(net.version == 4 and net.subnet_of(aggregate) for net in leaked)  # type: ignore[arg-type]
    # Nobody else's address falls to the aggregate.
    assert not [p for p in table() if p.origin != w.PEERED and p.net.prefixlen
                and p.net.version == 4 and p.net.overlaps(aggregate)]  # fmt: skip


def test_bgpdump_reads_every_route(sample: Path) -> None:
    bgpdump = shutil.which("bgpdump")
    if bgpdump is None:
        pytest.skip("bgpdump is not installed")
    run = subprocess.run(
        [bgpdump, "-m", str(rib(sample))], capture_output=True, text=True, check=True
    )
    rows = [line.split("|") for line in run.stdout.splitlines()]
    assert {int(row[1]) for row in rows} == {w.RIB_TIME}
    assert {(int(row[4]), row[5], row[6]) for row in rows} == expected()
    assert len(rows) == len(expected())


def test_mrtparse_reads_every_route(sample: Path, mrtparse: ModuleType) -> None:
    found = set()
    views: list[int] = []
    for entry in mrtparse.Reader(str(rib(sample))):
        data = entry.data
        if "peer_entries" in data:
            views = [int(peer["peer_as"]) for peer in data["peer_entries"]]
            continue
        prefix = f"{data['prefix']}/{data['length']}"
        for route in data["rib_entries"]:
            path = next(a for a in route["path_attributes"] if list(a["type"]) == [2])["value"]
            text = " ".join(
                " ".join(part["value"]) if list(part["type"]) == [2]
                else "{" + ",".join(part["value"]) + "}" for part in path
            )  # fmt: skip
            found.add((views[route["peer_index"]], prefix, text))
    assert sorted(views) == sorted([*VIEWS, w.PEERED])
    assert found == expected()


def test_every_path_is_valley_free_and_starts_at_its_view() -> None:
    net = internet()
    links, peers = set(net.links), set(net.peerings)
    for prefix in table():
        if prefix.origin == w.PRIVATE_ORIGIN or prefix.net.prefixlen == 0:
            continue
        for view in VIEWS:
            path = [a for k, a in enumerate(as_path(prefix, view)[0])
                    if k == 0 or as_path(prefix, view)[0][k - 1] != a]  # fmt: skip
            assert path[0] == view
            assert len(set(path)) == len(path)
            down = [pair in links for pair in pairwise(path)]
            if down and not down[0]:
                pair = (path[0], path[1])
                assert pair in peers or pair[::-1] in peers
                down = down[1:]
            assert all(down), (prefix.net, path)


def test_no_network_is_its_own_provider() -> None:
    net = internet()
    for asn in net.networks:
        above = {p for p, c in net.links if c == asn}
        assert not above & (net.cone(asn) - {asn}), asn
    for asn in (*CLIQUE, w.PROVIDER_FREE):
        assert not net.networks[asn].providers


def test_prefixes_do_not_overlap_but_for_the_planted_one() -> None:
    for version in (4, 6):
        nets = sorted(
            (p.net for p in table() if p.net.version == version and p.net.prefixlen),
            key=lambda n: (int(n.network_address), n.prefixlen),
        )
        inside = [
            (str(a), str(b)) for a, b in pairwise(nets)
            if int(b.network_address) <= int(a.broadcast_address)
        ]  # fmt: skip
        assert len(inside) == (1 if version == 4 else 0), inside
