"""Certificates on both sides: every neighbour proves which node of the network it is."""

from __future__ import annotations

import logging
import os
import re
import ssl
import stat
from pathlib import Path
from typing import Final, NamedTuple, NoReturn

import trio

from ..errors import AuthError
from .address import Address
from .base import SHARED_IDENTITY, Credentials, Security, Transport, TurnedAwayError
from .tls import RenewableContext, TlsTransport, handshake_or_turn_away, tls_reason

logger = logging.getLogger("trioton.transports")

NODE: Final = "trioton:node/"
"""What the URI in a certificate begins with that names a node."""

ROUTER: Final = "trioton:role/router"
"""The URI in a certificate of a node that may speak for others."""

_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")

_Signature = tuple[tuple[int, ...], ...]


def check_node_name(name: str) -> str:
    """Give a node's name back, if it may stand in a certificate.

    Raises:
        ValueError: It may not.
    """
    if not _NAME.fullmatch(name) or name == SHARED_IDENTITY:
        raise ValueError(f"a node's name has 1 to 64 letters, digits, dots, dashes and underscores, not {name!r:.100}")
    return name


class _Pair(NamedTuple):
    """What the files say, for both sides."""

    server: _Context
    client: _Context


class _Context(RenewableContext):
    """A context that was made by a `Mutual`, of its files as they were then."""

    is_server: bool

    def newest(self) -> ssl.SSLContext:
        """The context that its owner would give now."""
        assert isinstance(self.owner, Mutual)
        return self.owner.ssl_context(server_side=self.is_server)


class Mutual(Security):
    """TLS 1.3 at ``tls://`` addresses, where both ends show certificates of one authority: ``open_context(security=Mutual(...))``.

    A certificate names its node in the URI ``trioton:node/NAME`` of its subject alternative names; that is `Peer.identity`. With the URI
    ``trioton:role/router`` it may also speak for others (`Connection.kind` is then ``"trusted"``, otherwise ``"peer"``). ``trioton keys``
    makes an authority and such certificates. The names of hosts do not count: who wants to reach a certain node, and not any that belongs
    to the network, says so with ``connect(..., identity=NAME)``.

    When the files change, new connections use what they hold then. Until all three fit together, the old content stays in use, and the log
    says once what is wrong.

    Args:
        certificate: The file with this node's certificate, in PEM form, and any certificates between it and the authority's.
        key: The file with its private key; None if that is in the same file.
        authority: The file with the certificates of those who may issue them.

    Raises:
        OSError: A file cannot be read.
        ValueError: A file does not hold what it must, the key is not that of the certificate, or others may read it.
    """

    proves_identities = True

    def __init__(
        self,
        *,
        certificate: str | os.PathLike[str],
        key: str | os.PathLike[str] | None = None,
        authority: str | os.PathLike[str],
    ) -> None:
        self._certificate = Path(certificate)
        self._key = None if key is None else Path(key)
        self._authority = Path(authority)
        self._seen: _Signature | None = self._look()
        self._contexts = self._load()

    def __repr__(self) -> str:
        return f"<Mutual with {str(self._certificate)!r}, authority {str(self._authority)!r}>"

    # ---------------------------------------------------------------- for contexts

    def check(self, address: Address, *, insecure: bool, verb: str) -> None:
        """Refuse TCP without TLS to other machines, unless the user has said that this is meant; see `Security.check`."""
        if address.scheme == "tcp" and not address.is_loopback and not insecure:
            raise ValueError(
                f"to {verb} at {address} without TLS, where nobody shows a certificate and others can read and write, takes insecure=True;"
                " or use tls://"
            )

    def ssl_context(self, *, server_side: bool) -> ssl.SSLContext:
        """What the files say now; or said, if there is something wrong with them."""
        try:
            seen = self._look()
        except OSError:
            seen = None
        if seen != self._seen:
            self._seen = seen  # also if they are no good, so that the log hears of it once
            try:
                self._contexts = self._load()
                logger.info("%r: its files have changed", self)
            except (OSError, ValueError) as error:
                logger.warning("%r: the certificates stay as they were: %s", self, error)
        return self._contexts.server if server_side else self._contexts.client

    async def greet(self, transport: Transport, address: Address) -> Transport:
        """Find out which node was dialled; a checkpoint. See `Security.greet`."""
        await trio.lowlevel.checkpoint()
        if self._is_ours(transport):
            try:
                transport.credentials = _read_names(transport)
            except ValueError as error:
                raise AuthError(f"{address}: {error}") from error
        return transport

    async def meet(self, transport: Transport) -> Transport:
        """Find out which node has dialled; a checkpoint. See `Security.meet`."""
        await trio.lowlevel.checkpoint()
        if isinstance(transport, TlsTransport):
            await handshake_or_turn_away(transport)
        if self._is_ours(transport):
            try:
                transport.credentials = _read_names(transport)
            except ValueError as error:
                raise TurnedAwayError(str(error)) from error
        return transport

    def _is_ours(self, transport: Transport) -> bool:
        """Whether a transport was set up with what this object has made: what other contexts have checked counts for less."""
        context = transport.ssl_context if isinstance(transport, TlsTransport) else None
        return isinstance(context, _Context) and context.owner is self

    # ---------------------------------------------------------------- the files

    def _look(self) -> _Signature:
        """By which one sees that a file has changed.

        Raises:
            OSError: One is not there.
        """
        files = [file for file in (self._certificate, self._key, self._authority) if file is not None]
        found = [os.stat(file) for file in files]
        return tuple((each.st_mtime_ns, each.st_size, each.st_ino, each.st_dev) for each in found)

    def _load(self) -> _Pair:
        return _Pair(self._make_context(ssl.PROTOCOL_TLS_SERVER), self._make_context(ssl.PROTOCOL_TLS_CLIENT))

    def _make_context(self, protocol: ssl._SSLMethod) -> _Context:
        for file in (self._certificate, self._key, self._authority):
            if file is not None:
                file.open("rb").close()  # OpenSSL would not say which of them it cannot read
        _check_hidden(self._key or self._certificate)
        context = _Context(protocol)
        context.owner, context.is_server = self, protocol is ssl.PROTOCOL_TLS_SERVER
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED
        if context.is_server:
            context.num_tickets = 0  # nobody comes back with one, and each would be one more write
        try:
            context.load_verify_locations(self._authority)
        except ssl.SSLError as error:
            raise ValueError(f"the authority {str(self._authority)!r} is no certificate in PEM form") from error
        try:
            context.load_cert_chain(self._certificate, self._key, password=_no_password)
        except (ssl.SSLError, ValueError) as error:
            reason = tls_reason(error) if not isinstance(error, ssl.SSLError) or error.reason else "no PEM form"
            raise ValueError(f"the certificate {str(self._certificate)!r} with its key: {reason}") from error
        return context


def _check_hidden(key: Path) -> None:
    """Refuse a private key that others may read, as a `trioton.Secret` does.

    Raises:
        ValueError: They may.
    """
    mode = stat.S_IMODE(key.stat().st_mode)
    if os.name == "posix" and mode & 0o077:
        raise ValueError(f"others may read the key in {str(key)!r}, whose mode is {mode:04o}; chmod 600 it")


def _no_password() -> NoReturn:
    raise ValueError("the key has a password")


def _read_names(transport: Transport) -> Credentials:
    """Which node the certificate at the other end names, and whether it is a router.

    Raises:
        ValueError: It names none, or several.
    """
    assert isinstance(transport, TlsTransport)
    names = transport.peer_names().get("subjectAltName", ())
    uris = [name for kind, name in names if kind == "URI"]  # type: ignore[attr-defined]
    nodes = [uri.removeprefix(NODE) for uri in uris if uri.startswith(NODE)]
    if len(nodes) != 1:
        number = "no" if not nodes else len(nodes)
        raise ValueError(f"the certificate of the other end names {number} node{'s' * bool(nodes)} ({NODE}NAME)")
    return Credentials(check_node_name(nodes[0]), may_route=ROUTER in uris)
