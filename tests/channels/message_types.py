"""What the tests of message types share: a message there and back, and how a receiver hears of a value that is none."""

from __future__ import annotations

from typing import Any

from trioton.channels.messages import DecodeFailure, MessageType
from trioton.errors import MessageDecodeError
from trioton.protocol.values import decode_value


def there_and_back(message_type: MessageType[Any], message: Any) -> Any:
    """What a receiver gets; and all ways to encode give the same bytes."""
    data = message_type.encode_message(message)
    assert b"".join(message_type.encode_buffers(message)) == data
    assert message_type.encode_many([message, message]) == [data, data]
    (arrived,) = message_type.decode_many([decode_value(data)])
    return arrived


def failure_of(message_type: MessageType[Any], value: object, *, good: object) -> str:
    """The text of the error with which a receiver hears of a value that comes between two good messages."""
    encoded = message_type.encode_message(good)
    before, failure, after = message_type.decode_many([decode_value(encoded), value, decode_value(encoded)])
    assert type(failure) is DecodeFailure
    assert DecodeFailure not in (type(before), type(after))
    assert type(failure.error) is MessageDecodeError
    assert failure.error.__cause__ is not None
    return str(failure.error)
