"""Helpers that stand in one test file of this folder and are used by another."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
