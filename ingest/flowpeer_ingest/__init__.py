"""Export packets (NetFlow v5, v9, IPFIX, sFlow v5) in captures → tables of flows.

`wire` turns octets into events, `columns` turns events into Arrow tables, `captures` finds the
datagrams in a file, `ingest` and `records` put them together. Nothing here knows the lake or the
network; tables go to a function that the caller gives. Import the modules you need.
"""
