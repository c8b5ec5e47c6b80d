"""MRT files: their records, and table dumps."""
