"""The lake: immutable Parquet files, the record of them, and what holds the two together."""
