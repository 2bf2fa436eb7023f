"""`check_message_type`: whether a message type keeps what `trioton.MessageType` asks of it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final

from ...channels.messages import DecodeFailure, MessageType, as_message_type
from ...errors import MessageDecodeError, ProtocolError
from ...protocol.codec import array_head
from ...protocol.scan import scan_run
from ...protocol.values import decode_run, encode_value
from .rules import fail, require, show

_STRANGE: Final[tuple[object, ...]] = (
    None,
    True,
    0,
    -1,
    1 << 70,
    0.5,
    float("nan"),
    float("-inf"),
    "",
    "text",
    "-1",
    b"",
    b"\xff",
    [],
    [None],
    ["a", 1],
    (1, 2),
    {},
    {"a": None},
    {1: "a"},
    {None: b""},
    set(),
    [[[[[]]]]],
)
"""What a peer may send where a message of another type is expected."""

_DAMAGED: Final = 300
"""Messages with damage in them that are tried."""


def check_message_type(
    message_type: MessageType[Any] | type[MessageType[Any]], good: Iterable[Any], bad: Iterable[Any] = ()
) -> None:
    """Check a message type: what it carries arrives as it was, what it does not carry is refused, and garbage does no harm.

    Args:
        message_type: The message type, or a class of them that can be made without arguments.
        good: Messages that it carries, at least one. Each must equal what arrives of it.
        bad: Values that it must refuse to send.

    Raises:
        AssertionError: A rule is broken; the text says which, and of which message.
        TypeError: `message_type` is none.
        ValueError: `good` is empty, or the name of the message type cannot be part of a slot.
    """
    rules = _Rules(as_message_type(message_type), list(good), list(bad))
    for words, check in rules.of_all():
        try:
            check()
        except Exception as error:  # noqa: BLE001  # whatever came out of a thing that keeps no rules
            fail(words, error)


class _Rules:
    """The rules, each as words and a check."""

    def __init__(self, message_type: MessageType[Any], good: list[Any], bad: list[Any]) -> None:
        if not good:
            raise ValueError("good must hold at least one message, not none")
        self._type = message_type
        self._good = good
        self._bad = bad

    def of_all(self) -> Sequence[tuple[str, Callable[[], None]]]:
        return (
            ("a message arrives as it was sent", self.there_and_back),
            ("messages that travel together arrive each as it was, in their order", self.together),
            ("a message gives the same bytes again", self.repeated),
            ("encode_message(), encode_buffers() and encode_many() give the same bytes", self.ways_to_encode),
            ("encode_buffers() gives nothing that changes when the caller goes on", self.buffers),
            ("a value that cannot be sent is refused with a TypeError or ValueError that names it", self.refusals),
            ("a value that was refused leaves nothing behind", self.nothing_left),
            ("decoding raises nothing but ProtocolError, whatever the bytes are", self.damaged_bytes),
            ("each value that is no message costs only its own message", self.strange_values),
        )

    def _decode(self, data: Sequence[bytes]) -> list[Any]:
        """What a receiver makes of messages which come in one package."""
        body = array_head(len(data)) + b"".join(data)
        scan_run(body, len(data))
        messages = self._type.decode_many(decode_run(body))
        require(len(messages) == len(data), f"decode_many() made {len(messages)} messages of {len(data)} values")
        return messages

    # ---------------------------------------------------------------- good ones

    def there_and_back(self) -> None:
        for message in self._good:
            before = repr(message)
            (arrived,) = self._decode([self._type.encode_message(message)])
            require(repr(message) == before, f"{before} became {show(message)} when it was encoded")
            _require_same(arrived, message)

    def together(self) -> None:
        arrived = self._decode(self._type.encode_many(self._good))
        for one, message in zip(arrived, self._good, strict=True):
            _require_same(one, message)

    def repeated(self) -> None:
        for message in self._good:
            first = self._type.encode_message(message)
            again = self._type.encode_message(message)
            require(first == again, f"{show(message)} gives {show(first)}, and then {show(again)}")

    def ways_to_encode(self) -> None:
        for message in self._good:
            whole = self._type.encode_message(message)
            buffers = b"".join(self._type.encode_buffers(message))
            many = self._type.encode_many([message, message])
            for name, data in (("encode_buffers()", buffers), ("encode_many()", b"".join(many))):
                expected = whole if name == "encode_buffers()" else whole * 2
                require(data == expected, f"{name} of {show(message)} gives {show(data)}, and not {show(expected)}")

    def buffers(self) -> None:
        for message in self._good:
            for buffer in self._type.encode_buffers(message):
                owner = buffer.obj if isinstance(buffer, memoryview) else buffer
                is_fixed = type(owner) is bytes
                require(is_fixed, f"of {show(message)} there is a {type(owner).__name__}, which may change")

    # ---------------------------------------------------------------- bad ones

    def refusals(self) -> None:
        for value in self._bad:
            self._require_refused("encode_message()", self._type.encode_message, value, value)
            self._require_refused("encode_buffers()", self._type.encode_buffers, value, value)
            self._require_refused("encode_many()", self._type.encode_many, [*self._good, value], value)

    def _require_refused(self, name: str, encode: Callable[[Any], object], argument: object, value: object) -> None:
        try:
            data = encode(argument)
        except (TypeError, ValueError) as error:
            named = any(word in str(error) for word in (self._type.name, *_words_for(value)))
            require(named, f"{name} of {show(value)} says {str(error)!r}, and nobody knows what is meant")
        except Exception as error:
            raise AssertionError(f"{name} of {show(value)} raised {type(error).__name__}: {error}") from error
        else:
            raise AssertionError(f"{name} of {show(value)} raised nothing, and gave {show(data)}")

    def nothing_left(self) -> None:
        before = [self._type.encode_message(message) for message in self._good]
        for value in self._bad:
            shown = repr(value)
            for encode, argument in (
                (self._type.encode_buffers, value),
                (self._type.encode_many, [*self._good, value]),
            ):
                try:
                    encode(argument)
                except (TypeError, ValueError):
                    pass
            require(repr(value) == shown, f"{shown} became {show(value)}")
            after = [self._type.encode_message(message) for message in self._good]
            for message, one, two in zip(self._good, before, after, strict=True):
                change = f"after {show(value)}, {show(message)} gives {show(two)} instead of {show(one)}"
                require(one == two, change)

    # ---------------------------------------------------------------- garbage

    def damaged_bytes(self) -> None:
        encoded = self._type.encode_many(self._good)
        for body, count in _damaged([array_head(1) + data for data in encoded]):
            try:
                scan_run(body, count)
                values = decode_run(body)
            except ProtocolError:
                continue
            self._decode_values(values, body)

    def strange_values(self) -> None:
        good = self._good[0]
        (value,) = decode_run(array_head(1) + self._type.encode_message(good))
        for strange in _STRANGE:
            before, _, after = self._decode_values([value, strange, value], strange)
            _require_same(before, good)
            _require_same(after, good)
        for strange in _STRANGE:
            self._decode_values(decode_run(array_head(1) + encode_value([strange])), strange)

    def _decode_values(self, values: list[Any], of: object) -> list[Any]:
        count = len(values)
        try:
            messages = self._type.decode_many(values)
        except (Exception, SystemExit) as error:
            raise AssertionError(f"decode_many() raised {type(error).__name__} for {show(of)}: {error}") from error
        require(len(messages) == count, f"decode_many() made {len(messages)} messages of {count} values, of {show(of)}")
        for message in messages:
            if isinstance(message, DecodeFailure):
                kind = type(message.error)
                require(kind is MessageDecodeError, f"{show(of)} would make receive() raise {kind.__name__}")
        return messages


def _damaged(bodies: list[bytes]) -> Iterator[tuple[bytes, int]]:
    """Bodies with damage in them, always the same ones; some may still be whole."""
    chance = random.Random(0)
    for number in range(_DAMAGED):
        body = bytearray(bodies[number % len(bodies)])
        if number % 3 == 0:
            del body[chance.randrange(len(body)) :]
        else:
            for _ in range(number % 3):
                body[chance.randrange(len(body))] = chance.randrange(256)
        yield bytes(body), 1
    for number in range(_DAMAGED // 3):
        yield array_head(1) + chance.randbytes(1 + number % 20), 1


def _require_same(arrived: object, message: object) -> None:
    is_refused = isinstance(arrived, DecodeFailure)
    require(not is_refused, f"{show(message)} is refused when it arrives: {getattr(arrived, 'error', '')}")
    # What is not even equal to itself, such as a NaN, must at least look the same.
    is_same = arrived == message or (type(arrived) is type(message) and repr(arrived) == repr(message))
    require(is_same, f"{show(message)} arrives as {show(arrived)}")


def _words_for(value: object) -> Iterator[str]:
    """Texts of which an error that names a value, or a place in it, has one."""
    yield repr(value)[:40]
    yield from ("message:", "message[")  # it, or a place inside it, as OBJECT names them
    yield type(value).__name__
    parts: Iterable[object] = ()
    if isinstance(value, Mapping):
        parts = [*value.keys(), *value.values()]
    elif isinstance(value, (list, tuple, AbstractSet)):
        parts = value
    for part in parts:
        yield type(part).__name__
