"""What `ingest` knows of the exporters from one run to the next.

Templates come every some minutes, captures are cut every hour: without the templates of the file
before, each file would begin with records that nobody can read. `lake/decoder/` holds what the
decoder knew after the last two captures. It is written before the capture's own record, which
makes it valid: whatever is interrupted is done again from the memory before it. The folder may be
deleted at any time; it costs the records before the next templates.
"""

from __future__ import annotations

from collections import Counter

from flowpeer.lake.staging import make_folder
from flowpeer.lake.store import HeldLock, Lake
from flowpeer_ingest import checkpoint
from flowpeer_ingest.checkpoint import Checkpoint
from flowpeer_ingest.decoder import Decoder

FOLDER = "decoder"


class SavedDecoder:
    """A decoder that goes on where the lake's last capture ended.

    `held` is the token of the lock `ingest`. `damaged`: files that could not be read.
    """

    def __init__(self, lake: Lake, held: HeldLock, decoder: Decoder) -> None:
        held.require(lake.root, "ingest")
        self._folder = lake.root / FOLDER
        self._decoder = decoder

        record = lake.record()

        def done(unit: str) -> bool:
            return record.unit(unit) is not None

        self._latest, self.damaged = checkpoint.latest(self._folder, decoder, done=done)
        self._before = Counter(decoder.wire.state.pending())
        self._lost = decoder.lost.copy()

    def save(self, unit: str) -> None:
        """What the decoder knows now it knew after this unit, once that has its document."""
        make_folder(self._folder)
        self._latest = Checkpoint.of(self._decoder, self._latest.serial + 1, unit)
        self._latest.save(self._folder)
        self._lost = self._decoder.lost.copy()

    def restore(self) -> None:
        """Forget what was learned since the last `save`."""
        self._latest.apply(self._decoder)
        self._decoder.lost = self._lost.copy()

    def unread(self) -> dict[str, int]:
        """Data sets of this run whose template never came: "exporter domain template" → sets."""
        sets = Counter(self._decoder.wire.state.pending()) + self._decoder.lost - self._before
        return {
            f"{address} {domain} {number}": count
            for (address, _, domain, number), count in sorted(sets.items())
        }
