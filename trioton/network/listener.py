"""A listener: takes in any number of peers at one address, and lets none of them harm the others."""

from __future__ import annotations

import logging
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

import attrs
import trio

from ..errors import BindError, ProtocolError
from ..protocol.frames import FrameKind
from ..protocol.handshake import TOKEN_BYTES
from ..protocol.session import Role, Session
from ..transports.address import ports_to_try
from ..transports.base import TurnedAwayError
from .connection import Connection
from .establish import Shaken, answer_damage, dismiss, hear_client, refuse
from .failed import FailedProofs
from .namesakes import objection_to
from .peer import Peer
from .pending import Pending, Place
from .refusals import Refusals
from .resuming import end_given_up, may_give_up, wait_given_up, waits_for_client
from .states import Tie
from .trust import Kind, is_same_owner, is_vouched_for, judge, say_leaf

if TYPE_CHECKING:
    import ssl

    from ..protocol.limits import Limits
    from ..protocol.session import Event
    from ..transports.address import Address
    from ..transports.base import Network, Transport, TransportListener
    from .context import Context

logger = logging.getLogger("trioton.link")


class Doorman:
    """Shakes hands with whoever comes to any listener of a context, within its limits.

    Args:
        context: The context.

    Attributes:
        refusals: Tells the log who was turned away.
    """

    def __init__(self, context: Context) -> None:
        self.refusals = Refusals(context)
        self._context = context
        self._failed = FailedProofs()
        self._pending = Pending(context._limits)
        self._welcomed = 0
        self._moves: dict[bytes, trio.Event] = {}
        self._private: TransportListener | None = None
        self._private_failed = False
        self._private_lock = trio.Lock()

    @trio.lowlevel.enable_ki_protection
    async def welcome(self, transport: Transport) -> None:
        """Take in one transport; it is closed if nothing comes of it. Never raises for anything that the peer does."""
        place = self._pending.enter(transport, trio.current_time())
        if place is None:
            self.refusals.tell(logging.WARNING, transport, "too many handshakes at once; closed")
            transport.close()
            return
        limits = self._context._limits
        session = Session(Role.SERVER, limits)
        greeting = trio.CancelScope(deadline=place.since + limits.hello_deadline)
        try:
            with place.scope:
                with greeting:
                    transport = await self._meet(transport)
                    shaken = await hear_client(transport, session)
                if not greeting.cancelled_caught:
                    await self._shake(transport, shaken)
            late = _why_ended(place, greeting, limits)
            if late is not None:
                self.refusals.tell(logging.WARNING, transport, f"{late}; closed")
                transport.close()
        except ProtocolError as error:
            self.refusals.tell(logging.WARNING, transport, f"{error}; closed")
            with trio.move_on_after(limits.handshake_deadline):
                await answer_damage(transport, session, error, self._context._wire_id)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            reason = f"left during the handshake: {error.__cause__ or error}"
            if transport.kind == "tls":
                self.refusals.tell(logging.WARNING, transport, reason)
            else:
                logger.debug("%s: %s", transport.remote_address, reason)
            transport.close()
        except BaseException:
            transport.close()
            raise
        finally:
            self._pending.leave(place)

    async def _meet(self, transport: Transport) -> Transport:
        """Have each end prove to the other who it is, unless the system vouches for that.

        Raises:
            TurnedAwayError: The client has not.
            ProtocolError: It is no Trioton.
            trio.BrokenResourceError: The connection failed.
        """
        security, network = self._context._security, self._context._network
        if security is None or is_vouched_for(transport, network):
            return transport
        await self._failed.wait(transport)
        try:
            return await security.meet(transport)
        except TurnedAwayError:
            self._failed.add(transport)
            raise

    async def _shake(self, transport: Transport, shaken: Shaken | None) -> None:
        if shaken is None:
            logger.debug("%s: left before it said anything", transport.remote_address)
            transport.close()
            return
        await self._wait_given_up(shaken)
        objection = self._objection(shaken)
        if objection is not None:
            self.refusals.tell(logging.INFO, transport, f"refused {shaken.hello.name or 'a client'}: {objection}")
            await refuse(transport, objection, self._context._wire_id)
            return
        if shaken.hello.move is not None:
            self._moves.pop(shaken.hello.move).set()
        await self._answer(shaken)

    async def _wait_given_up(self, shaken: Shaken) -> None:
        """If a client that dials anew has a session, find out whether it still uses that; it may just have left."""
        known = self._context._neighbours.route(shaken.hello.id.to_wire())
        if known is not None and self._may_give_up(shaken, known):
            await wait_given_up(known)

    def _known(self, shaken: Shaken) -> Connection | None:
        """The session with a client, unless that has given it up: it dials, and does not come back to what waits for it."""
        known = self._context._neighbours.route(shaken.hello.id.to_wire())
        if known is not None and self._may_give_up(shaken, known) and waits_for_client(known):
            return None
        return known

    def _may_give_up(self, shaken: Shaken, known: Connection) -> bool:
        return may_give_up(shaken.hello, known) and self._is_its_own(shaken, known)

    def _is_its_own(self, shaken: Shaken, known: Connection) -> bool:
        """Whether a session belongs to who has come over a transport, as far as that proves anything yet."""
        standing = judge(shaken.transport, self._context._network)
        may_move = shaken.transport.is_loopback  # to a Unix socket, where the system vouches for it
        return is_same_owner(known.standing, standing) and (may_move or not self._falls_short(shaken, known))

    def _falls_short(self, shaken: Shaken, known: Connection) -> bool:
        """Whether a transport proves nothing where the session had more: it could be somebody's who has got hold of the token."""
        standing = judge(shaken.transport, self._context._network)
        return known.standing.kind is Kind.TRUSTED and standing.kind is Kind.UNAUTHENTICATED

    def _turn_down(self, shaken: Shaken, known: Connection) -> bool:
        """Close a transport over which somebody goes on with a session of another, now that it will not move any more."""
        is_other = not self._is_its_own(shaken, known) or self._falls_short(shaken, known)
        if is_other:
            self.refusals.tell(logging.WARNING, shaken.transport, f"proves less than {known.peer} did before; closed")
            shaken.transport.close()
        return is_other

    def _objection(self, shaken: Shaken) -> str | None:
        """Why a client must be turned away, or None."""
        context, hello = self._context, shaken.hello
        if hello.id == context.id:
            return "a context cannot connect to itself"
        if hello.move is not None and hello.move not in self._moves:
            return "this offer is not open any more"
        if not self._may_offer(shaken):
            namesake = self._namesake(shaken)
            if namesake is not None:
                return namesake
        known = self._known(shaken)
        if known is not None and not self._is_its_own(shaken, known):
            return f"the identity {hello.id} is in use by another"
        if known is not None and (hello.resume is None or hello.resume not in known.life.tokens):
            return f"{hello.name or 'this context'} is connected already"
        if self._takes_only_stubs and not hello.stub:
            return "this context is a stub itself, and takes in none but its own stubs"
        if known is not None and hello.stub is not (known.tie is Tie.STUB):
            return "a session goes on as it was, with a stub or without"
        expected = context._neighbours.count + self._welcomed
        if known is None and hello.move is None and expected >= context._limits.connections:
            most = context._limits.connections
            return "1 connection is open already" if most == 1 else f"{most} connections are open already"
        return None

    def _namesake(self, shaken: Shaken) -> str | None:
        """Why a client is not believed to be the context that it says, over the transport that it has chosen, or None."""
        context, hello = self._context, shaken.hello
        standing = judge(shaken.transport, context._network)
        return objection_to(context, hello.id.to_wire(), standing, is_stub=hello.stub)

    @property
    def _takes_only_stubs(self) -> bool:
        """Whether the context is a stub, so that it knows too little of the network for any but stubs of its own."""
        return self._context._neighbours.parent is not None

    async def _answer(self, shaken: Shaken) -> None:
        """Say welcome, offer a better way, and hand the transport over as soon as the client has chosen it."""
        context = self._context
        known = self._known(shaken)
        session = context._network.random.randbytes(TOKEN_BYTES)
        self._welcomed += known is None
        try:
            await self._welcome(shaken, known, session)
        finally:
            self._welcomed -= known is None

    async def _welcome(self, shaken: Shaken, known: Connection | None, session: bytes) -> None:
        context = self._context
        path, token = await self._offer(shaken)
        hello = say_leaf(context._hello(), shaken.transport, context._network)
        welcome = attrs.evolve(hello, session=session, resumed=known is not None, offer_path=path, offer_token=token)
        moved = trio.Event()
        if token is not None:
            self._moves[token] = moved
        if known is not None:
            known.life.tokens.append(session)
        try:
            await shaken.transport.send_all(welcome.to_frame(FrameKind.WELCOME))
            following = await self._wait_choice(shaken, moved)
        finally:
            if token is not None:
                self._moves.pop(token, None)
        namesake = None if following is None else self._namesake(following)
        if following is None or context._closing:
            shaken.transport.close()
        elif namesake is not None:
            self.refusals.tell(
                logging.WARNING, following.transport, f"refused {following.hello.name or 'a client'}: {namesake}"
            )
            await dismiss(following.transport, namesake)
        elif known is None:
            self._take_in(following, session)
        elif known.is_closed:
            shaken.transport.close()  # It was told that its session goes on: it must dial again to hear otherwise.
        elif not self._turn_down(following, known):
            known.life.tokens[:] = [session]
            known.life.hand_over(following)

    def _may_offer(self, shaken: Shaken) -> bool:
        """Whether a better way than the one that it came by is offered to a client: of the same user on the same host, over the loopback."""
        network, hello, transport = self._context._network, shaken.hello, shaken.transport
        same_place = hello.host == network.host_id and hello.uid is not None and hello.uid == network.uid
        return transport.kind == "tcp" and transport.is_loopback and same_place

    async def _offer(self, shaken: Shaken) -> tuple[str | None, bytes | None]:
        """A private Unix socket for a client that may move there."""
        network = self._context._network
        if not self._may_offer(shaken):
            return None, None
        async with self._private_lock:
            if self._private is None and not self._private_failed:
                self._private = await network.open_private_listener()
                self._private_failed = self._private is None
                if self._private is not None:
                    self._context._start_soon(serve_listener, self._private, self._context)
        if self._private is None:
            return None, None
        return self._private.address.removeprefix("unix://"), network.random.randbytes(TOKEN_BYTES)

    async def _wait_choice(self, shaken: Shaken, moved: trio.Event) -> Shaken | None:
        """Wait for the client's first word on this transport; None if it moved to the offered one, or left."""
        following: Shaken | None = None
        failure: Exception | None = None
        async with trio.open_nursery() as nursery:

            async def watch_move() -> None:
                await moved.wait()
                nursery.cancel_scope.cancel()

            nursery.start_soon(watch_move)
            try:
                events = await self._first_events(shaken)
            except (ProtocolError, trio.BrokenResourceError) as error:
                failure = error  # It leaves as itself, not in the nursery's group.
            else:
                following = shaken._replace(first_events=events) if events else None
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure
        return following

    async def _first_events(self, shaken: Shaken) -> list[Event]:
        """What comes first behind the handshake; nothing if the client leaves instead."""
        events = shaken.session.accept_peer()
        while not events:
            data = await shaken.transport.receive_some(65536)
            if not data:
                break
            events = shaken.session.receive_data(data)
        return events

    def _take_in(self, shaken: Shaken, session: bytes) -> None:
        context, hello = self._context, shaken.hello
        peer = Peer.from_hello(hello, transport=shaken.transport)
        known = context._neighbours.route(peer.wire_id)
        if self._takes_only_stubs and not hello.stub:
            shaken.transport.close()  # it has become one meanwhile
            return
        if known is not None and self._turn_down(shaken, known):
            return
        if known is not None and self._known(shaken) is None:
            end_given_up(known)
        elif known is not None and not known.life.gives_way:
            # It came in by two doors at once, and is here already.
            shaken.transport.close()
            return
        elif known is not None:
            known.life.cut_off(f"{peer} has connected to this context at the same moment")
        connection = Connection(
            context,
            name=hello.name,
            address=shaken.transport.remote_address,
            peer=peer,
            establisher=None,
            reconnect=None,
            tie=Tie.STUB if hello.stub else Tie.PEERS,
        )
        connection.standing = judge(shaken.transport, context._network)
        connection.life.is_resumable = hello.returns and shaken.transport.kind != "stdio"
        connection.life.tokens.append(session)
        context._neighbours.add(connection)
        context._start_soon(connection.life.run, shaken)

    def close(self) -> None:
        """Take nobody in over the private socket any more."""
        if self._private is not None:
            self._private.close()


def _why_ended(place: Place, greeting: trio.CancelScope, limits: Limits) -> str | None:
    """Why a handshake was cut off, or None if it was not."""
    if place.scope.cancelled_caught:
        if place.made_room:
            return "too many handshakes at once, and this one is slow"
        return f"no handshake within {limits.handshake_deadline:g} s"
    return f"no greeting within {limits.hello_deadline:g} s" if greeting.cancelled_caught else None


async def listen(
    network: Network, address: Address, max_tries: int, ssl_context: ssl.SSLContext | None
) -> TransportListener:
    """Listen at an address, or at the first port that is free of those that may be tried instead.

    Raises:
        BindError: None is.
    """
    if max_tries == 1 or not address.port:
        return await network.listen(address, ssl_context=ssl_context)
    tried, last = 0, None
    for port in ports_to_try(address.port, max_tries):
        tried += 1
        try:
            return await network.listen(attrs.evolve(address, port=port), ssl_context=ssl_context)
        except BindError as error:
            last = error
    raise BindError(f"could not listen on any of the {tried} ports tried from {address} on") from last


@trio.lowlevel.enable_ki_protection
async def serve_listener(listener: TransportListener, context: Context) -> None:
    """Accept until the listener is closed."""
    try:
        async with trio.open_nursery() as nursery:
            while True:
                transport = await listener.accept()
                nursery.start_soon(context._doorman.welcome, transport)
    except* trio.ClosedResourceError:
        pass
    finally:
        listener.close()


class Listener:
    """A place where peers may connect; made by `Context.bind`. An async context manager.

    Attributes:
        address: The bound address as text; a port of 0 was replaced by the real one.
        port: The bound port, or None for Unix sockets and memory.
    """

    def __init__(self, transport_listener: TransportListener) -> None:
        self.address: Final = transport_listener.address
        self.port: Final = transport_listener.port
        self._listener = transport_listener
        self._closed = False

    async def aclose(self) -> None:
        """Stop listening; connections that were made stay. A checkpoint; may be called twice."""
        self.close()
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        """Stop listening at once."""
        self._closed = True
        self._listener.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"<Listener at {self.address}{', closed' if self._closed else ''}>"
