"""Room for the sources of blocking subscriptions: they ask for it, start within it, keep some of it when asked for it back.

A source that finds a blocking subscription here asks (OFFER), and is told how much room there is (CREDIT). It says from which
number it starts (STARTED), and only from then on its room counts. What follows is the affair of `Reports`; when those ask for room
back, the source says what it keeps (KEPT).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...protocol import control
from .claims import DIRECT_PREFIX, NOBODY_RECEIVES

if TYPE_CHECKING:
    from ...protocol.inbox import ReceiveFlow
    from ...protocol.window import Room
    from ..association import Association
    from .claims import Claims
    from .incoming import IncomingFlows
    from .listening import Listening
    from .reception import Reception
    from .reports import Reports
    from .subscription import Subscription, Subscriptions


class Grants:
    """Hears what sources say about the room that they get here.

    Args:
        own_id: The 16 bytes of the context's identity.
        subscriptions: Whose room it is.
        incoming: The flows that have it.
        reports: Tells the sources of changes.
        claims: Who may send on one-to-one channels.
        listening: Knows since when somebody blocks.
        reception: Hears what a flow has missed before it started.
    """

    def __init__(
        self,
        own_id: bytes,
        subscriptions: Subscriptions,
        incoming: IncomingFlows,
        reports: Reports,
        claims: Claims,
        listening: Listening,
        reception: Reception,
    ) -> None:
        self._own_id = own_id
        self._subscriptions = subscriptions
        self._incoming = incoming
        self._reports = reports
        self._claims = claims
        self._listening = listening
        self._reception = reception

    # ---------------------------------------------------------------- offers

    def offer(self, association: Association, message: control.Offer) -> None:
        """A source would send to blocking subscriptions here, and asks for room."""
        source, slot, stream = message.source, message.slot, message.stream
        subscriptions = self._subscriptions.blocking(slot)
        if not subscriptions:
            if slot.startswith(DIRECT_PREFIX):
                self._claims.tell_unreachable(source, slot, stream, NOBODY_RECEIVES)
            return
        objection = self._claims.refusal(source, slot)
        if objection is not None:
            self._claims.tell_unreachable(source, slot, stream, objection)
            return
        flow = self._incoming.begin(source, slot, stream)
        if flow is not None:
            size = self._first_room(subscriptions, flow)
            association.send_control(control.Credit(source, slot, stream, None, size))

    def grant_local(self, slot: str, stream: int) -> int:
        """The room for a flow of this context itself, which some subscription here blocks, from its start."""
        flow = self._incoming.begin(self._own_id, slot, stream)
        assert flow is not None
        return self._first_room(self._subscriptions.blocking(slot), flow)

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

    # ---------------------------------------------------------------- what sources say then

    def started(self, source: bytes, slot: str, stream: int, first: int, agreed: int | None) -> None:
        """A source says from which number on it sends to us, and on which interest of ours the room was agreed that it keeps to."""
        is_wanted = slot in self._subscriptions.by_slot and self._claims.refusal(source, slot) is None
        flow = self._incoming.begin(source, slot, stream) if is_wanted else None
        if flow is None:
            return
        self._reception.missed(slot, source, flow.start(first))
        if flow.granted is not None or agreed is None or not self._listening.stands_by(slot, agreed):
            return  # it keeps to no room, or to that of subscriptions that are closed
        # Some may have come since the offer, and the others may have gone.
        rooms = [self._room(subscription, flow) for subscription in self._subscriptions.blocking(slot)]
        offered, flow.offered = flow.offered or 0, None
        for room in rooms:
            room.limit = first + max(room.size, offered)
            room.taken = first
            room.received = max(first, flow.expected or 0)
        if rooms:
            flow.granted = max(flow.expected or 0, first + offered)
            flow.reported = (first, flow.granted)
            has_grown = flow.granted < min(room.limit for room in rooms)  # since the offer
            if has_grown or (flow.expected or 0) > first:  # something came before this, and may have been taken
                self._reports.soon(slot)

    def kept(self, message: control.Kept) -> None:
        """A source that was asked for room back says what it keeps."""
        flow = self._incoming.find(message.source, message.slot, message.stream)
        if flow is None:
            return
        if flow.granted is None:
            if not message.limit:
                self._never_started(flow)
        elif flow.is_asked_back:
            flow.is_asked_back = False
            flow.granted = max(flow.expected or 0, min(flow.granted, message.limit))
            for subscription in self._subscriptions.blocking(message.slot):
                window = subscription.inbox.window
                if window is not None and flow in window.rooms:
                    window.kept(flow, message.limit)
        self._reports.soon(message.slot)

    def _never_started(self, flow: ReceiveFlow) -> None:
        """A flow has ended before it kept to any room: what it was offered is free."""
        if flow.expected is None:
            self._incoming.forget(flow)
        for subscription in self._subscriptions.blocking(flow.slot):
            subscription.inbox.forget(flow)  # something may still be on its way that was sent before anybody blocked

    def flush(self, message: control.Flush) -> None:
        """A source wants to hear when all before a number has been taken."""
        flow = self._incoming.find(message.source, message.slot, message.stream)
        if flow is not None:
            flow.flush_to = max(flow.flush_to, message.up_to)
            flow.reported = (-1, flow.reported[1])
            self._reports.soon(message.slot)
