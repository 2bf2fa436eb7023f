"""What the sources of blocking subscriptions hear: what has been taken, and how far they may send.

They hear of it at most once a pass of the scheduler, and only when enough has changed: `Subscription` counts that down.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ...protocol import control
from ...protocol.inbox import ReceiveFlow

if TYPE_CHECKING:
    from ...protocol.window import Room
    from ..association import Association
    from ..local import LocalLoop
    from ..sending.dispatcher import Dispatcher
    from .incoming import IncomingFlows
    from .subscription import Subscription, Subscriptions


class Reports:
    """Tells sources how much room they have.

    Args:
        own_id: The 16 bytes of the context's identity.
        subscriptions: Whose room it is.
        incoming: The flows that have it.
        route: Gives the association that leads to a context, or None.
        local: The way to the context itself, if that is the source.
        dispatcher: Lets the flusher run, which calls `send_due`.

    Attributes:
        due: The slots whose sources must hear something with the next write.
    """

    def __init__(
        self,
        own_id: bytes,
        subscriptions: Subscriptions,
        incoming: IncomingFlows,
        route: Callable[[bytes], Association | None],
        local: LocalLoop,
        dispatcher: Dispatcher,
    ) -> None:
        self._own_id = own_id
        self._subscriptions = subscriptions
        self._incoming = incoming
        self._route = route
        self._local = local
        self._dispatcher = dispatcher
        self.due: dict[str, None] = {}

    # ---------------------------------------------------------------- when

    def soon(self, slot: str) -> None:
        """The sources of a slot shall hear of what has changed, with the next write."""
        self.due[slot] = None
        self._dispatcher.heat()

    def send_due(self) -> None:
        """Put the credits that are due on the control lanes."""
        due, self.due = self.due, {}
        for slot in due:
            self.send(slot)

    def forget(self, slot: str) -> None:
        """Nobody listens to a slot any more."""
        self.due.pop(slot, None)

    # ---------------------------------------------------------------- what

    def send(self, slot: str) -> None:
        """Tell the sources of a slot what has been taken and how far they may send."""
        subscriptions = self._subscriptions.blocking(slot)
        for subscription in subscriptions:
            window = subscription.inbox.window
            assert window is not None
            for flow in list(window.rooms):
                assert isinstance(flow, ReceiveFlow)
                position = subscription.inbox.taken_position(flow)
                if position is not None and flow.granted is not None:
                    window.take(flow, position)
            window.share()
        for flow in self._incoming.on(slot):
            self._report_flow(flow)
        # Only behind the rest: who is asked for room back must know how much it has.
        for subscription in subscriptions:
            self._ask_back(subscription)
            self._count_down(subscription)

    def _rooms(self, flow: ReceiveFlow) -> list[Room]:
        windows = [subscription.inbox.window for subscription in self._subscriptions.blocking(flow.slot)]
        return [window.rooms[flow] for window in windows if window is not None and flow in window.rooms]

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
            self._local.credit(message)
            return
        association = self._route(message.source)
        if association is not None:
            association.send_control(message)

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
