"""CBOR: what every channel and every frame needs of it. The values of OBJECT messages are the affair of `values`.

Everything on the wire is CBOR (RFC 8949). This module writes and reads headers, and messages that are strings; so programs that
send nothing else never load what richer values need. Only this module and `trioton.protocol.values` import cbor2.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import cbor2

from ..errors import MessageTypeError, ProtocolError
from .scan import STEPS, Data, scan

MAX_HEADER: Final = 8192
"""How many bytes the header of a frame may take."""

MAX_HEADER_DEPTH: Final = 4
"""How many levels deep a header may be."""

# ---------------------------------------------------------------------------------------------------------------- heads

_pack_2 = struct.Struct(">BH").pack
_pack_4 = struct.Struct(">BI").pack
_pack_8 = struct.Struct(">BQ").pack


def _long_head(major: int, n: int) -> bytes:
    if 0 <= n < 1 << 16:
        return _pack_2(major + 25, n) if n > 255 else bytes((major + 24, n) if n > 23 else (major + n,))
    if 0 <= n < 1 << 32:
        return _pack_4(major + 26, n)
    if 0 <= n < 1 << 64:
        return _pack_8(major + 27, n)
    raise ValueError(f"n must be from 0 to 2**64 - 1, not {n}")


# The heads up to 600 are ready made: a run has up to 512 messages, and most strings are shorter.
_UINTS, _BYTES_HEADS, _TEXT_HEADS, _ARRAY_HEADS = (
    tuple(_long_head(major, n) for n in range(600)) for major in (0x00, 0x40, 0x60, 0x80)
)


def uint(n: int) -> bytes:
    """Return the CBOR of the int `n`, which is not negative and has at most 64 bits, in its shortest form."""
    return _UINTS[n] if 0 <= n < 600 else _long_head(0x00, n)


def bytes_head(n: int) -> bytes:
    """Return what stands before `n` bytes to make them a byte string."""
    return _BYTES_HEADS[n] if 0 <= n < 600 else _long_head(0x40, n)


def text_head(n: int) -> bytes:
    """Return what stands before `n` bytes of UTF-8 to make them a text."""
    return _TEXT_HEADS[n] if 0 <= n < 600 else _long_head(0x60, n)


def array_head(n: int) -> bytes:
    """Return what stands before `n` items to make them an array."""
    return _ARRAY_HEADS[n] if 0 <= n < 600 else _long_head(0x80, n)


def tag_head(n: int) -> bytes:
    """Return what stands before an item to put it under the tag `n`."""
    return _long_head(0xC0, n)


# ------------------------------------------------------------------------------------------------------------- encoding


def encode_texts(texts: Sequence[str]) -> bytes:
    """Encode many texts, each of them a str, at once: as the body of a run.

    Raises:
        MessageTypeError: One of them has a lone surrogate.
    """
    try:
        return cbor2.dumps(texts)
    except UnicodeEncodeError as error:
        place = texts.index(error.object)
        raise MessageTypeError(f"message[{place}]: a text with a lone surrogate cannot be sent") from error


def encode_header(items: Sequence[object]) -> bytes:
    """Encode a header of plain values: ints of 64 bits, strings, None, bools, and lists of them.

    Raises:
        ValueError: It would be longer than `MAX_HEADER`.
    """
    data = cbor2.dumps(items)
    if len(data) > MAX_HEADER:
        raise ValueError(f"a header of {len(data)} bytes: there may be {MAX_HEADER}")
    return data


# ------------------------------------------------------------------------------------------------------------- decoding


def load(data: Data, max_depth: int, decoders: Mapping[int, Callable[..., Any]] | None = None) -> Any:
    """Decode one item that has been scanned.

    Args:
        data: The CBOR.
        max_depth: How many levels deep it may be.
        decoders: What cbor2 calls for the content of each tag, if there may be any.

    Raises:
        ProtocolError: cbor2, or one of the decoders, refuses it; the error says why, in one line.
    """
    try:
        return cbor2.loads(
            data, semantic_decoders=decoders, max_depth=max_depth, allow_indefinite=False, allow_duplicate_keys=False
        )
    except BaseException as error:
        raise _protocol_error(error) from error


def _protocol_error(error: BaseException) -> ProtocolError:
    """Say in one short line why cbor2 or one of our decoders failed: what is farthest down the chain of causes.

    Raises:
        BaseException: `error` itself, if it has nothing to do with what was decoded, as a KeyboardInterrupt.
    """
    # A panic of the Rust code in cbor2 is not an Exception, and its class has no public name.
    if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
        raise error
    while error.__cause__ is not None:
        error = error.__cause__
    text = " ".join(str(error).split()) or type(error).__name__
    return ProtocolError(f"data that cannot be decoded: {text if len(text) < 200 else text[:196] + ' ...'}")


def decode_strings(body: Data) -> list[Any]:
    """Decode the messages of a run that `scan_run` has let through and in which only strings are wanted.

    It is faster than `values.decode_run`. What else the run may hold comes out as anything at all, for the caller to refuse.

    Raises:
        ProtocolError: A text is not UTF-8, or something that is no string cannot be decoded.
    """
    try:
        messages: list[Any] = cbor2.loads(body)
    except BaseException as error:
        raise _protocol_error(error) from error
    return messages


def decode_lone_text(body: bytes) -> str | None:
    """Decode a run that `scan_run` has let through, if it is one short text; else, or if that is not UTF-8, give None.

    A text of fewer than 256 bytes has its length in one or two bytes, and there is nothing that a decoder could add.
    """
    head = body[1]
    start = 3 if head == 0x78 else 2 if 0x60 <= head < 0x78 else 0
    if not start:
        return None
    try:
        return body[start:].decode()
    except UnicodeDecodeError:
        return None


def decode_header(data: Data) -> list[Any]:
    """Decode a header: an array of plain values, at most 8 KiB and four levels, without tags.

    Raises:
        ProtocolError: It is not that; the error says what is wrong, in one line.
    """
    header: list[Any]
    try:
        # Nearly all headers are fewer than 24 short values. Such a one needs no scan.
        if 0x80 <= data[0] < 0x98:
            position = 1
            for _ in range(data[0] - 0x80):
                step = STEPS[data[position]]
                if step <= 0:
                    break
                position += step
            else:
                if position == len(data):
                    header = cbor2.loads(data)
                    return header
    except IndexError:
        pass  # it ends too early, as the scan will say
    except BaseException as error:
        raise _protocol_error(error) from error
    if len(data) > MAX_HEADER:
        raise ProtocolError(f"a header of {len(data)} bytes: there may be {MAX_HEADER}")
    scan(data, max_depth=MAX_HEADER_DEPTH, tags=())
    header = load(data, MAX_HEADER_DEPTH)
    if type(header) is not list:
        raise ProtocolError("a header that is not an array")
    return header
