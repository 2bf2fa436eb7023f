"""What a context tells about its network, and how many listen to that without ever making it wait."""

from __future__ import annotations

import math
from collections import OrderedDict
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

import attrs
import trio

if TYPE_CHECKING:
    from ..protocol.identity import ContextId
    from .connection import Connection

QUEUE_SIZE: Final = 1000


@attrs.frozen
class Connected:
    """A connection has come up, and each side knows what the other listens to."""

    connection: Connection


@attrs.frozen
class Disconnected:
    """A connection has ended and will not come back."""

    connection: Connection
    reason: str


@attrs.frozen
class Suspended:
    """A connection has lost its transport, or its peer was silent for the lease; nothing fails while it is dialled again."""

    connection: Connection
    reason: str


@attrs.frozen
class Resumed:
    """A suspended connection goes on; nothing was lost on blocking channels."""

    connection: Connection


@attrs.frozen
class TimedOut:
    """A peer has been silent for `Connection.timeout` seconds; the connection stays."""

    connection: Connection


@attrs.frozen
class Recovered:
    """A peer that had timed out was heard again."""

    connection: Connection


@attrs.frozen
class ContextJoined:
    """A context can be reached from here."""

    id: ContextId
    name: str


@attrs.frozen
class ContextDied:
    """A context has ended, or counts as such; nothing comes from this identity any more."""

    id: ContextId
    name: str
    reason: str


@attrs.frozen
class Gap:
    """Messages on a slot were lost for a subscription of this context, by its policy or with a link; `count` adds up."""

    slot: str
    source: ContextId
    count: int


@attrs.frozen
class BadMessage:
    """A package was dropped because its body makes no sense."""

    source: ContextId
    slot: str
    reason: str


@attrs.frozen
class Congested:
    """A task has waited in `send` for `seconds`, because this subscriber has no room."""

    slot: str
    subscriber: ContextId
    seconds: float


@attrs.frozen
class SessionLost:
    """A session could not be resumed: what was on its way on blocking channels may or may not have been received."""

    connection: Connection
    reason: str


Event = (
    Connected
    | Disconnected
    | Suspended
    | Resumed
    | TimedOut
    | Recovered
    | ContextJoined
    | ContextDied
    | Gap
    | BadMessage
    | Congested
    | SessionLost
)
"""Anything that a context tells."""

_STATES: Final = (Connected, Disconnected, Suspended, Resumed, TimedOut, Recovered, SessionLost)


def _subject(event: Event) -> object:
    """What an event is about: of two that wait and are about the same, only the newer is worth its place."""
    if isinstance(event, _STATES):
        return _STATES, id(event.connection)
    if isinstance(event, Gap):
        return Gap, event.slot, event.source
    if isinstance(event, BadMessage):
        return BadMessage, event.slot, event.source
    if isinstance(event, Congested):
        return Congested, event.slot, event.subscriber
    return type(event), event.id


class EventStream:
    """The events of one listener, in order; made by `Context.events`.

    It holds 1000 events. Beyond that an event replaces the one about the same subject that waits, gaps add up, and if nothing can
    be merged the oldest event that is not a death is dropped and counted in `dropped`.
    """

    def __init__(self, hub: EventHub) -> None:
        self._hub = hub
        self._events: OrderedDict[int, Event] = OrderedDict()
        self._next_key = 0
        self._lot = trio.lowlevel.ParkingLot()
        self._closed = False
        self._ended = False
        self.dropped = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        try:
            return await self.receive()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None

    async def receive(self) -> Event:
        """Wait for the next event; a checkpoint.

        Raises:
            trio.EndOfChannel: The context has closed and all its events have been received.
            trio.ClosedResourceError: The stream was closed.
        """
        await trio.lowlevel.checkpoint()
        while not self._events:
            if self._closed:
                raise trio.ClosedResourceError("this stream of events was closed")
            if self._ended:
                raise trio.EndOfChannel
            await self._lot.park()
        return self._events.popitem(last=False)[1]

    def receive_nowait(self) -> Event:
        """Give the next event, if one waits.

        Raises:
            trio.WouldBlock: None waits.
        """
        if not self._events:
            raise trio.WouldBlock
        return self._events.popitem(last=False)[1]

    def close(self) -> None:
        """Stop listening. May be called twice."""
        self._closed = True
        self._hub.remove(self)
        self._events.clear()
        self._lot.unpark_all()

    def _add(self, event: Event) -> None:
        if len(self._events) >= QUEUE_SIZE:
            self._merge(event)
        else:
            self._append(event)
        self._lot.unpark()

    def _append(self, event: Event) -> None:
        self._events[self._next_key] = event
        self._next_key += 1

    def _merge(self, event: Event) -> None:
        subject = _subject(event)
        for key, waiting in self._events.items():
            if _subject(waiting) == subject:
                if isinstance(event, Gap) and isinstance(waiting, Gap):
                    event = attrs.evolve(event, count=event.count + waiting.count)
                del self._events[key]
                self._append(event)
                return
        for key, waiting in self._events.items():
            if not isinstance(waiting, ContextDied):
                del self._events[key]
                self.dropped += 1
                break
        self._append(event)

    def _end(self) -> None:
        self._ended = True
        self._lot.unpark(count=math.inf)


class EventHub:
    """Hands every event of a context to all that listen."""

    def __init__(self) -> None:
        self._streams: list[EventStream] = []

    def open(self) -> EventStream:
        """Give a new listener, which gets all events from now on."""
        stream = EventStream(self)
        self._streams.append(stream)
        return stream

    def emit(self, event: Event) -> None:
        """Give an event to all listeners; never waits."""
        for stream in self._streams:
            stream._add(event)

    def remove(self, stream: EventStream) -> None:
        """Forget a listener."""
        if stream in self._streams:
            self._streams.remove(stream)

    def end(self) -> None:
        """There will be no more events."""
        for stream in self._streams:
            stream._end()
