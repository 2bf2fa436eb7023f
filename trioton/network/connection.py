"""A connection as programs see it: the session with one neighbour, over as many transports as it takes.

What happens to it is told in three other rooms: `life` runs one link after the other until the end, `talk` hears what the peer says
over them, and `goodbye` ends it in good order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from ..errors import ConnectError
from ..protocol import control
from ..protocol.conduct import Conduct
from ..protocol.outbox import Outbox
from ..protocol.policies import Mode
from .arguments import check_timeout
from .belief import Belief
from .goodbye import Goodbye
from .life import Life
from .states import CLOSED_HERE, State, Tie
from .statistics import ConnectionStatistics, LinkTotals
from .talk import Talk
from .trust import NOTHING, Kind, Standing

if TYPE_CHECKING:
    from ..protocol.backoff import Reconnect
    from ..protocol.outbox import PositionedFlow
    from ..protocol.packages import Package
    from ..protocol.permissions import Permissions
    from ..protocol.way import Way
    from .association import Association
    from .context import Context
    from .establish import Establisher
    from .guard import Guard
    from .link import Link
    from .peer import Peer


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
    # association: what the context has to do with the peer; another one for each session.
    # open_link: the link, until it is lost or the goodbye was said over it.
    # max_package: bytes of the largest message that the peer takes.
    # window_bytes: bytes that a flow may be ahead of what has been taken, on either side.
    # standing: what the link there is now, or was last, proves of the peer.
    # belief: what the peer and this context believe of what the other says of others.
    # guard: holds the peer to its permissions over the link there is now, or was last; None if that may do everything.
    # refused: how often that was needed.
    # tie: what the peer and this context are to each other.
    # conduct: whether the peer behaves.
    # memory: what the context holds of what came from the peer.
    # peer_retains: whether the peer keeps the values of states.
    # life, talk, goodbye: the parts that it is made of. They share what begins with an underscore here: `life` sets `_link`, all set
    # `_state` and unpark `_changed` when something has come of what they do.

    def __init__(
        self,
        context: Context,
        *,
        name: str,
        address: str,
        peer: Peer,
        establisher: Establisher | None,
        reconnect: Reconnect | None,
        tie: Tie = Tie.PEERS,
    ) -> None:
        self.name = name
        self.address = address
        self.peer = peer
        self.close_reason: str | None = None
        self.outbox = Outbox(context._limits.queue_bytes)
        self.open_link: Link | None = None
        self.window_bytes = context._limits.window_bytes
        self.max_package = context._limits.max_package
        self.tie = tie
        self.standing = Standing(Kind.UNAUTHENTICATED)
        self.guard: Guard | None = None
        self.refused = 0
        self.conduct = Conduct(context._limits, trio.current_time())
        self.memory = context._memory.scope(context._limits.link_memory)
        self.peer_retains = False
        self.association: Association
        self._context = context
        self._permissions: Permissions | None = NOTHING
        self._state = State.CONNECTING
        self._changed = trio.lowlevel.ParkingLot()
        self._link: Link | None = None
        self._totals = LinkTotals()
        self._timeout = context._heartbeat.timeout
        self._rtt: float | None = None
        self.belief = Belief(self)
        self.talk = Talk(self)
        self.goodbye = Goodbye(self)
        self.life = Life(self, establisher, reconnect)

    # ---------------------------------------------------------------- for users

    @property
    def kind(self) -> str:
        """How far the peer is trusted: ``"trusted"``, ``"peer"`` or ``"unauthenticated"``."""
        return self.standing.kind.value

    @property
    def permissions(self) -> Permissions | None:
        """What the peer may do; None if it is trusted, and so may do everything."""
        return self._permissions

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
        self._timeout = check_timeout("timeout", seconds)
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
        await self.goodbye.take_leave(reason or CLOSED_HERE)

    async def flush(self) -> None:
        """Wait until this neighbour has got everything that was sent to it before.

        Raises:
            trio.BrokenResourceError: The connection ended first; ``__cause__`` is None, `close_reason` says why.
        """
        await trio.lowlevel.checkpoint()
        self._context._dispatcher.cut()
        self._context._mesh.retaining.flush()
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
            spoofed=self.belief.spoofed,
            refused=self.refused,
        )

    def __repr__(self) -> str:
        over = f" over {self.transport}" if self.transport else ""
        return f"<Connection {self.name!r} to {self.peer} at {self.address}{over}, {self._state.value}>"

    # ---------------------------------------------------------------- for the rest of the package

    def send_control(self, message: control.Control) -> None:
        """Say something about flows; without a link nothing is said, since a new link begins with a snapshot."""
        if self.open_link is not None:
            self.open_link.send_control(message)
            self._context._dispatcher.will_write(self.association)

    def add_shared(self, way: Way, package: Package, flow: PositionedFlow) -> None:
        """Send a package for those behind the peer. Without a link, what blocks is not kept: its source sends it again.

        Raises:
            OverMemoryError: It came over a link that makes too much wait here.
        """
        if way.mode is not Mode.BLOCK or self.open_link is not None:
            self.outbox.add_shared(way, package, flow)

    def try_write(self) -> None:
        """Write what waits, as far as the transport takes it at once."""
        if self._link is not None:
            self._link.try_write()

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

    def _apply_timeout(self, link: Link) -> None:
        link.machine.set_timeout(self._timeout)
        self.conduct.beats(self._timeout / 2, trio.current_time())  # it is asked for that
        link.send_control(control.Beat(max(1, int(self._timeout * 500))))
        self._context._dispatcher.will_write(self.association)
        self._context._heart.watch(link)

    async def _ping(self, link: Link) -> bool:
        """Whether the peer has answered a ping, and so has read all before it, before the link ended."""
        nonce = link.ask_for_answer()
        while not link.is_over and self._link is link:
            if link.machine.last_pong >= nonce:
                return True
            await self._changed.park()
        return False
