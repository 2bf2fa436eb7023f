"""What the scan that stands before the decoder refuses and why, what it just allows, and how little bombs cost."""

from __future__ import annotations

import itertools
import sys
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from trioton.errors import ProtocolError
from trioton.protocol.codec import array_head, bytes_head, uint
from trioton.protocol.scan import (
    MAX_AWKWARD_KEYS,
    MAX_DATETIME,
    MAX_EXPONENT,
    MAX_ITEMS,
    TAGS,
    TUPLE_TAG,
    scan,
    scan_run,
)
from trioton.protocol.values import decode_value, encode_value

from .cbor_items import EXTRA_TAG, accepts, array, head, mapping, tag

SLOWNESS = 20 if "coverage" in sys.modules else 1
"""By what factor times may be longer than without a tracer."""


# ---------------------------------------------------------------------------- what is refused, and what is just allowed


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


# ---------------------------------------------------------------------------------------------------------------- bombs


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


# ----------------------------------------------------------------------------------------------------------------- runs


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


def test_a_string_is_jumped_over() -> None:
    body = array(bytes_head(1 << 24) + bytes(1 << 24))
    taken = []
    for _ in range(10):
        start = time.thread_time()
        scan_run(body, 1)
        taken.append(time.thread_time() - start)
    assert min(taken) < 0.0005 * SLOWNESS
