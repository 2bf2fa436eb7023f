"""How channels and contexts travel inside a message: as tagged references, of which the receiver makes something that works there.

* The sending end of a one-to-one channel: the context and slot where it leads. It arrives as such an end.
* A channel that pushes: its slot. It arrives as a channel of the receiver's context that pushes on that slot.
* A context, or what is known of one: its identity. It arrives as a `ContextInfo`.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from ..errors import MessageTypeError, ProtocolError
from ..network.context import Context
from ..network.peer import ContextInfo
from ..network.receiving.reception import CONTEXT_TAG, PUSHER_TAG, SENDER_TAG
from ..protocol.identity import ID_BYTES, ContextId
from .messages import BINARY, OBJECT, TEXT, MessageType

if TYPE_CHECKING:
    from .direct import Sender
    from .pipeline.push import PushChannel

_TRAVELLING_TYPES: Final[dict[str, MessageType[Any]]] = {each.name: each for each in (TEXT, BINARY, OBJECT)}
_SLOT: Final = re.compile(r"~[0-9a-f]{24}\.([a-z]+)\.one")
_PUSH_SLOT: Final = re.compile(r"(?s)(.+)\.([a-z]+)\.push-pull")
_MOST_PID: Final = 1 << 62


class _EncodeExtra(dict[type, Callable[[Any], tuple[int, object]]]):
    """The types that travel as references. Those of channels are filled in when their modules are loaded."""


def _encode_sender(sender: Sender[Any]) -> tuple[int, object]:
    _check_travels(sender)
    leaving.ends.append(sender)
    return SENDER_TAG, sender._reference()


def _encode_pusher(channel: PushChannel[Any]) -> tuple[int, object]:
    _check_travels(channel)
    return PUSHER_TAG, channel.slot


def _check_travels(channel: Sender[Any] | PushChannel[Any]) -> None:
    if channel.closed:
        raise MessageTypeError(f"{channel!r} cannot be sent")
    if channel._type.name not in _TRAVELLING_TYPES or channel._type is not _TRAVELLING_TYPES[channel._type.name]:
        raise MessageTypeError(f"{channel!r} cannot travel: its message type is none of TEXT, BINARY and OBJECT")


def _encode_context(context: Context) -> tuple[int, object]:
    return CONTEXT_TAG, [context._wire_id, context.name, context._network.pid]


def _encode_info(info: ContextInfo) -> tuple[int, object]:
    return CONTEXT_TAG, [info.id.to_wire(), info.name, info.pid]


class _Leaving(threading.local):
    """What leaves with a message, in each thread that runs Trio."""

    def __init__(self) -> None:
        self.ends: list[Sender[Any]] = []


leaving: Final = _Leaving()
"""The sending ends in the message that was encoded last; whoever encodes takes them out, and tells them when the message is sent."""


def forget_leaving() -> None:
    """Before a message is encoded: what was in one that failed does not leave."""
    if leaving.ends:
        leaving.ends = []


def take_leaving() -> list[Sender[Any]]:
    """The sending ends that leave with the message that was just encoded."""
    ends = leaving.ends
    if ends:
        leaving.ends = []
        return ends
    return []


ENCODE_EXTRA: Final = _EncodeExtra({Context: _encode_context, ContextInfo: _encode_info})


def decode_extra(context: Context) -> Mapping[int, Callable[[Any], object]]:
    """What a context makes of the references that come to it."""

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

    def make_pusher(content: object) -> object:
        from .pipeline.push import PushChannel

        match = _PUSH_SLOT.fullmatch(content) if type(content) is str else None
        if match is None or match[2] not in _TRAVELLING_TYPES:
            raise ProtocolError(f"a reference to a channel that pushes names the slot {content!r:.60}")
        try:
            return PushChannel._arrived(context, match[1], _TRAVELLING_TYPES[match[2]])
        except ValueError as error:
            raise ProtocolError(f"a reference to a channel that pushes: {error}") from None

    def make_info(content: object) -> object:
        if not isinstance(content, (list, tuple)) or len(content) != 3:
            raise ProtocolError("a reference to a context must be an array of three")
        wire_id, name, pid = content
        if type(wire_id) is not bytes or len(wire_id) != ID_BYTES or type(name) is not str:
            raise ProtocolError("a reference to a context has no identity and name")
        if type(pid) is not int or not 0 <= pid < _MOST_PID:
            raise ProtocolError(f"a reference to a context names the process {pid!r:.60}")
        id_ = ContextId.from_wire(wire_id)
        hops = next((each.hops for each in context.contexts if each.id == id_), 0)
        return ContextInfo(id=id_, name=name, pid=pid, hops=hops)

    return {SENDER_TAG: make_sender, PUSHER_TAG: make_pusher, CONTEXT_TAG: make_info}


def register(sender_class: type[Sender[Any]]) -> None:
    """Let the sending ends of channels travel."""
    ENCODE_EXTRA[sender_class] = _encode_sender


def register_pusher(channel_class: type[PushChannel[Any]]) -> None:
    """Let channels that push travel."""
    ENCODE_EXTRA[channel_class] = _encode_pusher


def run_decoder(context: Context) -> Callable[[bytes], list[Any]]:
    """What decodes the runs that come to a context: `values.decode_run`, with what becomes of the references in them.

    If a run makes no sense, the sending ends that had been made of it are let go of.
    """
    from ..protocol import values  # it takes a while to import, and TEXT and BINARY do without

    made: list[object] = []

    def noting(make: Callable[[Any], object]) -> Callable[[Any], object]:
        def make_and_note(content: Any) -> object:
            value = make(content)
            made.append(value)
            return value

        return make_and_note

    decoders = values.prepare_decoders({tag: noting(make) for tag, make in decode_extra(context).items()})

    def decode(body: bytes) -> list[Any]:
        try:
            return values.decode_run(body, decode_extra=decoders)
        except ProtocolError:
            let_go(made)
            raise
        finally:
            made.clear()

    return decode


def let_go(message: object) -> None:
    """Nobody gets a message here. The sending ends in it must not end their channels, since others may get it, too."""
    from .direct import Sender

    if isinstance(message, Sender):
        message._has_left()
        message.close()
    elif isinstance(message, dict):
        for each in message.values():
            let_go(each)
    elif isinstance(message, (list, tuple, set, frozenset)):
        for each in message:
            let_go(each)
