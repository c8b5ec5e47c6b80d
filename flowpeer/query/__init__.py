"""Queries asked of the catalog by whoever is trusted with no more than reading.

Two walls. A statement is run only if every node of its tree is on a list (`allowed`, `check`): the
engine's own "this is a SELECT" will not do, it runs COPY and DELETE from within one. And it runs in
a process of its own (`child`) that the kernel keeps from reading outside the lake and from writing
anywhere but in a private folder (`confine`), and that is killed at its limits (`session`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowpeer.query.session import QueryResult, QuerySession

__all__ = ["QueryResult", "QuerySession"]


def __getattr__(name: str) -> Any:
    """The parent's side when it is asked for: the child imports this package too."""
    if name not in __all__:
        raise AttributeError(name)
    from flowpeer.query import session

    return getattr(session, name)
