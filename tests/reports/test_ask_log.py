"""The log of asks: what is read, what is refused, and the states that follow (METHODS M16)."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowpeer_reports.ask_log import (
    EVENTS,
    HEADER,
    AskEvent,
    asks,
    exclusions,
    outcomes,
    parse,
    sessions,
    standing,
)  # fmt: skip
from flowpeer_reports.errors import ReportError

HEAD = ",".join(HEADER) + "\n"
DAY = date(2026, 5, 4)


def at(days: int, event: str, *, asn: int = 64510, metros: str = "", **more: str) -> str:
    cells = {"date": str(DAY + timedelta(days=days)), "asn": str(asn), "metros": metros,
             "event": event, **more}  # fmt: skip
    return ",".join(cells.get(name, "") for name in HEADER) + "\n"


def states(*lines: str, as_of: date | None = None) -> list[tuple[str, tuple[str, ...]]]:
    return [(a.status, a.metros) for a in asks(parse(HEAD + "".join(lines)), as_of=as_of)]


@contextmanager
def suppress_named() -> Iterator[None]:
    """Errors that name a line are what is expected; others are not."""
    refused = None
    try:
        yield
    except ReportError as error:
        refused = str(error)
    assert refused is None or refused.startswith("line ")


PLAIN = st.characters(blacklist_categories=("Cc", "Cs", "Zl", "Zp"))
TEXT = st.text(st.sampled_from("'=+-@＝ x") | PLAIN, max_size=12).map(str.strip)


@given(
    st.builds(
        AskEvent,
        date=st.dates(date(2000, 1, 1), date(2100, 1, 1)),
        organisation=TEXT,
        asn=st.integers(1, 2**32 - 1),
        metros=st.lists(st.sampled_from(["ams", "fra", "iad"]), unique=True).map(tuple),
        event=st.sampled_from(EVENTS),
        until=st.none() | st.dates(date(2000, 1, 1), date(2100, 1, 1)),
        owner=TEXT,
        note=TEXT,
        predicted_bps=st.none() | st.integers(0, 10**13).map(float),
        predicted_ci95_bps=st.none() | st.integers(0, 10**13).map(float),
        predicted_saving=st.none() | st.decimals(0, 10**9, places=2),
    )
)
def test_what_is_written_is_read_back(event: AskEvent) -> None:
    line = event.line()
    assert line.count("\n") == 1
    assert parse(HEAD + line) == [event]
    for cell in next(csv.reader([line])):
        assert not cell.startswith(tuple("=+-@＝＋－＠﹦﹢﹣﹫")) or cell.lstrip("-").isdecimal()


def test_what_a_spreadsheet_would_run_is_written_as_text_and_read_as_it_was() -> None:
    note = "=cmd|'/c calc'!A0\n+1, \"x\""
    line = AskEvent(DAY, "@SUM(1)", 64510, (), "asked", owner="'-1", note=note).line()
    assert line == (
        "2026-05-04,'@SUM(1),64510,,asked,,''-1,\"'=cmd|'/c calc'!A0 +1, \"\"x\"\"\",,,\n"
    )
    (event,) = parse(HEAD + line)
    assert (event.organisation, event.owner) == ("@SUM(1)", "'-1")
    assert event.note == note.replace("\n", " ")
    # What people wrote stays as it is.
    (event,) = parse(HEAD + at(0, "asked", note="=1+1", owner="o'hara"))
    assert (event.note, event.owner) == ("=1+1", "o'hara")


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused_with_its_line(text: str) -> None:
    with suppress_named():
        parse(HEAD + text)


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("2026-05-04,X,64510", "line 2: 3 cells, not 11"),
        (at(0, "maybe"), "line 2: event = 'maybe'"),
        (at(0, "asked", metros="ams;nyc"), "line 2: metros = 'ams;nyc'"),
        (at(0, "asked", asn=0), "line 2: asn = '0'"),
        (at(0, "declined", until="soon"), "line 2: until = 'soon'"),
        (at(0, "asked", predicted_bps="-1"), "line 2: predicted_bps = '-1'"),
        (at(0, "asked", predicted_saving="NaN"), "line 2: predicted_saving = 'NaN'"),
    ],
)
def test_a_wrong_line_is_named_with_what_is_accepted(line: str, what: str) -> None:
    with pytest.raises(ReportError, match=r"line 2") as raised:
        parse(HEAD + line, metros=["ams", "fra"])
    assert str(raised.value).startswith(what)
    assert raised.value.advice


def test_a_file_without_the_header_is_refused() -> None:
    with pytest.raises(ReportError, match="not the header"):
        parse("a,b\n1,2\n")
    assert parse("") == []


def test_an_ask_goes_through_its_events() -> None:
    plan, ask = at(0, "planned", metros="ams"), at(3, "asked", metros="ams")
    assert states(plan) == [("planned", ("ams",))]
    assert states(plan, ask) == [("asked", ("ams",))]
    assert states(plan, ask, at(9, "answered_yes"), at(30, "live")) == [("live", ("ams",))]
    assert states(plan, ask, at(9, "declined"), as_of=DAY + timedelta(days=8)) == [
        ("asked", ("ams",))
    ]
    # Asked again after a refusal: another ask. Elsewhere: another ask.
    assert states(ask, at(9, "declined"), at(99, "asked", metros="ams")) == [
        ("declined", ("ams",)), ("asked", ("ams",)),
    ]  # fmt: skip
    assert states(ask, at(4, "asked", metros="fra"), at(5, "live", metros="fra")) == [
        ("asked", ("ams",)), ("live", ("fra",)),
    ]  # fmt: skip


def test_the_prediction_of_the_day_stays_with_the_ask() -> None:
    lines = at(0, "planned", predicted_bps="5") + at(
        3, "asked", predicted_bps="7", predicted_saving="12.5"
    )
    (ask,) = asks(parse(HEAD + lines + at(40, "live")))
    assert (ask.opened.predicted_bps, ask.opened.predicted_saving) == (7.0, Decimal("12.5"))
    assert (ask.opened.date, ask.live_since) == (
        DAY + timedelta(days=3), DAY + timedelta(days=40),
    )  # fmt: skip


def test_a_yes_counts_when_live_and_sixty_days_of_silence_are_a_no() -> None:
    log = asks(
        parse(
            HEAD
            + at(0, "asked", asn=1) + at(1, "asked", asn=2) + at(1, "answered_yes", asn=2)
            + at(2, "asked", asn=3) + at(9, "live", asn=3)
            + at(2, "asked", asn=4) + at(9, "declined", asn=4) + at(2, "planned", asn=5)
        )
    )  # fmt: skip
    classes = {1: "open", 2: "open", 3: "open", 4: "selective", 5: "open"}
    assert outcomes(log, classes, DAY + timedelta(days=10)) == {
        "open": (1, 1), "selective": (0, 1),
    }  # fmt: skip
    assert outcomes(log, classes, DAY + timedelta(days=90))["open"] == (1, 3)


def test_a_refusal_excludes_until_its_day_and_a_live_ask_is_a_session() -> None:
    text = HEAD + at(0, "asked", asn=4) + at(9, "declined", asn=4, until="2027-05-01")
    log = asks(parse(text + at(2, "live", asn=3)))
    assert exclusions(log, DAY) == [(4, "declined 2026-05-13", date(2027, 5, 1))]
    assert exclusions(log, date(2027, 5, 2)) == []
    since = DAY + timedelta(days=2)
    assert sessions(log, ["ams", "fra"], DAY) == [(3, "ams", since), (3, "fra", since)]


def test_a_session_is_where_and_since_when_it_was_said_to_be_live() -> None:
    everywhere = at(0, "asked", asn=3)
    text = everywhere + at(9, "live", asn=3, metros="fra") + at(12, "live", asn=3, metros="fra;ams")
    (ask,) = log = asks(parse(HEAD + text))
    first, second = DAY + timedelta(days=9), DAY + timedelta(days=12)
    assert sessions(log, ["ams", "fra", "iad"], DAY) == [(3, "fra", first), (3, "ams", second)]
    assert ask.live_since == first
    # Said of more than was asked for, it holds where it was asked for.
    text = at(0, "asked", metros="ams") + at(9, "live", metros="ams;iad")
    assert sessions(asks(parse(HEAD + text)), ["ams", "fra", "iad"], DAY) == [(64510, "ams", first)]


@pytest.mark.parametrize("end", ["declined", "withdrawn"])
def test_a_session_that_ended_was_there_until_its_end(end: str) -> None:
    text = HEAD + at(0, "asked", asn=3, metros="ams") + at(2, "live", asn=3) + at(9, end, asn=3)
    log, was = asks(parse(text)), [(3, "ams", DAY + timedelta(days=2))]
    for last, there in ((8, was), (9, []), (30, [])):
        assert sessions(log, ["ams", "fra"], DAY + timedelta(days=last)) == there
    # Peered again, it is a session again, of its own.
    again = asks(parse(text + at(20, "live", asn=3, metros="ams")))
    back = [(3, "ams", DAY + timedelta(days=20))]
    assert sessions(again, ["ams"], DAY + timedelta(days=30)) == back
    assert sessions(again, ["ams"], DAY + timedelta(days=8)) == was + back


def test_where_the_last_ask_stands_in_a_metro() -> None:
    log = asks(parse(HEAD + at(0, "asked", metros="ams;fra", owner="ana")
                     + at(5, "asked", metros="nyc") + at(9, "answered_yes", metros="ams;fra")
                     + at(12, "withdrawn", metros="nyc")))  # fmt: skip
    assert standing(log, ["ams"]) == "answered yes 2026-05-13, ana"
    assert standing(log, ["nyc"]) is None
    assert standing(log, ["nyc", "fra"]) == "answered yes 2026-05-13, ana"
    assert standing([], ["ams"]) is None
