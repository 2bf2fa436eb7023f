"""Plain values by hand: what most arguments and results are needs neither a scan nor cbor2.

A value is plain here if it is None, a bool, a finite float, an int of 64 bits, or a str or bytes of less than 64 KiB. What is written is what
`trioton.protocol.values` would write. What is read is checked on the way, as strictly as `trioton.protocol.scan` does it; what is not
plain, or makes no sense, is left to those two, which also know what to say about it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from math import isfinite
from typing import Any, Final

from .codec import bytes_head, text_head, uint

MOST_PLAIN: Final = 1 << 16
"""Bytes of a string from which on it is not plain any more."""

_pack_float = struct.Struct(">Bd").pack
_unpack_float = struct.Struct(">d").unpack_from


def _write_text(value: str) -> bytes | None:
    if value.isascii():
        size = len(value)
        return text_head(size) + value.encode() if size < MOST_PLAIN else None
    try:
        data = value.encode()
    except UnicodeEncodeError:
        return None
    return text_head(len(data)) + data if len(data) < MOST_PLAIN else None


def _write_bytes(value: bytes) -> bytes | None:
    size = len(value)
    return bytes_head(size) + value if size < MOST_PLAIN else None


def _write_int(value: int) -> bytes | None:
    if 0 <= value < 1 << 64:
        return uint(value)
    if -(1 << 64) <= value < 0:
        data = uint(-1 - value)
        return bytes((data[0] | 0x20,)) + data[1:]
    return None


_WRITERS: Final[dict[type, Callable[[Any], bytes | None]]] = {
    str: _write_text,
    bytes: _write_bytes,
    int: _write_int,
    bool: lambda value: b"\xf5" if value else b"\xf4",
    type(None): lambda _: b"\xf6",
    float: lambda value: _pack_float(0xFB, value) if isfinite(value) else None,
}


def encode_plain(value: object) -> bytes | None:
    """Encode a plain value; None if it is not plain."""
    write = _WRITERS.get(type(value))
    return None if write is None else write(value)


# What stands in the first byte of an item: how many bytes it has in all, or in which kind of number its length or its value follows.
_TEXT, _BYTES, _INT, _NEGATIVE, _FLOAT = range(256, 261)


def _kinds() -> list[int]:
    kinds = [-1] * 256
    for low in range(28):
        for major, kind in ((0x00, _INT), (0x20, _NEGATIVE), (0x40, _BYTES), (0x60, _TEXT)):
            if low < 26 or kind in (_INT, _NEGATIVE):
                kinds[major + low] = kind
    kinds[0xFB] = _FLOAT
    return kinds


_KINDS: Final = tuple(_kinds())
_CONSTANTS: Final[dict[int, bool | None]] = {0xF4: False, 0xF5: True, 0xF6: None}


def decode_plain(data: bytes, position: int, count: int) -> tuple[list[Any], int] | None:
    """Decode so many plain values that stand one behind the other.

    Args:
        data: Where they are.
        position: Where the first of them begins.
        count: How many there are.

    Returns:
        The values, and the position behind the last. None if there are not so many, or one is not plain.
    """
    values: list[Any] = []
    end = len(data)
    try:
        for _ in range(count):
            first = data[position]
            position += 1
            kind = _KINDS[first]
            if kind < 0:
                values.append(_CONSTANTS[first])
                continue
            if kind == _FLOAT:
                values.append(_unpack_float(data, position)[0])
                position += 8
                continue
            number = first & 31
            if number > 23:
                size = 1 << number - 24
                number = data[position] if size == 1 else int.from_bytes(data[position : position + size], "big")
                position += size
            if kind == _TEXT:
                stop = position + number
                values.append(data[position:stop].decode())
                position = stop
            elif kind == _BYTES:
                stop = position + number
                values.append(data[position:stop])
                position = stop
            else:
                values.append(number if kind == _INT else -1 - number)
            if position > end:
                return None
    except (IndexError, KeyError, UnicodeDecodeError, struct.error):
        return None
    return values, position
