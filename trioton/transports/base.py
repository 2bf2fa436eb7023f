"""What a transport, a listener and a network are: the only seam between Trioton and the world."""

from __future__ import annotations

import abc
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import attrs
import trio

from ..errors import ProtocolError

if TYPE_CHECKING:
    import ssl

    from .address import Address

Buffer = bytes | bytearray | memoryview
"""What may be handed to a transport to be sent."""

RECEIVE_SIZE: Final = 256 * 1024
"""The most bytes that one call of `receive_some` asks for when the caller names no number."""


SHARED_IDENTITY: Final = "secret"
"""The identity of all who have proved to know the secret of a network: there is nothing by which they could be told apart."""


class TurnedAwayError(ProtocolError):
    """A client has not proved what it must; it is told so, and its connection closed.

    Attributes:
        words: What it is to be told, as bytes that it understands; None for a REFUSE with this error's text.
    """

    def __init__(self, reason: str, words: bytes | None = None) -> None:
        super().__init__(reason)
        self.words = words


class PeerRefusedError(trio.BrokenResourceError):
    """The other end does not accept what this one has proved in the transport's own handshake."""


@attrs.frozen
class Credentials:
    """What the other end of a transport has proved, in a handshake of the transport's own."""

    identity: str
    """Who it is."""

    may_route: bool
    """Whether it is one of us, who may speak for others as well."""


class Security(abc.ABC):
    """How a context and its neighbours prove to each other who they are.

    Where the system vouches for the other end, as within a process or over a Unix socket between processes of one user, nothing more is
    asked for: `greet` and `meet` are for all other transports.

    Attributes:
        proves_identities: Whether each neighbour proves to be one of many, so that one can expect a certain one.
    """

    proves_identities: bool = False

    @abc.abstractmethod
    def check(self, address: Address, *, insecure: bool, verb: str) -> None:
        """Refuse an address over which nothing could be proved, unless the user has said that this is meant.

        Raises:
            ValueError: It is such an address, and `insecure` is not True.
        """

    def ssl_context(self, *, server_side: bool) -> ssl.SSLContext | None:  # noqa: ARG002
        """What TLS is to be set up with where the user has given nothing else; None if this has nothing to do with TLS."""
        return None

    async def greet(self, transport: Transport, address: Address) -> Transport:  # noqa: ARG002
        """Prove who we are over a transport that was dialled, and have the other end prove who it is; a checkpoint.

        Returns:
            The transport to use from now on, with its `Transport.credentials`.

        Raises:
            AuthError: The other end does not belong to us, or does not take us for one of its own.
            ConnectError: It is no Trioton.
            trio.BrokenResourceError: The connection failed.
        """
        await trio.lowlevel.checkpoint()
        return transport

    async def meet(self, transport: Transport) -> Transport:
        """The same for a transport that was accepted.

        Raises:
            TurnedAwayError: The other end has not proved what it must.
            ProtocolError: It is no Trioton.
            trio.BrokenResourceError: The connection failed.
        """
        await trio.lowlevel.checkpoint()
        return transport


class Transport(trio.abc.HalfCloseableStream):
    """A stream of bytes to one peer.

    It passes `trio.testing.check_half_closeable_stream` (or `check_two_way_stream`, where `send_eof` raises
    `NotImplementedError`) and adds what a link needs beyond a stream.

    Attributes:
        kind: ``"tcp"``, ``"unix"``, ``"tls"``, ``"memory"``, ``"stdio"`` or ``"simulated"``.
        local_address: Where this end is, as text.
        remote_address: Where the other end is, as text: for log lines and errors.
        peer_uid: The user who runs the other end, if the system vouches for it (Unix sockets), else None.
        credentials: What the other end has proved in the transport's own handshake; None where there is none, or it is not over.
        can_try_send: Whether `try_send` works.
        holds_back: Whether `try_send` has taken bytes that have not left yet: they leave first with the next call of any method that
            sends, which may be a `try_send` of nothing.
        is_loopback: Whether the bytes certainly stay on this machine.
    """

    kind: str
    local_address: str
    remote_address: str
    peer_uid: int | None = None
    credentials: Credentials | None = None
    can_try_send: bool = False
    holds_back: bool = False
    is_loopback: bool = False

    def try_send(self, buffers: Sequence[Buffer]) -> int:
        """Write as much as the transport takes at once, and never wait.

        Args:
            buffers: The bytes to be written, in order; at most 512 buffers are looked at.

        Returns:
            How many bytes were taken: 0 if the transport has no room now.

        Raises:
            trio.BrokenResourceError: The other end is gone.
            trio.ClosedResourceError: This end was closed.
            trio.BusyResourceError: A task is inside `send_all`.
        """
        raise NotImplementedError(f"{type(self).__name__} cannot send without waiting")

    async def receive_into(self, buffer: memoryview) -> int:
        """Receive at most ``len(buffer)`` bytes into `buffer`; a checkpoint, like `receive_some`.

        Returns:
            How many bytes were received: 0 at the end of the stream.

        Raises:
            trio.BrokenResourceError: The connection failed.
            trio.ClosedResourceError: This end was closed.
            trio.BusyResourceError: Another task is receiving.
        """
        data = await self.receive_some(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Close at once and without a word, as `trio.aclose_forcefully` does; never waits, may be called twice."""
        raise NotImplementedError


class TransportListener(trio.abc.Listener[Transport]):
    """Accepts transports at one address.

    Attributes:
        address: The bound address as text that `Network.dial` understands; a port of 0 was replaced by the real one.
        port: The bound port, or None where there are no ports.
    """

    address: str
    port: int | None

    def close(self) -> None:
        """Stop listening at once; a Unix socket's file is removed. May be called twice."""
        raise NotImplementedError


class Network(abc.ABC):
    """Where addresses live: the system's sockets, or a simulated network's host.

    Everything in Trioton that would touch the world asks its network: for transports, for chance, for who and where we are.

    Attributes:
        host_id: 16 bytes that are the same for all contexts that share processes and sockets with us (one kernel, one
            process namespace).
        pid: This process, as the other contexts on this host know it.
        uid: The user who runs this process, or None where there are none.
        memory: Bytes of memory that the machine has; as many as one could wish where that is not known.
        random: The source of chance for jitter, identities and tokens.
        is_simulated: Whether time and chance are those of a simulation.
    """

    host_id: bytes
    pid: int
    uid: int | None
    random: random.Random
    memory: int = 1 << 40
    is_simulated: bool = False

    @abc.abstractmethod
    async def listen(self, address: Address, *, ssl_context: ssl.SSLContext | None = None) -> TransportListener:
        """Listen at `address`; ``tls://`` needs an `ssl_context` with a certificate.

        Raises:
            ValueError: There is no `ssl_context` for ``tls://``, or one for another kind of address.
            BindError: The address is in use, is not ours, or may not be used.
        """

    @abc.abstractmethod
    async def dial(self, address: Address, *, ssl_context: ssl.SSLContext | None = None) -> Transport:
        """Connect to `address` once; ``tls://`` uses `ssl_context`, or else the system's trusted authorities.

        Raises:
            ValueError: There is an `ssl_context` for an address that is not ``tls://``.
            ConnectError: Nobody listens there, or it cannot be reached.
        """

    @abc.abstractmethod
    async def open_private_listener(self) -> TransportListener | None:
        """Listen at a place that only this user's processes on this host can reach, or None where there is no such place.

        It is what a listener on the loopback offers to clients of the same host, because it is faster than TCP.
        """

    def is_own_process(self) -> bool:
        """Whether this is the process in which the network was made, and not one that was forked from it."""
        return True

    @abc.abstractmethod
    def process_is_alive(self, pid: int) -> bool:
        """Whether a process of this host (same `host_id`) still runs. True if it cannot be told."""

    async def wait_process_ended(self, pid: int) -> None:  # noqa: ARG002
        """Wait until a process of this host has ended; for ever where that cannot be told.

        Args:
            pid: The process; it need not be a child.
        """
        await trio.sleep_forever()
