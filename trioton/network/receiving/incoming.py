"""The flows that arrive: how far each has come, by slot and source."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ...protocol.inbox import ReceiveFlow

if TYPE_CHECKING:
    from ..association import Association
    from .subscription import Subscriptions


class IncomingFlows:
    """The flows from which something was received or is expected.

    Args:
        window_bytes: Bytes that a flow may be ahead of what has been taken.
        route: Gives the association that leads to a context, or None.
        subscriptions: Those to which the flows go.

    Attributes:
        by_slot: The flows by slot and source.
    """

    def __init__(
        self, window_bytes: int, route: Callable[[bytes], Association | None], subscriptions: Subscriptions
    ) -> None:
        self.by_slot: dict[str, dict[bytes, ReceiveFlow]] = {}
        self._window_bytes = window_bytes
        self._route = route
        self._subscriptions = subscriptions

    def on(self, slot: str) -> list[ReceiveFlow]:
        """The flows of a slot."""
        return list(self.by_slot.get(slot, {}).values())

    def of(self, source: bytes) -> list[ReceiveFlow]:
        """The flows of a source."""
        return [flows[source] for flows in self.by_slot.values() if source in flows]

    def get(self, source: bytes, slot: str) -> ReceiveFlow | None:
        """The latest flow of a source on a slot, or None."""
        return self.by_slot.get(slot, {}).get(source)

    def find(self, source: bytes, slot: str, stream: int) -> ReceiveFlow | None:
        """The flow with this stream if it is the latest, or None."""
        flow = self.get(source, slot)
        return flow if flow is not None and flow.stream == stream else None

    def begin(self, source: bytes, slot: str, stream: int) -> ReceiveFlow | None:
        """The flow with this stream, which takes the place of an older one; None if it is older than all that are remembered."""
        flow = self.get(source, slot)
        if flow is not None:
            if flow.stream == stream:
                return flow
            if flow.stream > stream:
                return flow.older.get(stream)
            self.forget(flow)
        association = self._route(source)
        window_bytes = self._window_bytes if association is None else association.window_bytes
        new = ReceiveFlow(source, slot, stream, window_bytes)
        self.by_slot.setdefault(slot, {})[source] = new
        if flow is not None:
            new.succeed(flow)
        return new

    def forget(self, flow: ReceiveFlow) -> None:
        """Nothing more is expected of a flow; what waits of it may still be taken."""
        flows = self.by_slot.get(flow.slot, {})
        if flows.get(flow.source) is flow:
            del flows[flow.source]
            if not flows:
                del self.by_slot[flow.slot]
        for subscription in self._subscriptions.on(flow.slot):
            subscription.inbox.forget(flow)

    def forget_slot(self, slot: str) -> list[ReceiveFlow]:
        """Nobody listens to a slot any more; gives the flows that there were."""
        return list(self.by_slot.pop(slot, {}).values())
