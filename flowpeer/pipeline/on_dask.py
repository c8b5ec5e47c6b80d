"""Dask as an engine: each task of ours is one of its futures."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from uuid import uuid4

from distributed import Client

from flowpeer.errors import InputError
from flowpeer.pipeline.executor import Done, Order

CONNECT_S = 10.0
CLOSE_S = 10.0


class Dask:
    """A client of a Dask cluster, for `function`.

    Raises:
        InputError: the scheduler cannot be reached, or a worker has another Python.
    """

    threads = 1

    def __init__(self, address: str, function: Callable[[Order], bytes]) -> None:
        self.address = address
        self._function = function
        self._run = uuid4().hex[:8]
        self._futures: list[Any] = []
        place = address.partition("://")[2]
        try:
            self._client = Client(
                place, timeout=CONNECT_S, set_as_default=False, name="flowpeer rollup"
            )
        except (OSError, ValueError) as error:  # TimeoutError is an OSError
            raise InputError(
                address, f"cannot be reached: {str(error).splitlines()[0]}",
                advice="check the address, and that a scheduler runs there",
            ) from None  # fmt: skip
        self._same_python()

    def _same_python(self) -> None:
        """What goes to the workers is code of this Python."""
        here = sys.version_info[:2]
        try:
            versions = self._client.get_versions()["workers"]
        except Exception:
            self.close()
            raise
        for worker, what in versions.items():
            found = tuple(what["host"]["python"].split("."))[:2]
            if found != tuple(map(str, here)):
                self.close()
                raise InputError(
                    self.address, f"{worker} has Python {'.'.join(found)}, and this is "
                    f"{'.'.join(map(str, here))}",
                    advice="start workers from the same environment",
                )  # fmt: skip

    def submit(self, label: str, order: Order, done: Done) -> None:
        """Run the function with an order somewhere."""
        key = f"flowpeer-{label}-{self._run}-{len(self._futures)}"
        future = self._client.submit(self._function, order, key=key, pure=False)
        self._futures.append(future)
        future.add_done_callback(lambda ended: done(self._answer(ended)))

    def _answer(self, future: Any) -> bytes | Exception:
        try:
            answer: bytes = future.result()
        except Exception as error:
            if self._client.status != "running":
                return self._gone()
            return error
        return answer

    def _gone(self) -> InputError:
        return InputError(
            self.address, "the scheduler is gone",
            advice="what was done stays done; the next `rollup` does the rest",
        )  # fmt: skip

    def machines(self) -> int:
        """How many workers there are now."""
        with suppress(Exception):  # the scheduler is gone, which the tasks tell
            return len(self._client.scheduler_info(n_workers=-1)["workers"])
        return 1

    def close(self) -> None:
        """Take back what has not begun. What runs ends with its task."""
        with suppress(Exception):  # the scheduler is gone
            self._client.cancel(self._futures, force=True)
        self._client.close(timeout=CLOSE_S)
