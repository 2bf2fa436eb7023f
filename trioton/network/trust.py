"""How far a neighbour is trusted: its link's kind decides, never a field of what it sends."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from ..protocol.handshake import Hello
    from ..transports.base import Network, Transport


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


def judge(transport: Transport, network: Network) -> Standing:
    """Tell how far whoever is at the other end of a transport is trusted.

    Within one process, over pipes between a process and its child, and between processes of one user over a Unix socket the system
    vouches for it; otherwise it takes what it has proved in the transport's own handshake.
    """
    credentials = transport.credentials
    if credentials is not None:
        kind = Kind.TRUSTED if credentials.may_route else Kind.PEER
        return Standing(kind, credentials.identity)
    is_same_user = transport.peer_uid is not None and transport.peer_uid == network.uid
    if is_same_user or transport.kind in {"memory", "stdio"}:
        return Standing(Kind.TRUSTED)
    return Standing(Kind.UNAUTHENTICATED)


def say_leaf(hello: Hello, transport: Transport, network: Network) -> Hello:
    """Let a greeting tell whoever is at the other end of a transport whether it is believed what it says of others."""
    return attrs.evolve(hello, leaf=None if judge(transport, network).may_speak_for_others else True)
