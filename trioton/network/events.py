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


# Identities are shown in the short form that logs and `trioton top` have, too.
# Those about connections are plain subclasses: each class that attrs builds adds a third of a millisecond to the import.
@attrs.frozen
class _OfConnection:
    connection: Connection


@attrs.frozen
class _OfConnectionWithReason:
    connection: Connection
    reason: str


class Connected(_OfConnection):
    """A connection has come up, and each side knows what the other listens to."""

    __slots__ = ()


class Disconnected(_OfConnectionWithReason):
    """A connection has ended and will not come back."""

    __slots__ = ()


class Suspended(_OfConnectionWithReason):
    """A connection has lost its transport, or its peer was silent for the lease; nothing fails while it is dialled again."""

    __slots__ = ()


class Resumed(_OfConnection):
    """A suspended connection goes on; nothing was lost on blocking channels."""

    __slots__ = ()


class TimedOut(_OfConnection):
    """A peer has been silent for `Connection.timeout` seconds; the connection stays."""

    __slots__ = ()


class Recovered(_OfConnection):
    """A peer that had timed out was heard again."""

    __slots__ = ()


@attrs.frozen
class ContextJoined:
    """A context can be reached from here, over a connection or over others."""

    id: ContextId = attrs.field(repr=str)
    name: str


@attrs.frozen
class ContextDied:
    """A context has ended, or counts as such since no way leads to it any more; if it is found again, it joins anew."""

    id: ContextId = attrs.field(repr=str)
    name: str
    reason: str


@attrs.frozen
class Gap:
    """Messages on a slot were lost for a subscription of this context, by its policy or with a link; `count` adds up."""

    slot: str
    source: ContextId = attrs.field(repr=str)
    count: int


@attrs.frozen
class BadMessage:
    """A package was dropped because its body makes no sense."""

    source: ContextId = attrs.field(repr=str)
    slot: str
    reason: str


@attrs.frozen
class Congested:
    """A task has waited in `send` for `seconds`, because this subscriber, a neighbour or not, has no room."""

    slot: str
    subscriber: ContextId = attrs.field(repr=str)
    seconds: float


@attrs.frozen
class Refused:
    """Somebody wanted what it may not, as `Permissions` say; told once for each slot and link, by the one who refused and to the one who may not."""

    source: ContextId = attrs.field(repr=str)
    """The context that may not: this one itself, if another has refused it something."""
    slot: str
    """The full name of the slot."""
    what: str
    """What it wanted: ``"publish"``, ``"subscribe"``, ``"call"``, ``"serve"``, ``"block"`` or ``"inspect"``."""
    by: ContextId = attrs.field(repr=str)
    """The context that has refused it, perhaps this one itself."""


class SessionLost(_OfConnectionWithReason):
    """A session could not be resumed. If no other way leads to the peer, what was on its way on blocking channels may or may not have come."""

    __slots__ = ()


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
    | Refused
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
    if isinstance(event, Refused):
        return event
    return type(event), event.id


def _merged(older: Event, newer: Event) -> Event:
    """What stands for two events about the same subject."""
    if isinstance(older, Gap) and isinstance(newer, Gap):
        return attrs.evolve(newer, count=older.count + newer.count)
    return newer


class EventStream:
    """The events of one listener, in order; made by `Context.events`.

    It holds 1000 events. Beyond that an event replaces the one about the same subject that waits, gaps add up, and if nothing can
    be merged the oldest event that is not a death is dropped and counted in `dropped`.

    Attributes:
        dropped: How many events were dropped.
    """

    def __init__(self, hub: EventHub) -> None:
        self._hub = hub
        self._events: OrderedDict[int, Event] = OrderedDict()
        self._newest: dict[object, int] = {}
        self._droppable: OrderedDict[int, None] = OrderedDict()
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
            self._check_end()
            await self._lot.park()
        return self._pop(next(iter(self._events)))

    def receive_nowait(self) -> Event:
        """Give the next event, if one waits.

        Raises:
            trio.WouldBlock: None waits.
            trio.EndOfChannel: As `receive`; and so is `trio.ClosedResourceError`.
        """
        if not self._events:
            self._check_end()
            raise trio.WouldBlock
        return self._pop(next(iter(self._events)))

    def _check_end(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError("this stream of events was closed")
        if self._ended:
            raise trio.EndOfChannel

    def close(self) -> None:
        """Stop listening. May be called twice."""
        self._closed = True
        self._hub.remove(self)
        self._events.clear()
        self._droppable.clear()
        self._newest.clear()
        self._lot.unpark_all()

    def _add(self, event: Event) -> None:
        if len(self._events) >= QUEUE_SIZE:
            event = self._make_room(event)
        self._append(event)
        self._lot.unpark()

    def _append(self, event: Event) -> None:
        key = self._next_key
        self._next_key += 1
        self._events[key] = event
        if not isinstance(event, ContextDied):
            self._droppable[key] = None
            self._newest[_subject(event)] = key

    def _pop(self, key: int) -> Event:
        event = self._events.pop(key)
        if not isinstance(event, ContextDied):
            del self._droppable[key]
            subject = _subject(event)
            if self._newest[subject] == key:
                del self._newest[subject]
        return event

    def _make_room(self, event: Event) -> Event:
        """Merge what is about the same subjects, or else drop the oldest that may be; gives the event with what was merged into it."""
        if isinstance(event, ContextDied) or _subject(event) not in self._newest:
            if len(self._newest) < len(self._droppable):
                self._merge_all()
            elif self._droppable:
                self._pop(next(iter(self._droppable)))
                self.dropped += 1
            return event
        return _merged(self._pop(self._newest[_subject(event)]), event)

    def _merge_all(self) -> None:
        """Leave one event of each subject, where the newest of them stands."""
        for key in list(self._droppable):
            newest = self._newest[_subject(self._events[key])]
            if newest != key:
                self._events[newest] = _merged(self._pop(key), self._events[newest])

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

    @property
    def is_heard(self) -> bool:
        """Whether anybody listens, so that events need to be made at all."""
        return bool(self._streams)

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
