"""`check_message_type` accepts our message types, and finds what is wrong with some that were broken on purpose."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import attrs
import pytest

from trioton import BINARY, OBJECT, TEXT, MessageType, typed
from trioton.channels.messages import Buffer, DecodeFailure
from trioton.testing import check_message_type


class Colour(Enum):
    RED = "red"


@attrs.frozen
class Point:
    x: int
    y: float
    colour: Colour = Colour.RED
    others: tuple[str, ...] = ()


LONG = "ä" * 70_000
TIME = datetime(2024, 2, 29, 12, 30, 0, 5, tzinfo=timezone(timedelta(hours=5.5)))
VALUES = [None, True, -1, 1 << 300, 0.1, float("nan"), "", LONG, b"", [1, [2, {3: (4,)}]], {"a": {1, 2}}, TIME]


@pytest.mark.parametrize(
    ("message_type", "good", "bad"),
    [
        (TEXT, ["", "a", "ä\0\U0001f600", LONG], [b"a", 1, None, ["a"], "a\ud800"]),
        (BINARY, [b"", b"a" * 70_000, bytearray(b"b"), memoryview(b"abcdef")[::2], memoryview(b"c")], ["a", 1, None]),
        (
            OBJECT,
            [*VALUES, UUID(int=7), Decimal("1.10"), Decimal("NaN")],
            [object(), {"a": {1: [object()]}}, 1j, range(3)],
        ),
        (OBJECT, [0], [datetime(2024, 1, 1), Decimal("sNaN"), "\ud800", [[1, {"b": 2j}]]]),
        (typed(Point), [Point(1, 2.5), Point(1, 2, others=("a",))], [Point("1", 2.0), 5, None, {"x": 1, "y": 2.0}]),  # type: ignore[arg-type]
    ],
    ids=["TEXT", "BINARY", "OBJECT", "OBJECT, more", "typed"],
)
def test_ours_keep_the_contract(message_type: Any, good: list[Any], bad: list[Any]) -> None:
    check_message_type(message_type, good, bad)


class Number(MessageType[float]):
    """The example of the documentation, without fault."""

    name = "num"

    def encode(self, message: float) -> object:
        return repr(float(message))

    def decode(self, value: Any) -> float:
        return float(value)


def test_one_of_ones_own_keeps_it() -> None:
    check_message_type(Number, [0.1, -1e300, 5, float("nan")], ["a", None, []])
    check_message_type(Number(), [0.1])


# ---------------------------------------------------------------- broken ones


class LosesPrecision(Number):
    def encode(self, message: float) -> object:
        return f"{float(message):g}"


class RefusesItsOwn(Number):
    def decode(self, value: Any) -> float:
        return float(int(value))


class MixesUp(Number):
    def decode_many(self, values: list[Any]) -> list[float | DecodeFailure]:
        return super().decode_many(values)[::-1]


class LeavesOut(Number):
    """What makes no sense is missing, and so the others move up."""

    def decode_many(self, values: list[Any]) -> list[float | DecodeFailure]:
        return [each for each in super().decode_many(values) if not isinstance(each, DecodeFailure)]


class Counts(Number):
    """Each message has a number, and the same one never gives the same bytes."""

    def __init__(self) -> None:
        self.count = 0

    def encode(self, message: float) -> object:
        self.count += 1
        return [self.count, message]

    def decode(self, value: Any) -> float:
        _, message = value
        return float(message)


class Appends(MessageType[list[int]]):
    """Writes its mark into the caller's message."""

    name = "list"

    def encode(self, message: list[int]) -> object:
        if 99 not in message:
            message.append(99)
        return message

    def decode(self, value: Any) -> list[int]:
        return list(value)


class TwoWays(Number):
    def encode_buffers(self, message: float, encode_extra: Any = None) -> tuple[Buffer, ...]:
        return (b"\x61\x30",)


class ManyInAnotherWay(Number):
    def encode_many(self, messages: Sequence[float], encode_extra: Any = None) -> list[bytes]:
        return [self.encode_message(round(message, 1)) for message in messages]


class GivesAwayItsBuffer(Number):
    def encode_buffers(self, message: float, encode_extra: Any = None) -> tuple[Buffer, ...]:
        return (bytearray(self.encode_message(message)),)


class TakesAnything(Number):
    def encode(self, message: Any) -> object:
        return repr(message) if isinstance(message, float) else "0"


class RaisesSomethingElse(Number):
    def encode_message(self, message: Any, encode_extra: Any = None) -> bytes:
        if not isinstance(message, float):
            raise RuntimeError("what is this?")  # noqa: TRY004
        return super().encode_message(message, encode_extra)


class SaysNothing(Number):
    def encode_message(self, message: Any, encode_extra: Any = None) -> bytes:
        if not isinstance(message, float):
            raise ValueError("wrong")  # noqa: TRY004
        return super().encode_message(message, encode_extra)


class LeavesSomething(Number):
    """What was refused comes along with the next."""

    def __init__(self) -> None:
        self.rest: list[str] = []

    def encode(self, message: float) -> object:
        self.rest.append(repr(message))
        rest = "".join(self.rest)
        float(message)
        self.rest.clear()
        return rest


class SpoilsWhatItRefuses(Number):
    def encode(self, message: Any) -> object:
        if isinstance(message, list):
            message.append("refused")
        return super().encode(message)


class ChokesOnGarbage(Number):
    def decode_many(self, values: list[Any]) -> list[float | DecodeFailure]:
        return [float(value) for value in values]


class Exits(Number):
    def decode(self, value: Any) -> float:
        if value is None:
            raise SystemExit(1)
        return float(value)


class FailsInItsOwnWay(Number):
    def decode_many(self, values: list[Any]) -> list[float | DecodeFailure]:
        messages = super().decode_many(values)
        for message in messages:
            if isinstance(message, DecodeFailure):
                message.error = KeyError("what?")  # type: ignore[assignment]
        return messages


BROKEN: dict[type[MessageType[Any]], str] = {
    LosesPrecision: "a message arrives as it was sent: 0.123456789 arrives as 0.123457",
    RefusesItsOwn: "a message arrives as it was sent: 0.123456789 is refused when it arrives: num: invalid literal for int",
    MixesUp: "messages that travel together arrive each as it was, in their order: 0.123456789 arrives as 2.0",
    Counts: "a message gives the same bytes again: 0.123456789 gives ",
    TwoWays: "give the same bytes: encode_buffers() of 0.123456789 gives b'a0'",
    ManyInAnotherWay: "messages that travel together arrive each as it was, in their order: 0.123456789 arrives as 0.1",
    GivesAwayItsBuffer: "that changes when the caller goes on: of 0.123456789 there is a bytearray, which may change",
    TakesAnything: "a value that cannot be sent is refused with a TypeError or ValueError that names it: encode_message() of 'x'",
    RaisesSomethingElse: "that names it: encode_message() of 'x' raised RuntimeError: what is this?",
    SaysNothing: "encode_message() of 'x' says 'wrong', and nobody knows what is meant",
    LeavesSomething: "a value that was refused leaves nothing behind",
    SpoilsWhatItRefuses: "a value that was refused leaves nothing behind: ['y'",
    ChokesOnGarbage: "decoding raises nothing but ProtocolError, whatever the bytes are: decode_many() raised ",
    LeavesOut: "decoding raises nothing but ProtocolError, whatever the bytes are: decode_many() made 0 messages of 1 values",
    Exits: "each value that is no message costs only its own message: decode_many() raised SystemExit for None",
    FailsInItsOwnWay: "would make receive() raise KeyError",
}


@pytest.mark.parametrize("kind", BROKEN, ids=lambda kind: kind.__name__)
def test_what_is_broken_is_named(kind: type[MessageType[Any]]) -> None:
    with pytest.raises(AssertionError, match=re.escape(BROKEN[kind])):
        check_message_type(kind, [0.123456789, 2.0], ["x", ["y"]])


def test_a_message_that_is_changed_is_named() -> None:
    with pytest.raises(AssertionError, match=r"a message arrives as it was sent: \[1\] became \[1, 99\]"):
        check_message_type(Appends, [[1]])


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="good must hold at least one message"):
        check_message_type(TEXT, [])
    with pytest.raises(TypeError, match="message_type must be a MessageType, such as TEXT or OBJECT, not 5"):
        check_message_type(5, ["a"])  # type: ignore[arg-type]
