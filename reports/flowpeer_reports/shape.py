"""The 95th percentile of a set of routes, from slots by ASN and hours by route (METHODS M8).

Small networks may be kept by the hour only: their routes are marked `folded`, and their slots are
not known. They are left out of a row's series, so that its percentile is a lower bound (METHODS
M5): an estimate while they are at most 5 % of the row's bytes, and none beyond.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

from flowpeer_core.percentile import p95_sparse
from flowpeer_core.slots import SLOT_SECONDS
from flowpeer_reports.inputs import Inputs, covered, transit

_LINK = ["exporter", "interface", "direction"]


def p95_of_rows(
    inputs: Inputs, directions: Sequence[str], routes: pl.DataFrame, slots: pl.DataFrame
) -> pl.DataFrame:
    """row, p95_bps, estimate: each row's routes over the metro's covered slots, missing as zeros.

    `routes`: metro, prefix, origin_asn, row (each route of a metro in one row at most);
    `slots`: row, n. A slot's traffic of an ASN on an interface goes to a row by the share of
    that ASN's bytes on that interface in that hour which is the row's: exact for whole ASNs.
    With several directions, the larger one of each slot counts. `estimate`: some of its bytes are
    of folded hours; p95_bps is null where these are more than 5 %.
    """
    of_routes = transit(inputs.traffic_routes, inputs, "hour_start").filter(
        pl.col("scaled"), pl.col("direction").is_in(list(directions))
    )
    if "folded" not in of_routes.collect_schema():
        of_routes = of_routes.with_columns(folded=pl.lit(False))
    folded = (
        of_routes.join(routes.lazy(), on=["metro", "prefix", "origin_asn"], nulls_equal=True)
        .group_by("row")
        .agg(pl.col("bytes").sum(), folded=pl.col("bytes").filter(pl.col("folded")).sum())
        .filter(pl.col("folded") > 0)
        .select("row", refused=20 * pl.col("folded") > pl.col("bytes"))
        .collect()
    )
    days = (_of_day(inputs, directions, routes, of_routes, day) for day in _days(inputs))
    ordered = slots.sort("row")
    number = pl.DataFrame({"row": ordered["row"], "place": np.arange(ordered.height)})
    p95 = p95_sparse(
        (
            (found["place"].to_numpy(), found["part"].to_numpy())
            for found in (day.join(number, on="row") for day in days)
        ),
        ordered["n"].to_numpy(),
    )
    return (
        ordered.select("row", bits=pl.Series(p95).cast(pl.Float64) * 8)
        .join(folded, on="row", how="left")
        # Rounded: the last bit of a division depends on how many are divided at once.
        .select(
            "row",
            p95_bps=pl.when(pl.col("refused").fill_null(False))
            .then(None)
            .otherwise((pl.col("bits") / SLOT_SECONDS).round(3)),
            estimate=pl.col("refused").is_not_null(),
        )
        .sort("row")
    )


def _days(inputs: Inputs) -> list[datetime]:
    """The UTC days of the period; a quarter at once would not fit into memory."""
    first = inputs.period_start.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    count = -(-(inputs.period_end - first) // timedelta(days=1))
    return [first + timedelta(days=i) for i in range(count)]


def _on(frame: pl.LazyFrame, time: str, day: datetime) -> pl.LazyFrame:
    if "date" in frame.collect_schema():  # of the files' folders: others are not opened
        frame = frame.filter(pl.col("date") == day.date())
    return frame.filter(pl.col(time) >= day, pl.col(time) < day + timedelta(days=1))


def _of_day(
    inputs: Inputs,
    directions: Sequence[str],
    routes: pl.DataFrame,
    of_routes: pl.LazyFrame,
    day: datetime,
) -> pl.DataFrame:
    """row, part: bytes of each slot of a day in which a row has traffic."""
    by_hour = (
        _on(of_routes, "hour_start", day)
        .join(routes.lazy(), on=["metro", "prefix", "origin_asn"], how="left", nulls_equal=True)
        .group_by("hour_start", "origin_asn", "row", *_LINK)
        .agg(pl.col("bytes").sum())
        .with_columns(
            share=pl.col("bytes") / pl.col("bytes").sum().over("hour_start", "origin_asn", *_LINK)
        )
        .filter(pl.col("row").is_not_null(), pl.col("bytes") > 0)
        .select("hour_start", "origin_asn", "row", "share", *_LINK)
    )
    return (
        covered(_on(transit(inputs.traffic, inputs, "slot"), "slot", day), inputs)
        .filter(
            pl.col("scaled"), pl.col("direction").is_in(list(directions)), pl.col("remote_asn") > 0
        )
        .select("slot", "remote_asn", "bytes", *_LINK)
        .with_columns(hour_start=pl.col("slot").dt.truncate("1h"))
        .join(
            by_hour,
            left_on=["hour_start", "remote_asn", *_LINK],
            right_on=["hour_start", "origin_asn", *_LINK],
            nulls_equal=True,
        )
        # Rounded before summing: a sum of integers does not depend on its order.
        .with_columns(part=(pl.col("bytes") * pl.col("share")).round().cast(pl.Int64))
        .group_by("row", "slot", "direction")
        .agg(pl.col("part").sum())
        .group_by("row", "slot")
        .agg(pl.col("part").max())
        .select("row", "part")
        .collect()
    )
