"""How a synthetic network is distinguished from a real one."""

from __future__ import annotations

MARKER = ".flowpeer-sample"
"""A file of this name beside flowpeer.toml: traffic and names there are invented."""
