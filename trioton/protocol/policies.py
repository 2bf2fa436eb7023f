"""What a subscription does when messages come faster than they are taken."""

from __future__ import annotations

import enum
from typing import Final

import attrs

MAX_SIZE: Final = 1 << 31


class Mode(enum.IntEnum):
    """How a subscription looks from the outside, to its publishers and to routers."""

    BLOCK = 0
    DROP_OLDEST = 1
    DROP_NEWEST = 2


def _size(instance: object, _attribute: attrs.Attribute[int], value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{type(instance).__name__} takes a number of messages, not {value!r}")
    if not 1 <= value <= MAX_SIZE:
        raise ValueError(f"{type(instance).__name__} takes 1 to {MAX_SIZE} messages, not {value!r}")


# The policies are plain subclasses: each class that attrs builds adds a third of a millisecond to the import.
@attrs.frozen
class _Sized:
    size: int = attrs.field(validator=_size)


class Block(_Sized):
    """Publishers wait while `size` messages wait here: nothing is ever lost.

    `size` counts over all publishers together, with at least one message for each.
    """

    __slots__ = ()
    mode = Mode.BLOCK

    def __init__(self, size: int = 1024) -> None:
        super().__init__(size)


class DropOldest(_Sized):
    """The newest `size` messages are kept; publishers never wait."""

    __slots__ = ()
    mode = Mode.DROP_OLDEST


class DropNewest(_Sized):
    """What comes while `size` messages wait is dropped; publishers never wait."""

    __slots__ = ()
    mode = Mode.DROP_NEWEST


class Latest(_Sized):
    """Only the newest message is kept; publishers never wait."""

    __slots__ = ()
    mode = Mode.DROP_OLDEST

    def __init__(self) -> None:
        super().__init__(1)

    def __repr__(self) -> str:
        return "Latest()"


class Disconnect(_Sized):
    """The subscription ends when a message is lost for it: at the first that would have to wait behind `size` others, or that a link took with it."""

    __slots__ = ()
    mode = Mode.DROP_NEWEST


Policy = Block | DropOldest | DropNewest | Latest | Disconnect
"""The policy of a subscription."""
