"""How a connection comes to be that this side wants: it dials, as often as makes sense, until a session is up."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import trio

from ..errors import AuthError, ConnectError
from ..protocol.backoff import Reconnect
from .connection import Connection
from .establish import RefusedError
from .namesakes import objection_to_server
from .peer import Peer
from .states import Tie
from .trust import judge

if TYPE_CHECKING:
    from .context import Context
    from .establish import Establisher, Shaken

logger = logging.getLogger("trioton.context")


class Dialler:
    """Makes one connection to an address. How it goes on when the transport is lost later is told in `resuming`.

    Args:
        context: The context that connects.
        name: What to call the connection, or an empty text for the peer's own name.
        address: Whom to dial, as it was named.
        establisher: Dials that address.
        reconnect: How the connection dials again later, or None if it does not.
        is_stub: Whether the context is to be a stub of who answers.
    """

    def __init__(
        self,
        context: Context,
        name: str,
        address: str,
        establisher: Establisher,
        reconnect: Reconnect | None,
        *,
        is_stub: bool = False,
    ) -> None:
        self._context = context
        self._name = name
        self._address = address
        self._establisher = establisher
        self._reconnect = reconnect
        self._is_stub = is_stub

    async def connect(self, *, wait: bool) -> Connection:
        """Give a connection whose session is up.

        Args:
            wait: Dial again unless that would not help.

        Raises:
            ConnectError: There is none to be had.
            trio.ClosedResourceError: The context was closed while this waited to dial again.
            trio.Cancelled: Nothing is left of the attempt.
        """
        context = self._context
        hello = context._hello(returns=self._reconnect is not None, stub=self._is_stub)
        for delay in (self._reconnect or Reconnect()).delays(context._network.random.random):
            try:
                shaken = await self._establisher.establish(hello)
            except ConnectError as error:
                has_session = isinstance(error, RefusedError) and context._neighbours.has_session(error.source)
                if has_session or isinstance(error, AuthError):
                    raise  # Dialling again would not help.
                failure = error
            else:
                connection = self._new_connection(shaken)
                try:
                    await self._wait_up(connection)
                    return connection
                except ConnectError as error:
                    neighbours = context._neighbours
                    if neighbours.objection(connection.peer) or neighbours.objection_to(is_stub=self._is_stub):
                        raise  # Dialling again would not help.
                    failure = error
            if not wait:
                raise failure
            logger.debug("%s: %s; dialling again in %.2f s", context, failure, delay)
            await self._pause(delay)
        raise AssertionError("the delays never end")

    async def _pause(self, delay: float) -> None:
        """Wait before dialling again.

        Raises:
            trio.ClosedResourceError: The context was closed meanwhile.
        """
        context = self._context
        with trio.move_on_after(delay):
            while not context._closing:
                await context._changed.park()
        context._check_open()

    def _new_connection(self, shaken: Shaken) -> Connection:
        """Start the life of a connection over a transport.

        Raises:
            ConnectError: The context cannot have one with who answered there.
        """
        context = self._context
        peer = Peer.from_hello(shaken.hello, transport=shaken.transport)
        objection = context._neighbours.objection(peer) or context._neighbours.objection_to(is_stub=self._is_stub)
        objection = objection or objection_to_server(context, shaken)
        if objection is not None:
            shaken.transport.close()
            raise ConnectError(f"cannot connect to {self._address}: {objection}")
        connection = Connection(
            context,
            name=self._name or peer.name,
            address=self._address,
            peer=peer,
            establisher=self._establisher,
            reconnect=self._reconnect,
            tie=Tie.PARENT if self._is_stub else Tie.PEERS,
        )
        connection.standing = judge(shaken.transport, context._network)
        assert shaken.hello.session is not None
        connection.life.tokens.append(shaken.hello.session)
        context._neighbours.add(connection)
        context._start_soon(connection.life.run, shaken)
        return connection

    async def _wait_up(self, connection: Connection) -> None:
        """Wait until the session of a new connection is up; if that fails, nothing is left of it.

        Raises:
            ConnectError: It ended first, or took too long.
        """
        goodbye = connection.goodbye
        try:
            with trio.move_on_after(self._context._limits.handshake_deadline) as scope:
                await connection.wait_connected()
        except BaseException:
            await goodbye.give_up("the attempt to connect was given up")  # shielded, with a deadline, inside  # noqa: ASYNC102
            raise
        if scope.cancelled_caught:
            await goodbye.give_up("the peer did not finish the handshake")
            raise ConnectError(f"cannot connect to {self._address}: the peer did not finish the handshake in time")
