"""The rooms of the mesh, and the tasks that keep it going."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from ...protocol import control
from ...protocol.records import InterestRecord, InterestSnapshot, NodeRecord
from ...protocol.topology import Topology
from ..namesakes import cut_off_namesakes
from ..receiving.claims import DIRECT_PREFIX
from .flooding import Flooding
from .membership import Membership
from .relays import Relays
from .retaining import Retaining
from .watch import Watch

if TYPE_CHECKING:
    from ...protocol.flow import SendFlow
    from ...protocol.session import RecordsReceived
    from ..association import Association
    from ..connection import Connection
    from ..context import Context


FIRST_LOOK: Final = 0.02
"""Seconds after which a context that closes asks for the first time whether what it has sent has come."""

LONGEST_LOOK: Final = 0.5
"""The longest time between two such questions."""


class Mesh:
    """What a context knows of the network beyond its neighbours.

    Args:
        context: The context.

    Attributes:
        topology: The records of all contexts.
        flooding: Spreads them.
        upward: Asks the parent for them, if the context is a stub.
        parenthood: Tells stubs of them.
        membership: Who can be reached.
        relays: Passes on what is for others.
        watch: Asks again where nothing gets on.
        retaining: Keeps and spreads the values of states.
    """

    def __init__(self, context: Context) -> None:
        limits, network = context._limits, context._network
        own = NodeRecord(
            context._wire_id, 1, context.name, network.pid, limits.max_package, limits.window_bytes, {}, {}
        )
        self.topology = Topology(own)
        self.flooding = Flooding(context, self.topology)
        self.upward, self.parenthood = self.flooding.upward, self.flooding.parenthood
        self.membership = Membership(context, self.topology, self.flooding)
        self.relays = Relays(context, self.topology, self.flooding)
        self.watch = Watch()
        self.retaining = Retaining(context)
        self._context = context

    def start(self) -> None:
        """Start the tasks in the context's nursery."""
        self._context._dispatcher.watch_shared = self._watch
        self._context._start_soon(self.flooding.run_forever)
        self._context._start_soon(self.watch.run_forever)
        self._context._start_soon(self.retaining.run_forever)

    def _watch(self, flow: SendFlow) -> None:
        """Packages of a flow have left for contexts that are no neighbours."""
        for branch in flow.branches.values():
            if branch.is_remote and branch.blocks:
                branch.key.the_routed.watch()  # type: ignore[attr-defined]  # it is an association

    async def drain(self) -> None:
        """Wait until what was sent has come to all contexts that are no neighbours and can be reached; it says nothing of those."""
        delay = FIRST_LOOK
        while waiting := self._not_drained():
            for association in waiting:
                association.the_routed.ask()
            await trio.sleep(delay)
            delay = min(2 * delay, LONGEST_LOOK)

    def _not_drained(self) -> list[Association]:
        """The contexts to which something is still on its way, or waits for their room."""
        waiting: dict[Association, None] = {}
        for outlet in self._context._traffic.outlets.all():
            for branch in outlet.flow.branches.values():
                has_come = branch.is_ready and branch.has_come >= outlet.flow.next
                if branch.is_remote and branch.lane is not None and (outlet.backlog or not has_come):
                    waiting[branch.key] = None  # type: ignore[index]  # keys are associations
        return list(waiting)

    # ---------------------------------------------------------------- what neighbours tell

    def records_came(self, connection: Connection, event: RecordsReceived) -> None:
        """A neighbour tells what it knows of contexts.

        Raises:
            ProtocolError: A record makes no sense.
        """
        self.membership.heard_interest(self.flooding.heard(connection, event.records))
        if self.flooding.suspects:
            suspects, self.flooding.suspects = self.flooding.suspects, set()
            cut_off_namesakes(self._context, suspects)
        self.upward.settle()

    def subscribed(self, connection: Connection, message: control.Subscribe) -> None:
        """A neighbour has said itself what it listens to: others must hear of it."""
        if connection.association.awaits_snapshot or message.slot.startswith(DIRECT_PREFIX):
            return  # all of it is taken over at the end of the snapshot
        self._learn(connection, self._record(connection, message))

    def unsubscribed(self, connection: Connection, message: control.Unsubscribe) -> None:
        """A neighbour listens to a slot no longer."""
        self._learn(connection, InterestRecord(connection.peer.wire_id, message.slot, message.record, 0, 0, 0, None))

    def _learn(self, connection: Connection, record: InterestRecord) -> None:
        if self.topology.learn_interest(record):
            self.flooding.tell(record, connection)
            self.parenthood.interest_changed(record.origin, record.slot)
            self.membership.update()

    def snapshot_came(self, connection: Connection, message: control.Sync) -> None:
        """A neighbour has said over a new link all that it listens to."""
        self.parenthood.settle(connection)
        interests = self._context._traffic.interests
        known = [interests.of(connection.association, slot) for slot in connection.association.announced]
        records = [self._record(connection, each) for each in known if each and not each.slot.startswith(DIRECT_PREFIX)]
        records.sort(key=lambda record: record.slot)
        snapshot = InterestSnapshot(connection.peer.wire_id, message.record, tuple(records))
        if self.topology.is_news(snapshot):
            for slot in self.topology.learn_snapshot(snapshot):
                self.parenthood.interest_changed(snapshot.origin, slot)
            self.flooding.tell(snapshot, connection)
            self.membership.update()

    @staticmethod
    def _record(connection: Connection, message: control.Subscribe) -> InterestRecord:
        slot, number, mode, size, count, _, _, blocks_since = message
        return InterestRecord(connection.peer.wire_id, slot, number, mode, size, count, blocks_since)
