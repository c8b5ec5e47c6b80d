"""Snapshots of routes in the lake: loading, matching, looking up."""
