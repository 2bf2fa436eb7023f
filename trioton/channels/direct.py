"""One-to-one channels: a pair whose sending end may travel to another context."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar, overload

from .._arguments import check_count
from ..network.receiving.claims import DIRECT_PREFIX
from ..network.receiving.subscription import Subscription
from ..protocol.policies import MAX_SIZE, Block
from .base import check_context
from .messages import OBJECT, MessageType, as_message_type
from .receiving import ReceivingEnd
from .sending import SendingEnd

if TYPE_CHECKING:
    from ..network.context import Context

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
T_contra = TypeVar("T_contra", contravariant=True)

PATTERN: Final = "one"
HANDLE_BITS: Final = 96
BEFORE_GRANT: Final = 64
"""Messages that a sending end which has just arrived takes before the receiver has said how much room it has."""


class Sender(SendingEnd[T_contra]):
    """The sending end of a one-to-one channel; made by `open_channel`.

    It may travel inside an OBJECT message, however far, and works wherever it arrives. Once it has travelled, it is the end that arrived which ends the
    channel, not this one. Closing the end that holds the channel gives the receiver `trio.EndOfChannel` after the last message.
    `send` raises `trio.BrokenResourceError` when the receiver is closed or its context is gone; ``__cause__`` is a `DeadError`.

    Send it to one receiver. If it reaches several contexts, that one has the channel whose message or end comes first: in all others
    `send` raises `trio.BrokenResourceError`, at their first message or at the next. Pass it on before you send on it, not later.
    If nobody listens to the message that it is in, it has not travelled; a closed one cannot be sent.
    """

    def __init__(self, context: Context, slot: str, message_type: MessageType[Any], destination: bytes) -> None:
        self._slot = slot
        self._destination = destination
        self._has_travelled = False
        outlet = context._traffic.lives.open(slot, destination=destination)
        outlet.backlog_size = BEFORE_GRANT
        super().__init__(context, message_type, outlet)
        if destination == context._wire_id:
            context._traffic.local.add(outlet)
        else:
            association = context._associations.seek(destination)
            if association is None:
                outlet.die("no route to the context that it is addressed to")
            else:
                context._traffic.branches.offer_direct(outlet, association)

    def _reference(self) -> list[object]:
        """What travels in its place: the receiver's context and the slot."""
        return [self._destination, self._slot]

    def _has_left(self) -> None:
        """A message with the reference was accepted: from now on it is the end that arrives which ends the channel."""
        self._has_travelled = True
        self._dispatcher.cut()
        self._context._traffic.claims.release(self._slot)

    def _close_end(self) -> None:
        if self._has_travelled and not self._closed:
            self._closed = True
            self._settle()
            self._outlet.abandon_waiting(self)
            self._context._traffic.lives.drop(self._outlet)
        else:
            super()._close_end()

    def __repr__(self) -> str:
        state = ", closed" if self._closed else ""
        return f"<Sender {self._slot!r} of {self._context}{state}>"


class Receiver(ReceivingEnd[T_co]):
    """The receiving end of a one-to-one channel; made by `open_channel`. An async context manager and an async iterator.

    `receive` raises `trio.EndOfChannel` when the sending end was closed and all has been received, and `trio.BrokenResourceError` when
    the context that held the sending end is gone; ``__cause__`` is a `DeadError` then.
    """

    def __init__(self, context: Context, slot: str, message_type: MessageType[Any], size: int) -> None:
        self._slot = slot
        subscription = Subscription(context._traffic.listening, slot, Block(size))
        context._traffic.listening.add(subscription)
        super().__init__(context, message_type, subscription)

    def __repr__(self) -> str:
        state = "closed" if self.closed else "ended" if self._subscription.is_over else f"{self.pending} pending"
        return f"<Receiver {self._slot!r} of {self._context}, {state}>"


@overload
def open_channel(ctx: Context, *, size: int = ...) -> tuple[Sender[Any], Receiver[Any]]: ...


@overload
def open_channel(
    ctx: Context, message_type: MessageType[T] | type[MessageType[T]], *, size: int = ...
) -> tuple[Sender[T], Receiver[T]]: ...


def open_channel(ctx: Context, message_type: Any = OBJECT, *, size: int = 256) -> tuple[Sender[Any], Receiver[Any]]:
    """Make a one-to-one channel with back-pressure.

    The sending end goes to one receiver: see `Sender`. For many workers, let each send a sending end of its own in a message.
    The receiver cannot know that nobody will ever send: if the message that carries the sending end is dropped on its way by a policy, or
    its copy is forgotten without being closed, `receive` waits until that context is gone. Use `trio.fail_after` where that may be.

    Args:
        ctx: The context that receives.
        message_type: What the messages are, `OBJECT` by default. The sending end can travel only if this is TEXT, BINARY or OBJECT.
        size: Messages that may wait at the receiver.

    Returns:
        The sending end, which may travel inside an OBJECT message, and the receiving end, which stays here.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: `size` is out of range.
        trio.ClosedResourceError: The context was closed.
    """
    context = check_context(ctx)
    type_ = as_message_type(message_type)
    check_count("size", size, 1, MAX_SIZE)
    context._check_open()
    handle = context._network.random.getrandbits(HANDLE_BITS)
    slot = f"{DIRECT_PREFIX}{handle:024x}.{type_.name}.{PATTERN}"
    receiver: Receiver[Any] = Receiver(context, slot, type_, size)
    return Sender(context, slot, type_, context._wire_id), receiver


from .references import register  # noqa: E402

register(Sender)
