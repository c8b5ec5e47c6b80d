"""`init`: a configuration to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flowpeer.cli.state import CommandState
from flowpeer.errors import UsageError

TEMPLATE = """\
# flowpeer.toml: your network. `flowpeer check` reads it and says what is missing or wrong.
# Only [network] and [lake] are required; paths are relative to this file.

[network]
asn = 64500                          # your ASN
name = "Example Cloud"
prefixes = ["198.18.0.0/15", "2001:db8::/32"]   # what you announce
# timezone = "UTC"                   # of billing months
# currency = "USD"

[lake]
path = "lake"                        # folder of the tables, or s3://BUCKET/FOLDER
# keep_flows = "14d"                 # flow records; roll-ups are kept forever
# fold_share = 0.02                  # networks that are together smaller: by the hour only

# [collector]
# listen = ["0.0.0.0:2055"]
# active_timeout = "60s"             # of the exporters, unless one says otherwise

# Files or folders. Without `ribs` no address can be matched to a network.
# [sources]
# ribs = "ribs"                      # MRT table dumps (.gz, .bz2, .zst) or prefix-to-AS tables
# peeringdb = "peeringdb.json"       # API dump: who peers where, and their policies
# as_relationships = "as-rel2.txt.bz2"
# as_names = "asns.csv"              # asn,name[,organisation][,country]
# interfaces = "interfaces.csv"      # exporter,index,name,role,asn,capacity,contract

# One section for each city.
# [[metros]]
# id = "ams"
# name = "Amsterdam"
# continent = "EU"
# facilities = [18]                  # PeeringDB ids: `flowpeer peeringdb find Amsterdam`
# exchanges = [{ id = 26, route_servers = true, speed = "100G" }]

# One for each router that exports flows.
# [[exporters]]
# id = "edge1.ams"
# metro = "ams"
# addresses = ["192.0.2.1"]          # source addresses of its export packets
# sampling = 1000                    # 1:N, used only where the router does not say

# One for each external interface. role: transit, peer, ix, customer or internal.
# [[interfaces]]
# exporter = "edge1.ams"
# index = 11                         # SNMP ifIndex
# role = "transit"
# asn = 1299                         # the network on the other side
# capacity = "100G"
# contract = "arelion-eu"

# [[contracts]]
# id = "arelion-eu"
# provider = "Arelion"
# commit = "20G"
# price_per_mbps = 0.12              # currency per Mbit/s and month
# overage_per_mbps = 0.15
# billing = "max_of_p95"             # p95_of_max, in, out, sum

# Peerings that exist, and networks not to be asked.
# [[sessions]]
# asn = 15169
# metro = "ams"
# kind = "ix"                        # or "pni"
# [[exclusions]]
# asn = 64511
# reason = "asked 2026-05, declined"
# until = 2027-05-01
"""


def init(
    ctx: typer.Context,
    directory: Annotated[Path, typer.Argument(metavar="[DIR]", help="Where to write it.")] = Path(),
) -> None:
    """A commented flowpeer.toml to start from.

    An existing one is never touched.
    """
    state: CommandState = ctx.obj
    path = directory / "flowpeer.toml"
    directory.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(TEMPLATE)
    except FileExistsError:
        raise UsageError(
            f"{path}: already there", advice="name another folder: `flowpeer init DIR`"
        ) from None
    if state.json:
        state.emit({"path": str(path)})
    else:
        state.tell(f"wrote {path}")
        state.say("next: describe your network in it, then `flowpeer check`")
