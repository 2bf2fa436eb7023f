"""The scan that stands before the decoder follows rules which are written plainly here, whatever comes; and the decoder agrees."""

from __future__ import annotations

import cbor2
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from trioton.errors import ProtocolError
from trioton.protocol import values
from trioton.protocol.codec import uint
from trioton.protocol.scan import STEPS, TAGS, TUPLE_TAG, scan, scan_run
from trioton.protocol.values import decode_value, encode_value

from .cbor_items import EXTRA_TAG, accepts, array, head, tag

# -------------------------------------------------------------------------------------- the same rules, written plainly


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


def decodes(data: bytes) -> tuple[bool, str]:
    """Whether the strict decoder alone accepts `data`, and why not."""
    try:
        values._decode(data, 32, None)
    except ProtocolError as error:
        return False, str(error)
    return True, ""


# ----------------------------------------------------------------------------------------------------------- properties


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


@given(st.lists(all_items, max_size=5))
def test_a_run_is_let_through_if_each_of_its_messages_is(items: list[bytes]) -> None:
    try:
        scan_run(array(*items), len(items))
    except ProtocolError:
        assert not all(map(accepts, items))
    else:
        assert all(map(accepts, items))


def test_the_table_of_steps_agrees_with_cbor2() -> None:
    for first, step in enumerate(STEPS):
        data = bytes([first]) + bytes(300)
        if step > 0:
            cbor2.loads(data[:step].replace(b"\x00", b"a") if 0x60 <= first < 0x78 else data[:step])
            if step > 1:
                with pytest.raises(cbor2.CBORDecodeError):
                    cbor2.loads(data[: step - 1])
