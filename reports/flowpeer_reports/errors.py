"""The one error a caller of this package has to know."""

from __future__ import annotations


class ReportError(ValueError):
    """A report that cannot be made: what is wrong, and what to do about it.

    Attributes:
        what: the fault, one clause.
        advice: the next step for the person who sees it.
    """

    def __init__(self, what: str, *, advice: str = "") -> None:
        self.what = what
        self.advice = advice
        super().__init__(what)
