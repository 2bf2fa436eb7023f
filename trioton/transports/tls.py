"""TLS over TCP.

`dial_tls` does the handshake before it returns. An accepted transport does it with its first `receive_some`, `send_all` or
`handshake`, so that a client that is slow or silent keeps no other waiting in `TlsListener.accept`.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Final

import trio

from ..errors import AuthError
from .base import Buffer, Credentials, PeerRefusedError, Transport, TransportListener, TurnedAwayError
from .sockets import connect_error
from .tcp import TcpListener, dial_tcp, listen_tcp

if TYPE_CHECKING:
    from .address import Address

_NOT_TLS: Final = {
    "HTTP_REQUEST",
    "HTTPS_PROXY_REQUEST",
    "PACKET_LENGTH_TOO_LONG",
    "RECORD_LAYER_FAILURE",
    "UNEXPECTED_MESSAGE",
    "UNKNOWN_PROTOCOL",
    "WRONG_SSL_VERSION",
    "WRONG_VERSION_NUMBER",
}
"""OpenSSL's reasons for "these bytes are no TLS"."""

_NOT_ACCEPTED: Final = (
    "ACCESS_DENIED",
    "BAD_CERTIFICATE",
    "CERTIFICATE_EXPIRED",
    "CERTIFICATE_REQUIRED",
    "CERTIFICATE_REVOKED",
    "CERTIFICATE_UNKNOWN",
    "DECRYPT_ERROR",
    "HANDSHAKE_FAILURE",
    "ILLEGAL_PARAMETER",  # another key under the name of the right one
    "UNKNOWN_CA",
    "UNKNOWN_PSK_IDENTITY",
    "UNSUPPORTED_CERTIFICATE",
)
"""How the alerts end with which the other end says that it does not accept us."""

LAST_WORDS: Final = 0.5
"""Seconds that what is wrong with a client's handshake is given to reach it."""


class RenewableContext(ssl.SSLContext):
    """What TLS is set up with, where keys and certificates may be renewed while a listener uses them.

    Attributes:
        owner: Who has made it.
    """

    owner: object

    def newest(self) -> ssl.SSLContext:
        """The context that the next connection is to use."""
        raise NotImplementedError


class TlsTransport(Transport):
    """A TLS connection over another transport, which it owns.

    `send_eof` raises `NotImplementedError`, as TLS cannot close one direction alone, and `try_send` cannot be had, as a record
    that was sent in part must be finished. A `send_all` or `handshake` that is cancelled while it waits breaks the connection.
    The end of the stream without TLS's close_notify is a `trio.BrokenResourceError`, for it may be an attacker's work.
    """

    kind = "tls"
    can_try_send = False

    def __init__(
        self,
        transport: Transport,
        ssl_context: ssl.SSLContext,
        *,
        server_side: bool,
        server_hostname: str | None = None,
    ) -> None:
        """Wrap `transport`; nothing is sent yet.

        Args:
            transport: What carries the encrypted bytes.
            ssl_context: Certificates and rules.
            server_side: Whether this end accepted.
            server_hostname: The name that the other end's certificate must have.

        Raises:
            ValueError: The context is not for this side, or demands a name and there is none.
        """
        self.local_address = transport.local_address.replace("tcp://", "tls://", 1)
        self.remote_address = transport.remote_address.replace("tcp://", "tls://", 1)
        self.is_loopback = transport.is_loopback
        self.ssl_context = ssl_context
        self._transport = transport
        self._server_side = server_side
        try:
            self._stream = trio.SSLStream(
                transport, ssl_context, server_side=server_side, server_hostname=server_hostname
            )
        except ssl.SSLError as error:
            raise ValueError(f"ssl_context cannot be used here: {tls_reason(error)}") from error
        self._handshake_over: trio.Event | None = None
        self._is_secure = False
        self._closed = False
        self._sending = False
        self._receiving = False

    def __repr__(self) -> str:
        state = " closed" if self._closed else "" if self._is_secure else " before the handshake"
        return f"<TlsTransport {self.local_address} to {self.remote_address}{state}>"

    @property
    def tls_version(self) -> str | None:
        """The version of TLS in use, for example ``"TLSv1.3"``, or None before the handshake."""
        version: str | None = self._stream.version() if self._is_secure else None
        return version

    def peer_certificate(self) -> bytes | None:
        """The certificate of the other end in DER form, or None before the handshake or if it has shown none.

        It is to be trusted only as far as the `ssl_context` had it verified (``verify_mode = ssl.CERT_REQUIRED``).
        """
        certificate: bytes | None = self._stream.getpeercert(binary_form=True) if self._is_secure else None
        return certificate

    def peer_names(self) -> dict[str, object]:
        """What Python's `ssl.SSLSocket.getpeercert` tells of the other end's certificate; empty if it was not verified."""
        return (self._stream.getpeercert() if self._is_secure else None) or {}

    async def handshake(self) -> None:
        """Agree on keys and check the certificate; a checkpoint. Later calls, and calls by other tasks, wait for the first.

        Cancelled, it leaves a connection that is broken.

        Raises:
            trio.BrokenResourceError: The other end went away, does not speak TLS, or refused or failed the checks;
                ``__cause__`` says more.
            trio.ClosedResourceError: This end was closed, now or meanwhile.
        """
        self._check_open()
        if self._handshake_over is not None:
            await self._handshake_over.wait()
            self._check_open()
            if not self._is_secure:
                raise trio.BrokenResourceError(f"the handshake with {self.remote_address} failed or was cancelled")
            return
        self._handshake_over = trio.Event()
        failure: BaseException | None = None
        try:
            await self._stream.do_handshake()
            self._is_secure = True
            self.credentials = self._proved()
        except trio.BrokenResourceError as error:
            failure = error.__cause__ or error
        finally:
            self._handshake_over.set()
        if failure is not None:
            await self._say_alert()
            reason = f"TLS with {self.remote_address} could not be set up: {tls_reason(failure)}"
            raise trio.BrokenResourceError(reason) from failure

    def _proved(self) -> Credentials | None:
        """What a certificate that was verified says of the other end."""
        names = self.peer_names().get("subjectAltName", ())
        for kind, name in names:  # type: ignore[attr-defined]
            if kind in {"DNS", "URI"}:
                return Credentials(name, may_route=False)
        return None

    async def _say_alert(self) -> None:
        """Send what OpenSSL has to say of a handshake that has failed, which Trio's stream keeps to itself.

        A server then waits a moment for the client to close, as its own close would destroy what the client has not read.
        """
        outgoing = getattr(self._stream, "_outgoing", None)
        alert = b"" if outgoing is None else outgoing.read()
        if not alert:
            return
        try:
            with trio.move_on_after(LAST_WORDS):
                await self._transport.send_all(alert)
                if self._server_side:
                    await self._transport.send_eof()
                    while await self._transport.receive_some(4096):
                        pass
        except (trio.BrokenResourceError, trio.ClosedResourceError, NotImplementedError):
            pass

    async def send_all(self, data: Buffer) -> None:
        """Encrypt and send all of `data`; a checkpoint. Cancelled while it waits, it leaves a connection that is broken.

        Raises:
            trio.BrokenResourceError: The other end is gone, or the handshake failed.
            trio.ClosedResourceError: This end was closed, now or meanwhile.
            trio.BusyResourceError: Another task is sending.
        """
        self._claim_sending()
        try:
            if not self._is_secure:
                await self.handshake()
            await self._stream.send_all(data)
        finally:
            self._sending = False

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until `send_all` may find room; errors as `send_all`."""
        self._claim_sending()
        try:
            await self._stream.wait_send_all_might_not_block()
        finally:
            self._sending = False

    async def send_eof(self) -> None:
        """Not possible with TLS.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError("TLS cannot end one direction alone; close the transport instead")

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Receive at least 1 and at most `max_bytes` bytes; a checkpoint. If it is cancelled, nothing was received.

        Returns:
            The bytes; ``b""`` when the other end has closed with a close_notify.

        Raises:
            trio.BrokenResourceError: The connection failed or ended without a close_notify, or the handshake failed. It is a
                `PeerRefusedError` if the other end does not accept our certificate, which it may say behind the handshake.
            trio.ClosedResourceError: This end was closed, now or meanwhile.
            trio.BusyResourceError: Another task is receiving.
        """
        if self._receiving:
            raise trio.BusyResourceError("another task is receiving on this tls transport")
        self._check_open()
        self._receiving = True
        try:
            if not self._is_secure:
                await self.handshake()
            try:
                return await self._stream.receive_some(max_bytes)
            except trio.BrokenResourceError as error:
                if isinstance(error.__cause__, ssl.SSLError):
                    reason = f"the tls link to {self.remote_address} broke: {tls_reason(error.__cause__)}"
                    if is_refusal(error.__cause__):
                        raise PeerRefusedError(reason) from error.__cause__
                    raise trio.BrokenResourceError(reason) from error.__cause__
                raise
        finally:
            self._receiving = False

    def close(self) -> None:
        """Close at once, without a close_notify: the other end gets a `trio.BrokenResourceError`. May be called twice."""
        self._closed = True
        self._transport.close()

    async def aclose(self) -> None:
        """Send a close_notify and close; a checkpoint. It may wait for room; cancelled, it closes at once."""
        if self._closed or not self._is_secure:
            self.close()
            await trio.lowlevel.checkpoint()
            return
        self._closed = True
        try:
            await self._stream.aclose()
        finally:
            self._transport.close()

    def _claim_sending(self) -> None:
        if self._sending:
            raise trio.BusyResourceError("another task is sending on this tls transport")
        self._check_open()
        self._sending = True

    def _check_open(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError("this tls transport was closed")


class TlsListener(TransportListener):
    """Accepts TLS transports; their handshake is still to be done."""

    def __init__(self, listener: TcpListener, ssl_context: ssl.SSLContext) -> None:
        self.address = listener.address
        self.port = listener.port
        self._listener = listener
        self._ssl_context = ssl_context

    def __repr__(self) -> str:
        return f"<TlsListener over {self._listener!r}>"

    async def accept(self) -> TlsTransport:
        """Wait for the next connection; a checkpoint. See `SocketListener.accept` for errors and cancellation.

        The transport does its handshake with the first `receive_some`, `send_all` or `handshake`. Put a deadline on that.
        """
        transport = await self._listener.accept()
        context = self._ssl_context
        try:
            if isinstance(context, RenewableContext):
                context = context.newest()
            return TlsTransport(transport, context, server_side=True)
        except BaseException:
            transport.close()
            raise

    def close(self) -> None:
        """Stop listening at once; a task in `accept` gets `trio.ClosedResourceError`. May be called twice."""
        self._listener.close()

    async def aclose(self) -> None:
        """Close as `close` does, and yield once; a checkpoint. If it is cancelled, it has closed all the same."""
        await self._listener.aclose()


async def dial_tls(address: Address, ssl_context: ssl.SSLContext) -> TlsTransport:
    """Connect to `address` and do the handshake; a checkpoint.

    Raises:
        AuthError: The certificate there is not accepted, or what we have shown there.
        ConnectError: Nobody listens there, or the handshake failed; the message says why.
    """
    transport = await dial_tcp(address)
    try:
        name = address.host.partition("%")[0]
        tls = TlsTransport(transport, ssl_context, server_side=False, server_hostname=name)
        await tls.handshake()
    except trio.BrokenResourceError as error:
        transport.close()
        cause = error.__cause__ or error
        failure = connect_error(address, tls_reason(cause))
        if isinstance(cause, ssl.SSLCertVerificationError) or is_refusal(cause):
            failure = AuthError(str(failure))
        raise failure from cause
    except BaseException:
        transport.close()
        raise
    return tls


async def listen_tls(address: Address, ssl_context: ssl.SSLContext) -> TlsListener:
    """Listen as `listen_tcp` does, for TLS.

    Raises:
        ValueError: `ssl_context` is one for clients.
        BindError: See `listen_tcp`.
    """
    if ssl_context.protocol is ssl.PROTOCOL_TLS_CLIENT:
        raise ValueError("ssl_context must be one for servers, such as ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)")
    return TlsListener(await listen_tcp(address), ssl_context)


async def handshake_or_turn_away(transport: TlsTransport) -> None:
    """Do the handshake with a client; a checkpoint.

    Raises:
        TurnedAwayError: It does not pass; it has been told.
        trio.BrokenResourceError: It went away.
    """
    try:
        await transport.handshake()
    except trio.BrokenResourceError as error:
        cause = error.__cause__
        if isinstance(cause, ssl.SSLError) and not _is_unexpected_end(cause):
            raise TurnedAwayError(str(error), b"") from cause
        raise


def is_refusal(error: BaseException) -> bool:
    """Whether the other end says that it does not accept what we have shown."""
    reason = (error.reason if isinstance(error, ssl.SSLError) else None) or ""
    return "_ALERT_" in reason and reason.endswith(_NOT_ACCEPTED)


def tls_reason(error: BaseException) -> str:
    """What went wrong with TLS, in words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate of the other end is not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError) or _is_unexpected_end(error):
        return "the other end closed the connection without a word"
    if isinstance(error, ssl.SSLError) and error.reason:
        reason = error.reason.lower().replace("_", " ")
        if error.reason in _NOT_TLS:
            return f"the other end does not speak TLS ({reason})"
        if "_ALERT_" in error.reason:
            return f"the other end refused ({reason})"
        return reason
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def _is_unexpected_end(error: BaseException) -> bool:
    return isinstance(error, ssl.SSLError) and (
        isinstance(error, ssl.SSLSyscallError) or error.reason == "UNEXPECTED_EOF_WHILE_READING"
    )
