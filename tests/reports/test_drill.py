"""The drill against a drill in plain Python, slot by slot and to the byte."""

from __future__ import annotations

import pytest
from drill_world import random_world

from flowpeer_reports.drill import after
from flowpeer_reports.removals import disjoint, groups, site


@pytest.mark.parametrize("seed", range(24))
def test_every_removal_equals_the_drill_in_plain_python(seed: int) -> None:
    world = random_world(seed)
    compiler = world.compiler()
    links = world.frame()
    removals = groups(links, {"duct": [0, len(world.links) - 1]})
    metros = list(dict.fromkeys(link.metro for link in world.links))
    removals += [site(links, m, None, metros) for m in metros]
    removals += [site(links, a, b, metros) for a in metros for b in metros if a != b]
    for batch in disjoint(removals):
        for removal, falls in zip(batch, compiler.compile(batch), strict=True):
            expected = world.drill(removal)
            for way, fall in zip(("out", "in"), falls, strict=True):
                state = after(compiler, removal, fall, way)
                want = expected[way]
                assert state.gone.tolist() == want["gone"].tolist(), (removal, way)
                assert state.without_way.tolist() == want["no way"].tolist(), (removal, way)
                place = {link: i for i, link in enumerate(state.links.tolist())}
                for link in range(len(world.links)):
                    if link in removal.links:
                        assert link not in place
                        continue
                    got = state.bytes[place[link]] if link in place else world.loads[way][link]
                    assert got.tolist() == want[link].tolist(), (removal, way, link)
                before = world.loads[way].sum(axis=0)
                now = sum(want[i] for i in want)
                assert before.tolist() == now.tolist()
