"""The life of a connection, which one task of the context owns: a link, a wait for the next one, and so on until the end."""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING, Final

import trio

from ..protocol.control import Close, encode_control
from ..protocol.heartbeat import HeartbeatMachine
from ..protocol.limits import MAX_RUN_BYTES
from . import events
from .guard import Guard
from .link import LAST_WORDS, Link, LinkEnd, LinkResult
from .namesakes import objection_to_server
from .peer import Peer
from .resuming import Redialler, wait_resumed
from .states import CLOSED_HERE, CONTEXT_CLOSED, State
from .trust import GrantError, grant, judge

if TYPE_CHECKING:
    from ..protocol.backoff import Reconnect
    from ..protocol.handshake import Hello
    from ..transports.base import Transport
    from .connection import Connection
    from .establish import Establisher, Shaken

logger = logging.getLogger("trioton.link")

NOT_PERMITTED: Final = "the context could not tell what this peer may do, and takes it for nobody"
"""What a peer hears if the user's function has failed; why it has is nothing that concerns strangers."""


class Life:
    """What happens to a connection from its first link to its end.

    Args:
        connection: The connection.
        establisher: Dials its peer, or None if the peer has dialled.
        reconnect: How to dial again when a link is lost; None makes a loss final.

    Attributes:
        tokens: By which a client names the session that it comes back to; the last is the newest.
        is_resumable: Whether the session outlives its links.
        has_dialled: Whether this side has dialled the other.
        has_joined: Whether the session has been up, and the context has told of that.
        redialler: Brings up the next link, or None if that is the peer's task, or nobody's.
        handed_over: The transport of the next link, which the session waits for.
    """

    __slots__ = (
        "_connection",
        "_context",
        "_scope",
        "handed_over",
        "has_dialled",
        "has_joined",
        "is_resumable",
        "redialler",
        "tokens",
    )

    def __init__(self, connection: Connection, establisher: Establisher | None, reconnect: Reconnect | None) -> None:
        self.tokens: list[bytes] = []
        self.is_resumable = establisher is None or reconnect is not None
        self.has_dialled = establisher is not None
        self.has_joined = False
        self.redialler: Redialler | None = None
        if establisher is not None and reconnect is not None:
            self.redialler = Redialler(connection, establisher, reconnect)
        self.handed_over: Shaken | None = None
        self._connection = connection
        self._context = connection._context
        self._scope = trio.CancelScope()

    @trio.lowlevel.enable_ki_protection
    async def run(self, shaken: Shaken) -> None:
        """Own the connection until it has ended for good. To be run as a task of the context."""
        following: Shaken | None = shaken
        try:
            with self._scope:
                while following is not None:
                    shaken, following = following, None
                    result = await self._run_link(shaken)
                    if not self._is_final(result):
                        following = await self._suspend(result)
        except BaseException:  # cancelled from outside, alone or in a group
            self._connection.goodbye.say_now(CONTEXT_CLOSED)
            raise
        finally:
            self.end()

    # ---------------------------------------------------------------- what others do to it

    def hand_over(self, shaken: Shaken) -> None:
        """The client has come back: go on over this transport. A link that is still up is replaced."""
        if self.handed_over is not None:
            self.handed_over.transport.close()
        self.handed_over = shaken
        if self._connection._link is not None:
            self._connection._link.end(LinkEnd.REPLACED, "the peer came back over another transport")
        self._connection._changed.unpark_all()

    async def wait_handed_over(self) -> None:
        """Wait until the client has come back."""
        while self.handed_over is None:
            await self._connection._changed.park()

    @property
    def gives_way(self) -> bool:
        """Whether to give way to a connection that the peer has made at the same moment: the smaller identity's stays, on both sides."""
        return self.has_dialled and not self.has_joined and self._connection.peer.id < self._context.id

    def came_up(self) -> None:
        """The talk over the link is settled: the session is up, for the first time or again."""
        connection = self._connection
        connection._state = State.CONNECTED
        self._context._neighbours.came_up(connection, is_new=not self.has_joined)
        self.has_joined = True
        connection._changed.unpark_all()

    def cut_off(self, reason: str) -> None:
        """End the connection without a further word."""
        if self._connection._state is not State.CLOSED:
            self._connection.close_reason = self._connection.close_reason or reason
            self._scope.cancel()

    def end(self) -> None:
        """The connection has ended for good, whatever its task still has to do. May be called twice."""
        connection = self._connection
        if connection._state is State.CLOSED:
            return
        connection._state = State.CLOSED
        connection.close_reason = connection.close_reason or CLOSED_HERE
        if self.handed_over is not None:
            self.handed_over.transport.close()
        connection.goodbye.abandon()
        connection.talk.end()
        self._context._neighbours.closed(connection, has_joined=self.has_joined)
        connection._changed.unpark_all()

    # ---------------------------------------------------------------- one link

    async def _run_link(self, shaken: Shaken) -> LinkResult:
        """Use one transport until that is over."""
        connection, since = self._connection, trio.current_time()
        was_apart = connection.belief.is_apart
        try:
            self._admit(shaken.transport)
        except GrantError as error:
            return await self._turn_away(shaken.transport, str(error))
        machine = HeartbeatMachine(self._context._heartbeat, since, answers=self.has_dialled)
        link = self._new_link(shaken, machine)
        connection._link = link
        connection.open_link = None if connection.goodbye.was_said else link
        connection._totals.transports += 1
        self._agree(shaken.hello)
        connection.belief.begin(shaken.hello)
        self._context._neighbours.sort(connection)
        connection.talk.expect_pings(shaken.hello)
        logger.debug("%s: link up over %s, %s", link.name, shaken.transport.kind, shaken.transport.remote_address)
        try:
            if connection.association.is_remote:
                self._context._associations.go_straight(connection)
            if was_apart and not connection.belief.is_apart:
                self._context._mesh.flooding.repeat(connection.peer.wire_id)
            shaken.session.charge_to(connection.memory)
            connection.talk.begin(link)
            return await link.run(shaken.first_events)
        finally:
            connection._link = connection.open_link = None
            connection._rtt = machine.rtt or connection._rtt
            connection._totals.add(link)
            connection.outbox.restart()
            if self.redialler is not None:
                self.redialler.held(trio.current_time() - since)

    def _admit(self, transport: Transport) -> None:
        """Find out how far the peer is trusted over a transport, and what it may do.

        Raises:
            GrantError: Nobody can tell.
        """
        connection, context = self._connection, self._context
        connection.standing = judge(transport, context._network)
        permissions = grant(context._granting, connection.peer, transport, connection.standing)
        connection._permissions = permissions
        connection.guard = None if permissions is None else Guard(connection, permissions, transport)

    async def _turn_away(self, transport: Transport, reason: str) -> LinkResult:
        """End a link before anything was said over it."""
        self._context._doorman.refusals.tell(logging.ERROR, transport, f"refused {self._connection.peer}: {reason}")
        try:
            with trio.move_on_after(LAST_WORDS):
                await transport.send_all(encode_control(Close(NOT_PERMITTED)))
        except trio.BrokenResourceError:
            pass  # it has left
        finally:
            transport.close()
        return LinkResult(LinkEnd.CLOSED, NOT_PERMITTED)

    def _new_link(self, shaken: Shaken, machine: HeartbeatMachine) -> Link:
        connection, goodbye = self._connection, self._connection.goodbye
        # A peer that may do everything pays nothing for there being others.
        hears = connection.talk if connection.guard is None else connection.guard
        return Link(
            shaken.transport,
            shaken.session,
            connection.outbox,
            machine,
            self._context._heart,
            on_events=hears.heard,
            pause=connection.talk.pause,
            on_beat=self._on_beat,
            on_damage=goodbye.say_now,
            on_cancel=functools.partial(goodbye.say_now, CONTEXT_CLOSED),
            name=f"{self._context}: {connection.name or connection.peer}",
        )

    def _agree(self, hello: Hello) -> None:
        """Keep to the limits of the peer, which may be others each time."""
        connection, limits = self._connection, self._context._limits
        connection.window_bytes = min(limits.window_bytes, hello.window_bytes)
        connection.max_package = max(hello.max_package, MAX_RUN_BYTES)
        connection.peer_retains = hello.retains
        connection.outbox.open_limit = min(limits.reassembly_bytes, hello.reassembly_bytes)
        association = connection.association
        association.window_bytes, association.max_package = connection.window_bytes, connection.max_package

    def _on_beat(self, timed_out: bool) -> None:
        connection = self._connection
        self._context._hub.emit(events.TimedOut(connection) if timed_out else events.Recovered(connection))
        logger.info("%s: %s", connection, "timed out" if timed_out else "recovered")

    # ---------------------------------------------------------------- between links

    def _is_final(self, result: LinkResult) -> bool:
        """Whether the connection ends with its link; then `close_reason` says why."""
        connection = self._connection
        if result.end in {LinkEnd.GOODBYE, LinkEnd.CLOSED} or connection._state is State.CLOSING:
            connection.close_reason = connection.close_reason or result.reason
            return True
        if result.end is LinkEnd.DAMAGED or not self.is_resumable:
            connection.close_reason = result.reason
            return True
        return False

    async def _suspend(self, result: LinkResult) -> Shaken | None:
        """Wait for the next transport; None if the connection has ended instead."""
        connection, hub = self._connection, self._context._hub
        if connection._state is State.CONNECTED:
            hub.emit(events.Suspended(connection, result.reason))
            logger.info("%s: suspended: %s", connection, result.reason)
        connection._state = State.SUSPENDED
        self._context._mesh.membership.link_lost(connection)
        connection._changed.unpark_all()
        shaken = await self._find_transport()
        if shaken is None:
            connection.close_reason = connection.close_reason or f"{result.reason}; it did not come back"
            if self.has_joined:
                hub.emit(events.SessionLost(connection, connection.close_reason))
        elif not shaken.hello.resumed and self.redialler is not None:
            self._lose_session("the server did not know the session any more")
            return self._begin_anew(shaken)
        return shaken

    async def _find_transport(self) -> Shaken | None:
        """Wait until the session can be resumed, or while there is somebody to dial until it can be begun anew."""
        if self.handed_over is None:
            await wait_resumed(self._connection)
        if self.handed_over is None and self.redialler is not None:
            self._lose_session("its resume window is over, or its process has ended")
            self.handed_over = await self.redialler.dial(None)
        shaken, self.handed_over = self.handed_over, None
        return shaken

    def _lose_session(self, reason: str) -> None:
        """Forget what the session knew; its peer counts as dead."""
        has_joined, self.has_joined = self.has_joined, False
        self._context._neighbours.lost_session(self._connection, reason, has_joined=has_joined)

    def _begin_anew(self, shaken: Shaken) -> Shaken | None:
        """Start a new session, with the peer that answers now; None if there is a connection to that one already."""
        connection, neighbours = self._connection, self._context._neighbours
        peer = Peer.from_hello(shaken.hello, transport=shaken.transport)
        connection.close_reason = neighbours.objection(peer) or objection_to_server(self._context, shaken)
        if connection.close_reason is not None:
            shaken.transport.close()
            return None
        connection.peer = peer
        connection.standing = judge(shaken.transport, self._context._network)
        connection._state = State.CONNECTING
        neighbours.add(connection)
        return shaken
