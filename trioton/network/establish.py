"""From a bare transport to two contexts that know each other: the handshake, run on either end."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, NamedTuple

import attrs
import trio

from ..errors import AddressError, AuthError, ConnectError, ProtocolError
from ..protocol.control import Close, encode_control, shorten_reason
from ..protocol.frames import FrameKind, SealedError
from ..protocol.handshake import STRANGER_REPLY, Hello, encode_refusal
from ..protocol.limits import Limits
from ..protocol.session import Event, Refused, Role, Session
from ..transports.address import Address
from ..transports.base import PeerRefusedError, TurnedAwayError
from .trust import is_vouched_for, judge, say_leaf

if TYPE_CHECKING:
    import ssl

    from ..transports.base import Network, Security, Transport

logger = logging.getLogger("trioton.link")

MOVE_DEADLINE: Final = 2.0
"""Seconds that a client tries the Unix socket that it was offered before it stays where it is."""

LINGER: Final = 0.5
"""Seconds that a refusal is given to reach the other end."""


class RefusedError(ConnectError):
    """A context turned us away on purpose. For programs it is a `ConnectError` like others.

    Attributes:
        source: The 16 bytes of its identity.
    """

    def __init__(self, message: str, source: bytes) -> None:
        super().__init__(message)
        self.source = source


class Shaken(NamedTuple):
    """A transport on which both ends have said who they are.

    Attributes:
        transport: The transport.
        session: Its session, still in the handshake phase.
        hello: What the other end said.
        first_events: What came behind the handshake.
    """

    transport: Transport
    session: Session
    hello: Hello
    first_events: list[Event]


async def greet_server(transport: Transport, hello: Hello, limits: Limits) -> Shaken:
    """Do the client's part of the handshake.

    Raises:
        RefusedError: The server refused.
        AuthError: It does not accept what we have proved on the way here.
        ConnectError: It went away, or is no Trioton.
    """
    session = Session(Role.CLIENT, limits)
    try:
        await transport.send_all(hello.to_frame(FrameKind.HELLO))
        answer = await _first_event(transport, session)
    except ProtocolError as error:
        raise ConnectError(f"cannot connect to {transport.remote_address}: {error}") from error
    except PeerRefusedError as error:
        raise AuthError(f"{transport.remote_address} does not accept us: {error}") from error
    except trio.BrokenResourceError as error:
        raise ConnectError(
            f"cannot connect to {transport.remote_address}: the handshake was cut off: {error.__cause__ or error}"
        ) from error
    if isinstance(answer, Refused) and answer.unproved:
        raise AuthError(f"{transport.remote_address} refused: {answer.reason}")
    if isinstance(answer, Refused):
        raise RefusedError(f"cannot connect to {transport.remote_address}: it refused: {answer.reason}", answer.source)
    if not isinstance(answer, Hello):
        raise ConnectError(f"{transport.remote_address} closed the connection during the handshake")
    return Shaken(transport, session, answer, session.accept_peer())


async def hear_client(transport: Transport, session: Session) -> Shaken | None:
    """Do the first half of the server's part: hear who the client is. None if it went away before it said anything.

    Raises:
        ProtocolError: It is no Trioton, or breaks the rules.
        trio.BrokenResourceError: The connection failed.
    """
    hello = await _first_event(transport, session)
    if hello is None:
        session.receive_end()
        return None
    assert isinstance(hello, Hello)
    return Shaken(transport, session, hello, [])


async def _first_event(transport: Transport, session: Session) -> Event | None:
    while True:
        data = await transport.receive_some(4096)
        if not data:
            return None
        events = session.receive_data(data)
        if events:
            return events[0]


async def refuse(transport: Transport, reason: str, source: bytes, *, unproved: bool = False) -> None:
    """Tell a client why it is turned away, and by whom, and close; `unproved` is for want of a proof who it is."""
    await _last_words(transport, encode_refusal(reason, source, unproved=unproved))


async def dismiss(transport: Transport, reason: str) -> None:
    """Tell a client that was let in already why it cannot stay, and close."""
    await _last_words(transport, encode_control(Close(shorten_reason(reason))))


async def answer_damage(transport: Transport, session: Session, error: ProtocolError, source: bytes) -> None:
    """Tell a client what is wrong with its words, and close; one that does not speak our protocol is told what this port is, in a readable line."""
    if isinstance(error, TurnedAwayError) and error.words is not None:
        await _last_words(transport, error.words)
    elif isinstance(error, TurnedAwayError | SealedError):
        await refuse(transport, str(error), source, unproved=True)
    elif not session.has_greeted:
        await _last_words(transport, STRANGER_REPLY)
    elif session.in_handshake:
        await refuse(transport, str(error), source)
    else:
        await dismiss(transport, str(error))


async def _last_words(transport: Transport, words: bytes) -> None:
    """Say something and wait a moment for the other end to close, so that our close does not destroy what it has not read."""
    try:
        with trio.move_on_after(LINGER):
            await transport.send_all(words)
            await transport.send_eof()
            while await transport.receive_some(4096):
                pass
    except (trio.BrokenResourceError, trio.ClosedResourceError, NotImplementedError, AttributeError):
        pass
    finally:
        transport.close()


class Establisher:
    """Dials one address and brings up a session there, as often as it is asked to.

    Args:
        network: Where the address lives.
        security: How the two ends prove who they are, if they do.
        address: Whom to dial.
        limits: The context's bounds.
        ssl_context: For ``tls://``.
        identity: Whom to expect there, or None for whoever belongs to us.
        take_shortcut: Whether to move to the Unix socket that a server on the same host offers.
    """

    def __init__(
        self,
        network: Network,
        security: Security | None,
        address: Address,
        limits: Limits,
        *,
        ssl_context: ssl.SSLContext | None,
        identity: str | None = None,
        take_shortcut: bool,
    ) -> None:
        self._network = network
        self._security = security
        self._address = address
        self._limits = limits
        self._ssl_context = ssl_context
        self._identity = identity
        self._take_shortcut = take_shortcut

    async def establish(self, hello: Hello) -> Shaken:
        """Dial once and shake hands.

        Raises:
            RefusedError: Who answers there does not want us.
            AuthError: It has not proved what it must, or does not accept what we have proved; or we were to be its stub, and it has not
                proved that it may speak for others.
            ConnectError: Nobody answers there as a Trioton does, in time.
            trio.Cancelled: Nothing is left open.
        """
        with trio.move_on_after(self._limits.handshake_deadline):
            transport = await self._dial()
            try:
                shaken = await greet_server(transport, say_leaf(hello, transport, self._network), self._limits)
                shaken = await self._move(shaken, hello)
                self._check_parent(shaken, hello)
                return shaken
            except BaseException:
                transport.close()
                raise
        seconds = self._limits.handshake_deadline
        raise ConnectError(f"cannot connect to {self._address}: there was no handshake within {seconds:g} s")

    async def _dial(self) -> Transport:
        """Connect, and have each end prove to the other who it is."""
        ssl_context, security, address = self._ssl_context, self._security, self._address
        if ssl_context is None and security is not None and address.scheme == "tls":
            ssl_context = security.ssl_context(server_side=False)
        transport = await self._network.dial(address, ssl_context=ssl_context)
        try:
            if security is not None and not is_vouched_for(transport, self._network):
                transport = await security.greet(transport, address)
            self._check_identity(transport)
            return transport
        except trio.BrokenResourceError as error:
            transport.close()
            raise ConnectError(f"{address}: the handshake was cut off: {error.__cause__ or error}") from error
        except BaseException:
            transport.close()
            raise

    def _check_identity(self, transport: Transport) -> None:
        identity = None if transport.credentials is None else transport.credentials.identity
        if self._identity not in (None, identity):
            shown = "nobody that could prove it" if identity is None else repr(identity)
            raise AuthError(f"{self._address}: {self._identity!r} was expected there, and who answers is {shown}")

    async def _move(self, shaken: Shaken, hello: Hello) -> Shaken:
        """Go over to the Unix socket that the server offers, if that works; nothing has been released yet."""
        offer = shaken.hello
        if not self._take_shortcut or offer.offer_path is None or offer.host != self._network.host_id:
            return shaken
        with trio.move_on_after(MOVE_DEADLINE):
            try:
                address = Address(scheme="unix", path=offer.offer_path)
                transport = await self._network.dial(address)
            except (ConnectError, AddressError) as error:
                logger.debug("%s: stays on %s: %s", self._address, shaken.transport.kind, error)
                return shaken
            try:
                moving = attrs.evolve(say_leaf(hello, transport, self._network), move=offer.offer_token)
                moved = await greet_server(transport, moving, self._limits)
            except ConnectError as error:
                transport.close()
                logger.debug("%s: stays on %s: %s", self._address, shaken.transport.kind, error)
                return shaken
            except BaseException:
                transport.close()
                raise
            shaken.transport.close()
            logger.debug("%s: moved to a Unix socket", self._address)
            return moved
        return shaken

    def _check_parent(self, shaken: Shaken, hello: Hello) -> None:
        """A parent speaks for the whole network: a stub must not believe that of just anybody.

        Raises:
            AuthError: It has not proved that it may.
        """
        if hello.stub and not judge(shaken.transport, self._network).may_speak_for_others:
            shaken.transport.close()
            who = shaken.hello.name or "who answers there"
            raise AuthError(
                f"{self._address}: {who} has not proved that it may speak for others, and a stub must believe it all; "
                "give both a trioton.Secret, or connect without stub=True"
            )
