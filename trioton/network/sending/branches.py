"""The way of one flow to one neighbour: how it begins and changes with the neighbour's interest, and what the neighbour is told.

A neighbour that does not block gets what is sent from the moment in which its interest is known. One that blocks is asked for room
(OFFER) and gets what is sent after it has answered (CREDIT); it hears from which number on that is (STARTED). Behind one branch there
may be subscriptions of both kinds, and some of them may be older than others. So each change says, too, where the flow stands: who
has missed something must know it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ...protocol import control
from ...protocol.flow import Branch
from ...protocol.policies import Mode
from ..local import LOCAL

if TYPE_CHECKING:
    from ...protocol.flow import SendFlow
    from ..association import Association
    from .dispatcher import Dispatcher
    from .outlet import Outlet
    from .outlets import Outlets

FORGOTTEN: Final = "the context that it is addressed to has given this one up meanwhile"


class Branches:
    """Begins, changes and restarts the branches that lead to neighbours.

    Args:
        source: The 16 bytes of the context's identity.
        outlets: The outlets.
        dispatcher: Writes what is put on the outboxes here.
    """

    def __init__(self, source: bytes, outlets: Outlets, dispatcher: Dispatcher) -> None:
        self._source = source
        self._outlets = outlets
        self._dispatcher = dispatcher

    # ---------------------------------------------------------------- interest

    def update(
        self, outlet: Outlet, association: Association, interest: control.Subscribe, *, tells_position: bool = False
    ) -> None:
        """Another context listens, or listens in another way, or says over a new link, or in a new round, how far it is.

        Args:
            outlet: On which it listens.
            association: Who it is.
            interest: What it says.
            tells_position: Whether that says how far the flow has come there.
        """
        branch = outlet.flow.branches.get(association)
        if branch is None:
            self._begin(outlet, association, interest)
        else:
            self._change(outlet, association, branch, interest, tells_position)

    def _begin(self, outlet: Outlet, association: Association, interest: control.Subscribe) -> None:
        flow = outlet.flow
        if flow.is_ended or flow.destination is not None:
            return
        mode = Mode(interest.mode)
        flow.window_bytes = min(flow.window_bytes, association.window_bytes)
        branch = Branch(association, association.outbox, mode, interest.size, interest.count)
        association.equip(branch)
        branch.taken = branch.begun = flow.cut_to
        outlet.add_branch(branch)
        if mode is Mode.BLOCK:
            self.offer(association, outlet)
        elif association.outbox.holds(flow.slot):
            self.tell_position(association, flow)  # behind the end of an earlier flow
        else:
            self.tell_started(association, flow, flow.cut_to, None)

    def _change(
        self,
        outlet: Outlet,
        association: Association,
        branch: Branch,
        interest: control.Subscribe,
        tells_position: bool,
    ) -> None:
        flow = outlet.flow
        mode = Mode(interest.mode)
        if branch.is_ready and branch.mode is Mode.BLOCK:
            is_forgotten = tells_position and interest.stream != flow.stream
            if is_forgotten or (interest.blocks_since or 0) > branch.agreed:
                self._begin_anew(outlet, association, branch, interest)
                return
            if tells_position:
                self._send_again(association, outlet, branch, interest)
        flow.arrange_again()
        branch.size = interest.size
        if mode is not Mode.BLOCK or branch.mode is Mode.BLOCK:
            branch.subscriptions = interest.count
        if mode is not Mode.BLOCK:
            self._do_not_block(association, flow, branch, mode)
        elif branch.mode is not Mode.BLOCK or not branch.is_ready:
            # It goes on as it was until the peer has said how much room it has: only then does the one that blocks count.
            self.offer(association, outlet)
        if tells_position and branch.mode is not Mode.BLOCK and not flow.is_ended:
            self.tell_position(association, flow)  # so that it notices if the old link has lost the last messages

    def _begin_anew(
        self, outlet: Outlet, association: Association, branch: Branch, interest: control.Subscribe
    ) -> None:
        """The subscriptions that were here before are closed; those that came after begin anew."""
        flow = outlet.flow
        if flow.destination is not None:
            outlet.die(FORGOTTEN)
        outlet.remove_branch(association)
        self._begin(outlet, association, interest)
        if association in flow.branches:
            if interest.stream == flow.stream:
                self.tell_started(association, flow, branch.begun, None)
            self.tell_position(association, flow)  # others there, which do not block, know where they have been

    def _do_not_block(self, association: Association, flow: SendFlow, branch: Branch, mode: Mode) -> None:
        """Nobody blocks there, or nobody any more."""
        if not branch.is_ready:
            branch.taken = branch.begun = flow.cut_to
            self.tell_started(association, flow, flow.cut_to, None)
        has_missed, branch.mode, branch.is_ready = not branch.is_ready, mode, True
        flow.update_room()
        if has_missed:
            self.tell_position(association, flow)  # others there may have missed what was sent while it was not ready

    # ---------------------------------------------------------------- a new link

    def start_again(
        self, association: Association, flow: SendFlow, known: control.Subscribe, interest: control.Subscribe
    ) -> None:
        """A subscriber that does not block says, over a new link, how much it knows: it may have missed the very beginning."""
        branch = flow.branches[association]
        # Who knows nothing and is interested in another way than before may be somebody new, who has missed nothing.
        was_there = interest.record == known.record or interest.stream is not None
        if branch.mode is not Mode.BLOCK and was_there:
            self.tell_started(association, flow, branch.begun, None)

    def _send_again(
        self, association: Association, outlet: Outlet, branch: Branch, interest: control.Subscribe
    ) -> None:
        """The link to a blocking subscriber is new: send what the old one did not bring."""
        flow = outlet.flow
        self._dispatcher.cut()
        if interest.expected is None and branch.begun < branch.taken:
            self.tell_started(association, flow, branch.begun, None)  # it has missed the very beginning
        self.tell_started(association, flow, branch.taken, branch.agreed)
        flow.resume(branch, branch.taken if interest.expected is None else interest.expected)
        if not flow.log and not flow.is_ended:
            self.tell_position(association, flow)  # what was sent before it blocked may be lost
        self._dispatcher.will_write(association)

    def ask_again(self, association: Association) -> None:
        """A link is new: what was asked over the last one, and not answered, may have been lost."""
        for outlet in self._outlets.all():
            branch = outlet.flow.branches.get(association)
            if branch is not None and not branch.is_ready:
                self.offer(association, outlet)
            if branch is not None and outlet.flush_to > outlet.flow.taken:
                self.ask_flush(association, outlet)

    # ---------------------------------------------------------------- what a neighbour is told, and asked for

    def offer(self, association: Association, outlet: Outlet) -> None:
        """Ask a blocking subscriber for room; if an earlier flow on the slot has not ended there, `offer_next` does it."""
        if not self._outlets.has_older(association, outlet):
            flow = outlet.flow
            association.send_control(control.Offer(self._source, flow.slot, flow.stream))

    def offer_next(self, slot: str) -> None:
        """A flow has ended: those that began after it on the same slot may ask for room."""
        for outlet in self._outlets.on(slot):
            for branch in outlet.flow.branches.values():
                if not branch.is_ready and branch.key is not LOCAL:
                    self.offer(branch.key, outlet)  # type: ignore[arg-type]  # keys are associations, or LOCAL

    def offer_direct(self, outlet: Outlet, association: Association) -> None:
        """Ask the only receiver of a flow for room."""
        flow = outlet.flow
        if association not in flow.branches:
            flow.window_bytes = min(flow.window_bytes, association.window_bytes)
            branch = Branch(association, association.outbox, Mode.BLOCK, 1, 1)
            association.equip(branch)
            outlet.add_branch(branch)
            self.offer(association, outlet)

    def tell_started(self, association: Association, flow: SendFlow, first: int, agreed: int | None) -> None:
        """Tell a subscriber from which number on it is sent to, and on which interest of its the room was agreed."""
        association.send_control(control.Started(self._source, flow.slot, flow.stream, first, agreed))

    def tell_position(self, association: Association, flow: SendFlow) -> None:
        """Tell a subscriber how far the flow is, behind what waits for it."""
        branch = flow.branches[association]
        association.outbox.add_package(branch, flow.marker(flow.cut_to, branch), flow)
        self._dispatcher.will_write(association)

    def ask_flush(self, association: Association, outlet: Outlet) -> None:
        """Ask a blocking subscriber to tell when it has taken all that somebody waits for."""
        flow = outlet.flow
        association.send_control(control.Flush(self._source, flow.slot, flow.stream, outlet.flush_to))
