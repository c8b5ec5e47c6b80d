"""How good the data behind a metro's figures are: a grade, and what sets it.

A grade is the worst of its factors; nothing is weighed against anything else. A factor's limits
are stated once, in `LIMITS`, and in the methods page.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl

from flowpeer_core.asns import AS_SET, NO_ADDRESS, PRIVATE, UNROUTED
from flowpeer_reports.columns.column import schema
from flowpeer_reports.columns.grades import GRADES
from flowpeer_reports.inputs import Inputs

LIMITS: Mapping[str, tuple[float, float, float]] = {
    "slots not covered": (0.01, 0.05, 0.20),
    "unknown bytes": (0.01, 0.05, 0.20),
    "age of routing tables": (7.0, 31.0, 92.0),
    "age of PeeringDB": (31.0, 92.0, 366.0),
    "providers without a view": (0.0, 0.5, 0.99),
}
"""Factor → the most that A, B and C allow; beyond is D, and so is what is not there at all."""
_DAY = 86_400
_NOBODY = (UNROUTED, PRIVATE, AS_SET, NO_ADDRESS)
_PEER = re.compile(r"AS(\d+)@")


def grades(inputs: Inputs, metros: Sequence[str]) -> pl.DataFrame:
    """One row a metro, in `columns.grades.GRADES`."""
    carried = _bytes(inputs)
    made = [_grade(inputs, metro, carried.get(metro, (0, 0, 0))) for metro in metros]
    return pl.DataFrame(made, schema=schema(GRADES), orient="row")


def _grade(inputs: Inputs, metro: str, carried: tuple[int, int, int]) -> dict[str, Any]:
    scaled, unknown, bare = carried
    slots, missing = inputs.slots.get(metro, 0), inputs.missing_slots.get(metro, 0)
    links = inputs.interfaces.filter(
        pl.col("metro") == metro, pl.col("role") == "transit", pl.col("asn").is_not_null()
    )
    routers = set(links["exporter"])
    here = inputs.tables.filter(pl.col("vantage").is_in(["", metro, *routers]))
    tables = list(here.select("taken_at", "views").iter_rows())
    providers = set(links["asn"])
    seen = {int(m[1]) for _, views in tables for v in views if (m := _PEER.match(v))}
    registry = inputs.registry_times.get("peeringdb")
    facts = {
        "covered_share": slots / (slots + missing) if slots + missing else None,
        "unknown_share": unknown / scaled if scaled else None,
        "table_age_days": _oldest(inputs, [taken for taken, _ in tables]),
        "peeringdb_age_days": (
            None if registry is None
            else abs((inputs.period_end - registry).total_seconds()) / _DAY
        ),
    }  # fmt: skip
    covered, without = facts["covered_share"], len(providers - seen)
    factors = {
        "slots not covered": None if covered is None else 1 - covered,
        "unknown bytes": facts["unknown_share"],
        "age of routing tables": facts["table_age_days"],
        "age of PeeringDB": facts["peeringdb_age_days"],
        "providers without a view": without / len(providers) if providers else 0.0,
    }
    found = {name: letter(name, value) for name, value in factors.items()}
    if bare:
        if not scaled:
            del found["unknown bytes"]
        found["no sampling rate"] = "C" if scaled else "D"
    worst = max(found.values())
    return {
        "metro": metro, "grade": worst,
        "set_by": [f"{name}: {grade}" for name, grade in found.items() if grade != "A"],
        "providers": len(providers), "providers_with_view": len(providers & seen),
        "unscaled_bytes": bare, **facts,
    }  # fmt: skip


def letter(factor: str, value: float | None) -> str:
    """The grade of one factor; D for what is not known."""
    if value is None:
        return "D"
    return next(
        (grade for grade, most in zip("ABC", LIMITS[factor], strict=True) if value <= most), "D"
    )


def _bytes(inputs: Inputs) -> dict[str, tuple[int, int, int]]:
    """Metro → scaled transit and unknown bytes, those of them that nobody stands for, and transit
    bytes without a rate."""
    ours = pl.col("role") == "transit"
    nobody = ~ours | pl.col("remote_asn").is_in(list(_NOBODY))
    start, end = (t.astimezone(UTC) for t in (inputs.period_start, inputs.period_end))
    rows = (
        inputs.traffic.filter(
            pl.col("role").is_in(["transit", "unknown"]), pl.col("direction").is_in(["in", "out"]),
            pl.col("slot") >= start, pl.col("slot") < end,
        )
        .group_by("metro")
        .agg(
            pl.col("bytes").filter(pl.col("scaled")).sum().alias("scaled"),
            pl.col("bytes").filter(pl.col("scaled") & nobody).sum().alias("nobody"),
            pl.col("bytes").filter(~pl.col("scaled") & ours).sum().alias("bare"),
        )
        .collect()
    )  # fmt: skip
    return {metro: (scaled, unknown, bare) for metro, scaled, unknown, bare in rows.iter_rows()}


def _oldest(inputs: Inputs, taken: Sequence[datetime]) -> float | None:
    """Days that the newest table was old at most; before the first one, days until it came."""
    if not taken:
        return None
    times = np.array(sorted(t.timestamp() for t in taken))
    first, last = inputs.period_start.timestamp(), inputs.period_end.timestamp()
    ends = np.array([*times[(times > first) & (times < last)], last])
    newest = np.searchsorted(times, ends, side="left") - 1
    ages = (ends - times[np.maximum(newest, 0)])[newest >= 0]
    return float(max(ages.max(initial=0.0), times[0] - first)) / _DAY
