"""How a connection ends because one side wants it to: what was sent leaves first, and the goodbye goes behind it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import trio

from .link import LinkEnd
from .states import CLOSE_DEADLINE, CLOSED_BY_PEER, State

if TYPE_CHECKING:
    from ..protocol import control
    from .connection import Connection
    from .link import Link

logger = logging.getLogger("trioton.link")


class Goodbye:
    """The goodbye of a connection: said by this side in its time or at once, or heard from the other.

    Args:
        connection: The connection.

    Attributes:
        was_said: Whether the goodbye was put on a link. Nothing is said after it.
    """

    __slots__ = ("_connection", "_has_given_up", "was_said")

    def __init__(self, connection: Connection) -> None:
        self.was_said = False
        self._connection = connection
        self._has_given_up = False

    # ---------------------------------------------------------------- in its time

    async def take_leave(self, reason: str) -> None:
        """Send what was sent before, say goodbye, and wait until the peer has got it all, at most for the context's `grace`."""
        connection = self._connection
        was_closing, connection._state = connection._state is State.CLOSING, State.CLOSING
        try:
            await trio.lowlevel.checkpoint()
            with trio.move_on_after(connection._context._grace) as scope:
                if not was_closing:
                    await self._say_behind_all(reason)
                await connection.wait_closed()
            if scope.cancelled_caught:
                self.say_now(reason)
                if connection._link is not None:
                    connection._link.end(LinkEnd.CLOSED, reason)  # not a moment more for last words
        finally:
            await self.give_up(reason)  # shielded, with a deadline, inside  # noqa: ASYNC102

    async def _say_behind_all(self, reason: str) -> None:
        """Let what was sent leave, then say goodbye behind it."""
        connection = self._connection
        dispatcher, progress = connection._context._dispatcher, connection._context._traffic.progress
        connection.close_reason = reason
        connection._context._mesh.retaining.flush()
        while not (connection.is_closed or self.was_said):
            dispatcher.cut()
            link = connection._link
            if link is None:
                if not connection.life.is_resumable or not progress.has_unsent(connection.association):
                    connection.life.cut_off(reason)
                    return
                await connection._changed.park()
                continue
            link.try_write()
            await link.wait_drained()
            held = progress.held_outlet(connection.association)
            if held is not None:
                await held.wait_changed()
                continue
            dispatcher.cut()  # what waited may have found room meanwhile, and gather: it must leave before the goodbye
            if link.is_drained and not (link.is_over or self.was_said):
                self._say(link, reason)

    def _say(self, link: Link, reason: str) -> None:
        """Say the last word."""
        link.say_goodbye(reason)
        self.was_said = True
        self._connection.open_link = None
        link.try_write()

    # ---------------------------------------------------------------- at once

    async def give_up(self, reason: str) -> None:
        """End the connection with no more than a goodbye, also when cancelled, and wait until nothing is left of it."""
        self.say_now(reason)
        self._connection.life.cut_off(reason)
        # The task that owns the link is cancelled now, and ends in a few steps.
        with trio.move_on_after(CLOSE_DEADLINE, shield=True):
            await self._connection.wait_closed()

    def say_now(self, reason: str) -> None:
        """Drop what waits and say goodbye, if the transport takes that without waiting."""
        connection = self._connection
        if connection._state is State.CLOSED:
            return
        connection.close_reason = connection.close_reason or reason
        if not self._has_given_up:
            self._has_given_up = True
            self._count_lost(self._abandon_all())
        if connection.open_link is not None:
            self._say(connection.open_link, reason)
        connection._state = State.CLOSING

    def _abandon_all(self) -> int:
        """Drop what waits to be sent; gives how many messages will not arrive, as far as that can be known here."""
        connection = self._connection
        progress = connection._context._traffic.progress
        connection._context._dispatcher.cut()
        lost = progress.count_held(connection.association)
        if connection.open_link is None:
            # Nobody has confirmed what was written last.
            lost += progress.count_unconfirmed(connection.association)
        return lost + connection.outbox.abandon()

    # ---------------------------------------------------------------- heard, and what is lost

    def heard(self, message: control.Close) -> None:
        """The peer has said goodbye: what is being written may leave, and the answer goes behind it."""
        connection = self._connection
        link = connection._link
        if link is None:
            return
        reason = message.reason or CLOSED_BY_PEER
        if self.was_said:
            link.end(LinkEnd.GOODBYE, reason)
            return
        connection.close_reason = connection.close_reason or reason
        self.abandon()
        connection._state = State.CLOSING
        self._say(link, "goodbye")
        connection._context._start_soon(self._end_when_drained, link)

    @trio.lowlevel.enable_ki_protection
    async def _end_when_drained(self, link: Link) -> None:
        with trio.move_on_after(self._connection._context._grace):
            await link.wait_drained()
        link.end(LinkEnd.GOODBYE, self._connection.close_reason or CLOSED_BY_PEER)

    def abandon(self) -> None:
        """Drop what waits in the outbox, and tell how much that was."""
        self._count_lost(self._connection.outbox.abandon())

    def _count_lost(self, messages: int) -> None:
        if messages:
            self._connection.outbox.dropped += messages
            were_sent = "1 message was sent" if messages == 1 else f"{messages} messages were sent"
            logger.warning("%s: closed before %s", self._connection, were_sent)
