"""What may be sent: empty, false and None messages are messages like any other, and types that differ never meet."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
import trio.testing

import trioton
from trioton import BINARY, OBJECT, TEXT, BadMessage, MessageDecodeError, MessageType, PubChannel, SubChannel, typed

if TYPE_CHECKING:
    from tests.conftest import MakeWatch, Pair

OBJECTS: list[Any] = [
    None,
    False,
    True,
    0,
    -1,
    2**200,
    0.0,
    float("inf"),
    "",
    b"",
    [],
    (),
    {},
    set(),
    [None],
    (None, False, ""),
    {None: None, 1: "", "a": b"", (1, 2): [()]},
    {1, "a"},
    dt.datetime(2024, 2, 29, 12, tzinfo=dt.UTC),
    uuid.UUID(int=5),
    Decimal("1.50"),
    "\N{GRINNING FACE}",
    [[[[[]]]]],
    bytes(100_000),
]


class Hundredths(MessageType[float]):
    """A type of one's own, whose messages travel as ints; it refuses what is no number, and what is below zero."""

    name = "hundredths"

    def encode(self, message: float) -> object:
        return round(message * 100)

    def decode(self, value: Any) -> float:
        if value < 0:
            raise ValueError(f"{value} is below zero")
        return float(value / 100)


@attrs.frozen
class Point:
    x: int
    y: float = 0.0
    name: str | None = None


async def there(pair: Pair, message_type: Any, messages: list[Any], how: str) -> list[Any]:
    pub, sub = PubChannel[Any](pair.a, "v", message_type), SubChannel[Any](pair.b, "v", message_type)
    await pub.wait_subscribers()
    if how == "many":
        await pub.send_many(messages)
    else:
        for message in messages:
            if how == "nowait":
                pub.send_nowait(message)
            else:
                await pub.send(message)
    with trio.fail_after(10):
        return [await sub.receive() for _ in messages]


ways = pytest.mark.parametrize("how", ["one", "nowait", "many"])


def same(one: Any, other: Any) -> bool:
    return bool(one == other) and type(one) is type(other)


@ways
async def test_objects(autojump_clock: object, pair: Pair, how: str) -> None:
    received = await there(pair, OBJECT, OBJECTS, how)
    assert all(same(one, other) for one, other in zip(received, OBJECTS, strict=True))


@ways
@pytest.mark.parametrize(
    ("message_type", "messages"),
    [
        (TEXT, ["", "", "a", "\0", "ü" * 1000, "x" * 50_000, ""]),
        (BINARY, [b"", b"", b"\0", bytes(50_000), b""]),
        (Hundredths, [0.0, 1.25, 1e6]),
        (typed(Point), [Point(1), Point(0, 0.0, ""), Point(2, 3.5, "ü")]),
    ],
    ids=["text", "binary", "own", "typed"],
)
async def test_messages_arrive_as_they_are(
    autojump_clock: object, pair: Pair, message_type: Any, messages: list[Any], how: str
) -> None:
    received = await there(pair, message_type, messages, how)
    assert all(same(one, other) for one, other in zip(received, messages, strict=True))


@pytest.mark.parametrize("message", [None, False, "", b"", [], 0])
async def test_an_iteration_does_not_end_at_an_empty_message(autojump_clock: object, pair: Pair, message: Any) -> None:
    pub, sub = PubChannel(pair.a, "v", OBJECT), SubChannel(pair.b, "v", OBJECT)
    await pub.wait_subscribers()
    await pub.send_many([message] * 20)
    received = []
    async for each in sub:
        received.append(each)
        if len(received) == 10:
            break
    await trio.sleep(1)
    received += sub.receive_all_nowait()
    assert received == [message] * 20


async def test_bytes_that_change_after_they_were_sent(autojump_clock: object, pair: Pair) -> None:
    for size in (10, 100_000):
        data = bytearray(b"a" * size)
        pub, sub = PubChannel(pair.a, str(size), BINARY), SubChannel(pair.b, str(size), BINARY)
        await pub.wait_subscribers()
        await pub.send(data)
        await pub.send(memoryview(data)[: size // 2])
        data[:] = b"b" * size
        assert await sub.receive() == b"a" * size
        assert await sub.receive() == b"a" * (size // 2)


async def test_objects_that_change_after_they_were_sent(autojump_clock: object, pair: Pair) -> None:
    pub, sub = PubChannel(pair.a, "v", OBJECT), SubChannel(pair.b, "v", OBJECT)
    await pub.wait_subscribers()
    value = [1]
    await pub.send(value)
    value.append(2)
    await pub.send(value)
    assert [await sub.receive() for _ in range(2)] == [[1], [1, 2]]


async def test_large_values_among_small_ones(autojump_clock: object, pair: Pair) -> None:
    pub, sub = PubChannel(pair.a, "v", OBJECT), SubChannel(pair.b, "v", OBJECT)
    await pub.wait_subscribers()
    values: list[Any] = [number if number % 4 else bytes([number]) * (number * 10_000) for number in range(40)]
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pub.send_many, values)
            assert [await sub.receive() for _ in values] == values


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (TEXT, OBJECT),
        (TEXT, BINARY),
        (BINARY, OBJECT),
        (Hundredths, OBJECT),
        (typed(Point), OBJECT),
        (typed(Point), Hundredths),
    ],
    ids=str,
)
async def test_types_that_differ_never_meet(autojump_clock: object, pair: Pair, one: Any, other: Any) -> None:
    pub, sub = PubChannel[Any](pair.a, "v", one), SubChannel[Any](pair.b, "v", other)
    back, again = PubChannel[Any](pair.b, "v", other), SubChannel[Any](pair.a, "v", one)
    await trio.sleep(1)
    assert pub.subscribers == back.subscribers == 0
    assert sub.slot == back.slot != pub.slot == again.slot


async def test_a_decode_that_fails_costs_one_message(autojump_clock: object, pair: Pair) -> None:
    pub, sub = PubChannel(pair.a, "v", Hundredths), SubChannel(pair.b, "v", Hundredths)
    await pub.wait_subscribers()
    sent = [1.0, -1.0, 2.0, -2.0, -3.0, 3.0]
    await pub.send_many(sent)
    for number in sent:
        if number < 0:
            with pytest.raises(MessageDecodeError, match="below zero") as caught:
                await sub.receive()
            assert isinstance(caught.value.__cause__, ValueError)
        else:
            assert await sub.receive() == number
    await pub.send_many(sent)
    await trio.sleep(1)
    assert await sub.receive_many() == [1.0]
    with pytest.raises(MessageDecodeError):
        await sub.receive_many()
    assert await sub.receive_many(5) == [2.0]
    with pytest.raises(MessageDecodeError):
        sub.receive_all_nowait()
    with pytest.raises(MessageDecodeError):
        sub.receive_nowait()
    assert sub.receive_all_nowait() == [3.0]
    await pub.send_many(sent)
    await trio.sleep(1)
    assert sub.receive_all_nowait() == [1.0]
    assert sub.pending == 5
    assert sub.statistics().dropped == 0


async def test_an_encode_that_fails_sends_nothing(autojump_clock: object, pair: Pair) -> None:
    pub, sub = PubChannel[Any](pair.a, "v", Hundredths), SubChannel(pair.b, "v", Hundredths)
    await pub.wait_subscribers()
    with pytest.raises(trioton.MessageTypeError) as caught:
        await pub.send("no number")
    assert isinstance(caught.value.__cause__, TypeError)
    await pub.send(5.0)
    assert await sub.receive() == 5.0


async def test_a_typed_value_is_checked_with_its_path(autojump_clock: object, pair: Pair) -> None:
    pub = PubChannel[Any](pair.a, "v", typed(Point))
    with pytest.raises(trioton.MessageTypeError, match=r"Point\.x: expected int, got str"):
        await pub.send(Point("5"))  # type: ignore[arg-type]
    with pytest.raises(trioton.MessageTypeError, match="expected Point, got dict"):
        pub.send_nowait({"x": 5})
    assert pub.statistics().sent == 0


async def test_a_body_that_makes_no_sense_is_told_and_skipped(
    autojump_clock: object, pair: Pair, watch: MakeWatch
) -> None:
    """A well-formed body may still not decode: here a date that is none, as only a faulty peer sends it."""

    class Wrong(MessageType[Any]):
        name = "obj"

        def encode(self, message: Any) -> object:
            return message

        def decode(self, value: Any) -> Any:
            return value

        def encode_buffers(self, message: Any, encode_extra: Any = None) -> tuple[Any, ...]:
            if message == "wrong":
                return (b"\xc0\x63abc",)
            return super().encode_buffers(message, encode_extra)

    events = watch(pair.b)
    pub, sub = PubChannel[Any](pair.a, "v", Wrong), SubChannel(pair.b, "v", OBJECT)
    await pub.wait_subscribers()
    for message in ("before", "wrong", "after"):
        await pub.send(message)
        await trio.sleep(0.1)
    with trio.fail_after(10):
        assert [await sub.receive() for _ in range(2)] == ["before", "after"]
    (event,) = events.all(BadMessage)
    assert (event.source, event.slot) == (pair.a.id, sub.slot)
    assert sub.statistics().dropped == 1
    assert pair.to_a.is_connected
