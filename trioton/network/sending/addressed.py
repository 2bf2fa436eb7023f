"""What one context sends to one other on a slot of that one's own, for those who may never wait in `send` themselves."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from ...errors import DeadError
from ...protocol.limits import MAX_RUN_BYTES
from ..receiving.claims import DIRECT_PREFIX

if TYPE_CHECKING:
    from ..context import Context
    from .outlet import Piece

BEFORE_GRANT: Final = 256
"""Messages that are taken before the receiver has said how much room it has."""

SMALL: Final = 4096
"""Bytes up to which a lone message is written past all that gathers and waits, if there is nothing."""

NO_ROUTE: Final = "no route to the context that it is addressed to"


def addressed_slot(destination: bytes, slot: str) -> str:
    """The name under which a context receives what is addressed to it on a slot; it is never advertised."""
    return f"{DIRECT_PREFIX}{destination.hex()}.{slot}"


def plain_slot(slot: str) -> str:
    """The slot that one is about which is addressed to one context; any other as it is."""
    return slot.partition(".")[2] if slot.startswith(DIRECT_PREFIX) else slot


class AddressedEnd:
    """The sending end of a flow to one context.

    Args:
        context: Who sends.
        slot: The slot, without the prefix that says whose it is.
        destination: The identity of the context that receives there.
        died: Called with the reason when nothing that is sent here can arrive any more; not called by `close`.
        room_changed: Called when there may be more room.

    Attributes:
        association: What leads to the other context, or None for this one itself.
        dead_reason: Why nothing can arrive any more, or None.
    """

    def __init__(
        self,
        context: Context,
        slot: str,
        destination: bytes,
        died: Callable[[str], None],
        room_changed: Callable[[], None] | None = None,
    ) -> None:
        traffic = context._traffic
        self._traffic = traffic
        self._late: deque[Piece] = deque()
        self._closed = False
        self._died = died
        self._room_changed = room_changed
        self.association = None if destination == context._wire_id else context._associations.seek(destination)
        self._outlet = outlet = traffic.lives.open(addressed_slot(destination, slot), destination=destination)
        outlet.backlog_size = BEFORE_GRANT
        if destination == context._wire_id:
            traffic.local.add(outlet)
        elif self.association is None:
            outlet.die(NO_ROUTE)
        else:
            traffic.branches.offer_direct(outlet, self.association)
        outlet.on_change = self._changed

    @property
    def is_over(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._closed or self._outlet.dead_reason is not None

    @property
    def dead_reason(self) -> str | None:
        """Why nothing that is sent here can arrive any more, or None."""
        return self._outlet.dead_reason

    @property
    def denier(self) -> int | None:
        """Who does not let this context send there, if that is why nothing can arrive; else None."""
        return self._outlet.denier

    @property
    def has_begun(self) -> bool:
        """Whether the receiver has ever given room: if not, nothing has arrived there."""
        return self._outlet.has_begun

    @property
    def sent(self) -> int:
        """The number of the next message."""
        return self._outlet.flow.next + self._outlet.backlog

    @property
    def taken(self) -> int:
        """All before this number is known to have been taken."""
        return self._outlet.flow.taken

    @property
    def is_reachable(self) -> bool:
        """Whether what is sent now can leave at once, as far as is known."""
        association = self.association
        if association is None:
            return True
        if association.connection is not None:
            return association.connection.open_link is not None
        return association.via is not None

    @property
    def late(self) -> int:
        """Messages that wait for room here."""
        return len(self._late)

    @property
    def has_room(self) -> bool:
        """Whether a message can be sent now."""
        return self._outlet.flow.room > 0 and not self._late

    def objection(self, size: int) -> ValueError | None:
        """Why a message of so many bytes is too large for the other context, or on the way there; None if it is not."""
        return self._outlet.objection(size) if size > MAX_RUN_BYTES else None

    def try_send(self, piece: Piece) -> bool:
        """Send an encoded message if there is room for it now; gives whether it was sent.

        Raises:
            DeadError: What is sent here cannot arrive any more.
        """
        outlet = self._outlet
        if self._closed or outlet.dead_reason is not None:
            raise DeadError(outlet.dead_reason or "it was closed")
        if self._late:
            return False
        flow = outlet.flow
        if flow.room > 0:
            buffers, size = piece
            if len(buffers) > 1 or size > SMALL or not outlet.dispatcher.write_at_once(flow, buffers[0]):  # type: ignore[arg-type]  # all are bytes
                outlet.add(piece)
            return True
        return outlet.try_add(piece)

    def send_soon(self, piece: Piece) -> None:
        """Send an encoded message now, or as soon as there is room; for the few that must not be lost and for which nobody waits."""
        if not self.is_over and not self.try_send(piece):
            self._late.append(piece)

    def _changed(self) -> None:
        outlet = self._outlet
        if outlet.dead_reason is not None:
            if not self._closed:
                self.close()
                self._died(outlet.dead_reason)
            return
        while self._late and outlet.flow.room > 0:
            outlet.add(self._late.popleft())
        if self._room_changed is not None and not self._late and outlet.flow.room > 0:
            self._room_changed()

    async def wait_changed(self) -> None:
        """Wait until there may be more room, or nothing can arrive any more."""
        await self._outlet.wait_changed()

    def close(self) -> None:
        """Send nothing more; what was sent still leaves, and the flow ends behind it."""
        if not self._closed:
            self._closed = True
            while self._late and self.dead_reason is None and self._outlet.try_add(self._late[0]):
                self._late.popleft()
            self._late.clear()
            self._traffic.lives.close(self._outlet)
