"""Receiving in plain threads: `SubChannel`, the receiving end of a one-to-one channel, `merge`, and events."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, overload

import trio

import trioton
from trioton import Block, MessageDecodeError, Policy

from .._arguments import check_count
from .objects import holds_senders, wrap_senders
from .source import Failure, Fetch, Source

if TYPE_CHECKING:
    from .context import Context
    from .portal import Loop

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

MOST_MERGED: Final = 256
"""Messages that the loop brings to a merge at once."""

LONGEST_GATHERING: Final = 0.01
"""Seconds that it may take to bring the others that came with the first."""


class ReceivingEnd(Source[T_co], Generic[T_co]):
    """What `SubChannel` and `Receiver` have in common. Any number of threads may receive; each message goes to one of them."""

    def __init__(
        self, ctx: Context, channel: trioton.SubChannel[Any] | trioton.Receiver[Any], *, reads_ahead: bool
    ) -> None:
        super().__init__(ctx._loop)
        self._context = ctx
        self._channel = channel
        self._reads_ahead = reads_ahead
        self._may_hold_senders = False
        self._merges: set[Merge] = set()
        """Merges that may have messages of this channel at hand."""

    def _reclaim(self, for_merge: Merge | None = None) -> bool:
        """Take back what merges have at hand, but for one that asks itself: who reads from the channel gets it, and in its order."""
        with self._lock:
            merges = self._merges - {for_merge}
            self._merges -= merges
        for merged in merges:
            with merged._lock, self._lock:
                mine = [pair[1] for pair in merged._ready if type(pair) is tuple and pair[0] is self]
                rest = deque([pair for pair in merged._ready if type(pair) is not tuple or pair[0] is not self])
                # These two are no calls, so Ctrl-C cannot come between them.
                merged._ready = rest
                self._ready += mine
        return bool(self._ready)

    def _at_hand(self) -> int:
        """Messages that the loop has brought already, to this channel or to a merge."""
        in_merges = 0
        for merged in list(self._merges):
            with merged._lock:
                in_merges += sum([type(pair) is tuple and pair[0] is self for pair in merged._ready])
        return len(self._ready) + in_merges

    def _most(self) -> int | None:
        return None if self._reads_ahead else 1

    def _take_nowait(self, most: int | None) -> list[Any]:
        if most is None:
            return self._wrap(self._channel.receive_all_nowait() or [self._channel.receive_nowait()])
        messages = [self._channel.receive_nowait()]
        try:
            while len(messages) < most:
                messages.append(self._channel.receive_nowait())
        except trio.WouldBlock:
            pass
        except Exception as error:  # noqa: BLE001  # whoever comes to it gets it
            messages.append(Failure(error))
        return self._wrap(messages)

    async def _take(self, most: int | None) -> list[Any]:
        if most == 1:
            return self._wrap([await self._channel.receive()])
        return self._wrap(await self._channel.receive_many(most))

    def _wrap(self, messages: list[Any]) -> list[Any]:
        """Give sending ends that came in messages the form that threads can use."""
        if self._may_hold_senders:
            for index, message in enumerate(messages):
                if holds_senders(message, trioton.Sender):
                    messages[index] = wrap_senders(self._context, message)
        return messages

    def _close_in_loop(self) -> None:
        self._channel.close()

    @property
    def closed(self) -> bool:
        """Whether the channel was closed here."""
        return self._channel.closed

    @property
    def pending(self) -> int:
        """Messages that wait to be received."""
        waiting = self._loop.run_sync(lambda: self._channel.pending)
        return waiting + self._at_hand()

    def receive(self, timeout: float | None = None) -> T_co:
        """Receive the next message.

        Args:
            timeout: Seconds to wait; None waits for ever.

        Raises:
            TimeoutError: None came in time, and none was taken.
            trio.ClosedResourceError: The channel was closed here, before or while it waited.
            trio.EndOfChannel: Nothing more will come, and all that came has been received.
            trio.BrokenResourceError: A `trioton.Disconnect` policy has ended the subscription, or the context of the `Sender` is gone.
            trioton.MessageDecodeError: The message type made no sense of this message; the next call goes on with the next one.
            KeyboardInterrupt: Ctrl-C, in the main thread; no message was taken.
            ForkedError: The channel belongs to the parent of this process.
        """
        return super().receive(timeout)

    def receive_many(self, max: int | None = None, timeout: float | None = None) -> list[T_co]:  # noqa: A002
        """Wait until at least one message is there, and receive all that are, or at most `max`.

        Args:
            max: The most messages to give; None for any number.
            timeout: Seconds to wait; None waits for ever.

        Raises:
            ValueError: `max` is below 1.
            TimeoutError: None came in time, and none was taken.
            trio.ClosedResourceError: As `receive`; and so are the others there. `trioton.MessageDecodeError` is raised only if the
                message that made no sense would be the first.
        """
        if max is not None:
            check_count("max", max)
        return self._give_out(timeout, max, None if self._reads_ahead else max)

    def receive_all_nowait(self) -> list[T_co]:
        """Receive all that is there; an empty list if nothing is.

        Raises:
            trio.ClosedResourceError: The channel was closed here.
            trioton.MessageDecodeError: As `receive_many`.
        """
        messages: list[T_co] = []
        try:
            while True:
                messages += self._give_out(0, None, None)
        except (TimeoutError, trio.EndOfChannel, trio.BrokenResourceError):
            return messages
        except MessageDecodeError as error:
            if messages:
                self._give_back([Failure(error)])
                return messages
            raise
        except BaseException:
            self._give_back(messages)
            raise

    def statistics(self) -> trioton.ReceiveStatistics:
        """What the channel has done so far. What this side has taken, and no thread has received yet, counts as pending."""
        numbers = self._loop.run_sync(self._channel.statistics)
        ready = self._at_hand()
        return numbers._replace(taken=numbers.taken - ready, pending=numbers.pending + ready)


class SubChannel(ReceivingEnd[T_co]):
    """Receives what is published on a slot; see `trioton.SubChannel`. A context manager and an iterator, for any number of threads.

    Under `trioton.Block` the loop brings all that waits when a thread asks for one message, so that the next ones are at hand: up to
    twice the policy's number may wait here. Under all other policies each `receive` asks the loop, so that what is dropped, and what
    is the latest, is decided when a message is received; `receive_many` is the faster way there.

    Args:
        ctx: The context.
        slot: What publishers name, too. Case does not matter.
        message_type: What the messages are; publishers must use the same type.
        policy: What happens when messages come faster than they are received.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: `slot` is no name.
        trio.ClosedResourceError: The context was closed.
        ForkedError: The context belongs to the parent of this process.
    """

    @overload
    def __init__(self: SubChannel[str], ctx: Context, slot: str, *, policy: Policy = ...) -> None: ...

    @overload
    def __init__(
        self,
        ctx: Context,
        slot: str,
        message_type: trioton.MessageType[T_co] | type[trioton.MessageType[T_co]],
        *,
        policy: Policy = ...,
    ) -> None: ...

    def __init__(
        self,
        ctx: Context,
        slot: str,
        message_type: Any = trioton.TEXT,
        *,
        policy: Policy = Block(),  # noqa: B008  # frozen
    ) -> None:
        inner = ctx._check()

        def make() -> trioton.SubChannel[Any]:
            return trioton.SubChannel(inner, slot, message_type, policy=policy)

        channel = ctx._loop.run_sync(make, undo=trioton.SubChannel.close)
        super().__init__(ctx, channel, reads_ahead=isinstance(policy, Block))
        self._sub = channel
        self._may_hold_senders = message_type is trioton.OBJECT

    @property
    def slot(self) -> str:
        """The full name of the slot: ``base.type.pattern``."""
        return self._sub.slot

    @property
    def policy(self) -> Policy:
        """What happens when messages come faster than they are received."""
        return self._sub.policy

    def __repr__(self) -> str:
        state = ", closed" if self._sub.closed else ""
        return f"<blocking SubChannel {self._sub.slot!r} of {self._context}, {self._sub.policy}{state}>"


class Receiver(ReceivingEnd[T_co]):
    """The receiving end of a one-to-one channel; made by `open_channel`. See `trioton.Receiver`."""

    def __init__(self, ctx: Context, channel: trioton.Receiver[Any], *, may_hold_senders: bool) -> None:
        super().__init__(ctx, channel, reads_ahead=True)
        self._may_hold_senders = may_hold_senders

    def __repr__(self) -> str:
        return f"<blocking {self._channel!r}>"


class Merge(Source[tuple[ReceivingEnd[Any], Any]]):
    """The messages of several channels; made by `merge`. An iterator of pairs of a channel and a message."""

    def __init__(self, loop: Loop, channels: tuple[ReceivingEnd[Any], ...]) -> None:
        super().__init__(loop)
        self._channels = channels
        self._by_channel = {id(channel._channel): channel for channel in channels}
        self._reads_ahead = all(channel._reads_ahead for channel in channels)
        self._merged = loop.run_sync(lambda: trioton.merge(*(channel._channel for channel in channels)))

    def receive(self, timeout: float | None = None) -> tuple[ReceivingEnd[Any], Any]:
        """Receive the message that came first, and its channel.

        Args:
            timeout: Seconds to wait; None waits for ever.

        Raises:
            TimeoutError: None came in time, and none was taken.
            trio.EndOfChannel: All channels have ended, or were closed here.
            trio.BrokenResourceError: A channel has ended with an error; it is left out of the next calls.
            trioton.MessageDecodeError: As `SubChannel.receive`.
        """
        while True:
            for channel in self._channels:
                if channel._ready or (channel._merges and channel._reclaim(self)):  # left from before
                    try:
                        return channel, channel.receive(timeout=0)
                    except (TimeoutError, trio.EndOfChannel, trio.BrokenResourceError, trio.ClosedResourceError):
                        continue
            pair = super().receive(timeout)
            try:
                if not pair[0].closed:
                    return pair
            except BaseException:  # Ctrl-C
                self._give_back([pair])
                raise

    def __repr__(self) -> str:
        return f"<blocking Merge of {', '.join(map(repr, self._channels))}>"

    def _most(self) -> int | None:
        return MOST_MERGED if self._reads_ahead else 1

    def _is_end(self, error: Exception) -> bool:
        return isinstance(error, trio.EndOfChannel)

    def _take_nowait(self, most: int | None) -> list[Any]:  # noqa: ARG002
        raise trio.WouldBlock  # only `_take` can tell

    async def _take(self, most: int | None) -> list[Any]:
        pairs = [await self._next_pair()]
        # What has come already must not wait for something that makes no sense, and so never comes.
        with trio.move_on_after(LONGEST_GATHERING):
            try:
                while len(pairs) != most and any(each._channel.pending for each in self._channels):
                    pairs.append(await self._next_pair())
            except (trio.EndOfChannel, trio.Cancelled):  # noqa: ASYNC103
                pass  # Both are said again. What has come must not be lost with them.
            except Exception as error:  # noqa: BLE001  # whoever comes to it gets it
                pairs.append(Failure(error))
        return pairs

    async def _next_pair(self) -> Any:
        try:
            inner, message = await anext(self._merged)
        except StopAsyncIteration:
            raise trio.EndOfChannel from None
        channel = self._by_channel[id(inner)]
        return channel, channel._wrap([message])[0]

    def _bring(self, fetch: Fetch, messages: list[Any]) -> None:
        super()._bring(fetch, messages)
        for channel in {pair[0] for pair in messages if type(pair) is tuple}:
            with channel._lock:
                channel._merges.add(self)
            channel._wake()

    def close(self) -> None:
        """Do nothing: the channels stay open, and whoever made them closes them."""


def merge(*channels: ReceivingEnd[Any]) -> Merge:
    """Receive from several channels of one context in the order in which their messages came; see `trioton.merge`.

    Use as ``for channel, message in trioton.blocking.merge(out, err): ...``, or ``merged.receive(timeout=1)``. What a channel has at
    hand because of an earlier `receive` comes first.

    Args:
        channels: `SubChannel` and `Receiver` objects of one context, each once.

    Raises:
        TypeError: One of them is no receiving channel of `trioton.blocking`.
        ValueError: There are none, one is named twice, or they belong to different contexts.
    """
    for channel in channels:
        if not isinstance(channel, ReceivingEnd):
            raise TypeError(f"merge takes receiving channels of trioton.blocking, not {channel!r}")
    if not channels:
        raise ValueError("merge takes at least one channel")
    return Merge(channels[0]._loop, channels)


class EventStream(Source[trioton.Event]):
    """The events of one listener, in order; made by `Context.events`. See `trioton.EventStream`. A context manager and an iterator.

    The connection of an event is the one of the loop: its attributes may be read. `Context.connection` takes it, and gives the one
    that threads may call.
    """

    def __init__(self, loop: Loop, stream: trioton.EventStream) -> None:
        super().__init__(loop)
        self._stream = stream

    def __repr__(self) -> str:
        return f"<blocking EventStream, {self.dropped} dropped>"

    def receive(self, timeout: float | None = None) -> trioton.Event:
        """Wait for the next event.

        Args:
            timeout: Seconds to wait; None waits for ever.

        Raises:
            TimeoutError: None came in time.
            trio.EndOfChannel: The context has closed and all its events have been received.
            trio.ClosedResourceError: The stream was closed.
        """
        return super().receive(timeout)

    @property
    def dropped(self) -> int:
        """How many events were dropped."""
        return self._stream.dropped

    def _take_nowait(self, most: int | None) -> list[Any]:  # noqa: ARG002
        return [self._stream.receive_nowait()]

    async def _take(self, most: int | None) -> list[Any]:  # noqa: ARG002
        return [await self._stream.receive()]

    def _close_in_loop(self) -> None:
        self._stream.close()
