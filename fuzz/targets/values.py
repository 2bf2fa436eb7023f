"""Targets for messages: the scan beside a strict decoder, and the decoding of what has passed it."""

from __future__ import annotations

import io
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import cbor2

from trioton.channels.messages import BINARY, OBJECT, TEXT, DecodeFailure
from trioton.errors import ProtocolError
from trioton.protocol import codec, scan, values

from ..violation import require

RULES: Final = (
    scan.TAGS - {scan.SET_TAG, scan.TUPLE_TAG},
    {scan.POSITIVE_BIGNUM_TAG: scan.MAX_BIGNUM, scan.NEGATIVE_BIGNUM_TAG: scan.MAX_BIGNUM},
)


class _RefusedError(Exception):
    """The rules forbid it."""


def scan_alone(data: bytes) -> None:
    """Any bytes into the scan, as a message and as a run: let through or refused."""
    for count in (data[0] & 0x1F if data else 0, 1):
        try:
            scan.scan_run(data, count)
        except ProtocolError as error:
            require(len(str(error)) < 200, "a refusal is short")
    try:
        scan.scan(data)
    except ProtocolError as error:
        require(len(str(error)) < 200, "a refusal is short")


def strict(data: bytes) -> None:
    """One value: taken exactly if cbor2 takes it with its strict switches, all rules hold, and nothing is left over."""
    try:
        values.decode_value(data)
        is_taken = True
    except ProtocolError:
        is_taken = False
    require(is_taken == _strictly(data), f"the strict decoder agrees that this is {'right' if is_taken else 'wrong'}")


def run(data: bytes) -> None:
    """The body of a package: what passes the scan is decoded, or refused as a run; and who receives it can send it on."""
    count = data[0] & 0x1F if data else 0
    try:
        scan.scan_run(data, count)
    except ProtocolError:
        return
    try:
        messages = values.decode_run(data)
    except ProtocolError:
        return
    require(len(messages) == count, "all messages are there, and no more")
    for message in messages:
        again = values.encode_value(message)
        require(type(values.decode_value(again)) is type(message), "a value that was received can be sent on")
    for kind in (TEXT, BINARY, OBJECT):
        made = kind.decode_many(list(messages))
        require(len(made) == count, "each message is decoded or has failed")
        if kind is TEXT:
            for message, text in zip(messages, made, strict=True):
                require(isinstance(text, DecodeFailure) is (type(message) is not str), "texts are texts")
    if count == 1 and type(messages[0]) is str:
        require(codec.decode_lone_text(data) in {None, messages[0]}, "the short way gives the same text")


# ------------------------------------------------------------------------------------- the strict decoder, and the rules


class _Kept(dict[int, Any]):
    """Instead of what cbor2 would make of the content of a tag: the tag itself."""

    def __missing__(self, tag: int) -> Any:
        return lambda content, immutable: cbor2.CBORTag(tag, content)  # noqa: ARG005  # it is called so


def _strictly(data: bytes) -> bool:
    file = io.BytesIO(data)
    try:
        tree = cbor2.CBORDecoder(
            file,
            semantic_decoders=_Kept(),
            max_depth=100,
            allow_indefinite=False,
            allow_duplicate_keys=False,
            read_size=1,
        ).decode()
    except (cbor2.CBORDecodeError, ValueError, OverflowError, MemoryError, TypeError):
        return False
    if file.tell() != len(data):
        return False
    try:
        count = _Counter()
        _check(tree, 0, count)
        return True
    except _RefusedError:
        return False


class _Counter:
    """Counts what there may be so many of."""

    def __init__(self) -> None:
        self.items = 1
        self.awkward = 0

    def add(self, items: int) -> None:
        self.items += items
        _rule(self.items <= scan.MAX_ITEMS)


def _rule(is_kept: object) -> None:
    if not is_kept:
        raise _RefusedError


def _check(value: Any, depth: int, count: _Counter, *, is_key: bool = False) -> object:
    """See that a value keeps the rules, and give what a dict would know it by if it is a key or a part of one."""
    kind = type(value)
    if value is None or kind in {bool, float, str, bytes}:
        return value
    if kind is int:
        _rule(-(1 << 64) <= value < 1 << 64)
        return value
    if kind is cbor2.CBORTag:
        return _check_tag(value.tag, value.value, depth, count, is_key=is_key)
    _rule(not is_key)
    if kind in {list, tuple}:
        _deepen(value, depth, count)
        for item in value:
            _check(item, depth + 1, count)
        return None
    _rule(kind is dict)
    _deepen(value, depth, count, 2)
    seen = set()
    for key, item in value.items():
        seen.add(_check_key(key, depth + 1, count))
        _check(item, depth + 1, count)
    _rule(len(seen) == len(value))
    return None


def _deepen(items: Any, depth: int, count: _Counter, each: int = 1, levels: int = 1) -> None:
    if items:
        count.add(each * len(items))
        _rule(depth + levels <= scan.MAX_DEPTH)


def _check_key(key: object, depth: int, count: _Counter) -> object:
    if type(key) in {cbor2.CBORTag, float}:
        count.awkward += 1
        _rule(count.awkward <= scan.MAX_AWKWARD_KEYS)
    return _check(key, depth, count, is_key=True)


def _check_tag(tag: int, content: Any, depth: int, count: _Counter, *, is_key: bool) -> object:
    _rule(depth + 1 <= scan.MAX_DEPTH)
    if tag == scan.SET_TAG:
        _rule(type(content) in {list, tuple})
        _deepen(content, depth, count, levels=2)
        keys = frozenset(_check_key(item, depth + 2, count) for item in content)
        _rule(len(keys) == len(content))
        return keys
    if tag == scan.TUPLE_TAG:
        _rule(type(content) in {list, tuple})
        _deepen(content, depth, count, levels=2)
        return tuple(_check(item, depth + 2, count, is_key=is_key) for item in content)
    if tag in {scan.POSITIVE_BIGNUM_TAG, scan.NEGATIVE_BIGNUM_TAG}:
        return _integer(tag, content, scan.MAX_BIGNUM)
    if tag == scan.UUID_TAG:
        _rule(type(content) is bytes and len(content) == 16)
        return UUID(bytes=content)
    if tag == scan.DATETIME_TAG:
        return _datetime(content)
    _rule(tag in {scan.DECIMAL_TAG, scan.SPECIAL_DECIMAL_TAG})
    _rule(depth + 2 <= scan.MAX_DEPTH)
    _rule(type(content) in {list, tuple} and len(content) == (2 if tag == scan.DECIMAL_TAG else 3))
    return _decimal(content, depth)


def _integer(tag: int, content: object, most: int) -> int:
    _rule(type(content) is bytes and len(content) <= most)
    assert isinstance(content, bytes)
    number = int.from_bytes(content, "big")
    return number if tag == scan.POSITIVE_BIGNUM_TAG else -1 - number


def _datetime(content: object) -> datetime:
    _rule(type(content) is str and len(content.encode()) <= scan.MAX_DATETIME)
    assert isinstance(content, str)
    try:
        made = datetime.fromisoformat(content)
    except ValueError:
        raise _RefusedError from None
    _rule(made.tzinfo is not None)
    return made


def _decimal(content: Any, depth: int) -> object:
    exponent, digits, *special = content
    _rule(type(exponent) is int and abs(exponent) <= scan.MAX_EXPONENT)
    if type(digits) is cbor2.CBORTag:
        _rule(depth + 3 <= scan.MAX_DEPTH)
        _rule(digits.tag in {scan.POSITIVE_BIGNUM_TAG, scan.NEGATIVE_BIGNUM_TAG})
        digits = _integer(digits.tag, digits.value, scan.MAX_MANTISSA)
        is_large = True
    else:
        _rule(type(digits) is int and -(1 << 64) <= digits < 1 << 64)
        is_large = False
    if not special:
        return Decimal(digits).scaleb(exponent, values._EXACT)
    (kind,) = special
    _rule(type(kind) is int and 0 <= kind <= 5 and digits >= 0)
    if kind > 1:
        _rule(exponent == 0)
        _rule(kind > 3 or (digits == 0 and not is_large))
    return values._decode_special_decimal([exponent, digits, kind], False)  # its value decides what it equals
