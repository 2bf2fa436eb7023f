"""What the tests of the scan share: items of CBOR byte by byte, right ones and wrong ones, and whether the scan accepts them."""

from __future__ import annotations

from typing import Any

from trioton.errors import ProtocolError
from trioton.protocol.codec import uint
from trioton.protocol.scan import scan

EXTRA_TAG = 60_000


def head(major: int, argument: int, size: int | None = None) -> bytes:
    """The head of an item, in its shortest form or with an argument of `size` bytes."""
    if size is None:
        data = bytearray(uint(argument))
        data[0] |= major << 5
        return bytes(data)
    return bytes([major << 5 | {1: 24, 2: 25, 4: 26, 8: 27}[size]]) + argument.to_bytes(size, "big")


def tag(number: int, content: bytes) -> bytes:
    return head(6, number) + content


def array(*items: bytes) -> bytes:
    return head(4, len(items)) + b"".join(items)


def mapping(*items: bytes) -> bytes:
    return head(5, len(items) // 2) + b"".join(items)


def accepts(data: bytes, **options: Any) -> bool:
    try:
        scan(data, **options)
    except ProtocolError:
        return False
    return True
