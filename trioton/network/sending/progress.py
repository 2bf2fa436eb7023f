"""How far what was sent has come: for those who flush, and for those who close and must not leave anything behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..local import LOCAL

if TYPE_CHECKING:
    from ..association import Association
    from .branches import Branches
    from .dispatcher import Dispatcher
    from .outlet import Outlet
    from .outlets import Outlets


class Progress:
    """Looks through the outlets for what has not come where it shall.

    Args:
        outlets: The outlets.
        dispatcher: Has what gathers.
        branches: Asks neighbours to tell how far they are.
    """

    def __init__(self, outlets: Outlets, dispatcher: Dispatcher, branches: Branches) -> None:
        self._outlets = outlets
        self._dispatcher = dispatcher
        self._branches = branches

    def flush(self, outlet: Outlet) -> int:
        """Ask all blocking subscribers to tell when they have taken all that was sent; gives the number to wait for."""
        self._dispatcher.cut()
        outlet.flush_to = outlet.flow.next
        for branch in outlet.flow.branches.values():
            if branch.blocks and branch.key is not LOCAL and branch.taken < outlet.flush_to:
                self._branches.ask_flush(branch.key, outlet)  # type: ignore[arg-type]  # keys are associations, or LOCAL
        return outlet.flush_to

    def has_unready(self, association: Association) -> bool:
        """Whether a peer still has to say how much room it has for a flow of ours."""
        branches = [outlet.flow.branches.get(association) for outlet in self._outlets.all()]
        return any(branch is not None and not branch.is_ready for branch in branches)

    def has_unsent(self, association: Association) -> bool:
        """Whether a peer that is out of reach has not confirmed all that was sent to it."""
        if association.outbox:
            return True
        branches = [(outlet.flow, outlet.flow.branches.get(association)) for outlet in self._outlets.all()]
        return any(branch is not None and branch.blocks and branch.taken < flow.next for flow, branch in branches)

    def held_outlet(self, association: Association) -> Outlet | None:
        """An outlet on which accepted messages for a peer wait for its room, or None."""
        for outlet in self._outlets.all():
            if outlet.backlog and association in outlet.flow.branches:
                return outlet
        return None

    def count_held(self, association: Association) -> int:
        """How many accepted messages wait here for room of a peer."""
        return sum(outlet.backlog for outlet in self._outlets.all() if association in outlet.flow.branches)

    def count_unconfirmed(self, association: Association) -> int:
        """How many messages were sent to a blocking peer which has not said yet that it has taken them."""
        count = 0
        for outlet in self._outlets.all():
            branch = outlet.flow.branches.get(association)
            if branch is not None and branch.blocks and branch.is_ready:
                count += max(0, outlet.flow.next - outlet.flow.is_ended - branch.taken)
        return count
