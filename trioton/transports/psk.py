"""TLS 1.3 with a secret in place of certificates (an external PSK), which takes Python 3.13."""

from __future__ import annotations

import ssl
import sys
from collections.abc import Callable, Sequence
from typing import Final

from ..protocol.sealing import expand, extract, key_id
from .tls import RenewableContext, TlsTransport

_PURPOSE: Final = b"trioton sealed 1: key for TLS"


class PskContext(RenewableContext):
    """A context that has neither a certificate nor an authority: no handshake succeeds in it but by the secret."""

    def newest(self) -> ssl.SSLContext:
        """The context itself, which asks for the secret each time."""
        return self


def psk_context(secrets: Callable[[], Sequence[bytes]], *, owner: object, server_side: bool) -> PskContext:
    """Make a context.

    Args:
        secrets: Gives the secrets as they are now, the best one first. A client shows that one, a server takes them all.
        owner: Whose secrets they are.
        server_side: For which side it is.
    """
    context = PskContext(ssl.PROTOCOL_TLS_SERVER if server_side else ssl.PROTOCOL_TLS_CLIENT)
    context.owner = owner
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    if sys.version_info >= (3, 13):
        if server_side:
            context.num_tickets = 0

            def find_key(name: str | None) -> bytes:
                return next((_key(secret) for secret in secrets() if key_id(secret).hex() == name), b"")

            context.set_psk_server_callback(find_key)
        else:
            # A certificate in place of the proof would be checked, and refused for want of an authority.
            context.check_hostname = False
            context.verify_mode = ssl.CERT_REQUIRED

            def show_key(_hint: str | None) -> tuple[str, bytes]:
                secret = secrets()[0]
                return key_id(secret).hex(), _key(secret)

            context.set_psk_client_callback(show_key)
    return context


def is_psk(transport: TlsTransport, owner: object) -> bool:
    """Whether the other end of a transport, whose handshake is over, has proved to know the secret of an owner."""
    context = transport.ssl_context
    return isinstance(context, PskContext) and context.owner is owner and transport.peer_certificate() is None


def _key(secret: bytes) -> bytes:
    return expand(extract(b"", secret), _PURPOSE, 32)
