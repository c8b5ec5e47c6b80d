"""A manifest that grows says what one made of all its files at once says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from flowpeer.lake import codec
from flowpeer.lake.manifest import File, Header, Manifest, PrunedFile, UnitEntry, summarised
from flowpeer_ingest.parts import FlowFacts

KEY = "manifests/flows/date=2026-09-16/hour=07.json"
small = st.integers(0, 3)
by_interface = st.dictionaries(st.integers(0, 2), st.integers(1, 15), max_size=2)
addresses = st.sampled_from(["192.0.2.1", "192.0.2.2"])


@st.composite
def facts(draw: Any) -> FlowFacts:
    octets = st.lists(small, min_size=12, max_size=12).map(tuple)
    span = st.tuples(small, small, small, small)
    return FlowFacts(
        hours=tuple(sorted(draw(st.sets(st.sampled_from(["2026-09-16T06", "2026-09-16T07"]))))),
        seen=draw(st.dictionaries(addresses, by_interface, max_size=2)),
        unrated=draw(st.dictionaries(addresses, small, max_size=1)),
        announced=tuple(draw(st.lists(addresses, max_size=1))),
        octets=draw(st.dictionaries(addresses, st.dictionaries(small, octets), max_size=2)),
        spans=draw(st.dictionaries(addresses, st.dictionaries(small, span), max_size=2)),
    )


@st.composite
def files(draw: Any, number: int) -> File:
    path = f"flows/date=2026-09-16/hour=07/segment-{number:012d}-{draw(small):08x}-00.parquet"
    unit = UnitEntry(path, draw(st.text("0f", min_size=1, max_size=2)), draw(small), True,
                     draw(st.none() | facts()))  # fmt: skip
    return File(path, draw(small), draw(small), unit.sha256, {"bytes": draw(small)},
                layout=draw(st.sampled_from([2, 3])), units=(unit,))  # fmt: skip


@settings(max_examples=examples(200))
@given(st.data())
def test_each_generation_has_the_header_of_its_files(data: st.DataObject) -> None:
    manifest = Manifest.empty("flows", "2026-09-16T07")
    for step in range(data.draw(st.integers(1, 6))):
        kept = list(manifest.files)
        kind = data.draw(st.sampled_from(["add", "add", "add", "prune", "replace", "drop"]))
        if kept and kind != "add":
            old = kept.pop(data.draw(st.integers(0, len(kept) - 1)))
            if kind == "prune":
                kept.append(replace(old, pruned=PrunedFile("2026-10-01T00:00:00Z")))
            if kind == "replace":
                kept.append(replace(data.draw(files(99)), path=old.path))
        else:
            kept += [data.draw(files(10 * step + i)) for i in range(data.draw(small))]
        made = manifest.next(kept, pending={}, retired=())
        assert replace(made.header, generation=0) == summarised(
            "flows", "2026-09-16T07", made.files
        )
        octets = codec.encode_next(manifest, made, KEY)
        header, lines = codec.decode_lines(octets, KEY, Header, File)
        assert (header, tuple(lines)) == (made.header, made.files)
        own = data.draw(st.booleans())  # else another process goes on
        manifest = codec.decode(octets, KEY) if own else Manifest(header, tuple(lines))
        assert manifest == made
        assert (manifest.lines is not None) == own
