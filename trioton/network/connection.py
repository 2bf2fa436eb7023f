"""A connection: the session with one neighbour, over as many transports as it takes."""

from __future__ import annotations

import enum
import functools
import logging
import math
from typing import TYPE_CHECKING, Any, Final

import trio

from ..errors import ConnectError, ProtocolError
from ..protocol import control
from ..protocol.heartbeat import MIN_TIMEOUT, HeartbeatMachine
from ..protocol.limits import MAX_RUN_BYTES, MIB
from ..protocol.outbox import Outbox
from ..protocol.session import PackageReceived
from . import events
from .flow_talk import FLOW_HANDLERS
from .link import Link, LinkEnd, LinkResult
from .peer import Peer
from .resuming import Redialler, wait_resumed
from .statistics import ConnectionStatistics, LinkTotals

if TYPE_CHECKING:
    from ..protocol.backoff import Reconnect
    from ..protocol.session import Event
    from .context import Context
    from .establish import Establisher, Shaken

logger = logging.getLogger("trioton.link")

CLOSED_BY_PEER: Final = "closed by the peer"
CLOSED_HERE: Final = "closed on command"
CONTEXT_CLOSED: Final = "the context was closed"

MAX_ANSWER_BYTES: Final = 2 * MIB
"""Bytes of answers to what the peer has said that may wait until it reads."""

CLOSE_DEADLINE: Final = 1.0
"""Seconds that the tasks of a connection may take to end when they are cancelled; they need none unless something is wrong."""


class State(enum.Enum):
    """Where a connection stands."""

    CONNECTING = "connecting"
    CONNECTED = "connected"
    SUSPENDED = "suspended"
    CLOSING = "closing"
    CLOSED = "closed"


class Connection:
    """The session between this context and one neighbour; made by `Context.connect` and by listeners.

    Attributes:
        name: The name given to `Context.connect`, or the peer's own name.
        address: The address as it was named, or where the client is.
        peer: Who is at the other end.
        close_reason: Why it ended, or None while it has not.
    """

    # For the rest of the package there are also:
    # outbox: what waits to be written.
    # open_link: the link, until it is lost or the goodbye was said over it.
    # max_package: bytes of the largest message that the peer takes.
    # window_bytes: bytes that a flow may be ahead of what has been taken, on either side.
    # awaits_snapshot: whether the peer is still telling what it listens to.

    def __init__(
        self,
        context: Context,
        *,
        name: str,
        address: str,
        peer: Peer,
        establisher: Establisher | None,
        reconnect: Reconnect | None,
    ) -> None:
        self.name = name
        self.address = address
        self.peer = peer
        self.close_reason: str | None = None
        self.outbox = Outbox(context._limits.queue_bytes)
        self.awaits_snapshot = True
        self.tokens: list[bytes] = []
        self.window_bytes = context._limits.window_bytes
        self.max_package = context._limits.max_package
        self.is_resumable = establisher is None or reconnect is not None
        self._context = context
        self._has_dialled = establisher is not None
        self._redialler = None
        if establisher is not None and reconnect is not None:
            self._redialler = Redialler(self, establisher, reconnect)
        self._state = State.CONNECTING
        self._link: Link | None = None
        self.open_link: Link | None = None
        self._scope = trio.CancelScope()
        self._timeout = context._heartbeat.timeout
        self._announced: dict[str, None] = {}
        self._got_synced = False
        self._said_goodbye = False
        self._has_given_up = False
        self._has_joined = False
        self._changed = trio.lowlevel.ParkingLot()
        self._totals = LinkTotals()
        self._handed_over: Shaken | None = None
        self._answer_bytes = 0
        self._rtt: float | None = None

    # ---------------------------------------------------------------- for users

    @property
    def kind(self) -> str:
        """How far the peer is trusted: ``"trusted"`` (the same user, over a Unix socket) or ``"unauthenticated"``."""
        return "trusted" if self.is_same_user else "unauthenticated"

    @property
    def is_same_user(self) -> bool:
        """Whether the system vouches that the peer is run by the same user."""
        uid = None if self._link is None else self._link.transport.peer_uid
        return uid is not None and uid == self._context._network.uid

    @property
    def transport(self) -> str | None:
        """The kind of transport in use: ``"tcp"``, ``"unix"``, ``"tls"``, ..., or None while there is none."""
        return None if self._link is None else self._link.transport.kind

    @property
    def is_connected(self) -> bool:
        """Whether the session is up and its transport alive."""
        return self._state is State.CONNECTED

    @property
    def is_closed(self) -> bool:
        """Whether the connection has ended for good."""
        return self._state is State.CLOSED

    @property
    def rtt(self) -> float | None:
        """Seconds that the last heartbeat took to be answered, or None before the first."""
        return self._rtt if self._link is None else self._link.machine.rtt or self._rtt

    @property
    def timeout(self) -> float:
        """Seconds of the peer's silence before a `TimedOut` event; the peer is asked to be heard twice as often.

        Raises:
            TypeError: When set to something that is not a number.
            ValueError: When set below 0.01 or to infinity.
        """
        return self._timeout

    @timeout.setter
    def timeout(self, seconds: float) -> None:
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
            raise TypeError(f"timeout must be a number of seconds, not {seconds!r}")
        if not MIN_TIMEOUT <= seconds < math.inf:
            raise ValueError(f"timeout must be at least {MIN_TIMEOUT} and finite, not {seconds!r}")
        self._timeout = float(seconds)
        if self._link is not None:
            self._apply_timeout(self._link)

    @trio.lowlevel.enable_ki_protection
    async def aclose(self, reason: str = "") -> None:
        """Send what was sent before, say goodbye with a reason that the peer sees, and close.

        It waits until the peer has got everything, at most for the context's `grace`. Cancelled, it closes at once.
        Closing twice does nothing.

        Raises:
            TypeError: `reason` is not a text.
        """
        if not isinstance(reason, str):
            raise TypeError(f"reason must be a str, not {reason!r}")
        if self._state is State.CLOSED:
            await trio.lowlevel.checkpoint()
            return
        was_closing, self._state = self._state is State.CLOSING, State.CLOSING
        try:
            await trio.lowlevel.checkpoint()
            with trio.move_on_after(self._context._grace) as scope:
                if not was_closing:
                    await self._say_goodbye(reason or CLOSED_HERE)
                await self.wait_closed()
            if scope.cancelled_caught:
                self.say_goodbye_now(reason or CLOSED_HERE)
                if self._link is not None:
                    self._link.end(LinkEnd.CLOSED, reason or CLOSED_HERE)  # not a moment more for last words
        finally:
            await self.give_up(reason or CLOSED_HERE)  # shielded, with a deadline, inside  # noqa: ASYNC102

    async def flush(self) -> None:
        """Wait until this neighbour has got everything that was sent to it before.

        Raises:
            trio.BrokenResourceError: The connection ended first; ``__cause__`` is None, `close_reason` says why.
        """
        await trio.lowlevel.checkpoint()
        self._context._dispatcher.cut()
        while not self.is_closed:
            link = self._link
            if link is not None and self.is_connected:
                await link.wait_drained()
                if not link.is_over and await self._ping(link):
                    return
            else:
                await self._changed.park()
        raise trio.BrokenResourceError(f"the connection to {self.peer} ended: {self.close_reason}")

    async def wait_closed(self) -> None:
        """Wait until the connection has ended for good; a checkpoint."""
        await trio.lowlevel.checkpoint()
        while not self.is_closed:
            await self._changed.park()

    def statistics(self) -> ConnectionStatistics:
        """What has gone over the connection so far."""
        link, totals = self._link, self._totals
        session = None if link is None else link.session
        return ConnectionStatistics(
            state=self._state.value,
            transport=self.transport,
            bytes_sent=totals.bytes_sent + (0 if link is None else link.bytes_sent),
            bytes_received=totals.bytes_received + (0 if session is None else session.bytes_received),
            packages_sent=self.outbox.packages,
            packages_received=totals.packages_received + (0 if session is None else session.packages_received),
            messages_sent=self.outbox.messages,
            messages_received=totals.messages_received + (0 if session is None else session.messages_received),
            messages_dropped=self.outbox.dropped,
            packages_queued=self.outbox.queued,
            rtt=self.rtt,
            transports=totals.transports,
        )

    def __repr__(self) -> str:
        over = f" over {self.transport}" if self.transport else ""
        return f"<Connection {self.name!r} to {self.peer} at {self.address}{over}, {self._state.value}>"

    # ---------------------------------------------------------------- for the context

    @property
    def has_said_goodbye(self) -> bool:
        """Whether the session has ended, or is about to, because one side wanted it to."""
        return self._said_goodbye

    def send_control(self, message: control.Control) -> None:
        """Say something about flows; without a link nothing is said, since a new link begins with a snapshot."""
        if self._link is not None and not self._said_goodbye:
            self._link.send_control(message)
            self._context._dispatcher.will_write(self)

    def try_write(self) -> None:
        """Write what waits, as far as the transport takes it at once."""
        if self._link is not None:
            self._link.try_write()

    def hand_over(self, shaken: Shaken) -> None:
        """The client has come back: go on over this transport. A link that is still up is replaced."""
        if self._handed_over is not None:
            self._handed_over.transport.close()
        self._handed_over = shaken
        if self._link is not None:
            self._link.end(LinkEnd.REPLACED, "the peer came back over another transport")
        self._changed.unpark_all()

    @property
    def gives_way(self) -> bool:
        """Whether to give way to a connection that the peer has made at the same moment: the smaller identity's stays, on both sides."""
        return self._has_dialled and not self._has_joined and self.peer.id < self._context.id

    def close_now(self, reason: str) -> None:
        """End the connection without a further word."""
        if self._state is not State.CLOSED:
            self.close_reason = self.close_reason or reason
            self._scope.cancel()

    async def give_up(self, reason: str) -> None:
        """End the connection with no more than a goodbye, also when cancelled, and wait until nothing is left of it."""
        self.say_goodbye_now(reason)
        self.close_now(reason)
        # The task that owns the link is cancelled now, and ends in a few steps.
        with trio.move_on_after(CLOSE_DEADLINE, shield=True):
            await self.wait_closed()

    def say_goodbye_now(self, reason: str) -> None:
        """Drop what waits and say goodbye, if the transport takes that without waiting."""
        if self._state is State.CLOSED:
            return
        self.close_reason = self.close_reason or reason
        if not self._has_given_up:
            self._has_given_up = True
            self._count_lost(self._give_up())
        if self._link is not None and not self._said_goodbye:
            self._close(self._link, reason)
        self._state = State.CLOSING

    def _give_up(self) -> int:
        """Drop what waits to be sent; gives how many messages will not arrive, as far as that can be known here."""
        dispatcher = self._context._dispatcher
        dispatcher.cut()
        lost = dispatcher.count_held(self)
        if self._link is None or self._said_goodbye:
            # Nobody has confirmed what was written last.
            lost += dispatcher.count_unconfirmed(self)
        return lost + self.outbox.abandon()

    def _close(self, link: Link, reason: str) -> None:
        """Say the last word."""
        link.say_goodbye(reason)
        self._said_goodbye = True
        self.open_link = None
        link.try_write()

    def _count_lost(self, messages: int) -> None:
        if messages:
            self.outbox.dropped += messages
            logger.warning("%s: closed before %d messages were sent", self, messages)

    async def wait_connected(self) -> None:
        """Wait until the session is up; a transport that is lost before that is dialled again, if it ever is.

        Raises:
            ConnectError: It ended first.
        """
        await trio.lowlevel.checkpoint()
        while self._state in {State.CONNECTING, State.SUSPENDED}:
            await self._changed.park()
        if self._state is not State.CONNECTED:
            raise ConnectError(f"{self.address}: {self.close_reason or 'the connection was lost at once'}")

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
            self.say_goodbye_now(CONTEXT_CLOSED)
            raise
        finally:
            self._finish()

    # ---------------------------------------------------------------- one link

    async def _run_link(self, shaken: Shaken) -> LinkResult:
        context = self._context
        machine = HeartbeatMachine(context._heartbeat, trio.current_time(), answers=self._has_dialled)
        link = self._link = Link(
            shaken.transport,
            shaken.session,
            self.outbox,
            machine,
            context._heart,
            on_events=self._on_events,
            on_beat=self._on_beat,
            on_damage=self.say_goodbye_now,
            on_cancel=functools.partial(self.say_goodbye_now, CONTEXT_CLOSED),
            name=f"{context}: {self.name or self.peer}",
        )
        self.open_link = None if self._said_goodbye else link
        self._totals.transports += 1
        self.window_bytes = min(context._limits.window_bytes, shaken.hello.window_bytes)
        self.max_package = max(shaken.hello.max_package, MAX_RUN_BYTES)
        self.outbox.open_limit = min(context._limits.reassembly_bytes, shaken.hello.reassembly_bytes)
        self.awaits_snapshot, self._got_synced = True, False
        self._answer_bytes = 0
        self._announced.clear()
        logger.debug("%s: link up over %s, %s", link.name, shaken.transport.kind, shaken.transport.remote_address)
        since = trio.current_time()
        try:
            if self._timeout != context._heartbeat.timeout:
                self._apply_timeout(link)
            context._reception.announce(self, self.peer.wire_id)
            link.send_control(control.Sync())
            # Either side measures the round trip once: later the answers to one side's pings are heartbeats enough.
            link.send_control(control.Ping(machine.next_ping(since)))
            context._dispatcher.offer_again(self)
            link.try_write()
            return await link.run(shaken.first_events)
        finally:
            self._link = self.open_link = None
            self._rtt = machine.rtt or self._rtt
            self._totals.bytes_sent += link.bytes_sent
            self._totals.bytes_received += link.session.bytes_received
            self._totals.packages_received += link.session.packages_received
            self._totals.messages_received += link.session.messages_received
            self.outbox.restart()
            if self._redialler is not None:
                self._redialler.held(trio.current_time() - since)

    def _apply_timeout(self, link: Link) -> None:
        link.machine.set_timeout(self._timeout)
        link.send_control(control.Beat(max(1, int(self._timeout * 500))))
        self._context._dispatcher.will_write(self)
        self._context._heart.watch(link)

    def _on_beat(self, timed_out: bool) -> None:
        self._context._hub.emit(events.TimedOut(self) if timed_out else events.Recovered(self))
        logger.info("%s: %s", self, "timed out" if timed_out else "recovered")

    async def _ping(self, link: Link) -> bool:
        """Whether the peer has answered a ping, and so has read all before it, before the link ended."""
        nonce = link.machine.next_ping(trio.current_time())
        link.send_control(control.Ping(nonce))
        link.try_write()
        while not link.is_over and self._link is link:
            if link.machine.last_pong >= nonce:
                return True
            await self._changed.park()
        return False

    # ---------------------------------------------------------------- what the peer says

    def _on_events(self, received: list[Event]) -> None:
        answered, waiting = False, self.outbox.control_bytes
        for event in received:
            if type(event) is PackageReceived:
                self._context._reception.package(self, event)
            else:
                self._HANDLERS[type(event)](self, event)
                answered = True
        if self._state is not State.CONNECTED:
            self._check_connected()
        if answered and self.outbox:
            self._answer_bytes += self.outbox.control_bytes - waiting
            self.try_write()
            if not self.outbox.control_bytes:
                self._answer_bytes = 0
            elif min(self._answer_bytes, self.outbox.control_bytes) > MAX_ANSWER_BYTES:
                raise ProtocolError("the peer asks on and on, and does not read the answers")

    def _check_connected(self) -> None:
        settled = self._got_synced and not self.awaits_snapshot
        if self._state in {State.CONNECTING, State.SUSPENDED} and settled:
            if self._context._dispatcher.has_unready(self):
                return
            self._state = State.CONNECTED
            self._context._connection_up(self, is_new=not self._has_joined)
            self._has_joined = True
            self._changed.unpark_all()

    def _ping_came(self, message: control.Ping) -> None:
        if self._link is not None and not self._said_goodbye:
            self._link.send_control(control.Pong(message.nonce))  # written with all other answers

    def _pong_came(self, message: control.Pong) -> None:
        if self._link is not None:
            self._link.machine.pong(message.nonce, trio.current_time())
            self._changed.unpark_all()

    def _beat_came(self, message: control.Beat) -> None:
        if self._link is not None:
            self._link.machine.peer_wants(message.milliseconds / 1000)
            self._context._heart.watch(self._link)

    def _close_came(self, message: control.Close) -> None:
        link = self._link
        if link is None:
            return
        reason = message.reason or CLOSED_BY_PEER
        if self._state is State.CLOSING:
            link.end(LinkEnd.GOODBYE, reason)
            return
        self.close_reason = reason
        self._count_lost(self.outbox.abandon())
        self._state = State.CLOSING
        self._close(link, "goodbye")
        self._context._start_soon(self._end_when_drained, link)

    @trio.lowlevel.enable_ki_protection
    async def _end_when_drained(self, link: Link) -> None:
        with trio.move_on_after(self._context._grace):
            await link.wait_drained()
        link.end(LinkEnd.GOODBYE, self.close_reason or CLOSED_BY_PEER)

    def _sync_came(self, _message: control.Sync) -> None:
        if self.awaits_snapshot:
            self._context._dispatcher.forget_unannounced(self, self._announced)
        self.awaits_snapshot = False
        self.send_control(control.Synced())

    def _synced_came(self, _message: control.Synced) -> None:
        self._got_synced = True

    _HANDLERS: Final[dict[type, Any]] = {
        control.Ping: _ping_came,
        control.Pong: _pong_came,
        control.Beat: _beat_came,
        control.Close: _close_came,
        control.Sync: _sync_came,
        control.Synced: _synced_came,
        **FLOW_HANDLERS,
    }

    # ---------------------------------------------------------------- between links, and the end

    async def _say_goodbye(self, reason: str) -> None:
        """Let what was sent leave, then say goodbye behind it."""
        dispatcher = self._context._dispatcher
        self.close_reason = reason
        while not self.is_closed:
            dispatcher.cut()
            link = self._link
            if link is None:
                if not self.is_resumable or not dispatcher.has_unsent(self):
                    self.close_now(reason)
                    return
                await self._changed.park()
                continue
            link.try_write()
            await link.wait_drained()
            held = dispatcher.held_outlet(self)
            if held is not None:
                await held.wait_changed()
                continue
            dispatcher.cut()  # what waited may have found room meanwhile, and gather: it must leave before the goodbye
            if link.is_drained and not link.is_over:
                self._close(link, reason)
                return

    def _is_final(self, result: LinkResult) -> bool:
        if result.end in {LinkEnd.GOODBYE, LinkEnd.CLOSED} or self._state is State.CLOSING:
            self.close_reason = self.close_reason or result.reason
            return True
        if result.end is LinkEnd.DAMAGED or not self.is_resumable:
            self.close_reason = result.reason
            return True
        return False

    async def _suspend(self, result: LinkResult) -> Shaken | None:
        """Wait for the next transport; None if the connection has ended instead."""
        context = self._context
        if self._state is State.CONNECTED:
            context._hub.emit(events.Suspended(self, result.reason))
            logger.info("%s: suspended: %s", self, result.reason)
        self._state = State.SUSPENDED
        self._changed.unpark_all()
        shaken = await self._find_transport()
        if shaken is None:
            self.close_reason = self.close_reason or f"{result.reason}; it did not come back"
            if self._has_joined:
                context._hub.emit(events.SessionLost(self, self.close_reason))
        elif not shaken.hello.resumed and self._redialler is not None:
            self._lose_session("the server did not know the session any more")
            return self._begin_anew(shaken)
        return shaken

    def _begin_anew(self, shaken: Shaken) -> Shaken | None:
        """Start a new session, with the peer that answers now; None if there is a connection to that one already."""
        peer = Peer.from_hello(shaken.hello, uid=shaken.transport.peer_uid)
        self.close_reason = self._context._objection(peer)
        if self.close_reason is not None:
            shaken.transport.close()
            return None
        self.peer = peer
        self._state = State.CONNECTING
        self._context._add_connection(self)
        return shaken

    async def _find_transport(self) -> Shaken | None:
        if self._handed_over is None:
            await wait_resumed(self)
        if self._handed_over is None and self._redialler is not None:
            self._lose_session("its resume window is over, or its process has ended")
            self._handed_over = await self._redialler.dial(None)
        shaken, self._handed_over = self._handed_over, None
        return shaken

    async def _wait_handed_over(self) -> None:
        while self._handed_over is None:
            await self._changed.park()

    def _lose_session(self, reason: str) -> None:
        """Forget what the session knew; its peer counts as dead."""
        has_joined, self._has_joined = self._has_joined, False
        self._context._connection_lost(self, reason, has_joined=has_joined)

    def _finish(self) -> None:
        if self._state is State.CLOSED:
            return
        self._state = State.CLOSED
        self.close_reason = self.close_reason or CLOSED_HERE
        if self._handed_over is not None:
            self._handed_over.transport.close()
        self._count_lost(self.outbox.abandon())
        self._context._connection_closed(self, has_joined=self._has_joined)
        self._changed.unpark_all()
