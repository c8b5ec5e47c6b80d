"""flowpeer: from NetFlow/IPFIX exports to a ranked, feasible list of peering candidates."""

__version__ = "0.1.0"
