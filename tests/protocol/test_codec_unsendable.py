"""What cannot be sent, and how the sender hears why: wrong types, depth and size, and the types of a higher layer."""

from __future__ import annotations

import collections
import datetime as dt
import sys
import zoneinfo
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from uuid import UUID

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trioton.errors import MessageTypeError, ProtocolError
from trioton.protocol.codec import array_head, uint
from trioton.protocol.scan import scan_run
from trioton.protocol.values import EncodeExtra, decode_run, decode_value, encode_value

from .values_of_all_kinds import SOME_UUID, SUBCLASS, UTC, Foo, Point, in_frozenset, in_tuple, nested, refusal

# -------------------------------------------------------------------------------------------------- what cannot be sent


class HashableList(list[Any]):
    def __hash__(self) -> int:  # type: ignore[override]
        return 1


def _cycle() -> Any:
    value: list[Any] = [1]
    value.append({"self": value})
    return value


class _BadZone(dt.tzinfo):
    def utcoffset(self, when: dt.datetime | None) -> dt.timedelta:
        raise KeyError("no such zone")

    dst = tzname = utcoffset  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Foo(), "message: cannot send a value of type 'Foo'"),
        ({"a": [1, 2, 3, Foo()]}, """message["a"][3]: cannot send a value of type 'Foo'"""),
        ({Foo(): 1}, "message (its key <Foo>): cannot send a value of type 'Foo'"),
        ({HashableList(): 1}, "message (its key <HashableList>): a 'HashableList' cannot be sent as a key"),
        ({1: {(1, Foo()): 2}}, "message[1] (its key <tuple>)[1]: cannot send a value of type 'Foo'"),
        ([{Foo()}], "message[0] (its element <Foo>): cannot send a value of type 'Foo'"),
        ({"x" * 99: Foo()}, f'message["{"x" * 37}..."]: cannot send a value of type {"Foo"!r}'),
        ({2**80: Foo()}, "message[<int>]: cannot send a value of type 'Foo'"),
        ({None: {1.5: Foo()}}, "message[None][1.5]: cannot send a value of type 'Foo'"),
        (range(3), "message: cannot send a value of type 'range'"),
        ([collections.deque()], "message[0]: cannot send a value of type 'deque'"),
        (collections.ChainMap({}), "message: cannot send a value of type 'ChainMap'"),
        ([dt.date(2026, 1, 1)], "message[0]: cannot send a value of type 'date'"),
        (1j, "message: cannot send a value of type 'complex'"),
        (cbor2.undefined, "message: cannot send a value of type 'UndefinedType'"),
        (cbor2.CBORTag(35, "a"), "message: cannot send a value of type 'CBORTag'"),
        (cbor2.CBORSimpleValue(3), "message: cannot send a value of type 'CBORSimpleValue'"),
        ("\ud800", "message: a text with a lone surrogate cannot be sent"),
        (["a", "\ud800"], "message[1]: a text with a lone surrogate cannot be sent"),
        ({"\ud800": 1}, r'message (its key "\ud800"): a text with a lone surrogate cannot be sent'),
        (1 << 32768, "message: an int of more than 4096 bytes cannot be sent"),
        ([-(1 << 32768) - 1], "message[0]: an int of more than 4096 bytes cannot be sent"),
        (dt.datetime(2026, 1, 1), "message: a datetime without a time zone cannot be sent"),
        ([Decimal("sNaN")], "message[0]: a signalling NaN cannot be sent"),
        (Decimal("1E+10001"), "message: a Decimal with an exponent beyond 10000 cannot be sent"),
        (Decimal("-1E-999999999"), "message: a Decimal with an exponent beyond 10000 cannot be sent"),
        (Decimal("1E+999999999"), "message: a Decimal with an exponent beyond 10000 cannot be sent"),
        (Decimal("9" * 1234), "message: a Decimal of more than 1233 digits cannot be sent"),
        (Decimal("9" * 9999), "message: a Decimal of more than 1233 digits cannot be sent"),
        (_cycle(), 'message[1]["self"]: contains itself; what goes round in a circle cannot be sent'),
        ([0] * 65_536, "message: with it the message holds more than 65536 values"),
        ([[0] * 40_000, [0] * 40_000], "message[1]: with it the message holds more than 65536 values"),
        (dict.fromkeys(range(40_000)), "message: with it the message holds more than 65536 values"),
        (set(range(70_000)), "message: with it the message holds more than 65536 values"),
        ({(i,): 0 for i in range(1025)}, "there are more than 1024 keys that are not None, bool, str, bytes or an int"),
        (
            [{i + 0.5} for i in range(1025)],
            "there are more than 1024 keys that are not None, bool, str, bytes or an int",
        ),
        ([dt.datetime(2026, 1, 1, tzinfo=_BadZone())], "message: 'no such zone'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_why_a_value_cannot_be_sent(value: Any, text: str) -> None:
    assert text in refusal(value)


def test_a_path_is_never_long() -> None:
    text = refusal(nested(30, Foo(), lambda inner: {"some longer key": inner}))
    assert len(text) < 250
    assert " ... " in text


def test_a_value_that_is_shared_often_is_given_up_soon() -> None:
    value: Any = [1]
    for _ in range(25):
        value = [value] * 10
    assert "more than 65536 values" in refusal(value)
    key: Any = 1
    for _ in range(4):
        key = (key,) * 10
    assert "more than 65536 values" in refusal({(key, i): 0 for i in range(9)})
    assert "more than 65536 values" in refusal({(key, i) for i in range(9)})


def test_the_other_limits_are_exact() -> None:
    for value in (
        [0] * 65_535,
        dict.fromkeys(range(32_767), 0),
        {(i,): 0 for i in range(1024)},
        set(range(65_535)),
        {1.5: {i + 0.5 for i in range(1023)}},
    ):
        assert decode_value(encode_value(value)) == value


def test_keys_that_become_equal_are_refused() -> None:
    paris = zoneinfo.ZoneInfo("Europe/Paris")
    folded = dt.datetime(2026, 10, 25, 2, 30, tzinfo=paris, fold=1)
    plain = folded.astimezone(UTC)
    assert "Duplicate map key" in refusal({folded: 1, plain: 2})
    assert "twice" in refusal({folded, plain})
    assert decode_value(encode_value({folded: 1})) == {plain: 1}


def test_an_error_in_code_of_the_value_is_the_cause() -> None:
    with pytest.raises(MessageTypeError) as caught:
        encode_value(dt.datetime(2026, 1, 1, tzinfo=_BadZone()))
    assert isinstance(caught.value.__cause__, KeyError)


def test_ints_are_never_turned_into_text() -> None:
    """An int of 4096 bytes has more digits than Python is willing to write, and an error must not try."""
    assert sys.get_int_max_str_digits() < 9000
    huge = 1 << 32767
    assert decode_value(encode_value({huge: [huge]})) == {huge: [huge]}
    assert "<int>" in refusal({huge: Foo()})
    encoded = encode_value(huge)
    with pytest.raises(ProtocolError):
        decode_value(b"\xa2" + encoded + b"\x00" + encoded + b"\x00")


# ---------------------------------------------------------------------------------------------------------------- depth


@pytest.mark.parametrize(
    "wrap", [lambda inner: [inner], lambda inner: {"k": inner}, in_tuple], ids=["list", "dict", "tuple"]
)
def test_very_deep_values_are_refused_and_not_recursed_into(wrap: Callable[[Any], Any]) -> None:
    value = nested(100_000, wrap=wrap)
    try:
        assert "is nested too deeply" in refusal(value)
    finally:
        while not isinstance(value, int):  # taken apart by hand, as the interpreter may recurse
            value = value["k"] if isinstance(value, dict) else value[0]


@pytest.mark.parametrize(
    ("wrap", "most", "inner"),
    [
        (lambda inner: [inner], 32, 0),
        (lambda inner: [inner], 32, []),
        (lambda inner: [inner], 31, 2**64),
        (lambda inner: [inner], 31, ()),
        (lambda inner: [inner], 31, set()),
        (lambda inner: [inner], 31, SOME_UUID),
        (lambda inner: [inner], 31, dt.datetime(2026, 1, 1, tzinfo=UTC)),
        (lambda inner: [inner], 30, Decimal("1.5")),
        (lambda inner: [inner], 29, Decimal("9" * 30)),
        (lambda inner: [inner], 30, (1,)),
        (lambda inner: [inner], 30, {1}),
        (lambda inner: {"k": inner}, 32, {}),
        (lambda inner: {"k": inner}, 28, {"k": {(1,): 1}}),
        (in_tuple, 16, 0),
        (in_tuple, 15, 2**64),
        (in_frozenset, 16, 0),
    ],
)
def test_depth_is_limited_as_the_receiver_does_it(wrap: Callable[[Any], Any], most: int, inner: Any) -> None:
    value, more = nested(most, inner, wrap), nested(most + 1, inner, wrap)
    assert decode_value(encode_value(value)) == value
    assert "is nested too deeply" in refusal(more)


def test_a_run_is_one_level_deeper_than_its_messages() -> None:
    message = nested(32)
    body = array_head(2) + encode_value(message) * 2
    scan_run(body, 2)
    assert decode_run(body) == [message, message]


_WRAPS: list[Callable[[Any], Any]] = [
    lambda inner: [inner],
    lambda inner: [1, inner],
    lambda inner: {"k": inner},
    in_tuple,
    lambda inner: SUBCLASS[list]([inner]),
    lambda inner: collections.OrderedDict(k=inner),
]
_KEY_WRAPS: list[Callable[[Any], Any]] = [in_tuple, in_frozenset, lambda inner: Point(inner, 1)]
_INNERS = st.sampled_from([0, 2**64, -(2**64) - 1, "x", (), frozenset(), Decimal(1), Decimal("9" * 40), SOME_UUID, 1.5])


@settings(max_examples=300)
@given(
    _INNERS,
    st.lists(st.sampled_from(_KEY_WRAPS), max_size=12),
    st.sampled_from([None, lambda key: {key: 0}, lambda key: {key}]),
    st.lists(st.sampled_from(_WRAPS), min_size=0, max_size=34),
)
def test_what_can_be_sent_can_be_received_at_any_depth(
    inner: Any, key_wraps: list[Any], key: Any, wraps: list[Any]
) -> None:
    value = inner
    for wrap in key_wraps:
        value = wrap(value)
    if key is not None:
        value = key(value)
    for wrap in wraps:
        value = wrap(value)
    try:
        data = encode_value(value)
    except MessageTypeError as error:
        assert "is nested too deeply" in str(error)  # both outcomes are right
        assert _levels(value) > 32
    else:
        assert _levels(value) <= 32
        decode_value(data)


def _levels(value: Any) -> int:
    if isinstance(value, dict):
        inside = [*value, *value.values()]
        return (1 + max(map(_levels, inside))) if inside else 0
    if isinstance(value, list):
        return (1 + max(map(_levels, value))) if value else 0
    if isinstance(value, tuple | set | frozenset):
        return (2 + max(map(_levels, value))) if value else 1
    if isinstance(value, Decimal):
        return 2 + (len(value.as_tuple().digits) > 20)
    return isinstance(value, UUID) or (isinstance(value, int) and not -(2**64) <= value < 2**64)


# -------------------------------------------------------------------------------------------------- a layer's own types


class Sender:
    def __init__(self, number: int) -> None:
        self.number = number


TAG = 60_000


def _sent(sender: Sender) -> tuple[int, object]:
    return TAG, (sender.number, b"where")


def _received(content: object) -> object:
    return ["sender", content]


def test_types_of_a_higher_layer_travel_under_their_tag() -> None:
    data = encode_value({"to": [Sender(5)], "x": (1,)}, {Sender: _sent})
    assert decode_value(data, {TAG: _received}) == {"to": [["sender", (5, b"where")]], "x": (1,)}
    assert decode_run(array_head(1) + data, {TAG: _received}) == [{"to": [["sender", (5, b"where")]], "x": (1,)}]


def test_types_of_a_higher_layer_may_hold_each_other_and_give_bytes() -> None:
    extra: EncodeExtra = {
        Sender: lambda sender: (TAG, [Foo()] * sender.number),
        Foo: lambda _: uint(7),
        Fraction: lambda _: b"\xd9\xea\x61" + b"\x01",
    }
    value = [Sender(2), Fraction(), {(1,): 2}]
    data = encode_value(value, extra)
    assert decode_value(data, {TAG: _received, TAG + 1: str}) == [["sender", [7, 7]], "1", {(1,): 2}]


class Fraction:
    pass


class Pair(tuple[int, int]):
    __slots__ = ()


def test_a_type_of_a_higher_layer_may_be_a_subclass() -> None:
    extra: EncodeExtra = {Pair: lambda pair: (TAG, list(pair))}
    assert decode_value(encode_value([Pair((1, 2))], extra), {TAG: _received}) == [["sender", [1, 2]]]


def test_types_of_a_higher_layer_cannot_be_keys() -> None:
    assert refusal({Sender(1): 1}, encode_extra={Sender: _sent}) == "message (its key <Sender>): cannot be a key"
    assert "cannot be a key" in refusal({(1, Sender(1))}, encode_extra={Sender: _sent})


def test_a_failure_of_a_higher_layer_is_told() -> None:
    def fail(_: Sender) -> tuple[int, object]:
        raise LookupError("no such channel")

    assert refusal([Sender(1)], encode_extra={Sender: fail}) == "message: no such channel"
    assert "cannot send a value of type 'Foo'" in refusal([Sender(1), Foo()], encode_extra={Sender: _sent})
    assert "message" in refusal([Sender(1)], encode_extra={Sender: lambda _: (TAG, Foo())})
    assert "undefined" in refusal([Sender(1)], encode_extra={Sender: lambda _: b"\xf7"})
    assert "middle" in refusal([Sender(1)], encode_extra={Sender: lambda _: b"\x18"})


def test_a_tag_of_a_higher_layer_is_refused_where_nobody_knows_it() -> None:
    data = encode_value([Sender(1)], {Sender: _sent})
    with pytest.raises(ProtocolError, match=r"tag that is not allowed \(60000\)"):
        decode_value(data)
    with pytest.raises(ProtocolError, match=r"tag that is not allowed \(60000\)"):
        decode_run(array_head(1) + data)

    def fail(_: object) -> object:
        raise LookupError("no such channel")

    with pytest.raises(ProtocolError, match="no such channel"):
        decode_value(data, {TAG: fail})
