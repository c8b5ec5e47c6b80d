"""Queries asked of the catalog by whoever is trusted with no more than reading.

Two walls. A statement is run only if every node of its tree is on a list (`allowed`, `check`): the
engine's own "this is a SELECT" will not do, it runs COPY and DELETE from within one. And it runs in
a process of its own (`child`) that the kernel keeps from reading outside the lake and from writing
anywhere but in a private folder (`confine`), and that is killed at its limits (`session`).
"""

from flowpeer.query.session import Session

__all__ = ["Session"]
