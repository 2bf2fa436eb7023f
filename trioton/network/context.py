"""A context: the node of the network that a program holds, and the nursery that owns all its tasks."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import attrs
import trio

from ..errors import BindError, ConnectError
from ..protocol.backoff import Reconnect
from ..protocol.handshake import MAX_NAME, Hello
from ..protocol.heartbeat import Heartbeat
from ..protocol.identity import REALM_BITS, ContextId
from ..protocol.limits import Limits
from ..transports.address import Address, parse_address, ports_to_try
from ..transports.base import Network, TransportListener, UntrustedError
from . import events
from .budget import Budget
from .connection import CLOSE_DEADLINE, Connection
from .dispatcher import Dispatcher
from .establish import Establisher, RefusedError, Shaken
from .events import EventHub, EventStream
from .heart import PAUSE, Heart
from .listener import Doorman, Listener, serve_listener
from .outlet import Outlet
from .peer import ContextInfo, Peer
from .reception import Reception
from .statistics import ContextStatistics

if TYPE_CHECKING:
    import ssl

logger = logging.getLogger("trioton.context")

CLOSED_CONTEXT = "the context was closed"


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
        limits: Limits,
        heartbeat: Heartbeat,
        grace: float,
    ) -> None:
        self.id = ContextId.from_parts(network.random.getrandbits(REALM_BITS), 0)
        self.name = name
        self._network = network
        self._limits = limits
        self._heartbeat = heartbeat
        self._grace = grace
        self._nursery: trio.Nursery
        self._wire_id = self.id.to_wire()
        self._hub = EventHub()
        self._budget = Budget(has_clock=not network.is_simulated)
        self._heart = Heart(pause=0.0 if network.is_simulated else PAUSE)
        self._connections: dict[bytes, Connection] = {}
        self._without_session: dict[Connection, None] = {}
        self._closed_totals = {"sent": 0, "received": 0, "bytes_sent": 0, "bytes_received": 0, "dropped": 0}
        self._listeners: list[Listener] = []
        self._reception = Reception(self._wire_id, self._hub, limits.window_bytes, self._route, self._connected_or_not)
        self._dispatcher = Dispatcher(
            self._wire_id,
            limits,
            self._hub,
            self._reception,
            trio.current_time if network.is_simulated else time.perf_counter,
        )
        self._reception.dispatcher = self._dispatcher
        self._doorman = Doorman(self)
        self._changed = trio.lowlevel.ParkingLot()
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
        if isinstance(max_tries, bool) or not isinstance(max_tries, int):
            raise TypeError(f"max_tries must be an int, not {max_tries!r}")
        if max_tries < 1:
            raise ValueError(f"max_tries must be at least 1, not {max_tries!r}")
        parsed = parse_address(address)
        self._check_secure(parsed, insecure=insecure, verb="listen")
        transport_listener = await self._listen(parsed, max_tries, ssl_context)
        listener = Listener(transport_listener)
        self._listeners.append(listener)
        self._start_soon(serve_listener, transport_listener, self)
        logger.debug("%s: listening at %s", self, listener.address)
        return listener

    async def _listen(self, address: Address, max_tries: int, ssl_context: ssl.SSLContext | None) -> TransportListener:
        if max_tries == 1 or not address.port:
            return await self._network.listen(address, ssl_context=ssl_context)
        tried, last = 0, None
        for port in ports_to_try(address.port, max_tries):
            tried += 1
            try:
                return await self._network.listen(attrs.evolve(address, port=port), ssl_context=ssl_context)
            except BindError as error:
                last = error
        raise BindError(f"could not listen on any of the {tried} ports tried from {address} on") from last

    async def connect(
        self,
        address: str,
        *,
        name: str = "",
        reconnect: Reconnect | None = Reconnect(),  # noqa: B008  # frozen
        wait: bool = False,
        ssl_context: ssl.SSLContext | None = None,
        insecure: bool = False,
        local_shortcut: bool = True,
    ) -> Connection:
        """Connect to a listener, and return when each side knows what the other listens to.

        Args:
            address: Whom to dial; see `trioton.transports.address`.
            name: What to call the connection; the peer's own name by default.
            reconnect: How to dial again when the transport is lost; None makes a loss final.
            wait: Dial again until somebody answers and takes us in, instead of failing. What no waiting would change fails all the same:
                a connection to this context itself, a second one to the same peer, or a certificate that is not trusted. All
                other refusals are waited out.
            ssl_context: For ``tls://``; by default the system's trusted authorities.
            insecure: Must be True to connect without TLS to another machine.
            local_shortcut: Move to the Unix socket that a listener on the same host offers, which is several times faster.

        Raises:
            AddressError: The address cannot be understood.
            ConnectError: Nobody answers there as a context does, or it refuses; `name` is taken.
            ValueError: `ssl_context` does not fit, or `insecure` is needed.
            trio.ClosedResourceError: The context was closed.
            trio.Cancelled: Nothing is left of the attempt.
        """
        self._check_open()
        check_text("name", name)
        for argument, value in (("wait", wait), ("insecure", insecure), ("local_shortcut", local_shortcut)):
            check_flag(argument, value)
        if reconnect is not None and not isinstance(reconnect, Reconnect):
            raise TypeError(f"reconnect must be a trioton.Reconnect or None, not {reconnect!r}")
        if name and any(connection.name == name for connection in self.connections):
            raise ConnectError(f"there is a connection named {name!r} already")
        parsed = parse_address(address)
        self._check_secure(parsed, insecure=insecure, verb="connect")
        establisher = Establisher(
            self._network, parsed, self._limits, ssl_context=ssl_context, take_shortcut=local_shortcut
        )
        hello = self._hello(returns=reconnect is not None)
        for delay in (reconnect or Reconnect()).delays(self._network.random.random):
            try:
                shaken = await establisher.establish(hello)
            except ConnectError as error:
                has_session = isinstance(error, RefusedError) and self._has_session(error.source)
                if has_session or isinstance(error, UntrustedError):
                    raise  # Dialling again would not help.
                failure = error
            else:
                connection = self._new_connection(shaken, name, address, establisher, reconnect)
                try:
                    await self._wait_up(connection)
                    return connection
                except ConnectError as error:
                    if self._objection(connection.peer) is not None:
                        raise  # Dialling again would not help.
                    failure = error
            if not wait:
                raise failure
            logger.debug("%s: %s; dialling again in %.2f s", self, failure, delay)
            await trio.sleep(delay)
        raise AssertionError("the delays never end")

    async def _wait_up(self, connection: Connection) -> None:
        """Wait until the session of a new connection is up; if that fails, nothing is left of it.

        Raises:
            ConnectError: It ended first, or took too long.
        """
        try:
            with trio.move_on_after(self._limits.handshake_deadline) as scope:
                await connection.wait_connected()
        except BaseException:
            await connection.give_up("the attempt to connect was given up")  # shielded, with a deadline, inside  # noqa: ASYNC102
            raise
        if scope.cancelled_caught:
            await connection.give_up("the peer did not finish the handshake")
            raise ConnectError(f"{connection.address}: the peer did not finish the handshake in time")

    def _new_connection(
        self, shaken: Shaken, name: str, address: str, establisher: Establisher, reconnect: Reconnect | None
    ) -> Connection:
        peer = Peer.from_hello(shaken.hello, uid=shaken.transport.peer_uid)
        objection = self._objection(peer)
        if objection is not None:
            shaken.transport.close()
            raise ConnectError(f"{address}: {objection}")
        connection = Connection(
            self, name=name or peer.name, address=address, peer=peer, establisher=establisher, reconnect=reconnect
        )
        assert shaken.hello.session is not None
        connection.tokens.append(shaken.hello.session)
        self._add_connection(connection)
        self._start_soon(connection.run, shaken)
        return connection

    def _objection(self, peer: Peer) -> str | None:
        """Why this context cannot have a connection to a peer that it has dialled, or None."""
        if peer.id == self.id:
            return "a context cannot connect to itself"
        if peer.wire_id in self._connections:
            return f"this context is connected to {peer} already"
        return CLOSED_CONTEXT if self._closing else None

    def _has_session(self, wire_id: bytes) -> bool:
        """Whether a context is this one or connected to it, so that it must refuse another connection."""
        return wire_id == self._wire_id or wire_id in self._connections

    @property
    def connections(self) -> list[Connection]:
        """All connections that are not closed."""
        return [*self._connections.values(), *self._without_session]

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
        """The contexts that are connected directly."""
        return [connection.peer for connection in self._connections.values() if connection.is_connected]

    @property
    def contexts(self) -> list[ContextInfo]:
        """All contexts that can be reached."""
        return [ContextInfo(peer.id, peer.name, peer.pid, 1) for peer in self.peers]

    async def wait_context(self, name_or_id: str | int) -> ContextInfo:
        """Wait until a context with this name or identity can be reached; a checkpoint.

        Raises:
            TypeError: It is neither a text nor an int.
            trio.ClosedResourceError: The context was closed.
        """
        if isinstance(name_or_id, bool) or not isinstance(name_or_id, (str, int)):
            raise TypeError(f"name_or_id must be a name or an identity, not {name_or_id!r}")
        await trio.lowlevel.checkpoint()
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
        """Wait until all that was sent before has been taken by every blocking receiver that listens.

        Raises:
            trio.ClosedResourceError: The context was closed.
        """
        await trio.lowlevel.checkpoint()
        self._check_open()
        targets = [(outlet, self._dispatcher.flush_outlet(outlet)) for outlet in self._dispatcher.all_outlets()]
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
        if self._closing:
            await trio.lowlevel.checkpoint()
            return
        self._closing = True
        for outlet in self._dispatcher.all_outlets():
            outlet.abandon_all_waiting()
        self._user_nursery.cancel_scope.cancel()
        for listener in self._listeners:
            listener.close()
        self._doorman.close()
        self._changed.unpark_all()
        try:
            # Each connection keeps to `grace` by itself.
            with trio.move_on_after(self._grace + CLOSE_DEADLINE):
                async with trio.open_nursery() as nursery:
                    for connection in self.connections:
                        nursery.start_soon(connection.aclose, CLOSED_CONTEXT)
                await trio.lowlevel.checkpoint()
        finally:
            self._end()

    def _end(self) -> None:
        """Nothing goes on after this."""
        for connection in self.connections:
            connection.say_goodbye_now(CLOSED_CONTEXT)
        self._closed = True
        self._reception.end()
        for outlet in self._dispatcher.all_outlets():
            outlet.die(CLOSED_CONTEXT)
        self._hub.end()
        self._changed.unpark_all()
        self._nursery.cancel_scope.cancel()

    def statistics(self) -> ContextStatistics:
        """What the context holds and has done so far."""
        totals = dict(self._closed_totals)
        for connection in self.connections:
            _add_to_totals(totals, connection)
        outlets = self._dispatcher.all_outlets()
        return ContextStatistics(
            connections=len(self._connections),
            listeners=sum(not listener._closed for listener in self._listeners),
            slots_sent=len(self._dispatcher.outlets),
            slots_received=len(self._reception.slots),
            messages_unheard=self._dispatcher.dropped + sum(outlet.dropped for outlet in outlets),
            bytes_sent=totals["bytes_sent"],
            bytes_received=totals["bytes_received"],
            messages_sent=totals["sent"],
            messages_received=totals["received"],
            messages_dropped=totals["dropped"],
        )

    def __repr__(self) -> str:
        state = "closed" if self._closed else "closing" if self._closing else f"{len(self._connections)} connections"
        return f"<Context {self.name!r}, {state}>" if self.name else f"<Context {self.id}, {state}>"

    def __str__(self) -> str:
        return self.name or str(self.id)

    # ---------------------------------------------------------------- for the rest of the package

    async def _own_tasks(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """The nursery of all that the context does for itself."""
        async with trio.open_nursery() as self._nursery:
            self._nursery.start_soon(self._dispatcher.flush_forever)
            self._nursery.start_soon(self._dispatcher.congestion.run_forever)
            self._nursery.start_soon(self._heart.run_forever)
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
        if address.scheme == "tcp" and not address.is_loopback and not insecure and not self._network.is_simulated:
            raise ValueError(
                f"to {verb} at {address} without TLS, where others can read and write, takes insecure=True"
            )

    def _hello(self, *, resume: bytes | None = None, returns: bool = True) -> Hello:
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
        )

    def _route(self, wire_id: bytes) -> Connection | None:
        return self._connections.get(wire_id)

    def _connected_or_not(self) -> list[Connection]:
        return list(self._connections.values())

    def _start_soon(self, async_fn: Callable[..., Awaitable[object]], *args: object) -> None:
        self._nursery.start_soon(async_fn, *args)

    def _add_connection(self, connection: Connection) -> None:
        """A session begins; what happens to interest from now on must be told to its peer."""
        self._without_session.pop(connection, None)
        self._connections[connection.peer.wire_id] = connection

    def _connection_up(self, connection: Connection, *, is_new: bool) -> None:
        if is_new:
            self._hub.emit(events.ContextJoined(connection.peer.id, connection.peer.name))
            self._hub.emit(events.Connected(connection))
        else:
            self._hub.emit(events.Resumed(connection))
        logger.info("%s: %s %r", self, "connected" if is_new else "resumed", connection)
        self._changed.unpark_all()

    def _connection_lost(self, connection: Connection, reason: str, *, has_joined: bool) -> None:
        """A session is over, though its connection may start another one."""
        self._forget(connection)
        self._without_session[connection] = None
        if has_joined:
            self._hub.emit(events.SessionLost(connection, reason))
            self._hub.emit(events.ContextDied(connection.peer.id, connection.peer.name, reason))
        logger.info("%s: %r: session lost: %s", self, connection, reason)

    def _connection_closed(self, connection: Connection, *, has_joined: bool) -> None:
        reason = connection.close_reason or ""
        self._forget(connection)
        self._without_session.pop(connection, None)
        _add_to_totals(self._closed_totals, connection)
        if has_joined:
            self._hub.emit(events.Disconnected(connection, reason))
            self._hub.emit(events.ContextDied(connection.peer.id, connection.peer.name, reason))
        logger.info("%s: %r: %s", self, connection, reason)
        self._changed.unpark_all()

    def _forget(self, connection: Connection) -> None:
        wire_id = connection.peer.wire_id
        if self._connections.get(wire_id) is connection:
            del self._connections[wire_id]
            self._reception.forget_source(wire_id)
        deserted = self._dispatcher.forget_connection(connection)
        if deserted and not connection.has_said_goodbye and not self._closing:
            slots = ", ".join(map(repr, deserted[:3])) + (
                f" and {len(deserted) - 3} others" if len(deserted) > 3 else ""
            )
            text = "%s: %s is gone without a goodbye, and nobody else listens to %s: what is sent there is lost until somebody does"
            logger.warning(text, self, connection.peer, slots)

    def _open_outlet(self, slot: str, *, local: bool = False) -> Outlet:
        self._check_open()
        outlet = self._dispatcher.open_outlet(slot)
        if local:
            self._dispatcher.set_local(outlet)
        return outlet


def _add_to_totals(totals: dict[str, int], connection: Connection) -> None:
    statistics = connection.statistics()
    totals["sent"] += statistics.messages_sent
    totals["received"] += statistics.messages_received
    totals["bytes_sent"] += statistics.bytes_sent
    totals["bytes_received"] += statistics.bytes_received
    totals["dropped"] += statistics.messages_dropped


def check_flag(argument: str, value: object) -> bool:
    """Give a flag of the user's back, if it is one.

    Raises:
        TypeError: It is not a bool.
    """
    if not isinstance(value, bool):
        raise TypeError(f"{argument} must be True or False, not {value!r}")
    return value


def check_text(argument: str, value: object) -> None:
    """Refuse what cannot be a name.

    Raises:
        TypeError: It is no text.
        ValueError: It is too long or not printable.
    """
    if not isinstance(value, str):
        raise TypeError(f"{argument} must be a str, not {value!r}")
    if len(value) > MAX_NAME or not value.isprintable():
        raise ValueError(f"{argument} must be at most {MAX_NAME} printable characters, not {value!r:.300}")
