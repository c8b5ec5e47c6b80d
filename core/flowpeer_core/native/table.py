"""The interface of the shared object as ctypes sees it: one table, compared with the header."""

from __future__ import annotations

import ctypes
from ctypes import c_int32, c_int64, c_uint8, c_uint32, c_void_p
from typing import Any

NO_ROOM, ARGUMENT, HEADER_ROOM = -1, -2, 64

BOOL, INT32, INT64, DOUBLE, FIXED16 = range(5)
PLAIN, DELTA, DICTIONARY, INDICES = range(4)


class Chunk(ctypes.Structure):
    """`flowpeer_chunk`."""

    _fields_ = [
        ("type", c_int32),
        ("encoding", c_int32),
        ("nullable", c_int32),
        ("measured", c_int32),
        ("entries", c_void_p),
        ("places", c_void_p),
        ("index", c_void_p),
        ("scratch", c_void_p),
        ("capacity", c_int64),
        ("places_mask", c_int64),
        ("page_rows", c_int64),
        ("rows", c_int64),
        ("nulls", c_int64),
        ("distinct", c_int64),
        ("known", c_int32),
        ("unused", c_int32),
        ("least", c_uint8 * 16),
        ("greatest", c_uint8 * 16),
    ]


STRUCTURES: dict[str, type[ctypes.Structure]] = {"flowpeer_chunk": Chunk}

FUNCTIONS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "flowpeer_abi": (c_uint32, ()),
    "flowpeer_page": (
        c_int64,
        (c_void_p, c_void_p, c_int64, c_void_p, c_int64, c_int64, c_void_p, c_int64),
    ),
    "flowpeer_page_header": (
        c_int64,
        (c_int32, c_int32, c_int64, c_int64, c_int64, c_uint32, c_void_p, c_int64),
    ),
}
"""Name → (result, arguments). Every pointer is an address: `c_void_p`."""
