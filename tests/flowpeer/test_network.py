"""`flowpeer.toml`: what is accepted, what is refused and how that is said."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from effort import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowpeer.configuration import MAX_CONFIG_BYTES, load
from flowpeer.errors import ConfigError
from flowpeer.network import bits_per_second, seconds

HEAD = """\
[network]
asn = 64500
name = "Test"
prefixes = ["198.18.0.0/15", "2001:db8::/32"]
[lake]
path = "lake"
"""
BODY = """\
[[metros]]
id = "ams"
name = "Amsterdam"
exchanges = [26, { id = 27, route_servers = true, speed = "100G" }]
[[exporters]]
id = "edge1.ams"
metro = "ams"
addresses = ["192.0.2.1", "::ffff:192.0.2.2", "2001:DB8:0::1"]
[[contracts]]
id = "c1"
commit = "2.5G"
[[interfaces]]
exporter = "edge1.ams"
index = 11
role = "transit"
asn = 1299
capacity = "100G"
contract = "c1"
"""


def refused(tmp_path: Path, text: str) -> ConfigError:
    path = tmp_path / "flowpeer.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as raised:
        load(path)
    return raised.value


def test_a_whole_network_is_read(tmp_path: Path) -> None:
    path = tmp_path / "flowpeer.toml"
    path.write_text(HEAD + BODY)
    network = load(path)
    assert network.lake_path == tmp_path / "lake"
    assert [(e.id, e.route_servers, e.speed) for e in network.metros[0].exchanges] == [
        (26, None, None), (27, True, 100 * 10**9),
    ]  # fmt: skip
    # One exporter, one key: mapped and long forms of an address are its canonical text.
    assert list(network.exporter_by_address) == ["192.0.2.1", "192.0.2.2", "2001:db8::1"]
    assert network.contracts[0].commit == 2_500_000_000
    tables = network.tables()
    assert tables["interfaces"].to_pylist()[0]["metro"] == "ams"
    assert tables["exporters"].num_rows == 3


@pytest.mark.parametrize(
    ("text", "bps"),
    [("1", 1), ("10K", 10**4), ("100M", 10**8), ("2.5G", 25 * 10**8), ("1.6T", 16 * 10**11)],
)
def test_rates_are_decimal_bits(text: str, bps: int) -> None:
    assert bits_per_second(text) == bps


@pytest.mark.parametrize("value", ["", "0G", "-1G", "1.0001K", "10g", "10Gb", "1e9", 10, None, "G"])
def test_what_is_no_rate_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="rate"):
        bits_per_second(value)


def test_durations() -> None:
    assert [seconds(t) for t in ("60s", "5m", "2h", "14d")] == [60, 300, 7200, 14 * 86400]
    for wrong in ("", "60", 60, "0s", "1w"):
        with pytest.raises(ValueError, match="duration"):
            seconds(wrong)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("asn = 64500", "asn = 0", "network.asn = 0"),
        ("asn = 64500", "asn = 4294967296", "network.asn"),
        ('"198.18.0.0/15"', '"198.18.0.1/15"', "host bits set"),
        ('id = "ams"', 'id = "007"', "metros[1].id"),
        ('speed = "100G"', 'speed = "fast"', "metros[1].exchanges[2].speed"),
        ("192.0.2.1", "192.0.2.2", "192.0.2.2 is already an address of exporter 'edge1.ams'"),
        ("index = 11", "index = 0", "interfaces[1].index"),
        ('contract = "c1"', 'contract = "c2"', "'c2' is no id of [[contracts]]"),
        ('exporter = "edge1.ams"', 'exporter = "edge1.asm"', "did you mean 'edge1.ams'?"),
        ("asn = 1299\n", "", "role 'transit' needs `asn`"),
        ('name = "Test"', 'name = ""', "network.name"),
        ('name = "Test"', 'name = "Test"\ntimezone = "Mars/Base"', "a time zone name"),
        ('path = "lake"', 'path = "gs://bucket/lake"', "lake.path = 'gs://bucket/lake'"),
        ('path = "lake"', 'path = "s3://Bucket/lake"', "a folder is expected, or s3://BUCKET/"),
        ('path = "lake"', 'path = "lake"\ncache = "x"', "lake.cache: is of a lake on an object"),
        ('path = "lake"', 'path = "s3://bucket/../lake"', "a folder is expected, or s3://BUCKET/"),
        ('path = "lake"', 'path = "lake"\nkeep_flows = "soon"', "lake.keep_flows = 'soon'"),
        ('path = "lake"', 'path = "lake"\nfold_share = 1.5', "lake.fold_share = 1.5"),
        ('path = "lake"', 'path = "lake"\nfold_share = 0', "lake.fold_share = 0"),
        ('path = "lake"', 'path = "lake"\nfold_below = "1M"', "nothing without `fold_share`"),
        ("[lake]", "[lakes]", "did you mean `lake`?"),
        ("asn = 64500", 'asn = "AS64500"', "a whole number is expected, without quotes"),
        ('["192.0.2.1"', '"192.0.2.1" # ["192.0.2.1"', "addresses = '192.0.2.1': a list is"),
        ("[lake]", '[collector]\nreserve = "512"\n[lake]', "octets as text with K, M, G or T"),
        ("[lake]", '[source]\nx = "y"\n[lake]', "did you mean `sources`?"),
    ],
)
def test_each_mistake_names_its_key_and_what_would_do(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    text = HEAD + BODY
    assert old in text
    error = refused(tmp_path, text.replace(old, new, 1))
    assert any(said in problem for problem in error.problems), error.problems


def test_the_same_interface_or_id_twice_is_a_mistake(tmp_path: Path) -> None:
    twice = BODY[BODY.index("[[interfaces]]") :]
    error = refused(tmp_path, HEAD + BODY + twice + '[[metros]]\nid = "ams"\nname = "Again"\n')
    text = "\n".join(error.problems)
    assert "interface 11 of exporter 'edge1.ams' stands twice" in text
    assert "'ams' stands here a second time" in text


def test_interfaces_may_stand_in_a_csv_and_its_lines_are_named(tmp_path: Path) -> None:
    table = tmp_path / "interfaces.csv"
    table.write_text("exporter,index,name,role,asn,capacity\nedge1.ams,12,et-0,peer,15169,10G\n")
    text = HEAD + '[sources]\ninterfaces = "interfaces.csv"\n' + BODY
    (tmp_path / "flowpeer.toml").write_text(text)
    network = load(tmp_path / "flowpeer.toml")
    assert network.interface_by_key["edge1.ams", 12].capacity == 10**10
    table.write_text("exporter,index,role,asn\nedge1.ams,12,peer,15169\nedge1.ams,x,pear,1\n")
    error = refused(tmp_path, text)
    assert all("interfaces.csv, line 3" in problem for problem in error.problems), error.problems
    assert len(error.problems) == 2
    table.write_text("router,port\n")
    assert "exporter,index,name,role" in refused(tmp_path, text).problems[0]
    table.unlink()
    assert "does not exist" in refused(tmp_path, text).problems[0]


def test_a_file_that_is_no_configuration_is_refused_in_one_line(tmp_path: Path) -> None:
    assert "not UTF-8" in _refused_bytes(tmp_path, b"\xff\xfe\x00")
    assert "not read" in _refused_bytes(tmp_path, b"#" * (MAX_CONFIG_BYTES + 1))
    assert "not readable as TOML" in _refused_bytes(tmp_path, b"x = " + b"[" * 5000)
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path)


def _refused_bytes(tmp_path: Path, content: bytes) -> str:
    path = tmp_path / "flowpeer.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as raised:
        load(path)
    assert "\n" not in str(raised.value)
    return str(raised.value)


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text("abcdeknmorst_", min_size=1, max_size=6), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    max_examples=examples(150),
)
@given(section=st.sampled_from(["network", "lake", "metros", "exporters", "interfaces", "sources",
                                "contracts", "sessions", "exclusions", "collector"]),
       value=json_like)  # fmt: skip
def test_any_value_anywhere_is_a_configuration_or_a_config_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, section: str, value: object
) -> None:
    import tomllib

    path = tmp_path / "flowpeer.toml"
    path.write_text(HEAD)
    raw = {**tomllib.loads(HEAD), section: value}
    monkeypatch.setattr(tomllib, "loads", lambda _: raw)
    problems: tuple[str, ...] = ("none: it was accepted",)
    try:
        load(path)
    except ConfigError as error:
        problems = error.problems
    finally:
        monkeypatch.undo()
    assert problems


COMMERCIAL = """\
[peering_costs]
port_per_month = { "10G" = 500, "100G" = 1800.5 }
amortise_months = 36
[[networks]]
asn = 64510
acceptance = 0.4
[policy]
min_expected = "2M"
weights = { inferred = 0.2 }
base_rates = { open = 0.9 }
siblings = [[64510, 64511]]
[[fx]]
from = "EUR"
to = "USD"
rate = 1.1
[[announcements]]
prefix = "198.18.0.0/16"
scope = "Region"
metros = ["ams"]
[[risk_groups]]
id = "duct-1"
interfaces = ["edge1.ams:11"]
[routing]
route_scope = [{ community = "64500:100", scope = "global" }]
"""


def test_money_is_decimal_and_scopes_are_read_in_any_case(tmp_path: Path) -> None:
    path = tmp_path / "flowpeer.toml"
    contract = '[[contracts]]\nid = "c1"\ncommit = "2.5G"\n'
    tiers = contract + (
        'tiers = [{ from = "0", price_per_mbps = 1.2 }, { from = "10G", price_per_mbps = 0.1 }]\n'
        "ends = 2027-06-30\nnotice_days = 90\n"
    )
    path.write_text(HEAD + BODY.replace(contract, tiers) + COMMERCIAL)
    network = load(path)
    assert [(t.from_, t.price_per_mbps) for t in network.contracts[0].tiers] == [
        (0, Decimal("1.2")), (10**10, Decimal("0.1")),
    ]  # fmt: skip
    assert network.peering_costs.port_per_month == {10**10: Decimal(500), 10**11: Decimal("1800.5")}
    assert (network.policy.weights.inferred, network.policy.weights.declared) == (0.2, 0.3)
    assert network.announcements[0].scope == "region"
    assert network.fx[0].from_ == "EUR"
    assert network.tables()["contracts"]["timezone"].to_pylist() == ["UTC"]


def test_an_upgraded_link_has_a_section_for_each_time(tmp_path: Path) -> None:
    path = tmp_path / "flowpeer.toml"
    before = BODY.replace('capacity = "100G"\n', 'capacity = "100G"\nuntil = 2026-07-01\n')
    section = BODY[BODY.index("[[interfaces]]") :].replace('"100G"', '"400G"')
    path.write_text(HEAD + before + section + "from = 2026-07-01\n")
    network = load(path)
    key = ("edge1.ams", 11)
    june, july = datetime(2026, 6, 30, 23, tzinfo=UTC), datetime(2026, 7, 1, tzinfo=UTC)
    assert network.interfaces_at(june)[key].capacity == 10**11
    assert network.interfaces_at(july)[key].capacity == 4 * 10**11
    assert network.interface_by_key[key].capacity == 4 * 10**11
    error = refused(tmp_path, HEAD + before + section + "from = 2026-06-30\n")
    assert "stands twice for the same time" in str(error.problems)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('[[fx]]\nform = "EUR"\nto = "USD"\nrate = 1', "unknown key; did you mean `from`?"),
        ('[[fx]]\nfrom = "EUR"\nto = "USD"\nrate = 0', "greater than 0"),
        (
            '[[announcements]]\nprefix = "10.0.0.0/8"\nmetros = ["fra"]',
            "'fra' is no id of [[metros]]",
        ),
        ('[[risk_groups]]\nid = "d1"\ninterfaces = ["edge1.ams:12"]', "no configured interface"),
        (
            2 * '[[risk_groups]]\nid = "d1"\nexporters = ["edge1.ams"]\n',
            "stands here a second time",
        ),
        (2 * '[[announcements]]\nprefix = "198.18.0.0/16"\n', "stands here a second time"),
        (
            "[routing]\n" + 2 * '[[routing.route_scope]]\ncommunity = "64500:1"\nscope = "metro"\n',
            "has two scopes",
        ),
        ('[[metros]]\nid = "fra"\nname = "F"\ntargets = { "174" = 0.5 }', "add up to 0.5"),
        *(
            (
                f'[[metros]]\nid = "fra"\nname = "F"\ntargets = {value}',
                'it must be "commit", "capacity" or shares from 0 to 1 by ASN',
            )
            for value in ('"commits"', "{ AS174 = 1 }", '{ "174" = "1" }', '{ "174" = 2 }', "[1]")
        ),
        ('[[contracts]]\nid = "x"\ntiers = [{ from = "1G", price_per_mbps = 1 }]', 'from = "0"'),
        ('[[contracts]]\nid = "x1"\nprice_per_mbps = -1', "an amount of at least 0"),
        ('[[sessions]]\nasn = 1\nmetro = "ams"\nkind = "ix"\nfrom = "soon"', "a date or time"),
    ],
)
def test_mistakes_in_the_newer_sections_are_named(tmp_path: Path, text: str, problem: str) -> None:
    assert problem in "\n".join(refused(tmp_path, HEAD + BODY + text + "\n").problems)
