"""How far a neighbour is trusted: its link's kind decides, never a field of what it sends."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

import attrs

from ..transports.base import SHARED_IDENTITY

if TYPE_CHECKING:
    from ..transports.base import Network, Transport


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
