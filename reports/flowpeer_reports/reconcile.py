"""Where every byte of the transit total went; nothing is dropped in silence (METHODS M13)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from flowpeer_reports.columns import NOT_LISTED, schema
from flowpeer_reports.exclusions import CLIQUE, origin_reason
from flowpeer_reports.inputs import Inputs, transit
from flowpeer_reports.ranking import Listing, Ranking, bps
from flowpeer_reports.relations import Positions
from flowpeer_reports.universe import Routes, Universe

BEYOND = "beyond the asks listed"
NOTHING_CHOSEN = "nothing in the chosen direction"
UNSCALED = "no sampling rate known"
_WAY = ["metro", "direction", "scaled", "bytes"]


def unlisted(
    inputs: Inputs, ranking: Ranking, routes: Routes, early: pl.DataFrame, limited: bool,
    *, organisations: bool = False,
) -> pl.DataFrame:  # fmt: skip
    """The columns NOT_LISTED: each metro's routes that no row holds, by the reason of their origin.

    Networks of the clique stand alone, by name: they sell peering, or give it for something.
    `routes` has the unscaled bytes too; `early` is what rode transit before a session came up
    (`Universe.early`); `limited`: the list was cut short by a number of asks; `organisations`: the
    rows are theirs, not those of each metro.
    """
    origins, never, names = ranking.cover.origins, ranking.never, inputs.names()
    why = {int(o): origin_reason(int(o), never) for o in np.unique(origins)}
    reasons = np.array([why[int(o)] for o in origins], dtype=object)
    bare_metros = set(routes.links.filter(~pl.col("scaled"))["metro"])
    frames = [pl.DataFrame(schema=schema(NOT_LISTED))]
    for number, listing in enumerate(ranking.metros):
        owner = listing.owner
        if organisations:
            owner = ranking.organisations.owner[ranking.cells.of(number)]
        frames.append(_remainder(ranking, listing, owner, reasons, names, limited))
        frames.append(_before(early.filter(pl.col("metro") == listing.name), names))
        if listing.name in bare_metros:
            bare = routes.of(listing.name).filter(~pl.col("scaled"))
            frames.append(
                pl.DataFrame(
                    [(listing.name, UNSCALED, bare["origin_asn"].n_unique(), 0, 0, 0,
                      int(bare["bytes"].sum()), None, None)],
                    schema=schema(NOT_LISTED),
                    orient="row",
                )
            )  # fmt: skip
    return pl.concat(frames)


def _remainder(
    ranking: Ranking, listing: Listing, owner: Positions, reasons: Any, names: dict[int, str],
    limited: bool,
) -> pl.DataFrame:  # fmt: skip
    """What is in no row of one metro, its cells being held by the rows of `owner`."""
    cells, base = ranking.cells, listing.base
    part = slice(base, base + len(owner))
    out, in_, chosen, atom = (v[part] for v in (cells.out, cells.in_, cells.chosen, cells.atom))
    unowned = np.flatnonzero(owner < 0)
    origin = ranking.cover.origins[atom[unowned]]
    default = np.where(limited & (chosen[unowned] > 0), BEYOND, NOTHING_CHOSEN)
    reason = [r or d for r, d in zip(reasons[atom[unowned]], default, strict=True)]
    alone = [
        ranking.parties.of(int(o)) if r == CLIQUE else None
        for o, r in zip(origin, reason, strict=True)
    ]
    return (
        pl.DataFrame(
            {"reason": reason, "asn": alone, "origin": origin, "out_bytes": out[unowned],
             "in_bytes": in_[unowned]},
            schema={"reason": pl.String, "asn": pl.Int64, "origin": pl.Int64,
                    "out_bytes": pl.Int64, "in_bytes": pl.Int64},
        )
        .group_by("reason", "asn")
        .agg(pl.col("origin").n_unique().cast(pl.Int64).alias("asns"),
             pl.col("out_bytes").sum(), pl.col("in_bytes").sum())
        .with_columns(bytes=pl.col("out_bytes") + pl.col("in_bytes"))
        .sort("bytes", "reason", "asn", descending=[True, False, False])
        .select(pl.lit(listing.name).alias("metro"), "reason", "asns", "out_bytes", "in_bytes",
                "bytes", pl.lit(0, pl.Int64).alias("unscaled_bytes"), "asn",
                pl.col("asn").replace_strict(names, default=None, return_dtype=pl.String)
                .alias("name"))
    )  # fmt: skip


def _before(early: pl.DataFrame, names: dict[int, str]) -> pl.DataFrame:
    """What rode transit in one metro before its session came up, by network."""
    octets = [
        pl.col("bytes").filter(pl.col("direction") == way).sum().alias(f"{way}_bytes")
        for way in ("out", "in")
    ]
    return (
        early.group_by("metro", "since", "asn")
        .agg(pl.col("origin_asn").n_unique().alias("asns"), *octets, pl.col("bytes").sum())
        .sort("bytes", "asn", descending=[True, False])
        .with_columns(
            reason=pl.format("peered since {}", pl.col("since").dt.date()),
            unscaled_bytes=pl.lit(0, pl.Int64),
            name=pl.col("asn").replace_strict(names, default=None, return_dtype=pl.String),
        )
        .select(pl.col(n).cast(k) for n, k in schema(NOT_LISTED).items())
    )


def account(
    inputs: Inputs,
    ranking: Ranking,
    world: Universe,
    rows: pl.DataFrame,
    organisations: pl.DataFrame,
    not_listed: pl.DataFrame,
    not_listed_organisations: pl.DataFrame,
) -> dict[str, dict[str, Any]]:
    """By metro and `all`; every scaled byte of the universe (`Universe.octets`), what came too
    early for a session among it, in one of three places, of either list."""
    carried = {(m, d, s): n for m, d, s, n in world.octets.select(_WAY).iter_rows()}
    before = early_rates(inputs, world.early, ranking.directions)
    totals: dict[str, dict[str, Any]] = {}
    for m in ranking.metros:
        total = {d: carried.get((m.name, d, True), 0) for d in ("out", "in")}
        listed = rows.filter(pl.col("metro") == m.name)
        rest = not_listed.filter(pl.col("metro") == m.name)
        for d, total_bytes in total.items():
            parts = int(listed[f"{d}_bytes"].sum()) + int(rest[f"{d}_bytes"].sum())
            assert parts == total_bytes, f"{m.name} {d}: {parts} bytes placed of {total_bytes}"
        totals[m.name] = {
            "slots": m.slots,
            "transit_bps": bps(_rate(ranking, m) + before.get(m.name, 0.0), m.slots),
            **placed(m.candidates, listed, rest),
            "out_bytes": total["out"],
            "in_bytes": total["in"],
            "unscaled_bytes": sum(carried.get((m.name, d, False), 0) for d in ("out", "in")),
        }
    for d in ("out", "in"):
        beside = not_listed_organisations[f"{d}_bytes"]
        parts = int(organisations[f"{d}_bytes"].sum()) + int(beside.sum())
        total_bytes = sum(t[f"{d}_bytes"] for t in totals.values())
        assert parts == total_bytes, f"organisations {d}: {parts} bytes placed of {total_bytes}"
    whole_: dict[str, Any] = {
        key: sum(t[key] for t in totals.values())
        for key in ("transit_bps", "candidates", "already_peered_bytes", "listed_bytes",
                    "not_listed_bytes", "out_bytes", "in_bytes", "unscaled_bytes")
    }  # fmt: skip
    whole_["transit_bps"] = round(whole_["transit_bps"], 3)
    return {**totals, "all": {"slots": None, **whole_}}


def placed(candidates: int, rows: pl.DataFrame, beside: pl.DataFrame) -> dict[str, int]:
    """What a list, and what is not in it, make of the bytes of both directions."""
    asked = rows.filter(pl.col("rank").is_null() | (pl.col("rank") > 0))
    in_rows, in_asks = (
        sum(int(f[c].sum()) for c in ("out_bytes", "in_bytes")) for f in (rows, asked)
    )
    return {
        "candidates": candidates,
        "already_peered_bytes": in_rows - in_asks,
        "listed_bytes": in_asks,
        "not_listed_bytes": int(beside["bytes"].sum()),
    }


def early_rates(inputs: Inputs, early: pl.DataFrame, directions: Sequence[str]) -> dict[str, float]:
    """Metro → bytes, as averages count them, that came too early for a session."""
    if early.is_empty():
        return {}
    weighed = (
        early.filter(pl.col("direction").is_in(list(directions)))
        .join(inputs.silence(), on=["metro", "exporter"], how="left")
        .group_by("metro")
        .agg((pl.col("bytes") * pl.col("weight").fill_null(1.0)).sum())
    )
    return dict(weighed.iter_rows())


def _rate(ranking: Ranking, listing: Listing) -> float:
    part = slice(listing.base, listing.base + len(listing.owner))
    return float(ranking.cells.rate[part].sum())


def bare_notes(totals: dict[str, dict[str, Any]]) -> list[str]:
    """Notes for metros with traffic that cannot be scaled."""
    return [
        f"{metro}: {total['unscaled_bytes']:,} transit bytes as exported have no sampling rate and "
        "are in no row"
        for metro, total in totals.items()
        if metro != "all" and total["unscaled_bytes"]
    ]


def disagreements(
    inputs: Inputs, universe: Universe, scaled: Mapping[tuple[str, str], int]
) -> list[str]:
    """Notes where slots and hours do not hold the same bytes: then the lake is damaged. `scaled`:
    what slots hold by metro and direction, as it was read."""
    bare = transit(inputs.traffic, inputs, "slot").filter(~pl.col("scaled"))
    by_slot = pl.concat(
        [
            bare.group_by("metro", "direction", "scaled").agg(pl.col("bytes").sum()).collect(),
            pl.DataFrame(
                [(*way, True, sums) for way, sums in scaled.items()], orient="row",
                schema={"metro": pl.String, "direction": pl.String, "scaled": pl.Boolean,
                        "bytes": pl.Int64},
            ),
        ]
    )  # fmt: skip
    both = by_slot.filter(pl.col("metro").is_in(universe.metros)).join(
        universe.octets,
        on=["metro", "direction", "scaled"],
        how="full",
        coalesce=True,
        suffix="_routes",
    )
    both = both.with_columns(pl.col("bytes", "bytes_routes").fill_null(0)).filter(
        pl.col("bytes") != pl.col("bytes_routes")
    )
    return [
        f"{metro} {direction}: traffic holds {slots:,} transit bytes and traffic_routes "
        f"{routes:,}; run the verification of the lake before using this list"
        for metro, direction, slots, routes in both.sort("metro", "direction")
        .select("metro", "direction", "bytes", "bytes_routes")
        .iter_rows()
    ]
