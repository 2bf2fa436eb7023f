"""What others do not permit this context: flows that they do not take end, or go on without them, and the program hears of it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from ..errors import ProtocolError
from ..protocol.identity import ContextId
from ..protocol.permissions import REPORTS_SLOT, Right
from . import events
from .sending.addressed import plain_slot

if TYPE_CHECKING:
    from ..protocol import control
    from .association import Association
    from .connection import Connection
    from .context import Context

logger = logging.getLogger("trioton.context")

MOST_TOLD: Final = 1000
"""Of how many slots, rights and contexts that refuse it is known that they were told of."""


class Denials:
    """Hears what other contexts refuse to this one.

    Args:
        context: The context.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._told: dict[tuple[bytes, int, str], None] = {}

    def heard(self, association: Association, message: control.Denied) -> None:
        """Something that was to reach another context, or was wanted of it, is not permitted there or on the way.

        Raises:
            ProtocolError: It is about another context.
        """
        if message.source != self._context._wire_id:
            raise ProtocolError("the peer refused what is not ours")
        if message.right >= len(Right):
            return  # one that there is not yet
        right, slot = Right(message.right), plain_slot(message.slot)
        via = association.via
        if via is not None and via.guard is not None:
            message = message._replace(
                by=via.peer.wire_id
            )  # whom it names instead, if that is another, has not said so
        by = ContextId.from_wire(message.by)
        reason = f"{self._name(message.by)} does not let this context {right.deed} {slot!r}"
        if right in {Right.PUBLISH, Right.CALL}:
            self._flow_denied(association, message, reason)
        if right in {Right.PUBLISH, Right.SUBSCRIBE}:
            self._context._mesh.retaining.denied(slot, reason, by)
        self._tell(message.by, right, slot, reason)

    def _name(self, wire_id: bytes) -> str:
        association = self._context._associations.known(wire_id)
        return str(ContextId.from_wire(wire_id) if association is None else association.peer)

    def _flow_denied(self, association: Association, message: control.Denied, reason: str) -> None:
        traffic = self._context._traffic
        outlet = traffic.outlets.find(message.slot, message.stream)
        branch = None if outlet is None else outlet.flow.branches.get(association)
        if outlet is None or branch is None:
            return
        if outlet.flow.destination is not None:
            outlet.denier = ContextId.from_wire(message.by)
            traffic.lives.die(outlet, reason)
        else:
            outlet.remove_branch(association)
            outlet.deny(association, branch.begun)
            traffic.lives.changed(outlet)

    def _tell(self, by: bytes, right: Right, slot: str, reason: str) -> None:
        """Tell the program and the log, once for each link. What the library sends of its own accord, the program has not asked for."""
        key = by, right, slot
        if key in self._told or len(self._told) >= MOST_TOLD or (right is Right.PUBLISH and slot == REPORTS_SLOT):
            return
        self._told[key] = None
        context = self._context
        context._hub.emit(events.Refused(context.id, slot, right.word, ContextId.from_wire(by)))
        logger.log(logging.WARNING if right.loses_something else logging.INFO, "%s: %s", context, reason)

    def link_up(self, connection: Connection) -> None:
        """Over a new link a neighbour may permit more than over the last one: what it has refused is tried again."""
        by = connection.peer.wire_id
        if not any(key[0] == by for key in self._told):
            return
        self._told = {key: None for key in self._told if key[0] != by}
        self._context._mesh.retaining.forget_denials(ContextId.from_wire(by))
        traffic = self._context._traffic
        for outlet in traffic.outlets.all():
            for key in outlet.denied_by:
                association: Association = key  # type: ignore[assignment]  # keys are associations: nothing is denied to LOCAL
                interest = traffic.interests.of(association, outlet.flow.slot)
                if interest is not None:
                    traffic.branches.update(outlet, association, interest)
                    traffic.lives.changed(outlet)
