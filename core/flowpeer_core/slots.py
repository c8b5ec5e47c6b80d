"""The 5-minute slot that traffic is summed by, billed by and ranked by (METHODS M5)."""

from __future__ import annotations

from datetime import timedelta

SLOT_SECONDS = 300
SLOT = timedelta(seconds=SLOT_SECONDS)
SLOT_US = SLOT_SECONDS * 1_000_000
HOUR = timedelta(hours=1)
HOUR_US = 3_600_000_000
HOUR_SLOTS = HOUR_US // SLOT_US
