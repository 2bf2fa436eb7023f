"""Whether contexts are at rest: nothing is under way, and nothing is held for anybody."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import trio

from ..network.context import Context

PATIENCE: Final = 30.0
"""Seconds of Trio's clock in which what is under way may arrive and be confirmed."""


async def check_at_rest(*contexts: Context, patience: float = PATIENCE) -> None:
    """Check that these contexts hold nothing: all that was sent has been written, received and confirmed.

    A context that is suspended from a peer, or whose receivers have left something unread, is not at rest. One that was closed is.

    Args:
        contexts: The contexts; best all that have to do with each other.
        patience: How long, in seconds of Trio's clock, to wait for what is under way.

    Raises:
        AssertionError: Something is left; the text says what, and where.
        TypeError: One of `contexts` is no context.
        ValueError: `patience` is not positive.
    """
    if not patience > 0:
        raise ValueError(f"patience must be a positive number of seconds, not {patience!r}")
    for context in contexts:
        if not isinstance(context, Context):
            raise TypeError(f"contexts must be contexts, as open_context gives them, not {context!r}")
    with trio.move_on_after(patience):
        for context in contexts:
            await _flush(context)
    left = [
        f"context {context}: {what}" for context in contexts for what in list(_left_in(context)) or _charged_in(context)
    ]
    if left:
        raise AssertionError("\n".join(("not at rest:", *left)))


async def _flush(context: Context) -> None:
    """Wait until others have confirmed what the context has sent, if it is open."""
    try:
        await context.flush()
    except (trio.ClosedResourceError, trio.BrokenResourceError):
        await trio.lowlevel.checkpoint()


def _left_in(context: Context) -> Iterator[str]:
    """What a context still holds, one line for each place where there is something."""
    traffic = context._traffic
    for connection in context.connections:
        queued = connection.statistics().packages_queued
        unconfirmed = traffic.progress.count_unconfirmed(connection.association)
        if queued:
            yield f"{_count(queued, 'package')} queued for {connection.peer}"
        if unconfirmed:
            yield f"{_count(unconfirmed, 'message')} not confirmed by {connection.peer}"
    for outlet in traffic.outlets.all():
        if outlet.backlog:
            yield f"{_count(outlet.backlog, 'message')} in the backlog of {outlet.flow.slot!r}"
        if outlet.waiting:
            yield f"{_count(outlet.waiting, 'task')} waiting for room on {outlet.flow.slot!r}"
    for slot, subscriptions in traffic.subscriptions.by_slot.items():
        for subscription in subscriptions:
            if subscription.inbox.pending:
                yield f"{_count(subscription.inbox.pending, 'message')} not received on {slot!r}"


def _charged_in(context: Context) -> Iterator[str]:
    """What the context counts as held for others, though it holds nothing."""
    listened_to = sum(connection.talk.interest_bytes for connection in context.connections)
    if context._memory.used != listened_to:
        yield f"{context._memory.used - listened_to} bytes are charged to its peers"


def _count(number: int, noun: str) -> str:
    """Such as ``2 messages``."""
    return f"{number} {noun}{'s' if number > 1 else ''}"
