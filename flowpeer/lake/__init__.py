"""The lake: immutable Parquet files, their ledger, and what holds the two together."""
