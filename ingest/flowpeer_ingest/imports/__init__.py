"""Other tools' exports → tables of flows: nobody must replace a collector to use flowpeer.

`tools` states what each tool calls the columns, `files` reads rows of text out of CSV, JSON and
Parquet, `nfdump` asks that program for the rows of nfcapd's files, `values` turns text into
numbers, times and addresses, `rows` makes flows of them, `ingest` puts all together.
"""
