"""A collector that publishes into object storage."""

from __future__ import annotations

import collector_rig
import pytest
from collector_rig import FIRST_BYTES, Rig
from object_store import Bucket

from flowpeer import catalog


def test_killed_and_started_again_each_datagram_is_there_once(
    bucket: Bucket, rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = collector_rig.TOML.replace('path = "lake"', f'path = "{bucket.address}"')
    monkeypatch.setattr(
        collector_rig, "TOML", text.replace("[collector]", '[collector]\nspool = "lake/spool"')
    )
    rig.configure()
    rig.start()
    rig.send(2_000)
    rig.until(lambda: rig.watermark()["committed"] == 2_000)
    rig.kill()
    rig.start()
    rig.send(1_000)
    rig.until(lambda: bool(bucket.objects()) and rig.status()["spool"]["spool_segments"] == 0)
    rig.end()
    while any((rig.spool).glob("*.sealed")):  # there was no time for some of it
        rig.start()
        rig.until(lambda: rig.status()["spool"]["spool_segments"] == 0)
        rig.end()
    flows = catalog.scan(bucket.machine("two"), "flows").select("bytes").collect()
    assert sorted(flows["bytes"]) == [FIRST_BYTES + n for n in range(rig.sent)]
    assert not any((rig.folder / "lake").glob("flows"))
