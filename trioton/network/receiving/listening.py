"""Who listens in this context: subscriptions come and go, and neighbours hear which interest stands behind all of them.

The first and the last subscription of a slot are told of at once, and also when somebody begins to block, or nobody does any more: the
sources ask for room then. All other changes are told of in the next pass of the scheduler.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ...protocol import control
from .claims import DIRECT_PREFIX
from .subscription import NEVER

if TYPE_CHECKING:
    from ...protocol.inbox import ReceiveFlow
    from ..association import Association
    from ..local import LocalLoop
    from .claims import Claims
    from .incoming import IncomingFlows
    from .reports import Reports
    from .subscription import Subscription, Subscriptions


class Listening:
    """Opens and closes subscriptions, and announces the interest of the context.

    Args:
        subscriptions: Where the subscriptions are kept.
        incoming: The flows that arrive.
        reports: Tells the sources how much room they have.
        claims: The one-to-one channels, which are not announced.
        neighbours: Gives the associations that must hear of changed interest.
        local: The way to the context itself, which must hear of it too.

    Attributes:
        reports: As given; subscriptions say there what was taken.
        changed: The slots of whose changed interest neighbours must hear in the next pass of the scheduler.
    """

    def __init__(
        self,
        subscriptions: Subscriptions,
        incoming: IncomingFlows,
        reports: Reports,
        claims: Claims,
        neighbours: Callable[[], list[Association]],
        local: LocalLoop,
    ) -> None:
        self.reports = reports
        self._subscriptions = subscriptions
        self._incoming = incoming
        self._claims = claims
        self._neighbours = neighbours
        self._local = local
        self._blocks_since: dict[str, int] = {}
        self.changed: dict[str, None] = {}
        self._record = 0

    # ---------------------------------------------------------------- subscriptions come and go

    def add(self, subscription: Subscription) -> None:
        """A channel listens to a slot from now on."""
        slot = subscription.slot
        window = subscription.inbox.window
        # Who begins or ceases to block must be told at once, since the sources ask for room then.
        is_first = slot not in self._subscriptions.by_slot
        if window is not None and slot not in self._blocks_since:
            is_first = True
            self._blocks_since[slot] = 0 if slot.startswith(DIRECT_PREFIX) else self._record + 1
        self._subscriptions.by_slot.setdefault(slot, []).append(subscription)
        if subscription.scans_lone:
            self._subscriptions.scanning.add(slot)
        if window is not None:
            subscription.until_credit = window.size // 4
            for flow in self._incoming.on(slot):
                if flow.granted is not None and not flow.is_ended:
                    room = window.join(flow, flow.expected or 0)
                    room.limit = max(room.limit, flow.granted)
        if slot.startswith(DIRECT_PREFIX):
            if not subscription.is_shared:
                self._claims.open(slot)
        elif is_first:
            self._interest_changed(slot)
        else:
            self._change_soon(slot)

    def remove(self, subscription: Subscription) -> None:
        """A channel no longer listens."""
        slot = subscription.slot
        subscriptions = self._subscriptions.on(slot)
        if subscription not in subscriptions:
            return
        subscriptions.remove(subscription)
        if not subscriptions:
            self._last_removed(slot)
        elif subscription.inbox.window is None or self._subscriptions.blocking(slot):
            self._change_soon(slot)
        else:
            self._last_blocking_removed(slot)

    def _last_blocking_removed(self, slot: str) -> None:
        del self._blocks_since[slot]
        # Sources that have heard of it send as they like. Should one block again, they ask for room again.
        for flow in self._incoming.on(slot):
            flow.granted, flow.offered, flow.is_asked_back = None, None, False
        self.reports.send(slot)
        self._interest_changed(slot)

    def _last_removed(self, slot: str) -> None:
        del self._subscriptions.by_slot[slot]
        self._subscriptions.scanning.discard(slot)
        self._blocks_since.pop(slot, None)
        flows = self._incoming.forget_slot(slot)
        self.reports.forget(slot)
        self.changed.pop(slot, None)
        if slot.startswith(DIRECT_PREFIX):
            self._claims.close(slot, flows)
            return
        self._record += 1
        for association in self._neighbours():
            association.send_control(control.Unsubscribe(slot, self._record))
        self._local.interest_changed(slot)

    # ---------------------------------------------------------------- interest

    def interest(self, slot: str) -> control.Subscribe | None:
        """What this context listens to on a slot, or None."""
        return self._interest(slot, None) if slot in self._subscriptions.by_slot else None

    def _interest(self, slot: str, known: ReceiveFlow | None) -> control.Subscribe:
        """The interest that stands behind all subscriptions of a slot; for the source of a known flow, with how far that has come."""
        policies = [subscription.inbox.policy for subscription in self._subscriptions.by_slot[slot]]
        modes = {policy.mode for policy in policies}
        mode = min(modes)  # Blocking goes before dropping, and the oldest before the newest.
        size = max(policy.size for policy in policies if policy.mode is mode)
        stream, expected = (None, None) if known is None else (known.stream, known.expected)
        return control.Subscribe(
            slot, self._record, mode, size, len(policies), stream, expected, self._blocks_since.get(slot)
        )

    def stands_by(self, slot: str, agreed: int) -> bool:
        """Whether somebody who blocks now was already there when an interest of ours was sent, on which room was agreed."""
        return agreed >= self._blocks_since.get(slot, NEVER)

    def _change_soon(self, slot: str) -> None:
        """One of several subscriptions has come or gone: the others hear of all such changes in the next pass of the scheduler."""
        self._local.interest_changed(slot)
        self.changed[slot] = None
        self.reports.soon(slot)

    def announce_changes(self) -> None:
        """Tell the neighbours of the changes that have waited for the next pass of the scheduler."""
        changed, self.changed = self.changed, {}
        for slot in changed:
            self._interest_changed(slot)

    def _interest_changed(self, slot: str) -> None:
        if slot.startswith(DIRECT_PREFIX):
            return
        self._record += 1
        for association in self._neighbours():
            association.send_control(self._interest(slot, None))
        self._local.interest_changed(slot)

    @property
    def record(self) -> int:
        """The number of the last change of interest."""
        return self._record

    def announce(self, association: Association, peer_id: bytes) -> int:
        """Tell a peer, over a new link, what this context listens to and how far it has received; gives of how many slots."""
        announced = 0
        for slot in self._subscriptions.by_slot:
            known = self._incoming.get(peer_id, slot)
            if known is not None or not slot.startswith(DIRECT_PREFIX):
                association.send_control(self._interest(slot, known))
                announced += 1
            if known is not None:
                self._report_again(known)
        return announced

    def announce_positions(self, association: Association) -> int:
        """Tell a context that is no neighbour, after its way has changed, how far its flows have come; gives how many slots they are on."""
        flows = [
            flow for flow in self._incoming.of(association.peer.wire_id) if flow.slot in self._subscriptions.by_slot
        ]
        for flow in flows:
            association.send_control(control.Position(flow.slot, flow.stream, flow.expected))
            self._report_again(flow)
        return len(flows)

    def _report_again(self, flow: ReceiveFlow) -> None:
        """What was said to a source before may have been lost with the link."""
        flow.reported, flow.is_asked_back = (-1, -1), False
        self.reports.soon(flow.slot)
        for subscription in self._subscriptions.blocking(flow.slot):
            subscription.inbox.ask_back_again(flow)
