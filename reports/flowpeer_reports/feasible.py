"""How even the providers of a metro could be, if tied routes were split freely (METHODS M11).

A linear program by the hour: bytes that BGP cannot place elsewhere stay, those of tied exits are
divided among the tied providers so that D of the hour is least. The bound is exact for the hours;
slots inside an hour can be worse.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flowpeer_reports.relations import Ints, Reals

BATCH = 256
"""Hours solved at once: they do not touch each other, and a solver's start costs more than they."""


def least_d(
    fixed: Ints, sets: Sequence[Sequence[int]], free: Ints, weights: Reals
) -> tuple[Reals, Reals]:
    """Least D of each hour, and what each set gives to each provider.

    Args:
        fixed: providers × hours, bytes that stay.
        sets: providers that each kind of tied bytes may use.
        free: sets × hours, bytes of each kind.
        weights: target of each provider; they add up to 1.

    Returns:
        D by hour (0 without traffic), and sets × providers × hours bytes.
    """
    hours = fixed.shape[1]
    total = fixed.sum(axis=0) + free.sum(axis=0)
    found = np.zeros(hours)
    parts = np.zeros((len(sets), len(weights), hours))
    busy = np.flatnonzero(total)
    for at in range(0, len(busy), BATCH):
        batch = busy[at : at + BATCH]
        found[batch], parts[:, :, batch] = _solve(
            fixed[:, batch] / total[batch], sets, free[:, batch] / total[batch], weights
        )
    return found, parts * total


def _solve(
    fixed: Reals, sets: Sequence[Sequence[int]], free: Reals, weights: Reals
) -> tuple[Reals, Reals]:
    """One batch of hours in shares of their bytes: least Σ of what is above target, which is D."""
    import highspy

    hours, k = fixed.shape[1], len(weights)
    pairs = [(s, i) for s, members in enumerate(sets) for i in members]
    per_hour = len(pairs) + k  # shares given, and excess of each provider
    rows_per_hour = len(sets) + k
    starts: list[int] = []
    index: list[int] = []
    value: list[float] = []
    lower: list[float] = []
    upper: list[float] = []
    for h in range(hours):
        base = h * per_hour
        for s in range(len(sets)):  # all of a set is given away
            starts.append(len(index))
            index += [base + n for n, (t, _) in enumerate(pairs) if t == s]
            value += [1.0] * len(sets[s])
            lower.append(float(free[s, h]))
            upper.append(float(free[s, h]))
        for i in range(k):  # fixed + given − excess ≤ target
            starts.append(len(index))
            mine = [n for n, (_, j) in enumerate(pairs) if j == i]
            index += [*(base + n for n in mine), base + len(pairs) + i]
            value += [*([1.0] * len(mine)), -1.0]
            lower.append(-highspy.kHighsInf)
            upper.append(float(weights[i] - fixed[i, h]))
    starts.append(len(index))
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = hours * per_hour, hours * rows_per_hour
    lp.col_cost_ = np.tile(np.r_[np.zeros(len(pairs)), np.ones(k)], hours)
    lp.col_lower_ = np.zeros(lp.num_col_)
    lp.col_upper_ = np.full(lp.num_col_, highspy.kHighsInf)
    lp.row_lower_, lp.row_upper_ = np.array(lower), np.array(upper)
    lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    lp.a_matrix_.start_ = np.array(starts, dtype=np.int32)
    lp.a_matrix_.index_ = np.array(index, dtype=np.int32)
    lp.a_matrix_.value_ = np.array(value)

    class Silent(highspy.Highs):  # type: ignore[misc]
        """The solver prints its name on stdout as soon as its callbacks are enabled."""

        def enableCallbacks(self) -> None:  # noqa: N802 — the library's name
            self.setOptionValue("output_flag", False)
            super().enableCallbacks()

    solver = Silent()
    solver.setOptionValue("threads", 1)
    solver.passModel(lp)
    solver.run()
    if solver.getModelStatus() != highspy.HighsModelStatus.kOptimal:
        raise ArithmeticError(f"the solver ended with {solver.getModelStatus()}")
    solution = np.array(solver.getSolution().col_value).reshape(hours, per_hour)
    parts = np.zeros((len(sets), k, hours))
    for n, (s, i) in enumerate(pairs):
        parts[s, i] = solution[:, n]
    d: Reals = solution[:, len(pairs) :].sum(axis=1)
    return d, parts
