"""What neighbours say about the flows that they get: who listens, how much room there is, what was taken, and who is gone."""

from __future__ import annotations

from collections.abc import Callable, Container, Hashable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import trio

from ...protocol import control
from ...protocol.permissions import REPORTS_SLOT
from ...protocol.policies import Mode
from ..local import LOCAL

if TYPE_CHECKING:
    from ...protocol.flow import Branch
    from ..association import Association
    from ..inspector import Inspector
    from ..interest import Interests
    from .branches import Branches
    from .dispatcher import Dispatcher
    from .lives import Lives
    from .outlet import Outlet
    from .outlets import Outlets


class Audience:
    """Hears what neighbours say about what this context sends.

    Args:
        source: The 16 bytes of the context's identity.
        outlets: The outlets.
        interests: Which neighbours listen to what; kept up to date here.
        dispatcher: Has what gathers.
        branches: The ways to the neighbours.
        lives: Ends outlets that nothing keeps any more.

    Attributes:
        inspector: Hears of interest in the context's own reports; set by the context.
        on_watch: Called with a slot that is watched from now on, and True, or no longer, and False.
    """

    def __init__(
        self,
        source: bytes,
        outlets: Outlets,
        interests: Interests,
        dispatcher: Dispatcher,
        branches: Branches,
        lives: Lives,
    ) -> None:
        self.inspector: Inspector
        self._source = source
        self._outlets = outlets
        self._interests = interests
        self._dispatcher = dispatcher
        self._branches = branches
        self._lives = lives
        self._gathered: dict[Outlet, None] | None = None
        self._watchers: dict[str, Callable[[], None]] = {}
        self.on_watch: Callable[[str, bool], None] = lambda _slot, _is_watched: None

    @contextmanager
    def together(self) -> Iterator[None]:
        """What is learned in this block of several contexts counts as one change: what waits for subscribers then waits for all of them."""
        if self._gathered is not None:
            yield
            return
        gathered: dict[Outlet, None] = {}
        self._gathered = gathered
        try:
            yield
        finally:
            self._gathered = None
            for outlet in gathered:
                self._lives.changed(outlet)

    def _changed(self, outlet: Outlet) -> None:
        if self._gathered is None:
            self._lives.changed(outlet)
        else:
            self._gathered[outlet] = None

    # ---------------------------------------------------------------- interest

    def subscribe(self, association: Association, message: control.Subscribe) -> None:
        """A peer listens to a slot, or something about that has changed."""
        is_report = message.slot == REPORTS_SLOT
        if is_report and not self.inspector.may_inspect(association):
            return
        known = self._interests.of(association, message.slot)
        if not self._interests.learn(association, message):
            return
        # What distant contexts listen to is told by others, again and again: only they themselves can say how far they are.
        tells_position = association.awaits_snapshot and not association.is_remote
        for outlet in self._outlets.on(message.slot):
            if known is not None and association in outlet.flow.branches:
                self._branches.start_again(association, outlet.flow, known, message)
            self._branches.update(outlet, association, message, tells_position=tells_position)
            self._changed(outlet)
        if is_report:
            self.inspector.interest_changed()
        self.tell_watcher(message.slot)

    def watch(self, slot: str, changed: Callable[[], None] | None) -> None:
        """Let a function be called whenever something changes about who listens to a slot, or a context is gone or back; None ends that."""
        was_watched = slot in self._watchers
        if changed is None:
            self._watchers.pop(slot, None)
        else:
            self._watchers[slot] = changed
        if was_watched is not (changed is not None):
            self.on_watch(slot, not was_watched)

    def tell_watcher(self, slot: str) -> None:
        """Something has changed about who listens to a slot, here or elsewhere."""
        changed = self._watchers.get(slot)
        if changed is not None:
            changed()

    def unsubscribe(self, association: Association, message: control.Unsubscribe) -> None:
        """A peer no longer listens to a slot."""
        known = self._interests.of(association, message.slot)
        if known is not None and known.record <= message.record:
            self._forget_interest(association, message.slot)

    def forget_unannounced(self, association: Association, announced: Container[str]) -> None:
        """A peer has said, over a new link, all that it listens to: it no longer listens to anything else."""
        for outlet in self._outlets.all():
            flow = outlet.flow
            branch = flow.branches.get(association)
            if flow.destination is not None and branch is not None and branch.is_ready and flow.slot not in announced:
                self._lives.die(outlet, "nobody receives on this channel any more")
        for slot in self._interests.slots_of(association):
            if slot not in announced:
                self._forget_interest(association, slot)
        self._tell_all_watchers()

    def _tell_all_watchers(self) -> None:
        for changed in list(self._watchers.values()):
            changed()

    def _forget_interest(self, association: Association, slot: str) -> None:
        self._interests.forget(association, slot)
        for outlet in self._outlets.on(slot):
            self._lives.remove_branch(outlet, association)
        self.tell_watcher(slot)

    # ---------------------------------------------------------------- contexts that are no neighbours

    def position(self, association: Association, message: control.Position) -> None:
        """A context says, in a new round, how far a flow has come there."""
        slot, stream, expected = message
        known = self._interests.of(association, slot)
        for outlet in self._outlets.on(slot):
            flow = outlet.flow
            branch = flow.branches.get(association)
            if branch is None:
                continue
            if stream == flow.stream:
                branch.received = min(expected or 0, flow.next)
            interest = known or control.Subscribe(
                slot, 0, branch.mode, branch.size, branch.subscriptions, None, None, 0
            )
            told = interest._replace(stream=stream, expected=expected)
            self._branches.start_again(association, flow, interest, told)
            self._branches.update(outlet, association, told, tells_position=association.awaits_snapshot)
            self._lives.changed(outlet)

    def settle(self, association: Association) -> None:
        """A context has said, in a new round, how far all flows have come there that it knows of."""
        for outlet in self._outlets.all():
            flow = outlet.flow
            branch = flow.branches.get(association)
            if branch is None or flow.slot in association.announced or not branch.is_ready:
                continue
            interest = self._interests.of(association, flow.slot)
            if flow.destination is not None:
                self._lives.die(outlet, "nobody receives on this channel any more")
            elif interest is not None:
                self._branches.update(outlet, association, interest, tells_position=True)
                self._lives.changed(outlet)
        self._tell_all_watchers()

    # ---------------------------------------------------------------- room

    def credit(self, association: Association, message: control.Credit) -> None:
        """A blocking subscriber says how much room it has."""
        outlet = self._outlets.find(message.slot, message.stream)
        branch = outlet.flow.branches.get(association) if outlet is not None else None
        has_started = branch is not None and branch.blocks and branch.is_ready
        if outlet is None or branch is None or (message.taken is None and outlet.flow.is_ended and not has_started):
            if message.taken is None:
                self._give_back(association, message, outlet)
            return
        if message.taken is not None:
            kept = outlet.flow.credit(branch, message.taken, message.limit, trio.current_time())
            if kept is not None:
                association.send_control(control.Kept(self._source, message.slot, message.stream, kept))
        elif has_started:
            return  # it asked twice for room, and this is the second answer
        else:
            self._start(association, outlet, branch, message.limit)
        self._lives.changed(outlet)

    def _give_back(self, association: Association, message: control.Credit, outlet: Outlet | None) -> None:
        """The flow has ended before it started there: the room that was given to it is free."""
        association.send_control(control.Kept(self._source, message.slot, message.stream, 0))
        if outlet is not None:
            self._lives.remove_branch(outlet, association)

    def _start(self, association: Association, outlet: Outlet, branch: Branch, size: int) -> None:
        """A subscriber has room for so many messages: the flow starts there."""
        flow, branches = outlet.flow, self._branches
        self._dispatcher.cut()
        branch.mode = Mode.BLOCK
        flow.arrange_again()
        interest = self._interests.of(association, flow.slot)
        branch.subscriptions = branch.subscriptions if interest is None else interest.count
        agreed = 0 if interest is None else interest.record
        first = flow.grant_first(branch, size, now=trio.current_time(), agreed=agreed)
        if branch.begun < first:
            branches.tell_started(
                association, flow, branch.begun, None
            )  # others there were told before, or should have been
        branches.tell_started(association, flow, first, agreed)
        if branch.subscriptions > 1:
            branches.tell_position(association, flow)  # others there may have missed what was sent meanwhile

    # ---------------------------------------------------------------- who is gone

    def unreachable(self, key: Hashable, message: control.Unreachable) -> None:
        """Nobody receives what is sent on a flow, as the neighbour says to which it leads; of others that is not believed."""
        outlet = self._outlets.find(message.slot, message.stream)
        if outlet is not None and outlet.flow.destination is not None and (key is LOCAL or key in outlet.flow.branches):
            self._lives.die(outlet, message.reason)

    def forget(self, association: Association) -> list[str]:
        """An association is over: nobody there listens any more.

        Returns:
            The slots on which it was the last one to listen, and blocked.
        """
        deserted = [
            outlet.flow.slot
            for outlet in self._outlets.all()
            if outlet.flow.destination is None
            and not outlet.is_own
            and [(branch.key, branch.blocks) for branch in outlet.flow.branches.values()] == [(association, True)]
        ]
        for outlet in self._outlets.all():  # while the flows still know what was taken, and where they have led
            if outlet.flow.destination is not None and association in outlet.flow.branches:
                self._lives.die(outlet, "the context that it is addressed to is gone")
        for slot in self._interests.slots_of(association):
            self._forget_interest(association, slot)
        for outlet in self._outlets.all():
            if association in outlet.flow.branches:
                outlet.remove_branch(association)
                self._lives.end_if_done(outlet)
        self._dispatcher.forget(association)
        self._tell_all_watchers()
        return deserted
