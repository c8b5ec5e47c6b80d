"""Interface counters against flows: does what was sampled add up to what went through?

Counters (SNMP ifHCInOctets, gNMI in-octets) are read at times of their own and count octets of
frames; flows count octets of IP packets in slots. What a counter rose between two readings is
spread evenly over that time, and a flow's packet has the frame's octets added (`l2_overhead`: 18
for Ethernet, 22 with a VLAN tag). Slots that are not covered from end to end by readings, or whose
counter fell (a restart), are left out on both sides.
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from flowpeer.errors import InputError
from flowpeer.network import Configuration
from flowpeer.rollup import spreading
from flowpeer_core.slots import SLOT_US

MAX_FILE_BYTES = 1 << 30
LONGEST_GAP = timedelta(hours=1)
"""Between two readings; a longer one says nothing of its slots."""
LOW, HIGH = 0.9, 1.1
Ints = npt.NDArray[np.int64]
_COLUMNS = ("exporter", "interface", "time", "in_octets", "out_octets")


@dataclass(frozen=True, slots=True)
class Ratio:
    """Flows over counters of one interface in one direction, over the slots that both cover."""

    exporter: str
    interface: int
    direction: str
    slots: int
    flow_bytes: int
    """IP octets and overhead."""
    counter_bytes: int
    slots_outside: int
    """Slots of which the ratio alone is outside [LOW, HIGH]."""

    @property
    def ratio(self) -> float | None:
        """None where nothing went through by the counters."""
        return self.flow_bytes / self.counter_bytes if self.counter_bytes else None

    @property
    def good(self) -> bool:
        """Both agree well enough."""
        return self.flow_bytes == 0 if self.ratio is None else LOW <= self.ratio <= HIGH


def read_counters(path: Path, network: Configuration) -> pl.DataFrame:
    """exporter, interface, time, in_octets, out_octets of a CSV; exporters by id.

    Times are ISO 8601 (UTC where they name no zone) or seconds since the epoch; exporters are ids
    or addresses of the configuration, and those of others are left out.

    Raises:
        InputError: not such a CSV.
    """
    advice = f"a CSV with the header {','.join(_COLUMNS)} is expected"
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise InputError(str(path), f"larger than {MAX_FILE_BYTES} octets, not read")
        with path.open("rb") as file:
            head = file.read(4).removeprefix(codecs.BOM_UTF8)
        if not head.isascii() or not head.decode().isprintable():  # polars would unpack it
            raise InputError(str(path), "not text", line=1, advice=advice)
        frame = pl.read_csv(path, infer_schema=False)
        if not set(_COLUMNS) <= set(frame.columns):
            raise InputError(str(path), "not a table of counters", line=1, advice=advice)
        text = pl.col("time").str.strip_chars()
        epoch = text.str.extract(r"^(\d{9,11})(?:\.\d+)?$").cast(pl.Int64)
        iso = text.str.replace(r"(?i)(z|\+00:?00)$", "").str.replace(" ", "T")
        time = iso.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", strict=False, time_unit="us")
        numbers = [pl.col(c).cast(pl.Int64, strict=False) for c in _COLUMNS if "octets" in c]
        read = frame.select(
            "exporter",
            pl.col("interface").cast(pl.Int64, strict=False),
            pl.coalesce(pl.from_epoch(epoch, "s").cast(pl.Datetime("us")), time)
            .dt.replace_time_zone("UTC").alias("time"),
            *numbers,
        )  # fmt: skip
    except (OSError, pl.exceptions.PolarsError) as error:
        what = str(error).strip().splitlines()[0]
        raise InputError(str(path), what, advice=advice) from None
    bad = read.with_row_index("row").filter(pl.any_horizontal(pl.all().is_null()))
    if bad.height:
        raise InputError(
            str(path), "a value is missing, or is no number or no time in UTC",
            line=int(bad["row"][0]) + 2, advice=advice,
        )  # fmt: skip
    ids = {str(a): e.id for e in network.exporters for a in e.addresses}
    ids.update({e.id: e.id for e in network.exporters})
    return read.with_columns(
        pl.col("exporter").replace_strict(ids, default=None, return_dtype=pl.String)
    ).drop_nulls("exporter")


def per_slot(counters: pl.DataFrame) -> pl.DataFrame:
    """exporter, interface, direction, slot, octets of the slots that readings cover whole.

    What a counter rose between two readings is spread by METHODS M3: linear shares, conserved to
    the octet, what is left over to the largest remainders, ties to the earlier slot.
    """
    pieces: list[pl.DataFrame] = []
    for (exporter, interface), rows in counters.group_by("exporter", "interface"):
        rows = rows.unique("time").sort("time")
        time = rows["time"].dt.epoch("us").to_numpy()
        if len(time) < 2:
            continue
        rises = (np.diff(rows[f"{d}_octets"].to_numpy()) for d in ("in", "out"))
        pieces.append(
            _spread(time, *rises)
            .unpivot(["in", "out"], index="slot", variable_name="direction", value_name="octets")
            .select(
                pl.lit(exporter).alias("exporter"),
                pl.lit(interface, pl.Int64).alias("interface"),
                "direction",
                (pl.col("slot") * SLOT_US).cast(pl.Datetime("us", "UTC")),
                "octets",
            )
        )
    empty = pl.DataFrame(
        schema={"exporter": pl.String, "interface": pl.Int64, "direction": pl.String,
                "slot": pl.Datetime("us", "UTC"), "octets": pl.Int64}
    )  # fmt: skip
    return pl.concat([empty, *pieces])


def _spread(time: Ints, rise_in: Ints, rise_out: Ints) -> pl.DataFrame:
    """slot (its number), in, out: of the slots that good intervals cover whole."""
    begin, end = time[:-1], time[1:]
    good = (rise_in >= 0) & (rise_out >= 0)
    good &= end - begin <= LONGEST_GAP // timedelta(microseconds=1)
    begin, end = begin[good], end[good]
    parts = spreading.spread(begin, end, rise_in[good], rise_out[good])
    edges = np.stack(
        [np.maximum(begin[parts.record], parts.slot * SLOT_US),
         np.minimum(end[parts.record], (parts.slot + 1) * SLOT_US)]
    )  # fmt: skip
    pieces = {"slot": parts.slot, "in": parts.bytes, "out": parts.packets,
              "covered": edges[1] - edges[0]}  # fmt: skip
    return (
        pl.DataFrame(pieces)
        .group_by("slot")
        .agg(pl.all().sum())
        .filter(pl.col("covered") == SLOT_US)
        .select("slot", "in", "out")
        .sort("slot")
    )


def compare(
    counters: pl.DataFrame,
    traffic: pl.LazyFrame,
    network: Configuration,
    span: tuple[datetime, datetime],
) -> list[Ratio]:
    """Ratio by configured interface and direction, over the slots of [start, end) of both.

    Args:
        counters: as `read_counters` gives them.
        traffic: the table `traffic`.
        span: what was rolled up.
    """
    overhead = pl.DataFrame(
        {
            "exporter": [i.exporter for i in network.interfaces],
            "interface": [i.index for i in network.interfaces],
            "overhead": [i.l2_overhead for i in network.interfaces],
        },
        schema={"exporter": pl.String, "interface": pl.Int64, "overhead": pl.Int64},
    )
    measured = per_slot(counters).filter(
        (pl.col("slot") >= span[0]) & (pl.col("slot") < span[1])
    ).join(overhead, on=["exporter", "interface"])  # fmt: skip
    keys = ["exporter", "interface", "direction", "slot"]
    flows = (
        traffic.filter(pl.col("scaled") & pl.col("direction").is_in(["in", "out"]))
        .group_by(keys)
        .agg(pl.col("bytes", "packets").sum())
        .collect()
    )
    both = (
        measured.join(flows, on=keys, how="left")
        .with_columns(pl.col("bytes", "packets").fill_null(0))
        .with_columns(flow=pl.col("bytes") + pl.col("overhead") * pl.col("packets"))
        .with_columns(
            outside=~(pl.col("flow") / pl.col("octets")).is_between(LOW, HIGH)
            & (pl.col("flow") + pl.col("octets") > 0)
        )
    )
    sums = both.group_by("exporter", "interface", "direction").agg(
        pl.len(), pl.col("flow", "octets").sum(), pl.col("outside").sum()
    )
    return [
        Ratio(exporter, interface, direction, slots, int(flow), round(octets), outside)
        for exporter, interface, direction, slots, flow, octets, outside in sums.sort(
            "exporter", "interface", "direction"
        ).iter_rows()
    ]
