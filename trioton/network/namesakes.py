"""A neighbour that says it is a context which is in the network already, by another way.

Whoever is trusted is believed that. Of all others, one who comes in by two doors must have proved the same at both.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from .states import Tie
from .trust import judge

if TYPE_CHECKING:
    from ..protocol.records import NodeRecord
    from .connection import Connection
    from .context import Context
    from .establish import Shaken
    from .trust import Standing

NAMESAKE: Final = (
    "a context of this identity is in the network already, by another way, and nothing proves that both are the same"
)


def objection_to(
    context: Context, wire_id: bytes, standing: Standing, *, is_stub: bool, neighbours: Iterable[bytes] | None = None
) -> str | None:
    """Why a neighbour is not believed to be the context that it says, or None.

    Args:
        context: The context whose neighbour it is, or is to be.
        wire_id: Who it says it is.
        standing: What its link proves.
        is_stub: Whether it is a stub of the context.
        neighbours: With whom the other is linked, where that is not known yet.
    """
    if standing.may_speak_for_others:
        return None
    from ..protocol.bounds import bounds_of  # the mesh brings it, and is imported late

    bounds = bounds_of(context._mesh.topology, wire_id, neighbours) - {standing.bound(is_stub=is_stub)}
    return NAMESAKE if bounds else None


def objection_to_server(context: Context, shaken: Shaken) -> str | None:
    """The same of who answers where a context has dialled."""
    standing = judge(shaken.transport, context._network)
    return objection_to(context, shaken.hello.id.to_wire(), standing, is_stub=False)


def cut_off_namesakes(context: Context) -> None:
    """Ways have changed: part from neighbours who turn out to be in the network by another way, too, and have not proved the same there."""
    for connection in context._neighbours.with_session():
        _check(connection, None)


def heard_of_namesake(context: Context, record: NodeRecord) -> None:
    """Others tell of a context, and with whom it is linked: part from a neighbour that says it is the same, if nothing proves that."""
    connection = context._neighbours.route(record.origin)
    if connection is not None:
        _check(connection, record.links)


def _check(connection: Connection, neighbours: Iterable[bytes] | None) -> None:
    link, standing = connection.open_link, connection.standing
    if link is None or standing.may_speak_for_others:
        return
    context, is_stub = connection._context, connection.tie is Tie.STUB
    reason = objection_to(context, connection.peer.wire_id, standing, is_stub=is_stub, neighbours=neighbours)
    if reason is not None:
        context._doorman.refusals.tell(logging.WARNING, link.transport, f"parts from {connection.peer}: {reason}")
        connection.goodbye.say_now(reason)
        connection.life.cut_off(reason)
