"""Roles from what routers call their interfaces in options data, from the wire to `traffic`."""

from __future__ import annotations

import hashlib
import json
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flowpeer.configuration import load
from flowpeer.lake import interface_names
from flowpeer.lake.store import Lake
from flowpeer_ingest.summary import CaptureSummary

Run = Callable[..., "subprocess.CompletedProcess[str]"]
START = 1_751_328_000  # 2025-07-01T00:00:00Z
HOUR = 3_600
FIELDS = ((8, 4), (12, 4), (1, 4), (2, 4), (10, 4), (14, 4), (34, 4))
CONFIG = """\
[network]
asn = 64500
name = "Test"
prefixes = ["198.18.0.0/15"]
[lake]
path = "lake"
[sources]
ribs = "rib.txt"
{sources}
[[metros]]
id = "ams"
name = "Amsterdam"
[[exporters]]
id = "edge1.ams"
metro = "ams"
addresses = ["192.0.2.1", "192.0.2.2"]
[[rules]]
description = '^transit:.*as(?P<asn>\\d+)'
role = "transit"
[[rules]]
description = '^transit:'
role = "transit"
[[rules]]
name = '^(lo|irb)'
role = "internal"
{more}
"""
NAMES = {
    3: ("irb.1", "servers"),
    4: ("et-0/0/4", "Transit: Lumen AS3356"),
    5: ("et-0/0/5", "spare"),
}


def interface_table(said: dict[int, tuple[str, str]]) -> bytes:
    options = struct.pack(">HHHHHHHHH", 257, 4, 8, 2, 4, 82, 16, 83, 64)
    rows = b"".join(
        struct.pack(">I16s64s", index, name.encode(), text.encode())
        for index, (name, text) in said.items()
    )
    return (
        struct.pack(">HH", 1, 4 + len(options)) + options
        + struct.pack(">HH", 257, 4 + len(rows)) + rows
    )  # fmt: skip


def flow(octets: int, *, output: int = 4) -> bytes:
    template = struct.pack(">HH", 256, len(FIELDS)) + b"".join(
        struct.pack(">HH", *f) for f in FIELDS
    )
    body = struct.pack(
        ">4s4sIIIII", bytes([198, 18, 0, 1]), bytes([20, 0, 0, 1]), octets, 1, 3, output, 100
    )
    return (
        struct.pack(">HH", 0, 4 + len(template)) + template
        + struct.pack(">HH", 256, 4 + len(body)) + body
    )  # fmt: skip


def capture(path: Path, at_s: int, *messages: bytes, source: int = 1) -> Path:
    """A pcap of NetFlow v9 from 192.0.2.`source`, a second between datagrams."""
    out = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262_144, 101)
    for i, sets in enumerate(messages):
        now = START + at_s + i
        payload = struct.pack(">HHIIII", 9, 1, 1_000, now, i, 0) + sets
        packet = struct.pack(
            ">BBHHHBBH4s4sHHHH", 0x45, 0, 28 + len(payload), 1, 0, 64, 17, 0,
            bytes([192, 0, 2, source]), bytes([198, 51, 100, 9]), 40_000, 2055, 8 + len(payload), 0,
        ) + payload  # fmt: skip
        out += struct.pack("<IIII", now, 0, len(packet), len(packet)) + packet
    path.write_bytes(out)
    return path


def configure(folder: Path, *, sources: str = "", more: str = "") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "rib.txt").write_text("20.0.0.0\t16\t64511\n")
    (folder / "flowpeer.toml").write_text(CONFIG.format(sources=sources, more=more))
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return configure(tmp_path / "net")


def done(run: Run, folder: Path, *words: object) -> str:
    said = run(*words, cwd=folder)
    assert said.returncode == 0, said.stderr
    return said.stdout


def roles(run: Run, folder: Path) -> list[tuple[Any, ...]]:
    query = (
        "SELECT interface, role, provider_asn, direction, sum(bytes)::BIGINT AS n FROM traffic "
        "GROUP BY ALL ORDER BY ALL"
    )
    rows = json.loads(done(run, folder, "sql", query, "--json"))
    return [tuple(row.values()) for row in rows]


def checked(run: Run, folder: Path) -> dict[str, dict[str, str]]:
    return {f["subject"]: f for f in json.loads(run("check", "--json", cwd=folder).stdout)}


def files(folder: Path) -> dict[str, str]:
    """Digest of every file of the lake that is published."""
    lake = folder / "lake"
    return {
        p.relative_to(lake).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(lake.rglob("*"))
        if p.is_file() and p.relative_to(lake).parts[0] not in ("locks", "staging", "cache")
    }


def documents(folder: Path) -> dict[str, Any]:
    place = folder / "lake/manifests" / interface_names.TABLE
    return {p.relative_to(place).as_posix(): p.read_bytes() for p in place.rglob("*.json")}


def test_a_configuration_of_rules_alone_gives_roles_to_traffic(project: Path, run: Run) -> None:
    path = capture(project / "a.pcap", 0, interface_table(NAMES), flow(1_000), flow(500, output=5))
    done(run, project, "ingest", path)
    done(run, project, "rollup")
    assert roles(run, project) == [
        (4, "transit", 3356, "out", 100_000), (5, "unknown", None, "out", 50_000),
    ]  # fmt: skip
    found = checked(run, project)
    assert found["rule 1"]["text"] == "transit: 1 interfaces: edge1.ams et-0/0/4 (exported)"
    assert found["rule 2"]["level"] == "note"
    assert found["rule 3"]["text"] == "internal: 1 interfaces: edge1.ams irb.1 (exported)"
    interfaces = json.loads(done(run, project, "sql", "FROM interfaces ORDER BY ALL", "--json"))
    assert [(i["interface"], i["name"], i["role"], i["asn"]) for i in interfaces] == [
        (3, "irb.1", "internal", None), (4, "et-0/0/4", "transit", 3356),
    ]  # fmt: skip
    before = files(project)
    done(run, project, "ingest", path)
    assert "up to date" in done(run, project, "rollup")
    assert files(project) == before
    assert run("verify", cwd=project).returncode == 0


def test_what_no_rule_matches_is_told_with_its_exported_name(project: Path, run: Run) -> None:
    done(run, project, "ingest", capture(project / "a.pcap", 0, interface_table(NAMES)))
    said = checked(run, project)["interface 5 of edge1.ams"]["text"]
    assert said == "no rule matches its exported name 'et-0/0/5' and description 'spare'"


def test_run_reads_the_names_that_it_has_just_ingested(project: Path, run: Run) -> None:
    path = capture(project / "a.pcap", 0, interface_table(NAMES), flow(1_000))
    run("run", path, cwd=project)
    assert roles(run, project) == [(4, "transit", 3356, "out", 100_000)]


def test_a_new_description_redoes_the_hours_and_explain_says_why(project: Path, run: Run) -> None:
    first = capture(project / "a.pcap", 0, interface_table(NAMES), flow(1_000))
    done(run, project, "ingest", first)
    done(run, project, "rollup")
    renamed = interface_table({4: ("et-0/0/4", "Transit: Arelion AS1299")})
    done(run, project, "ingest", capture(project / "b.pcap", 10 * HOUR, renamed))
    hours = json.loads(done(run, project, "rollup", "--explain", "--json"))
    assert [hour["changed"] for hour in hours] == ["interfaces", "interfaces"]
    done(run, project, "rollup")
    assert roles(run, project) == [(4, "transit", 1299, "out", 100_000)]
    # What is not the latest changes nothing.
    done(run, project, "ingest", capture(project / "c.pcap", 9 * HOUR, interface_table(NAMES)))
    assert "up to date" in done(run, project, "rollup")


def test_the_order_of_captures_does_not_matter(tmp_path: Path, run: Run) -> None:
    made = [
        capture(tmp_path / "a.pcap", 0, interface_table(NAMES)),
        capture(tmp_path / "b.pcap", HOUR, interface_table({4: ("et-0/0/4", ""), 9: ("lo0", "")})),
        capture(tmp_path / "c.pcap", 2 * HOUR, interface_table({5: ("xe-1", "x")}), source=2),
    ]
    found = []
    for folder, order in (("one", made), ("other", made[::-1])):
        project = configure(tmp_path / folder)
        for path in order:
            done(run, project, "ingest", path)
        found.append(documents(project))
    assert found[0] == found[1]
    assert len(found[0]) == 2


def test_a_unit_that_is_done_again_after_a_crash_changes_no_name(
    project: Path, run: Run, forget_unit: Callable[[Path, str], None]
) -> None:
    path = capture(project / "a.pcap", 0, interface_table(NAMES), flow(1_000))
    done(run, project, "ingest", path)
    before = documents(project), files(project)
    (unit,) = Lake(project / "lake").record().units()
    forget_unit(project / "lake", unit.name)
    done(run, project, "ingest", path)
    assert documents(project) == before[0]
    flows = {name: digest for name, digest in before[1].items() if name.startswith("flows")}
    assert flows.items() <= files(project).items()


def test_sections_win_over_the_csv_and_the_csv_over_what_is_exported(
    tmp_path: Path, run: Run
) -> None:
    section = '[[interfaces]]\nexporter = "edge1.ams"\nindex = {}\nrole = "peer"\nasn = 64499\n'
    project = configure(
        tmp_path / "net",
        sources='interfaces = "interfaces.csv"',
        more=section.format(11) + section.format(12),
    )
    (project / "interfaces.csv").write_text(
        "exporter,index,name,description,capacity\n"
        "edge1.ams,11,irb.11,,\n"
        "edge1.ams,13,,Transit: Arelion AS1299,\n"
        "edge1.ams,14,,,40G\n"
        "edge1.ams,15,lo0,,\n"
    )
    said = {i: (f"et-{i}", "Transit: Lumen AS3356") for i in range(11, 15)}
    said |= {15: ("et-15", "spare"), 16: ("lo16", "")}
    done(run, project, "ingest", capture(project / "a.pcap", 0, interface_table(said), source=2))
    network = load(project / "flowpeer.toml", exported=interface_names.exported)
    assert {i.index: (i.role, i.asn, i.name, i.capacity) for i in network.interfaces} == {
        11: ("peer", 64499, None, None),
        12: ("peer", 64499, None, None),
        13: ("transit", 1299, "et-13", None),
        14: ("transit", 3356, "et-14", 40 * 10**9),
        15: ("internal", None, "lo0", None),
        16: ("internal", None, "lo16", None),
    }
    assert network.classified.exported == {("edge1.ams", i) for i in range(13, 17)}
    alone = load(project / "flowpeer.toml")
    assert [i.index for i in alone.interfaces] == [11, 12, 13, 15], "without a lake"


def test_foreign_text_never_makes_the_configuration_wrong(tmp_path: Path, run: Run) -> None:
    project = configure(tmp_path / "net", sources='interfaces = "interfaces.csv"')
    (project / "interfaces.csv").write_text(
        "exporter,index,name\nedge1.ams,6,lo6\nedge1.ams,7,et\n"
    )
    said = dict.fromkeys((6, 7, 8), ("et\x1b[2J", "transit: nobody"))
    said[9] = ("et-9", "transit: AS99999999999")
    done(run, project, "ingest", capture(project / "a.pcap", 0, interface_table(said), flow(1_000)))
    done(run, project, "rollup")
    found = checked(run, project)
    assert "rule 2: transit needs an ASN" in found["interface 8 of edge1.ams"]["text"]
    assert "rule 1: asn = 99999999999" in found["interface 9 of edge1.ams"]["text"]
    assert found["interface 8 of edge1.ams"]["level"] == "warning"
    assert "\x1b" not in run("check", cwd=project).stdout
    network = load(project / "flowpeer.toml", exported=interface_names.exported)
    assert [(i.index, i.role) for i in network.interfaces] == [(6, "internal")]
    assert [row["index"] for row in network.classified.unmatched] == [7]


def test_damaged_names_are_found_and_no_hour_is_done_without_them(project: Path, run: Run) -> None:
    path = capture(project / "a.pcap", 0, interface_table(NAMES), flow(1_000))
    done(run, project, "ingest", path)
    done(run, project, "rollup")
    document = project / "lake/manifests/exported_interfaces/ingest/192.0.2.1.json"
    octets = document.read_bytes()
    document.write_bytes(octets.replace(b"AS3356", b"AS3357"))
    said = run("verify", cwd=project)
    assert said.returncode == 1
    assert "exported_interfaces/ingest/192.0.2.1" in said.stderr
    before = files(project)
    refused = run("rollup", cwd=project)
    assert refused.returncode == 3
    assert "interface names that cannot be read" in refused.stderr
    assert files(project) == before
    assert checked(run, project)["rules"]["level"] == "warning"
    document.write_bytes(octets)
    assert "up to date" in done(run, project, "rollup")
    assert run("verify", cwd=project).returncode == 0


def test_the_lake_keeps_names_of_some_strangers_and_the_latest_of_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interface_names, "MAX_STRANGERS", 3)
    monkeypatch.setattr(interface_names, "MAX_INTERFACES", 2)
    lake = Lake(tmp_path / "lake")

    def say(address: str, *interfaces: int, at_us: int = 1) -> int:
        said = {address: {i: {"name": (at_us, f"et-{i}")} for i in interfaces}}
        summary = CaptureSummary(path="", interfaces=said)
        interface_names.merge(lake, "collect", summary, {"192.0.2.1"})
        return summary.malformed.get(interface_names.CROWD, 0)

    assert [say(f"203.0.113.{i}", 1) for i in range(5)] == [0, 0, 0, 1, 1]
    assert say("203.0.113.0", 2) == 0, "it is known"
    assert say("192.0.2.1", 1, 2) == 0, "it is configured"
    assert say("192.0.2.1", 7, at_us=5) == 0
    found = interface_names.exported(lake.root, ["192.0.2.1", "203.0.113.4"])
    assert list(found.texts["192.0.2.1"]) == [1, 7]
    assert found.texts["203.0.113.4"] == {}


def test_a_configuration_is_read_where_there_is_no_lake_or_a_file_in_its_place(
    project: Path,
) -> None:
    assert load(project / "flowpeer.toml", exported=interface_names.exported).interfaces == ()
    (project / "lake").write_text("")
    assert load(project / "flowpeer.toml", exported=interface_names.exported).interfaces == ()
