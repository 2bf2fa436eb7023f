"""The receiving side of a context: who here listens to what, and what has been promised to whom.

Packages are checked, cleaned of what came twice, and put into the inbox of every subscription of their slot. Sources of blocking
subscriptions hear what has been taken and how far they may send, at most once a pass of the scheduler.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from ..errors import DeadError, ProtocolError
from ..protocol import control
from ..protocol.identity import ContextId
from ..protocol.inbox import ReceiveFlow, Run
from ..protocol.packages import PackageHeader, PackageKind
from ..protocol.scan import TAGS, scan_run
from ..protocol.window import Room
from .events import Gap
from .local import LOCAL
from .subscription import NEVER, Subscription

if TYPE_CHECKING:
    from ..protocol.session import PackageReceived
    from .connection import Connection
    from .dispatcher import Dispatcher
    from .events import EventHub

logger = logging.getLogger("trioton.context")

SENDER_TAG: Final = 54022
"""The CBOR tag of a reference to a channel's sending end, ``[context, slot]``."""

MESSAGE_TAGS: Final = TAGS | {SENDER_TAG}

DIRECT_PREFIX: Final = "~"
"""How the slots begin that are addressed and never advertised."""

NOBODY_RECEIVES: Final = "nobody receives on this channel any more"
ANOTHER_SENDS: Final = "another context sends on this channel already"
HAS_ENDED: Final = "the channel has ended"

NO_CONTEXT: Final = b""
"""Stands for the sending context of a one-to-one channel that has ended."""


class Reception:
    """All that a context receives.

    Args:
        own_id: The 16 bytes of the context's identity.
        hub: Where events go.
        window_bytes: Bytes that a flow may be ahead of what has been taken.
        route: Gives the connection that leads to a context, or None.
        all_connections: Gives the connections that must hear of changed interest.

    Attributes:
        dispatcher: The context's sending side; set by the context.
    """

    def __init__(
        self,
        own_id: bytes,
        hub: EventHub,
        window_bytes: int,
        route: Callable[[bytes], Connection | None],
        all_connections: Callable[[], list[Connection]],
    ) -> None:
        self.dispatcher: Dispatcher
        self._own_id = own_id
        self._hub = hub
        self._window_bytes = window_bytes
        self._route = route
        self._all_connections = all_connections
        self._slots: dict[str, list[Subscription]] = {}
        self._blocks_since: dict[str, int] = {}
        self._flows: dict[str, dict[bytes, ReceiveFlow]] = {}
        self._holders: dict[str, bytes | None] = {}
        self._due: dict[str, None] = {}
        self._changed: dict[str, None] = {}
        self._arrivals = 0
        self._record = 0

    # ---------------------------------------------------------------- who listens here

    def add(self, subscription: Subscription) -> None:
        """A channel listens to a slot from now on."""
        slot = subscription.slot
        window = subscription.inbox.window
        # Who begins or ceases to block must be told at once, since the sources ask for room then.
        is_first = slot not in self._slots
        if window is not None and slot not in self._blocks_since:
            is_first = True
            self._blocks_since[slot] = 0 if slot.startswith(DIRECT_PREFIX) else self._record + 1
        self._slots.setdefault(slot, []).append(subscription)
        if window is not None:
            subscription.until_credit = window.size // 4
            for flow in self._flows.get(slot, {}).values():
                if flow.granted is not None and not flow.is_ended:
                    room = window.join(flow, flow.expected or 0)
                    room.limit = max(room.limit, flow.granted)
        if slot.startswith(DIRECT_PREFIX):
            self._holders[slot] = None
        elif is_first:
            self._interest_changed(slot)
        else:
            self._change_soon(slot)

    def remove(self, subscription: Subscription) -> None:
        """A channel no longer listens."""
        slot = subscription.slot
        subscriptions = self._slots.get(slot, [])
        if subscription not in subscriptions:
            return
        subscriptions.remove(subscription)
        if subscriptions:
            if subscription.inbox.window is None or self._blocking(slot):
                self._change_soon(slot)
                return
            del self._blocks_since[slot]
            # Sources that have heard of it send as they like. Should one block again, they ask for room again.
            for flow in self._flows.get(slot, {}).values():
                flow.granted, flow.offered, flow.is_asked_back = None, None, False
            self._report(slot)
            self._interest_changed(slot)
            return
        del self._slots[slot]
        self._blocks_since.pop(slot, None)
        flows = self._flows.pop(slot, {})
        self._due.pop(slot, None)
        self._changed.pop(slot, None)
        self._record += 1
        if slot.startswith(DIRECT_PREFIX):
            del self._holders[slot]
            for flow in flows.values():
                self._tell_unreachable(flow.source, slot, flow.stream, NOBODY_RECEIVES)
            return
        for connection in self._all_connections():
            connection.send_control(control.Unsubscribe(slot, self._record))
        self.dispatcher.local_interest(slot)

    def _change_soon(self, slot: str) -> None:
        """One of several subscriptions has come or gone: the others hear of all such changes in the next pass of the scheduler."""
        self.dispatcher.local_interest(slot)
        self._changed[slot] = None
        self._due_now(slot)

    def _interest_changed(self, slot: str) -> None:
        if slot.startswith(DIRECT_PREFIX):
            return
        self._record += 1
        for connection in self._all_connections():
            connection.send_control(self._interest(slot, None))
        self.dispatcher.local_interest(slot)

    def _interest(self, slot: str, known: ReceiveFlow | None) -> control.Subscribe:
        policies = [subscription.inbox.policy for subscription in self._slots[slot]]
        modes = {policy.mode for policy in policies}
        mode = min(modes)  # Blocking goes before dropping, and the oldest before the newest.
        size = max(policy.size for policy in policies if policy.mode is mode)
        stream, expected = (None, None) if known is None else (known.stream, known.expected)
        return control.Subscribe(
            slot, self._record, mode, size, len(policies), stream, expected, self._blocks_since.get(slot)
        )

    def announce(self, connection: Connection, peer_id: bytes) -> None:
        """Tell a peer, over a new link, what this context listens to and how far it has received."""
        for slot in self._slots:
            known = self._flows.get(slot, {}).get(peer_id)
            if known is not None or not slot.startswith(DIRECT_PREFIX):
                connection.send_control(self._interest(slot, known))
            if known is not None:
                # What was said over the last link may have been lost with it.
                known.reported, known.is_asked_back = (-1, -1), False
                self._due_now(slot)
                for subscription in self._blocking(slot):
                    subscription.inbox.ask_back_again(known)

    # ---------------------------------------------------------------- packages

    def package(self, connection: Connection, event: PackageReceived) -> None:
        """Deliver a package that came over a connection.

        Raises:
            ProtocolError: The peer itself sent nonsense; its link must be closed.
        """
        header, is_last, body, is_lone_bytes = event
        kind, source, stream, _, slot, count, destination = header
        if source != connection.peer.wire_id:
            raise ProtocolError("the peer sent a package in the name of another context")
        if kind == PackageKind.DIRECT and destination != self._own_id:
            raise ProtocolError("the peer sent a package for another context")
        if not is_lone_bytes:
            scan_run(body, count, tags=MESSAGE_TAGS)
        if slot in self._slots:
            self._deliver(header, body, is_last, is_lone_bytes)
        elif kind == PackageKind.DIRECT:
            self._tell_unreachable(source, slot, stream, NOBODY_RECEIVES)

    def local_package(self, header: PackageHeader, body: bytes, *, is_last: bool) -> None:
        """Deliver a package of this context to its own subscriptions."""
        if header.slot in self._slots:
            self._deliver(header, body, is_last, False)

    def _deliver(self, header: PackageHeader, body: bytes, is_last: bool, is_lone_bytes: bool) -> None:
        _, source, stream, first, slot, count, _ = header
        if slot in self._holders and self._holders[slot] != source and not self._claim(source, slot, stream):
            return
        flow = self._flows.get(slot, {}).get(source)
        if flow is None or flow.stream != stream:
            flow = self._flow(source, slot, stream) or self._flows[slot][source].overtake(stream)
        known = missing = 0
        if is_last or not flow.receive_next(first, count):
            known, missing = flow.receive(header, is_last=is_last)
        if missing:
            self._missed(slot, source, missing)
        if known < count:
            self._arrivals = arrival = self._arrivals + 1
            for subscription in self._slots.get(slot, [])[:]:
                if count == 1 and not is_lone_bytes and subscription.hand_over(flow, body):
                    continue
                dropped = subscription.deliver(Run(flow, first, body, known, count, arrival, is_lone_bytes))
                if dropped:
                    self._hub.emit(Gap(flow.slot, ContextId.from_wire(flow.source), dropped))
                    if subscription.inbox.is_broken:
                        self.remove(subscription)  # nothing will be received there again
        if flow.is_ended:
            self._ended(flow)

    def _flow(self, source: bytes, slot: str, stream: int) -> ReceiveFlow | None:
        """The flow with this stream, which takes the place of an older one; None if it is older than all that are remembered."""
        flows = self._flows.get(slot)
        if flows is None:
            flows = self._flows[slot] = {}
        flow = flows.get(source)
        if flow is not None and flow.stream == stream:
            return flow
        if flow is not None:
            if flow.stream > stream:
                return flow.older.get(stream)
            self._forget_flow(flow)
            flows = self._flows.setdefault(slot, {})
        connection = self._route(source)
        window_bytes = self._window_bytes if connection is None else connection.window_bytes
        new = flows[source] = ReceiveFlow(source, slot, stream, window_bytes)
        if flow is not None:
            new.succeed(flow)
        return new

    def _forget_flow(self, flow: ReceiveFlow) -> None:
        flows = self._flows.get(flow.slot, {})
        if flows.get(flow.source) is flow:
            del flows[flow.source]
            if not flows:
                del self._flows[flow.slot]
        for subscription in self._slots.get(flow.slot, []):
            subscription.inbox.forget(flow)

    def _missed(self, slot: str, source: bytes, count: int) -> None:
        """Messages were dropped on their way here."""
        if not count:
            return
        for subscription in list(self._slots.get(slot, ())):
            subscription.inbox.missed(count)
            if subscription.inbox.is_broken:
                self.remove(subscription)
                subscription.wake()
        self._hub.emit(Gap(slot, ContextId.from_wire(source), count))

    def _ended(self, flow: ReceiveFlow) -> None:
        flow.flush_to = flow.expected or 0
        for subscription in self._blocking(flow.slot):
            assert subscription.inbox.window is not None
            subscription.inbox.window.end(flow, flow.flush_to)
        self._report(flow.slot)
        if flow.slot in self._holders:
            self._end_direct(flow.slot, flow.source, None)

    # ---------------------------------------------------------------- one-to-one channels

    def _claim(self, source: bytes, slot: str, stream: int) -> bool:
        """A context sends on a one-to-one channel: the first to do so is the only one. Gives whether it is."""
        objection = self._refusal(source, slot)
        if objection is not None:
            self._tell_unreachable(source, slot, stream, objection)
            return False
        self._holders[slot] = source
        self._refuse_others(slot, source, ANOTHER_SENDS)
        self._due_now(slot)  # all the room is for this one now
        return True

    def _refusal(self, source: bytes, slot: str) -> str | None:
        """Why a context must not send on a slot, or None."""
        holder = self._holders.get(slot)
        if holder is None or holder == source:
            return None
        return HAS_ENDED if holder == NO_CONTEXT else ANOTHER_SENDS

    def _refuse_others(self, slot: str, source: bytes, reason: str) -> None:
        for flow in [flow for flow in self._flows.get(slot, {}).values() if flow.source != source]:
            self._forget_flow(flow)
            self._tell_unreachable(flow.source, slot, flow.stream, reason)

    def _end_direct(self, slot: str, source: bytes, error: Exception | None) -> None:
        """The context that sent on a one-to-one channel sends no more."""
        self._holders[slot] = NO_CONTEXT
        for subscription in self._slots[slot]:
            subscription.end(error)
        self._refuse_others(slot, source, HAS_ENDED)

    def release(self, slot: str) -> None:
        """The sending end of a one-to-one channel leaves this context: whoever gets it may send."""
        if self._holders.get(slot) == self._own_id:
            self._holders[slot] = None

    # ---------------------------------------------------------------- room

    def offer(self, connection: Connection, message: control.Offer) -> None:
        """A source would send to blocking subscriptions here, and asks for room."""
        subscriptions = self._blocking(message.slot)
        if not subscriptions:
            if message.slot.startswith(DIRECT_PREFIX):
                self._tell_unreachable(message.source, message.slot, message.stream, NOBODY_RECEIVES)
            return
        objection = self._refusal(message.source, message.slot)
        if objection is not None:
            self._tell_unreachable(message.source, message.slot, message.stream, objection)
            return
        flow = self._flow(message.source, message.slot, message.stream)
        if flow is None:
            return
        size = self._first_room(subscriptions, flow)
        connection.send_control(control.Credit(message.source, message.slot, message.stream, None, size))

    def _blocking(self, slot: str) -> list[Subscription]:
        return [each for each in self._slots.get(slot, []) if each.inbox.window is not None]

    def _first_room(self, subscriptions: list[Subscription], flow: ReceiveFlow) -> int:
        """The room for a flow that has not started. A source that asks twice gets the same answer: it may count on either."""
        if flow.offered is None:
            flow.offered = min(self._room(subscription, flow).size for subscription in subscriptions)
        return flow.offered

    def _room(self, subscription: Subscription, flow: ReceiveFlow) -> Room:
        """The room of a flow in a blocking subscription, which it joins if it has none there."""
        window = subscription.inbox.window
        assert window is not None
        return window.rooms.get(flow) or window.join(flow, flow.expected or 0)

    def local_interest(self, slot: str) -> control.Subscribe | None:
        """What this context itself listens to on a slot, or None."""
        return self._interest(slot, None) if slot in self._slots else None

    def grant_local(self, slot: str, stream: int) -> int:
        """The room for a flow of this context itself, which some subscription here blocks, from its start."""
        flow = self._flow(self._own_id, slot, stream)
        assert flow is not None
        return self._first_room(self._blocking(slot), flow)

    def started(self, source: bytes, slot: str, stream: int, first: int, agreed: int | None) -> None:
        """A source says from which number on it sends to us, and on which interest of ours the room was agreed that it keeps to."""
        is_wanted = slot in self._slots and self._refusal(source, slot) is None
        flow = self._flow(source, slot, stream) if is_wanted else None
        if flow is None:
            return
        self._missed(slot, source, flow.start(first))
        if flow.granted is not None or agreed is None or agreed < self._blocks_since.get(slot, NEVER):
            return  # it keeps to no room, or to that of subscriptions that are closed
        # Some may have come since the offer, and the others may have gone.
        rooms = [self._room(subscription, flow) for subscription in self._blocking(slot)]
        offered, flow.offered = flow.offered or 0, None
        for room in rooms:
            room.limit = first + max(room.size, offered)
            room.taken = room.received = first
        if rooms:
            flow.granted = max(flow.expected or 0, first + offered)
            flow.reported = (first, flow.granted)
            if flow.granted < min(room.limit for room in rooms):
                self._due_now(slot)  # its room has grown since the offer, and it must not be the last to hear of it

    def _rooms(self, flow: ReceiveFlow) -> list[Room]:
        windows = [subscription.inbox.window for subscription in self._blocking(flow.slot)]
        return [window.rooms[flow] for window in windows if window is not None and flow in window.rooms]

    def kept(self, message: control.Kept) -> None:
        """A source that was asked for room back says what it keeps."""
        flow = self._flows.get(message.slot, {}).get(message.source)
        if flow is None or flow.stream != message.stream:
            return
        if flow.granted is None:
            if not message.limit:
                self._never_started(flow)
        elif flow.is_asked_back:
            flow.is_asked_back = False
            flow.granted = max(flow.expected or 0, min(flow.granted, message.limit))
            for subscription in self._blocking(message.slot):
                window = subscription.inbox.window
                if window is not None and flow in window.rooms:
                    window.kept(flow, message.limit)
        self._due_now(message.slot)

    def _never_started(self, flow: ReceiveFlow) -> None:
        """A flow has ended before it kept to any room: what it was offered is free."""
        if flow.expected is None:
            self._forget_flow(flow)
        for subscription in self._blocking(flow.slot):
            subscription.inbox.forget(flow)  # something may still be on its way that was sent before anybody blocked

    def flush(self, message: control.Flush) -> None:
        """A source wants to hear when all before a number has been taken."""
        flow = self._flows.get(message.slot, {}).get(message.source)
        if flow is not None and flow.stream == message.stream:
            flow.flush_to = max(flow.flush_to, message.up_to)
            flow.reported = (-1, flow.reported[1])
            self._due_now(message.slot)

    def report_soon(self, subscription: Subscription) -> None:
        """Messages of a blocking subscription were taken; its sources will hear of it with the next write."""
        self._due_now(subscription.slot)

    def _due_now(self, slot: str) -> None:
        self._due[slot] = None
        self.dispatcher.heat()

    def report_due(self) -> None:
        """Put the credits that are due on the control lanes."""
        if self._changed:
            changed, self._changed = self._changed, {}
            for slot in changed:
                self._interest_changed(slot)
        if self._due:
            due, self._due = self._due, {}
            for slot in due:
                self._report(slot)

    def _report(self, slot: str) -> None:
        """Tell the sources of a slot what has been taken and how far they may send."""
        subscriptions = self._blocking(slot)
        for subscription in subscriptions:
            window = subscription.inbox.window
            assert window is not None
            for flow in list(window.rooms):
                assert isinstance(flow, ReceiveFlow)
                position = subscription.inbox.taken_position(flow)
                if position is not None and flow.granted is not None:
                    window.take(flow, position)
            window.share()
        for flow in list(self._flows.get(slot, {}).values()):
            self._report_flow(flow)
        # Only behind the rest: who is asked for room back must know how much it has.
        for subscription in subscriptions:
            self._ask_back(subscription)
            self._count_down(subscription)

    def _report_flow(self, flow: ReceiveFlow) -> None:
        rooms = self._rooms(flow)
        # Who was asked for room back hears nothing else until it has answered: a higher limit would undo the request.
        if flow.granted is None or flow.is_asked_back:
            return
        if rooms:
            taken = min(room.taken for room in rooms)
            limit = max(flow.granted, min(room.limit for room in rooms))
        else:
            taken, limit = flow.expected or 0, flow.granted
        if (taken, limit) == flow.reported:
            return
        flow.reported = (taken, limit)
        flow.granted = limit
        self._send_credit(control.Credit(flow.source, flow.slot, flow.stream, taken, limit))

    def _send_credit(self, message: control.Credit) -> None:
        if message.source == self._own_id:
            limit = self.dispatcher.local_credit(message)
            if limit is not None:
                self.kept(control.Kept(message.source, message.slot, message.stream, limit))
            return
        connection = self._route(message.source)
        if connection is not None:
            connection.send_control(message)

    def _ask_back(self, subscription: Subscription) -> None:
        window = subscription.inbox.window
        assert window is not None
        for flow, limit in window.to_ask_back():
            assert isinstance(flow, ReceiveFlow)
            rooms = self._rooms(flow)
            if flow.granted is None:
                subscription.inbox.ask_back_again(flow)  # it has not started, and what it was offered stands
            elif limit >= flow.granted:
                window.kept(flow, limit)  # it could not use more anyway
            elif flow.is_asked_back:
                subscription.inbox.ask_back_again(flow)  # another subscription has asked; one after the other
            else:
                flow.is_asked_back = True
                taken = min(room.taken for room in rooms)
                self._send_credit(control.Credit(flow.source, flow.slot, flow.stream, taken, limit))

    def _count_down(self, subscription: Subscription) -> None:
        """Decide after how many more messages the sources must hear again."""
        window = subscription.inbox.window
        assert window is not None
        subscription.inbox.reported()
        short = False
        for flow, room in window.rooms.items():
            assert isinstance(flow, ReceiveFlow)
            short = short or room.limit - room.received < window.size // 2 or flow.flush_to > room.taken
            short = short or subscription.inbox.bytes_ahead >= flow.window_bytes // 2
        if short or window.size == 1:
            subscription.hear_next_take()
        else:
            subscription.hear_after(window.size // 4)

    # ---------------------------------------------------------------- ends

    def _tell_unreachable(self, source: bytes, slot: str, stream: int, reason: str) -> None:
        message = control.Unreachable(source, slot, stream, reason)
        connection = self._route(source)
        if source == self._own_id:
            self.dispatcher.unreachable(LOCAL, message)
        elif connection is not None:
            connection.send_control(message)

    def forget_local(self, slot: str) -> None:
        """This context itself sends no more on a slot, though the flow has not ended: its room is for others."""
        flow = self._flows.get(slot, {}).get(self._own_id)
        if flow is not None:
            self._forget_flow(flow)
            if slot in self._slots:
                self._due_now(slot)

    def forget_source(self, source: bytes) -> None:
        """A context is gone, or its session is: nothing more comes from it, and what waits may still be taken."""
        for flows in list(self._flows.values()):
            flow = flows.get(source)
            if flow is not None:
                slot = flow.slot
                self._forget_flow(flow)
                if slot.startswith(DIRECT_PREFIX):
                    self._direct_source_lost(slot, source)
                elif slot in self._slots:
                    self._report(slot)

    def _direct_source_lost(self, slot: str, source: bytes) -> None:
        """A context that could send on a one-to-one channel is gone; others may have a copy of the sending end, and then it goes on."""
        holder = self._holders.get(slot, NO_CONTEXT)
        others = [other for other in self._flows.get(slot, {}) if other != self._own_id]
        if holder == source or (holder is None and not others):
            self._end_direct(slot, source, DeadError("the context that sent here is gone"))

    def end(self) -> None:
        """The context closes: all subscriptions end after what waits."""
        for subscriptions in list(self._slots.values()):
            for subscription in list(subscriptions):
                subscription.end()

    @property
    def slots(self) -> list[str]:
        """The slots that this context listens to."""
        return list(self._slots)


__all__ = ["DIRECT_PREFIX", "NEVER", "Reception"]
