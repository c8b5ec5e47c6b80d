"""`check`: do the collectors' clocks agree?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import combinations
from statistics import median

from flowpeer.checks.findings import Finding
from flowpeer.lake.units import UnitRecord

DIFFERENCE_S = 5
"""An exporter may state whole seconds, and its datagrams be a second under way."""


def clocks(units: Iterable[UnitRecord]) -> Iterator[Finding]:
    """Pairs of collectors whose clocks differ, by the export times of the same exporters.

    Compared is what both received from an exporter on one day, at once or one after the other: an
    exporter's own clock may be wrong, and be set on another day.
    """
    errors: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for unit in units:
        if not unit.collector or unit.first_received is None:
            continue
        for ip, counts in unit.exporters.items():
            if counts.clock_error_s is not None:
                day = unit.first_received[:10]
                errors[ip, day][unit.collector].append(counts.clock_error_s)
    differences: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for (ip, _), by_collector in errors.items():
        for one, other in combinations(sorted(by_collector), 2):
            later = median(by_collector[other]) - median(by_collector[one])
            differences[one, other][ip].append(later)
    for (one, other), by_exporter in sorted(differences.items()):
        seconds = median(median(some) for some in by_exporter.values())
        if abs(seconds) > DIFFERENCE_S:
            behind, ahead = (one, other) if seconds > 0 else (other, one)
            yield Finding(
                "warning", f"collector {ahead}",
                f"its clock is {abs(seconds):,.0f} s ahead of that of {behind}, by the export times"
                f" of {len(by_exporter):,} exporters that both received from: their traffic is in "
                "other slots by as much",
                "set both by NTP; what is in the lake stays as it is", "collector-clock",
            )  # fmt: skip
