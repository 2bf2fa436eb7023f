"""What arrives: packages are checked, cleaned of what came twice, and put into the inbox of every subscription of their slot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ...errors import ProtocolError
from ...protocol.frames import FLAG_SKIPPED
from ...protocol.identity import ContextId
from ...protocol.inbox import ReceiveFlow, Run
from ...protocol.memory import RUN_OVERHEAD, OverMemoryError
from ...protocol.packages import PackageHeader, PackageKind
from ...protocol.routed import HOP_SHIFT
from ...protocol.scan import TAGS, scan_run
from ..events import Gap
from .claims import DIRECT_PREFIX, NOBODY_RECEIVES

if TYPE_CHECKING:
    from ...protocol.session import PackageReceived
    from ..association import Association
    from ..events import EventHub
    from .claims import Claims
    from .incoming import IncomingFlows
    from .listening import Listening
    from .reports import Reports
    from .subscription import Subscriptions

FIRST_HOP: Final = 1 << HOP_SHIFT
"""From this number on, the flags of a package say that others have passed it on."""

SENDER_TAG: Final = 54022
"""The CBOR tag of a reference to a channel's sending end, ``[context, slot]``."""

PUSHER_TAG: Final = 54023
"""The CBOR tag of a reference to a channel that pushes: the full name of its slot."""

CONTEXT_TAG: Final = 54024
"""The CBOR tag of a reference to a context, ``[identity, name, pid]``."""

MESSAGE_TAGS: Final = TAGS | {SENDER_TAG, PUSHER_TAG, CONTEXT_TAG}


class Reception:
    """Takes in packages, and hears when nothing more comes from somewhere.

    Args:
        own_id: The 16 bytes of the context's identity.
        hub: Where events go.
        subscriptions: Those who get what arrives.
        incoming: The flows that arrive.
        reports: Tells the sources what has been taken.
        claims: Who may send on one-to-one channels.
        listening: Takes out subscriptions that are broken.
    """

    def __init__(
        self,
        own_id: bytes,
        hub: EventHub,
        subscriptions: Subscriptions,
        incoming: IncomingFlows,
        reports: Reports,
        claims: Claims,
        listening: Listening,
    ) -> None:
        self._own_id = own_id
        self._hub = hub
        self._subscriptions = subscriptions
        self._incoming = incoming
        self._reports = reports
        self._claims = claims
        self._listening = listening
        # What others own, by a shorter way: each package asks these.
        self._slots = subscriptions.by_slot
        self._scanning = subscriptions.scanning
        self._flows = incoming.by_slot
        self._holders = claims.holders
        self._arrivals = 0

    # ---------------------------------------------------------------- packages

    def package(self, association: Association, event: PackageReceived) -> None:
        """Deliver a package that came over an association.

        Raises:
            ProtocolError: The peer itself sent nonsense; its link must be closed.
        """
        header, is_last, body, is_lone_bytes, flags = event
        kind, source, stream, _, slot, count, destination = header
        if source != association.peer.wire_id:
            raise ProtocolError("the peer sent a package in the name of another context")
        if kind != PackageKind.PUBLISH and destination != self._own_id:
            raise ProtocolError("the peer sent a package for another context")
        if not is_lone_bytes and (count != 1 or slot not in self._scanning):
            scan_run(body, count, tags=MESSAGE_TAGS)
        if slot in self._slots:
            self._deliver(header, body, is_last, is_lone_bytes, flags, association)
        elif kind == PackageKind.DIRECT:
            self._claims.tell_unreachable(source, slot, stream, NOBODY_RECEIVES)

    def local_package(self, header: PackageHeader, body: bytes, *, is_last: bool) -> None:
        """Deliver a package of this context to its own subscriptions."""
        if header.slot in self._slots:
            self._deliver(header, body, is_last, False, 0, None)

    def _deliver(
        self,
        header: PackageHeader,
        body: bytes,
        is_last: bool,
        is_lone_bytes: bool,
        flags: int,
        association: Association | None,
    ) -> None:
        _, source, stream, first, slot, count, _ = header
        if slot in self._holders and self._holders[slot] != source and not self._claims.claim(source, slot, stream):
            return
        flow = self._flows.get(slot, {}).get(source)
        is_relayed = association is not None and (association.is_remote or flags >= FIRST_HOP)
        if is_relayed and count and self._waits_for_start(flow, slot, stream):
            return  # it is for others, who listen there, too
        if flow is None or flow.stream != stream:
            flow = self._incoming.begin(source, slot, stream) or self._flows[slot][source].overtake(stream)
        known = missing = 0
        if is_last or not flow.receive_next(first, count):
            if is_relayed and flow.granted is not None and self._is_early(flow, header, flags, association):
                return
            known, missing = flow.receive(header, is_last=is_last)
        if missing:
            self.missed(slot, source, missing)
        if known < count:
            self._arrivals = arrival = self._arrivals + 1
            subscriptions = self._slots.get(slot, [])[:]
            for subscription in subscriptions:
                if count == 1 and not is_lone_bytes and subscription.hand_over(flow, body):
                    continue
                memory = None if association is None else association.memory
                share = len(body) // len(subscriptions) + RUN_OVERHEAD
                run = Run(flow, first, body, known, count, arrival, is_lone_bytes, memory, share)
                try:
                    dropped = subscription.deliver(run)
                except OverMemoryError:
                    self.missed(slot, source, count - known)
                    raise
                if dropped:
                    self._hub.emit(Gap(flow.slot, ContextId.from_wire(flow.source), dropped))
                    if subscription.inbox.is_broken:
                        self._listening.remove(subscription)  # nothing will be received there again
        if flow.is_ended:
            self._ended(flow)

    def _waits_for_start(self, flow: ReceiveFlow | None, slot: str, stream: int) -> bool:
        """Whether all who listen to a slot block, and so get nothing of a distant source before that says where it keeps to their room."""
        if flow is not None and flow.stream > stream:
            flow = flow.older.get(stream)
        if flow is not None and flow.stream == stream and flow.expected is not None:
            return False
        return all(subscription.inbox.window is not None for subscription in self._slots[slot])

    @staticmethod
    def _is_early(flow: ReceiveFlow, header: PackageHeader, flags: int, association: Association | None) -> bool:
        """Whether a package that others passed on, on a flow that may lose nothing, comes before its turn: something is late, or was lost."""
        expected = flow.expected
        if expected is None or header.first <= expected or (flags & FLAG_SKIPPED and header.first == expected + 1):
            return False
        if association is not None and association.is_remote:
            association.the_routed.lost_track(flow)
        return True

    def missed(self, slot: str, source: bytes, count: int) -> None:
        """Messages were dropped on their way here."""
        if not count:
            return
        for subscription in list(self._slots.get(slot, ())):
            subscription.inbox.missed(count)
            if subscription.inbox.is_broken:
                self._listening.remove(subscription)
                subscription.wake()
        self._hub.emit(Gap(slot, ContextId.from_wire(source), count))

    def _ended(self, flow: ReceiveFlow) -> None:
        flow.flush_to = flow.expected or 0
        for subscription in self._subscriptions.blocking(flow.slot):
            assert subscription.inbox.window is not None
            subscription.inbox.window.end(flow, flow.flush_to)
        self._reports.send(flow.slot)
        if flow.slot in self._holders:
            self._claims.end(flow.slot, flow.source, None)
        elif flow.slot.startswith(DIRECT_PREFIX):
            for subscription in self._subscriptions.on(flow.slot)[:]:
                subscription.source_gone(flow.source)

    # ---------------------------------------------------------------- sources that are gone

    def forget_local(self, slot: str) -> None:
        """This context itself sends no more on a slot, though the flow has not ended: its room is for others."""
        flow = self._incoming.get(self._own_id, slot)
        if flow is not None:
            self._incoming.forget(flow)
            if slot in self._slots:
                self._reports.soon(slot)

    def forget_source(self, source: bytes) -> None:
        """A context is gone, or its session is: nothing more comes from it, and what waits may still be taken."""
        for flow in self._incoming.of(source):
            slot = flow.slot
            self._incoming.forget(flow)
            if slot.startswith(DIRECT_PREFIX):
                self._claims.source_lost(slot, source)
                for subscription in self._subscriptions.on(slot)[:]:
                    subscription.source_gone(source)
            elif slot in self._slots:
                self._reports.send(slot)
