"""Which collectors received from an exporter, against those that it names."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from flowpeer.checks.affinity import affinity

TWO = ("192.0.2.1", "192.0.2.2")
EXPORTED: dict[str, tuple[str, dict[int, tuple[str, ...]]]] = {
    "a": ("ams1", {1: TWO, 2: TWO[:1], 5: TWO}),
    "b": ("ams2", {2: TWO, 3: TWO[1:], 4: TWO}),
    "c": ("", {1: TWO, 6: TWO}),
}  # fmt: skip
"""unit: its collector, and by hour the exporters whose datagrams it holds."""


def record() -> Any:
    hours: dict[int, dict[str, Any]] = {}
    for unit, (_, held) in EXPORTED.items():
        for hour, exporters in held.items():
            holder = SimpleNamespace(path=f"flows/x/{unit}.parquet", spans=dict.fromkeys(exporters))
            hours.setdefault(hour, {})[unit] = holder
    headers = {
        datetime(2026, 9, 16, hour, tzinfo=UTC): SimpleNamespace(holders=holders)
        for hour, holders in hours.items()
    }
    return SimpleNamespace(
        headers=lambda table, damaged: headers,
        unit=lambda name: SimpleNamespace(collector=EXPORTED[name][0]),
    )


@pytest.mark.parametrize(
    ("collectors", "expected"),
    [
        ((), []),
        (("ams1", "ams2"),
         [("collector ams2 received from it in 2 hours from 2026-09-16 03:00 to "
          "2026-09-16 04:00 in which ams1 did not: failover, and nothing of it is duplicate")]),
        (("ams2", "ams1"),
         [("collector ams1 received from it in 2 hours from 2026-09-16 01:00 to "
          "2026-09-16 05:00 in which ams2 did not: failover, and nothing of it is duplicate")]),
        (("ams1",),
         [("collector ams2 received from it in 3 hours from 2026-09-16 02:00 to 2026-09-16 04:00, "
          "and is none of its collectors (ams1)")]),
    ],
)  # fmt: skip
def test_others_and_those_that_stood_in_are_told(
    collectors: tuple[str, ...], expected: list[str]
) -> None:
    edge = SimpleNamespace(id="edge1", addresses=TWO, collectors=collectors)
    network: Any = SimpleNamespace(exporter_by_address=dict.fromkeys(TWO, edge))
    found = list(affinity(network, record()))
    assert [finding.text for finding in found] == expected
    assert all((f.level == "warning") == (f.code == "other-collector") for f in found)
    assert all(f.subject == "exporter edge1" for f in found)
