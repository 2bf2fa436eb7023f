"""A neighbour that says it is a context which is in the network already, by another way.

Whoever is trusted is believed that. Of all others, one who comes in by two doors must have proved the same at both; and one of whom nobody
else is told, since neither side believes the other anything of others, cannot be anywhere else.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from .states import Tie
from .trust import judge

if TYPE_CHECKING:
    from .context import Context
    from .establish import Shaken
    from .trust import Standing

NAMESAKE: Final = (
    "a context of this identity is in the network already, by another way, and nothing proves that both are the same"
)


def objection_to(context: Context, wire_id: bytes, standing: Standing, *, is_stub: bool, is_leaf: bool) -> str | None:
    """Why a neighbour is not believed to be the context that it says, or None.

    Args:
        context: The context whose neighbour it is, or is to be.
        wire_id: Who it says it is.
        standing: What its link proves.
        is_stub: Whether it is a stub of the context.
        is_leaf: Whether it believes the context nothing of others.
    """
    if standing.may_speak_for_others:
        return None
    bounds = context._mesh.topology.bounds_of(wire_id)
    if not is_leaf or is_stub:
        bounds -= {standing.bound(is_stub=is_stub)}
    return NAMESAKE if bounds else None


def objection_to_server(context: Context, shaken: Shaken) -> str | None:
    """The same of who answers where a context has dialled."""
    hello, standing = shaken.hello, judge(shaken.transport, context._network)
    return objection_to(context, hello.id.to_wire(), standing, is_stub=False, is_leaf=bool(hello.leaf))


def cut_off_namesakes(context: Context) -> None:
    """Ways have changed: part from neighbours who turn out to be in the network by another way, too, if they have not proved the same there."""
    for connection in context._neighbours.with_session():
        standing, belief = connection.standing, connection.belief
        if standing.may_speak_for_others or connection.open_link is None:
            continue
        is_stub = connection.tie is Tie.STUB
        wire_id = connection.peer.wire_id
        reason = objection_to(context, wire_id, standing, is_stub=is_stub, is_leaf=not belief.hears_others)
        if reason is not None:
            part(context, wire_id, reason)


def part(context: Context, wire_id: bytes, reason: str = NAMESAKE) -> None:
    """Say goodbye at once to a neighbour that is not who it says."""
    connection = context._neighbours.route(wire_id)
    link = None if connection is None else connection.open_link
    if connection is not None and link is not None:
        context._doorman.refusals.tell(logging.WARNING, link.transport, f"parts from {connection.peer}: {reason}")
        connection.goodbye.say_now(reason)
        connection.life.cut_off(reason)
