"""The one error a caller of this package has to know."""

from __future__ import annotations


class IngestError(ValueError):
    """Input that cannot be read: what is wrong, where, and what to do about it.

    Attributes:
        what: the fault, one clause.
        path: the file as the caller named it, ``-`` for standard input.
        offset: octets from the start of the (uncompressed) file, where known.
        advice: the next step for the person who sees it.
    """

    def __init__(
        self, what: str, *, path: str = "", offset: int | None = None, advice: str = ""
    ) -> None:
        self.what = what
        self.path = path
        self.offset = offset
        self.advice = advice
        where = f"{path}: " if path else ""
        at = f" at offset {offset}" if offset is not None else ""
        super().__init__(f"{where}{what}{at}")
