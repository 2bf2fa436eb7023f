"""How the sending end of a channel travels inside a message: as a tagged reference to the context and slot where it leads."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from ..errors import MessageTypeError, ProtocolError
from ..network.receiving.reception import SENDER_TAG
from ..protocol.identity import ID_BYTES
from .messages import BINARY, OBJECT, TEXT, MessageType

if TYPE_CHECKING:
    from ..network.context import Context
    from .direct import Sender

_TRAVELLING_TYPES: Final[dict[str, MessageType[Any]]] = {each.name: each for each in (TEXT, BINARY, OBJECT)}
_SLOT: Final = re.compile(r"~[0-9a-f]{24}\.([a-z]+)\.one")


class _EncodeExtra(dict[type, Callable[[Any], tuple[int, object]]]):
    """The types that travel as references. The class of `Sender` is filled in when its module is loaded."""


def _encode_sender(sender: Sender[Any]) -> tuple[int, object]:
    if sender.closed:
        raise MessageTypeError(f"{sender!r} cannot be sent")
    if sender._type.name not in _TRAVELLING_TYPES or sender._type is not _TRAVELLING_TYPES[sender._type.name]:
        raise MessageTypeError(f"{sender!r} cannot travel: its message type is none of TEXT, BINARY and OBJECT")
    leaving.append(sender)
    return SENDER_TAG, sender._reference()


leaving: Final[list[Sender[Any]]] = []
"""The sending ends in the message that was encoded last; whoever encodes takes them out, and tells them when the message is sent."""


def take_leaving() -> list[Sender[Any]]:
    """The sending ends that leave with the message that was just encoded."""
    if not leaving:
        return []
    ends = leaving.copy()
    leaving.clear()
    return ends


ENCODE_EXTRA: Final = _EncodeExtra()


def decode_extra(context: Context) -> Mapping[int, Callable[[Any], object]]:
    """What makes sending ends of a context out of the references that come to it."""

    def make_sender(content: object) -> object:
        from .direct import Sender  # direct.py needs this module

        if not isinstance(content, (list, tuple)) or len(content) != 2:
            raise ProtocolError("a reference to a channel must be an array of two")
        destination, slot = content
        if type(destination) is not bytes or len(destination) != ID_BYTES or type(slot) is not str:
            raise ProtocolError("a reference to a channel names no context and slot")
        match = _SLOT.fullmatch(slot)
        if match is None or match[1] not in _TRAVELLING_TYPES:
            raise ProtocolError(f"a reference to a channel names the slot {slot!r:.60}")
        return Sender(context, slot, _TRAVELLING_TYPES[match[1]], destination)

    return {SENDER_TAG: make_sender}


def register(sender_class: type[Sender[Any]]) -> None:
    """Let the sending ends of channels travel."""
    ENCODE_EXTRA[sender_class] = _encode_sender
