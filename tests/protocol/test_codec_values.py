"""Which bytes a value becomes, and what arrives for it: the same value, or the nearest plain one."""

from __future__ import annotations

import collections
import datetime as dt
import enum
import zoneinfo
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioton.protocol.codec import array_head
from trioton.protocol.scan import scan_run
from trioton.protocol.values import decode_run, decode_value, encode_value

from .values_of_all_kinds import ODD_ZONE, SOME_UUID, SUBCLASS, UTC, Point, any_values, exactly

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


@pytest.mark.parametrize(
    ("value", "arrives"),
    [
        (Point(1, 2), (1, 2)),
        ({Point(1, 2): Point(3, 4)}, {(1, 2): (3, 4)}),
        (_Number.TWO, 2),
        ({_Number.TWO: [_Number.TWO]}, {2: [2]}),
        (_Word.HI, "hi"),
        ([_Text("a"), {_Text("a"): _Text("ü")}], ["a", {"a": "ü"}]),
        (_Bytes(b"a"), b"a"),
        (collections.OrderedDict(a=1, b=2), {"a": 1, "b": 2}),
        (collections.defaultdict(list, {"a": [1]}), {"a": [1]}),
        (collections.Counter("aab"), {"a": 2, "b": 1}),
        (SUBCLASS[list]([1, (2,)]), [1, (2,)]),
        (SUBCLASS[tuple]((1,)), (1,)),
        (SUBCLASS[set]({1}), {1}),
        (SUBCLASS[frozenset]({1}), {1}),
        (SUBCLASS[dict]({1: 2}), {1: 2}),
        (SUBCLASS[float](1.5), 1.5),
        (SUBCLASS[int](2**70), 2**70),
        (SUBCLASS[bytearray](b"a"), b"a"),
        (SUBCLASS[Decimal]("-1.50"), Decimal("-1.50")),
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


@given(any_values)
def test_any_value_comes_back_exactly(value: Any) -> None:
    assert exactly(decode_value(encode_value(value))) == exactly(value)


@given(st.lists(any_values, max_size=5))
def test_any_run_comes_back_exactly(messages: list[Any]) -> None:
    body = array_head(len(messages)) + b"".join(map(encode_value, messages))
    scan_run(body, len(messages))
    assert exactly(decode_run(body)) == exactly(messages)
