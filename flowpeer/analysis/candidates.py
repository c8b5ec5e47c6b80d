"""The candidate list: whom to ask for peering, where, and what it is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import polars as pl

from flowpeer.analysis.answers import Answer, Direction, SideTable, checked, title_of
from flowpeer.analysis.inputs import Gathered
from flowpeer.analysis.scratch import FileStore
from flowpeer.errors import UsageError
from flowpeer_reports.billing.order import RankBy
from flowpeer_reports.candidates import Candidates, Valuation, candidates
from flowpeer_reports.changes import Side, changes, summary, with_changes, within
from flowpeer_reports.columns import CANDIDATES, NOT_LISTED, ORGANISATIONS, PLACES, Column
from flowpeer_reports.columns.changes import CHANGES
from flowpeer_reports.columns.openings import OPENINGS
from flowpeer_reports.columns.scenarios import COMMITS, SCENARIOS
from flowpeer_reports.exchanges import as_if_joined, joined_in_vain
from flowpeer_reports.inputs import Inputs
from flowpeer_reports.reconcile import placed
from flowpeer_reports.render import html_report
from flowpeer_reports.render.report import Sections

ListOf = Literal["metros", "organisations"]
SCREEN_COLUMNS = (
    "rank", "metro", "asn", "name", "change", "status", "own_bps", "marginal_bps", "observed_bps",
    "expected_bps", "p95_bps", "cumulative_share", "saving_per_month", "currency", "meet", "policy",
    "feasibility",
)  # fmt: skip
MONEY_COLUMNS = ("saving_per_month", "currency")
GIVE_WAY = (
    "policy", "own_bps", "observed_bps", "currency", "p95_bps", "cumulative_share", "feasibility",
    "status", "metros", "marginal_bps",
)  # fmt: skip


def compared(compare: object | None, rank_by: RankBy) -> None:
    """Raises UsageError where a list in another order than by bytes would be compared."""
    if compare is not None and rank_by != "bytes":
        raise UsageError(
            f"--compare and --rank-by {rank_by}: what changed is reported of lists by bytes",
            advice="leave one of them out",
        )


def candidate_answer(
    gathered: Gathered,
    *,
    direction: Direction = "out",
    metros: Sequence[str] | None = None,
    asks: int | None = None,
    of: ListOf = "metros",
    apart: bool = False,
    join: Sequence[int] = (),
    before: Gathered | None = None,
    rank_by: RankBy = "bytes",
) -> Answer:
    """The candidate list of a period.

    Args:
        asks: most rows of each list.
        of: whose list is the answer's own table: of each metro, or of the organisations over all
            of them. The other is beside it.
        apart: siblings are distinguished.
        join: PeeringDB ids of exchanges that we are taken to be on.
        before: the period that the list is compared with.
        rank_by: what puts the rows into order.
    """
    checked(direction)
    join = list(dict.fromkeys(join))
    inputs = _apart(gathered.inputs) if apart else gathered.inputs
    if join:
        inputs = as_if_joined(inputs, join)
    found = candidates(
        inputs, direction=direction, metros=metros or None, asks=asks, stores=FileStore,
        money=Valuation(gathered.billed, rank_by),
    )  # fmt: skip
    more: dict[str, SideTable] = {}
    others = found.sentences.values()
    notes = [t for name, t in found.sentences.items() if (not name) == (of == "organisations")]
    notes += [text for text in found.notes if text not in others]
    if before is not None:
        then = _apart(before.inputs) if apart else before.inputs
        old = candidates(
            then, direction=direction, metros=_common(metros, then), stores=FileStore,
            named=found.ranking.parties,
        )  # fmt: skip
        # Of whole lists: a row that only left the first ones is not gone.
        full_list = found if asks is None else candidates(
            inputs, direction=direction, metros=metros or None, stores=FileStore
        )  # fmt: skip
        changed = within(changes(Side(then, old), Side(inputs, full_list)), asks)
        found.rows = with_changes(found.rows, changed, then.period_start)
        more["changes"] = SideTable(changed, CHANGES)
        notes += summary(changed)
    if found.signing is not None:
        more["scenarios"] = SideTable(found.signing.scenarios, SCENARIOS)
        more["commits"] = SideTable(found.signing.commits, COMMITS)
    title = title_of(inputs, f"peering candidates, {direction}bound" if direction != "both"
                     else "peering candidates, both directions")  # fmt: skip
    if rank_by != "bytes":
        title += f", by {rank_by}"
    vain = joined_in_vain(gathered.inputs, found, join)
    notes = [*(f"--join-ix {ix} has no effect: {why}" for ix, why in vain.items()), *notes]
    if joined := [str(ix) for ix in join if ix not in vain]:
        title += f", as if on exchange {', '.join(joined)}"
    lists = {
        "candidates": SideTable(_with_estimates(found), _valued(CANDIDATES, rank_by)),
        "organisations": SideTable(found.organisations, _valued(ORGANISATIONS, rank_by)),
    }
    own = lists.pop("candidates" if of == "metros" else "organisations")
    beside, totals = found.not_listed, found.totals
    if of == "organisations":
        beside = found.not_listed_organisations
        here = placed(found.ranking.organisations.candidates, own.rows, beside)
        totals = totals | {"all": totals["all"] | here}
    return Answer(
        "candidates" if of == "metros" else "organisations", title, own.rows, own.columns, found,
        lambda: html_report(title=title, notes=notes, sections=Sections(candidates=found)),
        side_tables={
            **lists,
            "not_listed": SideTable(beside, NOT_LISTED),
            "places": SideTable(found.places, PLACES),
            "openings": SideTable(found.openings, OPENINGS),
            **more,
        },
        notes=notes,
        totals={"totals": totals, "next_ask": found.next_ask,
                "p95_estimates": found.p95_estimates},
        provenance=gathered.provenance,
        screen_columns=tuple(
            "metros" if c == "metro" and of == "organisations" else c
            for c in SCREEN_COLUMNS
            if (c not in MONEY_COLUMNS or found.signing is not None)
            and (c != "change" or ("changes" in more and of == "metros"))
        ),
        give_way=GIVE_WAY,
    )  # fmt: skip


def _valued(columns: tuple[Column, ...], by: RankBy) -> tuple[Column, ...]:
    """The columns, with the unit of what the list is ranked by."""
    if by == "bytes":
        return columns
    return tuple(
        replace(c, unit="currency a month") if c.name == "expected_value" else c for c in columns
    )


def _apart(inputs: Inputs) -> Inputs:
    return replace(inputs, policy=replace(inputs.policy, siblings="apart"))


def _common(metros: Sequence[str] | None, inputs: Inputs) -> Sequence[str] | None:
    """Metros that were asked for, as far as the other period knows them."""
    if not metros:
        return None
    known = {*inputs.metros["metro"], *inputs.interfaces["metro"]}
    return [m for m in metros if m in known] or None


def _with_estimates(found: Candidates) -> pl.DataFrame:
    """The rows, and beside p95_bps whether it is an estimate, for those who read a table."""
    pairs = found.rows.select("metro", "asn").iter_rows()
    marks = [found.is_estimate(metro, asn) for metro, asn in pairs]
    return found.rows.with_columns(pl.Series("p95_estimate", marks, pl.Boolean))
