"""The answers add up, and what was planted is there."""

from __future__ import annotations

import numpy as np
import pytest

from flowpeer_sample import answers as a
from flowpeer_sample import world as w
from flowpeer_sample.balance import balance, capacity_bps
from flowpeer_sample.facts import Fact, facts
from flowpeer_sample.networks import CLIQUE, internet
from flowpeer_sample.ranking import rank
from flowpeer_sample.records import records


def fact(key: str) -> Fact:
    return next(f for f in facts() if f.key == key)


def transit_out(metro: str) -> np.ndarray:
    return np.sum(
        [a.slot_bytes(metro, w.TRANSIT_INDEX[p], "out") for p in w.TRANSIT_WEIGHT[metro]], axis=0
    )


def test_crossings_are_all_that_was_exported_and_the_through_traffic_once_more() -> None:
    scaled = sum(c.bytes for c in a.crossings() if c.scaled)
    exported = sum(e.scaled_bytes for e in a.exported() if e.scaled_bytes is not None)
    assert scaled == exported + sum(a.through_bytes().values())
    assert sum(c.bytes for c in a.crossings() if not c.scaled) == a.unscaled_bytes()
    assert a.through_bytes()["nyc"] > 0


def test_every_sum_is_of_the_same_crossings() -> None:
    transit = sum(c.bytes for c in a.crossings() if c.role == "transit" and c.scaled)
    assert transit == sum(a.transit_bytes().values())
    assert transit == sum(v for of in a.origin_bytes().values() for v in of.values())


def test_slots_add_up_to_the_day_on_every_interface() -> None:
    for (metro, provider, way), total in a.transit_bytes().items():
        assert a.slot_bytes(metro, w.TRANSIT_INDEX[provider], way).sum() == total


def test_spreading_equals_a_record_by_record_rule() -> None:
    octets = np.array([7, 1000, 999, 5, 1], np.int64)
    start = np.array([299_999, 299_000, 240_001, 0, 300_000], np.int64)
    end = np.array([300_002, 301_000, 300_001, 0, 300_000], np.int64)
    expected = [0, 0]
    for b, s, e in zip(octets.tolist(), start.tolist(), end.tolist(), strict=True):
        if s == e:
            expected[s // 300_000] += b
            continue
        first = min(e, 300_000) - s if s < 300_000 else 0
        exact = b * first / (e - s)
        low = int(exact)
        expected[0] += low + (1 if exact - low >= 0.5 else 0)
        expected[1] += b - low - (1 if exact - low >= 0.5 else 0)
    assert a.spread(octets, start, end)[:2].tolist() == expected


def test_volumes_look_like_a_small_cloud_network() -> None:
    total = sum(e.scaled_bytes or 0 for e in a.exported()) * 8 / 86_400
    assert 30e9 < total < 100e9
    assert 300_000 < sum(e.records for e in a.exported()) < 450_000
    roles = a.role_bytes()
    out = sum(v for (_, _, _, way), v in roles.items() if way == "out")
    came = sum(v for (_, _, _, way), v in roles.items() if way == "in")
    assert 3 < out / came < 6
    assert {(e.format, sum(x.format == e.format for x in a.exported())) for e in a.exported()} == {
        ("netflow5", 2), ("netflow9", 4), ("ipfix", 3)
    }  # fmt: skip


def test_the_odd_ends_are_there() -> None:
    origins = {n for of in a.origin_bytes().values() for n in of}
    assert {a.UNROUTED, a.PRIVATE, a.AS_SET, a.OWN} <= origins
    roles = {c.role for c in a.crossings()}
    assert roles == {"transit", "peer", "ix", "customer", "unknown", "internal", "discarded",
                     "set_aside"}  # fmt: skip
    rows = records("nyc")
    assert ((rows.columns["input"] == 41) & np.isin(rows.columns["output"], [11, 12, 13])).any()


@pytest.mark.parametrize("accept", [None, lambda asn: 1.0], ids=["by policy", "all say yes"])
def test_the_cone_is_worth_most_and_originates_nothing(accept: object) -> None:
    first, second = rank("fra", 2, accept)  # type: ignore[arg-type]
    assert first.asn == w.CONE == fact("cone").asn
    assert first.own < first.cone / 100
    assert first.marginal > 1.4 * second.marginal


def test_overlapping_cones_are_worth_little_the_second_time() -> None:
    by_policy = rank("ams", 400)
    all_yes = rank("ams", 400, lambda asn: 1.0)
    for asks in (by_policy, all_yes):
        order = [ask.asn for ask in asks]
        assert order[0] == w.OVERLAP_FIRST
        second = asks[order.index(w.OVERLAP_SECOND)]
        assert second.cone > 0.9 * asks[0].cone
        assert second.marginal < 0.1 * second.cone


def test_the_night_network_peaks_when_the_rest_sleeps() -> None:
    night, whole = a.asn_slot_bytes("nyc", w.NIGHT), transit_out("nyc")
    hours, all_hours = night.reshape(24, 12).sum(1), whole.reshape(24, 12).sum(1)
    assert hours.argmax() in np.argsort(all_hours)[:10]
    assert a.p95(night) / night.mean() > 3
    others = whole - night
    assert a.p95(others) / others.mean() < 1.7
    assert a.p95(whole) - a.p95(others) < 0.1 * a.p95(night), "its peak costs nearly nothing"


def test_one_provider_is_overloaded_in_one_metro_only() -> None:
    over = []
    for metro, provider, way in a.transit_bytes():
        port = next(i for i in w.INTERFACES if (i.metro, i.asn) == (metro, provider) and i.contract)
        capacity = capacity_bps(metro, provider)
        slots = a.slot_bytes(metro, port.index, way)
        if a.bps(a.p95(slots)) > 0.8 * capacity:
            over.append((metro, provider, way))
    assert over == [("iad", w.UMBRA.asn, "out")]
    assert 10 <= fact("overload").figures["slots_over_80"] <= 100


def test_a_peer_rides_transit_where_it_has_a_session() -> None:
    figures = fact("leak").figures
    assert a.is_session(w.PEERED, "lon")
    assert figures["transit_out_bps"] > 50e6
    assert figures["exchange_out_bytes"] > figures["transit_out_bytes"]


def test_the_more_specific_route_has_visible_traffic() -> None:
    covering, specific = a.moved_prefixes()
    assert specific.net.subnet_of(covering.net)  # type: ignore[arg-type]
    assert specific.origin != covering.origin
    figures = fact("more-specific").figures
    assert min(figures.values()) > 500e9
    rows = records("chi")
    low = np.asarray(rows.columns["dst"][1])
    inside = (low >> np.uint64(12)) == np.uint64(int(specific.net.network_address) >> 12)
    origins = {rows.streams[k].prefix.origin for k in set(rows.stream[inside].tolist())}  # type: ignore[union-attr]
    assert origins == {w.SPECIFIC}


def test_the_forgotten_interface_carries_a_visible_share() -> None:
    assert 0.05 < fact("unconfigured").figures["share_of_exporter"] < 0.25
    assert fact("no-rate").figures["unscaled_bytes"] == a.unscaled_bytes() > 0


def test_the_ranking_never_asks_those_it_must_not() -> None:
    for m in w.METROS:
        asked = {ask.asn for ask in rank(m.id, 500)}
        assert not asked & {*CLIQUE, w.EXCLUDED, w.CUSTOMER, w.CUSTOMER_OF_CUSTOMER, w.ASN}
        assert not {n for n in asked if a.is_session(n, m.id)}
    assert w.PROVIDER_FREE in {ask.asn for ask in rank("lax", 500)}
    assert w.PEERED in {ask.asn for ask in rank("ams", 500)}


def test_marginals_add_up_to_what_can_be_taken() -> None:
    asks = rank("fra", 500)
    reachable = sum(ask.marginal for ask in asks)
    whole = sum(v for (m, _, way), v in a.transit_bytes().items() if (m, way) == ("fra", "out"))
    assert 0.8 * whole < reachable < whole
    assert all(ask.own <= ask.cone and ask.marginal <= ask.cone for ask in asks)
    assert len({internet().networks[ask.asn].name for ask in asks}) == len(asks)


def test_imbalance_is_between_nought_and_the_largest_excess() -> None:
    for m in w.METROS:
        if m.id == a.UNSCALED_METRO:
            continue
        told = balance(m.id, "out")
        apart = sum(abs(link.share - link.target_share) for link in told.links) / 2
        assert apart <= told.d + 1e-9 < 1, "D of the day's shares is least (convexity)"
        assert sum(link.share for link in told.links) == pytest.approx(1)
        assert all(link.avg_bps <= link.peak_bps for link in told.links)
    worst = max((m.id for m in w.METROS if m.id != "par"), key=lambda m: balance(m, "out").d)
    assert balance(worst, "out").d > 0.15
