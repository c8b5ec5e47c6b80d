"""A configuration file and what it leads to: the network it describes, and its lake."""

from __future__ import annotations

from pathlib import Path

from flowpeer.configuration import load
from flowpeer.errors import ConfigError
from flowpeer.lake.interface_names import exported
from flowpeer.lake.store import Lake
from flowpeer.network import Configuration


class Workspace:
    """Reads the configuration when it is first asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._network: Configuration | None = None

    def network(self) -> Configuration:
        """The configuration.

        Raises:
            ConfigError: every mistake in it.
        """
        if self._network is None:
            self._network = load(self.path, exported=exported)
        return self._network

    def reread(self) -> None:
        """Read the configuration again when it is next asked for: exporters announced names."""
        self._network = None

    def lake(self, *, whole: bool = True) -> Lake:
        """The lake of the configuration; without `whole` also one that has lost its manifests.

        Raises:
            ConfigError: there is something else in its place.
            UsageError: another version of flowpeer made it.
        """
        path = self.network().lake_path
        if path.exists() and not path.is_dir():
            problem = f"lake.path: {path} is a file; name a folder, which is made when needed"
            raise ConfigError(str(self.path), [problem])
        lake = Lake(path)
        if whole:
            lake.check_format()
        return lake
