"""Decoders without I/O, clock or arrays: octets in, events out."""
