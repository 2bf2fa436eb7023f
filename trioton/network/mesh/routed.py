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
    from ..sending.outlet import Outlet
    from .watch import Watch

DOUBT: Final = 0.25
"""Seconds in which what is missing may still come, before it is asked for."""

FIRST_CHECK: Final = 1.0
"""Seconds in which answers must come and messages arrive, before a new round begins."""

MOST_DOUBTS: Final = 8
"""Rounds in vain after which nobody waits any more for what is missing."""

TALK: Final = "talk"
"""Stands for the round itself among what should get on."""

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
        "_last_open",
        "_signature",
        "_stalls",
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
        self._last_open: dict[Hashable, object] = {}
        self._interval = FIRST_CHECK
        self._stalls = 0

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
        self._stalls, self._interval = 0, FIRST_CHECK
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
        self.watch()

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
        context = association.context
        context._mesh.membership.use(association)
        via = self.via
        if via is not None and via.open_link is not None:
            context._mesh.flooding.flush_to(via)
            via.outbox.add_control(
                encode_routed(context._wire_id, association.peer.wire_id, association.round, message)
            )
            context._dispatcher.will_write(association)
        self.watch()

    def watch(self) -> None:
        """Something should come of what was said or sent: look after a while whether it has."""
        self._watch.begin(self, self._interval)

    def begin_round(self, number: int | None = None) -> None:
        """Talk anew about how far all flows have come, in both directions."""
        association = self._association
        traffic = association.context._traffic
        association.round = association.round + 1 if number is None else number
        self.links_lost += 1
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
            case control.Flush():
                FLOW_HANDLERS[type(message)](association, message)
                self._tell_position(message)
            case _:
                FLOW_HANDLERS[type(message)](association, message)

    def _tell_position(self, message: control.Flush) -> None:
        """Tell a source that asks what has been taken how much has come, too: on its way it may be for long."""
        flow = self._association.context._traffic.incoming.find(message.source, message.slot, message.stream)
        if flow is not None:
            self.send_control(control.Position(flow.slot, flow.stream, flow.expected))

    # ---------------------------------------------------------------- where nothing gets on

    def lost_track(self, flow: ReceiveFlow) -> None:
        """Something came that is not next, on a flow that may lose nothing: what is missing may be on its way, or lost."""
        if flow not in self._doubted or self._doubted[flow] != flow.expected:
            self._doubted[flow] = flow.expected
            self._watch.soon(self, DOUBT if self._stalls == 0 else self._interval)

    def check(self) -> float | None:
        """Do something where nothing has got on since the last look; gives when to look again, or None if nothing is open.

        Asking costs little, and is done at once. Only what has got nowhere for longer is sent again, in a new round: on a slow way all may be
        well, and what is sent twice makes it slower.
        """
        if not self._association.is_remote:
            return None
        is_hopeless = self._stalls > MOST_DOUBTS  # it may have ended at the other end
        is_lost = {flow: at for flow, at in self._doubted.items() if flow.expected == at and not is_hopeless}
        self._doubted = is_lost
        open_now = self._find_open()
        if not open_now:
            self._stalls, self._interval, self._last_open = 0, FIRST_CHECK, {}
            return None
        before, self._last_open = self._last_open, open_now
        # That something else is open now is no progress, nor that a round has begun.
        awaited = {key: state for key, state in before.items() if key != TALK} or before
        has_got_on = not before or any(open_now.get(key) != state for key, state in awaited.items())
        self._stalls = 0 if has_got_on else self._stalls + 1
        self._interval = min(FIRST_CHECK * 2**self._stalls, LONGEST_CHECK)
        if is_lost or self._stalls > (0 if TALK in open_now else 1):
            self.begin_round()
        else:
            self.ask()
        return self._interval

    def _find_open(self) -> dict[Hashable, object]:
        """What should get on, and how far it is."""
        association = self._association
        found: dict[Hashable, object] = {}
        found.update(self._doubted.items())
        if association.awaits_snapshot or not association.is_answered:
            found[TALK] = True
        for outlet, branch in self._branches():
            is_behind = branch.has_come < outlet.flow.cut_to or outlet.flush_to > branch.taken
            if not branch.is_ready or (branch.blocks and is_behind):
                found[outlet] = branch.is_ready, branch.taken, branch.received
        return found

    def _branches(self) -> list[tuple[Outlet, Branch]]:
        outlets = self._association.context._traffic.outlets.all()
        found = [(outlet, outlet.flow.branches.get(self._association)) for outlet in outlets]
        return [(outlet, branch) for outlet, branch in found if branch is not None]

    def ask(self) -> None:
        """Ask how far the flows have come at the other end, and say again what should be answered there."""
        branches = self._association.context._traffic.branches
        for outlet, branch in self._branches():
            flow = outlet.flow
            if not branch.is_ready:
                branches.offer(self._association, outlet)
            elif branch.has_come < flow.next or outlet.flush_to > branch.taken:
                self.send_control(control.Flush(flow.source, flow.slot, flow.stream, outlet.flush_to))

    @property
    def _watch(self) -> Watch:
        return self._association.context._mesh.watch
