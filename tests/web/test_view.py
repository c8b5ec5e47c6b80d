"""The state of a page is its URL."""

from __future__ import annotations

from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowpeer.errors import UsageError
from flowpeer.web.view import DIRECTIONS, FAMILIES, Filters, asn_of, view_of

METROS = ["ams", "nyc"]
PROVIDERS = [174, 2**32 - 1]


@given(
    st.builds(
        Filters,
        period=st.sampled_from(["", "2026Q3", "2026-07-01/2026-07-08"]),
        metros=st.lists(st.sampled_from(METROS), unique=True).map(tuple),
        providers=st.lists(st.sampled_from(PROVIDERS), unique=True).map(tuple),
        direction=st.sampled_from(DIRECTIONS),
        family=st.sampled_from(FAMILIES),
        own=st.dictionaries(
            st.sampled_from(["q", "find", "sort", "filter"]),
            st.text(min_size=1, max_size=50).filter(lambda t: t == t.strip() and t),
        ),
        parameters=st.dictionaries(st.sampled_from(["metro", "top"]), st.just("5")),
    )
)
def test_a_view_comes_back_from_its_url(view: Filters) -> None:
    words = parse_qsl(view.query(), keep_blank_values=True)
    assert view_of(words, known_metros=METROS, known_providers=PROVIDERS) == view


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ([("metro", "lon")], "no metro 'lon'"),
        ([("direction", "up")], "direction 'up'"),
        ([("family", "5")], "family '5'"),
        ([("provider", "x")], "no AS number"),
        ([("asn", "4294967296")], "no AS number"),
        ([("period", "a"), ("period", "b")], "given 2 times"),
        ([("nope", "1")], "no parameter 'nope'"),
        ([("p.Name; DROP", "1")], "no parameter"),
        ([("find", "a" * 201)], "longer than 200"),
        ([("period", "1" * 81)], "the period is too long"),
        ([("period", "2026-13")], "is no period"),
        ([("period", "2026-07-02/2026-07-01")], "ends before it starts"),
        ([("provider", "175")], "none of our transit providers"),
        ([("pick", "lon:174")], "is no pick"),
        ([("pick", "ams:ix")], "is no pick"),
        ([("pick", "ams:x")], "is no pick"),
        ([(f"p.n{n}", "1") for n in range(41)], "41 parameters"),
        ([("limit", "0")], "no number of rows"),
        ([("limit", "10001")], "no number of rows"),
        ([("limit", "٣")], "no number of rows"),
    ],
)
def test_what_is_off_is_refused_by_name(words: list[tuple[str, str]], what: str) -> None:
    with pytest.raises(UsageError, match=what):
        view_of(words, known_metros=METROS, known_providers=PROVIDERS)


def test_numbers_of_networks() -> None:
    assert asn_of("AS64510") == asn_of(" 64510") == 64510
    assert asn_of("-3") == -3
    for text in ("", "AS", "-7", "1.5", "٣", "AS 1", "99999999999"):
        with pytest.raises(UsageError):
            asn_of(text)
