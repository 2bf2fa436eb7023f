"""Plain values by hand: the same as with cbor2 and the scan, or left to them."""

from __future__ import annotations

import math
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioton.errors import ProtocolError
from trioton.protocol import requests, values
from trioton.protocol.plain import MOST_PLAIN, decode_plain, encode_plain
from trioton.protocol.requests import Answer, Ask, check_answer, check_ask
from trioton.protocol.scan import scan_run

DECODERS = values.prepare_decoders({})

PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(1 << 64), (1 << 64) - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"])),
    st.binary(),
)


def is_same(one: Any, other: Any) -> bool:
    if type(one) is float and type(other) is float:
        return struct.pack(">d", one) == struct.pack(">d", other) or (math.isnan(one) and math.isnan(other))
    return type(one) is type(other) and bool(one == other)


@given(PLAIN)
def test_a_plain_value_is_written_as_cbor2_writes_it(value: object) -> None:
    assert encode_plain(value) == values.encode_value(value)


@pytest.mark.parametrize(
    "value",
    [
        math.inf,
        -math.inf,
        math.nan,
        1 << 64,
        -(1 << 64) - 1,
        [],
        {},
        (),
        {1},
        "\ud800",
        "x" * MOST_PLAIN,
        b"x" * MOST_PLAIN,
        "é" * (MOST_PLAIN // 2),
    ],
    ids=repr,
)
def test_what_is_not_plain_is_left_to_others(value: object) -> None:
    assert encode_plain(value) is None


@pytest.mark.parametrize(
    "value", ["x" * (MOST_PLAIN - 1), b"x" * (MOST_PLAIN - 1), "", b"", 0, -1, 23, 24, -24, -25, -256, -257]
)
def test_the_limits_of_what_is_plain(value: object) -> None:
    data = values.encode_value(value)
    assert encode_plain(value) == data
    assert decode_plain(data, 0, 1) == ([value], len(data))


@given(st.lists(PLAIN, max_size=5), st.binary(max_size=3))
def test_plain_values_are_read_one_behind_the_other(items: list[object], before: bytes) -> None:
    data = before + b"".join(values.encode_value(item) for item in items)
    result = decode_plain(data, len(before), len(items))
    assert result is not None
    assert result[1] == len(data)
    assert all(map(is_same, result[0], items))
    assert decode_plain(data, len(before), len(items) + 1) is None


@given(st.binary(min_size=1, max_size=12))
def test_what_is_read_by_hand_is_what_the_strict_decoder_reads(data: bytes) -> None:
    result = decode_plain(data, 0, 1)
    if result is None:
        return
    (value,), end = result
    item = data[:end]
    scan_run(b"\x81" + item, 1)
    (expected,) = values.decode_run(b"\x81" + item, decode_extra=DECODERS)
    assert is_same(value, expected)


@pytest.mark.parametrize(
    "data",
    [
        "",
        "18",
        "19 01",
        "1b 00000000000000",
        "63 6161",
        "78",
        "78 05 6161",
        "7a 00000001 61",
        "5a 00000001 61",
        "62 c328",
        "fb 000000",
        "f7",
        "f8 20",
        "f9 0000",
        "fa 00000000",
        "1c",
        "5f",
        "80",
        "a0",
        "c0 60",
        "ff",
    ],
)
def test_what_is_cut_off_wrong_or_not_plain_is_left_to_others(data: str) -> None:
    assert decode_plain(bytes.fromhex(data), 0, 1) is None


# --------------------------------------------------------------------------------------------------- requests and replies


def strictly(body: bytes, check: Any) -> Any:
    """What the scan, cbor2 and the check make of the only message of a package; None if any of them refuses it."""
    try:
        scan_run(body, 1)
        (message,) = values.decode_run(body, decode_extra=DECODERS)
        return check(message)
    except ProtocolError:
        return None


NUMBERS = st.integers(0, (1 << 64) - 1)
CALLS = st.builds(
    lambda number, seconds, method, arguments: (
        b"\x81"
        + requests.encode_call(number, seconds, None, requests.encode_plain_body(method, tuple(arguments)) or b"")
    ),
    NUMBERS,
    st.none() | st.floats(0, 1e9),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=30).map(lambda name: values.encode_value(name)),
    st.lists(PLAIN, max_size=30),
)
REPLIES = st.builds(
    lambda number, value: b"\x81" + requests.encode_done(number, values.encode_value(value)), NUMBERS, PLAIN
)


@st.composite
def damaged(draw: st.DrawFn, bodies: st.SearchStrategy[bytes]) -> bytes:
    """A body, of which a byte may be another, gone, or one too many."""
    body = draw(bodies)
    at = draw(st.integers(0, len(body)))
    return body[:at] + draw(st.binary(max_size=2)) + body[at + draw(st.integers(0, 2)) :]


def is_same_call(call: requests.Call, other: requests.Call) -> bool:
    return (
        call[:4] == other[:4]
        and call.keywords == other.keywords
        and len(call.arguments) == len(other.arguments)
        and all(map(is_same, call.arguments, other.arguments))
    )


@given(CALLS | damaged(CALLS))
def test_a_request_that_is_read_by_hand_is_what_the_strict_way_reads(body: bytes) -> None:
    call = requests.read_plain_call(body)
    if call is not None:
        fields = strictly(body, check_ask)
        assert fields is not None
        assert fields[0] == Ask.CALL
        assert is_same_call(call, fields[1])


@given(REPLIES | damaged(REPLIES))
def test_a_reply_that_is_read_by_hand_is_what_the_strict_way_reads(body: bytes) -> None:
    reply = requests.read_plain_reply(body)
    if reply is not None:
        fields = strictly(body, check_answer)
        assert fields is not None
        assert fields[:2] == [Answer.DONE, reply[0]]
        assert is_same(fields[2], reply[1])


@pytest.mark.parametrize("arguments", [(), (1,), ("x" * 100, None, 2.5, b"abc", True, -7), tuple(range(23))])
@pytest.mark.parametrize("seconds", [None, 0.0, 1.5])
def test_the_usual_request_is_read_by_hand(arguments: tuple[Any, ...], seconds: float | None) -> None:
    plain = requests.encode_plain_body(values.encode_value("add"), arguments)
    assert plain == values.encode_value(["add", list(arguments), {}])
    body = b"\x81" + requests.encode_call(70_000, seconds, None, plain)
    assert requests.read_plain_call(body) == requests.Call(70_000, seconds, None, "add", list(arguments), {})


@pytest.mark.parametrize("arguments", [tuple(range(24)), ([1],), (1 << 64,), ("\ud800",)])
def test_a_request_that_is_not_plain_is_left_to_others(arguments: tuple[Any, ...]) -> None:
    assert requests.encode_plain_body(values.encode_value("add"), arguments) is None


def test_the_usual_reply_is_read_by_hand() -> None:
    assert requests.read_plain_reply(b"\x81" + requests.encode_done(5, values.encode_value("x" * 300))) == (
        5,
        "x" * 300,
    )
    assert requests.read_plain_reply(b"\x81" + requests.encode_done(5, values.encode_value([1]))) is None
    assert requests.read_plain_reply(b"\x81" + requests.encode_busy(5)) is None
