"""How a connection that has lost its transport gets the next one: its client dials again, its server waits for that."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import trio

from ..errors import AuthError, ConnectError
from . import events
from .states import Tie

if TYPE_CHECKING:
    from ..protocol.backoff import Reconnect
    from ..protocol.handshake import Hello
    from .connection import Connection
    from .establish import Establisher, Shaken

LONGEST_WAIT: Final = 0.1
"""The longest wait between two attempts to resume a session, as a part of the resume window."""

ANSWER_DEADLINE: Final = 0.5
"""Seconds that a client which dials anew is given to show that it has not left its last connection."""

GIVEN_UP: Final = "the peer has given it up and connected anew"

logger = logging.getLogger("trioton.link")


class Redialler:
    """Brings up the next transport of a connection that this side has dialled.

    Args:
        connection: The connection.
        establisher: Dials its address.
        reconnect: How long to wait between the attempts.
    """

    def __init__(self, connection: Connection, establisher: Establisher, reconnect: Reconnect) -> None:
        self._connection = connection
        self._establisher = establisher
        self._reconnect = reconnect
        self._delays: Iterator[float] | None = None

    def held(self, seconds: float) -> None:
        """The last transport has held for so long; if that was long enough, the waits start anew."""
        if seconds >= self._reconnect.stable:
            self._delays = None

    async def dial(self, token: bytes | None) -> Shaken:
        """Dial until somebody answers, to resume the session of a token or for a new one."""
        context = self._connection._context
        # While there is a session to lose, no wait may be so long that the window goes by.
        longest = math.inf if token is None else context._limits.resume_window * LONGEST_WAIT
        if self._delays is None:
            self._delays = self._reconnect.delays(context._network.random.random)
        has_warned = False
        for delay in self._delays:
            await trio.sleep(min(delay, longest))
            hello = context._hello(resume=token, stub=self._connection.tie is Tie.PARENT)
            try:
                shaken = await self._establisher.establish(hello)
            except ConnectError as error:
                # What proves who we are may be renewed at either end, so this is not the end of it; but somebody should hear of it.
                level = logging.WARNING if isinstance(error, AuthError) and not has_warned else logging.DEBUG
                has_warned = has_warned or isinstance(error, AuthError)
                logger.log(level, "%s: %s; dialling again", self._connection, error)
                continue
            if shaken.hello.resumed and shaken.hello.id != self._connection.peer.id:
                # Only damage, or someone who lies, says so: a session is between two contexts.
                shaken.transport.close()
                logger.warning("%s: %s resumes a session that was with another", self._connection, shaken.hello.id)
                continue
            assert shaken.hello.session is not None
            self._connection.life.tokens[:] = [shaken.hello.session]
            return shaken
        raise AssertionError("the delays never end")


async def wait_resumed(connection: Connection) -> None:
    """Wait until a connection has got its next transport, its resume window is over, or its peer's process is known to have ended."""
    life = connection.life
    with trio.move_on_after(connection._context._limits.resume_window):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_when_process_ends, connection, nursery.cancel_scope)
            if life.redialler is None:
                await life.wait_handed_over()
            else:
                life.handed_over = await life.redialler.dial(life.tokens[-1])
            nursery.cancel_scope.cancel()


def may_give_up(hello: Hello, connection: Connection) -> bool:
    """Whether a client that says hello may end this session by beginning another: its own process has dialled both."""
    is_same = (hello.pid, hello.host) == (connection.peer.pid, connection.peer.host)
    return is_same and hello.resume is None and not connection.life.has_dialled


def waits_for_client(connection: Connection) -> bool:
    """Whether a connection that the peer has dialled has lost its link: the peer must come back, or has given it up."""
    has_begun = connection._totals.transports > 0
    return has_begun and connection._link is None and connection.life.handed_over is None


async def wait_given_up(connection: Connection) -> None:
    """Wait until a connection is closed or waits for its client, or until that answers over it, but not for long."""
    with trio.move_on_after(ANSWER_DEADLINE):
        while not connection.is_closed and not waits_for_client(connection):
            link = connection._link
            if link is None:
                await trio.lowlevel.checkpoint()  # its task is about to begin
            elif link.is_over or connection.goodbye.was_said:
                await connection._changed.park()
            elif await connection._ping(link):
                return


def end_given_up(connection: Connection) -> None:
    """The peer dials anew though it could have come back: end the session that waits for it, before the new one begins."""
    connection.close_reason = connection.close_reason or GIVEN_UP
    if connection.life.has_joined:
        connection._context._hub.emit(events.SessionLost(connection, connection.close_reason))
    connection.life.end()
    connection.life.cut_off(GIVEN_UP)


async def _cancel_when_process_ends(connection: Connection, scope: trio.CancelScope) -> None:
    network, peer = connection._context._network, connection.peer
    if peer.host == network.host_id and peer.pid != network.pid:
        await network.wait_process_ended(peer.pid)
        scope.cancel()
