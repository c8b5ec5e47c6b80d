"""Makes `reports_world`, the builder of synthetic inputs, importable by the tests beside it."""

from __future__ import annotations

import sys
from pathlib import Path

# Under --import-mode=importlib a test folder is not on the path by itself.
sys.path.insert(0, str(Path(__file__).parent))
