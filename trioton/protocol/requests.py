"""Requests and replies: what travels between a requester and the repliers, as OBJECT messages on addressed slots.

A replier's context listens on the slot itself, and says by the size of that interest how many requests it runs at once. What is sent
to it is addressed::

    [CALL, id, seconds, stream, [method, arguments, keywords]]    run this; seconds until nobody waits any more, or None
    [CANCEL, id]                                                  stop that, and say when it is cleaned up
    [PASS]                                                        there is nothing to send into the room that was kept

and it answers, to the requester's context::

    [DONE, id, value]           what the handler returned
    [FAILED, id, failure]       what it raised; see `trioton.protocol.failures`
    [BUSY, id]                  not started: there is no room. Room is kept for the requester as soon as there is some, in turn
    [ROOM]                      there is room for one request now, kept for a moment
    [CANCELLED, id, is_clean]   it was stopped; False if it is a thread that goes on, and whose result nobody gets
    [GONE, id, reason]          the channel that ran it was closed

``stream`` is a reference to a one-to-one channel that gets the items of a generator, or None. Every request gets one answer.
"""

from __future__ import annotations

import enum
import struct
from typing import Any, Final, NamedTuple

from ..errors import ProtocolError
from . import codec
from .packages import MAX_SEQUENCE
from .plain import decode_plain, encode_plain
from .shown import shown

MAX_METHOD: Final = 256
"""Characters of the name of a method."""

_NULL: Final = b"\xf6"
_TRUE, _FALSE = b"\xf5", b"\xf4"


class Ask(enum.IntEnum):
    """What a requester says."""

    CALL = 0
    CANCEL = 1
    PASS = 2


class Answer(enum.IntEnum):
    """What a replier says."""

    DONE = 0
    FAILED = 1
    BUSY = 2
    ROOM = 3
    CANCELLED = 4
    GONE = 5


class Call(NamedTuple):
    """A request."""

    id: int
    seconds: float | None
    stream: object
    method: str
    arguments: list[Any]
    keywords: dict[str, Any]


def _head(count: int, kind: int, request: int) -> bytes:
    return codec.array_head(count) + codec.uint(kind) + codec.uint(request)


def encode_call(request: int, seconds: float | None, stream: bytes | None, body: bytes) -> bytes:
    """Encode a request, whose method and arguments are encoded already, as is the reference to its stream."""
    remaining = _NULL if seconds is None else b"\xfb" + struct.pack(">d", max(0.0, seconds))
    return _CALL + codec.uint(request) + remaining + (stream or _NULL) + body


def encode_plain_body(method: bytes, arguments: tuple[Any, ...]) -> bytes | None:
    """Encode a method, which is encoded already, and its arguments, if they are plain and fewer than 24; else None."""
    body = b"\x83" + method + codec.array_head(len(arguments))
    for argument in arguments:
        encoded = encode_plain(argument)
        if encoded is None:
            return None
        body += encoded
    return body + b"\xa0" if len(arguments) < 24 else None


def encode_cancel(request: int) -> bytes:
    """Encode the wish to stop a request."""
    return _head(2, Ask.CANCEL, request)


_CALL: Final = codec.array_head(5) + codec.uint(Ask.CALL)
_DONE: Final = codec.array_head(3) + codec.uint(Answer.DONE)
PASS: Final = codec.array_head(1) + codec.uint(Ask.PASS)
ROOM: Final = codec.array_head(1) + codec.uint(Answer.ROOM)


def encode_done(request: int, value: bytes) -> bytes:
    """Encode a reply; `value` is encoded already."""
    return _DONE + codec.uint(request) + value


def encode_failed(request: int, failure: bytes) -> bytes:
    """Encode what a handler has raised; `failure` is encoded already."""
    return _head(3, Answer.FAILED, request) + failure


def encode_busy(request: int) -> bytes:
    """Encode that there was no room for a request."""
    return _head(2, Answer.BUSY, request)


def encode_cancelled(request: int, *, is_clean: bool) -> bytes:
    """Encode that a request was stopped."""
    return _head(3, Answer.CANCELLED, request) + (_TRUE if is_clean else _FALSE)


def encode_gone(request: int, reason: str) -> bytes:
    """Encode that the channel which ran a request was closed."""
    text = reason.encode()
    return _head(3, Answer.GONE, request) + codec.text_head(len(text)) + text


# How the bodies of packages begin that carry one request, or one reply.
_ONE_CALL: Final = codec.array_head(1) + _CALL
_ONE_REPLY: Final = codec.array_head(1) + _DONE
_WITH_DEADLINE: Final = b"\xfb"

_ASK_LENGTHS: Final = {Ask.CALL: 5, Ask.CANCEL: 2, Ask.PASS: 1}
_ANSWER_LENGTHS: Final = {
    Answer.DONE: 3,
    Answer.FAILED: 3,
    Answer.BUSY: 2,
    Answer.ROOM: 1,
    Answer.CANCELLED: 3,
    Answer.GONE: 3,
}


def read_plain_call(body: bytes) -> Call | None:
    """Read the body of a package if all that it carries is one request with plain arguments, and without keywords and a stream.

    None if it is anything else: then it has to be scanned and decoded as any other, and checked by `check_ask`.
    """
    if not body.startswith(_ONE_CALL):
        return None
    number = decode_plain(body, len(_ONE_CALL), 1)
    if number is None:
        return None
    (request,), position = number
    seconds: float | None = None
    if body.startswith(_WITH_DEADLINE, position):
        ((seconds,), position) = decode_plain(body, position, 1) or ((-1.0,), position)
    if not body.startswith(b"\xf6\x83" if seconds is not None else b"\xf6\xf6\x83", position):
        return None
    position += 2 if seconds is not None else 3
    size = (body[position] if position < len(body) else 0) - 0x60  # of the method's name, if that is short
    arguments_at = position + 1 + size
    if not 0 < size < 24 or arguments_at >= len(body):
        return None
    count = body[arguments_at] - 0x80
    content = decode_plain(body, arguments_at + 1, count) if 0 <= count < 24 else None
    if content is None or body[content[1] :] != b"\xa0":
        return None
    try:
        method = body[position + 1 : arguments_at].decode()
    except UnicodeDecodeError:
        return None
    is_right = type(request) is int and 0 <= request < MAX_SEQUENCE and (seconds is None or seconds >= 0)
    return Call(request, seconds, None, method, content[0], {}) if is_right else None


def read_plain_reply(body: bytes) -> tuple[int, Any] | None:
    """Read the body of a package if all that it carries is that a handler has returned a plain value: the request and the value.

    None if it is anything else: then it has to be scanned and decoded as any other, and checked by `check_answer`.
    """
    fields = decode_plain(body, 3, 2) if body.startswith(_ONE_REPLY) else None
    if fields is None:
        return None
    (request, value), end = fields
    return (request, value) if end == len(body) and type(request) is int and 0 <= request < MAX_SEQUENCE else None


def check_ask(message: object) -> list[Any]:
    """Check what a requester says; gives it as it is, but for a request, whose last field becomes a `Call`.

    Raises:
        ProtocolError: It is nothing that a requester says.
    """
    fields = _check(message, _ASK_LENGTHS, "a requester")
    if fields[0] == Ask.CALL:
        _, request, seconds, stream, body = fields
        if seconds is not None and (type(seconds) is not float or not seconds >= 0):
            raise ProtocolError(f"a request leaves {shown(seconds, 40)} seconds")
        if type(body) is not list or len(body) != 3:
            raise ProtocolError(f"a request without method and arguments: {shown(body)}")
        method, arguments, keywords = body
        if type(method) is not str or len(method) > MAX_METHOD:
            raise ProtocolError(f"a request names no method: {shown(method)}")
        if type(arguments) is not list or type(keywords) is not dict:
            raise ProtocolError(f"the arguments of a request are wrong: {shown(body)}")
        if not all(type(name) is str for name in keywords):
            raise ProtocolError(f"the keywords of a request are wrong: {shown(keywords)}")
        return [Ask.CALL, Call(request, seconds, stream, method, arguments, keywords)]
    return fields


def check_answer(message: object) -> list[Any]:
    """Check what a replier says; gives it as it is.

    Raises:
        ProtocolError: It is nothing that a replier says.
    """
    fields = _check(message, _ANSWER_LENGTHS, "a replier")
    kind = fields[0]
    if kind == Answer.CANCELLED and type(fields[2]) is not bool:
        raise ProtocolError(f"a request was stopped in a way that makes no sense: {shown(fields[2], 40)}")
    if kind == Answer.GONE and type(fields[2]) is not str:
        raise ProtocolError(f"a request is gone for no reason: {shown(fields[2], 40)}")
    return fields


def _check(message: object, lengths: dict[Any, int], who: str) -> list[Any]:
    if type(message) is not list or not message or type(message[0]) is not int:
        raise ProtocolError(f"{who} says nothing that makes sense: {shown(message)}")
    expected = lengths.get(message[0])
    if expected != len(message):
        raise ProtocolError(f"{who} says {shown(message)}")
    if expected > 1 and not (type(message[1]) is int and 0 <= message[1] < MAX_SEQUENCE):
        raise ProtocolError(f"{who} names no request: {shown(message)}")
    return message
