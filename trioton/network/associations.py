"""The associations of a context: which there are, when they begin and end, and whether each leads over a connection or through a neighbour."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..protocol.identity import ContextId
from .association import Association
from .peer import Peer

if TYPE_CHECKING:
    from .connection import Connection
    from .context import Context

ROUND_BITS: Final = 32
"""Rounds are counted anew, from a higher number on, each time that two contexts have given each other up."""

_NO_LINK: Final = -1
"""The number of a link that there never was."""


class Associations:
    """With whom the context has to do, by their identities.

    Args:
        context: The context.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._by_id: dict[bytes, Association] = {}

    def get(self, wire_id: bytes) -> Association | None:
        """The association with a context, or None if that cannot be reached.

        Most contexts of a large network have nothing to do with each other: what is between two that are no neighbours is made when it is first
        asked for.
        """
        known = self._by_id.get(wire_id)
        if known is None and self._context._mesh.membership.can_reach(wire_id):
            known = self._begin_routed(wire_id)
        return known

    def seek(self, wire_id: bytes) -> Association | None:
        """The same for one to whom something is to be said: a stub begins with that before its parent has said whether there is a way."""
        known = self.get(wire_id)
        if known is None:
            self._context._mesh.upward.presume(wire_id)
            known = self.get(wire_id)
        return known

    def known(self, wire_id: bytes) -> Association | None:
        """The same, but None if it was never asked for."""
        return self._by_id.get(wire_id)

    def direct(self) -> list[Association]:
        """Those with neighbours, which must hear of what changes here, now or when they are back."""
        return [connection.association for connection in self._context._neighbours.with_session()]

    # ---------------------------------------------------------------- neighbours

    def attach(self, connection: Connection) -> None:
        """A session with a neighbour begins: what is sent to it goes over the connection from now on."""
        known = self.get(connection.peer.wire_id)
        if known is not None and not known.is_remote:
            self.end(known)  # it has come in by two doors at once
            known = None
        association = known or self._begin(connection.peer)
        association.goes_on = known is not None
        association.peer = connection.peer
        association.window_bytes, association.max_package = connection.window_bytes, connection.max_package
        connection.association = association
        self._by_id[connection.peer.wire_id] = association
        self.go_straight(connection)

    def _begin(self, peer: Peer) -> Association:
        """A context can be reached: if it could not for a while, both begin anew."""
        membership = self._context._mesh.membership
        membership.meet_again(peer.wire_id)
        association = Association(self._context, peer)
        # What was said before they last gave each other up is not heard any more.
        association.round = membership.parted(peer.wire_id) << ROUND_BITS
        return association

    def detach(self, connection: Connection) -> list[str]:
        """A session with a neighbour is over: it is reached another way, or not at all.

        Returns:
            The slots on which nobody listens any more, and somebody there had, and blocked.
        """
        association = connection.association
        mesh = self._context._mesh
        mesh.membership.session_over(connection)
        if association.is_over or association.connection is not connection:
            return []
        if mesh.topology.next_hop(self._context._wire_id, connection.peer.wire_id) is None:
            return self.end(association)
        self.leave_straight(association)
        return []

    # ---------------------------------------------------------------- ways

    def _begin_routed(self, wire_id: bytes) -> Association:
        """Begin to have to do with a context that is no neighbour."""
        node = self._context._mesh.topology.node(wire_id)
        assert node is not None
        peer = Peer(ContextId.from_wire(wire_id), node.name, node.pid, None, wire_id=wire_id, host=b"")
        association = self._by_id[wire_id] = self._begin(peer)
        association.awaits_snapshot, association.is_answered = False, True  # there is nothing to talk about yet
        association.window_bytes = min(association.window_bytes, node.window_bytes)
        return association

    def go_straight(self, connection: Connection) -> None:
        """What is sent to a neighbour goes over the connection to it, from its next link on."""
        association = connection.association
        association.connection = connection
        self._context._mesh.membership.forget(association)
        self.rebind(association)

    def go_round(self, association: Association) -> None:
        """What is sent to a context goes through a neighbour; a new round of the talk is to begin."""
        association.connection = None
        self._context._mesh.membership.use(association)
        self.rebind(association)

    def leave_straight(self, association: Association) -> None:
        """A neighbour is reached through another from now on: talk with it anew, that way, and hear of its interest from others."""
        self.go_round(association)
        self._context._mesh.membership.learn_all(association)
        association.the_routed.begin_round()

    def rebind(self, association: Association) -> None:
        """The way to a context is another one: what is sent to those who block waits until they have said how far they are."""
        for outlet in self._context._traffic.outlets.all():
            flow = outlet.flow
            branch = flow.branches.get(association)
            if branch is not None:
                association.equip(branch)
                branch.links_lost = _NO_LINK
                flow.arrange_again()
                flow.update_room()

    # ---------------------------------------------------------------- ends

    def end(self, association: Association) -> list[str]:
        """A context cannot be reached any more: forget what it listened to and what came from there.

        Returns:
            The slots on which it was the last one to listen, and blocked.
        """
        association.is_over = True
        context, wire_id = self._context, association.peer.wire_id
        context._mesh.membership.forget(association)
        if association.routed is not None:
            context._mesh.watch.forget(association.routed)
        if self._by_id.get(wire_id) is association:
            del self._by_id[wire_id]
            context._reception.forget_source(wire_id)
        return context._traffic.audience.forget(association)
