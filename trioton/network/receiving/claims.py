"""One-to-one channels: which context may send on one. The first to do so is the only one.

The sending end can travel, so at first any context may have it, and several may if it was sent to several.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from ...errors import DeadError
from ...protocol import control

if TYPE_CHECKING:
    from ...protocol.inbox import ReceiveFlow
    from ..association import Association
    from ..local import LocalLoop
    from .incoming import IncomingFlows
    from .reports import Reports
    from .subscription import Subscriptions

DIRECT_PREFIX: Final = "~"
"""How the slots begin that are addressed and never advertised."""

NOBODY_RECEIVES: Final = "nobody receives on this channel any more"
ANOTHER_SENDS: Final = "another context sends on this channel already"
HAS_ENDED: Final = "the channel has ended"

NO_CONTEXT: Final = b""
"""Stands for the sending context of a one-to-one channel that has ended."""


class Claims:
    """Knows who sends on the one-to-one channels that end here, and refuses all others.

    Args:
        own_id: The 16 bytes of the context's identity.
        subscriptions: The receiving ends.
        incoming: The flows that arrive there.
        reports: Gives all the room to the only sender.
        route: Gives the association that leads to a context, or None.
        local: The way to the context itself, if that is refused.

    Attributes:
        holders: The context that sends, by slot; None while nobody has sent.
    """

    def __init__(
        self,
        own_id: bytes,
        subscriptions: Subscriptions,
        incoming: IncomingFlows,
        reports: Reports,
        route: Callable[[bytes], Association | None],
        local: LocalLoop,
    ) -> None:
        self.holders: dict[str, bytes | None] = {}
        self._own_id = own_id
        self._subscriptions = subscriptions
        self._incoming = incoming
        self._reports = reports
        self._route = route
        self._local = local

    # ---------------------------------------------------------------- who may send

    def open(self, slot: str) -> None:
        """A channel ends here from now on; nobody has sent on it yet."""
        self.holders[slot] = None

    def close(self, slot: str, flows: Iterable[ReceiveFlow]) -> None:
        """The receiving end was closed: all who sent, or were about to, hear of it."""
        self.holders.pop(slot, None)
        for flow in flows:
            self.tell_unreachable(flow.source, slot, flow.stream, NOBODY_RECEIVES)

    def claim(self, source: bytes, slot: str, stream: int) -> bool:
        """A context sends on a one-to-one channel: the first to do so is the only one. Gives whether it is."""
        objection = self.refusal(source, slot)
        if objection is not None:
            self.tell_unreachable(source, slot, stream, objection)
            return False
        self.holders[slot] = source
        self._refuse_others(slot, source, ANOTHER_SENDS)
        self._reports.soon(slot)  # all the room is for this one now
        return True

    def refusal(self, source: bytes, slot: str) -> str | None:
        """Why a context must not send on a slot, or None."""
        holder = self.holders.get(slot)
        if holder is None or holder == source:
            return None
        return HAS_ENDED if holder == NO_CONTEXT else ANOTHER_SENDS

    def release(self, slot: str) -> None:
        """The sending end of a one-to-one channel leaves this context: whoever gets it may send."""
        if self.holders.get(slot) == self._own_id:
            self.holders[slot] = None

    def _refuse_others(self, slot: str, source: bytes, reason: str) -> None:
        for flow in self._incoming.on(slot):
            if flow.source != source:
                self._incoming.forget(flow)
                self.tell_unreachable(flow.source, slot, flow.stream, reason)

    # ---------------------------------------------------------------- ends

    def end(self, slot: str, source: bytes, error: Exception | None) -> None:
        """The context that sent on a one-to-one channel sends no more."""
        self.holders[slot] = NO_CONTEXT
        for subscription in self._subscriptions.on(slot):
            subscription.end(error)
        self._refuse_others(slot, source, HAS_ENDED)

    def source_lost(self, slot: str, source: bytes) -> None:
        """A context that could send on a one-to-one channel is gone; others may have a copy of the sending end, and then it goes on."""
        holder = self.holders.get(slot, NO_CONTEXT)
        others = [flow for flow in self._incoming.on(slot) if flow.source != self._own_id]
        if holder == source or (holder is None and not others):
            self.end(slot, source, DeadError("the context that sent here is gone"))

    def tell_unreachable(self, source: bytes, slot: str, stream: int, reason: str) -> None:
        """Tell a context that what it sends on a flow does not arrive, and why."""
        message = control.Unreachable(source, slot, stream, reason)
        association = self._route(source)
        if source == self._own_id:
            self._local.unreachable(message)
        elif association is not None:
            association.send_control(message)
