"""The worlds and their oracle, which stand beside the tests of the roll-up."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
