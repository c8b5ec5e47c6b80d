"""Datagrams as Akvorado's inlet writes them to Kafka: one message each.

A stream of messages has each behind its length, four octets in network order, as `kcat -f '%R%s'`
writes them; -1 is a message without content. A message is a `RawFlow` of Akvorado 2
(common/pb/rawflow.proto): the time of receipt in seconds, the datagram, the address it came from.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

MAX_MESSAGE = 1 << 17
"""A datagram has 65,535 octets at most."""
EMPTY = 0xFFFFFFFF
_VARINT, _FIXED64, _OCTETS, _FIXED32 = 0, 1, 2, 5
_TIME, _PAYLOAD, _SOURCE = 1, 2, 3


@dataclass(frozen=True, slots=True)
class RawFlow:
    """A datagram: seconds since 1970, its octets, and the 16 octets of where it came from."""

    received_s: int
    payload: bytes
    source: bytes


def parse(message: bytes) -> RawFlow | None:
    """A message; None where it is none, or holds no datagram."""
    found: dict[int, int | bytes] = {}
    try:
        for number, value in _fields(message):
            found[number] = value
    except (IndexError, ValueError):
        return None
    received, payload, source = (found.get(n, 0) for n in (_TIME, _PAYLOAD, _SOURCE))
    if not (isinstance(received, int) and isinstance(payload, bytes) and isinstance(source, bytes)):
        return None
    if not payload or len(source) != 16 or not 0 < received < 1 << 32:
        return None
    return RawFlow(received, payload, source)


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Numbers and values of a protobuf message. Raises IndexError, ValueError: it is none."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == _VARINT:
            value, at = _varint(message, at)
            yield tag >> 3, value
            continue
        size = {_FIXED64: 8, _FIXED32: 4}.get(kind, -1)
        if kind == _OCTETS:
            size, at = _varint(message, at)
        if size < 0 or at + size > len(message):
            raise ValueError(kind)
        yield tag >> 3, message[at : at + size]
        at += size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        octet = message[at]
        at += 1
        value |= (octet & 0x7F) << shift
        if octet < 0x80:
            return value, at
    raise ValueError(at)
