"""A context: the node of the network that a program holds, and the nursery that owns all its tasks."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol

import trio

from .._arguments import check_count, check_flag
from ..errors import ConnectError
from ..protocol.backoff import Reconnect
from ..protocol.handshake import Hello
from ..protocol.heartbeat import OFTEN, Heartbeat
from ..protocol.identity import REALM_BITS, ContextId
from ..protocol.limits import MOST_MEMORY, Limits
from ..protocol.memory import MemoryBudget
from ..transports.address import Address, parse_address
from .arguments import check_identity, check_name_or_id, check_secure, check_text
from .associations import Associations
from .denials import Denials
from .dialling import Dialler
from .establish import Establisher
from .events import EventHub, EventStream
from .heart import BEATS, PAUSE, Heart
from .inspector import Inspector
from .listener import Doorman, Listener, listen, serve_listener
from .neighbours import Neighbours
from .pace import Pace
from .peer import ContextInfo, Peer
from .states import CLOSE_DEADLINE, CONTEXT_CLOSED
from .statistics import ContextStatistics
from .traffic import Traffic

if TYPE_CHECKING:
    import ssl

    from ..transports.base import Network, Security
    from .connection import Connection
    from .sending.outlet import Outlet
    from .trust import Granting

logger = logging.getLogger("trioton.context")


class Gatherer(Protocol):
    """What gathers messages by itself, and hands them to channels a little later."""

    async def wait_passed_on(self) -> None:
        """Wait until all that was gathered before has been handed on."""

    def give_up(self) -> None:
        """Nothing can be handed on any more."""


class Context:
    """A node of the network. Made by `open_context`; everything it starts ends with its block.

    Attributes:
        id: The context's identity, a `ContextId`: an integer that no other context has.
        name: The name given to `open_context`, or an empty text.
    """

    def __init__(
        self,
        name: str,
        network: Network,
        security: Security | None,
        permissions: Granting,
        limits: Limits,
        heartbeat: Heartbeat,
        grace: float,
    ) -> None:
        self.id = ContextId.from_parts(network.random.getrandbits(REALM_BITS), 0)
        self.name = name
        self._network = network
        self._security = security
        self._granting = permissions
        self._limits = limits
        self._heartbeat = heartbeat
        self._grace = grace
        self._nursery: trio.Nursery
        self._wire_id = self.id.to_wire()
        self._hub = EventHub()
        self._memory = MemoryBudget(limits.memory or min(MOST_MEMORY, network.memory // 4))
        self._pace = Pace(has_clock=not network.is_simulated)
        self._heart = Heart(pause=0.0 if network.is_simulated else min(PAUSE, heartbeat.interval / BEATS))
        self._neighbours = Neighbours(self)
        self._associations = Associations(self)
        from .mesh.mesh import Mesh  # a third of the import of the whole library, and not needed before

        self._mesh = Mesh(self)
        self._listeners: list[Listener] = []
        self._traffic = Traffic(
            self._wire_id,
            limits,
            self._hub,
            trio.current_time if network.is_simulated else time.perf_counter,
            self._associations.get,
            self._associations.direct,
        )
        # What each message passes is reached by a shorter way.
        self._dispatcher = self._traffic.dispatcher
        self._reception = self._traffic.reception
        upward, traffic = self._mesh.upward, self._traffic
        traffic.outlets.on_open, traffic.outlets.on_end = upward.opened, upward.disuses
        traffic.audience.on_watch = upward.watched
        self._inspector = self._traffic.audience.inspector = Inspector(self)
        self._doorman = Doorman(self)
        self._denials = Denials(self)
        self._shared: dict[str, Any] = {}  # what channels of one kind have in common, by the kind
        self._before_closing: dict[object, Callable[[], None]] = {}
        self._changed = trio.lowlevel.ParkingLot()
        self._gatherers: list[Gatherer] = []
        self._is_leaving = False
        self._closing = False
        self._closed = False
        self._user_nursery: trio.Nursery

    # ---------------------------------------------------------------- the network

    async def bind(
        self,
        address: str,
        *,
        max_tries: int = 1,
        ssl_context: ssl.SSLContext | None = None,
        insecure: bool = False,
    ) -> Listener:
        """Listen at an address, for any number of peers.

        Args:
            address: Where; see `trioton.transports.address`. A port of 0 lets the system choose.
            max_tries: How many ports to try, the named one first and others above it in growing steps.
            ssl_context: The certificate for ``tls://``.
            insecure: Must be True to listen without TLS where other machines can connect.

        Raises:
            AddressError: The address cannot be understood.
            BindError: It is in use or not ours, or no port of those tried is free.
            ValueError: `max_tries` is below 1, `ssl_context` does not fit, or `insecure` is needed.
            trio.ClosedResourceError: The context was closed.
        """
        self._check_open()
        check_flag("insecure", insecure)
        check_count("max_tries", max_tries)
        parsed = parse_address(address)
        self._check_secure(parsed, insecure=insecure, verb="listen")
        if ssl_context is None and parsed.scheme == "tls" and self._security is not None:
            ssl_context = self._security.ssl_context(server_side=True)
        transport_listener = await listen(self._network, parsed, max_tries, ssl_context)
        listener = Listener(transport_listener)
        self._listeners.append(listener)
        self._start_soon(serve_listener, transport_listener, self)
        logger.debug("%s: listening at %s", self, listener.address)
        return listener

    async def connect(
        self,
        address: str,
        *,
        name: str = "",
        reconnect: Reconnect | None = Reconnect(),  # noqa: B008  # frozen
        wait: bool = False,
        ssl_context: ssl.SSLContext | None = None,
        insecure: bool = False,
        identity: str | None = None,
        local_shortcut: bool = True,
        stub: bool = False,
    ) -> Connection:
        """Connect to a listener, and return when each side knows what the other listens to, and has the states that the other had.

        Then this context also knows all other contexts that the listener's knew; that they know this one takes a moment longer.

        Args:
            address: Whom to dial; see `trioton.transports.address`.
            name: What to call the connection; the peer's own name by default.
            reconnect: How to dial again when the transport is lost; None makes a loss final.
            wait: Dial again until somebody answers and takes us in, instead of failing. What no waiting would change fails all the same:
                a connection to this context itself, a second one to the same peer, or an end that is not trusted (`AuthError`). All
                other refusals are waited out.
            ssl_context: For ``tls://``; by default the system's trusted authorities.
            insecure: Must be True to connect without TLS to another machine.
            identity: Whom to expect there: the name in its certificate. By default it may be whoever belongs to us.
            local_shortcut: Move to the Unix socket that a listener on the same host offers, which is several times faster.
            stub: Make this context a *stub* of the listener's, its parent. It does not learn the whole network then, but only of those
                contexts that it has to do with; see `contexts`. It can have no other connections than this one and those of contexts that
                connect to it as its stubs. The listener must be trusted, since a stub believes all that its parent says.

        Raises:
            AddressError: The address cannot be understood.
            AuthError: Who answers there does not prove to belong to us, or does not take us for one of its own. Nothing was sent to it. Or this
                context is to be its stub, and it has not proved that it may speak for others.
            ConnectError: Nobody answers there as a context does, or it refuses, or says it is a context that is in the network already;
                `name` is taken.
            ValueError: `ssl_context` does not fit, or `insecure` is needed; nothing there would prove an `identity`. This context is a stub already, or `stub` is True and it has
                connections to others than its stubs.
            trio.ClosedResourceError: The context was closed.
            trio.Cancelled: Nothing is left of the attempt.
        """
        self._check_open()
        check_text("name", name)
        flags = ("wait", wait), ("insecure", insecure), ("local_shortcut", local_shortcut), ("stub", stub)
        for argument, value in flags:
            check_flag(argument, value)
        if reconnect is not None and not isinstance(reconnect, Reconnect):
            raise TypeError(f"reconnect must be a trioton.Reconnect or None, not {reconnect!r}")
        if name and any(connection.name == name for connection in self.connections):
            raise ConnectError(f"there is a connection named {name!r} already")
        objection = self._neighbours.objection_to(is_stub=stub)
        if objection is not None:
            raise ValueError(f"cannot connect to {address!r} with stub={stub}: {objection}")
        parsed = parse_address(address)
        self._check_secure(parsed, insecure=insecure, verb="connect")
        if identity is not None:
            check_identity(identity, parsed, self._security, ssl_context)
        establisher = Establisher(
            self._network,
            self._security,
            parsed,
            self._limits,
            ssl_context=ssl_context,
            identity=identity,
            take_shortcut=local_shortcut,
        )
        return await Dialler(self, name, address, establisher, reconnect, is_stub=stub).connect(wait=wait)

    @property
    def connections(self) -> list[Connection]:
        """All connections that are not closed."""
        return self._neighbours.all()

    def connection(self, name: str) -> Connection:
        """Give the connection with this name.

        Raises:
            KeyError: There is none.
        """
        for connection in self.connections:
            if connection.name == name and name:
                return connection
        raise KeyError(f"no connection named {name!r}; there are {[each.name for each in self.connections]}")

    @property
    def peers(self) -> list[Peer]:
        """The neighbours: the contexts that are connected to this one now."""
        return [connection.peer for connection in self._neighbours.with_session() if connection.is_connected]

    @property
    def contexts(self) -> list[ContextInfo]:
        """All contexts that can be reached, over a connection or over others, however many links away.

        A stub knows its parent, those below it, and of all others only those it has to do with: who listens to a slot that it sends
        on, who has sent something to it, and whom it has asked for, as with `wait_context`.
        """
        return self._mesh.membership.contexts()

    async def wait_context(self, name_or_id: str | int) -> ContextInfo:
        """Wait until another context with this name or identity can be reached, over whichever way; a checkpoint.

        Several may have one name: any of them will do, and this context itself is none of them. Cancelled, nothing has changed.

        Raises:
            TypeError: It is neither a text nor an int.
            ValueError: No context can have this name or identity, or it is the identity of this context itself.
            trio.ClosedResourceError: The context was closed.
        """
        check_name_or_id("name_or_id", name_or_id)
        if name_or_id == self.id:
            raise ValueError(f"name_or_id is this context itself, {name_or_id!r}; only others are waited for")
        await trio.lowlevel.checkpoint()
        with self._mesh.upward.looking_for(name_or_id):
            while True:
                self._check_open()
                for info in self.contexts:
                    if name_or_id in (info.id, info.name):
                        return info
                await self._changed.park()
                await trio.lowlevel.checkpoint_if_cancelled()

    def events(self) -> EventStream:
        """Listen to what happens in the network: ``async with ctx.events() as events: async for event in events: ...``.

        Raises:
            trio.ClosedResourceError: The context was closed.
        """
        self._check_open()
        return self._hub.open()

    # ---------------------------------------------------------------- tasks and life

    def start_soon(self, async_fn: Callable[..., Awaitable[object]], *args: object) -> None:
        """Start a task that is cancelled when the context's block ends; as `trio.Nursery.start_soon`.

        It is cancelled before anything is closed. A task of another nursery that waits in a channel of the context then gets
        `trio.ClosedResourceError`, or `trio.EndOfChannel` where it receives.

        Raises:
            trio.ClosedResourceError: The context was closed.
        """
        self._check_open()
        self._user_nursery.start_soon(async_fn, *args)

    async def start(self, async_fn: Callable[..., Awaitable[object]], *args: object) -> Any:
        """Start such a task and wait until it has called ``task_status.started(value)``; as `trio.Nursery.start`.

        Returns:
            The value.

        Raises:
            trio.ClosedResourceError: The context was closed.
        """
        self._check_open()
        return await self._user_nursery.start(async_fn, *args)

    async def flush(self) -> None:
        """Wait until all that was sent before has been taken by every blocking receiver that listens, wherever it is.

        Raises:
            trio.ClosedResourceError: The context was closed.
        """
        await trio.lowlevel.checkpoint()
        self._check_open()
        if self._gatherers:
            await self._pass_on_gathered()
            self._check_open()
        outlets = [outlet for outlet in self._traffic.outlets.all() if not outlet.is_own]
        self._mesh.retaining.flush()
        targets = [(outlet, self._traffic.progress.flush(outlet)) for outlet in outlets]
        for outlet, target in targets:
            while outlet.flow.taken < target or (outlet.backlog and outlet.is_listened_to):
                if outlet.flow.is_ended and not outlet.flow.branches:
                    break
                if outlet.flow.next > target and outlet.backlog == 0:
                    target = max(target, outlet.flush_to)
                await outlet.wait_changed()
                await trio.lowlevel.checkpoint_if_cancelled()  # closing cancels tasks of the context, and wakes all
                self._check_open()
        for connection in self.connections:
            link = connection._link
            if link is not None:
                await link.wait_drained()

    async def aclose(self) -> None:
        """Close everything: what was sent is drained, at most for `grace`, and peers hear a goodbye. May be called twice.

        Leaving the context's block does this too. Cancelled, it closes at once, with no more than a goodbye.
        """
        if self._is_leaving:
            await trio.lowlevel.checkpoint()
            return
        self._is_leaving = True
        until = trio.current_time() + self._grace
        try:
            try:
                if self._gatherers:
                    with trio.move_on_at(until):
                        await self._pass_on_gathered()
            finally:
                self._take_no_more()
            # Each connection keeps to `grace` by itself, and together they take no longer than one.
            with trio.move_on_at(until + CLOSE_DEADLINE):
                with trio.move_on_at(until):
                    await self._mesh.drain()
                async with trio.open_nursery() as nursery:
                    for connection in self.connections:
                        nursery.start_soon(connection.aclose, CONTEXT_CLOSED)
                await trio.lowlevel.checkpoint()
        finally:
            self._end()

    async def _pass_on_gathered(self) -> None:
        """Wait until what was written before to files over channels has been handed to these."""
        for gatherer in list(self._gatherers):
            await gatherer.wait_passed_on()

    def _take_no_more(self) -> None:
        """Nothing more is sent or taken in, and the tasks of the user end."""
        self._closing = True
        self._user_nursery.cancel_scope.cancel()  # first: the tasks of the context must not hear that it is closed, as others do
        for tell in list(self._before_closing.values()):
            tell()
        for outlet in self._traffic.outlets.all():
            outlet.abandon_all_waiting()
        for listener in self._listeners:
            listener.close()
        self._doorman.close()
        self._changed.unpark_all()

    def _end(self) -> None:
        """Nothing goes on after this."""
        for connection in self.connections:
            connection.goodbye.say_now(CONTEXT_CLOSED)
        self._closed = True
        for gatherer in list(self._gatherers):
            gatherer.give_up()
        self._traffic.subscriptions.end()
        self._mesh.retaining.end()
        for outlet in self._traffic.outlets.all():
            outlet.die(CONTEXT_CLOSED)
        self._hub.end()
        self._doorman.refusals.end()
        self._changed.unpark_all()
        self._nursery.cancel_scope.cancel()

    def statistics(self) -> ContextStatistics:
        """What the context holds and has done so far."""
        totals = self._neighbours.totals()
        return ContextStatistics(
            connections=self._neighbours.count,
            listeners=sum(not listener._closed for listener in self._listeners),
            slots_sent=sum(not outlet.is_own for outlet in self._traffic.outlets.open.values()),
            slots_received=len(self._traffic.subscriptions),
            messages_unheard=self._traffic.outlets.unheard,
            bytes_sent=totals.bytes_sent,
            bytes_received=totals.bytes_received,
            messages_sent=totals.messages_sent,
            messages_received=totals.messages_received,
            messages_dropped=totals.messages_dropped,
            states=len(self._mesh.retaining.store),
            state_bytes=self._mesh.retaining.store.bytes,
            states_given_way=self._mesh.retaining.store.given_way,
            spoofed=totals.spoofed,
            refused=totals.refused,
        )

    def __repr__(self) -> str:
        state = "closed" if self._closed else "closing" if self._closing else f"{self._neighbours.count} connections"
        return f"<Context {self.name!r}, {state}>" if self.name else f"<Context {self.id}, {state}>"

    def __str__(self) -> str:
        return self.name or str(self.id)

    # ---------------------------------------------------------------- for the rest of the package

    async def _own_tasks(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """The nursery of all that the context does for itself."""
        async with trio.open_nursery() as self._nursery:
            self._nursery.start_soon(self._dispatcher.flush_forever, self._traffic.report_due)
            self._nursery.start_soon(self._dispatcher.congestion.run_forever)
            self._nursery.start_soon(self._heart.run_forever)
            self._mesh.start()
            task_status.started()

    async def _own_user_tasks(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """The nursery of the tasks that the user starts in the context."""
        async with trio.open_nursery() as self._user_nursery:
            task_status.started()
            await trio.sleep_forever()

    def _check_open(self) -> None:
        if self._closing:
            raise trio.ClosedResourceError(f"the context {self} is closed")

    def _check_secure(self, address: Address, *, insecure: bool, verb: str) -> None:
        if self._security is None:
            check_secure(self._network, address, insecure=insecure, verb=verb)
        elif not self._network.is_simulated:
            self._security.check(address, insecure=insecure, verb=verb)

    def _hello(self, *, resume: bytes | None = None, returns: bool = True, stub: bool = False) -> Hello:
        network, limits = self._network, self._limits
        return Hello(
            id=self.id,
            name=self.name,
            pid=network.pid,
            uid=network.uid,
            host=network.host_id,
            max_package=limits.max_package,
            window_bytes=limits.window_bytes,
            reassembly_bytes=limits.reassembly_bytes,
            lease=self._heartbeat.lease,
            resume=resume,
            returns=returns,
            retains=True,
            stub=stub,
            interval=self._heartbeat.interval if self._heartbeat.interval < OFTEN else None,
        )

    def _start_soon(self, async_fn: Callable[..., Awaitable[object]], *args: object) -> None:
        self._nursery.start_soon(async_fn, *args)

    def _open_outlet(self, slot: str, *, local: bool = False) -> Outlet:
        self._check_open()
        outlet = self._traffic.lives.open(slot)
        if local:
            self._traffic.local.add(outlet)
        return outlet
