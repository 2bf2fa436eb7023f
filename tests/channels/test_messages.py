"""The message types, those of Trioton and one's own: what they take, what they make of it, and what they refuse."""

from __future__ import annotations

import enum
import os
import subprocess
import sys
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioton.channels.messages import BINARY, OBJECT, TEXT, DecodeFailure, MessageType, TextMessages, as_message_type
from trioton.errors import MessageTypeError
from trioton.protocol.codec import bytes_head, text_head
from trioton.protocol.values import EncodeExtra, decode_value, encode_value

from .message_types import failure_of, there_and_back

# ------------------------------------------------------------------------------------------------- TEXT, BINARY, OBJECT


class Word(enum.StrEnum):
    HI = "hi"


@pytest.mark.parametrize("message", ["", "a", "x" * 23, "x" * 24, "ü" * 200, "\N{GRINNING FACE}" * 70_000])
def test_text_arrives_as_it_is(message: str) -> None:
    assert there_and_back(TEXT, message) == message
    assert TEXT.encode_message(message) == encode_value(message)


def test_a_subclass_of_str_arrives_as_str() -> None:
    assert type(there_and_back(TEXT, Word.HI)) is str


@pytest.mark.parametrize("message", [b"a", 5, None, ["a"]])
def test_text_refuses_what_is_no_str(message: Any) -> None:
    expected = f"txt: expected str, got {type(message).__name__}"
    for encode in (TEXT.encode_message, TEXT.encode_buffers, TEXT.encode):
        with pytest.raises(MessageTypeError, match=expected):
            encode(message)
    with pytest.raises(TypeError, match=f"message 2 of 3: {expected}"):
        TEXT.encode_many(["a", "b", message])


def test_text_refuses_lone_surrogates() -> None:
    with pytest.raises(MessageTypeError, match="lone surrogate"):
        TEXT.encode_message("\ud800")


def test_a_run_of_texts_is_not_copied() -> None:
    values: list[Any] = ["a", "b"]
    assert TEXT.decode_many(values) is values
    assert TEXT.decode_many([]) == []


@pytest.mark.parametrize("value", [5, b"a", None, ["a"], 1.5])
def test_only_the_value_that_is_no_text_fails(value: object) -> None:
    assert failure_of(TEXT, value, good="text") == f"txt: expected str, got {type(value).__name__}"


@pytest.mark.parametrize("make", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("size", [0, 1, 23, 24, 255, 256, 70_000])
def test_binary_arrives_as_bytes(make: type[Any], size: int) -> None:
    payload = bytes(range(256)) * 300
    arrived = there_and_back(BINARY, make(payload[:size]))
    assert type(arrived) is bytes
    assert arrived == payload[:size]


@pytest.mark.parametrize("message", ["a", 5, None, [1]])
def test_binary_refuses_what_is_not_bytes(message: Any) -> None:
    for encode in (BINARY.encode_message, BINARY.encode_buffers):
        with pytest.raises(
            MessageTypeError, match=f"bin: expected bytes, bytearray or memoryview, got {type(message).__name__}"
        ):
            encode(message)


@pytest.mark.parametrize("value", [5, "a", None, [b"a"]])
def test_only_the_value_that_is_not_bytes_fails(value: object) -> None:
    assert failure_of(BINARY, value, good=b"bytes") == f"bin: expected bytes, got {type(value).__name__}"
    values: list[Any] = [b"a"]
    assert BINARY.decode_many(values) is values


def test_large_bytes_are_not_copied() -> None:
    payload = bytes(1 << 20)
    for message in (payload, memoryview(payload)[5:], memoryview(payload).cast("I")):
        head, body = BINARY.encode_buffers(message)
        size = memoryview(message).nbytes
        assert head == bytes_head(size)
        assert memoryview(body).nbytes == len(body) == size
        assert body is payload or (isinstance(body, memoryview) and body.obj is payload)
    assert OBJECT.encode_buffers(payload)[1] is payload
    text = "x" * (1 << 20)
    assert TEXT.encode_buffers(text) == (text_head(1 << 20), text.encode())


def test_bytes_that_may_change_are_copied() -> None:
    payload = bytearray(b"abcdef")
    buffers = [
        BINARY.encode_buffers(message)
        for message in (payload, memoryview(payload), memoryview(payload).toreadonly(), memoryview(b"abcdef")[::2])
    ]
    payload[:] = b"......"
    assert [bytes(body) for _, body in buffers] == [b"abcdef", b"abcdef", b"abcdef", b"ace"]


@pytest.mark.parametrize(
    "message", [None, 0, "", b"", [], (), {}, {1, 2}, {"a": (1, [2])}, b"x" * 300, Decimal("1.50")]
)
def test_an_object_arrives_as_it_is(message: Any) -> None:
    arrived = there_and_back(OBJECT, message)
    assert arrived == message
    assert type(arrived) is type(message)


def test_an_object_that_cannot_be_sent_is_refused_with_its_place() -> None:
    with pytest.raises(MessageTypeError, match=r"""^message\["a"\]\[1\]: cannot send a value of type 'object'$"""):
        OBJECT.encode_message({"a": [1, object()]})
    with pytest.raises(MessageTypeError, match=r"^message 1 of 2: message\[0\]: cannot send a value of type 'object'$"):
        OBJECT.encode_many([1, [object()]])
    with pytest.raises(MessageTypeError):
        OBJECT.encode_buffers(object())


def test_the_plain_types_leave_values_as_they_are() -> None:
    for message_type, value in ((TEXT, "a"), (BINARY, b"a"), (OBJECT, [1])):
        assert message_type.encode(value) is value  # type: ignore[arg-type]
        assert message_type.decode(value) is value


def test_types_of_a_higher_layer_are_passed_on() -> None:
    class Thing:
        pass

    extra: EncodeExtra = {Thing: lambda _: (60_000, "thing")}
    for data in (
        OBJECT.encode_message([Thing()], extra),
        b"".join(OBJECT.encode_buffers([Thing()], extra)),
        OBJECT.encode_many([[Thing()]], extra)[0],
    ):
        assert decode_value(data, {60_000: lambda content: content}) == ["thing"]


@given(st.lists(st.one_of(st.text(), st.binary(), st.integers(), st.none())))
def test_each_value_of_a_run_is_judged_alone(values: list[Any]) -> None:
    for message_type, kind in ((TEXT, str), (BINARY, bytes)):
        messages = message_type.decode_many(values)
        assert len(messages) == len(values)
        for value, message in zip(values, messages, strict=True):
            assert message is value if type(value) is kind else type(message) is DecodeFailure


# ------------------------------------------------------------------------------------------------------------ one's own


class Number(MessageType[float]):
    name = "num"

    def encode(self, message: float) -> str:
        return repr(float(message))

    def decode(self, value: str) -> float:
        return float(value)


def test_a_type_of_ones_own() -> None:
    assert there_and_back(Number(), 1.5) == 1.5
    assert decode_value(Number().encode_message(1.5)) == "1.5"
    assert repr(Number()) == "<Number 'num'>"
    with pytest.raises(MessageTypeError, match=r"num: cannot encode a str \(ValueError: could not convert") as caught:
        Number().encode_message("one")  # type: ignore[arg-type]
    assert isinstance(caught.value.__cause__, ValueError)
    assert "could not convert string to float" in failure_of(Number(), "one", good=1.5)
    assert "num: " in failure_of(Number(), None, good=1.5)


def test_an_encode_may_raise_the_error_itself() -> None:
    class Never(MessageType[object]):
        name = "never"

        def encode(self, message: object) -> object:
            raise MessageTypeError("not today")

        def decode(self, value: Any) -> object:
            raise LookupError

    with pytest.raises(MessageTypeError, match=r"^not today$"):
        Never().encode_message(1)
    (failure,) = Never().decode_many([1])
    assert isinstance(failure, DecodeFailure)
    assert str(failure.error) == "never: LookupError"


def test_what_encode_returns_must_be_sendable() -> None:
    class Wrong(MessageType[object]):
        name = "wrong"

        def encode(self, message: object) -> object:
            return [message]

        def decode(self, value: Any) -> object:
            return value

    with pytest.raises(MessageTypeError, match=r"message\[0\]: cannot send a value of type 'object'"):
        Wrong().encode_message(object())


@pytest.mark.parametrize("name", ["", "Num", "a.b", "a b", "ü", "x" * 65, "a\n"])
def test_a_name_that_cannot_be_part_of_a_slot(name: str) -> None:
    with pytest.raises(ValueError, match="lower-case letters, digits"):
        type("Bad", (Number,), {"name": name})


def test_names_that_can() -> None:
    for name in ("a", "0", "_", "-", "my-type_2", "x" * 64):
        made = type("Good", (Number,), {"name": name})
        assert as_message_type(made).name == name


def test_a_class_stands_for_its_instance() -> None:
    assert type(as_message_type(Number)) is Number
    assert type(as_message_type(TextMessages)) is TextMessages
    assert as_message_type(TEXT) is TEXT


@pytest.mark.parametrize("value", [str, "txt", None, int, object()])
def test_what_is_no_message_type(value: Any) -> None:
    with pytest.raises(TypeError, match="message_type must be a MessageType"):
        as_message_type(value)
    with pytest.raises(TypeError, match="requests must be a MessageType"):
        as_message_type(value, "requests")


def test_a_type_without_a_name() -> None:
    class Nameless(MessageType[int]):
        def encode(self, message: int) -> object:
            return message

        def decode(self, value: Any) -> int:
            return int(value)

    with pytest.raises(TypeError, match="name of <Nameless ''> must be a str, not None"):
        as_message_type(Nameless)
    with pytest.raises(TypeError, match="must be a str, not 5"):
        type("Bad", (Number,), {"name": 5})
    with pytest.raises(TypeError, match="abstract"):
        as_message_type(MessageType)


# ------------------------------------------------------------------------------------------------ what is imported when


SLOW_MODULES = ["datetime", "decimal", "uuid", "trioton.protocol.sendable", "trioton.protocol.values"]
LOADED_BY = """
import sys, trio, attrs, cbor2
before = set(sys.modules)
import trioton
async def main():
    async with trioton.open_context() as ctx:
        {code}
trio.run(main)
print(*sorted(set(sys.modules) - before))
"""


@pytest.mark.parametrize(
    ("code", "loads"),
    [
        ("", False),
        ("trioton.PubChannel(ctx, 'x').send_nowait('text')", False),
        ("trioton.SubChannel(ctx, 'x', trioton.BINARY)", False),
        ("trioton.PubChannel(ctx, 'x', trioton.OBJECT)", True),
        ("trioton.SubChannel(ctx, 'x', trioton.OBJECT)", True),
    ],
)
def test_only_a_channel_of_richer_values_loads_what_they_need(code: str, loads: bool) -> None:
    """They would slow down `import trioton`; and the first message need not wait for them."""
    program = LOADED_BY.format(code=code or "pass")
    # What measures the coverage would load some of them itself.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    command = [sys.executable, "-c", program]
    output = subprocess.run(command, stdout=subprocess.PIPE, env=environment, check=True, text=True).stdout
    loaded = output.split()
    assert "trioton.protocol.codec" in loaded
    assert [module for module in SLOW_MODULES if module in loaded] == (SLOW_MODULES if loads else [])
