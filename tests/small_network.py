"""The configuration of a network of one metro, of which most tests need no more."""

NETWORK = """\
[network]
asn = 64500
name = "Test"
prefixes = ["198.18.0.0/15"]
[lake]
path = "lake"
[[metros]]
id = "ams"
name = "Amsterdam"
"""
"""Sections of exporters and interfaces follow."""

EDGE = (
    NETWORK
    + """\
[[exporters]]
id = "edge1"
metro = "ams"
addresses = ["192.0.2.1"]
"""
)
"""With one exporter; more of it, and interfaces, may follow."""
