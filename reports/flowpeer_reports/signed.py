"""The network as it is once the first asks are answered with yes (METHODS M12).

The observed routes of an ask leave transit, outbound, hour by hour and to the byte, for the link
that it meets us on: our port at the exchange, else a link that is planned and that nothing else is
known of. That link offers these routes before every other, so that they fall back to transit when
it goes. A slot is split by the routes of its hour.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from flowpeer_core.slots import SLOT_SECONDS
from flowpeer_reports.candidates import universe
from flowpeer_reports.columns import schema
from flowpeer_reports.columns.drill import DRILL_ASKS
from flowpeer_reports.failover import STAYS, Failover
from flowpeer_reports.feasibility import Feasibility
from flowpeer_reports.inputs import Inputs
from flowpeer_reports.loads import Loads
from flowpeer_reports.meeting import BILATERAL, ELSEWHERE, JOIN_IX, ROUTE_SERVERS, MeetingPlaces
from flowpeer_reports.offers import Choice, Offers, places
from flowpeer_reports.ranking import Ranking, rank
from flowpeer_reports.relations import Ints
from flowpeer_reports.what_if import taken_cells

_ROUTE = ["metro", "prefix", "origin_asn"]
_ROUTES = {"rank": pl.Int64, "metro": pl.String, "prefix": pl.String, "origin_asn": pl.Int64}
_ROWS = {"rank": pl.Int64, "asn": pl.Int64, "name": pl.String, "metro": pl.String,
         "rung": pl.Int64, "meet": pl.String, "ix": pl.Int64, "facility": pl.Int64}  # fmt: skip
_HERE = ("metro", "exporter", "interface", "exchange", "facility", "capacity_bps")


@dataclass(frozen=True, slots=True)
class Asks:
    """The first rows of the list of organisations, or those that are signed.

    Attributes:
        rows: rank, asn, name, metro, rung, meet, ix, facility; one a network and metro in which it
            takes anything.
        routes: rank, metro, prefix, origin_asn: observed for that row, taken by none above it.
        called: what they are: `the first 3 asks`.
    """

    rows: pl.DataFrame
    routes: pl.DataFrame
    called: str


@dataclass(frozen=True, slots=True)
class SignedNetwork:
    """What drills are made from, with the asks in place.

    Attributes:
        found, offers, choice: as they are then; further links come last, so those that there were
            keep their numbers.
        moved: link, prefix, origin_asn, to: the outbound routes that leave by another link then.
        asks: the columns of `DRILL_ASKS`.
    """

    found: Loads
    offers: Offers
    choice: Choice
    moved: pl.DataFrame
    asks: pl.DataFrame
    notes: list[str]


def first_asks(inputs: Inputs, count: int) -> Asks:
    """The first `count` asks of the list of organisations, outbound, as `candidates` has them."""
    world = universe(inputs, None)
    where = MeetingPlaces(inputs, world.parties)
    ranking = rank(inputs, world, ("out",), Feasibility(inputs, where, None), count)
    return asks_of(ranking, where, inputs.names())


def signed_asks(inputs: Inputs, picks: Sequence[tuple[int, Sequence[str]]]) -> Asks:
    """The observed routes of networks in metros (none: in all), outbound, each less what those
    before it take."""
    world = universe(inputs, None)
    where = MeetingPlaces(inputs, world.parties)
    ranking = rank(inputs, world, ("out",), Feasibility(inputs, where, None), asks=1)
    cells, names = ranking.cells, inputs.names()
    taken = np.zeros(len(cells.atom), dtype=np.bool_)
    rows, routes = [], [pl.DataFrame(schema=_ROUTES)]
    for number, (asn, metros) in enumerate(picks, start=1):
        party = world.parties.of(asn)
        for at, metro in enumerate(world.metros):
            if metros and metro not in metros:
                continue
            mine = taken_cells(ranking, at, [party], taken)
            if not len(mine):
                continue
            place = where.meet(party, metro)
            rows.append((number, party, names.get(party), metro, place.rank, place.text, place.ix,
                         place.our_facility))  # fmt: skip
            routes.append(
                pl.DataFrame({"atom": cells.atom[mine].astype(np.int32)})
                .join(world.cover.units, on="atom")
                .select(
                    rank=pl.lit(number, pl.Int64), metro=pl.lit(metro),
                    prefix="prefix", origin_asn="origin_asn",
                )
            )  # fmt: skip
    return Asks(
        pl.DataFrame(rows, schema=_ROWS, orient="row"),
        pl.concat(part.cast(_ROUTES) for part in routes),  # type: ignore[arg-type]
        f"{len(picks)} asks that are signed",
    )


def asks_of(ranking: Ranking, where: MeetingPlaces, names: Mapping[int, str]) -> Asks:
    """The rows of the list of organisations as asks. `names`: ASN → name."""
    listing = ranking.organisations
    asked = [
        (n, row.rank, row.asn) for n, row in enumerate(listing.rows) if row.rank and row.asn
    ]  # fmt: skip
    of_row = pl.DataFrame(
        asked, schema={"seen_row": pl.Int64, "rank": pl.Int64, "asn": pl.Int64}, orient="row"
    )
    routes = (
        ranking.routes(listing)
        .drop_nulls("seen_row")
        .with_columns(pl.col("seen_row").cast(pl.Int64))
        .join(of_row, on="seen_row")
        .select("rank", "asn", *_ROUTE)
    )
    rows = []
    for number, asn, metro in routes.select("rank", "asn", "metro").unique().sort(
        "rank", "metro"
    ).iter_rows():  # fmt: skip
        place = where.meet(asn, metro)
        rows.append((number, asn, names.get(asn), metro, place.rank, place.text, place.ix,
                     place.our_facility))  # fmt: skip
    return Asks(
        pl.DataFrame(
            rows,
            schema=_ROWS,
            orient="row",
        ),
        routes.drop("asn"),
        f"the first {routes['rank'].n_unique()} asks",
    )  # fmt: skip


def signed(
    found: Loads,
    offers: Offers,
    choice: Choice,
    metros: pl.DataFrame,
    parts: Callable[[], Iterable[pl.DataFrame]],
    asks: Asks,
) -> SignedNetwork:
    """The network with these asks in place.

    Args:
        metros: metro, region, continent, latitude, longitude.
        parts: makes the frames of hour, link, direction, prefix, origin_asn, bytes.
    """
    links, seats = _seats(found.links, asks.rows)
    taken = asks.routes.join(seats.select("rank", "metro", "to"), on=["rank", "metro"])
    here = found.links.with_row_index("link").filter(pl.col("role") == "transit")
    moved = (
        here.select(pl.col("link").cast(pl.Int64), "metro")
        .join(taken, on="metro")
        .select("link", "prefix", "origin_asn", "to", "rank")
    )
    hours = int(found.hour_of_slot[-1]) + 1 if found.slots else 0
    totals, away = _hourly(parts, moved, hours)
    planned = np.zeros((links.height - found.links.height, found.slots), dtype=np.int64)
    out = np.vstack([found.out, planned])
    sums: dict[tuple[int, int], Ints] = {}
    for link, targets in away.items():
        order = sorted(targets)
        weights = np.stack([targets[t] for t in order])
        rest = totals[link] - weights.sum(axis=0)
        failover = Failover(
            {link: [*(to for to, _ in order), STAYS]}, {link: np.vstack([weights, rest])}
        )
        split = failover.split(link, found.out[link], found.hour_of_slot)
        for (to, number), part in zip(order, split, strict=False):
            out[link] -= part
            out[to] += part
            sums[number, to] = sums[number, to] + part if (number, to) in sums else part
    into = np.vstack([found.into, planned])
    after = Loads(links, found.start, out, into, found.unscaled)
    more: dict[str, set[tuple[int, int]]] = {}
    asn_of = dict(asks.rows.select("rank", "asn").iter_rows())
    for prefix, to, number in taken.drop_nulls("prefix").select("prefix", "to", "rank").iter_rows():
        more.setdefault(prefix, set()).add((to, asn_of[number]))
    offered = offers.preferring(
        {prefix: sorted(of) for prefix, of in more.items()}, choice.default_scope, links.height
    )
    first, table = offered.table()
    chosen = Choice(
        places(links, metros), first, table, choice.assumed, choice.always_compare_med,
        choice.default_scope, choice.with_local_pref,
    )  # fmt: skip
    return SignedNetwork(
        after, offered, chosen, moved.drop("rank"), _asks(links, seats, sums), _notes(seats, asks)
    )


def _seats(links: pl.DataFrame, rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The links with those that are planned, and each row with the number of its link, `to`.

    At an exchange where we have ports it is the largest of them, else one planned port for all;
    elsewhere each network has a planned link of its own.
    """
    columns = [c for c in _HERE if c in links.columns]
    ports: dict[tuple[str, int], tuple[int, int]] = {}
    for number, row in enumerate(links.select(columns).iter_rows(named=True)):
        if row.get("exchange") is not None:
            key = (row["metro"], row["exchange"])
            size = row.get("capacity_bps") or 0
            if key not in ports or size > ports[key][0]:
                ports[key] = (size, number)
    planned: dict[tuple[str, str], tuple[int, dict[str, Any]]] = {}
    to = []
    for row in rows.iter_rows(named=True):
        at_exchange = row["rung"] in (ROUTE_SERVERS, BILATERAL, JOIN_IX) and row["ix"] is not None
        port = ports.get((row["metro"], row["ix"])) if at_exchange else None
        if port is not None:
            to.append(port[1])
            continue
        name = f"ask-ix{row['ix']}" if at_exchange else f"ask-AS{row['asn']}"
        key_ = (name, row["metro"])
        if key_ not in planned:
            planned[key_] = (
                links.height + len(planned),
                {
                    "metro": row["metro"], "exporter": f"{name}.{row['metro']}", "interface": 0,
                    "role": "ix" if at_exchange else "peer",
                    "provider_asn": None if at_exchange else row["asn"], "name": "planned",
                    "exchange": row["ix"] if at_exchange else None,
                    "facility": None if at_exchange else row["facility"], "planned": True,
                },
            )  # fmt: skip
        to.append(planned[key_][0])
    more = [{k: v for k, v in facts.items() if k in links.columns or k == "planned"}
            for _, facts in planned.values()]  # fmt: skip
    grown = links.with_columns(planned=pl.lit(False))
    grown = pl.concat([grown, pl.DataFrame(more, schema_overrides={
        n: k for n, k in grown.schema.items() if n in (more[0] if more else ())})],
        how="diagonal") if more else grown  # fmt: skip
    return grown, rows.with_columns(to=pl.Series(to, dtype=pl.Int64))


def _hourly(
    parts: Callable[[], Iterable[pl.DataFrame]], moved: pl.DataFrame, hours: int
) -> tuple[dict[int, Ints], dict[int, dict[tuple[int, int], Ints]]]:
    """Outbound bytes by hour of links that lose something, and of them by (link, rank) what goes
    where."""
    frames = [
        part.filter(pl.col("direction") == "out", pl.col("link").is_in(moved["link"].implode()))
        .join(moved, on=["link", "prefix", "origin_asn"], how="left", nulls_equal=True)
        .group_by("hour", "link", "to", "rank")
        .agg(pl.col("bytes").sum())
        for part in parts()
    ]
    totals: dict[int, Ints] = {}
    away: dict[int, dict[tuple[int, int], Ints]] = {}
    for frame in frames:
        for hour, link, to, number, size in frame.iter_rows():
            totals.setdefault(link, np.zeros(hours, dtype=np.int64))[hour] += size
            if to is not None:
                line = away.setdefault(link, {})
                key = (to, number)
                if key not in line:
                    line[key] = np.zeros(hours, dtype=np.int64)
                line[key][hour] += size
    return totals, away


def _asks(links: pl.DataFrame, seats: pl.DataFrame, sums: dict[tuple[int, int], Ints]) -> Any:
    rows = []
    for row in seats.iter_rows(named=True):
        series = sums.get((row["rank"], row["to"]))
        link = links.row(row["to"], named=True)
        rows.append(
            {
                "rank": row["rank"], "asn": row["asn"], "name": row["name"], "metro": row["metro"],
                "meet": row["meet"], "exporter": link["exporter"], "interface": link["interface"],
                "planned": link["planned"],
                "moved_bytes": 0 if series is None else int(series.sum()),
                "max_bps": 0.0 if series is None else int(series.max()) * 8 / SLOT_SECONDS,
            }
        )  # fmt: skip
    return pl.DataFrame(rows, schema=schema(DRILL_ASKS))


def _notes(seats: pl.DataFrame, asks: Asks) -> list[str]:
    text = "what they are seen on leaves by them, outbound; inbound is as it was, no port is a cap"
    notes = [f"{asks.called} are in place: {text}"]
    nowhere = seats.filter(pl.col("rung") == ELSEWHERE)
    if nowhere.height:
        named = ", ".join(f"AS{a} in {m}" for a, m in nowhere.select("asn", "metro").head(5).rows())
        more = f" and {nowhere.height - 5} more" if nowhere.height > 5 else ""
        notes.append(f"no place to meet is known of {named}{more}: taken as met there all the same")
    return notes


__all__ = ["Asks", "SignedNetwork", "asks_of", "first_asks", "signed", "signed_asks"]
