from __future__ import annotations

import gzip
import json
import sqlite3
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from flowpeer.errors import InputError
from flowpeer.lake.store import Lake
from flowpeer.registry.peeringdb import OBJECTS, load_peeringdb
from flowpeer.schema import PEERINGDB
from flowpeer_core.columns import arrow_schema

NET = {"id": 1, "asn": 64500, "name": "Example", "policy_ratio": True, "status": "ok", "new": [1]}
DUMP = {
    "net": {"data": [NET, {"id": 2, "asn": 64501, "name": "Other", "status": "deleted"}]},
    "ixlan": {"data": [{"id": 26, "ix_id": 20}]},
    "netixlan": {"data": [{"id": 9, "net_id": 1, "ixlan_id": 26, "speed": 10000}]},
    "poc": {"data": [{"id": 3, "net_id": 1, "role": "Policy", "email": "p@example.net"}]},
    "beyond": {"data": [{"id": 1}]},
    "meta": {},
}


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake")


def _table(lake: Lake, name: str) -> list[dict[str, Any]]:
    table = pq.read_table(lake.path(f"reference/peeringdb_{name}.parquet"))
    assert table.schema.equals(arrow_schema(PEERINGDB[f"peeringdb_{name}"]))
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def _write(path: Path, document: object) -> Path:
    path.write_text(json.dumps(document))
    return path


def test_a_dump_in_one_file(lake: Lake, tmp_path: Path) -> None:
    path = _write(tmp_path / "peeringdb.json", DUMP)
    facts, new = load_peeringdb(lake, path)
    assert new
    assert facts["objects"] == {"net": 1, "ixlan": 1, "netixlan": 1, "poc": 1}
    assert facts["missing_objects"] == [o for o in OBJECTS if o not in facts["objects"]]
    assert "policy_general" in facts["missing_fields"]["net"]
    assert facts["skipped"] == {"net: not ok (deleted or pending)": 1}
    (net,) = _table(lake, "net")
    assert (net["asn"], net["policy_ratio"], net["info_never_via_route_servers"]) == (
        64500, True, None,
    )  # fmt: skip
    (port,) = _table(lake, "netixlan")
    assert (port["ix_id"], port["asn"], port["operational"]) == (20, 64500, None)
    again, new = load_peeringdb(lake, path)
    assert not new
    assert again["objects"] == facts["objects"]


def test_one_file_an_object_equals_one_dump(tmp_path: Path) -> None:
    one, several = Lake(tmp_path / "one"), Lake(tmp_path / "several")
    load_peeringdb(one, _write(tmp_path / "all.json", DUMP))
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("net", "ixlan", "poc"):
        _write(folder / f"{name}.json", DUMP[name])
    packed = gzip.compress(json.dumps(DUMP["netixlan"]).encode())
    (folder / "peeringdb_netixlan.json.gz").write_bytes(packed)
    (folder / "README").write_text("not an object")
    _, new = load_peeringdb(several, folder)
    assert new
    for name in ("net", "ixlan", "netixlan", "poc"):
        assert _table(one, name) == _table(several, name)
    assert not load_peeringdb(several, folder)[1]


def test_a_dump_replaces_all_and_an_object_replaces_itself(lake: Lake, tmp_path: Path) -> None:
    load_peeringdb(lake, _write(tmp_path / "all.json", DUMP))
    fewer = {"data": [{**NET, "name": "Renamed"}]}
    load_peeringdb(lake, _write(tmp_path / "net.json", fewer))
    assert [row["name"] for row in _table(lake, "net")] == ["Renamed"]
    assert lake.entry("reference/peeringdb_netixlan.parquet") is not None
    load_peeringdb(lake, _write(tmp_path / "whole.json", {"net": fewer}))
    assert lake.entry("reference/peeringdb_netixlan.parquet") is None
    assert not lake.path("reference/peeringdb_netixlan.parquet").exists()


def test_an_object_is_told_by_its_fields_where_the_name_does_not(
    lake: Lake, tmp_path: Path
) -> None:
    ports = {"data": [{"id": 1, "net_id": 1, "ix_id": 2, "speed": 100}]}
    facts, _ = load_peeringdb(lake, _write(tmp_path / "download.json", ports))
    assert facts["objects"] == {"netixlan": 1}
    people = {"data": [{"id": 1, "net_id": 1, "role": "NOC", "name": "x"}]}
    facts, _ = load_peeringdb(lake, _write(tmp_path / "people.json", people))
    assert facts["objects"] == {"poc": 1}
    with pytest.raises(InputError, match="neither its name nor its fields"):
        load_peeringdb(lake, _write(tmp_path / "what.json", {"data": [{"id": 1}]}))


def test_the_sqlite_database(lake: Lake, tmp_path: Path) -> None:
    path = tmp_path / "peeringdb.sqlite3"
    database = sqlite3.connect(path)
    database.executescript(
        """
        CREATE TABLE peeringdb_network (id INTEGER, status TEXT, asn INTEGER, name TEXT,
            org_id INTEGER, policy_ratio BOOL, info_never_via_route_servers BOOL);
        INSERT INTO peeringdb_network VALUES (1, 'ok', 64500, 'Example', 3, 1, 0);
        INSERT INTO peeringdb_network VALUES (2, 'deleted', 64501, 'Gone', 3, 1, 0);
        CREATE TABLE peeringdb_ixlan (id INTEGER, status TEXT, ix_id INTEGER, rs_asn INTEGER);
        INSERT INTO peeringdb_ixlan VALUES (26, 'ok', 20, NULL);
        CREATE TABLE peeringdb_network_ixlan (id INTEGER, status TEXT, net_id INTEGER,
            ixlan_id INTEGER, asn INTEGER, speed INTEGER, operational BOOL, ipaddr4 TEXT);
        INSERT INTO peeringdb_network_ixlan VALUES (9, 'ok', 1, 26, 64500, 10000, 1, '192.0.2.1');
        CREATE TABLE peeringdb_network_contact (id INTEGER, status TEXT, net_id INTEGER, role TEXT,
            visible TEXT, name TEXT, phone TEXT, email TEXT, url TEXT);
        INSERT INTO peeringdb_network_contact VALUES (4, 'ok', 1, 'NOC', 'Users', 'N', '1',
            'noc@example.net', '');
        """
    )
    database.commit()
    database.close()
    before = path.read_bytes()
    facts, _ = load_peeringdb(lake, path)
    assert facts["objects"] == {"net": 1, "ixlan": 1, "netixlan": 1, "poc": 1}
    assert _table(lake, "poc") == [
        {"id": 4, "net_id": 1, "role": "NOC", "visible": "Users", "name": "N",
         "email": "noc@example.net"}
    ]  # fmt: skip
    (net,) = _table(lake, "net")
    assert (net["policy_ratio"], net["info_never_via_route_servers"]) == (True, False)
    (port,) = _table(lake, "netixlan")
    assert (port["ix_id"], port["operational"], port["ipaddr4"]) == (20, True, "192.0.2.1")
    assert path.read_bytes() == before
    path.write_bytes(before[:3000])
    with pytest.raises(InputError, match="SQLite"):
        load_peeringdb(lake, path)


def test_values_of_another_type_are_unknown_and_counted(lake: Lake, tmp_path: Path) -> None:
    rows = [
        {"id": 1, "asn": "64500", "policy_ratio": "yes", "info_prefixes4": 1e3, "name": 7},
        {"id": 2, "asn": 2**70, "policy_ratio": None, "info_prefixes4": True, "name": ["x"]},
        {"id": "3"},
        {"id": 1, "asn": 9},
        {"id": True},
        "text",
        {"id": 4, "name": "\ud800"},
    ]
    facts, _ = load_peeringdb(lake, _write(tmp_path / "net.json", {"data": rows}))
    found = [(r["id"], r["asn"], r["policy_ratio"], r["info_prefixes4"], r["name"])
             for r in _table(lake, "net")]  # fmt: skip
    assert found == [
        (1, 64500, None, 1000, "7"), (2, None, None, None, None), (4, None, None, None, "?")
    ]  # fmt: skip
    assert facts["skipped"] == {
        "net.asn: value of another type": 1,
        "net.info_prefixes4: value of another type": 1,
        "net.name: value of another type": 1,
        "net.policy_ratio: value of another type": 1,
        "net: id given twice": 1,
        "net: without an id": 3,
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"[]", "not a JSON object"),
        (b"{}", "no PeeringDB objects"),
        (b'{"net": {"data": []}}', "no PeeringDB objects"),
        (b'{"net": {"data": {"id": 1}}}', "net: not a list"),
        (b'{"net": {"data": [{"id": NaN}]}}', "NaN is not JSON"),
        (b'{"net": ' * 10_000, "not JSON"),
        (b"[" * 100_000 + b"]" * 100_000, "nested too deep"),
        (b'{"net": {"data": [{"id": ' + b"9" * 5000 + b"}]}}", "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        (gzip.compress(b'{"net": ' + b" " * 10**8), "unpacks to more than"),
    ],
)
@pytest.mark.usefixtures("garbage_waits")
def test_wrong_shapes_are_one_line_and_change_nothing(
    content: bytes, message: str, lake: Lake, tmp_path: Path
) -> None:
    load_peeringdb(lake, _write(tmp_path / "good.json", DUMP))
    before = _table(lake, "net")
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        load_peeringdb(lake, path)
    assert "\n" not in str(caught.value)
    assert _table(lake, "net") == before


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)
_fields = sorted({c.name for columns in PEERINGDB.values() for c in columns} | {"status"})
_rows = st.lists(st.dictionaries(st.sampled_from(_fields), _json, max_size=8) | _json, max_size=5)


@given(st.dictionaries(st.sampled_from(OBJECTS), st.fixed_dictionaries({"data": _rows})))
@settings(max_examples=examples(40))
def test_any_values_give_typed_tables_or_one_error(
    tmp_path_factory: pytest.TempPathFactory, document: dict[str, Any]
) -> None:
    folder = tmp_path_factory.mktemp("pdb")
    lake = Lake(folder / "lake")
    try:
        facts, _ = load_peeringdb(lake, _write(folder / "dump.json", document))
    except InputError:
        assert not lake.root.exists()
        return
    for name in facts["objects"]:
        _table(lake, name)


def _ids(folder: Path, name: str) -> dict[int, dict[str, Any]]:
    rows = json.loads(gzip.decompress((folder / f"{name}.json.gz").read_bytes()))["data"]
    return {row["id"]: row for row in rows if row.get("status", "ok") == "ok"}


@pytest.mark.parametrize("version", ["2016", "2021", "2021-07-29", "2026-beta"])
def test_every_version_of_the_schema_is_read_value_for_value(
    version: str, shared: Path, lake: Lake
) -> None:
    folder = shared / "data" / "peeringdb" / version
    facts, _ = load_peeringdb(lake, folder)
    names = {p.name.removesuffix(".json.gz") for p in folder.iterdir()} & set(OBJECTS)
    assert set(facts["objects"]) == names
    for name in names:
        source = _ids(folder, name)
        rows = _table(lake, name)
        assert facts["objects"][name] == len(rows) == len(source)
        missing = facts["missing_fields"].get(name, [])
        for row in rows:
            for field, value in row.items():
                given_ = source[row["id"]].get(field)
                if value is None:
                    assert given_ in (None, "") or field in missing
                elif given_ is not None:
                    assert value == given_


def test_known_answers_of_common_exchanges_and_facilities(shared: Path, tmp_path: Path) -> None:
    data = shared / "data" / "peeringdb"
    ports, facilities = Lake(tmp_path / "a"), Lake(tmp_path / "b")
    load_peeringdb(ports, data / "2021-07-29")
    load_peeringdb(facilities, data / "2016")

    def common(rows: list[dict[str, Any]], asn: str, place: str) -> int:
        where = [{r[place] for r in rows if r[asn] == number} for number in (15169, 13335)]
        return len(where[0] & where[1])

    assert common(_table(ports, "netixlan"), "asn", "ix_id") == 158
    assert common(_table(facilities, "netfac"), "local_asn", "fac_id") == 31


def test_tables_are_plain_types(lake: Lake, tmp_path: Path) -> None:
    load_peeringdb(lake, _write(tmp_path / "all.json", DUMP))
    types = {f.type for columns in PEERINGDB.values() for f in arrow_schema(columns)}
    assert types <= {pa.int64(), pa.string(), pa.bool_(), pa.float64()}
