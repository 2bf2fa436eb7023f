"""Opening a context: the block that owns everything, and what comes out of it when something goes wrong inside."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import trio

from .._arguments import check_seconds
from ..protocol.heartbeat import Heartbeat
from ..protocol.limits import Limits
from ..protocol.permissions import Permissions
from ..transports.base import Network, Security
from ..transports.system import system_network
from .arguments import check_text
from .context import Context
from .peer import Peer


@asynccontextmanager
async def open_context(
    name: str = "",
    *,
    network: Network | None = None,
    security: Security | None = None,
    permissions: Permissions | Callable[[Peer], Permissions] = Permissions(),  # noqa: B008  # frozen
    limits: Limits = Limits(),  # noqa: B008  # frozen
    heartbeat: Heartbeat = Heartbeat(),  # noqa: B008  # frozen
    grace: float = 5.0,
) -> AsyncIterator[Context]:
    """Open a context; use as ``async with trioton.open_context() as ctx:``.

    Leaving the block closes everything that the context owns. What was sent is drained first, at most for `grace` seconds; if the
    surrounding scope is cancelled nothing is drained and peers hear only a goodbye. An exception of the block leaves as itself;
    an exception group leaves only if a task of the context has failed, too.

    Args:
        name: What other contexts see; need not be unique.
        network: Where addresses live: the system's sockets by default, or a host of a `trioton.testing.Network`.
        security: How neighbours prove to each other who they are; by default only the system vouches for them, see `Connection.kind`.
        permissions: What neighbours may do that are not trusted, as `Connection.kind` says: a `Permissions` for all of them, or a function
            that is called with a `Peer` once for each link to one, and gives a `Permissions`. What a peer calls itself proves nothing:
            look at its `identity` and `uid`. If the function raises, or gives something else, the link is refused, and the log says why.
        limits: The bounds that protect the context.
        heartbeat: How links are watched.
        grace: Seconds that closing may take.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: `name` is too long or not printable, or `grace` is negative or infinite.
    """
    check_text("name", name)
    check_seconds("grace", grace)
    for argument, value, kind in (("limits", limits, Limits), ("heartbeat", heartbeat, Heartbeat)):
        if not isinstance(value, kind):
            raise TypeError(f"{argument} must be a trioton.{kind.__name__}, not {value!r}")
    if network is not None and not isinstance(network, Network):
        raise TypeError(f"network must be a network, such as a host of trioton.testing.Network, not {network!r}")
    if security is not None and not isinstance(security, Security):
        raise TypeError(f"security must be a trioton.Secret, a trioton.Mutual or None, not {type(security).__name__}")
    if not isinstance(permissions, Permissions) and not callable(permissions):
        raise TypeError(f"permissions must be a trioton.Permissions, or a function that gives one, not {permissions!r}")
    body_error: BaseException | None = None
    failure: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            context = Context(name, network or system_network(), security, permissions, limits, heartbeat, grace)
            # The block's own task is in neither of the two inner nurseries: closing the context must not cancel it.
            await nursery.start(context._own_tasks)
            await nursery.start(context._own_user_tasks)
            try:
                yield context
            except BaseException as error:  # noqa: BLE001  # it is raised again
                body_error = error
                try:
                    await context.aclose()
                finally:
                    raise error  # also if closing was cancelled: what has failed in the block must not be lost
            await context.aclose()
    except BaseExceptionGroup as group:
        failure = _without_group(group, body_error)
    if failure is not None:
        raise failure  # out here, so that the group does not become its context, and its traceback is printed once


def _without_group(group: BaseExceptionGroup[BaseException], body_error: BaseException | None) -> BaseException:
    """The exception of the block itself if there is no other, else the group, less groups that only hold another one."""
    if body_error is not None:
        # If the block raised a group, Trio hands on a copy of it, less what it has caught of that; the exceptions inside are the same.
        left, raised = _leaves(group), _leaves(body_error)
        if left == raised:
            return body_error
        if left < raised and len(group.exceptions) == 1:
            return group.exceptions[0]
    while len(group.exceptions) == 1 and isinstance(group.exceptions[0], BaseExceptionGroup):
        group = group.exceptions[0]
    return group


def _leaves(error: BaseException) -> set[int]:
    """The identities of the exceptions in a group, or that of the exception if it is none."""
    if not isinstance(error, BaseExceptionGroup):
        return {id(error)}
    return set().union(*map(_leaves, error.exceptions))
