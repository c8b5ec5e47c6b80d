from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest

from flowpeer.analysis.inputs import with_exports
from flowpeer.errors import InputError
from flowpeer.lake.store import Lake
from flowpeer.registry.ixf import TABLE, load_ixf
from flowpeer.schema import IXF_PORTS, PEERINGDB
from flowpeer_core.columns import arrow_schema


def _member(asn: int, number: int = 1, **connection: Any) -> dict[str, Any]:
    return {
        "asnum": asn,
        "member_type": "peering",
        "name": f"Member {asn}",
        "connection_list": [
            {
                "ixp_id": number,
                "state": "active",
                "if_list": [{"switch_id": 1, "if_speed": 10000}, {"if_speed": 10000}],
                "vlan_list": [
                    {
                        "vlan_id": 2,
                        "ipv4": {"address": f"198.51.100.{asn % 250}", "routeserver": True},
                        "ipv6": {"address": f"2001:DB8::{asn % 250}", "routeserver": False},
                    }
                ],
                **connection,
            }
        ],
    }


def _export(*members: Any, ixps: Any = ((1, 26),)) -> dict[str, Any]:
    return {
        "version": "1.0",
        "timestamp": "2026-01-01T00:00:00Z",
        "ixp_list": [
            {"ixp_id": n, "shortname": "IX"} | ({"peeringdb_id": p} if p else {}) for n, p in ixps
        ],
        "member_list": list(members),
    }


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake")


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def file(document: Any, name: str = "ix.json") -> Path:
        path = tmp_path / name
        path.write_text(json.dumps(document))
        return path

    return file


def _rows(lake: Lake) -> list[dict[str, Any]]:
    table = pq.read_table(lake.path(TABLE))
    assert table.schema.equals(arrow_schema(IXF_PORTS))
    return list(table.to_pylist())


def test_mac_addresses_are_kept_in_one_form(lake: Lake, write: Callable[..., Path]) -> None:
    texts = ["02:AB:00:00:00:02", "02-ab-00-00-00-01", "02ab.0000.0002", "ff:ff:ff:ff:ff:ff",
             "00:00:00:00:00:00", "02:ab:00", 7, None]  # fmt: skip
    vlans = [{"ipv4": {"address": "198.51.100.1", "mac_addresses": texts},
              "ipv6": {"mac_addresses": "02:ab:00:00:00:03"}}]  # fmt: skip
    load_ixf(lake, write(_export(_member(64500, vlan_list=vlans))))
    (row,) = _rows(lake)
    assert row["macs"] == "02:ab:00:00:00:01 02:ab:00:00:00:02"


def test_a_members_port_is_read(lake: Lake, write: Callable[..., Path]) -> None:
    path = write(_export(_member(64500)))
    facts, new = load_ixf(lake, path)
    assert new
    assert (facts["members"], facts["ports"], facts["exchanges"]) == (1, 1, [26])
    assert _rows(lake) == [
        {
            "ix_id": 26,
            "asn": 64500,
            "ipaddr4": "198.51.100.0",
            "ipaddr6": "2001:db8::0".replace("::0", "::"),
            "speed": 20000,
            "is_rs_peer": True,
            "operational": True,
            "source": "ix.json",
            "macs": None,
        }
    ]
    assert load_ixf(lake, path) == (facts, False)


def test_an_export_replaces_its_own_exchanges_alone(lake: Lake, write: Callable[..., Path]) -> None:
    both = _export(_member(1), _member(2, number=7), ixps=((1, 26), (7, 31)))
    load_ixf(lake, write(both, "both.json"))
    load_ixf(lake, write(_export(_member(3), _member(4)), "one.json"))
    assert [(r["ix_id"], r["asn"], r["source"]) for r in _rows(lake)] == [
        (26, 3, "one.json"),
        (26, 4, "one.json"),
        (31, 2, "both.json"),
    ]


def test_what_is_missing_is_unknown_and_what_is_wrong_is_counted(
    lake: Lake, write: Callable[..., Path]
) -> None:
    bare = {"asnum": 5, "connection_list": [{"ixp_id": 1}]}
    off = _member(6, state="inactive", if_list=[], vlan_list=[{"ipv4": {"address": "x"}}])
    odd = [{"asnum": True}, {"asnum": "7"}, "text", _member(8, number=99)]
    servers = {**_member(9), "member_type": "routeserver"}
    facts, _ = load_ixf(lake, write(_export(bare, off, *odd, servers)))
    assert facts["skipped"] == {
        "connection to an exchange without a PeeringDB id": 1,
        "member without an AS number": 2,
        "route server of the exchange": 1,
    }
    known = {r["asn"]: (r["speed"], r["is_rs_peer"], r["operational"], r["ipaddr4"])
             for r in _rows(lake)}  # fmt: skip
    assert known == {5: (None, None, None, None), 6: (None, None, False, None)}


def test_an_exchange_is_named_by_the_caller_where_the_export_does_not(
    lake: Lake, write: Callable[..., Path]
) -> None:
    path = write(_export(_member(1), ixps=((1, None),)))
    with pytest.raises(InputError, match="names no exchange") as caught:
        load_ixf(lake, path)
    assert "--exchange" in caught.value.advice
    load_ixf(lake, path, exchange=77)
    assert [r["ix_id"] for r in _rows(lake)] == [77]
    two = write(_export(_member(1), ixps=((1, None), (2, None))), "two.json")
    with pytest.raises(InputError, match="has 2 exchanges"):
        load_ixf(lake, two, exchange=77)


@pytest.mark.usefixtures("garbage_waits")
def test_other_documents_are_refused_and_change_nothing(
    lake: Lake, tmp_path: Path, write: Callable[..., Path]
) -> None:
    load_ixf(lake, write(_export(_member(1))))
    before = _rows(lake)
    rng = random.Random(1)
    good = json.dumps(_export(*(_member(n) for n in range(1, 20))))
    texts = [
        "",
        "[]",
        "1",
        '{"member_list": 1}',
        '{"member_list": []}',
        "[" * 100_000,
        '{"a": NaN}',
    ]
    texts += [good[: rng.randrange(len(good))] for _ in range(50)]
    for text in texts:
        path = tmp_path / "bad.json"
        path.write_text(text)
        with pytest.raises(InputError) as caught:
            load_ixf(lake, path)
        assert caught.value.advice
    assert _rows(lake) == before


def test_members_that_peeringdb_lacks_become_ports_with_their_source() -> None:
    def frame(name: str, rows: list[dict[str, Any]]) -> pl.DataFrame:
        schema = pl.from_arrow(arrow_schema(PEERINGDB[name]).empty_table())
        assert isinstance(schema, pl.DataFrame)
        return pl.concat([schema, pl.DataFrame(rows)], how="diagonal_relaxed")

    peeringdb = {
        "netixlan": frame(
            "peeringdb_netixlan",
            [
                {"id": 1, "asn": 1, "ix_id": 26, "ixlan_id": 26},
                {"id": 2, "asn": 2, "ixlan_id": 40},
            ],
        ),
        "ixlan": frame("peeringdb_ixlan", [{"id": 40, "ix_id": 31}]),
    }
    exports = pl.DataFrame(
        [
            {"ix_id": ix, "asn": asn, "ipaddr4": None, "ipaddr6": None, "speed": 10,
             "is_rs_peer": True, "operational": True, "source": "ix.json"}
            for ix, asn in ((26, 1), (26, 2), (31, 2), (31, 3))
        ],
        schema_overrides={"ipaddr4": pl.String, "ipaddr6": pl.String},
    )  # fmt: skip
    ports = with_exports(peeringdb, exports)
    told = {(r["asn"], r["ix_id"], r["source"]) for r in ports.to_dicts() if r["source"]}
    assert told == {(2, 26, "ix.json"), (3, 31, "ix.json")}
    assert ports["id"].n_unique() == ports.height == 4
    assert with_exports(peeringdb, exports.clear()).height == 2


def test_a_candidate_is_met_where_only_the_exchange_names_it(
    demo_copy: Path, run: Callable[..., Any]
) -> None:
    def meets() -> dict[tuple[str, int], str]:
        done = run("candidates", "--json", cwd=demo_copy)
        assert done.returncode in (0, 1), done.stderr
        found = json.loads(done.stdout)
        rows = found if isinstance(found, list) else found["rows"]
        return {(r["metro"], r["asn"]): r["meet"] for r in rows}

    before = meets()
    _, asn = next(key for key, meet in before.items() if not meet.startswith("IX"))
    exchange = json.loads(run(
        "sql", "--format", "json",
        "SELECT ix_id, count(*) AS n FROM peeringdb_netixlan GROUP BY ALL ORDER BY n DESC, ix_id",
        cwd=demo_copy,
    ).stdout)[0]["ix_id"]  # fmt: skip
    (demo_copy / "ix.json").write_text(json.dumps(_export(_member(asn), ixps=((1, exchange),))))
    done = run("ixf", "load", "ix.json", "--json", cwd=demo_copy)
    assert json.loads(done.stdout)[0]["members"] == 1, done.stderr
    changed = {key: meet for key, meet in meets().items() if before.get(key) != meet}
    assert changed
    assert {key[1] for key in changed} == {asn}
    assert any("by the exchange's member list alone" in meet for meet in changed.values())
