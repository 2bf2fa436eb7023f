"""The values of OBJECT messages: how they become CBOR, and CBOR becomes them.

Both ways are strict: what a peer may send is decided by `trioton.protocol.scan` before cbor2 sees a byte of it, and what a sender
may send is what passes that same scan. So nothing is accepted here that would be refused there.

With `datetime`, `decimal` and `uuid` this module takes a tenth of the time of ``import trioton``, and TEXT and BINARY do without it.
So nothing imports it that is imported at once: channels of other message types do, when they are made.

What an OBJECT message may hold, and how it arrives:

====================================  ==================================================================================
None, bool, float, str, bytes         as they are (floats always take 8 bytes; NaN and infinities are fine)
int                                   of any size up to 4096 bytes
bytearray, memoryview                 as bytes
list, dict, tuple                     as they are; a dict may have any of these as a key that Python can hash
set, frozenset                        as set; inside a key or a set as frozenset
datetime                              the same instant with the same offset from UTC, as a `datetime.timezone`; the
                                      name of the time zone and `fold` are not sent; naive ones are refused
UUID                                  as it is
Decimal                               exactly, with minus zero, infinities and quiet NaNs; a signalling NaN is refused
====================================  ==================================================================================

Instances of subclasses of these are sent as what they are based on: a namedtuple arrives as a tuple, an `enum.IntEnum`
as an int, an `enum.StrEnum` as a str, a `collections.OrderedDict`, `defaultdict` or `Counter` as a dict. Everything
else is refused, also what only looks like a list or dict (`range`, `collections.deque`, `types.MappingProxyType`) and
`datetime.date`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Context, Decimal
from typing import Any, Final, NoReturn, TypeAlias
from uuid import UUID

import cbor2

from ..errors import MessageTypeError, ProtocolError
from .codec import bytes_head, load, tag_head
from .scan import (
    DATETIME_TAG,
    DECIMAL_TAG,
    MAX_BIGNUM,
    MAX_DEPTH,
    MAX_DIGITS,
    MAX_ITEMS,
    NEGATIVE_BIGNUM_TAG,
    POSITIVE_BIGNUM_TAG,
    SET_TAG,
    SPECIAL_DECIMAL_TAG,
    TAGS,
    TUPLE_TAG,
    UUID_TAG,
    Data,
    head,
    scan,
)
from .sendable import LEAVES, MERGING, RICH, UNSURE, UnsendableError, explain, survey

EncodeExtra: TypeAlias = Mapping[type, Callable[[Any], "bytes | tuple[int, object]"]]
"""How types that a higher layer knows are sent: each gives the CBOR itself, or a tag and a value that can be sent."""

DecodeExtra: TypeAlias = Mapping[int, Callable[[Any], object]]
"""What a higher layer makes of the content of its tags."""

# ------------------------------------------------------------------------------------------------------------- encoding

# cbor2 encodes many types, and recurses as deep as a value goes. So each value is surveyed first. Plain ones then go to
# cbor2 as they are. Rich ones go with `_ENCODERS`, which knows each type that may be sent. Where the survey is not sure
# that the limits are kept, whatever comes out is scanned, as the receiver will do it. `explain` finds the place that is
# wrong, once it is known that one is.

_EXACT: Final = Context(prec=2 * MAX_BIGNUM, Emin=-999_999, Emax=999_999, traps=[])
"""Moves the point of a Decimal, and never rounds."""


def _write_tuple(encoder: cbor2.CBOREncoder, value: tuple[object, ...]) -> None:
    encoder.write(b"\xd9\xd3\x05")
    encoder.encode_array(value)


def _write_set(encoder: cbor2.CBOREncoder, value: set[object] | frozenset[object]) -> None:
    encoder.write(b"\xd9\x01\x02")
    encoder.encode_array(list(value))


def _write_memoryview(encoder: cbor2.CBOREncoder, value: memoryview) -> None:
    encoder.encode_bytes(value.tobytes())


def _write_datetime(encoder: cbor2.CBOREncoder, value: datetime) -> None:
    if datetime.utcoffset(value) is None:
        raise UnsendableError
    encoder.write(b"\xc0")
    encoder.encode_string(datetime.isoformat(value))


def _write_uuid(encoder: cbor2.CBOREncoder, value: UUID) -> None:
    encoder.write(b"\xd8\x25\x50" + value.bytes)


def _write_decimal(encoder: cbor2.CBOREncoder, value: Decimal) -> None:
    sign, digits, exponent = Decimal.as_tuple(value)
    if exponent == "N" or len(digits) > MAX_DIGITS:
        raise UnsendableError
    if isinstance(exponent, int) and (digits != (0,) or not sign):
        encoder.write(b"\xc4")
        encoder.encode_array([exponent, int(Decimal.scaleb(value, -exponent, _EXACT))])
        return
    encoder.write(b"\xd9\x01\x0c")
    if isinstance(exponent, int):
        encoder.encode_array([exponent, 0, 1])
    else:
        payload = int(Decimal((0, digits, 0)))  # the digits of an infinity are a zero
        encoder.encode_array([0, payload, (2 if exponent == "F" else 4) + sign])


def _write_none(encoder: cbor2.CBOREncoder, _: None) -> None:
    encoder.encode_none()


_Write: TypeAlias = Callable[[cbor2.CBOREncoder, Any], None]

_BASES: Final[dict[type, Callable[[Any], object]]] = {
    # How to make of an instance of a subclass an instance of what it is based on.
    int: int.__int__,
    float: float.__float__,
    str: str.__str__,
    bytes: bytes.__bytes__,
    bytearray: bytearray,
    dict: dict,
    list: list,
    tuple: tuple,
    set: frozenset,
    frozenset: frozenset,
    datetime: lambda value: value,
    UUID: lambda value: value,
    Decimal: Decimal,
}


class _Encoders(dict[type, _Write]):
    """What cbor2 calls for a value, by its type."""

    def __missing__(self, kind: type) -> _Write:
        for base, convert in _BASES.items():
            if issubclass(kind, base):
                write = self[base]
                return lambda encoder, value: write(encoder, convert(value))
        raise UnsendableError


_ENCODERS: Final = _Encoders(
    {
        # The methods of cbor2 itself stand here because a type that is missing costs it an exception each time.
        type(None): _write_none,
        bool: cbor2.CBOREncoder.encode_bool,
        int: cbor2.CBOREncoder.encode_int,
        float: cbor2.CBOREncoder.encode_float,
        str: cbor2.CBOREncoder.encode_string,
        bytes: cbor2.CBOREncoder.encode_bytes,
        bytearray: cbor2.CBOREncoder.encode_bytearray,
        memoryview: _write_memoryview,
        list: cbor2.CBOREncoder.encode_array,
        dict: cbor2.CBOREncoder.encode_map,
        tuple: _write_tuple,
        set: _write_set,
        frozenset: _write_set,
        datetime: _write_datetime,
        UUID: _write_uuid,
        Decimal: _write_decimal,
    }
)


def _with_extra(encode_extra: EncodeExtra, numbers: set[int]) -> _Encoders:
    """Return the encoders, with those of a higher layer; `numbers` gets the tags that they use."""

    def writer(make: Callable[[Any], bytes | tuple[int, object]]) -> _Write:
        def write(encoder: cbor2.CBOREncoder, value: object) -> None:
            made = make(value)
            if isinstance(made, bytes):
                major, number, _ = head(made, 0)
                if major == 6:
                    numbers.add(number)
            else:
                number, content = made
                numbers.add(number)
                made = tag_head(number) + _encode(content, encode_extra, numbers)
            encoder.write(made)

        return write

    encoders = _Encoders(_ENCODERS)
    encoders.update({kind: writer(make) for kind, make in encode_extra.items()})
    return encoders


def _encode(value: object, encode_extra: EncodeExtra | None, numbers: set[int]) -> bytes:
    """Encode a value; the errors do not yet say what is wrong. `numbers` gets the tags of `encode_extra`."""
    findings: set[str] = set()
    if type(value) not in LEAVES and survey(value, 1, findings) > MAX_ITEMS:
        raise UnsendableError
    if RICH not in findings:
        data = cbor2.dumps(value)
    elif encode_extra and UNSURE in findings:
        data = cbor2.dumps(value, encoders=_with_extra(encode_extra, numbers))
    else:
        data = cbor2.dumps(value, encoders=_ENCODERS)
    if UNSURE in findings or len(data) > MAX_BIGNUM:  # in long data there may be an int that is too large
        scan(data, tags=TAGS | numbers)
    if MERGING in findings:
        _decode(data, MAX_DEPTH, dict.fromkeys(numbers, _keep))
    return data


def _keep(content: object) -> object:
    return content


def encode_value(value: object, encode_extra: EncodeExtra | None = None) -> bytes:
    """Encode one OBJECT message; see the top of this module for what it may hold.

    Args:
        value: The message.
        encode_extra: Further types, exact ones, and how they are sent: a function of the value that returns the CBOR
            of one item, or a tag (none of `TAGS`) and a value that can be sent. It is called each time that the value
            occurs, and before it is known whether the rest of the message can be sent. Such a value cannot be (part
            of) a key.

    Returns:
        The CBOR: what `decode_value` accepts.

    Raises:
        MessageTypeError: The value cannot be sent; the error names the place inside it and says what is wrong there.
    """
    if type(value) is bytes:
        return bytes_head(len(value)) + value
    try:
        if type(value) is str:
            return cbor2.dumps(value)
        return _encode(value, encode_extra, set())
    except Exception as error:
        raise MessageTypeError(explain(value, frozenset(encode_extra or ()), error)) from error


# ------------------------------------------------------------------------------------------------------------- decoding


def _decode_datetime(text: str, _: bool) -> datetime:
    try:
        value = datetime.fromisoformat(text)
    except ValueError:
        value = None
    if value is None or value.tzinfo is None:
        raise ValueError(f"not a datetime with an offset from UTC: {text!r}")
    return value


def _decode_positive(data: bytes, _: bool) -> int:
    return int.from_bytes(data, "big")


def _decode_negative(data: bytes, _: bool) -> int:
    return -1 - int.from_bytes(data, "big")


def _decode_decimal(parts: Sequence[int], _: bool) -> Decimal:
    exponent, mantissa = parts
    return Decimal(mantissa).scaleb(exponent, _EXACT)


def _decode_special_decimal(parts: Sequence[int], _: bool) -> Decimal:
    exponent, mantissa, option = parts
    if option < 2:
        value = Decimal(mantissa).scaleb(exponent, _EXACT)
    elif option < 4:
        value = Decimal("Infinity")
    else:
        value = Decimal(f"NaN{Decimal(mantissa)}" if mantissa else "NaN")
    return value.copy_negate() if option & 1 else value


def _decode_uuid(data: bytes, _: bool) -> UUID:
    return UUID(bytes=data)


def _decode_tuple(items: Sequence[object], _: bool) -> tuple[object, ...]:
    return tuple(items)


@cbor2.shareable_decoder(name="set", immutable=True)
def _decode_set(immutable: bool) -> tuple[None, Callable[[Sequence[object]], object]]:
    """Say how a set is decoded: its items as what can be hashed, and itself as such if it must be hashed too."""
    return None, _make_frozenset if immutable else _make_set


def _make_set(items: Sequence[object]) -> set[object]:
    made = set(items)
    if len(made) != len(items):
        raise ValueError("a set that has an element twice")
    return made


def _make_frozenset(items: Sequence[object]) -> frozenset[object]:
    return frozenset(_make_set(items))


class _Decoders(dict[int, Callable[..., Any]]):
    """What cbor2 calls for the content of a tag. It would fall back on its own for a tag that is missing."""

    def __missing__(self, tag: int) -> NoReturn:
        raise cbor2.CBORDecodeError(f"a tag that is not allowed ({tag})")


_DECODERS: Final = _Decoders(
    {
        DATETIME_TAG: _decode_datetime,
        POSITIVE_BIGNUM_TAG: _decode_positive,
        NEGATIVE_BIGNUM_TAG: _decode_negative,
        DECIMAL_TAG: _decode_decimal,
        UUID_TAG: _decode_uuid,
        SET_TAG: _decode_set,
        SPECIAL_DECIMAL_TAG: _decode_special_decimal,
        TUPLE_TAG: _decode_tuple,
    }
)


def _ignoring_immutable(make: Callable[[Any], object]) -> Callable[[Any, bool], object]:
    return lambda content, _: make(content)


def prepare_decoders(decode_extra: DecodeExtra) -> _Decoders:
    """Make what `decode_run` and `decode_value` would else make anew of their `decode_extra` at each call.

    Args:
        decode_extra: As they take it.

    Returns:
        What they take instead.
    """
    if isinstance(decode_extra, _Decoders):
        return decode_extra
    decoders = _Decoders({number: _ignoring_immutable(make) for number, make in decode_extra.items()})
    decoders.update(_DECODERS)
    return decoders


def _decode(data: Data, max_depth: int, decode_extra: DecodeExtra | None) -> Any:
    """Decode what has been scanned."""
    return load(data, max_depth, prepare_decoders(decode_extra) if decode_extra else _DECODERS)


def decode_value(data: Data, decode_extra: DecodeExtra | None = None) -> Any:
    """Decode one OBJECT message: all of `data`, after a scan of it.

    Args:
        data: The CBOR.
        decode_extra: Further tags, none of `TAGS`, and what becomes of their content. If such a function raises, the
            message is refused.

    Raises:
        ProtocolError: `data` is not one value that may be sent; the error says what is wrong, in one line.
    """
    scan(data, tags=TAGS.union(decode_extra) if decode_extra else TAGS)
    return _decode(data, MAX_DEPTH, decode_extra)


def decode_run(body: Data, decode_extra: DecodeExtra | None = None) -> list[Any]:
    """Decode the messages of a run that `scan_run` has let through, in one call.

    Without that scan nothing bad happens either, but the limits do not hold, and things that nobody could have sent
    may come out.

    Args:
        body: The body of the package.
        decode_extra: As in `decode_value`. If such a function raises, the whole run is refused.

    Raises:
        ProtocolError: A text is not UTF-8, a key occurs twice, or a datetime is none; the error says so, in one line.
    """
    messages = _decode(body, MAX_DEPTH + 1, decode_extra)
    if type(messages) is not list:
        raise ProtocolError("a run that is not an array")
    return messages
