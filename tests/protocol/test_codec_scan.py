"""The scan that stands before the decoder."""

from __future__ import annotations

import itertools
import sys
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import cbor2
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from trioton.errors import ProtocolError
from trioton.protocol import values
from trioton.protocol.codec import array_head, bytes_head, uint
from trioton.protocol.scan import (
    MAX_AWKWARD_KEYS,
    MAX_DATETIME,
    MAX_EXPONENT,
    MAX_ITEMS,
    STEPS,
    TAGS,
    TUPLE_TAG,
    scan,
    scan_run,
)
from trioton.protocol.values import decode_value, encode_value

EXTRA_TAG = 60_000

SLOWNESS = 20 if "coverage" in sys.modules else 1
"""By what factor times may be longer than without a tracer."""


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


# ------------------------------------------------------------------------------------------ the same rules, written plainly


class Refused(Exception):
    pass


class Reference:
    """The rules of the scan as a recursive descent that takes its time."""

    def __init__(self, data: bytes, tags: frozenset[int] = TAGS) -> None:
        self.data = data
        self.tags = tags
        self.position = 0
        self.items = 1
        self.awkward = 0

    def accepts(self) -> bool:
        try:
            self.item(0, "value")
        except Refused:
            return False
        return self.position == len(self.data)

    def take(self, size: int) -> bytes:
        taken = self.data[self.position : self.position + size]
        self.require(len(taken) == size)
        self.position += size
        return taken

    def require(self, condition: bool) -> None:
        if not condition:
            raise Refused

    def head(self) -> tuple[int, int, int]:
        first = self.take(1)[0]
        major, low = divmod(first, 32)
        self.require(low < 28)
        return major, low, low if low < 24 else int.from_bytes(self.take(1 << (low - 24)), "big")

    def item(self, depth: int, place: str) -> None:
        """Read an item at a place: a "value", a "key" (or element of a set), or a "part" of one."""
        major, low, argument = self.head()
        if major in (2, 3):
            self.take(argument)
        elif major in (4, 5):
            self.require(place == "value")
            self.children(argument * (major - 3), depth + 1, "value" if major == 4 else "pairs")
        elif major == 6:
            self.count_key(place)
            self.require(depth < 32)
            self.tagged(argument, depth + 1, place)
        elif major == 7:
            if low in (25, 26, 27):
                self.count_key(place)
            else:
                self.require(low in (20, 21, 22))

    def count_key(self, place: str) -> None:
        self.awkward += place == "key"
        self.require(self.awkward <= 1024)

    def children(self, count: int, depth: int, places: str) -> None:
        self.items += count
        self.require(self.items <= 65_536)
        if count:
            self.require(depth <= 32)
        for index in range(count):
            self.item(depth, places if places != "pairs" else "value" if index % 2 else "key")

    def tagged(self, number: int, depth: int, place: str) -> None:
        self.require(number in self.tags)
        if number in (0, 2, 3, 37):
            major, _, size = self.head()
            self.require(major == (3 if number == 0 else 2))
            self.require(size == 16 if number == 37 else size <= (64 if number == 0 else 4096))
            self.take(size)
        elif number in (258, TUPLE_TAG):
            major, _, count = self.head()
            self.require(major == 4)
            self.children(count, depth + 1, "key" if number == 258 else "value" if place == "value" else "part")
        elif number in (4, 268):
            self.decimal(number, depth)
        else:
            self.require(place == "value")
            self.items += 1
            self.require(self.items <= 65_536)
            self.item(depth, "value")

    def decimal(self, number: int, depth: int) -> None:
        major, _, count = self.head()
        self.require(major == 4 and count == (2 if number == 4 else 3) and depth < 32)
        exponent_sign, _, exponent = self.head()
        self.require(exponent_sign < 2 and exponent + exponent_sign <= 10_000)
        sign, _, mantissa = self.head()
        if sign == 6:
            self.require(mantissa in ((2, 3) if number == 4 else (2,)) and depth < 31)
            major, _, size = self.head()
            self.require(major == 2 and size <= 512)
            self.take(size)
            mantissa = -1
        else:
            self.require(sign < (2 if number == 4 else 1))
        if number == 268:
            major, _, option = self.head()
            self.require(major == 0 and option <= 5)
            self.require(option < 2 or (exponent == 0 and exponent_sign == 0 and (option > 3 or mantissa == 0)))


def accepts(data: bytes, **options: Any) -> bool:
    try:
        scan(data, **options)
    except ProtocolError:
        return False
    return True


def decodes(data: bytes) -> tuple[bool, str]:
    """Whether the strict decoder alone accepts `data`, and why not."""
    try:
        values._decode(data, 32, None)
    except ProtocolError as error:
        return False, str(error)
    return True, ""


# ------------------------------------------------------------------------------------------------------------ properties

LEFT_TO_THE_DECODER = ("utf-8", "Duplicate map key", "element twice", "not a datetime with an offset")

sizes = st.sampled_from([None, None, None, 1, 2, 4, 8])


@st.composite
def heads(draw: st.DrawFn, major: int, argument: int) -> bytes:
    size = draw(sizes)
    return head(major, argument, None if size is None or argument >= 1 << 8 * size else size)


def _string(major: int, content: bytes) -> st.SearchStrategy[bytes]:
    return heads(major, len(content)).map(lambda made: made + content)


def _container(major: int, items: list[bytes]) -> st.SearchStrategy[bytes]:
    return heads(major, len(items) // (2 if major == 5 else 1)).map(lambda made: made + b"".join(items))


ints = st.tuples(st.sampled_from([0, 1]), st.integers(0, 2**64 - 1) | st.integers(0, 30)).flatmap(
    lambda pair: heads(*pair)
)
strings = st.one_of(
    st.text(max_size=30).flatmap(lambda text: _string(3, text.encode())),
    st.binary(max_size=30).flatmap(lambda data: _string(2, data)),
    st.just(head(3, 300) + b"x" * 300),
    st.just(head(2, 70_000) + bytes(70_000)),
)
simple = st.sampled_from([b"\xf4", b"\xf5", b"\xf6", b"\xf9\x7e\x00", b"\xfa\x7f\x80\x00\x00", b"\xfb" + bytes(8)])
tagged_leaves = st.one_of(
    st.binary(max_size=20).map(lambda data: tag(2, head(2, len(data)) + data)),
    st.binary(max_size=20).map(lambda data: tag(3, head(2, len(data)) + data)),
    st.binary(min_size=16, max_size=16).map(lambda data: tag(37, head(2, 16) + data)),
    st.datetimes().map(lambda when: tag(0, head(3, len(when.isoformat()) + 1) + when.isoformat().encode() + b"Z")),
    st.tuples(ints, ints | st.just(b"\xc2\x49" + b"\x01" * 9)).map(lambda pair: tag(4, array(*pair))),
    st.tuples(st.integers(-9999, 9999), st.integers(0, 2**70)).map(
        lambda pair: tag(4, array(encode_value(pair[0]), encode_value(pair[1])))
    ),
    st.tuples(st.just(b"\x00"), st.just(b"\x00"), st.integers(0, 7).map(uint)).map(
        lambda parts: tag(268, array(*parts))
    ),
    st.tuples(st.just(b"\x00"), ints, st.sampled_from([b"\x04", b"\x05", b"\x00"])).map(
        lambda parts: tag(268, array(*parts))
    ),
)
oddities = st.sampled_from(
    [b"\xf7", b"\xe0", b"\xf8\x20", b"\xff", b"\x9f\xff", b"\x5f\xff", b"\x1c", tag(1, b"\x00"), tag(35, b"\x61a")]
)
leaves = st.one_of(ints, strings, simple, tagged_leaves)


def _items(inner: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    several = st.lists(inner, max_size=4)
    pairs = st.lists(st.tuples(inner, inner), max_size=3).map(lambda items: [part for pair in items for part in pair])
    arrays = several.flatmap(lambda items: _container(4, items))
    return st.one_of(
        arrays,
        pairs.flatmap(lambda items: _container(5, items)),
        arrays.map(lambda made: tag(TUPLE_TAG, made)),
        arrays.map(lambda made: tag(258, made)),
        inner.map(lambda made: tag(EXTRA_TAG, made)),
    )


good_items = st.recursive(leaves, _items, max_leaves=20)
all_items = st.recursive(leaves | oddities, _items, max_leaves=20)


@settings(max_examples=300)
@given(st.one_of(all_items, good_items, st.binary(max_size=60)), st.booleans())
@example(b"", False)
@example(array(*[b"\x00"] * 65_535), False)
@example(array(*[b"\x00"] * 65_536), False)
def test_the_scan_follows_the_rules(data: bytes, extra: bool) -> None:
    tags = TAGS | {EXTRA_TAG} if extra else TAGS
    assert accepts(data, tags=tags) == Reference(data, tags).accepts()


@settings(max_examples=300)
@given(good_items, st.data())
def test_the_scan_follows_the_rules_in_damaged_data(item: bytes, data: st.DataObject) -> None:
    damaged = bytearray(item)
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(0, len(damaged) - 1))
        damaged[position] = data.draw(st.integers(0, 255))
    assert accepts(bytes(damaged)) == Reference(bytes(damaged)).accepts()


@settings(max_examples=300)
@given(st.one_of(all_items, good_items))
def test_the_scan_accepts_what_the_strict_decoder_accepts(data: bytes) -> None:
    good, reason = decodes(data)
    if accepts(data):
        assert good or any(text in reason for text in LEFT_TO_THE_DECODER), reason
    elif good:
        # The decoder alone is too kind: it has none of our rules for keys, simple values, contents of tags and limits.
        with pytest.raises(
            ProtocolError, match=r"as a key|simple value|Decimal|datetime|UUID|large int|not an array|after"
        ):
            scan(data)


@settings(max_examples=200)
@given(all_items)
def test_decoding_succeeds_if_the_scan_accepts_and_the_rest_is_right(data: bytes) -> None:
    try:
        decode_value(data)
    except ProtocolError:
        assert not accepts(data) or not decodes(data)[0]
    else:
        assert accepts(data)
        assert decodes(data)[0]


@given(good_items)
def test_cut_or_lengthened_data_is_refused(data: bytes) -> None:
    if not accepts(data):
        return
    ends = range(len(data)) if len(data) < 300 else (0, 1, 2, len(data) // 2, len(data) - 1)
    for end in ends:
        with pytest.raises(ProtocolError):
            scan(data[:end])
    with pytest.raises(ProtocolError, match="after byte"):
        scan(data + b"\x00")


def test_the_table_of_steps_agrees_with_cbor2() -> None:
    for first, step in enumerate(STEPS):
        data = bytes([first]) + bytes(300)
        if step > 0:
            cbor2.loads(data[:step].replace(b"\x00", b"a") if 0x60 <= first < 0x78 else data[:step])
            if step > 1:
                with pytest.raises(cbor2.CBORDecodeError):
                    cbor2.loads(data[: step - 1])


# ------------------------------------------------------------------------------------------------------------- the limits


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "the data ends in the middle of a value"),
        (b"\x18", "the data ends in the middle of a value"),
        (b"\x78\xff", "the data ends in the middle of a value"),
        (b"\x79\xff", "the data ends in the middle of a value"),
        (b"\xc0", "the data ends in the middle of a value"),
        (b"\x00\x00", "data after byte 1"),
        (b"\x80" + b"\x00", "data after byte 1"),
        (b"\x9f\xff", "an indefinite length at byte 0"),
        (b"\x81\x5f\xff", "an indefinite length at byte 1"),
        (b"\x82\x00\x1c", "a reserved head at byte 2"),
        (b"\xff", "a simple value, 'undefined' or a break at byte 0"),
        (b"\x81\xff", "a simple value, 'undefined' or a break at byte 1"),
        (b"\xa1\x01\xff", "a simple value, 'undefined' or a break at byte 2"),
        (b"\xf7", "a simple value, 'undefined' or a break at byte 0"),
        (b"\xf8\x20", "a simple value, 'undefined' or a break at byte 0"),
        (b"\x9b" + b"\xff" * 8, "a length beyond the end at byte 9"),
        (b"\xbb" + b"\xff" * 8, "a length beyond the end at byte 9"),
        (b"\x5b" + b"\xff" * 8, "the data ends in the middle of a value"),
        (b"\x7b\x7f" + b"\xff" * 7, "the data ends in the middle of a value"),
        (b"\x9a\x80\x00\x00\x00", "a length beyond the end"),
        (array(*[b"\x00"] * MAX_ITEMS), "more than 65536 values"),
        (mapping(*[b"\x00"] * MAX_ITEMS), "more than 65536 values"),
        (b"\x81" * 33 + b"\x00", "nested more than 32 levels deep"),
        (b"\x81" * 32 + tag(2, b"\x41\x00"), "nested too deeply"),
        (b"\x81" * 31 + tag(4, b"\x82\x00\x00"), "nested too deeply"),
        (b"\x81" * 31 + tag(268, b"\x83\x00\x00\x02"), "nested too deeply"),
        (b"\x81" * 30 + tag(4, b"\x82\x00\xc2\x41\x01"), "nested too deeply"),
        (b"\x81" * 31 + tag(TUPLE_TAG, b"\x81\x00"), "nested more than 32"),
        (tag(1, b"\x00"), r"a tag that is not allowed \(1\) at byte 0"),
        (tag(2**64 - 1, b"\x00"), r"a tag that is not allowed \(18446744073709551615\) at byte 0"),
        (tag(0, b"\x00"), "a datetime that is not a text"),
        (tag(0, head(3, MAX_DATETIME + 1) + bytes(65)), "a datetime that is not a text of at most 64 bytes"),
        (tag(2, b"\x61a"), "a large int that is not a string"),
        (tag(3, head(2, 4097) + bytes(4097)), "a large int that is not a string of at most 4096 bytes"),
        (tag(2, b"\x81\x00"), "a large int"),
        (tag(37, b"\x41\x00"), "a UUID that is not a string of 16 bytes"),
        (tag(37, b"\x61a"), "a UUID"),
        (tag(4, b"\x83\x00\x00\x00"), "a Decimal that is not an array of 2"),
        (tag(4, b"\xa1\x00\x00"), "a Decimal that is not an array of 2"),
        (tag(4, b"\x82\x61a\x00"), "a Decimal whose exponent is not an int"),
        (tag(4, array(uint(MAX_EXPONENT + 1), b"\x01")), "a Decimal whose exponent is not an int from -10000 to 10000"),
        (tag(4, array(head(1, MAX_EXPONENT), b"\x01")), "a Decimal whose exponent"),
        (tag(4, array(uint(10**9), b"\x01")), "a Decimal whose exponent"),
        (tag(4, b"\x82\x00\xf9\x00\x00"), "a Decimal whose digits are not an int"),
        (tag(4, b"\x82\x00\xc4\x82\x00\x00"), "a Decimal whose digits are not an int"),
        (tag(4, array(b"\x00", tag(2, b"\x61a"))), "a Decimal whose digits are not an int of at most 512 bytes"),
        (tag(4, array(b"\x00", tag(2, head(2, 513) + bytes(513)))), "a Decimal whose digits"),
        (tag(268, b"\x82\x00\x00"), "a special Decimal that is not an array of 3"),
        (tag(268, b"\x83\x00\x20\x00"), "a Decimal whose digits are not an int"),
        (tag(268, array(b"\x00", tag(3, b"\x41\x00"), b"\x00")), "a Decimal whose digits are not an int"),
        (tag(268, b"\x83\x00\x00\x06"), "a special Decimal of an unknown kind"),
        (tag(268, b"\x83\x00\x00\x20"), "a special Decimal of an unknown kind"),
        (tag(268, b"\x83\x01\x00\x02"), "an infinite Decimal or a NaN with an exponent or digits"),
        (tag(268, b"\x83\x20\x00\x04"), "an infinite Decimal or a NaN with an exponent or digits"),
        (tag(268, b"\x83\x00\x01\x03"), "an infinite Decimal or a NaN with an exponent or digits"),
        (tag(258, b"\xa0"), "a set or tuple that is not an array"),
        (tag(TUPLE_TAG, b"\x61a"), "a set or tuple that is not an array"),
        (mapping(b"\x80", b"\x00"), "a list or dict as a key"),
        (mapping(b"\xa0", b"\x00"), "a list or dict as a key"),
        (tag(258, b"\x81\x80"), "a list or dict as a key"),
        (mapping(tag(TUPLE_TAG, b"\x81\x80"), b"\x00"), "a list or dict as a key"),
    ],
    ids=lambda value: value.hex()[:20] if isinstance(value, bytes) else "",
)
def test_what_is_refused_and_why(data: bytes, text: str) -> None:
    with pytest.raises(ProtocolError, match=text):
        scan(data)
    with pytest.raises(ProtocolError, match=text):
        decode_value(data)


@pytest.mark.parametrize(
    "data",
    [
        array(*[b"\x00"] * (MAX_ITEMS - 1)),
        mapping(*itertools.chain.from_iterable((uint(i), b"\x00") for i in range(32_767))),
        b"\x81" * 32 + b"\x00",
        b"\x81" * 32 + b"\x80",
        b"\x81" * 31 + tag(2, b"\x41\x00"),
        b"\x81" * 31 + tag(TUPLE_TAG, b"\x80"),
        b"\x81" * 30 + tag(4, b"\x82\x00\x00"),
        b"\x81" * 29 + tag(4, b"\x82\x00\xc3\x41\x01"),
        b"\xc2" + head(2, 4096, 8) + bytes(4096),
        tag(2, b"\x40"),
        tag(4, array(head(1, MAX_EXPONENT - 1, 8), b"\x20")),
        tag(268, array(b"\x05", tag(2, b"\x41\x07"), b"\x01")),
        tag(268, array(b"\x00", tag(2, b"\x41\x07"), b"\x04")),
        tag(0, head(3, 25, 2) + b"2026-01-02T03:04:05+00:00"),
        b"\x9b" + (3).to_bytes(8, "big") + b"\x00\x01\x02",
    ],
    ids=lambda data: data.hex()[:20],
)
def test_what_is_just_allowed(data: bytes) -> None:
    decode_value(data)


def test_awkward_keys_are_counted_over_the_whole_message() -> None:
    def keys(count: int, start: int = 0) -> list[bytes]:
        return [tag(TUPLE_TAG, array(uint(start + i))) for i in range(count)]

    def message(count: int) -> bytes:
        half = count // 2
        elements = tag(258, array(*keys(half)))
        return array(elements, mapping(*itertools.chain.from_iterable((key, b"\x00") for key in keys(count - half))))

    scan(message(MAX_AWKWARD_KEYS))
    with pytest.raises(ProtocolError, match="more than 1024 keys"):
        scan(message(MAX_AWKWARD_KEYS + 1))
    for made in (b"\xfb" + bytes(8), tag(2, b"\x41\x00"), tag(37, b"\x50" + bytes(16)), tag(258, b"\x80")):
        scan(tag(258, array(*[made] * 1024)))
        with pytest.raises(ProtocolError, match="more than 1024 keys"):
            scan(tag(258, array(*[made] * 1025)))
    for easy in (b"\x1b" + bytes(8), b"\xf6", b"\x61a", b"\x58\x20" + bytes(32), head(3, 300) + bytes(300)):
        scan(tag(258, array(*[easy] * 2000)))


def test_the_limits_of_a_scan_can_be_chosen() -> None:
    assert accepts(b"\x82\x81\x00\x00", max_items=4, max_depth=2, tags=())
    assert not accepts(b"\x82\x81\x00\x00", max_items=3)
    assert not accepts(b"\x82\x81\x00\x00", max_depth=1)
    assert not accepts(tag(2, b"\x41\x00"), tags=())
    assert accepts(tag(EXTRA_TAG, b"\x82\x00\x80"), tags=TAGS | {EXTRA_TAG})
    assert not accepts(b"\x81" * 32 + tag(EXTRA_TAG, b"\x00"), tags=TAGS | {EXTRA_TAG})
    assert not accepts(mapping(tag(EXTRA_TAG, b"\x00"), b"\x00"), tags=TAGS | {EXTRA_TAG})


# ------------------------------------------------------------------------------------------------------------------ bombs


def _repeated(first: bytes, count: int, item: bytes) -> bytes:
    return first[:1] + count.to_bytes(4, "big") + item * count


def _tuple_keys(bits: int) -> bytes:
    keys = itertools.product((b"\x20", b"\x21"), repeat=bits)
    return head(5, 1 << bits) + b"".join(tag(TUPLE_TAG, array(*parts)) + b"\x00" for parts in keys)


BOMBS: list[tuple[str, Callable[[], bytes]]] = [
    ("depth 33", lambda: b"\x81" * 33 + b"\x00"),
    ("depth 100 000", lambda: b"\x81" * 100_000 + b"\x00"),
    ("depth of tags", lambda: b"\xd9\xd3\x05" * 30_000 + b"\x80"),
    ("depth of keys", lambda: b"\xa1" * 100_000),
    ("65 537 values", lambda: _repeated(b"\x9a", 65_536, b"\x00")),
    ("77 times the memory", lambda: _repeated(b"\x9a", 100_000, b"\xa1\x00\x00")),
    ("64 times the memory", lambda: _repeated(b"\x9a", 100_000, b"\x80")),
    (
        "colliding large ints",
        lambda: head(5, 4000) + b"".join(encode_value((2**61 - 1) * (i + 9)) + b"\x00" for i in range(4000)),
    ),
    ("colliding tuples", lambda: _tuple_keys(11)),
    ("colliding lists", lambda: _tuple_keys(11).replace(b"\xd9\xd3\x05", b"")),
    (
        "colliding UUIDs",
        lambda: (
            head(5, 3000)
            + b"".join(b"\xd8\x25\x50" + ((2**61 - 1) * i).to_bytes(16, "big") + b"\x00" for i in range(3000))
        ),
    ),
    (
        "colliding Decimals",
        lambda: (
            head(5, 3000)
            + b"".join(tag(4, array(b"\x00", encode_value((2**61 - 1) * (i + 9)))) + b"\x00" for i in range(3000))
        ),
    ),
    ("colliding floats", lambda: head(5, 5000) + b"".join(encode_value(float(i)) + b"\x00" for i in range(5000))),
    ("shared values", lambda: b"\x82" + tag(28, b"\x81\x00") + tag(29, b"\x00")),
    ("a cycle", lambda: bytes.fromhex("d81c81d81d00")),
    ("string references", lambda: tag(256, b"\x82\x63abc" + tag(25, b"\x00"))),
    ("a regular expression", lambda: tag(35, b"\x67(a+)+$x")),
    ("a mail", lambda: tag(36, b"\x70Subject: x\n\nbody")),
    ("a big float", lambda: tag(5, b"\x82\x1a\x00\x0f\x42\x40\x01")),
    ("a huge Decimal", lambda: tag(4, b"\x82\x1a\x3b\x9a\xca\x00\x01")),
    ("a fraction", lambda: tag(30, b"\x82\x01\x00")),
    ("data after the end", lambda: b"\x00" * 65_536),
    ("breaks", lambda: b"\xff" * 65_536),
    ("a break in a list", lambda: b"\x81\xff"),
    ("a huge claim", lambda: b"\x9b" + (1 << 40).to_bytes(8, "big")),
    ("a huge claim in chunks", lambda: b"\x5f\x5b\x7f" + b"\xff" * 7),
    ("a huge int", lambda: tag(2, head(2, 65_536) + bytes(65_536))),
]


@pytest.mark.parametrize("make", [make for _, make in BOMBS], ids=[name for name, _ in BOMBS])
def test_a_bomb_is_refused_at_once(make: Callable[[], bytes]) -> None:
    data = make()
    fastest = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        with pytest.raises(ProtocolError):
            decode_value(data)
        fastest = min(fastest, time.perf_counter() - start)
    assert fastest < 0.005 * SLOWNESS * max(1.0, len(data) / 65_536)


@pytest.mark.parametrize(
    "item", [b"\x81\x00", b"\xd9\xd3\x05\x81\x00", b"\xa1\x00\x00", b"\x82\xf5\x80", b"\x98\x01\x00"]
)
def test_values_in_small_containers_are_counted(item: bytes) -> None:
    each = len(item.removeprefix(b"\xd9\xd3\x05").replace(b"\x98\x01", b"\x81"))
    most = (MAX_ITEMS - 1) // each
    scan(_repeated(b"\x9a", most, item))
    with pytest.raises(ProtocolError, match="more than 65536 values"):
        scan(_repeated(b"\x9a", most + 1, item))


@pytest.mark.parametrize("claim", [2**31, 2**32, 2**63, 2**64 - 1, 0])
@pytest.mark.parametrize("major", [2, 3, 4, 5])
def test_a_claimed_length_costs_no_memory(major: int, claim: int) -> None:
    data = head(major, claim, 8)
    tracemalloc.start()
    try:
        if claim:
            with pytest.raises(ProtocolError):
                decode_value(data)
        else:
            assert not decode_value(data)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


# ------------------------------------------------------------------------------------------------------------------- runs


@pytest.mark.parametrize(
    "messages",
    [
        [],
        ["a"],
        ["", "x" * 23, "x" * 24, "x" * 255, "x" * 256, "x" * 65_535, "x" * 65_536],
        [b"", bytes(24), bytes(300), bytes(70_000)],
        [None, 1, -1, 1.5, [1], {"a": 1}, (1,), {1}],
        ["text"] * 512,
        [[0] * 65_535, [0] * 65_535],
        [{(i,): 0 for i in range(1024)}] * 2,
    ],
    ids=lambda messages: f"{len(messages)} messages",
)
def test_runs_that_are_let_through(messages: list[Any]) -> None:
    body = array_head(len(messages)) + b"".join(map(encode_value, messages))
    scan_run(body, len(messages))
    for wrong in (-1, len(messages) - 1, len(messages) + 1):
        with pytest.raises(ProtocolError, match="run"):
            scan_run(body, wrong)
    with pytest.raises(ProtocolError, match=f"data after its {len(messages)} messages, at byte {len(body)}"):
        scan_run(body + b"\x00", len(messages))
    for end in range(max(0, len(body) - (300 if len(body) < 1000 else 3)), len(body)):
        with pytest.raises(ProtocolError):
            scan_run(body[:end], len(messages))


@pytest.mark.parametrize(
    ("body", "count", "text"),
    [
        (b"", 0, "an empty body"),
        (b"", 1, "an empty body"),
        (b"\xa0", 0, "a run that is not an array of 0 messages"),
        (b"\x81\x00", 2, "a run that is not an array of 2 messages"),
        (b"\x9f\x00\xff", 1, "an indefinite length at byte 0"),
        (array(*[b"\x00"] * 513), 513, "a run of 513 messages: there may be 0 to 512"),
        (array(b"\x00", b"\x81" * 33 + b"\x00"), 2, "message 1 of a run: nested more than 32 levels deep at byte "),
        (array(b"\xf7", b"\x00"), 2, "message 0 of a run: a simple value"),
        (array(b"\x00", tag(35, b"\x61a")), 2, r"message 1 of a run: a tag that is not allowed \(35\) at byte 2"),
        (b"\x82\x00", 2, "message 1 of a run ends behind the body"),
        (b"\x82\x00\x61", 2, "message 1 of a run ends behind the body"),
        (b"\x82\x00\x78", 2, "message 1 of a run ends behind the body"),
        (b"\x82\x00\x79\x01", 2, "message 1 of a run ends behind the body"),
        (b"\x82\x00\x81", 2, "message 1 of a run ends behind the body"),
        (b"\x82\x00\x98\xff", 2, "message 1 of a run: a length beyond the end"),
        (array(array(*[b"\x00"] * MAX_ITEMS)), 1, "message 0 of a run: more than 65536 values"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_runs_that_are_refused(body: bytes, count: int, text: str) -> None:
    with pytest.raises(ProtocolError, match=text):
        scan_run(body, count)


def test_the_tags_of_a_run_can_be_chosen() -> None:
    body = array(tag(EXTRA_TAG, b"\x00"))
    scan_run(body, 1, tags=TAGS | {EXTRA_TAG})
    with pytest.raises(ProtocolError, match="not allowed"):
        scan_run(body, 1)
    scan_run(array(b"\x81\x81\x00"), 1, max_depth=2, max_items=3)
    with pytest.raises(ProtocolError, match="deep"):
        scan_run(array(b"\x81\x81\x00"), 1, max_depth=1)
    with pytest.raises(ProtocolError, match="values"):
        scan_run(array(b"\x81\x81\x00"), 1, max_items=2)


@given(st.lists(all_items, max_size=5))
def test_a_run_is_let_through_if_each_of_its_messages_is(items: list[bytes]) -> None:
    try:
        scan_run(array(*items), len(items))
    except ProtocolError:
        assert not all(map(accepts, items))
    else:
        assert all(map(accepts, items))


def test_a_string_is_jumped_over() -> None:
    body = array(bytes_head(1 << 24) + bytes(1 << 24))
    start = time.perf_counter()
    for _ in range(10):
        scan_run(body, 1)
    assert time.perf_counter() - start < 0.005 * SLOWNESS
