"""A neighbour that says it is a context which is in the network already, by another way.

Whoever is trusted is believed that. Of all others, one who comes in by two doors must have proved the same at both.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import TYPE_CHECKING, Final

from .trust import judge

if TYPE_CHECKING:
    from .context import Context
    from .establish import Shaken
    from .trust import Standing

NAMESAKE: Final = (
    "a context of this identity is in the network already, by another way, and nothing proves that both are the same"
)


def objection_to(context: Context, wire_id: bytes, standing: Standing, *, is_stub: bool) -> str | None:
    """Why a neighbour is not believed to be the context that it says, or None.

    Args:
        context: The context whose neighbour it is to be.
        wire_id: Who it says it is.
        standing: What its link proves.
        is_stub: Whether it is to be a stub of the context.
    """
    if standing.may_speak_for_others or not context._mesh.topology.reaches(wire_id):
        return None
    from ..protocol.bounds import bounds_of  # the mesh brings it, and is imported late

    bounds = bounds_of(context._mesh.topology, [wire_id])[wire_id]
    return NAMESAKE if bounds - {standing.bound(is_stub=is_stub)} else None


def objection_to_server(context: Context, shaken: Shaken) -> str | None:
    """The same of who answers where a context has dialled."""
    standing = judge(shaken.transport, context._network)
    return objection_to(context, shaken.hello.id.to_wire(), standing, is_stub=False)


def cut_off_namesakes(context: Context, suspects: Collection[bytes]) -> None:
    """Part from neighbours who turn out to be in the network by another way, too, and have not proved the same there.

    Args:
        context: The context.
        suspects: Those of its neighbours who are not trusted, and of whom others have told something.
    """
    from ..protocol.bounds import bounds_of  # as above

    for wire_id, bounds in bounds_of(context._mesh.topology, suspects).items():
        connection = context._neighbours.route(wire_id)
        link = None if connection is None else connection.open_link
        if connection is None or link is None or connection.standing.may_speak_for_others:
            continue
        if bounds - {connection.belief.bound}:
            context._doorman.refusals.tell(logging.WARNING, link.transport, f"parts from {connection.peer}: {NAMESAKE}")
            connection.goodbye.say_now(NAMESAKE)
            connection.life.cut_off(NAMESAKE)
