"""The lives of outlets: they open, close, end when all that was accepted has been taken, and sometimes die before.

A flow that has ended makes way for the next one on its slot. So nothing of the new one can arrive before the end of the old.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING

from ...protocol.flow import SendFlow
from ..local import LOCAL
from .outlet import Outlet

if TYPE_CHECKING:
    from ...protocol.packages import Package
    from ..interest import Interests
    from ..local import LocalLoop
    from .branches import Branches
    from .dispatcher import Dispatcher
    from .outlets import Outlets


class Lives:
    """Opens outlets and ends them.

    Args:
        source: The 16 bytes of the context's identity.
        window_bytes: Bytes that a flow may be ahead of what has been taken.
        outlets: Where the outlets are kept.
        dispatcher: Sends what they hold.
        interests: Which neighbours listen.
        branches: The ways to them.
        local: The way to the context's own subscriptions.
    """

    def __init__(
        self,
        source: bytes,
        window_bytes: int,
        outlets: Outlets,
        dispatcher: Dispatcher,
        interests: Interests,
        branches: Branches,
        local: LocalLoop,
    ) -> None:
        self._source = source
        self._window_bytes = window_bytes
        self._outlets = outlets
        self._dispatcher = dispatcher
        self._interests = interests
        self._branches = branches
        self._local = local
        self._last_stream = 0

    # ---------------------------------------------------------------- channels come and go

    def open(self, slot: str, *, destination: bytes | None = None) -> Outlet:
        """Give the outlet of a slot, shared by all who open it."""
        outlet = self._outlets.open.get(slot)
        if outlet is None:
            self._last_stream += 1
            flow = SendFlow(
                self._source, slot, self._last_stream, window_bytes=self._window_bytes, destination=destination
            )
            outlet = self._outlets.open[slot] = Outlet(self._dispatcher, flow)
            for association, interest in self._interests.on(slot):
                self._branches.update(outlet, association, interest)
                self.changed(outlet)
            if destination is None:
                self._outlets.on_open(outlet)
        outlet.users += 1
        return outlet

    def drop(self, outlet: Outlet) -> None:
        """One user of an outlet is gone, and the flow goes on elsewhere: it does not end."""
        if outlet.was_closed and outlet.users == 1:
            self.close(outlet)  # the other end of it that came back here was closed before
            return
        outlet.users -= 1
        if not outlet.users and self._outlets.open.get(outlet.flow.slot) is outlet:
            self._dispatcher.cut()
            del self._outlets.open[outlet.flow.slot]
            if LOCAL in outlet.flow.branches:
                self._local.forget(outlet.flow.slot)

    def close(self, outlet: Outlet) -> None:
        """One user of an outlet is gone. After the last one the flow ends, when all that was accepted has left."""
        outlet.users -= 1
        if outlet.users:
            outlet.was_closed = True
            return
        slot = outlet.flow.slot
        self._dispatcher.cut()  # while it is open, so that it counts what nobody hears
        if self._outlets.open.get(slot) is outlet:
            del self._outlets.open[slot]
        self._outlets.ending[slot, outlet.flow.stream] = outlet
        self.end_if_done(outlet)

    # ---------------------------------------------------------------- what changes, ends and dies

    def changed(self, outlet: Outlet) -> None:
        """Something about the branches of an outlet has changed."""
        outlet.changed()
        self.end_if_done(outlet)

    def remove_branch(self, outlet: Outlet, key: Hashable) -> None:
        """One who got what is sent on an outlet does so no longer."""
        outlet.remove_branch(key)
        self.end_if_done(outlet)

    def end_if_done(self, outlet: Outlet) -> None:
        """End the flow of a closed outlet when nothing waits there any more, and forget it when that has been taken."""
        flow = outlet.flow
        key = flow.slot, flow.stream
        if key not in self._outlets.ending:
            return
        if not flow.branches:
            outlet.drop_backlog()
        # The only receiver of an addressed flow hears of its end also if it has not given room yet, and nothing was sent.
        is_awaited = flow.destination is not None and any(not branch.is_ready for branch in flow.branches.values())
        if not flow.is_ended and not outlet.backlog and not is_awaited:
            self._dispatcher.cut()
            self._tell_end(flow, flow.end())
            self._dispatcher.heat()
        # A subscription of this context may have taken the end at once, and brought us here already.
        if flow.is_ended and not flow.log and self._outlets.ending.pop(key, None) is not None:
            self._outlets.dropped += outlet.dropped
            if flow.destination is None:
                self._outlets.on_end(flow.slot)
            self._local.interest_changed(flow.slot)
            self._branches.offer_next(flow.slot)

    def _tell_end(self, flow: SendFlow, end: Package) -> None:
        """A flow has ended. Where some block, and have not given room yet, others may have missed the last messages, and must know it."""
        self._dispatcher.distributed(flow, 0)
        for branch in flow.branches.values():
            if (
                not branch.is_ready
                and branch.key is not LOCAL
                and branch.begun < end.first
                and branch.subscriptions > 1
            ):
                branch.outbox.add_package(branch, end, flow)
                self._dispatcher.will_write(branch.key)  # type: ignore[arg-type]  # keys are associations, or LOCAL

    def die(self, outlet: Outlet, reason: str) -> None:
        """The only receiver of an outlet is gone: nothing that was kept for it is needed any more."""
        outlet.die(reason)
        for key in list(outlet.flow.branches):
            outlet.remove_branch(key)
        self.end_if_done(outlet)
