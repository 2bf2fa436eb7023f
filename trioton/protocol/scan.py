"""The linear pre-scan: what CBOR a message may consist of, decided before anything is decoded.

A CBOR decoder that is fed by a stranger can be made to work for ever, to fill the memory or to run code, and each of
these takes only a few bytes. So every byte that comes from a peer passes through here first: one loop over the heads
of the items, without recursion, that jumps over strings and builds nothing. What it lets through is exactly what
`trioton.protocol.values` knows how to make Python objects of, within the limits below.

The rules:

* One item, of definite lengths that fit, and nothing after it.
* At most `MAX_ITEMS` values: the message itself, each item of a list, tuple or set, each key and each value of a dict.
* At most `MAX_DEPTH` levels, counted as cbor2 counts them: one for a container that is not empty, one for a tag. So a
  list or dict is one level, a tuple or set two, a datetime, UUID or large int one below what holds it.
* Only None, bool, int, float and strings of major type 7 and below, and the tags in `TAGS`, each with the content that
  it needs (and the tags that the caller registered, with any content).
* Keys of dicts and elements of sets are values that Python can hash: no bare array, no map, no registered tag.
  Those other than None, bool, an int of 64 bits and strings are *awkward*: anybody can make many of them with the
  same hash, which makes a dict quadratic. At most `MAX_AWKWARD_KEYS` in a message.

Ints of 64 bits are not counted as awkward, although they can be chosen to be slow, too: each walks past all that came before it. The
most that a message can have as keys of a dict, 32 767 in 170 KB, then take two seconds to decode, 11 000 take a third of one. No
cheap rule tells them from honest ones: such ints need no more than 20 bits, and the last bits of honest ones may all be the same. A
limit on their number that helped would refuse tables of ids that people have. What bounds it is `Limits.max_package`.

Three rules are left to the decoder: that text is UTF-8, that no key and no set element occurs twice, and that the text
of a datetime is one, with an offset from UTC.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Final, NoReturn, TypeAlias

from ..errors import ProtocolError
from .limits import MAX_RUN_MESSAGES

Data: TypeAlias = bytes | bytearray | memoryview
"""What may be scanned; a memoryview must be of single bytes. `bytes` is fastest, as the decoder need not copy it."""

MAX_ITEMS: Final = 65_536
"""How many values one message may hold."""

MAX_DEPTH: Final = 32
"""How many levels deep one message may be."""

MAX_AWKWARD_KEYS: Final = 1024
"""How many keys and set elements of a message may be of a kind whose hash can be forged."""

MAX_BIGNUM: Final = 4096
"""How many bytes an int may take."""

MAX_MANTISSA: Final = 512
"""How many bytes the digits of a Decimal may take as an int. Making a Decimal of an int is quadratic."""

MAX_DIGITS: Final = 1234
"""How many digits that can be."""

MAX_EXPONENT: Final = 10_000
"""How large the exponent of a Decimal may be, in either direction: ``int(Decimal("1E+999999999"))`` never ends."""

MAX_DATETIME: Final = 64
"""How many bytes the text of a datetime may take."""

DATETIME_TAG: Final = 0
POSITIVE_BIGNUM_TAG: Final = 2
NEGATIVE_BIGNUM_TAG: Final = 3
DECIMAL_TAG: Final = 4
UUID_TAG: Final = 37
SET_TAG: Final = 258

SPECIAL_DECIMAL_TAG: Final = 268
"""An extended decimal fraction, for what `DECIMAL_TAG` cannot say: minus zero, infinities and quiet NaNs."""

TUPLE_TAG: Final = 54021
"""Trioton's own: an array that was a tuple."""

TAGS: Final = frozenset(
    {
        DATETIME_TAG,
        POSITIVE_BIGNUM_TAG,
        NEGATIVE_BIGNUM_TAG,
        DECIMAL_TAG,
        UUID_TAG,
        SET_TAG,
        SPECIAL_DECIMAL_TAG,
        TUPLE_TAG,
    }
)
"""The tags that a message may use. For more, scan with ``TAGS | {number, ...}``."""

# What kind of place an item stands in. From ELEMENTS on, it must be something that Python can hash.
_VALUES = 0  # an item of a list, or of a tuple that is not (part of) a key
_PAIRS = 1  # the keys and values of a dict, in turns
_ELEMENTS = 2  # an element of a set
_PARTS = 3  # an item of a tuple that is (part of) a key or set element

_TUPLE_HEAD: Final = b"\xd3\x05"  # TUPLE_TAG, after the byte that says that a tag of two bytes follows

_SHORT = -1  # in the tables of steps: a string whose length is in the next byte


def _steps() -> list[int]:
    """For each first byte of an item: its whole size if the byte says it, `_SHORT`, or 0 for "look closer"."""
    steps = [0] * 256
    for major in (0x00, 0x20):  # the ints
        for low in range(24):
            steps[major + low] = 1
        steps[major + 24], steps[major + 25], steps[major + 26], steps[major + 27] = 2, 3, 5, 9
    for major in (0x40, 0x60):  # the strings
        for low in range(24):
            steps[major + low] = 1 + low
        steps[major + 24] = _SHORT
    steps[0xF4] = steps[0xF5] = steps[0xF6] = 1  # False, True, None
    steps[0xF9], steps[0xFA], steps[0xFB] = 3, 5, 9  # the floats
    return steps


STEPS: Final = tuple(_steps())

# The same where an empty list or dict may stand, and where a float must be looked at because it is a key.
_VALUE_STEPS: Final = tuple(1 if first in (0x80, 0xA0) else step for first, step in enumerate(STEPS))
_KEY_STEPS: Final = tuple(0 if first in (0xF9, 0xFA, 0xFB) else step for first, step in enumerate(STEPS))

_INDEFINITE = 31


def _refuse(what: str, position: int) -> NoReturn:
    raise ProtocolError(f"{what} at byte {position}")


def head(data: Data, position: int) -> tuple[int, int, int]:
    """Read the head of the item at `position`.

    Returns:
        Its major type, its argument, and where its content starts. The argument of a head that is cut off by the end
        of `data` is wrong; its content then starts behind the end.

    Raises:
        IndexError: There is nothing at `position`.
        ProtocolError: The length is indefinite or reserved.
    """
    first = data[position]
    low = first & 31
    if low < 24:
        return first >> 5, low, position + 1
    if low > 27:
        _refuse("an indefinite length" if low == _INDEFINITE else "a reserved head", position)
    size = 1 << (low - 24)
    start = position + 1
    return first >> 5, int.from_bytes(data[start : start + size], "big"), start + size


def _datetime(data: Data, position: int, _levels: int) -> int:
    """Check the content of a datetime; like its siblings below, return where it ends."""
    major, length, start = head(data, position)
    if major != 3 or length > MAX_DATETIME:
        _refuse(f"a datetime that is not a text of at most {MAX_DATETIME} bytes", position)
    return start + length


def _bignum(data: Data, position: int, _levels: int) -> int:
    major, length, start = head(data, position)
    if major != 2 or length > MAX_BIGNUM:
        _refuse(f"a large int that is not a string of at most {MAX_BIGNUM} bytes", position)
    return start + length


def _uuid(data: Data, position: int, _levels: int) -> int:
    major, length, start = head(data, position)
    if major != 2 or length != 16:
        _refuse("a UUID that is not a string of 16 bytes", position)
    return start + 16


def _exponent(data: Data, position: int) -> int:
    major, argument, start = head(data, position)
    if major > 1 or argument + major > MAX_EXPONENT:  # major type 1 means -1 - argument
        _refuse(f"a Decimal whose exponent is not an int from -{MAX_EXPONENT} to {MAX_EXPONENT}", position)
    return start


def _mantissa(data: Data, position: int, levels: int, negative: bool) -> int:
    major, argument, start = head(data, position)
    if major <= negative:
        return start
    if major != 6 or not POSITIVE_BIGNUM_TAG <= argument <= POSITIVE_BIGNUM_TAG + negative:
        _refuse("a Decimal whose digits are not an int", position)
    if levels < 3:
        _refuse("nested too deeply", position)
    major, length, end = head(data, start)
    if major != 2 or length > MAX_MANTISSA:
        _refuse(f"a Decimal whose digits are not an int of at most {MAX_MANTISSA} bytes", start)
    return end + length


def _decimal(data: Data, position: int, levels: int) -> int:
    if levels < 2:
        _refuse("nested too deeply", position)
    major, length, start = head(data, position)
    if major != 4 or length != 2:
        _refuse("a Decimal that is not an array of 2", position)
    return _mantissa(data, _exponent(data, start), levels, negative=True)


def _special_decimal(data: Data, position: int, levels: int) -> int:
    if levels < 2:
        _refuse("nested too deeply", position)
    major, length, start = head(data, position)
    if major != 4 or length != 3:
        _refuse("a special Decimal that is not an array of 3", position)
    digits = _exponent(data, start)
    option = _mantissa(data, digits, levels, negative=False)
    major, kind, end = head(data, option)
    if major or kind > 5:  # 0 and 1 are finite, 2 and 3 infinities, 4 and 5 quiet NaNs
        _refuse("a special Decimal of an unknown kind", option)
    if kind > 1 and (head(data, start)[:2] != (0, 0) or (kind < 4 and head(data, digits)[:2] != (0, 0))):
        _refuse("an infinite Decimal or a NaN with an exponent or digits", position)
    return end


_LEAVES: Final[dict[int, Callable[[Data, int, int], int]]] = {
    DATETIME_TAG: _datetime,
    POSITIVE_BIGNUM_TAG: _bignum,
    NEGATIVE_BIGNUM_TAG: _bignum,
    DECIMAL_TAG: _decimal,
    UUID_TAG: _uuid,
    SPECIAL_DECIMAL_TAG: _special_decimal,
}


def _skip(data: Data, position: int, max_items: int, max_depth: int, tags: Container[int]) -> int:
    """Check the one item that starts at `position`, and return where it ends.

    The end may lie behind the end of `data`, if that is in the middle of a string or number.

    Raises:
        IndexError: The data ends before the item does.
        ProtocolError: A rule is broken.
    """
    items = remaining = 1  # values met in all; items still to come in the container that we are in
    kind, depth, awkward = _VALUES, 0, 0
    stack: list[tuple[int, int, int]] = []  # remaining, kind and depth of the containers around
    value_steps, key_steps = _VALUE_STEPS, _KEY_STEPS
    while True:
        # What most messages are made of: items whose size is in their first byte or two.
        if kind == _PAIRS:
            while remaining:
                step = value_steps[data[position]] if remaining & 1 else key_steps[data[position]]
                if step > 0:
                    position += step
                elif step:
                    position += data[position + 1] + 2
                else:
                    break
                remaining -= 1
        else:
            steps = value_steps if kind == _VALUES else key_steps if kind == _ELEMENTS else STEPS
            while remaining:
                step = steps[data[position]]
                if step > 0:
                    position += step
                elif step:
                    position += data[position + 1] + 2
                else:
                    break
                remaining -= 1
        if not remaining:
            if not stack:
                return position
            remaining, kind, depth = stack.pop()
            continue

        must_hash = is_key = kind == _ELEMENTS or (kind == _PAIRS and not remaining & 1)
        first, levels = data[position], 1
        if must_hash or kind == _PARTS:
            must_hash, first = True, 0  # no short way
        elif first == 0xD9 and data[position + 1 : position + 3] == _TUPLE_HEAD and TUPLE_TAG in tags:
            first, levels = data[position + 3], 2
        if 0x80 < first < 0x98:
            # A small list or tuple. Often its first items are all.
            position += 1 if levels == 1 else 4
            length = unseen = first & 0x1F
            inside = _VALUES
            while unseen and (step := value_steps[data[position]]) > 0:
                position += step
                unseen -= 1
        elif 0xA0 < first < 0xB8 and levels == 1:
            position += 1
            length = unseen = 2 * (first & 0x1F)
            inside = _PAIRS
        else:
            position, length, inside, levels = _open(data, position, max_depth - depth, tags, must_hash=must_hash)
            unseen = length
            if is_key and levels:
                awkward += 1
                if awkward > MAX_AWKWARD_KEYS:
                    _refuse(f"more than {MAX_AWKWARD_KEYS} keys whose hashes can be forged", position)
        remaining -= 1
        if length:
            items += length
            if items > max_items:
                _refuse(f"more than {max_items} values", position)
            if depth + levels > max_depth:
                _refuse(f"nested more than {max_depth} levels deep", position)
            if unseen:
                stack.append((remaining, kind, depth))
                remaining, kind = unseen, inside
                depth += levels


def _open(data: Data, position: int, room: int, tags: Container[int], *, must_hash: bool) -> tuple[int, int, int, int]:
    """Look at an item that `_skip` has no short way for.

    Args:
        data: All the data.
        position: Where the item starts.
        room: How many levels it may add.
        tags: The tags that are allowed.
        must_hash: Whether it is a key, an element of a set or a part of one.

    Returns:
        Where its content starts, or where it ends if it has none; how many items there are in it; what kind of place
        they stand in; and how many levels they lie deeper. For a string, the last is 0.
    """
    first = data[position]
    if first >= 0xE0:
        step = STEPS[first]
        if not step:
            _refuse("a simple value, 'undefined' or a break", position)
        return position + step, 0, _VALUES, 1  # a float as a key
    major, argument, start = head(data, position)
    if major < 4:  # a long string, as the ints have their size in the first byte
        return start + argument, 0, _VALUES, 0
    inside, levels = _VALUES, 1
    if major == 6:
        tag, content = argument, start
        if tag not in tags:
            _refuse(f"a tag that is not allowed ({tag})", position)
        if not room:
            _refuse("nested too deeply", position)
        if tag in _LEAVES:
            return _LEAVES[tag](data, content, room), 0, _VALUES, 1
        if tag in (SET_TAG, TUPLE_TAG):
            major, argument, start = head(data, content)
            if major != 4:
                _refuse("a set or tuple that is not an array", content)
            levels = 2
            inside = _ELEMENTS if tag == SET_TAG else _PARTS if must_hash else _VALUES
        elif must_hash:
            _refuse(f"a key that cannot be one (tag {tag})", position)
        else:
            argument = 1
    elif must_hash:
        _refuse("a list or dict as a key", position)
    elif major == 5:
        inside = _PAIRS
        argument *= 2
    if argument > len(data) - start:
        _refuse("a length beyond the end", start)
    return start, argument, inside, levels


def scan(data: Data, *, max_items: int = MAX_ITEMS, max_depth: int = MAX_DEPTH, tags: Container[int] = TAGS) -> None:
    """Check that `data` is one message, by the rules of this module.

    It takes about 0.1 us an item, and nothing for the length of strings.

    Args:
        data: The bytes, all of them.
        max_items: How many values the message may hold.
        max_depth: How many levels deep it may be.
        tags: The tags that it may use. Those that are not in `TAGS` may have any content.

    Raises:
        ProtocolError: A rule is broken; the message says which, and at which byte.
    """
    try:
        end = _skip(data, position=0, max_items=max_items, max_depth=max_depth, tags=tags)
    except IndexError:
        end = len(data) + 1
    if end != len(data):
        raise ProtocolError("the data ends in the middle of a value" if end > len(data) else f"data after byte {end}")


def scan_run(
    body: Data, count: int, *, max_items: int = MAX_ITEMS, max_depth: int = MAX_DEPTH, tags: Container[int] = TAGS
) -> None:
    """Check that `body` is one array of `count` messages.

    The limits hold for each message as in `scan`; the array itself is counted nowhere.

    Args:
        body: The body of a package, all of it.
        count: How many messages its header says that there are, from 0 to `MAX_RUN_MESSAGES`.
        max_items: How many values one message may hold.
        max_depth: How many levels deep one message may be.
        tags: The tags that the messages may use.

    Raises:
        ProtocolError: A rule is broken; the message says which, and in which message.
    """
    if not 0 <= count <= MAX_RUN_MESSAGES:
        raise ProtocolError(f"a run of {count} messages: there may be 0 to {MAX_RUN_MESSAGES}")
    size = len(body)
    index = -1  # the array itself
    if count == 1 and size > 2 and body[0] == 0x81:  # one short item, as most lone messages are
        step = STEPS[body[1]]
        if (step if step >= 0 else body[2] + 2) == size - 1:
            return
    try:
        major, length, position = head(body, 0)
        if major != 4 or length != count:
            raise ProtocolError(f"a run that is not an array of {count} messages")
        for index in range(count):  # noqa: B007  # it names the message when one is wrong
            step = STEPS[body[position]]
            if step > 0:
                position += step
            elif step:
                position += body[position + 1] + 2
            elif body[position] & 0xDF == 0x59:  # a string of 256 bytes to 64 KiB
                position += (body[position + 1] << 8 | body[position + 2]) + 3
            else:
                position = _skip(body, position, max_items, max_depth, tags)
    except IndexError:
        position = size + 1
    except ProtocolError as error:
        if index >= 0:
            raise ProtocolError(f"message {index} of a run: {error}") from None
        raise
    if position != size:
        if position > size:
            raise ProtocolError(f"message {index} of a run ends behind the body" if index >= 0 else "an empty body")
        raise ProtocolError(f"a run with data after its {count} messages, at byte {position}")
