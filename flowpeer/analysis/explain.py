"""Why a network is where it is in the list, or why it is not there; each number with its SQL."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl

from flowpeer.analysis.answers import Answer, title_of
from flowpeer.analysis.explain_money import bill_reductions
from flowpeer.analysis.inputs import Gathered
from flowpeer.analysis.scratch import FileStore
from flowpeer_core.slots import SLOT_SECONDS
from flowpeer_reports.candidates import Candidates, Valuation, candidates
from flowpeer_reports.columns.column import schema
from flowpeer_reports.columns.explain import EXPLAIN
from flowpeer_reports.feasibility import PRIOR_ASKS, Feasibility
from flowpeer_reports.inputs import pdb
from flowpeer_reports.meeting import MeetingPlaces
from flowpeer_reports.offload import DECLARED, INFERRED, OBSERVED
from flowpeer_reports.policy import CLASSES
from flowpeer_reports.ranking import Listing, Row, bps, peers_in
from flowpeer_reports.relations import Positions
from flowpeer_reports.render import table_page
from flowpeer_reports.render.cells import clean

MILLION = 1_000_000
BYTES = "coalesce(sum(bytes), 0)::BIGINT AS bytes"


@dataclass(frozen=True)
class Explanation(Answer):
    """The steps; on a screen they are sentences with the SQL beneath."""

    def on_screen(self, width: int, *, asks: int | None = None) -> str:
        """Every step and its SQL, metro by metro; the SQL is not broken, so that it runs as it
        stands."""
        lines = [self.title, ""]
        metro = None
        for row in self.rows.iter_rows(named=True):
            if row["metro"] != metro:
                metro = row["metro"]
                lines += [*([""] if lines[-1] else []), f"{metro}", ""]
            lines.append(clean(f"  {row['step']:<9} {row['text']}"))
            if row["sql"]:
                lines.append(f"            {clean(row['sql'])}")
        lines += ["", *(f"note: {clean(note)}" for note in self.notes)]
        return "\n".join(lines) + "\n"


def explain_answer(
    gathered: Gathered, asn: int, *, metros: Sequence[str] | None = None
) -> Explanation:
    """Flows → routes → roles → evidence → cover → policy → place → money, in each metro."""
    inputs = gathered.inputs
    found = candidates(
        inputs, metros=metros or None, stores=FileStore,
        money=Valuation(gathered.billed, signing=False),
    )  # fmt: skip
    party = found.ranking.parties.of(asn)
    places = [
        _Metro(gathered, found, number, listing, party)
        for number, listing in enumerate(found.ranking.metros)
    ]
    title = "why {} is where it is"
    if any(place.touched for place in places):
        steps = [{"metro": place.metro, **step} for place in places for step in place.steps()]
    else:
        title = "why {} is in no figure"
        steps = [{"metro": None, **step} for step in _untouched(places)]
    rows = pl.DataFrame(steps, schema=schema(EXPLAIN), orient="row")
    name = inputs.names().get(party)
    who = f"AS{party}" + (f" {name}" if name else "")
    if party != asn:
        who += f", asked for AS{asn} too"
    title = title_of(inputs, title.format(who))
    return Explanation(
        "explain", title, rows, EXPLAIN, found, lambda: table_page(rows, EXPLAIN, title=title),
        notes=["outbound; bytes are scaled and of the whole period", *inputs.notes],
        provenance=gathered.provenance,
    )  # fmt: skip


class _Metro:
    def __init__(
        self, gathered: Gathered, found: Candidates, number: int, listing: Listing, asn: int
    ) -> None:
        self.inputs, self.billed = gathered.inputs, gathered.billed
        self.found, self.asn = found, asn
        self.number, self.listing, self.metro = number, listing, listing.name
        self.ranking = found.ranking
        self.members = list(self.ranking.parties.members(asn))
        self.named = f"IN ({', '.join(map(str, self.members))})"
        self.row = next((r for r in listing.rows if r.asn == asn and r.rank != 0), None)
        self.shown = found.rows.filter(
            pl.col("metro") == self.metro, pl.col("asn") == asn, pl.col("rank") > 0
        )

    @property
    def touched(self) -> bool:
        """Whether it is in any figure of the metro."""
        cells = self._cells_of([OBSERVED, INFERRED, DECLARED])
        mine = self.ranking.cells.of(self.number)
        return (
            self.row is not None
            or bool(self.ranking.cells.out[mine][cells].any())
            or any(step["value"] for step in self._routes())
            or bool(self._roles()["value"])
        )

    def steps(self) -> Iterable[dict[str, Any]]:
        """What the explanation is made of, in order."""
        yield self._flows()
        yield from self._routes()
        yield self._roles()
        cells = yield from self._evidence()
        yield from self._cover(cells)
        yield from self._policy()
        yield from self._place()
        yield from self._money()

    def _flows(self) -> dict[str, Any]:
        total = self.found.totals[self.metro]["out_bytes"]
        return _step(
            "flows", f"transit of the metro: {_bytes(total, self)}", total, "bytes",
            _select(BYTES, "traffic", self.of("slot")),
        )  # fmt: skip

    def of(self, time: str, role: str = "role = 'transit'", metro: str = "") -> str:
        """What rows of a table are of the period, the metro and the role."""
        start, end = (t.astimezone(UTC) for t in (self.inputs.period_start, self.inputs.period_end))
        if time == "hour_start":
            start = start.replace(minute=0, second=0, microsecond=0)
        metro = metro or f"metro = {_quoted(self.metro)}"
        return (
            f"{metro} AND {role} AND direction = 'out' AND scaled "
            f"AND {time} >= {_moment(start)} AND {time} < {_moment(end)}"
        )

    def _routes(self) -> Iterable[dict[str, Any]]:
        routes = self.found.universe.whole(self.metro).filter(
            "scaled", pl.col("direction") == "out",
            pl.col("origin_asn").is_in(self.members),
        )  # fmt: skip
        octets, prefixes = int(routes["bytes"].sum()), routes["prefix"].drop_nulls().n_unique()
        where = f"{self.of('hour_start')} AND origin_asn {self.named}"
        sql = _select("count(DISTINCT prefix) AS routes", "traffic_routes", where)
        yield _step("routes", f"of its own: {prefixes:,} routes", prefixes, "routes", sql)
        yield _step("routes", f"they carry {_bytes(octets, self)} by transit", octets, "bytes",
                    _select(BYTES, "traffic_routes", where))  # fmt: skip

    def _roles(self) -> dict[str, Any]:
        role = "role IN ('ix', 'peer')"
        octets = int(
            self.inputs.traffic.filter(
                pl.col("metro") == self.metro, pl.col("role").is_in(["ix", "peer"]),
                pl.col("direction") == "out", "scaled",
                pl.col("remote_asn").is_in(self.members),
                pl.col("slot") >= self.inputs.period_start,
                pl.col("slot") < self.inputs.period_end,
            ).select(pl.col("bytes").sum()).collect().item()
        )  # fmt: skip
        return _step(
            "roles", f"of its own by peering already: {_bytes(octets, self)}", octets, "bytes",
            _select(BYTES, "traffic", f"{self.of('slot', role)} AND remote_asn {self.named}"),
        )  # fmt: skip

    def _cells_of(self, kinds: Sequence[int]) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Cells of the metro that the party is known for by these classes of evidence."""
        cover = self.ranking.cover
        at = int(np.searchsorted(cover.asns, self.asn))
        if at >= len(cover.asns) or cover.asns[at] != self.asn:
            return np.zeros(0, dtype=np.int64)
        span = cover.entries(at)
        atoms = cover.atom[span][np.isin(cover.kind[span], kinds)]
        mine = self.ranking.cells.of(self.number)
        return np.flatnonzero(np.isin(self.ranking.cells.atom[mine], atoms)).astype(np.int64)

    def _set(self, cells: Positions) -> tuple[int, str]:
        """Bytes of some cells of the metro, and the SQL that sums their routes."""
        base = self.ranking.cells.of(self.number).start
        octets = int(self.ranking.cells.out[cells + base].sum())
        atoms = self.ranking.cells.atom[cells + base].astype(np.int32)
        units = self.ranking.cover.units.filter(pl.col("atom").is_in(atoms.tolist())).drop_nulls()
        since = self.found.universe.since.filter(pl.col("metro") == self.metro)
        young = units.join(since, on=["prefix", "origin_asn"], how="left").sort("prefix")
        dated = bool(young["since"].count())
        pairs = [
            f"({_quoted(prefix)}, {origin}" + (f", {_moment(when or start)})" if dated else ")")
            for start in [self.inputs.period_start.astimezone(UTC)]
            for prefix, origin, when in young.select("prefix", "origin_asn", "since").iter_rows()
        ]
        names, empty = "prefix, origin_asn", "(NULL::VARCHAR, NULL::BIGINT)"
        if dated:  # a session counts from its live day
            names = f"{names}, since"
        joined = (
            f"traffic_routes JOIN (VALUES {', '.join(pairs) or empty}) AS route ({names}) "
            "USING (prefix, origin_asn)"
        )
        where = self.of("hour_start") + (" AND hour_start >= since" if dated else "")
        return octets, _select(BYTES, joined, where)

    def _evidence(self) -> Any:
        seen = self._cells_of([OBSERVED])
        octets, sql = self._set(seen)
        yield _step("evidence", f"seen on paths to {_bytes(octets, self)}", octets, "bytes", sql)
        rest = self._cells_of([INFERRED])
        octets, sql = self._set(rest)
        if octets:
            yield _step("evidence", f"its customer cone would bring {_bytes(octets, self)} more, "
                        "inferred", octets, "bytes", sql)  # fmt: skip
        return np.union1d(seen, rest)

    def _cover(self, every: np.ndarray[Any, np.dtype[np.int64]]) -> Iterable[dict[str, Any]]:
        if self.row is None:
            yield _step("cover", f"not listed: {self.why_not()}")
            return
        octets, sql = self._set(self.row.cells)
        yield _step("cover", f"rank {self.row.rank}: {_bytes(octets, self)} are left by the rows "
                    "above", octets, "bytes", sql)  # fmt: skip
        yield from self._takers(every, self.row)

    def _takers(
        self, every: np.ndarray[Any, np.dtype[np.int64]], row: Row
    ) -> Iterable[dict[str, Any]]:
        owner = self.listing.owner[every]
        place = next(n for n, r in enumerate(self.listing.rows) if r is row)
        base = self.ranking.cells.of(self.number).start
        sums: dict[int, int] = {}
        for cell, who in zip(every.tolist(), owner.tolist(), strict=True):
            if 0 <= who < place:
                sums[who] = sums.get(who, 0) + int(self.ranking.cells.out[base + cell])
        largest = sorted(sums.items(), key=lambda item: (-item[1], item[0]))[:3]
        for who, octets in largest:
            if octets:
                above = self.listing.rows[who]
                name = f"AS{above.asn}" if above.asn else "networks with sessions"
                mine = every[owner == who]
                _, sql = self._set(mine)
                yield _step("cover", f"{name}, rank {above.rank}, takes {_bytes(octets, self)} of "
                            "its routes", octets, "bytes", sql)  # fmt: skip

    def registered(self) -> Iterable[dict[str, Any]]:
        """What PeeringDB and the AS relationships know of it."""
        yield self._stated()
        either = pl.col("asn").is_in(self.members) | pl.col("other_asn").is_in(self.members)
        count = self.inputs.relationships.filter(either).height
        where = f"asn {self.named} OR other_asn {self.named}"
        yield _step("evidence", f"AS relationships name it in {count:,} entries", count, "entries",
                    _select("count(*) AS entries", "as_relationships", where))  # fmt: skip

    def why_not(self) -> str:
        ranking = self.ranking
        for member in self.members:
            if member in ranking.never:
                return ranking.never[member]
        if {ranking.parties.of(a) for a in peers_in(self.inputs, self.metro)} & {self.asn}:
            return "a session exists; what rides transit all the same is in `flowpeer leaks`"
        if self.asn in ranking.eligible[self.number].asns:
            least = self.inputs.policy.min_expected_bps
            return f"expected to bring less than {least / 1e6:,.2f} Mbps after the rows above"
        return "no transit traffic is known to go by it"

    def _stated(self) -> dict[str, Any]:
        """The policy that PeeringDB has of it."""
        net = pdb(self.inputs.peeringdb, "net", {"asn": pl.Int64, "policy_general": pl.String})
        policies = net.filter(pl.col("asn") == self.asn)["policy_general"].to_list()
        text = policies[0] or "unknown" if policies else "unknown: PeeringDB has no entry of it"
        what = "count(*) AS entries, max(policy_general) AS policy"
        sql = _select(what, "peeringdb_net", f"asn = {self.asn}")
        return _step("policy", f"policy {text}", len(policies), "entries", sql)

    def _policy(self) -> Iterable[dict[str, Any]]:
        if not self.shown.height:
            return
        row = self.shown.row(0, named=True)
        yield self._stated()
        for reason in row["feasibility_reasons"]:
            yield _step("policy", reason)
        millionths, sql = self._chance()
        yield _step("policy", f"feasibility {row['feasibility']:.3f}: the product of these",
                    millionths, "millionths", sql)  # fmt: skip
        octets, sql = self._expected()
        yield _step("policy", f"expected {row['expected_bps'] / 1e6:,.2f} Mbps: "
                    f"{_bytes(octets, self)}, each route by how likely a yes is, the weight of "
                    "its evidence and what the rows above leave open",
                    octets, "bytes", sql)  # fmt: skip

    def _chance(self) -> tuple[int, str]:
        """How likely a yes is, in millionths, and the SQL that counts it from the policy class:
        base rates are priors worth ten asks, and what came of our own (METHODS M10)."""
        ranking, cells = self.ranking, self.ranking.cells
        feasibility = Feasibility(self.inputs, MeetingPlaces(self.inputs, ranking.parties))
        at = int(np.searchsorted(ranking.eligible[self.number].asns, self.asn))
        out, in_ = (bps(v, self.inputs.period_slots) for v in ranking.alone[self.number][at])
        mine = cells.of(self.number)
        both_ways = bool(cells.out[mine].any() and cells.in_[mine].any())
        factors, by_class = feasibility.factors(self.asn, self.metro, out, in_, both_ways)
        chance = math.prod(factors)
        first = f"{factors[0]!r}::DOUBLE"
        if by_class:
            classes = {c: feasibility.base_rate(c) for c in CLASSES}
            whens = " ".join(
                f"WHEN '{name}' THEN ({prior!r}::DOUBLE * {PRIOR_ASKS} + {yes}) / "
                f"({PRIOR_ASKS} + {answered})"
                for name, (prior, yes, answered) in classes.items()
            )
            unknown = f"{feasibility.rates['']!r}::DOUBLE"
            first = f"CASE lower(trim(max(policy_general))) {whens} ELSE {unknown} END"
        product = " * ".join([first, *(f"{f!r}::DOUBLE" for f in factors[1:]), str(MILLION)])
        what = f"floor({product} + 0.5::DOUBLE)::BIGINT AS millionths"
        return math.floor(chance * MILLION + 0.5), _select(
            what, "peeringdb_net", f"asn = {self.asn}"
        )

    def _expected(self) -> tuple[int, str]:
        """Expected bytes of the row, and the SQL that sums them: a share of each of its routes, in
        millionths, so that both are integers (METHODS M7)."""
        ranking, cells = self.ranking, self.ranking.cells
        entries, chances = ranking.eligible[self.number], ranking.acceptance[self.number]
        mine = cells.of(self.number)
        weights = self.inputs.policy.weights
        weight = {OBSERVED: 1.0, INFERRED: weights.inferred, DECLARED: weights.declared}
        open_ = np.ones(mine.stop - mine.start)
        share = np.zeros(len(open_))
        for row in self.listing.rows:
            if row.rank is None or row.rank < 1 or row.asn is None:
                continue
            party = int(np.searchsorted(entries.asns, row.asn))
            span = entries.of(party)
            part = np.array([weight[int(k)] for k in entries.kind[span]]) * chances[party]
            if row.asn == self.asn:
                share[entries.atom[span]] = part * open_[entries.atom[span]]
                break
            if not row.refuses:
                open_[entries.atom[span]] *= 1 - part
        millionths = np.rint(share * MILLION).astype(np.int64)
        held = np.flatnonzero(millionths)
        octets = sum(
            int(cells.out[mine.start + cell]) * int(millionths[cell]) for cell in held.tolist()
        )
        part_of = pl.DataFrame(
            {"atom": cells.atom[held + mine.start].astype(np.int32), "part": millionths[held]}
        )
        units = ranking.cover.units.join(part_of, on="atom").drop_nulls().sort("prefix")
        pairs = [
            f"({_quoted(p)}, {o}, {part})"
            for p, o, part in units.select("prefix", "origin_asn", "part").iter_rows()
        ]
        values = ", ".join(pairs) or "(NULL::VARCHAR, NULL::BIGINT, 0)"
        joined = (
            f"traffic_routes JOIN (VALUES {values}) AS route (prefix, origin_asn, millionths) "
            "USING (prefix, origin_asn)"
        )
        what = f"coalesce(sum(bytes::HUGEINT * millionths) // {MILLION}, 0)::BIGINT AS bytes"
        return octets // MILLION, _select(what, joined, self.of("hour_start"))

    def _place(self) -> Iterable[dict[str, Any]]:
        for row in self.shown.iter_rows(named=True):
            ports = self.inputs.peeringdb.get("netixlan")
            count = 0
            if ports is not None and {"asn", "source"} <= set(ports.columns):
                count = ports.filter(
                    pl.col("asn").is_in(self.members), pl.col("source").is_null()
                ).height
            sql = _select("count(*) AS ports", "peeringdb_netixlan", f"asn {self.named}")
            text = f"{row['meet']} ({count:,} ports on all exchanges)"
            yield _step("place", text, count, "ports", sql)

    def _money(self) -> Iterable[dict[str, Any]]:
        if self.row is None:
            return
        octets, sql = self._set(self.row.seen)
        for row in self.shown.iter_rows(named=True):
            saving = row["saving_per_month"]
            text = "no price is configured"
            if saving is not None:
                text = f"saves {saving:,.2f} {row['currency']} a month"
            note = f" ({row['saving_note']})" if row["saving_note"] else ""
            yield _step("money", f"{text}{note}: money moves {_bytes(octets, self)}, the routes "
                        "that it is seen on", octets, "bytes", sql)  # fmt: skip
            if saving is not None:
                yield from self._bills(row)

    def _bills(self, shown: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
        """What each contract's bill falls by, and what peering itself costs: the saving."""
        assert self.row is not None
        assert self.billed is not None
        where = self.of("{time}")
        made = list(
            bill_reductions(self.billed, self.found, self.number, self.listing, self.row, where)
        )
        # A port in between that cannot carry all is in none of these statements.
        total = round(sum(one.cents for one in made) / 100, 2)
        exact = abs(total - shown["bill_saving_per_month"]) < 0.01 * (len(made) + 1)
        for one in made:
            yield _step(
                "money", f"{one.contract}: billed {float(one.before_bps) / 1e6:,.2f} → "
                f"{float(one.after_bps) / 1e6:,.2f} Mbps, its bill falls by "
                f"{one.cents / 100:,.2f} {one.currency} a month",
                *((one.cents, "cents a month", one.sql) if one.sql and exact else ()),
            )  # fmt: skip
        cost = shown["peering_cost_per_month"]
        yield _step("money", f"peering itself costs {cost:,.2f} {shown['currency']} a month "
                    "([peering_costs]): the bills' fall less that is what it saves")  # fmt: skip


def _untouched(places: Sequence[_Metro]) -> Iterable[dict[str, Any]]:
    """Of a network that is in no figure: that, and what the registries know."""
    if not places:
        yield _step("flows", "no interface with the role transit carries anything in the period")
        return
    one = places[0]
    metros = ", ".join(place.metro for place in places)
    where = f"metro IN ({', '.join(_quoted(place.metro) for place in places)})"
    times = one.of("hour_start", role="role IN ('transit', 'ix', 'peer')", metro=where)
    yield _step(
        "flows", "no traffic by transit or peering ends at it, or goes by it on a path or cone "
        f"that is known ({metros})",
        0, "bytes", _select(BYTES, "traffic_routes", f"{times} AND origin_asn {one.named}"),
    )  # fmt: skip
    yield from one.registered()
    reasons = dict.fromkeys(place.why_not() for place in places)
    yield _step("cover", f"not listed: {'; '.join(reasons)}")


def _step(
    step: str, text: str, value: int | None = None, unit: str = "", sql: str | None = None
) -> dict[str, Any]:
    return {"step": step, "text": text, "value": value, "unit": unit or None, "sql": sql}


def _select(what: str, table: str, where: str) -> str:
    """A statement for the reader to run; its texts are quoted."""
    return f"SELECT {what} FROM {table} WHERE {where}"  # noqa: S608


def _bytes(octets: int, of: _Metro) -> str:
    seconds = of.inputs.period_slots * SLOT_SECONDS
    return f"{octets:,} bytes ({octets * 8 / seconds / 1e6:,.2f} Mbps)"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _moment(time: datetime) -> str:
    return f"TIMESTAMPTZ '{time:%Y-%m-%d %H:%M:%S}+00'"
