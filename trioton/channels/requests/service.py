"""All that a context answers on one slot: requests come here, find a channel with room, and their answers leave from here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import trio

from ...errors import DeadError, ProtocolError
from ...network.events import BadMessage
from ...network.receiving.handled import Advertisement, HandledSubscription
from ...network.sending.addressed import AddressedEnd, addressed_slot
from ...protocol import requests
from ...protocol.identity import ContextId
from ...protocol.policies import Block, DropNewest
from ...protocol.requests import Ask, Call
from ...protocol.rooms import KEPT_FOR, Rooms
from .. import references
from ..direct import Sender
from .asker import Asker
from .desk import WINDOW, reply_slot

if TYPE_CHECKING:
    from ...network.context import Context
    from ...network.sending.outlet import Piece
    from .replier import RepChannel

LINGER: Final = 10.0
"""Seconds for which requests that are on their way when the last channel is closed are still told to go elsewhere."""

MOST_LATE: Final = 10_000
"""Short answers that wait for a requester to give room for them; whoever lets more wait does not mean to take them."""


class Client:
    """A context that asks.

    Attributes:
        wire_id: The 16 bytes of its identity.
        end: What is sent to it.
        asker: What runs here for it, on all slots.
        jobs: Its requests that run here, by their numbers.
        is_gone: Whether it asks no more, and hears nothing.
    """

    def __init__(self, wire_id: bytes, asker: Asker) -> None:
        self.wire_id = wire_id
        self.asker = asker
        self.end: AddressedEnd
        self.jobs: dict[int, Job] = {}
        self.is_gone = False


class Job:
    """A request that runs here.

    Attributes:
        client: Who asks.
        call: What was asked.
        channel: Which channel runs it.
        scope: What it runs in, if it has a task.
        sender: Where its items go, or None.
        is_cancelled: Whether its requester wants it to stop.
        is_abandoned: Whether its requester was told that it cannot be stopped.
        is_left_behind: Whether a thread of it goes on though it was stopped.
        was_stopped: Whether it ended because nobody wants its result any more.
        has_ended: Whether it has ended but for that.
        task: What runs it, or None.
        gone_reason: Why it is stopped though nobody asked for that, or None.
    """

    __slots__ = (
        "call",
        "channel",
        "client",
        "gone_reason",
        "has_ended",
        "is_abandoned",
        "is_cancelled",
        "is_left_behind",
        "scope",
        "sender",
        "task",
        "was_stopped",
    )

    def __init__(self, client: Client, call: Call, channel: RepChannel, sender: Sender[Any] | None) -> None:
        self.client = client
        self.call = call
        self.channel = channel
        self.scope: trio.CancelScope
        self.sender = sender
        self.is_cancelled = False
        self.is_abandoned = False
        self.is_left_behind = False
        self.was_stopped = False
        self.has_ended = False
        self.task: trio.lowlevel.Task | None = None
        self.gone_reason: str | None = None

    def left_behind(self) -> None:
        """It is a thread that could not be stopped; until that ends it takes room."""
        self.is_left_behind = True
        self.channel._counts["abandoned"] += 1

    def ended(self) -> None:
        """That thread has ended."""
        self.is_left_behind = False
        self.channel._counts["abandoned"] -= 1
        if self.has_ended:
            self.channel._free_room(self)


class Service:
    """Answers the requests of all contexts on one slot.

    When the last channel is closed it stays for a while, so that requests which come then are turned away instead of being lost.

    Attributes:
        channels: Those who answer, older ones first.
        clients: Those who ask.
    """

    @classmethod
    def of(cls, context: Context, slot: str) -> Service:
        """The one of a context and slot."""
        services: dict[str, Service] = context._shared.setdefault("services", {})
        service = services.get(slot)
        if service is None:
            service = services[slot] = cls(context, slot, services)
        return service

    def __init__(self, context: Context, slot: str, services: dict[str, Service]) -> None:
        self.slot = slot
        self.channels: list[RepChannel] = []
        self._services = services
        self.clients: dict[bytes, Client] = {}
        self._context = context
        self._listening = context._traffic.listening
        self._rooms: Rooms[bytes] = Rooms()
        self._is_expiring = False
        self._is_ending = False
        self._lot = trio.lowlevel.ParkingLot()
        self._requests = HandledSubscription(
            self._listening,
            addressed_slot(context._wire_id, slot),
            Block(WINDOW),
            references.run_decoder(context),
            self._heard,
            self._refused,
            self._source_gone,
            own=(context._wire_id, context._dispatcher.do_later),
            handle_plain=self._heard_plain,
        )
        self._advertised: list[Advertisement] = []
        self._listening.add(self._requests)

    # ---------------------------------------------------------------- who answers

    def add(self, channel: RepChannel) -> None:
        """A channel answers from now on."""
        self.channels.append(channel)
        self._capacity_changed()

    def remove(self, channel: RepChannel) -> None:
        """A channel takes no more requests."""
        self.channels.remove(channel)
        self._capacity_changed()
        if not self.channels and not self._is_ending and not self._context._closing:
            self._is_ending = True
            self._context._start_soon(self._end)

    async def _end(self) -> None:
        """Stop listening when nobody has answered or asked for a while."""
        await trio.sleep(LINGER)
        while not self.channels and self.clients:
            await self._lot.park()
        self._is_ending = False
        if not self.channels:
            self._requests.close()
            del self._services[self.slot]

    def _capacity_changed(self) -> None:
        """Tell others how many requests run here at once."""
        capacity = self._rooms.capacity = sum(channel._max_running for channel in self.channels)
        # The interest that others hear of has the largest of all sizes, and the number of channels.
        before = self._advertised
        self._advertised = [Advertisement(self._listening, self.slot, DropNewest(capacity)) for _ in self.channels]
        for advertised in self._advertised:
            self._listening.add(advertised)
        for advertised in before:
            advertised.close()
        self._lot.unpark_all()
        self._invite()

    # ---------------------------------------------------------------- what requesters say

    def _refused(self, source: bytes, reason: str) -> None:
        self._context._hub.emit(BadMessage(ContextId.from_wire(source), self.slot, reason))

    def _heard_plain(self, source: bytes, body: bytes) -> bool:
        """A lone message has come; whether it is a request that was easily read."""
        call = requests.read_plain_call(body)
        if call is None:
            return False
        try:
            self._called(self.clients.get(source) or self._open(source), call)
        except ProtocolError as error:
            self._refused(source, str(error))
        return True

    def _heard(self, source: bytes, message: object) -> None:
        try:
            fields = requests.check_ask(message)
            client = self.clients.get(source) or self._open(source)
            if fields[0] == Ask.CALL:
                if not self._called(client, fields[1]):
                    references.let_go(message)
            elif fields[0] == Ask.CANCEL:
                self._cancel(client, fields[1])
            else:
                self._rooms.passed(source)
                self._invite()
        except ProtocolError as error:
            self._refused(source, str(error))
            references.let_go(message)

    def _open(self, source: bytes) -> Client:
        client = Client(source, Asker.of(self._context, source))
        client.end = AddressedEnd(self._context, reply_slot(self.slot), source, lambda _: self._source_gone(source))
        if client.end.dead_reason is None:
            self.clients[source] = client
            client.asker.clients += 1
        else:
            client.is_gone = True
            client.asker.forget_if_idle()
        return client

    def _called(self, client: Client, call: Call) -> bool:
        """A request has come; whether it is run.

        Raises:
            ProtocolError: It makes no sense.
        """
        if call.id in client.jobs:
            raise ProtocolError(f"request {call.id} was made twice")
        if call.stream is not None and type(call.stream) is not Sender:
            raise ProtocolError(f"the items of a request cannot go to {call.stream!r:.100}")
        if client.is_gone:
            return False
        is_welcome = client.asker.may_enter(self, client, self._rooms.capacity)
        if not is_welcome or not self._rooms.enter(client.wire_id, trio.current_time):
            self.answer(client, requests.encode_busy(call.id))
            return False
        channels = self.channels
        channel = (
            channels[0] if len(channels) == 1 else max(channels, key=lambda each: each._max_running - each._running)
        )
        handler = channel._quick_handler(call.method) if call.stream is None and client.end.has_room else None
        if handler is not None:
            channel._answer_at_once(client, call, handler)
            self._make_room()
            return True
        job = Job(client, call, channel, call.stream)
        client.jobs[call.id] = job
        client.asker.running += 1
        channel._start(job)
        return True

    def _cancel(self, client: Client, number: int) -> None:
        job = client.jobs.get(number)
        if job is not None:  # else it has ended, and the answer is on its way
            job.is_cancelled = True
            job.channel._stop(job)

    def _source_gone(self, source: bytes) -> None:
        """A context asks no more: nobody waits for what runs for it."""
        client = self.clients.get(source)
        if client is not None:
            self._forget(client)
        self._rooms.forget(source)
        self._invite()

    def _forget(self, client: Client) -> None:
        if self.clients.pop(client.wire_id, None) is not None:
            client.asker.clients -= 1
            client.asker.forget_if_idle()
        client.is_gone = True
        client.end.close()
        self._lot.unpark_all()
        for job in list(client.jobs.values()):
            job.channel._stop(job)

    # ---------------------------------------------------------------- answers

    def answer(self, client: Client, message: bytes) -> None:
        """Say something short to a requester."""
        if not client.is_gone:
            client.end.send_soon(((message,), len(message)))
            if client.end.late > MOST_LATE:
                self._refused(client.wire_id, "it asks, and takes no answers")
                self._forget(client)

    async def answer_when_room(self, client: Client, piece: Piece) -> None:
        """Send an answer as soon as the requester has room for it.

        Raises:
            ValueError: It is larger than the requester takes.
        """
        while not client.is_gone:
            objection = client.end.objection(piece[1])
            if objection is not None:
                raise objection
            try:
                if client.end.try_send(piece):
                    return
            except DeadError:
                return
            await client.end.wait_changed()

    def left(self, job: Job) -> None:
        """A request has ended, and was answered. `room_is_free` is to follow, when nothing of it runs any more."""
        job.client.jobs.pop(job.call.id, None)

    def room_is_free(self, job: Job) -> None:
        """There is room for one request more: nothing of this one runs any more."""
        job.client.asker.left(was_stopped=job.was_stopped)
        self._make_room()

    def _make_room(self) -> None:
        self._rooms.leave()
        self._invite()

    def _invite(self) -> None:
        """Keep room that is free for those who were turned away."""
        if not self._rooms.is_wanted:
            return
        for source in self._rooms.to_invite(trio.current_time):
            client = self.clients.get(source)
            if client is not None:
                self.answer(client, requests.ROOM)
        if not self._is_expiring and self._must_expire():
            self._is_expiring = True
            self._context._start_soon(self._expire)

    def _must_expire(self) -> bool:
        return bool(self._rooms.is_wanted and self._rooms.has_kept and self.channels)

    async def _expire(self) -> None:
        """Let go of room that was kept in vain, while somebody else wants it."""
        while self._must_expire():
            await trio.sleep(KEPT_FOR)
            self._rooms.expire(trio.current_time())
            for source in self._rooms.to_invite(trio.current_time):
                client = self.clients.get(source)
                if client is not None:
                    self.answer(client, requests.ROOM)
        self._is_expiring = False
