"""The way to a context that is no neighbour: through which one it leads, and the talk with the other end about how far all flows are.

Such a way is not one link but several, of which each may be lost and come back, or give way to others. Whoever notices a change begins
a new *round* of the talk: each side says how far the flows of the other have come there, and goes on from that. What belongs to an
older round is not heard any more: it may come late, by another way.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Final

from ...protocol import control
from ...protocol.policies import Mode
from ...protocol.routed import encode_routed
from ...protocol.way import Way
from ..flow_talk import FLOW_HANDLERS

if TYPE_CHECKING:
    from ...protocol.flow import Branch, SendFlow
    from ...protocol.inbox import ReceiveFlow
    from ...protocol.packages import Package
    from ..association import Association
    from ..connection import Connection

DOUBT: Final = 0.25
"""Seconds in which what is missing may still come, before it is asked for."""

FIRST_CHECK: Final = 1.0
"""Seconds in which answers must come and messages arrive, before a new round begins."""

LONGEST_CHECK: Final = 30.0
"""The longest time between two rounds where nothing gets on."""


class Routed:
    """The far end of an association, by way of a neighbour.

    Args:
        association: The association.

    Attributes:
        via: The connection to the neighbour through which it leads, or None while there is no way.
        links_lost: How many rounds have begun; stands where an outbox counts its links.
    """

    __slots__ = (
        "_association",
        "_doubted",
        "_interval",
        "_last_business",
        "_signature",
        "_ways",
        "links_lost",
        "via",
    )

    def __init__(self, association: Association) -> None:
        self.via: Connection | None = None
        self.links_lost = 0
        self._association = association
        self._ways: dict[Branch, Way] = {}
        self._signature: Hashable = None
        self._doubted: dict[ReceiveFlow, int | None] = {}
        self._last_business: tuple[object, ...] = ()
        self._interval = FIRST_CHECK

    # ---------------------------------------------------------------- the way

    def find_way(self) -> bool:
        """Look for the way anew; gives whether it has changed."""
        context, far = self._association.context, self._association.peer.wire_id
        topology, own = context._mesh.topology, context._wire_id
        neighbour = topology.next_hop(own, far)
        via = None if neighbour is None else context._neighbours.route(neighbour)
        signature = topology.way(own, far), topology.way(far, own)
        if via is self.via and signature == self._signature:
            return False
        self.via, self._signature = via, signature
        self._ways.clear()
        self._association.max_package = min(
            (node.max_package for each in topology.path(own, far) if (node := topology.node(each)) is not None),
            default=context._limits.max_package,
        )
        return True

    # ---------------------------------------------------------------- in the place of an outbox

    def add_package(self, branch: Branch, package: Package, flow: SendFlow) -> None:
        """Send a package that is for this context only. See `Outbox.add_package`."""
        if branch.mode is Mode.BLOCK and branch.links_lost != self.links_lost:
            return
        if self.via is None:
            return
        way = self._ways.get(branch)
        if way is None or way.lane is not self.via:
            way = self._ways[branch] = Way(self.via)
        way.mode, way.size = branch.mode, branch.size
        way.add(package, flow)
        self.watch(FIRST_CHECK)

    def remove_branch(self, branch: Branch) -> None:
        """Forget what waits for a branch."""
        way = self._ways.pop(branch, None)
        if way is not None and self.via is not None:
            self.via.outbox.remove_branch(way)

    def holds(self, slot: str) -> bool:
        """Whether a package of a flow on this slot waits for the neighbour through which it goes."""
        return self.via is not None and self.via.outbox.holds(slot)

    def __bool__(self) -> bool:
        return bool(self._ways)

    # ---------------------------------------------------------------- talk

    def send_control(self, message: control.Control) -> None:
        """Say something to the other end."""
        association = self._association
        context, via = association.context, self.via
        context._mesh.membership.use(association)
        via = self.via
        if via is not None and via.open_link is not None:
            context._mesh.flooding.flush()
            via.outbox.add_control(
                encode_routed(context._wire_id, association.peer.wire_id, association.round, message)
            )
            context._dispatcher.will_write(association)
        self.watch(FIRST_CHECK)

    def begin_round(self, number: int | None = None) -> None:
        """Talk anew about how far all flows have come, in both directions."""
        association = self._association
        traffic = association.context._traffic
        association.round = association.round + 1 if number is None else number
        self.links_lost += 1
        self._doubted.clear()
        association.awaits_snapshot, association.is_answered = True, False
        association.announced.clear()
        count = traffic.listening.announce_positions(association)
        self.send_control(control.Sync(traffic.listening.record, count, association.round))
        traffic.branches.ask_again(association)

    def heard(self, number: int, message: control.Control) -> None:
        """The other end says something.

        Raises:
            ProtocolError: It says what it may not.
        """
        association = self._association
        if number < association.round:
            return
        if number > association.round:
            association.context._mesh.membership.use(association)
            self.begin_round(number)
        audience = association.context._traffic.audience
        match message:
            case control.Position():
                association.announced[message.slot] = None
                audience.position(association, message)
            case control.Sync():
                if len(association.announced) < message.announced:
                    return  # some of it was lost: the next round will tell
                if association.awaits_snapshot:
                    audience.settle(association)
                    association.awaits_snapshot = False
                self.send_control(control.Synced())
            case control.Synced():
                association.is_answered = True
            case _:
                FLOW_HANDLERS[type(message)](association, message)

    # ---------------------------------------------------------------- where nothing gets on

    def lost_track(self, flow: ReceiveFlow) -> None:
        """Something came that is not next, on a flow that may lose nothing: what is missing may be on its way, or lost."""
        if flow not in self._doubted:
            self._doubted[flow] = flow.expected
            self.watch(DOUBT)

    def watch(self, seconds: float) -> None:
        """Something should come of what was said or sent: look after so many seconds whether it has."""
        self._association.context._mesh.watch.soon(self, seconds)

    def check(self) -> float | None:
        """Begin a new round if nothing has got on since the last look; gives when to look again, or None if all is well."""
        if not self._association.is_remote:
            return None
        business = self._business()
        if not business:
            self._interval, self._last_business = FIRST_CHECK, ()
            return None
        if business != self._last_business and not self._has_lost():
            self._interval, self._last_business = FIRST_CHECK, business
            return self._interval
        self.begin_round()
        self._last_business = self._business()
        self._interval = min(self._interval * 2, LONGEST_CHECK)
        return self._interval

    def _has_lost(self) -> bool:
        """Whether a flow that has lost track has not got on."""
        lost = any(flow.expected == expected for flow, expected in self._doubted.items())
        self._doubted.clear()
        return lost

    def _business(self) -> tuple[object, ...]:
        """What should get on, and how far it is; empty if nothing is open."""
        association = self._association
        business: list[object] = list(self._doubted.items())
        if association.awaits_snapshot or not association.is_answered:
            business.append((association.awaits_snapshot, association.is_answered))
        for outlet in association.context._traffic.outlets.all():
            branch = outlet.flow.branches.get(association)
            if branch is None:
                continue
            has_come = max(branch.taken, branch.received)
            if not branch.is_ready or (branch.blocks and has_come < outlet.flow.cut_to):
                business.append((outlet, branch.is_ready, branch.taken, branch.received))
            elif outlet.flush_to > branch.taken and branch.blocks:
                business.append((outlet, outlet.flush_to, branch.taken))
        return tuple(business)
