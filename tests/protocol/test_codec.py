"""Encoding and decoding of messages and headers."""

from __future__ import annotations

import collections
import datetime as dt
import enum
import itertools
import sys
import zoneinfo
from collections.abc import Callable
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

import cbor2
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from trioton.errors import MessageTypeError, ProtocolError
from trioton.protocol import values
from trioton.protocol.codec import array_head, bytes_head, decode_header, encode_header, encode_texts, text_head, uint
from trioton.protocol.scan import TAGS, scan_run
from trioton.protocol.values import EncodeExtra, decode_run, decode_value, encode_value

UTC = dt.UTC
ODD_ZONE = dt.timezone(-dt.timedelta(hours=3, seconds=7, microseconds=5))
SOME_UUID = UUID("12345678-1234-5678-1234-567812345678")


def exactly(value: Any) -> Any:
    """A form of a value in which two are equal only if they are the same in type, order and sign."""
    kind = type(value)
    if kind in (list, tuple):
        return kind, [exactly(item) for item in value]
    if kind in (set, frozenset):
        return kind, sorted(repr(exactly(item)) for item in value)
    if kind is dict:
        return kind, [(exactly(key), exactly(child)) for key, child in value.items()]
    if kind is dt.datetime:
        return kind, value.isoformat()
    return kind, hex(value) if kind is int else repr(value)


def refusal(value: object, **options: Any) -> str:
    with pytest.raises(MessageTypeError) as caught:
        encode_value(value, **options)
    return str(caught.value)


# ---------------------------------------------------------------------------------------------------------------- heads


@pytest.mark.parametrize("n", [0, 1, 23, 24, 255, 256, 599, 600, 65_535, 65_536, 2**32 - 1, 2**32, 2**63, 2**64 - 1])
def test_heads_are_the_shortest(n: int) -> None:
    assert uint(n) == cbor2.dumps(n)
    for head, major in ((bytes_head, 2), (text_head, 3), (array_head, 4)):
        made = head(n)
        assert made[0] >> 5 == major
        assert bytes([made[0] & 31]) + made[1:] == uint(n)


@pytest.mark.parametrize("head", [uint, bytes_head, text_head, array_head])
@pytest.mark.parametrize("n", [-1, -1024, 2**64])
def test_heads_refuse_what_does_not_fit(head: Callable[[int], bytes], n: int) -> None:
    with pytest.raises(ValueError, match=f"not {n}"):
        head(n)


# ------------------------------------------------------------------------------------------------------ what arrives how

VECTORS: list[tuple[Any, str]] = [
    (None, "f6"),
    (True, "f5"),
    (False, "f4"),
    (0, "00"),
    (-1, "20"),
    (2**64 - 1, "1bffffffffffffffff"),
    (2**64, "c249010000000000000000"),
    (-(2**64), "3bffffffffffffffff"),
    (-(2**64) - 1, "c349010000000000000000"),
    (1.5, "fb3ff8000000000000"),
    (float("inf"), "f97c00"),
    (float("nan"), "f97e00"),
    ("", "60"),
    ("ü", "62c3bc"),
    (b"", "40"),
    (b"ab", "426162"),
    ([], "80"),
    ({}, "a0"),
    ((), "d9d30580"),
    (set(), "d9010280"),
    ([1, [2]], "82018102"),
    ((1, (2,)), "d9d3058201d9d3058102"),
    ({"a": 1, None: b"", True: []}, "a3616101f640f580"),
    ({(1, 2): 3, 1.5: 4}, "a2d9d305820102" + "03" + "fb3ff800000000000004"),
    (dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "c07819" + b"2026-01-02T03:04:05+00:00".hex()),
    (SOME_UUID, "d82550" + SOME_UUID.bytes.hex()),
    (Decimal("1.50"), "c482211896"),
    (Decimal("-1E+5"), "c4820520"),
    (Decimal("-0.0"), "d9010c83200001"),
    (Decimal("Infinity"), "d9010c83000002"),
    (Decimal("-Infinity"), "d9010c83000003"),
    (Decimal("NaN"), "d9010c83000004"),
    (Decimal("-NaN12"), "d9010c83000c05"),
]


@pytest.mark.parametrize(("value", "data"), VECTORS, ids=[repr(value)[:40] for value, _ in VECTORS])
def test_the_bytes_of_each_type(value: Any, data: str) -> None:
    assert encode_value(value).hex() == data
    assert exactly(decode_value(bytes.fromhex(data))) == exactly(value)


@pytest.mark.parametrize(
    "value",
    [
        dt.datetime(1, 1, 1, tzinfo=ODD_ZONE),
        dt.datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=dt.timezone(dt.timedelta(seconds=30))),
        Decimal("1E+10000"),
        Decimal("-1.23E-9990"),
        Decimal("9" * 1233),
        Decimal("-" + "9" * 1233),
        Decimal("NaN" + "9" * 1233),
        Decimal(2) ** 100,
        (1 << 32768) - 1,
        -(1 << 32768),
        {(): {(): ()}},
        {SOME_UUID: 1, Decimal("NaN"): 2, dt.datetime(2026, 1, 1, tzinfo=UTC): 3, 2**70: 4, float("nan"): 5},
        {frozenset({1, (2, frozenset())}): [{1, None}]},
        [[[[]]], {}, [{}], "x" * 70_000, b"y" * 70_000],
        [{"a": [1, 2.5, None, True, "text", b"bytes"]}] * 100,
        {-1: 0, -2: 0, 2**64 - 1: 0, -(2**64): 0},
    ],
    ids=lambda value: type(value).__name__,
)
def test_more_values_come_back_exactly(value: Any) -> None:
    assert exactly(decode_value(encode_value(value))) == exactly(value)


class _Point(NamedTuple):
    x: int
    y: int


class _Number(enum.IntEnum):
    TWO = 2


class _Word(enum.StrEnum):
    HI = "hi"


class _Text(str):
    __slots__ = ()


class _Bytes(bytes):
    pass


class _Id(UUID):
    pass


class _Moment(dt.datetime):
    pass


_KINDS = [list, tuple, set, frozenset, dict, float, int, bytearray, Decimal]
_Sub = {kind: type(f"_{kind.__name__}", (kind,), {}) for kind in _KINDS}


@pytest.mark.parametrize(
    ("value", "arrives"),
    [
        (_Point(1, 2), (1, 2)),
        ({_Point(1, 2): _Point(3, 4)}, {(1, 2): (3, 4)}),
        (_Number.TWO, 2),
        ({_Number.TWO: [_Number.TWO]}, {2: [2]}),
        (_Word.HI, "hi"),
        ([_Text("a"), {_Text("a"): _Text("ü")}], ["a", {"a": "ü"}]),
        (_Bytes(b"a"), b"a"),
        (collections.OrderedDict(a=1, b=2), {"a": 1, "b": 2}),
        (collections.defaultdict(list, {"a": [1]}), {"a": [1]}),
        (collections.Counter("aab"), {"a": 2, "b": 1}),
        (_Sub[list]([1, (2,)]), [1, (2,)]),
        (_Sub[tuple]((1,)), (1,)),
        (_Sub[set]({1}), {1}),
        (_Sub[frozenset]({1}), {1}),
        (_Sub[dict]({1: 2}), {1: 2}),
        (_Sub[float](1.5), 1.5),
        (_Sub[int](2**70), 2**70),
        (_Sub[bytearray](b"a"), b"a"),
        (_Sub[Decimal]("-1.50"), Decimal("-1.50")),
        (_Id(bytes=SOME_UUID.bytes), SOME_UUID),
        (_Moment(2026, 1, 1, tzinfo=UTC), dt.datetime(2026, 1, 1, tzinfo=UTC)),
        (frozenset({1}), {1}),
        (bytearray(b"a"), b"a"),
        ([bytearray(b"a"), memoryview(b"bcd")[::2]], [b"a", b"bd"]),
        ({memoryview(b"a"): 1}, {b"a": 1}),
        ({frozenset({1}): {frozenset({2})}}, {frozenset({1}): {frozenset({2})}}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_arrives_for_other_types(value: Any, arrives: Any) -> None:
    assert exactly(decode_value(encode_value(value))) == exactly(arrives)


def test_an_ordered_dict_keeps_its_own_order() -> None:
    value = collections.OrderedDict(a=1, b=2)
    value.move_to_end("a")
    assert list(decode_value(encode_value(value))) == ["b", "a"]


def test_the_name_of_a_time_zone_is_not_sent() -> None:
    paris = zoneinfo.ZoneInfo("Europe/Paris")
    value = dt.datetime(2026, 7, 1, 12, tzinfo=paris)
    arrived = decode_value(encode_value(value))
    assert arrived == value
    assert arrived.tzinfo == dt.timezone(dt.timedelta(hours=2))


# --------------------------------------------------------------------------------------------------- what cannot be sent


class Foo:
    pass


class HashableList(list[Any]):
    def __hash__(self) -> int:  # type: ignore[override]
        return 1


def _nested(levels: int, inner: Any = 0, wrap: Callable[[Any], Any] = lambda inner: [inner]) -> Any:
    for _ in range(levels):
        inner = wrap(inner)
    return inner


def _tuple(inner: Any) -> Any:
    return (inner,)


def _frozenset(inner: Any) -> Any:
    return frozenset({inner})


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
    text = refusal(_nested(30, Foo(), lambda inner: {"some longer key": inner}))
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


@pytest.mark.parametrize(
    "wrap", [lambda inner: [inner], lambda inner: {"k": inner}, _tuple], ids=["list", "dict", "tuple"]
)
def test_very_deep_values_are_refused_and_not_recursed_into(wrap: Callable[[Any], Any]) -> None:
    value = _nested(100_000, wrap=wrap)
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
        (_tuple, 16, 0),
        (_tuple, 15, 2**64),
        (_frozenset, 16, 0),
    ],
)
def test_depth_is_limited_as_the_receiver_does_it(wrap: Callable[[Any], Any], most: int, inner: Any) -> None:
    value, more = _nested(most, inner, wrap), _nested(most + 1, inner, wrap)
    assert decode_value(encode_value(value)) == value
    assert "is nested too deeply" in refusal(more)


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


# ------------------------------------------------------------------------------------------------------ a layer's own types


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


# ----------------------------------------------------------------------------------------------- texts, runs and headers


def test_many_texts_are_encoded_at_once() -> None:
    texts = ["", "a", "ü" * 300]
    assert encode_texts(texts) == array_head(3) + b"".join(encode_value(text) for text in texts)
    assert decode_run(encode_texts(texts)) == texts
    assert encode_texts([]) == array_head(0)
    with pytest.raises(MessageTypeError, match=r"message\[1\]: a text with a lone surrogate"):
        encode_texts(["a", "\udc00"])


def test_a_run_is_one_level_deeper_than_its_messages() -> None:
    message = _nested(32)
    body = array_head(2) + encode_value(message) * 2
    scan_run(body, 2)
    assert decode_run(body) == [message, message]


@pytest.mark.parametrize("make", [bytes, bytearray, memoryview])
def test_what_is_decoded_may_be_any_buffer(make: Callable[[bytes], bytes]) -> None:
    value = [1, "x" * 300, (1, b"y" * 30), {2**70: Decimal("1.5")}]
    data = encode_value(value)
    assert decode_value(make(data)) == value
    scan_run(make(array_head(1) + data), 1)
    assert decode_run(make(array_head(1) + data)) == [value]
    assert decode_header(make(encode_header([1, "a"]))) == [1, "a"]
    assert decode_header(make(encode_header([1, ["a"]]))) == [1, ["a"]]
    with pytest.raises(ProtocolError):
        decode_value(make(data[:-1]))


def test_a_run_that_is_no_array_is_refused_even_without_a_scan() -> None:
    with pytest.raises(ProtocolError, match="not an array"):
        decode_run(encode_value("text"))


@pytest.mark.parametrize(
    "header",
    [
        [],
        [1, b"source", 2**64 - 1, -5, "slot", None, True, 1.5],
        [1, "x" * 23, "y" * 24, "z" * 300],
        [[1, [2, [3]]], {"a": {"b": [1]}}],
        [{}, []],
        list(range(30)),
        ["x" * 8000],
    ],
    ids=lambda header: f"{len(header)} fields",
)
def test_headers_come_back(header: list[Any]) -> None:
    data = encode_header(header)
    assert decode_header(data) == header
    with pytest.raises(ProtocolError):
        decode_header(data + b"\x00")
    for end in range(len(data)):
        with pytest.raises(ProtocolError):
            decode_header(data[:end])


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "ends in the middle"),
        (b"\x00", "not an array"),
        (b"\xa0", "not an array"),
        (b"\x81\xf7", "undefined"),
        (b"\x81\xc2\x41\x00", "tag"),
        (b"\x9f\xff", "indefinite"),
        (b"\x81\x81\x81\x81\x81\x00", "deep"),
        (b"\x82\x00\xa2\x00\x00\x00\x00", "Duplicate"),
        (b"\x81\x61\xff", "utf-8"),
        (b"\x82\x80\x61\xff", "utf-8"),
        (b"\x98" + bytes(8200), "8 KiB|8192"),
        (b"HTTP/1.1 200 OK", "not an array|middle|after"),
    ],
)
def test_headers_that_are_refused(data: bytes, text: str) -> None:
    with pytest.raises(ProtocolError, match=text):
        decode_header(data)


def test_a_header_that_is_too_long_is_not_made() -> None:
    with pytest.raises(ValueError, match="8193 bytes"):
        encode_header(["x" * 8189])


# ----------------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("61ff", "utf-8"),
        ("c06161", "not a datetime with an offset from UTC: '"),
        ("c073" + b"2026-01-02T03:04:05".hex(), "not a datetime with an offset from UTC"),
        ("c07818" + "41" * 24, "not a datetime with an offset from UTC: '"),
        ("a200000000", "Duplicate map key: 0"),
        ("a20000f400", "Duplicate map key: False"),
        ("d90102820101", "element twice"),
        ("a1d9010282010100", "element twice"),
    ],
)
def test_what_the_decoder_refuses(data: str, text: str) -> None:
    with pytest.raises(ProtocolError, match=text) as caught:
        decode_value(bytes.fromhex(data))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250


def test_a_long_reason_is_cut() -> None:
    key = text_head(500) + b"k" * 500
    with pytest.raises(ProtocolError) as caught:
        decode_value(b"\xa2" + key + b"\x00" + key + b"\x00")
    assert len(str(caught.value)) < 250
    assert str(caught.value).endswith(" ...")


def test_a_panic_of_cbor2_is_a_protocol_error_and_an_interrupt_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    class PanicException(BaseException):  # its name is what it is known by
        pass

    failure: BaseException = PanicException("index out of range")

    def loads(*_: object, **__: object) -> object:
        raise failure

    monkeypatch.setattr(cbor2, "loads", loads)
    for decode in (decode_value, decode_header, decode_run):
        with pytest.raises(ProtocolError, match="index out of range"):
            decode(b"\x80")
    for failure in (RecursionError(), MemoryError(), OverflowError()):
        with pytest.raises(ProtocolError, match=type(failure).__name__):
            decode_value(b"\x80")
    failure = KeyboardInterrupt()
    for decode in (decode_value, decode_header):
        with pytest.raises(KeyboardInterrupt):
            decode(b"\x80")


# ------------------------------------------------------------------------------------------------------------ properties

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**66), 2**66),
    st.floats(),
    st.text(),
    st.binary(),
    st.datetimes(timezones=st.sampled_from([UTC, ODD_ZONE, dt.timezone(dt.timedelta(hours=14))])),
    st.uuids(),
    st.decimals().filter(lambda value: not value.is_snan()),
)
keys = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3).map(tuple), st.frozensets(inner, max_size=3)),
    max_leaves=5,
)
any_values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.sets(keys, max_size=4),
        st.dictionaries(keys, inner, max_size=4),
        st.dictionaries(st.text(), inner, max_size=4),
    ),
    max_leaves=20,
)


@given(any_values)
def test_any_value_comes_back_exactly(value: Any) -> None:
    assert exactly(decode_value(encode_value(value))) == exactly(value)


@given(st.lists(any_values, max_size=5))
def test_any_run_comes_back_exactly(messages: list[Any]) -> None:
    body = array_head(len(messages)) + b"".join(map(encode_value, messages))
    scan_run(body, len(messages))
    assert exactly(decode_run(body)) == exactly(messages)


_WRAPS: list[Callable[[Any], Any]] = [
    lambda inner: [inner],
    lambda inner: [1, inner],
    lambda inner: {"k": inner},
    _tuple,
    lambda inner: _Sub[list]([inner]),
    lambda inner: collections.OrderedDict(k=inner),
]
_KEY_WRAPS: list[Callable[[Any], Any]] = [_tuple, _frozenset, lambda inner: _Point(inner, 1)]
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


@given(st.binary(max_size=300))
@example(b"\x81" * 33 + b"\x00")
@example(b"\x81" * 100_000)
@example(b"\xd9\xd9\xf7" * 100_000)
def test_any_bytes_give_a_value_or_a_protocol_error(data: bytes) -> None:
    for decode in (decode_value, decode_run, decode_header):
        try:
            decode(data)
        except ProtocolError as error:
            assert "\n" not in str(error)  # both outcomes are right
            assert len(str(error)) < 250


@given(any_values, st.data())
def test_damaged_data_gives_a_value_that_can_be_sent_or_a_protocol_error(value: Any, data: st.DataObject) -> None:
    encoded = bytearray(encode_value(value))
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(encoded)))
        action = data.draw(st.sampled_from(["cut", "flip", "insert", "delete"]))
        if action == "cut":
            del encoded[position:]
        elif action == "insert":
            encoded.insert(position, data.draw(st.integers(0, 255)))
        elif position < len(encoded):
            if action == "flip":
                encoded[position] = data.draw(st.integers(0, 255))
            else:
                del encoded[position]
    try:
        arrived = decode_value(bytes(encoded))
    except ProtocolError:
        return
    assert exactly(decode_value(encode_value(arrived))) == exactly(arrived)


def test_ints_are_never_turned_into_text() -> None:
    """An int of 4096 bytes has more digits than Python is willing to write, and an error must not try."""
    assert sys.get_int_max_str_digits() < 9000
    huge = 1 << 32767
    assert decode_value(encode_value({huge: [huge]})) == {huge: [huge]}
    assert "<int>" in refusal({huge: Foo()})
    encoded = encode_value(huge)
    with pytest.raises(ProtocolError):
        decode_value(b"\xa2" + encoded + b"\x00" + encoded + b"\x00")


def test_tables_are_complete() -> None:
    """Each type that may be sent has an encoder, and each tag a decoder."""
    assert set(values._DECODERS) == TAGS
    assert set(values._BASES) == set(values._ENCODERS) - {type(None), bool, memoryview}
    assert list(itertools.islice(values._BASES, 2)) == [int, float]
