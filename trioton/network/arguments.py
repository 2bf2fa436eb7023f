"""Wrong arguments of users: each is named, with the value that it had."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._arguments import check_seconds
from ..protocol.handshake import MAX_NAME
from ..protocol.heartbeat import MIN_TIMEOUT
from ..protocol.identity import ID_BYTES

if TYPE_CHECKING:
    import ssl

    from ..transports.address import Address
    from ..transports.base import Network, Security


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


def check_context_id(argument: str, value: object) -> bytes:
    """Give the bytes that travel for the identity of a context.

    Raises:
        TypeError: It is no int.
        ValueError: No context can have it.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{argument} must be the identity of a context, not {value!r}")
    if not 0 <= value < 1 << 8 * ID_BYTES:
        raise ValueError(f"{argument} must be the identity of a context, not {value!r}")
    return int(value).to_bytes(ID_BYTES, "big")


def check_name_or_id(argument: str, value: object) -> None:
    """Refuse what can be neither the name nor the identity of a context.

    Raises:
        TypeError: It is neither a text nor an int.
        ValueError: No context can have it.
    """
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise TypeError(f"{argument} must be a name or an identity, not {value!r}")
    if value == "":
        raise ValueError(f"{argument} must name something, not {value!r}")
    if isinstance(value, str):
        check_text(argument, value)
    else:
        check_context_id(argument, value)


def check_secure(network: Network, address: Address, *, insecure: bool, verb: str) -> None:
    """Refuse what others could listen to, unless the user has said that this is meant.

    Raises:
        ValueError: The address is reached over a real network without TLS, and `insecure` is not True.
    """
    if address.scheme == "tcp" and not address.is_loopback and not insecure and not network.is_simulated:
        where = f"to {address}" if verb == "connect" else f"at {address}"
        raise ValueError(f"to {verb} {where} without TLS, where others can read and write, takes insecure=True")


def check_identity(
    identity: object, address: Address, security: Security | None, ssl_context: ssl.SSLContext | None
) -> None:
    """Refuse to expect somebody where nothing would prove who it is.

    Raises:
        TypeError: It is no text.
        ValueError: It is empty, or no certificates are used.
    """
    if not isinstance(identity, str):
        raise TypeError(f"identity must be a str or None, not {identity!r}")
    if not identity:
        raise ValueError("identity must not be empty")
    has_certificates = ssl_context is not None or security is None or security.proves_identities
    if address.scheme != "tls" or not has_certificates:
        raise ValueError(
            f"identity={identity!r} cannot be proved at {address}: that takes certificates, as of a trioton.Mutual at tls://"
        )


def check_timeout(argument: str, value: object) -> float:
    """Give the seconds of silence before a peer counts as timed out, if they can be that.

    Raises:
        TypeError: It is no number.
        ValueError: It is below `MIN_TIMEOUT` or infinite.
    """
    return float(check_seconds(argument, value, least=MIN_TIMEOUT))
