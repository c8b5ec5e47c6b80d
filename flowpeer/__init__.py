"""flowpeer: from NetFlow/IPFIX exports to a ranked, feasible list of peering candidates.

    >>> import flowpeer
    >>> net = flowpeer.open("flowpeer.toml")
    >>> net.candidates(metro="ams", asks=3).rows.select("rank", "metro").rows()
    [(1, 'ams'), (2, 'ams'), (3, 'ams')]

What `__all__` names is the public API; it is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowpeer.analysis.answers import Answer, SideTable
    from flowpeer.api import Network, Verification, open  # noqa: A004
    from flowpeer.errors import (
        ConfigError,
        FlowpeerError,
        InputError,
        LockedError,
        NoDataError,
        UsageError,
    )

__version__ = "0.1.0"

__all__ = [
    "Answer", "ConfigError", "FlowpeerError", "InputError", "LockedError", "Network",
    "NoDataError", "SideTable", "UsageError", "Verification", "__version__", "open",
]  # fmt: skip

_HOMES = {
    "flowpeer.analysis.answers": ("Answer", "SideTable"),
    "flowpeer.api": ("Network", "Verification", "open"),
    "flowpeer.errors": (
        "ConfigError", "FlowpeerError", "InputError", "LockedError", "NoDataError", "UsageError",
    ),
}  # fmt: skip


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module 'flowpeer' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
