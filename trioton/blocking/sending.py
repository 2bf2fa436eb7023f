"""Sending from plain threads: `PubChannel`, and the sending end of a one-to-one channel."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, overload

import trio

import trioton
from trioton import MessageTypeError

from .._arguments import check_count
from .base import Fronted, OnSlot
from .objects import holds_senders, unwrap_senders
from .outgoing import MAX_AHEAD, Outgoing, ready_type
from .portal import Deadline
from .receiving import Receiver

if TYPE_CHECKING:
    from .context import Context

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)

CHUNK: Final = 256
"""Messages that `send_many` hands to the loop at a time."""


class SendingEnd(Fronted, Generic[T_contra]):
    """What `PubChannel` and `Sender` have in common. Any number of threads may send; each waits its turn."""

    _outgoing: Outgoing | None = None

    def __init__(self, ctx: Context, channel: trioton.PubChannel[Any] | trioton.Sender[Any]) -> None:
        super().__init__(ctx, channel)
        self._channel: trioton.PubChannel[Any] | trioton.Sender[Any]

    def send(self, message: T_contra, timeout: float | None = None) -> None:
        """Send one message, when every blocking subscriber has room for it.

        Returned, the message has been accepted into the window of every blocking subscriber; a `PubChannel` with `ahead` says more.
        If it raises, the message was not sent.

        Args:
            message: The message.
            timeout: Seconds to wait for room; None waits for ever.

        Raises:
            TimeoutError: There was no room in time.
            trio.ClosedResourceError: The channel, or its context, was closed, before or while it waited.
            trio.BrokenResourceError: Nothing that is sent here can arrive any more.
            trioton.MessageTypeError: The message type cannot carry this message.
            ValueError: The message is larger than `trioton.Limits.max_package`.
            trioton.CongestedError: There was no room within the channel's `block_deadline`.
            KeyboardInterrupt: Ctrl-C, in the main thread, while it waited.
            ForkedError: The channel belongs to the parent of this process.
        """
        outgoing = self._outgoing
        if outgoing is not None and outgoing.put(message, timeout):
            return
        try:
            self._send_now(message, timeout)
        except MessageTypeError:
            if not holds_senders(message, Sender):
                raise
            self._send_now(unwrap_senders(message), timeout)

    def _send_now(self, message: Any, timeout: float | None) -> None:
        channel = self._channel
        self._loop.run(channel.send, message, timeout=timeout, first=channel.send_nowait)

    def send_nowait(self, message: T_contra) -> None:
        """Send one message if every blocking subscriber has room for it now; it asks the loop, which takes a moment.

        Raises:
            trio.WouldBlock: `send` would wait.
            trio.ClosedResourceError: As `send`; and so are the others there.
        """
        try:
            self.send(message, timeout=0)
        except TimeoutError:
            raise trio.WouldBlock from None

    def send_many(self, messages: Iterable[T_contra], timeout: float | None = None) -> None:
        """Send messages one after another, much faster than so many calls of `send`.

        If it raises, it has sent the first messages: as many as `statistics().sent` has grown by.

        Args:
            messages: The messages. What makes them, if it is a generator, runs in this thread.
            timeout: Seconds that all of them may take; None waits for ever.

        Raises:
            TimeoutError: There was no room for all of them in time.
            trio.ClosedResourceError: As `send`; and so are the others there.
            Exception: Whatever the iterable raises, when all that it gave before has been sent.
        """
        deadline = Deadline(timeout)
        iterator = iter(messages)
        failure: BaseException | None = None
        while failure is None:
            chunk: list[T_contra] = []
            try:
                chunk.extend(islice(iterator, CHUNK))
            except Exception as error:  # noqa: BLE001  # raised below
                failure = error
            if chunk:
                self._send_chunk(chunk, deadline)
            elif failure is None:
                return
        raise failure

    def _send_chunk(self, chunk: list[T_contra], deadline: Deadline) -> None:
        outgoing = self._outgoing
        if outgoing is not None:
            for message in chunk:
                self.send(message, deadline.left)
            return
        sent = self._loop.run_sync(self._channel.statistics).sent
        try:
            self._loop.run(self._channel.send_many, chunk, timeout=deadline.left)
        except MessageTypeError:
            if not any(holds_senders(message, Sender) for message in chunk):
                raise
            sent = self._loop.run_sync(self._channel.statistics).sent - sent
            for message in chunk[sent:]:
                self.send(message, deadline.left)

    def close(self, timeout: float | None = None) -> None:
        """Close, and wait until what was accepted has been written to the connections that are up, at most for the context's `grace`.

        Args:
            timeout: Seconds to wait, if that is less. The channel is closed all the same, and what was accepted still leaves.

        Raises:
            TimeoutError: Not all had been written in time.
        """
        self._close_within(timeout, self._close_in_loop)

    async def _close_in_loop(self) -> None:
        try:
            if self._outgoing is not None:
                await self._outgoing.wait_empty()
            await self._channel.aclose()
        finally:
            self._channel.close()
            self._context._forget(self)

    def statistics(self) -> trioton.SendStatistics:
        """What the channel has done so far."""
        return self._loop.run_sync(self._channel.statistics)


class PubChannel(OnSlot, SendingEnd[T_contra]):
    """Publishes messages on a slot; see `trioton.PubChannel`. A context manager, for any number of threads.

    Each `send` is a visit to the loop, some 50 microseconds. Many small messages go much faster with `send_many`, or, if they do not
    come together, with `ahead`: then `send` puts the message into a queue of the channel, from which the loop sends what has gathered,
    and waits only while the queue is full. The message counts as sent as far as `close` and `Context.flush` go, but it may be
    ahead of the room that subscribers have by that many messages; messages of two such channels may change places; and what goes wrong
    behind the queue (`trio.BrokenResourceError`, `trioton.CongestedError`, a message too large for a subscriber) is raised by
    the next `send`, or by `flush`.

    Args:
        ctx: The context.
        slot: What subscribers must name, too. Case does not matter.
        message_type: What the messages are; subscribers must use the same type.
        local: Whether subscriptions of the same context get the messages, too.
        backlog: Messages that wait for the first subscriber; 0 for none.
        block_deadline: Seconds after which a `send` that finds no room raises `trioton.CongestedError`; None waits for ever.
        ahead: Messages that `send` may be ahead of what the loop has sent, and 1 MiB of them; with 0 each `send` waits for its own.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: `slot` is no name, a number is out of range, or another channel of this context and slot has another `local`.
        trio.ClosedResourceError: The context was closed.
        ForkedError: The context belongs to the parent of this process.
    """

    @overload
    def __init__(
        self: PubChannel[str],
        ctx: Context,
        slot: str,
        *,
        local: bool = ...,
        backlog: int = ...,
        block_deadline: float | None = ...,
        ahead: int = ...,
    ) -> None: ...

    @overload
    def __init__(
        self,
        ctx: Context,
        slot: str,
        message_type: trioton.MessageType[T_contra] | type[trioton.MessageType[T_contra]],
        *,
        local: bool = ...,
        backlog: int = ...,
        block_deadline: float | None = ...,
        ahead: int = ...,
    ) -> None: ...

    def __init__(
        self,
        ctx: Context,
        slot: str,
        message_type: Any = trioton.TEXT,
        *,
        local: bool = False,
        backlog: int = 1000,
        block_deadline: float | None = None,
        ahead: int = 0,
    ) -> None:
        check_count("ahead", ahead, 0, MAX_AHEAD)
        inner = ctx._check()
        type_ = ready_type(message_type) if ahead else message_type

        def make() -> trioton.PubChannel[Any]:
            return trioton.PubChannel(inner, slot, type_, local=local, backlog=backlog, block_deadline=block_deadline)

        channel = ctx._loop.run_sync(make, undo=trioton.PubChannel.close)
        super().__init__(ctx, channel)
        self._pub = channel
        if ahead:
            self._outgoing = Outgoing(ctx._loop, channel, type_, ahead)
            ctx._remember(self)

    @property
    def subscribers(self) -> int:
        """Subscriptions in other contexts, neighbours or not, that get what is sent now."""
        return self._loop.run_sync(lambda: self._pub.subscribers)

    def wait_subscribers(self, count: int = 1, timeout: float | None = None) -> None:
        """Wait until at least `count` subscriptions in other contexts, neighbours or not, get what is sent.

        Args:
            count: How many.
            timeout: Seconds to wait; None waits for ever.

        Raises:
            TimeoutError: There were fewer all the time.
            TypeError: `count` is not an int.
            ValueError: It is negative.
            trio.ClosedResourceError: The channel or its context was closed.
        """
        self._loop.run(self._pub.wait_subscribers, count, timeout=timeout)


class Sender(SendingEnd[T_contra]):
    """The sending end of a one-to-one channel; made by `open_channel`, or come inside an OBJECT message. See `trioton.Sender`."""

    def __init__(self, ctx: Context, channel: trioton.Sender[Any]) -> None:
        super().__init__(ctx, channel)
        self._sender = channel

    def __repr__(self) -> str:
        return f"<blocking {self._channel!r}>"


@overload
def open_channel(ctx: Context, *, size: int = ...) -> tuple[Sender[Any], Receiver[Any]]: ...


@overload
def open_channel(
    ctx: Context, message_type: trioton.MessageType[T] | type[trioton.MessageType[T]], *, size: int = ...
) -> tuple[Sender[T], Receiver[T]]: ...


def open_channel(
    ctx: Context, message_type: Any = trioton.OBJECT, *, size: int = 256
) -> tuple[Sender[Any], Receiver[Any]]:
    """Make a one-to-one channel with back-pressure; see `trioton.open_channel`.

    Args:
        ctx: The context that receives.
        message_type: What the messages are, `trioton.OBJECT` by default.
        size: Messages that may wait at the receiver; the receiver may have as many more at hand.

    Returns:
        The sending end, which may travel inside an OBJECT message, and the receiving end, which stays here.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: `size` is out of range.
        trio.ClosedResourceError: The context was closed.
        ForkedError: The context belongs to the parent of this process.
    """
    inner = ctx._check()

    def make() -> tuple[trioton.Sender[Any], trioton.Receiver[Any]]:
        return trioton.open_channel(inner, message_type, size=size)

    sender, receiver = ctx._loop.run_sync(make, undo=_close_both)
    return Sender(ctx, sender), Receiver(ctx, receiver, may_hold_senders=message_type is trioton.OBJECT)


def _close_both(ends: tuple[trioton.Sender[Any], trioton.Receiver[Any]]) -> None:
    for end in ends:
        end.close()
