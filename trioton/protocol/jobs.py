"""Jobs: what travels between those who push jobs and those who pull them, as OBJECT messages on addressed slots.

A puller's context listens on the slot itself, and says by the size of that interest how many jobs it may have at once. What is sent to
it is addressed::

    [JOB, number, refused, again, message]    do this. Each time that a job is sent it has another, larger number
    [PASS]                                    there is nothing to send into the room that was kept

and it answers, to the pusher's context::

    [DONE, number, room, heard]               it is done
    [BACK, number, room, heard, started]      it was given back; whether anybody had seen it
    [BUSY, number, room, heard]               not taken, since there is no room
    [ROOM, room, heard]                       there is room now
    [WAITS, number]                           taken, and waits there until somebody asks
    [STARTED, number]                         somebody has got it who had to be waited for
    [FAILED, number, room, heard, reason]     the message made no sense there
    [LEAVES, heard]                           nothing more is taken here, and nothing behind that number was

``room`` is how many jobs may be sent now, where all up to number ``heard`` have come; those behind it are to be subtracted. ``refused``
is the largest number of which the pusher knows that it was turned away there: what was sent before it knew is turned away as well, so
that jobs do not overtake each other.
"""

from __future__ import annotations

import enum
from typing import Any, Final, NamedTuple

from ..errors import ProtocolError
from . import codec
from .packages import MAX_SEQUENCE
from .shown import shown


class Push(enum.IntEnum):
    """What a pusher says."""

    JOB = 0
    PASS = 1


class Pull(enum.IntEnum):
    """What a puller says."""

    DONE = 0
    BACK = 1
    BUSY = 2
    ROOM = 3
    WAITS = 4
    STARTED = 5
    FAILED = 6
    LEAVES = 7


class Job(NamedTuple):
    """A job that has come."""

    number: int
    refused: int
    again: bool
    message: Any


class Answer(NamedTuple):
    """What a puller says. What its kind does not have is 0, False or empty."""

    kind: Pull
    number: int = 0
    room: int = 0
    heard: int = 0
    started: bool = False
    reason: str = ""


_TRUE, _FALSE = b"\xf5", b"\xf4"


def job_head(number: int, refused: int, *, again: bool) -> bytes:
    """Encode all of a job that stands in front of its message."""
    return codec.array_head(5) + b"".join(map(codec.uint, (Push.JOB, number, refused))) + (_TRUE if again else _FALSE)


MAX_HEAD: Final = len(job_head(MAX_SEQUENCE, MAX_SEQUENCE, again=True))
"""Bytes that stand in front of a message at most."""

PASS: Final = codec.array_head(1) + codec.uint(Push.PASS)

# Where each kind of answer has which fields, behind its kind.
_FIELDS: Final[dict[int, tuple[str, ...]]] = {
    Pull.DONE: ("number", "room", "heard"),
    Pull.BACK: ("number", "room", "heard", "started"),
    Pull.BUSY: ("number", "room", "heard"),
    Pull.ROOM: ("room", "heard"),
    Pull.WAITS: ("number",),
    Pull.STARTED: ("number",),
    Pull.FAILED: ("number", "room", "heard", "reason"),
    Pull.LEAVES: ("heard",),
}


def encode_answer(answer: Answer) -> bytes:
    """Encode what a puller says."""
    names = _FIELDS[answer.kind]
    parts = [codec.array_head(1 + len(names)), codec.uint(answer.kind)]
    for name in names:
        value = getattr(answer, name)
        if name == "started":
            parts.append(_TRUE if value else _FALSE)
        elif name == "reason":
            text = value.encode(errors="replace")
            parts += [codec.text_head(len(text)), text]
        else:
            parts.append(codec.uint(value))
    return b"".join(parts)


def check_push(message: object) -> Job | None:
    """Check what a pusher says; gives the job, or None if it passes on its room.

    Raises:
        ProtocolError: It is nothing that a pusher says.
    """
    if type(message) is list and message and type(message[0]) is int:
        if message[0] == Push.PASS and len(message) == 1:
            return None
        if message[0] == Push.JOB and len(message) == 5:
            job = Job(*message[1:])
            if _is_number(job.number) and _is_number(job.refused) and type(job.again) is bool:
                return job
    raise ProtocolError(f"a pusher says {shown(message)}")


def check_pull(message: object) -> Answer:
    """Check what a puller says.

    Raises:
        ProtocolError: It is nothing that a puller says.
    """
    if type(message) is list and message and type(message[0]) is int and message[0] in _FIELDS:
        names = _FIELDS[message[0]]
        if len(message) == 1 + len(names) and all(map(_fits, names, message[1:])):
            return Answer(Pull(message[0]), **dict(zip(names, message[1:], strict=True)))
    raise ProtocolError(f"a puller says {shown(message)}")


def _fits(name: str, value: object) -> bool:
    if name == "started":
        return type(value) is bool
    return type(value) is str if name == "reason" else _is_number(value)


def _is_number(value: object) -> bool:
    return type(value) is int and 0 <= value < MAX_SEQUENCE
