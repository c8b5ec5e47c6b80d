"""The stages as functions: ingest, roll up, merge, prune, collect."""
