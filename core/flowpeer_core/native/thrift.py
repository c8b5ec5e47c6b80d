"""Thrift's compact protocol, as far as the footer of a Parquet file needs it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = range(1, 13)


def varint(value: int) -> bytes:
    """An unsigned integer, seven bits an octet, the lowest first."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


@lru_cache(4_096)  # columns of a group have their counts in common
def integer(value: int) -> bytes:
    """A signed integer of up to 64 bits."""
    return varint((value << 1) ^ (value >> 63))


def binary(value: bytes) -> bytes:
    return varint(len(value)) + value


def array(kind: int, values: Iterable[bytes]) -> bytes:
    """A list of encoded values of one type."""
    found = list(values)
    if len(found) < 15:
        head = bytes([len(found) << 4 | kind])
    else:
        head = bytes([0xF0 | kind]) + varint(len(found))
    return head + b"".join(found)


def struct(fields: Iterable[tuple[int, int, bytes]], begun: bytes = b"", last: int = 0) -> bytes:
    """A struct of (number, type, encoded value), numbers ascending by less than 16. `begun`: what
    was made of fields up to number `last`, without its end."""
    out = bytearray(begun)
    for number, kind, value in fields:
        out.append((number - last) << 4 | kind)
        out += value
        last = number
    out.append(0)
    return bytes(out)


class ThriftReader:
    """Walks over encoded values."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def varint(self) -> int:
        value = shift = 0
        while True:
            octet = self.data[self.at]
            self.at += 1
            value |= (octet & 0x7F) << shift
            if octet < 0x80:
                return value
            shift += 7

    def fields(self) -> dict[int, tuple[int, bytes]]:
        """The struct that stands here: number → (type, its octets as they are)."""
        out: dict[int, tuple[int, bytes]] = {}
        number = 0
        while head := self.data[self.at]:
            self.at += 1
            if head >> 4:
                number += head >> 4
            else:
                value = self.varint()
                number = (value >> 1) ^ -(value & 1)
            start = self.at
            self.skip(head & 15)
            out[number] = head & 15, self.data[start : self.at]
        self.at += 1
        return out

    def skip(self, kind: int, *, element: bool = False) -> None:
        """Pass over a value; a bool is an octet only as an element of a list."""
        if kind in (TRUE, FALSE, BYTE):
            self.at += element or kind == BYTE
        elif kind in (I16, I32, I64):
            self.varint()
        elif kind == DOUBLE:
            self.at += 8
        elif kind == BINARY:
            size = self.varint()
            self.at += size
        elif kind in (LIST, SET):
            head = self.data[self.at]
            self.at += 1
            count = head >> 4
            if count == 15:
                count = self.varint()
            for _ in range(count):
                self.skip(head & 15, element=True)
        elif kind == STRUCT:
            self.fields()
        else:
            raise ValueError(f"Thrift type {kind} at {self.at}")
