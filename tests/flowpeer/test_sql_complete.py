"""What Tab offers, and when Enter asks."""

from __future__ import annotations

import pytest

from flowpeer.cli.sql_complete import CompletionNames, offers
from flowpeer.cli.sql_terminal import is_whole

COLUMNS = {"traffic": ["slot", "metro", "bytes"], "metros": ["metro", "name"], "mine": ["owner"]}
NAMES = CompletionNames(
    tables=["traffic", "traffic_routes", "metros", "mine"],
    questions={"growth": ["period", "metro", "direction"], "transit_share": ["metro", "bucket"]},
    functions=["sum(", "substr("],
    columns_of=lambda name: COLUMNS.get(name, []),
    commands={".mode": ("table", "csv"), ".schema": ("traffic", "metros"), ".quit": ()},
    values={"direction": ("in", "out")},
)


def offered(text: str) -> list[str]:
    """With the cursor at `|`, each word as it would stand."""
    cursor = text.index("|")
    words, typed = offers(text.replace("|", ""), cursor, NAMES)
    assert all(w.lower().startswith(text[cursor - typed : cursor].lower()) for w in words)
    return words


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (".|", [".mode", ".schema", ".quit"]),
        (".mode c|", ["csv"]),
        (".schema m|", ["metros"]),
        ("SELECT * FROM tr|", ["traffic", "traffic_routes", "transit_share"]),
        ("SELECT * FROM traffic JOIN met|", ["metros"]),
        ("SELECT traffic.m| FROM traffic", ["metro"]),
        ("SELECT t.| FROM traffic AS t", ["slot", "metro", "bytes"]),
        ("SELECT M.n| FROM traffic t, metros m", ["name"]),
        ('SELECT "x".| FROM mine AS "x"', ["owner"]),
        ("FROM growth(metro := 'a') g JOIN mine t WHERE t.|", ["owner"]),
        ("SELECT nothing.|", []),
        ("SELECT su| FROM traffic", ["sum(", "substr(", "SUMMARIZE"]),
        ("SELECT b| FROM traffic", ["bytes", "BETWEEN", "BY"]),
        ("SELECT own| FROM traffic", []),
        ("gro|", ["growth", "GROUP"]),
        ("growth |", ["period=", "metro=", "direction="]),
        ("growth metro=ams |", ["period=", "direction="]),
        ("growth direction=o|", ["out"]),
        ("FROM growth(per|", ["period := "]),
        ("FROM growth(period := '2026Q3', d|", ["direction := ", "DESC", "DESCRIBE", "DISTINCT"]),
        ("FROM growth(period := |", None),
        ("SELECT 'tr|", []),
        ("SELECT 1; SELECT sl| FROM traffic", ["slot"]),
    ],
)  # fmt: skip
def test_offers_fit_the_place(text: str, wanted: list[str] | None) -> None:
    found = offered(text)
    if wanted is None:
        assert not [word for word in found if word.endswith(":= ")]
    else:
        assert found == wanted


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("", True), (".mode csv", True), ("growth metro=ams", True), ("growth;", True),
        ("SELECT 1;", True), ("SELECT 1 ; -- so", True), ("SELECT 1", False),
        ("SELECT 'a;", False), ("SELECT ';'", False), ('SELECT ";', False), ("SELECT (1;", True),
        ("SELECT 1 -- ;", False), ("SELECT /* ;", False), ("growths", False),
    ],
)  # fmt: skip
def test_enter_asks_what_is_whole(text: str, whole: bool) -> None:
    assert is_whole(text, {"growth"}) is whole
