"""Message types: what a channel carries, and how it becomes CBOR.

A channel is made with one message type. Its name is part of the slot, so two channels that mean different things never
meet, and sender and receiver need to agree on nothing else::

    TEXT      str                                              "txt"
    BINARY    bytes, bytearray, memoryview; arrive as bytes    "bin"
    OBJECT    None, numbers, str, bytes, lists, dicts, ...     "obj"; see `trioton.protocol.values` for all of it
    typed(C)  instances of the attrs class or dataclass C      "typed-" and the name of C

A type of your own says how a message becomes a value that OBJECT can carry, and back::

    class Number(MessageType[float]):
        name = "num"

        def encode(self, message: float) -> str:
            return repr(float(message))

        def decode(self, value: str) -> float:
            return float(value)

and is given to a channel as ``Number`` or ``Number()``.
"""

from __future__ import annotations

import abc
import functools
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Generic, NoReturn, TypeAlias, TypeVar

from ..errors import MessageDecodeError, MessageTypeError
from ..protocol.codec import bytes_head, text_head

if TYPE_CHECKING:
    from ..protocol.values import EncodeExtra

Buffer: TypeAlias = bytes | bytearray | memoryview

T = TypeVar("T")

_NAME: Final = re.compile(r"[a-z0-9_-]{1,64}")


def _check_name(owner: object, name: object) -> None:
    if not isinstance(name, str):
        raise TypeError(f"the name of {owner!r} must be a str, not {name!r}")
    if not _NAME.fullmatch(name):
        rule = "1 to 64 lower-case letters, digits, '_' and '-'"
        raise ValueError(f"the name of {owner!r} must be {rule}, not {name!r}")


@functools.cache
def value_encoder() -> Callable[[object, EncodeExtra | None], bytes]:
    """Give `trioton.protocol.values.encode_value`.

    TEXT and BINARY do without its module, which takes a while to import. So a channel with another message type asks for it when
    it is made, and then no message has to wait for it.
    """
    from ..protocol.values import encode_value

    return encode_value


class DecodeFailure:
    """Stands in the place of a message that could not be decoded, until the `receive` that would have returned it.

    Attributes:
        error: What that `receive` raises.
    """

    __slots__ = ("error",)

    def __init__(self, error: MessageDecodeError) -> None:
        self.error = error


class MessageType(abc.ABC, Generic[T]):
    """What the messages of a channel are, and how they become CBOR.

    A subclass sets `name` and defines `encode` and `decode`. The other methods are what channels call; they are built
    from these two.

    Attributes:
        name: What the type is called in the slot: 1 to 64 lower-case letters, digits, ``_`` and ``-``.
    """

    name: str

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "name" in cls.__dict__:
            _check_name(cls, cls.__dict__["name"])

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {getattr(self, 'name', '')!r}>"

    @abc.abstractmethod
    def encode(self, message: T) -> object:
        """Return the value that is sent for `message`: one that OBJECT can carry.

        What this raises reaches the caller of `send` as the cause of a `trioton.MessageTypeError`, and nothing is
        sent.
        """

    @abc.abstractmethod
    def decode(self, value: Any) -> T:
        """Return the message for a value that came.

        The value may be anything that OBJECT can carry: a peer chose it. What this raises reaches the one `receive`
        that would have returned the message, as the cause of a `trioton.MessageDecodeError`.
        """

    def encode_message(self, message: T, encode_extra: EncodeExtra | None = None) -> bytes:
        """Encode one message.

        Args:
            message: The message.
            encode_extra: How values are sent that this layer does not know; see `trioton.protocol.values.encode_value`.

        Raises:
            MessageTypeError: It is not of this type.
        """
        try:
            value = self.encode(message)
        except MessageTypeError:
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            raise MessageTypeError(f"{self.name}: cannot encode a {type(message).__name__} ({reason})") from error
        return value_encoder()(value, encode_extra)

    def encode_buffers(self, message: T, encode_extra: EncodeExtra | None = None) -> tuple[Buffer, ...]:
        """Encode one message as several buffers, so that a large one need not be copied.

        The buffers do not change when the caller goes on to use what the message was made of.

        Raises:
            MessageTypeError: It is not of this type.
        """
        return (self.encode_message(message, encode_extra),)

    def encode_many(self, messages: Sequence[T], encode_extra: EncodeExtra | None = None) -> list[bytes]:
        """Encode several messages, all or none.

        Raises:
            MessageTypeError: One of them is not of this type; the error says which.
        """
        encoded: list[bytes] = []
        try:
            for message in messages:
                encoded.append(self.encode_message(message, encode_extra))  # noqa: PERF401  # its length is needed
        except MessageTypeError as error:
            raise MessageTypeError(f"message {len(encoded)} of {len(messages)}: {error}") from error
        return encoded

    def decode_many(self, values: list[Any]) -> list[T | DecodeFailure]:
        """Make messages of the values of a run.

        Args:
            values: What `trioton.protocol.values.decode_run` gave. The list may be returned itself.

        Returns:
            As many messages, with a `DecodeFailure` in the place of each that `decode` refused.
        """
        messages: list[T | DecodeFailure] = []
        decode = self.decode
        for value in values:
            try:
                messages.append(decode(value))
            except Exception as error:  # noqa: BLE001  # whatever it is, it is the `receive` that will raise it
                messages.append(self._failure(error))
        return messages

    def _failure(self, error: Exception) -> DecodeFailure:
        failure = MessageDecodeError(f"{self.name}: {str(error) or type(error).__name__}")
        failure.__cause__ = error
        return DecodeFailure(failure)

    def _refuse(self, expected: str, message: object) -> NoReturn:
        raise MessageTypeError(f"{self.name}: expected {expected}, got {type(message).__name__}")


class TextMessages(MessageType[str]):
    """The type of TEXT."""

    name = "txt"

    def encode(self, message: str) -> str:
        """Return the message itself.

        Raises:
            MessageTypeError: It is no str.
        """
        if not isinstance(message, str):
            self._refuse("str", message)
        return message

    def decode(self, value: Any) -> str:
        """Return the value itself.

        Raises:
            ValueError: It is no str.
        """
        if type(value) is not str:
            raise ValueError(f"expected str, got {type(value).__name__}")
        return value

    def encode_message(self, message: str, encode_extra: EncodeExtra | None = None) -> bytes:  # noqa: ARG002
        """Encode one text; see `MessageType.encode_message`."""
        data = self._utf8(message)
        return text_head(len(data)) + data

    def encode_buffers(self, message: str, encode_extra: EncodeExtra | None = None) -> tuple[Buffer, ...]:  # noqa: ARG002
        """Encode one text as two buffers; see `MessageType.encode_buffers`."""
        data = self._utf8(message)
        return text_head(len(data)), data

    def decode_many(self, values: list[Any]) -> list[str | DecodeFailure]:
        """Make messages of the values of a run; see `MessageType.decode_many`."""
        return values if set(map(type, values)) <= {str} else super().decode_many(values)

    def _utf8(self, message: str) -> bytes:
        if not isinstance(message, str):
            self._refuse("str", message)
        try:
            return message.encode()
        except UnicodeEncodeError as error:
            raise MessageTypeError(f"{self.name}: a text with a lone surrogate cannot be sent ({error})") from error


class BinaryMessages(MessageType[Buffer]):
    """The type of BINARY."""

    name = "bin"

    def encode(self, message: Buffer) -> bytes:
        """Return the bytes of the message.

        Raises:
            MessageTypeError: It is neither bytes nor bytearray nor memoryview.
        """
        if type(message) is bytes:
            return message
        if not isinstance(message, bytes | bytearray | memoryview):
            self._refuse("bytes, bytearray or memoryview", message)
        return bytes(message)

    def decode(self, value: Any) -> bytes:
        """Return the value itself.

        Raises:
            ValueError: It is not bytes.
        """
        if type(value) is not bytes:
            raise ValueError(f"expected bytes, got {type(value).__name__}")
        return value

    def encode_message(self, message: Buffer, encode_extra: EncodeExtra | None = None) -> bytes:  # noqa: ARG002
        """Encode some bytes; see `MessageType.encode_message`."""
        data = self.encode(message)
        return bytes_head(len(data)) + data

    def encode_buffers(self, message: Buffer, encode_extra: EncodeExtra | None = None) -> tuple[Buffer, ...]:  # noqa: ARG002
        """Encode some bytes as two buffers; see `MessageType.encode_buffers`.

        Only a `bytes` object, or a memoryview of one, is not copied: others may change before they are written.
        """
        if isinstance(message, memoryview) and type(message.obj) is bytes and message.contiguous:
            return bytes_head(message.nbytes), message.cast("B")
        data = self.encode(message)
        return bytes_head(len(data)), data

    def decode_many(self, values: list[Any]) -> list[Buffer | DecodeFailure]:
        """Make messages of the values of a run; see `MessageType.decode_many`."""
        return values if set(map(type, values)) <= {bytes} else super().decode_many(values)


class ObjectMessages(MessageType[Any]):
    """The type of OBJECT."""

    name = "obj"

    def encode(self, message: Any) -> object:
        """Return the message itself."""
        return message

    def decode(self, value: Any) -> Any:
        """Return the value itself."""
        return value

    def encode_message(self, message: Any, encode_extra: EncodeExtra | None = None) -> bytes:
        """Encode one value; see `MessageType.encode_message`."""
        return value_encoder()(message, encode_extra)

    def encode_buffers(self, message: Any, encode_extra: EncodeExtra | None = None) -> tuple[Buffer, ...]:
        """Encode one value; only a message that is `bytes` is not copied. See `MessageType.encode_buffers`."""
        if type(message) is bytes:
            return bytes_head(len(message)), message
        return (value_encoder()(message, encode_extra),)

    def decode_many(self, values: list[Any]) -> list[Any]:
        """Return the values themselves; see `MessageType.decode_many`."""
        return values


TEXT: Final = TextMessages()
"""Messages that are str."""

BINARY: Final = BinaryMessages()
"""Messages that are bytes, bytearray or memoryview, and arrive as bytes."""

OBJECT: Final = ObjectMessages()
"""Messages that are what CBOR can carry; see `trioton.protocol.values`."""


def typed(cls: type[T]) -> MessageType[T]:
    """Return the message type for instances of `cls`.

    A message must be an instance of `cls` itself, not of a subclass, with values of the types that its attributes
    declare; an int may stand for a float. At the receiver, attributes that are unknown there are ignored, and those
    that are missing take their defaults. Attributes may have the types that OBJECT can carry, enums, other such
    classes, and lists, dicts, sets, tuples and unions of all these.

    Args:
        cls: An attrs class or a dataclass.

    Raises:
        ImportError: The package cattrs is not installed; the extra ``trioton[typed]`` brings it.
        TypeError: `cls` is no such class, or declares types that cannot be sent.
    """
    try:
        from .typed_messages import TypedMessages
    except ImportError as error:
        raise ImportError("typed() needs the package cattrs: pip install 'trioton[typed]'") from error
    return TypedMessages(cls)


def as_message_type(value: MessageType[T] | type[MessageType[T]], argument: str = "message_type") -> MessageType[T]:
    """Return the message type that a caller means.

    Args:
        value: A message type, or a class of them that can be made without arguments.
        argument: What the caller's own argument is called, for the error.

    Raises:
        TypeError: It is something else, or it has no name.
        ValueError: Its name cannot be part of a slot.
    """
    if isinstance(value, type) and issubclass(value, MessageType):
        value = value()
    if not isinstance(value, MessageType):
        raise TypeError(f"{argument} must be a MessageType, such as TEXT or OBJECT, not {value!r}")
    _check_name(value, getattr(value, "name", None))
    return value
