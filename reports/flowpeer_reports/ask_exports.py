"""The asks of a list as other tools import them.

- `peering-manager`: a JSON list for `POST /api/peering/autonomous-systems/` of Peering Manager,
  which creates one autonomous system each; what PeeringDB knows of it is kept in step by it.
- `netbox`: CSV for the import of ASNs of NetBox and tools of its shape: `asn`, `rir`,
  `description`, `comments`. NetBox wants the name of a RIR object for each; we know of none.

Comments are Markdown in both, so foreign text is escaped; sizes are those that they take.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal, get_args

import polars as pl

from flowpeer_reports.candidates import Candidates
from flowpeer_reports.errors import ReportError
from flowpeer_reports.inputs import Inputs, pdb
from flowpeer_reports.render.cells import clean, rate
from flowpeer_reports.render.csv import csv
from flowpeer_reports.render.markdown import escaped

Tool = Literal["peering-manager", "netbox"]
TOOLS: tuple[str, ...] = get_args(Tool)
MOST_NAME, MOST_AS_SET, MOST_DESCRIPTION = 128, 255, 200
"""Characters that Peering Manager takes of a name and of an AS-SET, and NetBox of a description."""
_NET = {
    "asn": pl.Int64, "irr_as_set": pl.String, "info_prefixes4": pl.Int64,
    "info_prefixes6": pl.Int64,
}  # fmt: skip


def ask_export(inputs: Inputs, found: Candidates, tool: Tool, *, rir: str = "") -> str:
    """Every ask of the organisations' list as one document, in the order of the list.

    Args:
        rir: name of the RIR object that NetBox is to hang the ASNs on.

    Raises:
        ReportError: an unknown tool, or NetBox without `rir`.
    """
    asks = list(found.organisations.filter(pl.col("rank") > 0).iter_rows(named=True))
    if tool == "peering-manager":
        known = {
            row["asn"]: row
            for row in pdb(inputs.peeringdb, "net", _NET).drop_nulls("asn").iter_rows(named=True)
        }
        made = [_autonomous_system(inputs, row, known.get(row["asn"])) for row in asks]
        return json.dumps(made, indent=1, ensure_ascii=False) + "\n"
    if tool == "netbox":
        if not clean(rir):
            raise ReportError(
                "NetBox takes no ASN without a RIR",
                advice="give the name of its object: --rir NAME",
            )
        return csv(
            pl.DataFrame(
                [(r["asn"], clean(rir), _name(r)[:MOST_DESCRIPTION], _comment(inputs, r))
                 for r in asks],
                schema={"asn": pl.Int64, "rir": pl.String, "description": pl.String,
                        "comments": pl.String},
                orient="row",
            )
        )  # fmt: skip
    raise ReportError(f"no such tool: {tool}", advice=f"one of {', '.join(TOOLS)}")


def _autonomous_system(
    inputs: Inputs, row: Mapping[str, Any], net: Mapping[str, Any] | None
) -> dict[str, Any]:
    made: dict[str, Any] = {
        "asn": row["asn"], "name": _name(row)[:MOST_NAME], "name_peeringdb_sync": net is not None,
        "comments": _comment(inputs, row),
    }  # fmt: skip
    as_set = clean((net or {}).get("irr_as_set") or "")
    if as_set and len(as_set) <= MOST_AS_SET:
        made["irr_as_set"] = as_set
    made["irr_as_set_peeringdb_sync"] = net is not None
    for family, name in ((6, "info_prefixes6"), (4, "info_prefixes4")):
        count = (net or {}).get(name)
        if count is not None and count >= 0:
            made[f"ipv{family}_max_prefixes"] = count
        made[f"ipv{family}_max_prefixes_peeringdb_sync"] = net is not None
    return made


def _name(row: Mapping[str, Any]) -> str:
    return clean(row["name"] or "") or f"AS{row['asn']}"


def _comment(inputs: Inputs, row: Mapping[str, Any]) -> str:
    """Why it is asked, on one line."""
    period = f"{inputs.period_start:%Y-%m-%d} to {inputs.period_end:%Y-%m-%d}"
    parts = [
        f"Ask {row['rank']} of the list of {period}",
        f"expected {rate(row['expected_bps'] or 0.0)}",
        f"{rate(row['marginal_bps'] or 0.0)} if all say yes",
        f"metros {', '.join(row['metros'] or ())}",
        f"policy {row['policy'] or 'unknown'}",
    ]
    if row["meet"]:
        parts.append(f"meet {row['meet']}")
    return "; ".join(escaped(part) for part in parts)
