"""The associations of a context: which there are, when they begin and end, and whether each leads over a connection or through a neighbour."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .association import Association

if TYPE_CHECKING:
    from .connection import Connection
    from .context import Context


class Associations:
    """With whom the context has to do, by their identities.

    Args:
        context: The context.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._by_id: dict[bytes, Association] = {}

    def get(self, wire_id: bytes) -> Association | None:
        """The association with a context, or None if that cannot be reached."""
        return self._by_id.get(wire_id)

    def direct(self) -> list[Association]:
        """Those with neighbours, which must hear of what changes here, now or when they are back."""
        return [connection.association for connection in self._context._neighbours.with_session()]

    # ---------------------------------------------------------------- over a connection

    def attach(self, connection: Connection) -> None:
        """A session with a neighbour begins: what is sent to it goes over the connection from now on."""
        known = self._by_id.get(connection.peer.wire_id)
        if known is not None:
            self.end(known)  # it has come in by two doors at once
        association = Association(self._context, connection.peer)
        association.connection = connection
        association.outbox = connection.outbox
        association.window_bytes, association.max_package = connection.window_bytes, connection.max_package
        connection.association = association
        self._by_id[connection.peer.wire_id] = association

    def detach(self, connection: Connection) -> list[str]:
        """A session with a neighbour is over.

        Returns:
            The slots on which nobody listens any more, and somebody there had, and blocked.
        """
        association = connection.association
        return [] if association.is_over else self.end(association)

    # ---------------------------------------------------------------- ends

    def end(self, association: Association) -> list[str]:
        """A context cannot be reached any more: forget what it listened to and what came from there.

        Returns:
            The slots on which it was the last one to listen, and blocked.
        """
        association.is_over = True
        wire_id = association.peer.wire_id
        if self._by_id.get(wire_id) is association:
            del self._by_id[wire_id]
            self._context._reception.forget_source(wire_id)
        return self._context._traffic.audience.forget(association)
