"""How far a neighbour is trusted: its link's kind decides, never a field of what it sends."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias

import attrs

from ..protocol.permissions import Permissions
from ..transports.base import SHARED_IDENTITY

if TYPE_CHECKING:
    from ..protocol.handshake import Hello
    from ..transports.base import Network, Transport
    from .peer import Peer


CHECK_BYTES: Final = 7
"""Of an identity, in records."""


class Kind(enum.Enum):
    """What the neighbour at the other end of a link is to us."""

    TRUSTED = "trusted"
    """It has proved that it belongs to us: it may speak for others, and so route for them."""
    PEER = "peer"
    """It has proved who it is, and may do what its permissions grant."""
    UNAUTHENTICATED = "unauthenticated"
    """It has proved nothing."""


@attrs.frozen
class Standing:
    """What a link proves of the neighbour at its other end."""

    kind: Kind
    """How far the neighbour is trusted."""

    identity: str | None = None
    """Whom it has proved to be, or None where nothing was proved."""

    @property
    def may_speak_for_others(self) -> bool:
        """Whether it is believed what it says of contexts that are not below it."""
        return self.kind is Kind.TRUSTED

    def bound(self, *, is_stub: bool) -> int:
        """For whom it may speak, as a `LinkRecord` says it: two who have proved to be the same have the same number."""
        if self.may_speak_for_others:
            return 0
        from ..protocol.records import BELOW, BOUND_BITS, ITSELF  # the mesh brings it, and is imported late

        whom = BELOW if is_stub else ITSELF
        if self.identity is None:
            return whom
        import hashlib  # only for this, and slow to import

        check = hashlib.blake2b(self.identity.encode(), digest_size=CHECK_BYTES).digest()
        return int.from_bytes(check, "big") << BOUND_BITS | whom


def is_vouched_for(transport: Transport, network: Network) -> bool:
    """Whether the system vouches for the other end: it is in this process or at the other end of a child's pipe, or runs as the same user."""
    is_same_user = transport.peer_uid is not None and transport.peer_uid == network.uid
    return is_same_user or transport.kind in {"memory", "stdio"}


def judge(transport: Transport, network: Network) -> Standing:
    """Tell how far whoever is at the other end of a transport is trusted.

    Within one process, over pipes between a process and its child, and between processes of one user over a Unix socket the system
    vouches for it; otherwise it takes what it has proved in the transport's own handshake.
    """
    credentials = transport.credentials
    if credentials is not None:
        kind = Kind.TRUSTED if credentials.may_route else Kind.PEER
        return Standing(kind, credentials.identity)
    return Standing(Kind.TRUSTED if is_vouched_for(transport, network) else Kind.UNAUTHENTICATED)


def is_same_owner(first: Standing, then: Standing) -> bool:
    """Whether what one standing has begun may be gone on with by another: nobody may take over what belongs to somebody else.

    Where nothing proves an identity it is the secret, the system's word for the user, or nothing but the session's token that counts; a
    session may then move between a sealed transport, a Unix socket and the loopback.
    """
    names = {None, SHARED_IDENTITY}
    return first.identity == then.identity or (first.identity in names and then.identity in names)


Granting: TypeAlias = "Permissions | Callable[[Peer], Permissions]"
"""What neighbours may do that are not trusted: all the same, or what a function says of each."""

NOTHING: Final = Permissions(publish=(), subscribe=(), call=(), block=False)
"""What a neighbour may do of which nothing is known yet."""


class GrantError(Exception):
    """The user's function has not said what a neighbour may do; the text says what it did instead."""


def grant(granting: Granting, peer: Peer, transport: Transport, standing: Standing) -> Permissions | None:
    """Tell what a neighbour may do over a link; None if it is trusted, and so may do everything.

    Args:
        granting: What the user has given.
        peer: The neighbour.
        transport: The link's transport.
        standing: What that proves.

    Raises:
        GrantError: The user's function has failed.
    """
    if standing.kind is Kind.TRUSTED:
        return None
    permissions: object = granting
    if not isinstance(granting, Permissions):
        # What it has proved over this link, which may be another than the last one.
        known = attrs.evolve(peer, uid=transport.peer_uid, identity=standing.identity)
        try:
            permissions = granting(known)
        except Exception as error:
            raise GrantError(f"permissions({peer}) has raised {type(error).__name__}: {error}") from error
    if not isinstance(permissions, Permissions):
        raise GrantError(f"permissions({peer}) must give a trioton.Permissions, not {permissions!r:.100}")
    if standing.kind is Kind.UNAUTHENTICATED and not transport.is_loopback:
        return attrs.evolve(permissions, block=False)
    return permissions


def say_leaf(hello: Hello, transport: Transport, network: Network) -> Hello:
    """Let a greeting tell whoever is at the other end of a transport whether it is believed what it says of others."""
    return attrs.evolve(hello, leaf=None if judge(transport, network).may_speak_for_others else True)
