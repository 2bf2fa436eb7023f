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


@attrs.frozen
class Block:
    """Publishers wait while `size` messages wait here: nothing is ever lost.

    `size` counts over all publishers together, with at least one message for each.
    """

    size: int = attrs.field(default=1024, validator=_size)
    mode = Mode.BLOCK


@attrs.frozen
class DropOldest:
    """The newest `size` messages are kept; publishers never wait."""

    size: int = attrs.field(validator=_size)
    mode = Mode.DROP_OLDEST


@attrs.frozen
class DropNewest:
    """What comes while `size` messages wait is dropped; publishers never wait."""

    size: int = attrs.field(validator=_size)
    mode = Mode.DROP_NEWEST


@attrs.frozen
class Latest:
    """Only the newest message is kept; publishers never wait."""

    size: int = attrs.field(default=1, init=False, repr=False)
    mode = Mode.DROP_OLDEST


@attrs.frozen
class Disconnect:
    """When more than `size` messages would wait, the subscription ends after the first `size` of them."""

    size: int = attrs.field(validator=_size)
    mode = Mode.DROP_NEWEST


Policy = Block | DropOldest | DropNewest | Latest | Disconnect
"""The policy of a subscription."""
